//! Every scheme by deliveries that are right but for one thing.

use super::*;
use crate::sign::keyed_hash::{base64, hmac_sha1, hmac_sha256};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);
const BODY: &[u8] = br#"{"id":"1"}"#;
/// 24 bytes, as the specification wants.
const KEY: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn checked(proof: &Proof<Secret>, headers: &[(String, String)], body: &[u8]) -> Result<Checked, Unproved> {
    check(proof, &Delivered { headers, target: "/hooks/s/t", body }, NOW)
}

const PROVED: Result<Checked, Unproved> = Ok(Checked::Believed(Trust::Proved));
const HINT: Result<Checked, Unproved> = Ok(Checked::Believed(Trust::Hint));

fn missing(name: &str) -> Result<Checked, Unproved> {
    Err(Unproved::Missing(name.to_owned()))
}

/// Signed at `seconds` from now with the key that `text` writes.
fn webhook(text: &str, id: &str, seconds: i64) -> (String, String) {
    let at = (NOW.seconds() + seconds).to_string();
    let signed = [format!("{id}.{at}.").as_bytes(), BODY].concat();
    let key = webhook::key(&secret(text)).expect("a key");
    (at, format!("v1,{}", base64(&hmac_sha256(&key, &signed))))
}

#[test]
fn a_webhook_is_believed_with_any_of_the_secrets_and_within_five_minutes() {
    let other = base64(b"another key of 24 bytes.");
    let proof = Proof::Webhook(vec![secret(&other), secret(&format!("whsec_{KEY}"))]);
    let (now, good) = webhook(KEY, "msg_1", 0);
    let (_, by_other) = webhook(&other, "msg_1", 0);
    let (_, by_stranger) = webhook(&base64(b"a stranger's, of 24 byte"), "msg_1", 0);
    let (_, of_other_id) = webhook(KEY, "msg_2", 0);
    let several = format!("v1a,AAAA {by_stranger} {good}");
    let (early, early_signed) = webhook(KEY, "msg_1", -300);
    let (late, late_signed) = webhook(KEY, "msg_1", 301);
    for (id, at, signature, wanted) in [
        ("msg_1", &now, &good, PROVED),
        ("msg_1", &now, &by_other, PROVED),
        ("msg_1", &now, &several, PROVED),
        ("msg_1", &early, &early_signed, PROVED),
        ("msg_1", &late, &late_signed, Err(Unproved::Stale("webhook-timestamp"))),
        ("msg_1", &"99999999999999999999".to_owned(), &good, missing("webhook-timestamp")),
        ("msg_1", &i64::MAX.to_string(), &good, Err(Unproved::Stale("webhook-timestamp"))),
        ("msg_1", &now, &by_stranger, Err(Unproved::WrongSignature)),
        ("msg_1", &now, &of_other_id, Err(Unproved::WrongSignature)),
        ("msg_1", &early, &good, Err(Unproved::WrongSignature)),
        ("msg_1", &now, &good.replace("v1,", "v2,"), Err(Unproved::WrongSignature)),
        ("msg_1", &now, &String::new(), Err(Unproved::WrongSignature)),
    ] {
        let sent =
            headers(&[("webhook-id", id), ("webhook-timestamp", at), ("webhook-signature", signature)]);
        assert_eq!(checked(&proof, &sent, BODY), wanted, "{id} {at} {signature}");
    }
    let sent = headers(&[("webhook-id", "msg_1"), ("webhook-timestamp", &now), ("webhook-signature", &good)]);
    assert_eq!(checked(&proof, &sent, b"{}"), Err(Unproved::WrongSignature), "another body");
    for (at, name) in ["webhook-id", "webhook-timestamp", "webhook-signature"].into_iter().enumerate() {
        let mut sent = sent.clone();
        sent.remove(at);
        assert_eq!(checked(&proof, &sent, BODY), missing(name));
    }
}

