//! Kind `tencent-eventbridge`: what Tencent's EventBridge takes for CloudEvents, one or a list, with what is not in the
//! specification: `time` as a number or its text, `specversion` 0 or 1.0.2, extensions that are objects or lists or have odd names,
//! keys misspelt as in some of its pages. Leaves attributes that are as they must be to `cloudevents`. Tested by the samples and
//! below.
//!
//! Source of the format: the event sources' pages of EventBridge. `status` is `1` while something lasts, `0` once it is over, `-`
//! where it does neither; of a few kinds the type ends in how far it has come.

use super::cloudevents::{self, Attributes};
use super::json::{self, Object, scalar};
use super::{DecodeError, Delivery, Event, Transition, each_item, parse_vendor_time};
use crate::id::SourceName;
use crate::time::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

pub(super) fn decode(
    source: &SourceName,
    delivery: &Delivery<'_>,
    received: Timestamp,
) -> Result<Vec<Event>, DecodeError> {
    if delivery.headers.iter().any(|(name, _)| name.starts_with("ce-")) {
        return cloudevents::decode(source, delivery, received);
    }
    let text = json::text(delivery.body)?;
    match text.trim_start().starts_with('[') {
        true => each_item(json::parse::<Vec<&RawValue>>(text)?, |item| {
            one(source, item.get(), received).map(|event| vec![event])
        }),
        false => one(source, text, received).map(|event| vec![event]),
    }
}

/// Reads one event.
pub(super) fn one(source: &SourceName, text: &str, received: Timestamp) -> Result<Event, DecodeError> {
    let body = json::object(text)?;
    let raw: BTreeMap<String, &RawValue> = json::parse(text)?;
    let data = raw.get("data").map_or("null", |data| data.get()).to_owned();
    let mut attributes = Attributes::new();
    for name in ["id", "source", "type", "subject", "region"] {
        let right = scalar(&body, name).or_else(|| scalar(&body, misspelt(name)?));
        attributes.extend(right.map(|value| (name.to_owned(), value)));
    }
    attributes.insert("specversion".to_owned(), "1.0".to_owned());
    let when = scalar(&body, "time").or_else(|| scalar(&body, misspelt("time")?));
    let resource = Resource::of(&body);
    let event = cloudevents::event(source, &attributes, data, received)?;
    let status = scalar(&body, "status");
    let by_status = match status.as_deref() {
        Some("1") => Some(Transition::Firing),
        Some("0") => Some(Transition::Resolved),
        _ => None,
    };
    Ok(Event {
        time: when.and_then(|text| parse_vendor_time(&text)).unwrap_or(received),
        transition: by_status.or_else(|| by_type(&event.kind)),
        account: resource.account.or_else(|| scalar(body.get("data")?.as_object()?, "appId")),
        region: event.region.clone().or(resource.region),
        ..event
    })
}

/// How some of the vendor's pages write an attribute.
fn misspelt(name: &str) -> Option<&'static str> {
    match name {
        "subject" => Some("subjuect"),
        "time" => Some("timer"),
        _ => None,
    }
}

/// What a type says that ends in it: `cvm:ErrorEvent:InstanceRunningRisksExecuting`.
fn by_type(kind: &str) -> Option<Transition> {
    let is_error = kind.contains(":ErrorEvent:");
    let ends_so = |one: &Transition| {
        let word = one.as_str();
        let tail = kind.len().checked_sub(word.len()).and_then(|at| kind.get(at..));
        tail.is_some_and(|tail| {
            tail.starts_with(|c: char| c.is_ascii_uppercase()) && tail.eq_ignore_ascii_case(word)
        })
    };
    Transition::ALL.into_iter().filter(|_| is_error).find(ends_so)
}

/// What the first `qcs::<product>:<region>:uin/<account>:<resource>` tells.
#[derive(Default)]
struct Resource {
    region: Option<String>,
    account: Option<String>,
}

