//! TOML text to tree.

use serde_json::Number;
use toml::Spanned;
use toml::de::{DeFloat, DeInteger, DeTable, DeValue};

use super::Document;
use super::node::{Entry, Node, Value};

/// The tree, or as much of it as its syntax errors leave. The depth is bounded by the `toml` crate.
pub(super) fn parse(text: &str, document: &mut Document<'_>) -> Option<Node> {
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(text.len(), |span| span.start);
        let words = error.message().trim_end_matches(", expected nothing");
        document.found(Some(at), "", format!("not TOML: {words}"));
    }
    Some(Node { at: 0, value: table(root.get_ref(), document) })
}

fn table(entries: &DeTable<'_>, document: &mut Document<'_>) -> Value {
    let mut entries: Vec<Entry> = entries
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().clone().into_owned(),
            at: key.span().start,
            node: node(value, document),
        })
        .collect();
    entries.sort_by_key(|entry| entry.at);
    Value::Table(entries)
}

fn node(spanned: &Spanned<DeValue<'_>>, document: &mut Document<'_>) -> Node {
    let at = spanned.span().start;
    let value = match spanned.get_ref() {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Integer(integer) => number(integer_of(integer), spanned.span().start, document),
        DeValue::Float(float) => float_of(float),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(_) => Value::Foreign("a date or time".to_owned()),
        DeValue::Array(items) => Value::List(items.iter().map(|item| node(item, document)).collect()),
        DeValue::Table(entries) => table(entries, document),
    };
    Node { at, value }
}

fn integer_of(integer: &DeInteger<'_>) -> Option<Number> {
    i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(Number::from)
}

fn number(number: Option<Number>, at: usize, document: &mut Document<'_>) -> Value {
    match number {
        Some(number) => Value::Number(number),
        None => {
            let text = format!("the number does not fit; write {} to {}", i64::MIN, i64::MAX);
            document.found(Some(at), "", text);
            Value::Null
        }
    }
}

fn float_of(float: &DeFloat<'_>) -> Value {
    match float.as_str().parse().ok().and_then(Number::from_f64) {
        Some(number) => Value::Number(number),
        None => Value::Foreign("no finite number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Option<Node>, Vec<String>) {
        let mut document = Document { file: "f.toml", text, table_word: "table", found: Vec::new() };
        let root = parse(text, &mut document);
        (root, document.found.into_iter().map(|found| format!("{:?} {}", found.at, found.text)).collect())
    }

    #[test]
    fn values_stand_where_they_are_written_and_in_that_order() {
        let (root, errors) = parsed("z = 0x1F\n[b]\nk = { c = \"x\", a = 1.5 }\n[[a]]\nn = [true]\n");
        assert_eq!(errors, Vec::<String>::new());
        let root = root.unwrap();
        assert_eq!(
            root.to_json().unwrap().to_string(),
            r#"{"z":31,"b":{"k":{"c":"x","a":1.5}},"a":[{"n":[true]}]}"#
        );
        let Value::Table(entries) = root.value else { panic!("the root is a table") };
        assert_eq!(entries.iter().map(|entry| entry.at).collect::<Vec<_>>(), [0, 10, 40]);
        assert_eq!(entries[0].node.at, 4);
    }

    #[test]
    fn every_syntax_error_is_found_not_only_the_first() {
        let (_, errors) = parsed("a = \nb = 1\nc = [1,\nd = 2\nb = 3\n");
        assert!(errors.len() >= 2, "{errors:?}");
    }

    #[test]
    fn a_number_beyond_64_bits_is_refused_where_it_stands() {
        let (_, errors) = parsed("a = 9223372036854775808");
        assert_eq!(errors.len(), 1);
        assert!(errors[0].starts_with("Some(4) the number does not fit"), "{errors:?}");
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
        for text in ["a = ".to_owned() + &"[".repeat(100_000), "a.".repeat(100_000) + "b = 1"] {
            let (_, errors) = parsed(&text);
            assert!(!errors.is_empty());
        }
    }
}
