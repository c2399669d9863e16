//! Kind `generic`: any JSON, read by the operator's `Mapping`. What a path does not lead to is left out, but for the type, which
//! every event has. Leaves reading the mapping itself to `mapping`. Tested below.

use super::json::{self, scalar_text};
use super::mapping::{Mapping, Place};
use super::{
    BODY_BYTES_MAX, DecodeError, Delivery, Event, Transition, checked, each_item, id_at, parse_vendor_time,
};
use crate::id::{Digest, SourceName};
use crate::time::Timestamp;
use serde_json::Value;

impl Mapping {
    /// Turns a delivery to `source` into the events it carries.
    pub fn decode(
        &self,
        source: &SourceName,
        delivery: &Delivery<'_>,
        received: Timestamp,
    ) -> Result<Vec<Event>, DecodeError> {
        let body = json::value(json::text(delivery.body)?)?;
        let Some(each) = &self.each else {
            return checked(vec![self.event(source, &body, received)?]);
        };
        let Some(Value::Array(items)) = each.find(&body) else {
            return Err(DecodeError::field("each", format!("finds no list at `{}`", each.written())));
        };
        each_item(items.iter().collect(), |item| self.event(source, item, received).map(|event| vec![event]))
    }

    fn event(&self, source: &SourceName, item: &Value, received: Timestamp) -> Result<Event, DecodeError> {
        let text = |place: &Option<Place>| match place.as_ref()? {
            Place::Text(text) => Some(text.clone()),
            path => path.find(item).and_then(scalar_text),
        };
        let kind = match &self.kind {
            Place::Text(text) => text.clone(),
            path => path.find(item).and_then(scalar_text).ok_or_else(|| {
                DecodeError::field(
                    "type",
                    format!("finds neither a text nor a number at `{}`", path.written()),
                )
            })?,
        };
        let transition = text(&self.transition).and_then(|word| {
            let told = self.transitions.get(&word.to_lowercase()).copied();
            told.or_else(|| Transition::of_status(&word))
        });
        let incident = text(&self.incident);
        let time = text(&self.time).and_then(|text| parse_vendor_time(&text));
        let id = match text(&self.id) {
            // What names an incident is the same each time it happens, and is often taken for an id.
            Some(id) => match incident.as_ref().and(transition).and(time) {
                Some(time) => format!("{} {}", id_at(id, transition), time.to_iso_seconds()),
                None => id_at(id, transition),
            },
            None => Digest::of(json::canonical(item).as_bytes()).to_string(),
        };
        let data = self.data.as_ref().map_or(Some(item), |place| place.find(item));
        let data = data.map_or_else(|| "null".to_owned(), Value::to_string);
        if data.len() > BODY_BYTES_MAX {
            return Err(DecodeError::DataTooLarge { bytes: data.len() });
        }
        Ok(Event {
            subject: text(&self.subject),
            time: time.unwrap_or(received),
            // Its own alone: whoever may post here must not end what another source tells of.
            incident: incident.map(|key| format!("{source}:{key}")),
            account: text(&self.account),
            region: text(&self.region),
            level: text(&self.level),
            transition,
            data,
            ..Event::bare(source, id, kind)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(map: &str, body: &str) -> Result<Vec<Event>, DecodeError> {
        let map = Mapping::compile(&toml::from_str(map).expect("typed")).expect("a mapping");
        let delivery = Delivery { headers: &[], body: body.as_bytes() };
        map.decode(&"in".parse().expect("a name"), &delivery, Timestamp::from_seconds(1_700_000_000))
    }

    const ALERTS: &str = r#"
        each = "$.alerts"
        id = "$.fingerprint"
        type = "$.labels.alertname"
        subject = "$.labels.instance"
        time = "$.startsAt"
        incident = "$.fingerprint"
        region = "'cn-hangzhou'"
        level = "$.labels.severity"
        transition = "$.status"
        transitions = { PROBLEM = "firing" }
        data = "$.labels"
    "#;

    #[test]
    fn each_item_of_a_list_is_an_event() {
        let alert = r#"{"fingerprint":"f-1","status":"resolved","startsAt":"2018-06-08T01:25:37Z",
            "labels":{"alertname":"DiskFull","instance":"i-1","severity":"page"}}"#;
        let body = format!(r#"{{"alerts":[{alert},{}]}}"#, alert.replace("resolved", "problem"));
        let events = read(ALERTS, &body).expect("valid");
        let [over, firing] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((over.id.as_str(), over.kind.as_str()), ("f-1 resolved 2018-06-08T01:25:37Z", "DiskFull"));
        assert_eq!((over.subject.as_deref(), over.region.as_deref()), (Some("i-1"), Some("cn-hangzhou")));
        assert_eq!((over.level.as_deref(), over.incident.as_deref()), (Some("page"), Some("in:f-1")));
        assert_eq!(over.time.to_iso_seconds(), "2018-06-08T01:25:37Z");
        assert_eq!(over.data, r#"{"alertname":"DiskFull","instance":"i-1","severity":"page"}"#);
        assert_eq!(
            (over.transition, firing.transition),
            (Some(Transition::Resolved), Some(Transition::Firing))
        );
    }

    #[test]
    fn an_incident_that_happens_again_under_the_same_id_is_another_event() {
        let firing = |map: &str, at: &str| {
            let alert = format!(
                r#"{{"fingerprint":"f-1","status":"firing","startsAt":"{at}","labels":{{"alertname":"DiskFull"}}}}"#
            );
            read(map, &format!(r#"{{"alerts":[{alert}]}}"#)).expect("valid").remove(0).id
        };
        let at = "2018-06-08T01:25:37Z";
        assert_eq!(firing(ALERTS, at), firing(ALERTS, at), "a repetition is the same");
        assert_ne!(firing(ALERTS, at), firing(ALERTS, "2018-06-09T01:25:37Z"));
        // Without an incident, or a time, the id is all that tells one from the next.
        for key in ["incident", "time"] {
            let lines = ALERTS.lines().filter(|line| !line.trim().starts_with(key));
            let without = lines.collect::<Vec<_>>().join("\n");
            assert_eq!(firing(&without, at), "f-1 firing", "{key}");
        }
    }

    #[test]
    fn what_is_not_there_is_left_out_but_for_the_type() {
        let map = "type = \"$.t\"\nsubject = \"$.s\"\ntime = \"$.when\"\nid = \"$.id\"\n";
        let event = read(map, r#"{"t":"x","s":{},"when":"soon","id":null}"#).expect("valid").remove(0);
        assert_eq!((event.subject, event.time.seconds(), event.id.len()), (None, 1_700_000_000, 64));
        for (body, wanted) in [
            ("{}", "`type` finds neither a text nor a number at `$.t`"),
            (r#"{"t":[]}"#, "at `$.t`"),
            (r#"{"t":"a\nb"}"#, "control character"),
            (r#"{"t":1,"t":2}"#, "there twice"),
            ("", "body is empty"),
        ] {
            let error = read(map, body).expect_err(body).to_string();
            assert!(error.contains(wanted), "{body}: {error}");
        }
        let error = read(ALERTS, r#"{"alerts":{}}"#).expect_err("no list").to_string();
        assert!(error.contains("`each` finds no list at `$.alerts`"), "{error}");
    }
}
