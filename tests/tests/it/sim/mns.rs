//! The simulated message queues are honest: a request that is not rightly signed takes nothing, and a message is there until it is
//! deleted under the handle it was received with last.

use super::lab::{Lab, real_time};
use opsward_core::endpoint::Endpoint;
use opsward_core::secret::{Credential, Secret};
use opsward_core::sign::alibaba_mns::prepare;
use opsward_core::source::queue::{Body, delete, read_deleted, read_received, receive};
use opsward_core::source::{AnswerError, Request};
use opsward_core::time::Timestamp;
use serde_json::json;

async fn ask(lab: &Lab, credential: &Credential, request: &Request, now: Timestamp) -> (u16, Vec<u8>) {
    let endpoint = Endpoint::parse(lab.origin()).expect("an origin");
    let signed = prepare(request, &endpoint, credential, now);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let method = signed.method.parse().expect("a method");
    let mut sending = client.request(method, &signed.url).body(signed.body);
    for (name, value) in signed.headers.into_iter().filter(|(name, _)| *name != "host") {
        sending = sending.header(name, value);
    }
    let answer = sending.send().await.expect("an answer");
    (answer.status().as_u16(), answer.bytes().await.expect("a body").to_vec())
}

#[tokio::test]
async fn a_message_is_taken_and_deleted_by_who_signs_rightly() {
    opsward::cloud::install_tls();
    let lab = Lab::start().await;
    let now = real_time();
    lab.post("queues", json!({ "name": "q", "messages": ["a&b"] })).await;
    let right = lab.alibaba();
    let wrong = Credential { key_secret: Secret::new("wrong".into()), ..right.clone() };
    let unknown = Credential { key_id: "LTAInobody".into(), ..right.clone() };
    let tokened = Credential { session_token: Some(Secret::new("CAISother".into())), ..right.clone() };
    let old = Timestamp::from_ms(now.ms() - 16 * 60_000);
    for (credential, at, expected) in [
        (&wrong, now, "SignatureDoesNotMatch"),
        (&unknown, now, "InvalidAccessKeyId"),
        (&tokened, now, "InvalidSecurityToken"),
        (&right, old, "TimeExpired"),
    ] {
        let (status, body) = ask(&lab, credential, &receive("q"), at).await;
        let refused = read_received(status, &body);
        assert!(
            matches!(&refused, Err(AnswerError::Refused { code, .. }) if code == expected),
            "{refused:?}"
        );
    }
    let (status, body) = ask(&lab, &right, &receive("nobody"), now).await;
    assert!(read_received(status, &body).is_err_and(|error| error.to_string().contains("QueueNotExist")));

    let (status, body) = ask(&lab, &right, &receive("q"), now).await;
    let messages = read_received(status, &body).expect("received");
    let body = Body::Text("a&b".to_owned());
    assert_eq!((messages.len(), &messages[0].body, messages[0].dequeued), (1, &body, 1));
    let (status, body) = ask(&lab, &right, &delete("q", ["1-other=="]), now).await;
    assert!(read_deleted(status, &body).is_err_and(|error| error.to_string().contains("ReceiptHandleError")));
    let (status, body) = ask(&lab, &right, &delete("q", [messages[0].handle.as_str()]), now).await;
    assert_eq!(read_deleted(status, &body), Ok(()));
    assert_eq!(lab.get("queues").await["q"]["messages"], json!([]));
}
