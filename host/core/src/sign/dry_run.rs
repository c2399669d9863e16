//! Whether a signed request really asks for no more than a check: read from the bytes that are sent, whatever they were made from.
//! Leaves putting the flag in to `params`. Tested below.

use super::SignedRequest;
use super::encoding::split;
use crate::catalog::Provider;
use serde_json::Value;

/// Whether `request` has the flag `field` once, and true. Of a flag that is there twice nobody knows which one holds.
pub(super) fn is_asked_for(provider: Provider, field: &str, request: &SignedRequest) -> bool {
    match provider {
        Provider::Alibaba => {
            let query = request.url.split_once('?').map(|(_, query)| query).unwrap_or_default();
            let pairs = [query.as_bytes(), &request.body].map(split);
            let flags = pairs.iter().flatten().flatten().filter(|(name, _)| name.eq_ignore_ascii_case(field));
            let flags: Vec<(&str, &str)> =
                flags.map(|(name, value)| (name.as_str(), value.as_str())).collect();
            flags == [(field, "true")]
        }
        Provider::Tencent => {
            let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let flags = body.as_object().into_iter().flatten();
            let flags = flags.filter(|(name, _)| name.eq_ignore_ascii_case(field));
            let flags: Vec<(&str, &Value)> = flags.map(|(name, value)| (name.as_str(), value)).collect();
            flags == [(field, &Value::Bool(true))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;
    use crate::secret::{Credential, Secret};
    use crate::sign::{InvalidParams, OutboundCall, Scheme, prepare};
    use crate::time::Timestamp;

    fn signed(scheme: Scheme, params: &str, dry_run: Option<&str>) -> Result<SignedRequest, InvalidParams> {
        let (service, version, action) = match scheme.provider() {
            Provider::Alibaba => ("ecs", "2014-05-26", "StopInstance"),
            Provider::Tencent => ("cvm", "2017-03-12", "RunInstances"),
        };
        let call = OutboundCall { service, version, action, region: "r-1", params, token: None, dry_run };
        let endpoint = Endpoint::parse("https://api.example").expect("an endpoint");
        let credential =
            Credential { key_id: "id".into(), key_secret: Secret::new("secret".into()), session_token: None };
        prepare(scheme, &call, &endpoint, &credential, Timestamp::from_seconds(0), "nonce")
    }

    #[test]
    fn every_scheme_sends_the_flag_that_is_asked_for() {
        for scheme in [Scheme::AlibabaAcs3, Scheme::AlibabaRpcV1, Scheme::TencentTc3] {
            let provider = scheme.provider();
            let plain = signed(scheme, r#"{"A":"DryRun=true"}"#, None).expect("signed");
            assert!(!is_asked_for(provider, "DryRun", &plain), "{scheme:?}: a value is no flag");
            let dry = signed(scheme, r#"{"A":"1"}"#, Some("DryRun")).expect("signed");
            assert!(is_asked_for(provider, "DryRun", &dry), "{scheme:?}");
            assert!(!is_asked_for(provider, "Preview", &dry), "{scheme:?}: another flag");
        }
    }

    #[test]
    fn what_asks_for_it_twice_or_otherwise_is_not_signed() {
        for scheme in [Scheme::AlibabaAcs3, Scheme::AlibabaRpcV1, Scheme::TencentTc3] {
            for params in [r#"{"DryRun":true}"#, r#"{"DryRun":false}"#] {
                assert!(signed(scheme, params, Some("DryRun")).is_err(), "{scheme:?} {params}");
            }
        }
    }

    #[test]
    fn a_request_whose_flag_got_lost_is_none() {
        let alibaba = |url: &str, body: &str| SignedRequest {
            method: "POST",
            url: url.to_owned(),
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
            string_to_sign: String::new(),
        };
        for (url, body, asked) in [
            ("https://h/?DryRun=true", "", true),
            ("https://h/", "A=1&DryRun=true", true),
            ("https://h/", "A=DryRun%3Dtrue", false),
            ("https://h/?DryRun=True", "", false),
            ("https://h/?DryRun=", "", false),
            ("https://h/?DryRun=false", "", false),
            ("https://h/?dryrun=true", "", false),
            ("https://h/?DryRun=true", "DryRun=false", false),
            ("https://h/?DryRun=true&dryRun=false", "", false),
            ("https://h/", "", false),
        ] {
            assert_eq!(is_asked_for(Provider::Alibaba, "DryRun", &alibaba(url, body)), asked, "{url} {body}");
        }
        for (body, asked) in [
            (r#"{"DryRun":true}"#, true),
            (r#"{"DryRun":"true"}"#, false),
            (r#"{"DryRun":true,"dryrun":false}"#, false),
            (r#"{"A":{"DryRun":true}}"#, false),
            ("", false),
        ] {
            assert_eq!(
                is_asked_for(Provider::Tencent, "DryRun", &alibaba("https://h/", body)),
                asked,
                "{body}"
            );
        }
    }
}
