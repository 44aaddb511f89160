//! JSON text to tree.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Document;
use super::node::{Entry, Node, Value, quoted};

/// The tree, if the text is JSON. A key written twice is an error: which of the two was meant?
pub(super) fn parse(text: &str, document: &mut Document<'_>) -> Option<Node> {
    // The whole text first: this bounds the depth for the walk below.
    if let Err(error) = serde_json::from_str::<serde_json::Value>(text) {
        document.found(Some(offset_of(text, error.line(), error.column())), "", syntax_error(&error));
        return None;
    }
    let raw: &RawValue = serde_json::from_str(text).expect("the text was just read as JSON");
    Some(node(text, raw, document))
}

/// serde_json's words without its own position.
fn syntax_error(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let words = message.rsplit_once(" at line ").map_or(message.as_str(), |(words, _)| words);
    format!("not JSON: {words}")
}

/// serde_json counts lines from 1 and, within a line, the bytes read so far.
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let line_start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    line_start + column.saturating_sub(1)
}

fn node(text: &str, raw: &RawValue, document: &mut Document<'_>) -> Node {
    let source = raw.get();
    // A borrowed raw value is a part of the text, so its address tells its place.
    let at = source.as_ptr() as usize - text.as_ptr() as usize;
    let value = match source.as_bytes()[0] {
        b'{' => {
            let Pairs(pairs) = reread(source);
            Value::Table(entries(text, pairs, document))
        }
        b'[' => {
            let items: Vec<&RawValue> = reread(source);
            Value::List(items.into_iter().map(|item| node(text, item, document)).collect())
        }
        b'"' => Value::String(reread(source)),
        b't' | b'f' => Value::Boolean(reread(source)),
        b'n' => Value::Null,
        _ => Value::Number(reread(source)),
    };
    Node { at, value }
}

fn reread<'t, T: Deserialize<'t>>(source: &'t str) -> T {
    serde_json::from_str(source).expect("the text was already read as JSON, and its first byte told the type")
}

fn entries(text: &str, pairs: Vec<(String, &RawValue)>, document: &mut Document<'_>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::with_capacity(pairs.len());
    let mut seen = std::collections::HashSet::new();
    for (key, raw) in pairs {
        let node = node(text, raw, document);
        let at = key_before(text, node.at);
        if !seen.insert(key.clone()) {
            document.found(Some(at), "", format!("the key {} is written twice", quoted(&key)));
        }
        entries.push(Entry { key, at, node });
    }
    entries
}

/// Where the key of the value at `value_at` begins: behind it stand only white space and a colon.
fn key_before(text: &str, value_at: usize) -> usize {
    let before = text.as_bytes();
    let closing = before[..value_at].iter().rposition(|byte| *byte == b'"').unwrap_or(value_at);
    let is_escaped =
        |quote: usize| before[..quote].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
    (0..closing).rev().find(|&index| before[index] == b'"' && !is_escaped(index)).unwrap_or(value_at)
}

/// An object's members as they are written, repeated keys included.
struct Pairs<'t>(Vec<(String, &'t RawValue)>);

impl<'t> Deserialize<'t> for Pairs<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'t> Visitor<'t> for Members {
            type Value = Pairs<'t>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Pairs<'t>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn parsed(text: &str) -> (Option<Node>, Vec<String>) {
        let mut document = Document { file: "f.json", text, table_word: "object", found: Vec::new() };
        let root = parse(text, &mut document);
        let told = |found: super::super::Found| {
            let position = super::super::position(text, found.at.unwrap());
            format!("{}:{} {}", position.line, position.column, found.text)
        };
        (root, document.found.into_iter().map(told).collect())
    }

    #[test]
    fn the_tree_says_what_the_text_says_and_where() {
        let text = "{\n  \"a\\\"b\": {\"x\": [1.50, null, \"é\"]},\n  \"c\" :true\n}";
        let (root, errors) = parsed(text);
        assert_eq!(errors, Vec::<String>::new());
        let root = root.unwrap();
        assert_eq!(root.to_json().unwrap().to_string(), r#"{"a\"b":{"x":[1.50,null,"é"]},"c":true}"#);
        let Value::Table(entries) = root.value else { panic!("the root is an object") };
        assert_eq!(entries[0].at, text.find("\"a").unwrap());
        assert_eq!(entries[1].at, text.find("\"c").unwrap());
        assert_eq!(entries[1].node.at, text.find("true").unwrap());
    }

    #[test]
    fn a_syntax_error_and_a_repeated_key_are_told_with_their_place() {
        assert_eq!(parsed("{\n  \"a\": 1,\n}").1, ["3:1 not JSON: trailing comma"]);
        assert_eq!(parsed("").1, ["1:1 not JSON: EOF while parsing a value"]);
        assert_eq!(parsed("{\"a\": 1,\n \"a\": 2}").1, ["2:2 the key \"a\" is written twice"]);
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
        assert_eq!(parsed(&"[".repeat(1 << 20)).1, ["1:128 not JSON: recursion limit exceeded"]);
    }

    /// JSON-like text: mostly almost valid, with what only some readers take.
    fn nearly_json() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"\\u0061\"",
            "\"\\ud83d\"",
            "\"é\"",
            "\"$serde_json::private::RawValue\"",
            "\"$serde_json::private::Number\"",
            "\"[1]\"",
            "true",
            "null",
            "-1.5e3",
            "1e999",
            "01",
            " ",
            "\n",
        ]);
        let leaf = prop_oneof![
            piece.clone().prop_map(str::to_owned),
            Just("7".to_owned()),
            Just("\"x\"".to_owned()),
            Just("\"$serde_json::private::RawValue\"".to_owned()),
        ];
        let nested = leaf.clone().prop_recursive(4, 24, 4, move |inner| {
            let key = prop::sample::select(vec![
                "a",
                "\\u0061",
                "b",
                "\\ud83d",
                "$serde_json::private::RawValue",
                "$serde_json::private::Number",
                "\\u0024serde_json::private::Number",
            ]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
                prop::collection::vec((key, inner), 0..4).prop_map(|members| {
                    let members: Vec<String> =
                        members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        });
        prop_oneof![prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat()), nested]
    }

    proptest! {
        #[test]
        fn any_text_is_a_tree_or_errors_and_the_tree_is_the_text(text in nearly_json()) {
            let (root, errors) = parsed(&text);
            match root {
                None => prop_assert!(!errors.is_empty()),
                // Keys of serde_json's own make it read another value than the text says.
                Some(root) if errors.is_empty() && !text.contains("private") => {
                    let tree: serde_json::Value = serde_json::from_str(&text).unwrap();
                    prop_assert_eq!(root.to_json().unwrap(), tree);
                }
                Some(_) => {}
            }
        }
    }
}
