//! Notices of one incident: whatever their order, number and way, each policy is woken by each transition once, and by late ones only
//! where it names them.

use super::*;
use Transition::{Avoided, Canceled, Executed, Executing, Firing, Resolved, Scheduled};
use opsward::store::{Acceptance, RetainedUpTo, RunFilter, Standing};
use opsward_core::event::{Transition, manual_source};

/// The next notice of incident `key`, from the source that `id` begins with.
pub(super) fn notice(id: &str, key: &str, transition: Transition, policies: &[&str]) -> NewEvent {
    let mut new = event(id, NOW, policies);
    new.event.source = id.split('/').next().unwrap_or_default().parse().expect("a source name");
    new.event.incident = Some(key.to_owned());
    new.event.transition = Some(transition);
    for run in &mut new.runs {
        run.id = RunId::derive(&new.event.source, id, &run.policy);
        if run.policy.as_str().starts_with("names") {
            run.wants = Wants::Transition;
        }
    }
    new
}

pub(super) fn at(ms: i64, new: NewEvent) -> NewEvent {
    let event = Event { time: after(ms), ..new.event };
    NewEvent { event, received: after(ms), ..new }
}

/// Records one after the other; whose runs each starts.
pub(super) async fn woken(store: &dyn Store, notices: Vec<NewEvent>) -> Vec<String> {
    let mut woken = Vec::new();
    for new in notices {
        let id = new.event.id.clone();
        let accepted = store.accept(vec![new]).await.expect("accepted");
        let listed = store.list_events(EventFilter::latest(1)).await.expect("listed").remove(0);
        assert_eq!(accepted, [Acceptance::New { runs: listed.runs.len() }], "{id}");
        assert_eq!(listed.event.id, id, "recorded, whoever is woken");
        woken.push(policies_of(store, &id).await);
    }
    woken
}

/// Whose runs an event started, in order.
async fn policies_of(store: &dyn Store, id: &str) -> String {
    let runs = store.list_runs(RunFilter { limit: 1000, ..RunFilter::default() }).await.expect("listed");
    let mut names: Vec<_> =
        runs.iter().filter(|run| run.event_id == id).map(|run| run.policy.to_string()).collect();
    names.sort();
    names.join(" ")
}

pub(super) async fn a_notice_wakes_a_policy_once_and_late_only_where_it_is_named<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let both = &["any", "names"];
    let table = [
        ("in order", vec![(Scheduled, "any names"), (Executing, "any names"), (Executed, "any names")]),
        (
            "repeated",
            vec![(Executing, "any names"), (Executing, ""), (Executed, "any names"), (Executed, "")],
        ),
        (
            "out of order",
            vec![(Executed, "any names"), (Executing, "names"), (Scheduled, "names"), (Executing, "")],
        ),
        (
            "an end stays",
            vec![(Scheduled, "any names"), (Avoided, "any names"), (Canceled, "names"), (Executed, "names")],
        ),
    ];
    for (name, notices) in table {
        let expected: Vec<&str> = notices.iter().map(|(_, woken)| *woken).collect();
        let notices = notices.iter().enumerate();
        let notices = notices
            .map(|(nth, (transition, _))| notice(&format!("hook/{name}/{nth}"), name, *transition, both));
        assert_eq!(woken(&*store, notices.collect()).await, expected, "{name}");
    }
}

pub(super) async fn a_happening_that_comes_by_two_ways_wakes_each_policy_once<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    // `one` takes events of the first way only, `other` those of the second, `both` any.
    let notices = vec![
        notice("hook/1", "i", Executing, &["both", "one"]),
        notice("bus/1", "i", Executing, &["both", "other"]),
        notice("queue/1", "i", Executing, &["both", "one", "other"]),
        notice("bus/2", "i", Executed, &["both", "other"]),
        notice("hook/2", "i", Executed, &["both", "one"]),
        notice("hook/3", "i", Executing, &["both", "new-one"]),
        notice("hook/4", "another", Executing, &["both"]),
    ];
    let expected = ["both one", "other", "", "both other", "one", "", "both"];
    assert_eq!(woken(&*store, notices).await, expected);
}

