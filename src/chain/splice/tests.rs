//! Splicing bytes has to say the same as patching a tree. `json-patch` on trees is the judge.

use bytes::Bytes;
use json_patch::Patch;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::limits;

fn operations(operations: Value) -> Patch {
    crate::hook::json_patch(operations).unwrap()
}

fn patched(text: &str, changes: Value) -> Result<String, String> {
    let done = patch(&Bytes::from(text.to_owned()), &operations(changes));
    done.map(|text| String::from_utf8(text).unwrap()).map_err(|refused| refused.to_string())
}

fn merged(text: &str, change: &Value) -> Result<String, String> {
    let done = merge(&Bytes::from(text.to_owned()), change.as_object().unwrap());
    done.map(|text| String::from_utf8(text).unwrap()).map_err(|refused| refused.to_string())
}

#[test]
fn what_no_patch_touches_stays_as_it_is_written() {
    let text = r#" {"z" : 1.0, "n":[1e5 , 18446744073709551616,-0.0],"m":"\u0061","k\u0065y":"\/"} "#;
    let kept = [r#""z" : 1.0"#, "[1e5 , 18446744073709551616,-0.0]", r#""k\u0065y":"\/""#];
    for done in [
        merged(text, &json!({"m": "b", "new": null})),
        patched(text, json!([{"op": "replace", "path": "/m", "value": "b"}])),
    ] {
        let done = done.unwrap();
        assert!(kept.iter().all(|kept| done.contains(kept)), "{done}");
        assert_eq!(serde_json::from_str::<Value>(&done).unwrap()["m"], "b");
    }
}

#[test]
fn neighbours_of_an_item_stay_as_they_are_written() {
    let done = patched("{\"x\":[1e5, 2.50,3]}", json!([{"op": "remove", "path": "/x/2"}]));
    assert_eq!(done.as_deref(), Ok("{\"x\":[1e5, 2.50]}"));
}

#[test]
fn a_key_that_is_touched_must_not_be_there_twice() {
    let twice = r#"{"a":{"x":1,"\u0078":2},"b":0}"#;
    for change in
        [json!({"op": "remove", "path": "/a/x"}), json!({"op": "add", "path": "/a/x/y", "value": 1})]
    {
        let refused = patched(twice, json!([change])).unwrap_err();
        assert!(refused.ends_with("the body has the key 'x' twice in one object"), "{refused}");
    }
    assert!(merged(twice, &json!({"a": {"x": null}})).unwrap_err().contains("'x' twice"));
    assert_eq!(merged(twice, &json!({"b": 1})).as_deref(), Ok(r#"{"a":{"x":1,"\u0078":2},"b":1}"#));
}

#[test]
fn copies_that_double_each_time_end_at_a_bound() {
    let double = json!({"op": "copy", "from": "/x", "path": "/x/-"});
    let refused = patched(r#"{"x":["some text"]}"#, Value::from(vec![double; 40])).unwrap_err();
    assert!(refused.ends_with(&format!("copies more than {} bytes", limits::PATCH_COPIED_BYTES_MAX)));
}

#[test]
fn a_body_is_not_read_without_end() {
    let members: Vec<String> = (0..1_000).map(|n| format!("\"key{n}\":{n}")).collect();
    let text = Bytes::from(format!("{{{}}}", members.join(",")));
    let search = json!({"op": "replace", "path": "/key999", "value": 1});
    let within = |operations: usize| {
        let changes = crate::hook::json_patch(Value::from(vec![search.clone(); operations])).unwrap();
        super::patch::patch_within(Reading { left: 10 * text.len() }, &text, &changes)
    };
    assert!(within(5).is_ok());
    let refused = within(20).unwrap_err().to_string();
    assert!(refused.ends_with("read the body too often"), "{refused}");
}

#[test]
fn a_patch_of_very_many_operations_is_refused() {
    let test = json!({"op": "test", "path": "/x", "value": {}});
    let refused = patched(r#"{"x":{}}"#, Value::from(vec![test; 1_001])).unwrap_err();
    assert_eq!(refused, "its patch has 1001 operations, the limit is 1000");
}

#[test]
fn an_operation_that_fails_is_named() {
    let refused = patched(
        r#"{"model":"m"}"#,
        json!([
            {"op": "copy", "from": "/model", "path": "/was"},
            {"op": "move", "from": "/nowhere", "path": "/here"},
        ]),
    );
    let why = "there is nothing at the place it takes its value from";
    assert_eq!(refused, Err(format!("operation '/1' failed at path '/here': {why}")));
}

const SPACE: [&str; 4] = ["", "", " ", "\n\t"];
/// Keys as they may be written.
const KEYS: [&str; 7] = ["a", "\\u0062", "a/b", "a~b", "0", "", "-"];
const LEAVES: [&str; 10] = [
    "null",
    "true",
    "-0.0",
    "1e5",
    "1",
    "12345678901234567890123",
    "\"x\"",
    "\"\\u0061\"",
    "\" ]},\\\"\"",
    "\"1\"",
];

fn space() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&SPACE[..])
}

fn text() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(&LEAVES[..]).prop_map(str::to_owned);
    leaf.prop_recursive(4, 40, 5, |inner| {
        let spaced = (space(), inner, space())
            .prop_map(|(before, value, after)| format!("{before}{value}{after}"))
            .boxed();
        let array = prop::collection::vec(spaced.clone(), 0..5);
        let keys = prop::sample::subsequence(&KEYS[..], 0..KEYS.len()).prop_shuffle();
        let object = (keys, prop::collection::vec(spaced, KEYS.len()), space());
        prop_oneof![
            array.prop_map(|items| format!("[{}]", items.join(","))),
            object.prop_map(|(keys, values, gap)| {
                let members = keys.iter().zip(values);
                let members: Vec<_> =
                    members.map(|(key, value)| format!("{gap}\"{key}\"{gap}:{value}")).collect();
                format!("{{{}{gap}}}", members.join(","))
            }),
        ]
    })
}

fn tree(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn pointers(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointers(item, &format!("{path}/{index}"), found);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                pointers(member, &format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        _ => {}
    }
}

/// One operation to be made for a tree: which, where from, where to, below what, and a value.
type Seed = (usize, prop::sample::Index, prop::sample::Index, Option<&'static str>, String);

fn seed() -> impl Strategy<Value = Seed> {
    let below =
        prop::option::of(prop::sample::select(vec!["a", "b", "0", "1", "2", "00", "-", "a~1b", "x", ""]));
    (0..7usize, any::<prop::sample::Index>(), any::<prop::sample::Index>(), below, text())
}

fn operation(tree: &Value, (kind, from, path, below, value): Seed) -> Value {
    let mut known = Vec::new();
    pointers(tree, "", &mut known);
    let from = from.get(&known).clone();
    let at = path.get(&known).clone();
    let path = below.map_or(at.clone(), |below| format!("{at}/{below}"));
    let value: Value = serde_json::from_str(&value).unwrap();
    match kind {
        0 | 1 => json!({"op": "add", "path": path, "value": value}),
        2 => json!({"op": "remove", "path": path}),
        3 => json!({"op": "replace", "path": path, "value": value}),
        4 => json!({"op": "move", "from": from, "path": path}),
        5 => json!({"op": "copy", "from": from, "path": path}),
        _ => {
            let there = tree.pointer(&at).unwrap();
            json!({"op": "test", "path": at, "value": if from.len() % 4 == 0 { &value } else { there }})
        }
    }
}

/// Applies the same operations to the text and to its tree, as they are made one by one.
fn compare(text: &str, seeds: Vec<Seed>) -> Result<(), TestCaseError> {
    let (mut expected, mut changes) = (tree(text), Vec::new());
    for seed in seeds {
        let change = operation(&expected, seed);
        let alone = operations(json!([change]));
        changes.push(change);
        if json_patch::patch(&mut expected, &alone).is_err() {
            // The rest is made for a tree that is never reached.
            let all = operations(Value::from(changes));
            prop_assert!(patch(&Bytes::from(text.to_owned()), &all).is_err(), "{text} {all}");
            return Ok(());
        }
    }
    let all = operations(Value::from(changes));
    let spliced = patch(&Bytes::from(text.to_owned()), &all);
    let spliced = spliced.map_err(|refused| TestCaseError::fail(format!("{text} {all}: {refused}")))?;
    prop_assert_eq!(serde_json::from_slice::<Value>(&spliced).unwrap(), expected, "{} {}", text, all);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_json_patch_says_of_text_what_it_says_of_a_tree(text in text(), seeds in prop::collection::vec(seed(), 1..8)) {
        compare(&text, seeds)?;
    }

    #[test]
    fn a_merge_patch_says_of_text_what_it_says_of_a_tree(text in text(), change in text()) {
        let change = tree(&change);
        let Value::Object(members) = &change else { return Ok(()) };
        let mut expected = tree(&text);
        json_patch::merge(&mut expected, &change);
        let spliced = merge(&Bytes::from(text.clone()), members).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(&spliced).unwrap(), expected, "{} {}", text, change);
    }

    #[test]
    fn text_says_what_its_tree_says(text in text(), other in text()) {
        let (value, other) = (tree(&text), tree(&other));
        prop_assert!(compare::says(text.as_bytes(), &value).unwrap());
        prop_assert_eq!(compare::says(text.as_bytes(), &other).unwrap(), value == other);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// Large enough for several runs of untouched neighbours.
    #[test]
    fn items_and_members_far_inside_are_found(seeds in prop::collection::vec(seed(), 1..8)) {
        let items: Vec<String> = (0..600).map(|n| format!("[{n}, \"{n}\"]")).collect();
        let members: Vec<String> = (0..600).map(|n| format!("\"key{n}\":{n}")).collect();
        let text = format!("{{\"x\":[{}],\"o\":{{{}}}}}", items.join(" ,"), members.join(", "));
        compare(&text, seeds)?;
    }
}