#[test]
fn what_stands_in_headers_is_not_signed_and_so_only_a_hint() {
    let proof = Proof::Webhook(vec![secret(KEY)]);
    let (now, good) = webhook(KEY, "msg_1", 0);
    let sent = headers(&[
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", &now),
        ("webhook-signature", &good),
        ("ce-id", "another"),
    ]);
    assert_eq!(checked(&proof, &sent, BODY), HINT);
}

#[test]
fn the_specifications_own_example_is_believed() {
    // The test vector of the reference libraries.
    let proof = Proof::Webhook(vec![secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]);
    let sent = headers(&[
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ]);
    let delivered = Delivered { headers: &sent, target: "/", body: br#"{"test": 2432232314}"# };
    assert_eq!(check(&proof, &delivered, Timestamp::from_seconds(1_614_265_331)), PROVED);
}

#[test]
fn an_hmac_is_read_as_the_source_says_it_is_written() {
    let hex = |bytes: &[u8]| crate::id::hex(bytes);
    let (key, old) = (secret("s3cret"), secret("old"));
    let of256 = hmac_sha256(b"s3cret", BODY);
    let of1 = hmac_sha1(b"old", BODY);
    for (algorithm, encoding, prefix, value, wanted) in [
        (Algorithm::Sha256, Encoding::Hex, "sha256=", format!("sha256={}", hex(&of256)), PROVED),
        (Algorithm::Sha256, Encoding::Hex, "", hex(&of256).to_uppercase(), PROVED),
        (Algorithm::Sha256, Encoding::Base64, "", base64(&of256), PROVED),
        (Algorithm::Sha1, Encoding::Hex, "sha1=", format!("sha1={}", hex(&of1)), PROVED),
        (Algorithm::Sha1, Encoding::Base64, "", base64(&of1), PROVED),
        (Algorithm::Sha256, Encoding::Hex, "sha256=", hex(&of256), missing("x-signature")),
        (Algorithm::Sha256, Encoding::Hex, "", hex(&of256)[1..].to_owned(), missing("x-signature")),
        (Algorithm::Sha256, Encoding::Hex, "", hex(&of256)[2..].to_owned(), Err(Unproved::WrongSignature)),
        (Algorithm::Sha256, Encoding::Hex, "", String::new(), Err(Unproved::WrongSignature)),
        (Algorithm::Sha256, Encoding::Hex, "", hex(&of1), Err(Unproved::WrongSignature)),
        (Algorithm::Sha256, Encoding::Hex, "", "é".to_owned(), missing("x-signature")),
    ] {
        let header =
            HmacHeader { name: "x-signature".to_owned(), algorithm, encoding, prefix: prefix.to_owned() };
        let proof = Proof::Hmac(header, vec![old.clone(), key.clone()]);
        let sent = headers(&[("x-signature", &value)]);
        assert_eq!(checked(&proof, &sent, BODY), wanted, "{value}");
        assert_eq!(checked(&proof, &[], BODY), missing("x-signature"));
    }
}

#[test]
fn basic_auth_wants_user_and_secret_and_proves_nothing_more_than_the_path() {
    let proof = Proof::Basic { user: "monitor".to_owned(), secret: secret("pass:word") };
    let basic = |text: &str| format!("Basic {}", base64(text.as_bytes()));
    for (value, wanted) in [
        (basic("monitor:pass:word"), HINT),
        (basic("monitor:pass:word").replace("Basic", "basic"), HINT),
        (basic("monitor:pass"), Err(Unproved::WrongSecret)),
        (basic("other:pass:word"), Err(Unproved::WrongSecret)),
        (basic(""), Err(Unproved::WrongSecret)),
        ("Basic ***".to_owned(), missing("authorization")),
        ("Bearer x".to_owned(), missing("authorization")),
        ("Basic".to_owned(), missing("authorization")),
    ] {
        assert_eq!(checked(&proof, &headers(&[("authorization", &value)]), BODY), wanted, "{value}");
    }
    assert_eq!(checked(&proof, &[], BODY), missing("authorization"));
    assert_eq!(checked(&Proof::None, &[], BODY), HINT);
}

fn bus(certificates: Option<&str>) -> Proof<Secret> {
    Proof::EventBridge(Bus {
        url: "https://ops.example.com".to_owned(),
        region: "cn-hangzhou".to_owned(),
        token: Some(secret("subscriber")),
        certificates: certificates.map(|url| Endpoint::parse(url).expect("an endpoint")),
    })
}

fn push(at: i64, certificate: &str, token: &str) -> Vec<(String, String)> {
    headers(&[
        ("x-eventbridge-signature-timestamp", &(NOW.ms() + at).to_string()),
        ("x-eventbridge-signature-url", certificate),
        ("x-eventbridge-signature-token", token),
    ])
}

use crate::endpoint::Endpoint;

#[test]
fn a_push_needs_the_certificate_of_its_own_region_and_nothing_else_is_ever_fetched() {
    let own = "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x509_2021.pem";
    let needs = |headers: &[(String, String)], certificates| match checked(&bus(certificates), headers, BODY)
    {
        Ok(Checked::Needs(certificate)) => Ok(certificate.url),
        Ok(Checked::Believed(_)) => panic!("believed without a signature"),
        Err(unproved) => Err(unproved),
    };
    assert_eq!(needs(&push(0, own, "subscriber"), None).as_deref(), Ok(own));
    let old_place = "https://cn-hangzhou-eventbridge.oss-cn-hangzhou.aliyuncs.com/x509_2021.pem";
    assert_eq!(needs(&push(-60_000, old_place, "subscriber"), None).as_deref(), Ok(old_place));
    let named = needs(&push(0, own, "subscriber"), Some("http://127.0.0.1:9"));
    assert_eq!(named.as_deref(), Ok("http://127.0.0.1:9/x509_2021.pem"), "fetched where the operator says");
    for (at, certificate, token, wanted) in [
        (-60_001, own, "subscriber", PushError::Stale.into()),
        (60_001, own, "subscriber", PushError::Stale.into()),
        (0, own, "another", PushError::WrongToken.into()),
        (0, own, "", PushError::WrongToken.into()),
        (0, "https://evil.example/x.pem", "subscriber", PushError::ForeignCertificate.into()),
        (0, "http://127.0.0.1:9/x.pem", "subscriber", PushError::ForeignCertificate.into()),
        (
            0,
            "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/../x.pem",
            "subscriber",
            PushError::ForeignCertificate.into(),
        ),
        (
            0,
            "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x.pem?a=b",
            "subscriber",
            PushError::ForeignCertificate.into(),
        ),
        (
            0,
            "https://cn-beijing-eventbridge.oss-accelerate.aliyuncs.com/x.pem",
            "subscriber",
            Unproved::OtherRegion,
        ),
        (
            0,
            "https://xx-evil-1-eventbridge.oss-accelerate.aliyuncs.com/x.pem",
            "subscriber",
            Unproved::OtherRegion,
        ),
    ] {
        for certificates in [None, Some("http://127.0.0.1:9")] {
            assert_eq!(
                needs(&push(at, certificate, token), certificates),
                Err(wanted.clone()),
                "{certificate}"
            );
        }
    }
}

#[test]
fn a_secret_that_can_be_guessed_is_found_at_start() {
    let usable = |proof: Proof<Secret>| proof.usable();
    assert_eq!(usable(Proof::Webhook(vec![secret(KEY)])), Ok(()));
    assert_eq!(
        usable(Proof::Webhook(vec![secret(KEY), secret("whsec_***")])),
        Err(UnusableSecret::NotBase64)
    );
    assert_eq!(usable(Proof::Webhook(vec![secret("whsec_c2hvcnQ=")])), Err(UnusableSecret::Short));
    assert_eq!(usable(Proof::Webhook(vec![secret("")])), Err(UnusableSecret::Empty));
    assert_eq!(usable(Proof::Basic { user: "u".to_owned(), secret: secret("") }), Err(UnusableSecret::Empty));
}