pub(super) async fn an_alarm_that_fires_anew_wakes_anew<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let hour = 3_600_000;
    let notices = vec![
        at(0, notice("hook/1", "alarm", Firing, &["a"])),
        at(hour, notice("hook/2", "alarm", Firing, &["a"])),
        at(2 * hour, notice("hook/3", "alarm", Resolved, &["a"])),
        at(hour, notice("hook/4", "alarm", Firing, &["a"])),
        at(3 * hour, notice("hook/5", "alarm", Firing, &["a"])),
        at(4 * hour, notice("hook/6", "alarm", Firing, &["a"])),
        at(4 * hour, notice("hook/7", "alarm", Resolved, &["a"])),
        at(5 * hour, notice("hook/8", "alarm", Firing, &["a"])),
        // The end of a firing before, which comes late, does not end this one.
        at(4 * hour, notice("hook/9", "alarm", Resolved, &["a"])),
        at(6 * hour, notice("hook/9a", "alarm", Firing, &["a"])),
        // Its own end got lost, or it goes on and on.
        at(52 * hour, notice("hook/9b", "alarm", Firing, &["a"])),
        at(53 * hour, notice("hook/9c", "alarm", Firing, &["a"])),
    ];
    let expected = ["a", "", "a", "", "a", "", "a", "a", "", "", "", "a"];
    assert_eq!(woken(&*store, notices).await, expected);
    // A sender's clock that runs ahead does not make the next one late.
    let mut ahead = at(54 * hour, notice("hook/10", "alarm", Resolved, &["a"]));
    ahead.event.time = after(9999 * hour);
    let next = at(55 * hour, notice("hook/11", "alarm", Firing, &["a"]));
    assert_eq!(woken(&*store, vec![ahead, next]).await, ["a", "a"]);
}

pub(super) async fn an_alarm_that_fires_graver_wakes_once_more<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let fires = |ms: i64, level: &str, policies: &[&str]| {
        let mut new = at(ms, notice(&format!("hook/{ms}"), "alarm", Firing, policies));
        new.event.level = Some(level.to_owned());
        new
    };
    let notices = vec![
        fires(0, "WARN", &["any", "warned"]),
        fires(1, "WARN", &["any", "warned"]),
        fires(2, "CRITICAL", &["any"]),
        fires(3, "CRITICAL", &["any", "other-source"]),
        fires(4, "WARN", &["any", "warned"]),
        fires(5, "CRITICAL", &["any"]),
        at(6, notice("hook/6", "alarm", Resolved, &["any"])),
        fires(7, "INFO", &["any"]),
    ];
    let expected = ["any warned", "", "any", "other-source", "", "", "any", "any"];
    assert_eq!(woken(&*store, notices).await, expected);
}

pub(super) async fn what_is_no_notice_wakes_always_and_moves_nothing<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let without = |id: &str, incident: Option<&str>, transition| {
        let mut new = notice(id, "i", Executed, &["a"]);
        new.event.incident = incident.map(str::to_owned);
        new.event.transition = transition;
        new
    };
    let mut given = notice("hook/given", "i", Executed, &["a"]);
    given.event.source = manual_source();
    let notices = vec![
        without("hook/1", None, None),
        without("hook/2", None, Some(Executed)),
        without("hook/3", None, Some(Executed)),
        without("hook/4", Some("i"), None),
        given,
        notice("hook/5", "i", Scheduled, &["a"]),
        notice("hook/6", "i", Executed, &["a"]),
        without("hook/7", Some("i"), None),
    ];
    assert_eq!(woken(&*store, notices).await, ["a"; 8]);
}