impl Resource {
    fn of(body: &Object) -> Self {
        let first = body.get("resource").and_then(Value::as_array).and_then(|all| all.first()?.as_str());
        let mut parts = first.filter(|name| name.starts_with("qcs:")).unwrap_or_default().split(':').skip(3);
        let mut named = || parts.next().filter(|part| !part.is_empty()).map(str::to_owned);
        let (region, account) = (named(), named());
        Self { region, account: account.and_then(|account| Some(account.strip_prefix("uin/")?.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{SourceKind, decode};

    fn pushed(body: &str) -> Result<Vec<Event>, DecodeError> {
        let headers = [("content-type".to_owned(), "application/json".to_owned())];
        let delivery = Delivery { headers: &headers, body: body.as_bytes() };
        let received = Timestamp::from_seconds(1_700_000_000);
        decode(SourceKind::TencentEventbridge, &"in".parse().expect("a name"), &delivery, received)
    }

    fn with(rest: &str) -> Event {
        let body =
            format!(r#"{{"id":"1","source":"cvm.cloud.tencent","type":"cvm:ErrorEvent:GuestReboot"{rest}}}"#);
        pushed(&body).expect(rest).remove(0)
    }

    #[test]
    fn what_the_specification_does_not_allow_is_put_right() {
        for (rest, seconds) in [
            (r#","specversion":"1.0","time":1615430559146"#, 1_615_430_559),
            (r#","specversion":"0","time":"1615430559146""#, 1_615_430_559),
            (r#","specversion":1,"timer":1615430559"#, 1_615_430_559),
            (r#","specversion":"1.0.2","time":"2021-03-11T10:42:39+08:00""#, 1_615_430_559),
            (r#","time":"soon""#, 1_700_000_000),
            (r#","Odd_Name":{"a":[1]},"tags":{"k":"v"}"#, 1_700_000_000),
        ] {
            assert_eq!(with(rest).time.seconds(), seconds, "{rest}");
        }
        assert_eq!(with(r#","subjuect":"ins-1""#).subject.as_deref(), Some("ins-1"));
        assert_eq!(with(r#","subject":"ins-2","subjuect":"ins-1""#).subject.as_deref(), Some("ins-2"));
        let named =
            with(r#","resource":["qcs::cvm:ap-guangzhou:uin/100:instance/ins-1"],"data":{"appId":7}"#);
        assert_eq!((named.region.as_deref(), named.account.as_deref()), (Some("ap-guangzhou"), Some("100")));
        let unnamed = with(r#","region":"ap-beijing","data":{"appId":7, "n":1.0}"#);
        assert_eq!((unnamed.region.as_deref(), unnamed.account.as_deref()), (Some("ap-beijing"), Some("7")));
        assert_eq!(unnamed.data, r#"{"appId":7, "n":1.0}"#);
    }

    #[test]
    fn how_far_it_has_come_is_in_the_status_or_ends_the_type() {
        for (rest, transition) in [
            (r#","status":"1""#, Some(Transition::Firing)),
            (r#","status":0"#, Some(Transition::Resolved)),
            (r#","status":"-""#, None),
            ("", None),
        ] {
            assert_eq!(with(rest).transition, transition, "{rest}");
        }
        for (kind, transition) in [
            ("cvm:ErrorEvent:InstanceRunningRisksExecuting", Some(Transition::Executing)),
            ("cvm:ErrorEvent:InstanceRunningRisksAvoided", Some(Transition::Avoided)),
            ("cvm:OperationEvent:InstanceStartFailed", None),
            ("cvm:ErrorEvent:Prefired", None),
            ("é", None),
        ] {
            assert_eq!(by_type(kind), transition, "{kind}");
        }
    }

    #[test]
    fn what_every_event_has_is_still_asked_for() {
        for body in
            ["", "[]x", "1", "{}", r#"{"id":"1","source":"s"}"#, r#"[{"id":"1","source":"s","type":"t"},1]"#]
        {
            assert!(pushed(body).is_err(), "{body}");
        }
        assert_eq!(pushed(r#"[{"id":"1","source":"s","type":"t"}]"#).expect("valid").len(), 1);
    }
}
