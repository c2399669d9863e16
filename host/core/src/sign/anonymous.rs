//! Requests without a signature, for the two calls that are proved by a token among their parameters. Everything goes into
//! the body, which keeps the token out of URLs. Tested below and by whole hosts.
//!
//! Source: FACTS 9 (`auth_type Anonymous`) and 10 (`Authorization: SKIP`).

use super::encoding::join;
use super::params::{alibaba_pairs, tencent_body};
use super::{InvalidParams, OutboundCall, SignedRequest};
use crate::catalog::Provider;
use crate::endpoint::Endpoint;
use crate::time::Timestamp;

/// Writes `call` for `endpoint` without a signature.
///
/// # Errors
/// As `sign::prepare`.
pub fn prepare(
    provider: Provider,
    call: &OutboundCall<'_>,
    endpoint: &Endpoint,
    now: Timestamp,
    nonce: &str,
) -> Result<SignedRequest, InvalidParams> {
    let mut headers =
        vec![("host", endpoint.authority().to_owned()), ("accept", "application/json".to_owned())];
    let body = match provider {
        Provider::Alibaba => {
            let mut pairs = alibaba_pairs(call)?;
            let timestamp = now.to_iso_seconds();
            let system = [
                ("Action", call.action),
                ("Version", call.version),
                ("Format", "JSON"),
                ("SignatureNonce", nonce),
                ("Timestamp", &timestamp),
            ];
            pairs.extend(system.map(|(name, value)| (name.to_owned(), value.to_owned())));
            headers.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
            join(&pairs).into_bytes()
        }
        Provider::Tencent => {
            headers.extend([
                ("content-type", "application/json".to_owned()),
                ("authorization", "SKIP".to_owned()),
                ("x-tc-action", call.action.to_owned()),
                ("x-tc-version", call.version.to_owned()),
                ("x-tc-timestamp", now.seconds().to_string()),
                ("x-tc-region", call.region.to_owned()),
            ]);
            tencent_body(call)?
        }
    };
    Ok(SignedRequest { method: "POST", url: endpoint.url("/"), headers, body, string_to_sign: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_into_the_body_and_nowhere_else() {
        let endpoint = Endpoint::parse("https://sts.example.com").expect("an endpoint");
        for (provider, authorization) in [(Provider::Alibaba, None), (Provider::Tencent, Some("SKIP"))] {
            let call = OutboundCall {
                service: "sts",
                version: "1",
                action: "AssumeRoleWithToken",
                region: "ap-guangzhou",
                params: r#"{"OIDCToken":"hunter2"}"#,
                token: None,
                dry_run: None,
            };
            let request =
                prepare(provider, &call, &endpoint, Timestamp::from_seconds(1), "n").expect("prepared");
            assert!(String::from_utf8_lossy(&request.body).contains("hunter2"));
            assert!(
                !request.url.contains("hunter2") && !format!("{:?}", request.headers).contains("hunter2")
            );
            let sent = request.headers.iter().find(|(name, _)| *name == "authorization");
            assert_eq!(sent.map(|(_, value)| value.as_str()), authorization);
        }
    }
}
