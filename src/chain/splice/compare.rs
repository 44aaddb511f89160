//! Whether JSON text says the same as a value, without a tree of the text.

use serde_json::Value;

use super::scan::{Entries, Torn, inside, said};

/// Compares as `serde_json` compares trees: the order of keys does not count, the form of numbers does. `text` has
/// no space around it.
pub(super) fn says(text: &[u8], value: &Value) -> Result<bool, Torn> {
    match value {
        Value::Null => Ok(text == b"null"),
        Value::Bool(value) => Ok(text == if *value { &b"true"[..] } else { b"false" }),
        Value::Number(_) => {
            let is_number = text.first().is_some_and(|byte| matches!(byte, b'-' | b'0'..=b'9'));
            Ok(is_number && serde_json::from_slice::<Value>(text).map_err(|_| Torn)? == *value)
        }
        Value::String(value) => Ok(text.first() == Some(&b'"') && said(text)? == value.as_str()),
        Value::Array(items) => {
            let Some((inner, false)) = inside(text) else { return Ok(false) };
            let inner = &text[inner];
            let mut items = items.iter();
            for entry in Entries::new(inner, false) {
                let value = &inner[entry?.value];
                let Some(item) = items.next() else { return Ok(false) };
                if !says(value, item)? {
                    return Ok(false);
                }
            }
            Ok(items.next().is_none())
        }
        Value::Object(members) => {
            let Some((inner, true)) = inside(text) else { return Ok(false) };
            let inner = &text[inner];
            let mut seen = 0;
            for entry in Entries::new(inner, true) {
                let entry = entry?;
                let Some(member) = members.get(&*said(&inner[entry.key])?) else { return Ok(false) };
                if !says(&inner[entry.value], member)? {
                    return Ok(false);
                }
                seen += 1;
            }
            Ok(seen == members.len())
        }
    }
}
