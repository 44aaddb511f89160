//! A merge patch (RFC 7396), in one pass over the text.

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::scan::{Entries, inside, said};
use super::{Refused, Why, trimmed, written};

/// The text with the patch applied. A text that is no object is replaced by one, as RFC 7396 has it.
pub(in crate::chain) fn merge(text: &Bytes, patch: &Map<String, Value>) -> Result<Vec<u8>, Refused> {
    let text = trimmed(text);
    let mut out = Vec::with_capacity(text.len() + 64);
    merge_into(&mut out, &text, patch).map_err(Refused::Merge)?;
    Ok(out)
}

fn merge_into(out: &mut Vec<u8>, text: &[u8], patch: &Map<String, Value>) -> Result<(), Why> {
    let Some((inner, true)) = inside(text) else {
        write_without_nulls(out, patch);
        return Ok(());
    };
    let inner = &text[inner];
    let mut seen = HashSet::new();
    let mut members = Members::begin(out);
    for entry in Entries::new(inner, true) {
        let entry = entry?;
        let key = said(&inner[entry.key.clone()])?;
        let Some((key, change)) = patch.get_key_value(&*key) else {
            members.next().extend_from_slice(&inner[entry.start()..entry.value.end]);
            continue;
        };
        if !seen.insert(key.as_str()) {
            return Err(Why::Twice { key: key.clone() });
        }
        if !change.is_null() {
            let out = members.next();
            out.extend_from_slice(&inner[entry.key.start..entry.value.start]);
            match change {
                Value::Object(change) => merge_into(out, &inner[entry.value], change)?,
                change => out.extend_from_slice(&written(change)),
            }
        }
    }
    for (key, value) in patch.iter().filter(|(key, value)| !value.is_null() && !seen.contains(key.as_str())) {
        members.add(key, value);
    }
    members.end();
    Ok(())
}

/// What a merge patch makes of nothing: itself, without the members that are null.
fn write_without_nulls(out: &mut Vec<u8>, patch: &Map<String, Value>) {
    let mut members = Members::begin(out);
    for (key, value) in patch.iter().filter(|(_, value)| !value.is_null()) {
        members.add(key, value);
    }
    members.end();
}

/// An object that is being written.
struct Members<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> Members<'o> {
    fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// Where the next member is written to.
    fn next(&mut self) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out
    }

    fn add(&mut self, key: &str, value: &Value) {
        let out = self.next();
        out.extend_from_slice(&written(&Value::from(key)));
        out.push(b':');
        match value {
            Value::Object(members) => write_without_nulls(out, members),
            value => out.extend_from_slice(&written(value)),
        }
    }

    fn end(self) {
        self.out.push(b'}');
    }
}
