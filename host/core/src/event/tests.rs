//! What the decoders share, bad input, and what no sample shows; the samples are run in `tests/`.

mod hostile;
mod json_cases;

use super::*;
use proptest::prelude::*;

const RECEIVED: Timestamp = Timestamp::from_seconds(1_700_000_000);
const REBOOT: &str = r#"{"product":"ECS","content":{"executeFinishTime":"2018-06-08T01:25:37Z","eventId":"e-1",
    "ecsInstanceId":"i-1"},"resourceId":"acs:ecs:cn-hangzhou:12345678:instance/i-1",
    "name":"Instance:SystemFailure.Reboot:Executed","regionId":"cn-hangzhou"}"#;

fn decode_as(kind: SourceKind, headers: &[(&str, &str)], body: &[u8]) -> Result<Vec<Event>, DecodeError> {
    let headers: Vec<(String, String)> = headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    decode(kind, &"in".parse().expect("a name"), &Delivery { headers: &headers, body }, RECEIVED)
}

fn cloudmonitor(body: &str) -> Result<Event, DecodeError> {
    decode_as(SourceKind::AlibabaCloudmonitor, &[], body.as_bytes())
        .map(|mut events| events.pop().expect("always one"))
}

fn structured(body: &str) -> Result<Event, DecodeError> {
    decode_as(SourceKind::Cloudevents, &[("content-type", "application/cloudevents+json")], body.as_bytes())
        .map(|mut events| events.pop().expect("always one"))
}

#[test]
fn a_kind_is_read_as_it_is_written_and_an_unknown_one_is_told_the_known() {
    for &kind in SourceKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    let error = "alibaba".parse::<SourceKind>().expect_err("unknown").to_string();
    assert!(error.contains("use one of `alibaba-cloudmonitor`, `alibaba-eventbridge`"), "{error}");
}

#[test]
fn times_are_read_in_the_forms_that_clouds_send() {
    for (text, ms) in [
        ("2018-06-08T09:25:37.410+08:00", 1_528_421_137_410),
        ("20180608T092537.410+0800", 1_528_421_137_410),
        ("1528421137410", 1_528_421_137_410),
        ("1528421137", 1_528_421_137_000),
        ("2018-06-08T09:25:37.410Asia/Shanghai", 1_528_421_137_410),
    ] {
        assert_eq!(parse_vendor_time(text).map(Timestamp::ms), Some(ms), "{text}");
    }
    for text in ["", "soon", "2018-06-08", "2018-06-08T09:25:37", "99999999999999999999", "é1é"] {
        assert_eq!(parse_vendor_time(text), None, "{text}");
    }
}

