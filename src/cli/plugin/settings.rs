//! `KEY=VALUE` of a command line, and what it makes of a config. Pure.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::super::say::Failure;

/// One key, by its way from the outermost object, and its new value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting {
    key: Vec<String>,
    value: Value,
}

impl FromStr for Setting {
    type Err = String;

    /// What is JSON is taken as such, anything else as text: `on` and `"on"` are the same, `5` is a number.
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| "write it like KEY=VALUE; --unset KEY takes a key out".to_owned())?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        Ok(Self { key: way(key)?, value })
    }
}

fn way(key: &str) -> Result<Vec<String>, String> {
    let steps: Vec<String> = key.split('.').map(str::to_owned).collect();
    if steps.iter().any(String::is_empty) {
        return Err(format!("{key:?} is no key; write it like replacement, or limits.day"));
    }
    Ok(steps)
}

/// A config as it was told, which has the defaults of its schema, with some keys set and some taken out.
pub(super) fn changed(
    mut config: Map<String, Value>,
    schema: &Value,
    set: Vec<Setting>,
    unset: &[String],
) -> Result<Map<String, Value>, Failure> {
    for key in unset {
        let steps = way(key).map_err(Failure::usage)?;
        if !remove(&mut config, &steps) {
            return Err(Failure::usage(format!("the config has no {key:?} to take out")));
        }
    }
    drop_defaults(&mut config, schema);
    for Setting { key, value } in set {
        put(&mut config, &key, value).map_err(|step| {
            let message = format!("{step:?} is in the way of {:?}: it is not an object", key.join("."));
            Failure::usage(message)
        })?;
    }
    Ok(config)
}

/// Nobody chose what only stands there because the schema says so: another version may say something else.
fn drop_defaults(config: &mut Map<String, Value>, schema: &Value) {
    config.retain(|key, value| {
        let property = &schema["properties"][key];
        if let Value::Object(inner) = value {
            drop_defaults(inner, property);
        }
        value.is_null() || property.get("default") != Some(value)
    });
}

/// Objects on the way are made where there are none. An error is the step that is something else.
fn put(config: &mut Map<String, Value>, key: &[String], value: Value) -> Result<(), String> {
    let Some((step, rest)) = key.split_first() else { return Ok(()) };
    if rest.is_empty() {
        config.insert(step.clone(), value);
        return Ok(());
    }
    match config.entry(step.clone()).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(inner) => put(inner, rest, value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(step.clone())
        }
    }
}

fn remove(config: &mut Map<String, Value>, key: &[String]) -> bool {
    match key {
        [] => false,
        [last] => config.shift_remove(last).is_some(),
        [step, rest @ ..] => match config.get_mut(step) {
            Some(Value::Object(inner)) => remove(inner, rest),
            Some(_) | None => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn after(before: &Value, set: &[&str], unset: &[&str]) -> Result<Value, String> {
        let set = set.iter().map(|text| text.parse()).collect::<Result<Vec<Setting>, _>>()?;
        let unset: Vec<String> = unset.iter().map(|&key| key.to_owned()).collect();
        let config = before.as_object().unwrap().clone();
        let schema = json!({"properties": {"tier": {"default": "free"}, "limits": {"properties": {"day": {"default": 1}}}}});
        changed(config, &schema, set, &unset).map(Value::Object).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_value_is_json_or_else_text() {
        let set = ["a=1", "b=on", "c=\"1\"", "d=[\"x\"]", "e=", "f=null", "g=a=b", "h={\"i\":true}"];
        let expected = json!({"a": 1, "b": "on", "c": "1", "d": ["x"], "e": "", "f": null, "g": "a=b", "h": {"i": true}});
        assert_eq!(after(&json!({}), &set, &[]), Ok(expected));
    }

    #[test]
    fn dots_lead_into_objects_and_the_rest_stays() {
        let before = json!({"limits": {"day": 1, "hour": 2}, "word": "x"});
        let expected = json!({"limits": {"day": 5}, "word": "x", "a": {"b": {"c": true}}});
        assert_eq!(after(&before, &["limits.day=5", "a.b.c=true"], &["limits.hour"]), Ok(expected));
    }

    #[test]
    fn defaults_are_not_written_down_unless_asked_for() {
        let before = json!({"tier": "free", "limits": {"day": 1, "hour": 2}, "secret": null});
        let expected = json!({"limits": {"hour": 2}, "secret": null, "word": "x"});
        assert_eq!(after(&before, &["word=x"], &[]), Ok(expected));
        let expected = json!({"limits": {"hour": 2}, "secret": null, "tier": "free"});
        assert_eq!(after(&before, &["tier=free"], &["tier"]), Ok(expected));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (set, unset, told) in [
            (&["word.deep=1"][..], &[][..], "\"word\" is in the way of \"word.deep\""),
            (&[], &["gone"], "the config has no \"gone\" to take out"),
            (&[], &["word.deep"], "the config has no \"word.deep\""),
            (&["word"], &[], "write it like KEY=VALUE"),
            (&["a..b=1"], &[], "\"a..b\" is no key"),
        ] {
            let problem = after(&json!({"word": "x"}), set, unset).unwrap_err();
            assert!(problem.starts_with(told), "{problem}");
        }
    }
}
