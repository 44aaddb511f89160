//! Which values of a config are never shown again: those whose schema says `secret: true`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::ConfigProblem;
use super::words::escaped;

/// A step from a value into what it holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Name(String),
    /// Any name but these.
    Others(Vec<String>),
    /// Any name or index: more may be hidden than need be, never less.
    Any,
}

/// Where secrets stand.
pub(super) struct Secrets(BTreeSet<Vec<Step>>);

impl Secrets {
    pub(super) fn of(expanded: &Value) -> Result<Self, Vec<ConfigProblem>> {
        let mut places = BTreeSet::new();
        collect(expanded, &mut Vec::new(), &mut places);
        if places.contains(&Vec::new()) {
            return Err(vec![ConfigProblem::new(
                "/secret",
                "hides the whole config; write it at single values",
            )]);
        }
        Ok(Self(places))
    }

    pub(super) fn pointers(&self) -> Vec<String> {
        let step = |step: &Step| match step {
            Step::Name(name) => format!("/{}", escaped(name)),
            Step::Others(_) | Step::Any => "/*".to_owned(),
        };
        self.0.iter().map(|place| place.iter().map(step).collect()).collect()
    }

    pub(super) fn masked(&self, config: &Map<String, Value>) -> Map<String, Value> {
        let mut masked = Value::Object(config.clone());
        for place in &self.0 {
            each(&mut masked, None, place, &mut |value, _| *value = Value::Null);
        }
        object(masked)
    }

    pub(super) fn unmasked(
        &self,
        new: Map<String, Value>,
        stored: &Map<String, Value>,
    ) -> Map<String, Value> {
        let mut new = Value::Object(new);
        let stored = Value::Object(stored.clone());
        for place in &self.0 {
            each(&mut new, Some(&stored), place, &mut |value, stored| {
                if let (Value::Null, Some(stored)) = (&*value, stored) {
                    *value = stored.clone();
                }
            });
        }
        object(new)
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => unreachable!("a place is below the whole, which stays the object it was"),
    }
}

/// Every place at which a part of the schema says so, whichever of its branches holds.
fn collect(schema: &Value, place: &mut Vec<Step>, places: &mut BTreeSet<Vec<Step>>) {
    if schema.get("secret") == Some(&Value::Bool(true)) {
        places.insert(place.clone());
        return;
    }
    for (keyword, value) in schema.as_object().into_iter().flatten() {
        match keyword.as_str() {
            "properties" => {
                for (name, schema) in value.as_object().into_iter().flatten() {
                    below(Step::Name(name.clone()), schema, place, places);
                }
            }
            "patternProperties" => {
                for (_, schema) in value.as_object().into_iter().flatten() {
                    below(Step::Any, schema, place, places);
                }
            }
            "prefixItems" => {
                for schema in value.as_array().into_iter().flatten() {
                    below(Step::Any, schema, place, places);
                }
            }
            "additionalProperties" => {
                let named = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
                let named = named.map(|(name, _)| name.clone()).collect();
                below(Step::Others(named), value, place, places);
            }
            "unevaluatedProperties" | "items" | "contains" | "unevaluatedItems" => {
                below(Step::Any, value, place, places);
            }
            "allOf" | "anyOf" | "oneOf" => {
                for schema in value.as_array().into_iter().flatten() {
                    collect(schema, place, places);
                }
            }
            "if" | "then" | "else" | "not" => collect(value, place, places),
            "dependentSchemas" => {
                for (_, schema) in value.as_object().into_iter().flatten() {
                    collect(schema, place, places);
                }
            }
            _ => {}
        }
    }
}

fn below(step: Step, schema: &Value, place: &mut Vec<Step>, places: &mut BTreeSet<Vec<Step>>) {
    place.push(step);
    collect(schema, place, places);
    place.pop();
}

/// Calls `act` with each value at the place, and with what stands there in the other tree.
fn each(
    value: &mut Value,
    other: Option<&Value>,
    place: &[Step],
    act: &mut impl FnMut(&mut Value, Option<&Value>),
) {
    let Some((step, rest)) = place.split_first() else {
        act(value, other);
        return;
    };
    match (step, value) {
        (Step::Name(name), Value::Object(members)) => {
            if let Some(member) = members.get_mut(name) {
                each(member, other.and_then(|other| other.get(name)), rest, act);
            }
        }
        (Step::Any, Value::Object(members)) => {
            for (name, member) in members {
                each(member, other.and_then(|other| other.get(name)), rest, act);
            }
        }
        (Step::Others(named), Value::Object(members)) => {
            for (name, member) in members.iter_mut().filter(|(name, _)| !named.contains(name)) {
                each(member, other.and_then(|other| other.get(name)), rest, act);
            }
        }
        (Step::Any, Value::Array(items)) => {
            for (index, item) in items.iter_mut().enumerate() {
                each(item, other.and_then(|other| other.get(index)), rest, act);
            }
        }
        (Step::Any | Step::Others(_) | Step::Name(_), _) => {}
    }
}
