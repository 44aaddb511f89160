//! A schema's defaults, put where a config says nothing.

use serde_json::{Map, Value};

use super::ConfigProblem;
use crate::limits;

/// Adds to the value what the schema says it is without being written. The schema is expanded, so this ends.
pub(super) fn merge(schema: &Value, value: &mut Value) -> Result<(), ConfigProblem> {
    let mut room = Room { bytes: limits::CONFIG_DEFAULTS_BYTES_MAX };
    room.merge(schema, value).map_err(|TooMuch| {
        let most = limits::CONFIG_DEFAULTS_BYTES_MAX;
        ConfigProblem::new("", format!("gets defaults of more than {most} bytes; write fewer items"))
    })
}

struct TooMuch;

/// A few items without their fields could stand for any amount of defaults.
struct Room {
    bytes: usize,
}

impl Room {
    fn merge(&mut self, schema: &Value, value: &mut Value) -> Result<(), TooMuch> {
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.merge(part, value)?;
        }
        match value {
            Value::Object(members) => self.merge_members(schema, members),
            Value::Array(items) => self.merge_items(schema, items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }

    fn merge_members(&mut self, schema: &Value, members: &mut Map<String, Value>) -> Result<(), TooMuch> {
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            if let (false, Some(default)) = (members.contains_key(name), default_of(property)) {
                let bytes = name.len() + default.to_string().len();
                self.bytes = self.bytes.checked_sub(bytes).ok_or(TooMuch)?;
                members.insert(name.clone(), default.clone());
            }
            if let Some(member) = members.get_mut(name) {
                self.merge(property, member)?;
            }
        }
        if let Some(others) = schema.get("additionalProperties") {
            let is_other = |name: &String| properties.is_none_or(|properties| !properties.contains_key(name));
            for (_, member) in members.iter_mut().filter(|(name, _)| is_other(name)) {
                self.merge(others, member)?;
            }
        }
        Ok(())
    }

    fn merge_items(&mut self, schema: &Value, items: &mut [Value]) -> Result<(), TooMuch> {
        let first =
            schema.get("prefixItems").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let rest = schema.get("items");
        let schemas = first.iter().map(Some).chain(std::iter::repeat(rest));
        for (item, schema) in items.iter_mut().zip(schemas) {
            if let Some(schema) = schema {
                self.merge(schema, item)?;
            }
        }
        Ok(())
    }
}

/// Its own, or that of what it refers to.
fn default_of(schema: &Value) -> Option<&Value> {
    let parts = schema.get("allOf").and_then(Value::as_array).into_iter().flatten();
    schema.get("default").or_else(|| parts.into_iter().find_map(default_of))
}