#[test]
fn an_event_without_id_has_the_same_id_in_every_posting_and_another_if_it_differs() {
    let id = |body: &str| cloudmonitor(body).expect("valid").id;
    let spaced = REBOOT.replace("\",\"", "\" ,  \"");
    let traced = REBOOT.replacen('{', r#"{"traceId":"T-1","#, 1);
    assert_eq!(id(REBOOT).len(), 64);
    assert_eq!(id(REBOOT), id(&spaced));
    assert_eq!(id(REBOOT), id(&traced));
    assert_ne!(id(REBOOT), id(&REBOOT.replace("Executed", "Executing")));
    assert_ne!(id(REBOOT), id(&REBOOT.replace("e-1", "e-2")));
}

#[test]
fn the_notices_of_an_incident_that_share_an_id_are_events_of_their_own() {
    let notice = |name: &str, status: &str| {
        let content = match status {
            "" => "{}".to_owned(),
            status => format!(r#"{{"eventId":"e-1","eventStatus":"{status}"}}"#),
        };
        cloudmonitor(&format!(r#"{{"id":"U","name":"Instance:{name}","content":{content}}}"#)).expect("valid")
    };
    let scheduled = notice("SystemMaintenance.Reboot:Scheduled", "Scheduled");
    let avoided = notice("SystemMaintenance.Reboot:Scheduled", "Avoided");
    assert_eq!((scheduled.id.as_str(), scheduled.transition), ("U scheduled", Some(Transition::Scheduled)));
    assert_eq!((avoided.id.as_str(), avoided.transition), ("U avoided", Some(Transition::Avoided)));
    assert_eq!(avoided.incident, scheduled.incident);
    assert_eq!(notice("SystemFailure.Reboot:Executed", "").id, "U executed");
    assert_eq!(notice("StateChange", "").id, "U");
}

#[test]
fn the_test_event_of_the_console_is_normalised() {
    let event = cloudmonitor(REBOOT).expect("valid");
    assert_eq!(event.kind, "Instance:SystemFailure.Reboot:Executed");
    assert_eq!(event.subject.as_deref(), Some("acs:ecs:cn-hangzhou:12345678:instance/i-1"));
    assert_eq!(event.incident.as_deref(), Some("alibaba:e-1"));
    assert_eq!(event.account.as_deref(), Some("12345678"));
    assert_eq!(event.region.as_deref(), Some("cn-hangzhou"));
    assert_eq!(event.time.to_iso_seconds(), "2018-06-08T01:25:37Z");
    assert_eq!(event.data, REBOOT);
}

#[test]
fn content_as_text_becomes_an_object_and_nothing_else_changes() {
    let body = r#"{"id":"1","name":"N","n":1.10,"content":" {\"instanceId\":\"i-1\",\"big\":12345678901234567890} "}"#;
    let event = cloudmonitor(body).expect("valid");
    let wanted =
        r#"{"content":{"instanceId":"i-1","big":12345678901234567890},"id":"1","n":1.10,"name":"N"}"#;
    assert_eq!(event.data, wanted);
    assert_eq!((event.time, event.subject), (RECEIVED, None));
    assert_eq!(
        cloudmonitor(r#"{"id":"1","name":"N"}"#).expect("valid").data,
        r#"{"content":{},"id":"1","name":"N"}"#
    );
}

#[test]
fn an_arn_is_built_where_the_event_has_none() {
    let subject =
        |rest: &str| cloudmonitor(&format!(r#"{{"id":"1","name":"N",{rest}}}"#)).expect(rest).subject;
    let arn = |account: &str| Some(format!("acs:ecs:cn-hangzhou:{account}:instance/i-1"));
    assert_eq!(subject(r#""regionId":"cn-hangzhou","userId":7,"content":{"instanceId":"i-1"}"#), arn("7"));
    assert_eq!(subject(r#""regionId":"cn-hangzhou","resourceId":"i-1","content":{}"#), arn("*"));
    assert_eq!(subject(r#""resourceId":"vol-1","content":{}"#), Some("vol-1".into()));
}

#[test]
fn what_cloudmonitor_may_not_send_is_refused_with_the_reason() {
    let deep = format!(r#"{{"name":"N","content":{}{}}}"#, "[".repeat(32), "]".repeat(32));
    let deep_inside = format!(r#"{{"name":"N","content":"{{\"a\":{}{}}}"}}"#, "[".repeat(31), "]".repeat(31));
    for (body, wanted) in [
        ("", "body is empty"),
        (" \n", "body is empty"),
        ("[]", "not a JSON object"),
        ("{\"name\":\n \"N\",}", "malformed JSON at line 2, column 6"),
        ("{\"name\": ", "malformed JSON at line 1, column 9"),
        (deep.as_str(), "nested deeper than 32 levels at line 1, column 54"),
        (deep_inside.as_str(), "`content` holds unreadable JSON"),
        (r#"{"product":"ECS"}"#, "`name` is missing"),
        (r#"{"name":"a\u0000b"}"#, "control character"),
        (r#"{"name":"N","content":"x"}"#, "`content` holds unreadable JSON"),
        (r#"{"name":"N","content":"[]"}"#, "holds no JSON object"),
        (r#"{"name":"N","content":[]}"#, "neither an object nor JSON text"),
        (r#"{"specversion":"1.0","id":"1"}"#, "kind `alibaba-eventbridge` or `cloudevents`"),
        (r#"{"message":{"metricProject":"acs_ecs_dashboard"},"type":0}"#, "`message.metricName` is missing"),
        (r#"{"name":"N","content":{},"name":"M"}"#, "the name \"name\" is there twice"),
        (
            r#"{"name":"N","content":"{\"eventId\":\"a\",\"eventId\":\"b\"}"}"#,
            "`content` holds unreadable JSON",
        ),
    ] {
        let error = cloudmonitor(body).expect_err(body).to_string();
        assert!(error.contains(wanted), "{body}: {error}");
    }
    let long = format!(r#"{{"name":"{}"}}"#, "n".repeat(ATTRIBUTE_BYTES_MAX + 1));
    assert!(matches!(cloudmonitor(&long), Err(DecodeError::Field { .. })));
    let form = [("content-type", "application/x-www-form-urlencoded; charset=UTF-8")];
    let alarm = decode_as(SourceKind::AlibabaCloudmonitor, &form, b"alertName=x");
    assert!(matches!(alarm, Err(DecodeError::Field { .. })), "{alarm:?}");
    let not_utf8 = decode_as(SourceKind::AlibabaCloudmonitor, &[], b"{\n\"\xff").expect_err("not UTF-8");
    assert_eq!(not_utf8.position(), Some((2, 2)));
}

#[test]
fn binary_mode_reads_headers_once_unquoted_and_once_percent_decoded() {
    let decode = |headers: &[(&str, &str)], body: &[u8]| {
        let given = [("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t"), ("ce-specversion", "1.0")];
        let headers: Vec<_> = given.into_iter().chain(headers.iter().copied()).collect();
        decode_as(SourceKind::Cloudevents, &headers, body)
    };
    for (sent, read) in [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        (r#""a \"b\" c""#, "a \"b\" c"),
        ("%2541", "%41"),
        ("100%", "100%"),
        ("%e2%82%ac", "€"),
    ] {
        let events = decode(&[("ce-subject", sent)], b"").expect(sent);
        assert_eq!(events[0].subject.as_deref(), Some(read), "{sent}");
    }
    for bad in ["%C0%A0", "\"open", "%00", ""] {
        assert!(decode(&[("ce-subject", bad)], b"").is_err(), "{bad}");
    }
    for header in ["ce-id", "ce-Bad", "ce-a_b", "ce-"] {
        assert!(decode(&[(header, "1")], b"").is_err(), "{header}");
    }
    for (content_type, body, data) in [
        ("application/json", &b" {\"a\": 1} "[..], r#"{"a": 1}"#),
        ("application/vnd.x+json; charset=utf-8", b"[]", "[]"),
        ("text/plain", b"a\"b", r#""a\"b""#),
        ("", b"{\"a\":1}", r#"{"a":1}"#),
        ("", b"plain", r#""plain""#),
        ("application/octet-stream", b"\xff\x00", r#"{"data_base64":"/wA="}"#),
        ("application/json", b"", "null"),
    ] {
        let headers = [("content-type", content_type), ("ce-time", "2018-04-05T17:31:00Z")];
        let event = decode(&headers, body).expect(content_type).remove(0);
        assert_eq!(event.data, data);
        assert_eq!((event.id.as_str(), event.kind.as_str()), ("1 /s", "t"));
        assert_eq!(event.time.to_iso_seconds(), "2018-04-05T17:31:00Z");
    }
    let malformed = decode(&[("content-type", "application/json")], b"{\"a\":}").expect_err("malformed");
    assert_eq!(malformed.position(), Some((1, 6)));
}

#[test]
fn structured_mode_takes_data_as_it_is_or_in_base64() {
    let with = |rest: &str| {
        structured(&format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{rest}}}"#))
    };
    for (rest, data) in [
        ("", "null"),
        (r#","data":{"a": 1.0}"#, r#"{"a": 1.0}"#),
        (r#","data":"<x/>","datacontenttype":"application/xml""#, r#""<x/>""#),
        (r#","data_base64":"eyJhIjoxfQ==""#, r#"{"a":1}"#),
        (r#","data_base64":"PHgvPg==","datacontenttype":"application/xml""#, r#""<x/>""#),
        (r#","subject":null,"comexampleother":5,"tags":{"a":"b"}"#, "null"),
    ] {
        assert_eq!(with(rest).expect(rest).data, data);
    }
    for (rest, wanted) in [
        (r#","data":1,"data_base64":"""#, "send one of them"),
        (r#","data_base64":"?""#, "not base64"),
        (r#","data_base64":1"#, "not a string"),
        (r#","data_base64":"ew==","datacontenttype":"application/json""#, "unreadable JSON"),
        (r#","time":"yesterday""#, "RFC 3339"),
        (r#","subject":"""#, "is empty"),
        (r#","Upper":1"#, "lower-case letters and digits"),
        (r#","subject":"a","subject":"b""#, "is there twice"),
        (r#","data":{"a":1,"a":2}"#, "is there twice"),
    ] {
        let error = with(rest).expect_err(rest).to_string();
        assert!(error.contains(wanted), "{rest}: {error}");
    }
    for (body, wanted) in [
        (r#"{"specversion":"1.0","id":null,"source":"/s","type":"t"}"#, "is missing"),
        (r#"{"specversion":"0.3","id":"1","source":"/s","type":"t"}"#, "only `1.0` is known"),
        (r#"{"specversion":"1.0","id":"1","source":"a b","type":"t"}"#, "URI-reference"),
    ] {
        let error = structured(body).expect_err(body).to_string();
        assert!(error.contains(wanted), "{body}: {error}");
    }
    assert_eq!(
        with(r#","time":1615430559146,"region":"ap-guangzhou""#).expect("valid").time.ms(),
        1_615_430_559_146
    );
}

#[test]
fn two_senders_may_use_the_same_id() {
    let id = |source: &str| {
        structured(&format!(r#"{{"specversion":"1.0","id":"1","source":"{source}","type":"t"}}"#))
            .expect(source)
            .id
    };
    assert_ne!(id("/a"), id("/b"));
}

#[test]
fn a_batch_is_read_whole_or_not_at_all() {
    let batch = |body: &str| {
        let headers = [("content-type", "application/cloudevents-batch+json; charset=UTF-8")];
        decode_as(SourceKind::Cloudevents, &headers, body.as_bytes())
    };
    let good = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
    assert_eq!(batch("[]"), Ok(vec![]));
    assert_eq!(batch(&format!("[{good},{}]", good.replace("\"1\"", "\"2\""))).expect("valid").len(), 2);
    let half = batch(&format!(r#"[{good},{{"id":"2"}}]"#));
    assert!(matches!(half, Err(DecodeError::InBatch { index: 1, .. })), "{half:?}");
    let many = format!("[{}]", vec!["{}"; BATCH_EVENTS_MAX + 1].join(","));
    assert_eq!(batch(&many), Err(DecodeError::BatchTooLarge { events: BATCH_EVENTS_MAX + 1 }));
}

#[test]
fn what_is_no_cloudevent_is_refused_by_its_content_type() {
    for content_type in ["application/cloudevents+avro", "text/plain"] {
        let result = decode_as(SourceKind::Cloudevents, &[("content-type", content_type)], b"{}");
        assert!(matches!(result, Err(DecodeError::Unsupported(_))), "{content_type}: {result:?}");
    }
}

#[test]
fn data_that_grows_over_the_limit_as_json_is_refused() {
    let headers = [
        ("ce-id", "1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("ce-specversion", "1.0"),
        ("content-type", "text/plain"),
    ];
    let result = decode_as(SourceKind::Cloudevents, &headers, &vec![1; BODY_BYTES_MAX]);
    assert!(matches!(result, Err(DecodeError::DataTooLarge { .. })));
}

/// JSON-like text: every token that matters to a decoder, in any order.
fn json_like() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "null",
        "1e9",
        "-",
        "\"name\":",
        "\"content\":",
        "\"id\":\"1\"",
        "\"specversion\":\"1.0\"",
        "\"source\":\"s\"",
        "\"type\":\"t\"",
        "\"data\":",
        "\"data_base64\":\"",
        "é",
        "\n",
        "\"{\\\"a\\\":1}\"",
        "\"time\":\"20180608T092537.410+0800\"",
        "\"resourceId\":\"acs:ecs:::i\"",
    ]);
    prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn decoding_never_panics(
        body in prop_oneof![json_like().prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..200)],
        content_type in prop::sample::select(vec![
            "", "application/json", "application/cloudevents+json", "application/cloudevents-batch+json", "text/plain",
        ]),
        value in any::<String>(),
    ) {
        for kind in hostile::delivered() {
            for headers in [vec![("content-type", content_type)], vec![
                ("content-type", content_type), ("ce-id", "1"), ("ce-source", "s"), ("ce-type", "t"),
                ("ce-specversion", "1.0"), ("ce-subject", value.as_str()), ("ce-time", value.as_str()),
            ]] {
                drop(hostile::read(kind, &headers, &body));
            }
        }
    }
}