pub(super) async fn notices_of_one_delivery_and_through_restarts_count_as_if_they_came_alone<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let batch = vec![
        notice("hook/1", "i", Executing, &["any", "names"]),
        notice("hook/1", "i", Executing, &["any", "names"]),
        notice("hook/2", "i", Executed, &["any"]),
        notice("hook/3", "i", Executing, &["any", "names-too"]),
        notice("hook/4", "j", Executing, &["any"]),
        notice("hook/5", "i", Executed, &["any", "names"]),
    ];
    let new = |runs| Acceptance::New { runs };
    let answers = store.accept(batch.clone()).await.expect("accepted");
    assert_eq!(answers, [new(2), Acceptance::Duplicate, new(1), new(1), new(1), new(1)]);
    let expected = ["any names", "any", "names-too", "any", "names"];
    for (nth, expected) in (1..).zip(expected) {
        assert_eq!(policies_of(&*store, &format!("hook/{nth}")).await, expected);
    }
    let killed = lab.killed();
    store.close().await.expect("closed");
    for lab in [lab, killed] {
        let store = lab.open();
        assert_eq!(store.accept(batch.clone()).await.expect("accepted"), vec![Acceptance::Duplicate; 6]);
        let late = notice("bus/1", "i", Executing, &["any", "names", "names-three"]);
        let again = notice("bus/2", "i", Executed, &["any", "names"]);
        assert_eq!(woken(&*store, vec![late, again]).await, ["names-three", ""]);
        // Runs are found by their numbers also where some of an event's were not started.
        for run in store.claim(100, after(1000)).await.expect("claimed") {
            let from = run.event.id.as_str();
            assert!(policies_of(&*store, from).await.contains(run.policy.as_str()), "{from}");
            store.finish(&run.claim, vec![], Standing::Done).await.expect("finished");
        }
    }
}

pub(super) async fn an_incident_is_kept_as_long_as_the_latest_of_its_events<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let day = 24 * 3_600_000;
    let notices = vec![
        at(-100 * day, notice("hook/1", "gone", Executed, &[])),
        at(-100 * day, notice("hook/2", "kept", Executed, &["a"])),
        at(-day, notice("hook/3", "kept", Executed, &["a"])),
        at(-day, notice("hook/4", "newest", Executed, &[])),
    ];
    assert_eq!(woken(&*store, notices).await, ["", "a", "", ""]);
    let run = store.claim(1, after(-100 * day)).await.expect("claimed").remove(0);
    let records = vec![Record { at: after(-100 * day), ..line("x") }];
    store.finish(&run.claim, records, Standing::Done).await.expect("finished");
    let mut from = Some(RetainedUpTo::default());
    while let Some(up_to) = from {
        from = store.retain(after(-90 * day), up_to).await.expect("deleted").next;
    }
    let left =
        store.list_events(EventFilter::latest(10)).await.expect("listed").into_iter().map(|row| row.event.id);
    assert_eq!(
        left.collect::<Vec<_>>(),
        ["hook/4", "hook/3", "hook/2"],
        "the newest run stays, and its event"
    );
    let late = ["gone", "kept", "newest"].map(|key| notice(&format!("bus/{key}"), key, Executing, &["a"]));
    assert_eq!(woken(&*store, late.into()).await, ["a", "", ""]);
}

pub(super) async fn events_are_listed_by_incident_source_type_and_id<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    for (id, key, kind) in [
        ("hook/1", "i", "Instance:Reboot:Executing"),
        ("bus/2", "i", "Instance:Reboot:Executed"),
        ("hook/3", "j%_", "Instance:Re_boot%:Executed"),
        ("hook/30", "j", "Disk:Stalled"),
    ] {
        let mut new = notice(id, key, Executing, &[]);
        new.event.kind = kind.to_owned();
        store.accept(vec![new]).await.expect("accepted");
    }
    let list = async |incident: &str, source: &str, kind: &str, id: &str, limit| {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let source = some(source).map(|name| name.parse().expect("a source name"));
        let filter = EventFilter { incident: some(incident), source, kind: some(kind), id: some(id), limit };
        let rows = store.list_events(filter).await.expect("listed");
        rows.into_iter().map(|row| row.event.id).collect::<Vec<_>>()
    };
    assert_eq!(list("", "", "", "", 0).await, ["hook/30", "hook/3", "bus/2", "hook/1"]);
    assert_eq!(list("i", "", "", "", 0).await, ["bus/2", "hook/1"]);
    assert_eq!(list("i", "hook", "", "", 0).await, ["hook/1"]);
    assert_eq!(list("", "", "instance:*", "", 2).await, ["hook/3", "bus/2"]);
    assert_eq!(list("", "", "*:executed", "", 0).await, ["hook/3", "bus/2"]);
    assert_eq!(list("", "", "instance:re_*", "", 0).await, ["hook/3"]);
    assert_eq!(list("", "", "Disk:Stalled", "", 0).await, ["hook/30"]);
    assert_eq!(list("", "", "Disk", "", 0).await, [""; 0]);
    assert_eq!(list("", "", "", "hook/3", 0).await, ["hook/30", "hook/3"]);
    assert_eq!(list("nothing", "", "", "", 0).await, [""; 0]);
}
