//! What an operator may set of a plugin: `configSchema` of its manifest.
//!
//! A schema that exists has been checked whole, is bounded, refers to nothing outside itself, and ends: checking a
//! config against it, merging its defaults and finding its secrets take time that grows with the config alone.
//! No message here shows a value: it may be a secret, or one in the wrong place.

use std::fmt;
use std::sync::Arc;

use jsonschema::{PatternOptions, Validator};
use serde::Serialize;
use serde_json::{Map, Value};

use self::secrets::Secrets;
use crate::limits;

mod defaults;
mod expand;
mod fields;
mod secrets;
mod words;

#[cfg(test)]
mod tests;

/// Where a JSON Schema keeps what OmniRoute's map has at its top.
const PROPERTIES: &str = "/properties";

/// Cheap to clone. The default takes any config.
#[derive(Clone)]
pub struct ConfigSchema(Arc<Checked>);

struct Checked {
    /// As JSON Schema.
    json: Value,
    /// The same with every `$ref` replaced by what it refers to.
    expanded: Value,
    validator: Validator,
    secrets: Secrets,
}

/// Something that is wrong with a config, or with a schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigProblem {
    /// JSON pointer (RFC 6901) to what is meant. Empty: all of it.
    pub pointer: String,
    /// What is wrong and what is allowed, as words that follow the name of what is meant.
    pub message: String,
}

impl ConfigProblem {
    fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.pointer.is_empty() { "the config" } else { &self.pointer };
        write!(f, "{what} {}", self.message)
    }
}

impl fmt::Debug for ConfigSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConfigSchema").field(&self.0.json).finish()
    }
}

impl Default for ConfigSchema {
    fn default() -> Self {
        Self::parse(&Value::Bool(true)).expect("true is a schema")
    }
}

impl ConfigSchema {
    /// Reads a JSON Schema (2020-12), or OmniRoute's map of fields. The problems point into what is given here.
    pub fn parse(schema: &Value) -> Result<Self, Vec<ConfigProblem>> {
        if !fields::is_map(schema) {
            return Self::of_json_schema(schema.clone());
        }
        Self::of_json_schema(fields::to_json_schema(schema)?).map_err(|mut problems| {
            for problem in &mut problems {
                problem.pointer = problem.pointer.strip_prefix(PROPERTIES).unwrap_or_default().to_owned();
            }
            problems
        })
    }

    fn of_json_schema(json: Value) -> Result<Self, Vec<ConfigProblem>> {
        let broken = told(jsonschema::draft202012::meta::validator().iter_errors(&json), &Value::Null);
        if !broken.is_empty() {
            return Err(broken);
        }
        let expanded = expand::expand(&json)?;
        let validator = compiled(&expanded)?;
        let secrets = Secrets::of(&expanded)?;
        let schema = Self(Arc::new(Checked { json, expanded, validator, secrets }));
        schema.defaults_fit()?;
        Ok(schema)
    }

    /// The config with the schema's defaults where it says nothing, or all that is wrong with it.
    pub fn check(&self, config: &Map<String, Value>) -> Result<Map<String, Value>, Vec<ConfigProblem>> {
        let mut merged = Value::Object(config.clone());
        defaults::merge(&self.0.expanded, &mut merged).map_err(|too_much| vec![too_much])?;
        let problems = told(self.0.validator.iter_errors(&merged), &self.0.expanded);
        match merged {
            Value::Object(merged) if problems.is_empty() => Ok(merged),
            _ => Err(problems),
        }
    }

    /// JSON pointers to the values that are never shown again. A step `*` stands for any name or index.
    pub fn secrets(&self) -> Vec<String> {
        self.0.secrets.pointers()
    }

    /// The config with null for every secret that is set.
    pub fn masked(&self, config: &Map<String, Value>) -> Map<String, Value> {
        self.0.secrets.masked(config)
    }

    /// The new config with the stored value wherever a secret comes back as null, as [`ConfigSchema::masked`] gave
    /// it out. One that is left out is gone.
    pub fn unmask(&self, new: Map<String, Value>, stored: &Map<String, Value>) -> Map<String, Value> {
        self.0.secrets.unmasked(new, stored)
    }

    /// As JSON Schema (2020-12), also if it was written as OmniRoute's map.
    pub fn json(&self) -> &Value {
        &self.0.json
    }

    /// Every default that an empty config gets has to be one that the schema takes.
    fn defaults_fit(&self) -> Result<(), Vec<ConfigProblem>> {
        let Err(mut problems) = self.check(&Map::new()) else { return Ok(()) };
        // What is missing, the operator has yet to write.
        problems.retain(|problem| !problem.pointer.is_empty());
        for problem in &mut problems {
            let (name, below) = split_first(&problem.pointer);
            problem.message = format!("does not fit the schema: it{below} {}", problem.message);
            problem.pointer = format!("{PROPERTIES}{name}/default");
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

/// No pattern can take longer than its text is long, and none is larger than its bound.
fn compiled(expanded: &Value) -> Result<Validator, Vec<ConfigProblem>> {
    let patterns = PatternOptions::regex()
        .size_limit(limits::CONFIG_PATTERN_BYTES_MAX)
        .dfa_size_limit(limits::CONFIG_PATTERN_BYTES_MAX);
    let options = jsonschema::draft202012::options().with_pattern_options(patterns).offline();
    options.build(expanded).map_err(|error| vec![words::problem(&error)])
}

/// Not more problems than anybody reads.
fn told<'e>(
    errors: impl Iterator<Item = jsonschema::ValidationError<'e>>,
    schema: &Value,
) -> Vec<ConfigProblem> {
    errors.take(limits::CONFIG_PROBLEMS_TOLD).flat_map(|error| words::problems(&error, schema)).collect()
}

/// `/a/b/c` as `/a` and, for the reader, ` at /b/c`.
fn split_first(pointer: &str) -> (&str, String) {
    match pointer[1..].find('/') {
        Some(end) => (&pointer[..=end], format!(" at {}", &pointer[end + 1..])),
        None => (pointer, String::new()),
    }
}
