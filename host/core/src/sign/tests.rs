//! What the client signs is what a server verifies, and nothing else is.

use super::*;
use crate::secret::Secret;

const NOW: Timestamp = Timestamp::from_seconds(1_528_421_137);

fn credential(session_token: Option<&str>) -> Credential {
    Credential {
        key_id: "test-id".into(),
        key_secret: Secret::new("test-secret".into()),
        session_token: session_token.map(|token| Secret::new(token.into())),
    }
}

fn prepared(scheme: Scheme, session_token: Option<&str>) -> SignedRequest {
    let call = OutboundCall {
        service: if scheme.provider() == Provider::Alibaba { "ecs" } else { "cvm" },
        version: "2014-05-26",
        action: "CreateSnapshot",
        region: "cn-hangzhou",
        params: r#"{"DiskId":"d-1","Description":"a b*c~d+e/f=g&h%🚀","Tag":[{"Key":"k","Value":""}]}"#,
        token: Some(("ClientToken", "token-1")),
        dry_run: None,
    };
    let endpoint = Endpoint::parse("http://127.0.0.1:9000").expect("loopback");
    prepare(scheme, &call, &endpoint, &credential(session_token), NOW, "nonce-1").expect("valid parameters")
}

/// What a server gets of it.
struct Wire {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Wire {
    fn of(request: &SignedRequest) -> Self {
        let target = request.url.strip_prefix("http://127.0.0.1:9000").expect("the endpoint's origin");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            method: request.method.into(),
            path: path.into(),
            query: query.into(),
            headers: request
                .headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            body: request.body.clone(),
        }
    }

    fn view(&self) -> Received<'_> {
        let Self { method, path, query, headers, body } = self;
        Received { method, path, query, headers, body }
    }

    fn is_genuine(&self) -> bool {
        let view = self.view();
        claimed(&view).and_then(|claimed| verify(&view, &claimed, "test-secret")).unwrap_or(false)
    }
}

const ALL: [Scheme; 3] = [Scheme::AlibabaAcs3, Scheme::AlibabaRpcV1, Scheme::TencentTc3];

#[test]
fn a_server_verifies_what_the_client_signs() {
    for scheme in ALL {
        for session_token in [None, Some("CAIS+/==")] {
            let wire = Wire::of(&prepared(scheme, session_token));
            let view = wire.view();
            let claimed = claimed(&view).expect("recognised");
            assert_eq!(claimed.key_id, "test-id");
            assert_eq!(claimed.session_token.as_deref(), session_token);
            assert_eq!(claimed.timestamp, Some(NOW));
            assert_eq!(claimed.nonce.as_deref(), (scheme != Scheme::TencentTc3).then_some("nonce-1"));
            assert_eq!(verify(&view, &claimed, "test-secret"), Ok(true), "{scheme:?}");
            assert_eq!(verify(&view, &claimed, "other-secret"), Ok(false), "{scheme:?}");
        }
    }
}

#[test]
fn a_server_notices_a_changed_action_body_query_or_time() {
    for scheme in ALL {
        let request = prepared(scheme, None);
        assert!(Wire::of(&request).is_genuine());
        let replace = |text: &mut String, from: &str, to: &str| *text = text.replace(from, to);
        let mut action = Wire::of(&request);
        let mut time = Wire::of(&request);
        for (name, value) in action.headers.iter_mut().chain(&mut time.headers) {
            if name == "x-acs-action" || name == "x-tc-action" {
                replace(value, "CreateSnapshot", "DeleteSnapshot");
            } else if name == "x-acs-date" {
                replace(value, "01:25", "01:26");
            } else if name == "x-tc-timestamp" {
                replace(value, "1528421137", "1528421138");
            }
        }
        let mut params = Wire::of(&request);
        replace(&mut params.query, "d-1", "d-2");
        params.body = String::from_utf8(params.body).expect("text").replace("d-1", "d-2").into_bytes();
        for body in [&mut action.body, &mut time.body] {
            let text = String::from_utf8(body.clone()).expect("text");
            *body = text.replace("Action=Create", "Action=Delete").replace("01%3A25", "01%3A26").into_bytes();
        }
        for (what, wire) in [("action", action), ("time", time), ("params", params)] {
            assert!(!wire.is_genuine(), "{scheme:?} {what}");
        }
    }
}

#[test]
fn a_header_that_must_be_signed_and_is_not_is_noticed() {
    for (scheme, added) in [(Scheme::AlibabaAcs3, "x-acs-security-token"), (Scheme::TencentTc3, "host")] {
        let mut wire = Wire::of(&prepared(scheme, None));
        wire.headers.push((added.to_owned(), "x".to_owned()));
        for (name, value) in &mut wire.headers {
            if name == "authorization" {
                *value = value.replace(";host", "");
            }
        }
        let view = wire.view();
        let claimed = claimed(&view).expect("recognised");
        let refusal = recompute(&view, &claimed, "test-secret").expect_err("not signed");
        assert_eq!(refusal, ReceivedError::NotSigned(added.to_owned()), "{scheme:?}");
    }
}

#[test]
fn an_unsigned_request_is_told_apart_from_a_broken_one() {
    let view = |query, headers| Received { method: "GET", path: "/", query, headers, body: b"" };
    assert_eq!(claimed(&view("", &[])), Err(ReceivedError::Unsigned));
    assert_eq!(claimed(&view("Signature=x", &[])), Err(ReceivedError::Missing("SignatureMethod".into())));
    assert_eq!(claimed(&view("a=%FF", &[])), Err(ReceivedError::NotUtf8));
    let headers = [("Authorization".to_owned(), "TC3-HMAC-SHA256 x".to_owned())];
    assert_eq!(claimed(&view("", &headers)), Err(ReceivedError::Missing("authorization Credential".into())));
}

#[test]
fn secrets_stay_out_of_urls_and_debug_text() {
    for scheme in ALL {
        let request = prepared(scheme, Some("session-token-1"));
        assert!(!request.url.contains("session-token-1") && !request.url.contains("Signature"), "{scheme:?}");
        let shown = format!("{request:?}");
        assert!(!shown.contains("token-1") && !shown.contains("d-1"), "{shown}");
    }
}
