//! The values at several JSON pointers (RFC 6901), read in one pass and without a tree.
//!
//! What is found is the text the client wrote, number forms and key order included. Where a key is given twice
//! the last one counts, as it does for `serde_json` and Python.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A set of pointers, compiled once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointers {
    pointers: Vec<String>,
    root: Node,
}

/// A pointer that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{pointer}' is not a JSON pointer: {what}")]
pub struct BadPointer {
    pub pointer: String,
    pub what: &'static str,
}

/// One token of the pointers below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    /// The pointer that ends here.
    wanted: Option<usize>,
    children: Vec<(Token, Node)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    key: String,
    /// The same as an index of an array, if it can be one.
    index: Option<usize>,
}

impl Pointers {
    /// A pointer given twice counts once.
    pub fn new<S: AsRef<str>>(pointers: impl IntoIterator<Item = S>) -> Result<Self, BadPointer> {
        let mut compiled = Self { pointers: Vec::new(), root: Node::default() };
        for pointer in pointers {
            compiled.add(pointer.as_ref())?;
        }
        Ok(compiled)
    }

    fn add(&mut self, pointer: &str) -> Result<(), BadPointer> {
        let bad = |what| BadPointer { pointer: pointer.to_owned(), what };
        let mut node = &mut self.root;
        let mut tokens = pointer.split('/');
        if !tokens.next().is_some_and(str::is_empty) {
            return Err(bad("it must be empty or begin with '/'"));
        }
        for token in tokens {
            let token =
                Token::parse(token).ok_or_else(|| bad("'~' must be written '~0' and '/' in a key '~1'"))?;
            let at = node.children.iter().position(|(known, _)| *known == token).unwrap_or_else(|| {
                node.children.push((token, Node::default()));
                node.children.len() - 1
            });
            node = &mut node.children[at].1;
        }
        if node.wanted.is_none() {
            node.wanted = Some(self.pointers.len());
            self.pointers.push(pointer.to_owned());
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.pointers.is_empty()
    }

    /// The values found in `json`, in the order the pointers were given. A pointer that leads nowhere is left out.
    pub fn extract<'p, 'j>(
        &'p self,
        json: &'j [u8],
    ) -> Result<Vec<(&'p str, &'j RawValue)>, serde_json::Error> {
        let mut found = vec![None; self.pointers.len()];
        let mut parser = serde_json::Deserializer::from_slice(json);
        Below { node: &self.root, found: &mut found }.deserialize(&mut parser)?;
        parser.end()?;
        let pointers = self.pointers.iter().map(String::as_str);
        Ok(pointers.zip(found).filter_map(|(pointer, value)| Some((pointer, value?))).collect())
    }
}

impl Token {
    fn parse(escaped: &str) -> Option<Self> {
        let mut parts = escaped.split('~');
        let mut key = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            key.push(match part.as_bytes().first()? {
                b'0' => '~',
                b'1' => '/',
                _ => return None,
            });
            key.push_str(&part[1..]);
        }
        let plain = key == "0" || (!key.starts_with('0') && key.bytes().all(|byte| byte.is_ascii_digit()));
        let index = if plain { key.parse().ok() } else { None };
        Some(Self { key, index })
    }
}

impl Node {
    fn by_key(&self, key: &str) -> Option<&Self> {
        self.children.iter().find(|(token, _)| token.key == key).map(|(_, node)| node)
    }

    fn by_index(&self, index: usize) -> Option<&Self> {
        self.children.iter().find(|(token, _)| token.index == Some(index)).map(|(_, node)| node)
    }

    /// Takes back what an earlier value of the same key gave.
    fn forget(&self, found: &mut [Option<&RawValue>]) {
        if let Some(wanted) = self.wanted {
            found[wanted] = None;
        }
        for (_, child) in &self.children {
            child.forget(found);
        }
    }
}

/// A value that the pointers below `node` look into.
struct Below<'a, 'j> {
    node: &'a Node,
    found: &'a mut [Option<&'j RawValue>],
}

impl<'j> DeserializeSeed<'j> for Below<'_, 'j> {
    type Value = ();

