//! The index against asking one by one, for random entries and events.

use super::*;
use proptest::prelude::*;

/// Texts that are often equal, or begin or end alike.
fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "ab", "abc", "b", "bc", "a:b", "A:B", "abcabc", "c", "5", "5.5"])
        .prop_map(str::to_owned)
}

fn texts(stars: bool) -> impl Strategy<Value = Option<OneOrMany>> {
    let glob = (text(), prop::bool::ANY, text(), 0..4).prop_map(move |(one, star, other, form)| match form {
        _ if !(stars && star) => one,
        0 => format!("{one}*"),
        1 => format!("*{one}"),
        2 => format!("{one}*{other}"),
        _ => "*".to_owned(),
    });
    prop::option::weighted(0.3, prop::collection::vec(glob, 1..3).prop_map(OneOrMany))
}

fn data_test() -> impl Strategy<Value = DataTest> {
    let end = || prop::option::of((-3_i32..7).prop_map(|n| f64::from(n) / 2.0));
    let range = (end(), end()).prop_filter_map("a range", |(min, below)| {
        let table = TestTable { min, below, ..TestTable::default() };
        (min.is_some() || below.is_some()).then_some(DataTest::Passes(table))
    });
    let ends = (prop::option::of(text()), text()).prop_map(|(prefix, suffix)| {
        DataTest::Passes(TestTable { prefix, suffix: Some(suffix), ..TestTable::default() })
    });
    let exists = prop::bool::ANY
        .prop_map(|there| DataTest::Passes(TestTable { exists: Some(there), ..TestTable::default() }));
    prop_oneof![
        text().prop_map(|text| DataTest::Is(Scalar::Text(text))),
        (0_i64..4).prop_map(|number| DataTest::Is(Scalar::Integer(number))),
        prop::bool::ANY.prop_map(|truth| DataTest::Is(Scalar::Bool(truth))),
        range,
        ends,
        exists,
    ]
}

fn entry() -> impl Strategy<Value = OnEntry> {
    let path = prop::sample::select(vec!["a", "b", "a.a", "a.b", "b.0", "b.1.a"]).prop_map(str::to_owned);
    let any_of = prop::collection::vec(data_test(), 1..3).prop_map(AnyOf);
    let data = prop::option::of(prop::collection::btree_map(path, any_of, 1..3).prop_map(DataTests));
    let words = prop::sample::subsequence(vec!["executed", "executing", "firing"], 1..3)
        .prop_map(|words| OneOrMany(words.into_iter().map(str::to_owned).collect()));
    let source = prop::option::weighted(0.3, prop::sample::select(vec!["s", "t"]));
    let source = source.prop_map(|source| source.map(|name| OneOrMany(vec![name.to_owned()])));
    let transition = prop::option::weighted(0.2, words);
    (source, texts(true), texts(true), texts(true), texts(true), texts(true), transition, data).prop_map(
        |(source, kind, subject, region, account, level, transition, data)| OnEntry {
            source,
            kind,
            subject,
            region,
            account,
            level,
            transition,
            data,
        },
    )
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        prop::bool::ANY.prop_map(Into::into),
        (0_i64..4).prop_map(Into::into),
        (-3_i32..7).prop_map(|n| (f64::from(n) / 2.0).into()),
        text().prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let key = prop::sample::select(vec!["a", "b", "c", "0"]).prop_map(str::to_owned);
        let object = prop::collection::btree_map(key, inner.clone(), 0..3);
        prop_oneof![
            prop::collection::vec(inner, 0..3).prop_map(serde_json::Value::Array),
            object.prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

fn some_event() -> impl Strategy<Value = Event> {
    let maybe = || prop::option::of(text());
    let transition = prop::option::of(prop::sample::select(vec![Transition::Executed, Transition::Firing]));
    let source = prop::sample::select(vec!["s", "t", "u"]);
    (source, text(), maybe(), maybe(), maybe(), maybe(), transition, json()).prop_map(
        |(source, kind, subject, region, account, level, transition, data)| Event {
            source: source.parse().expect("a name"),
            kind,
            subject,
            region,
            account,
            level,
            transition,
            data: data.to_string(),
            ..event()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_just_those_that_match_when_asked_one_by_one(
        policies in prop::collection::vec(prop::collection::vec(entry(), 0..3), 0..20),
        events in prop::collection::vec(some_event(), 1..8),
    ) {
        // A random entry may be one that is refused: its policy has none.
        let all: Vec<Patterns> = policies.iter().map(|on| Patterns::compile(on).unwrap_or_default()).collect();
        let index = Index::build(all.iter());
        for event in events {
            prop_assert_eq!(woken(&index, &event), naively(&all, &event), "{:?}", event);
        }
    }
}
