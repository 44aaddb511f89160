//! The tree both formats are read into.

use std::borrow::Cow;

use serde_json::{Map, Number};

/// A value and where its text begins, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub at: usize,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Boolean(bool),
    Number(Number),
    String(String),
    /// What TOML can write and JSON cannot: a date, an infinite number.
    Foreign(String),
    List(Vec<Node>),
    /// In the order of the text.
    Table(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    /// Where the key begins.
    pub at: usize,
    pub node: Node,
}

impl Node {
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            Value::Null
            | Value::Boolean(_)
            | Value::Number(_)
            | Value::Foreign(_)
            | Value::List(_)
            | Value::Table(_) => None,
        }
    }

    /// What kind of value this is, for "… is a number; write …".
    pub fn described(&self, table_word: &str) -> Cow<'static, str> {
        match &self.value {
            Value::Null => "null".into(),
            Value::Boolean(_) => "a boolean".into(),
            Value::Number(_) => "a number".into(),
            Value::String(_) => "a string".into(),
            Value::Foreign(text) => text.clone().into(),
            Value::List(_) => "a list".into(),
            Value::Table(_) if table_word == "object" => "an object".into(),
            Value::Table(_) => "a table".into(),
        }
    }

    /// The value as written, short enough for one line.
    pub(super) fn shown(&self) -> String {
        match &self.value {
            Value::Null => "null".to_owned(),
            Value::Boolean(value) => value.to_string(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => quoted(text),
            Value::Foreign(text) => text.clone(),
            Value::List(_) => "[…]".to_owned(),
            Value::Table(_) => "{…}".to_owned(),
        }
    }

    /// What stands at a JSON pointer (RFC 6901), or the nearest around it that is there.
    pub fn nearest(&self, pointer: &str) -> &Self {
        let mut nearest = self;
        for step in pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            let inside = match &nearest.value {
                Value::Table(entries) => {
                    entries.iter().find(|entry| entry.key == step).map(|entry| &entry.node)
                }
                Value::List(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
                Value::Null | Value::Boolean(_) | Value::Number(_) | Value::String(_) | Value::Foreign(_) => {
                    None
                }
            };
            let Some(inside) = inside else { break };
            nearest = inside;
        }
        nearest
    }

    /// The value as JSON, or the node that JSON cannot say.
    pub fn to_json(&self) -> Result<serde_json::Value, &Self> {
        Ok(match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Boolean(value) => serde_json::Value::Bool(*value),
            Value::Number(number) => serde_json::Value::Number(number.clone()),
            Value::String(text) => serde_json::Value::String(text.clone()),
            Value::Foreign(_) => return Err(self),
            Value::List(items) => {
                serde_json::Value::Array(items.iter().map(Self::to_json).collect::<Result<_, _>>()?)
            }
            Value::Table(entries) => {
                let object: Map<_, _> = entries
                    .iter()
                    .map(|entry| Ok((entry.key.clone(), entry.node.to_json()?)))
                    .collect::<Result<_, _>>()?;
                serde_json::Value::Object(object)
            }
        })
    }
}

/// A string in quotes, cut where nobody needs more of it to find it in the file.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