    fn deserialize<D: Deserializer<'j>>(self, deserializer: D) -> Result<(), D::Error> {
        let Some(wanted) = self.node.wanted else {
            return deserializer.deserialize_any(self);
        };
        let raw: &'j RawValue = serde::Deserialize::deserialize(deserializer)?;
        self.found[wanted] = Some(raw);
        if self.node.children.is_empty() {
            return Ok(());
        }
        // A pointer into a value that is itself wanted: rare, so its text is read again.
        serde_json::Deserializer::from_str(raw.get()).deserialize_any(self).map_err(serde::de::Error::custom)
    }
}

impl<'j> Visitor<'j> for Below<'_, 'j> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'j>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(child) = map.next_key_seed(Child(self.node))? {
            match child {
                Some(node) => {
                    node.forget(self.found);
                    map.next_value_seed(Below { node, found: self.found })?;
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'j>>(self, mut seq: A) -> Result<(), A::Error> {
        for index in 0.. {
            let more = match self.node.by_index(index) {
                Some(node) => seq.next_element_seed(Below { node, found: self.found })?,
                None => seq.next_element::<IgnoredAny>()?.map(drop),
            };
            if more.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A key of an object, read as the node it leads to.
struct Child<'a>(&'a Node);

impl<'a, 'j> DeserializeSeed<'j> for Child<'a> {
    type Value = Option<&'a Node>;

    fn deserialize<D: Deserializer<'j>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Child<'a> {
    type Value = Option<&'a Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.by_key(key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[track_caller]
    fn extracts(pointers: &[&str], json: &str, expected: &[(&str, &str)]) {
        let pointers = Pointers::new(pointers).unwrap();
        let found = pointers.extract(json.as_bytes()).unwrap();
        let found: Vec<_> = found.iter().map(|(pointer, raw)| (*pointer, raw.get())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn values_come_as_they_were_written_and_in_the_order_asked_for() {
        let json = r#"{"model":"a","temperature":1.0e0,"messages":[{"content":"x"},{"content":[1, 2]}]}"#;
        extracts(
            &["/temperature", "/messages/1/content", "/model", "/user", "/messages/2", "/model/x"],
            json,
            &[("/temperature", "1.0e0"), ("/messages/1/content", "[1, 2]"), ("/model", r#""a""#)],
        );
    }

    #[test]
    fn a_pointer_may_lead_into_a_value_that_is_wanted_too() {
        extracts(
            &["/a", "/a/b", ""],
            r#"{"a":{"b":1}}"#,
            &[("/a", r#"{"b":1}"#), ("/a/b", "1"), ("", r#"{"a":{"b":1}}"#)],
        );
    }

    #[test]
    fn tokens_are_unescaped_and_indexes_are_plain() {
        extracts(
            &["/a~1b", "/m~0n", "/l/0", "/l/01", "/l/-", "/o/01", "/"],
            r#"{"a/b":1,"m~n":2,"l":[3],"o":{"01":4},"":5,"\u0061":6}"#,
            &[("/a~1b", "1"), ("/m~0n", "2"), ("/l/0", "3"), ("/o/01", "4"), ("/", "5")],
        );
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        extracts(&["/a/b", "/a/c"], r#"{"a":{"b":1,"c":2},"\u0061":{"c":3}}"#, &[("/a/c", "3")]);
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        for pointer in ["model", "/a~", "/a~2", "#/a"] {
            assert_eq!(Pointers::new([pointer]).unwrap_err().pointer, pointer);
        }
        assert!(Pointers::new(Vec::<String>::new()).unwrap().is_empty());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ab01~/]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn finds_what_the_tree_finds(
            json in any_json(),
            pointers in prop::collection::vec("(/(a|b|0|1|~0|~1|ab|-){0,2}){0,4}", 0..6),
        ) {
            let text = json.to_string();
            let compiled = Pointers::new(&pointers).unwrap();
            let found = compiled.extract(text.as_bytes()).unwrap();
            for pointer in &pointers {
                let raw = found.iter().find(|(name, _)| name == pointer).map(|(_, raw)| raw.get().to_owned());
                prop_assert_eq!(raw, json.pointer(pointer).map(Value::to_string), "{}", pointer);
            }
        }
    }
}
