//! A schema with every `$ref` replaced by what it refers to.
//!
//! What comes out is a tree of bounded size, so whoever walks it ends. A schema that refers to itself is refused:
//! a config is a few levels deep, and these can be written.

use serde_json::{Map, Value};

use super::ConfigProblem;
use super::words::{described, escaped};
use crate::limits;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// How a keyword holds other schemas.
#[derive(Clone, Copy)]
enum Holds {
    One,
    List,
    Named,
}

/// Every keyword of 2020-12 that holds schemas, but for `$defs`, which only keeps them.
const HOLDERS: [(&str, Holds); 18] = [
    ("additionalProperties", Holds::One),
    ("allOf", Holds::List),
    ("anyOf", Holds::List),
    ("contains", Holds::One),
    ("contentSchema", Holds::One),
    ("dependentSchemas", Holds::Named),
    ("else", Holds::One),
    ("if", Holds::One),
    ("items", Holds::One),
    ("not", Holds::One),
    ("oneOf", Holds::List),
    ("patternProperties", Holds::Named),
    ("prefixItems", Holds::List),
    ("properties", Holds::Named),
    ("propertyNames", Holds::One),
    ("then", Holds::One),
    ("unevaluatedItems", Holds::One),
    ("unevaluatedProperties", Holds::One),
];

/// Keywords that give a place another name, or change what names mean.
const FOREIGN: [&str; 7] = [
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$recursiveAnchor",
    "$recursiveRef",
    "$vocabulary",
    "definitions",
];

pub(super) fn expand(schema: &Value) -> Result<Value, Vec<ConfigProblem>> {
    let mut walk = Walk { root: schema, path: Vec::new(), schemas: 0, patterns: 0, problems: Vec::new() };
    let expanded = walk.schema(schema, "", 0);
    walk.about_the_root();
    if walk.problems.is_empty() { Ok(expanded) } else { Err(walk.problems) }
}

struct Walk<'s> {
    root: &'s Value,
    /// The targets of the `$ref`s that are being followed.
    path: Vec<String>,
    schemas: usize,
    patterns: usize,
    problems: Vec<ConfigProblem>,
}

impl Walk<'_> {
    fn schema(&mut self, schema: &Value, at: &str, depth: usize) -> Value {
        let Value::Object(keywords) = schema else { return schema.clone() };
        self.schemas += 1;
        if self.schemas > limits::CONFIG_SCHEMAS_MAX {
            self.once(at, format!("makes more than {} schemas; write fewer", limits::CONFIG_SCHEMAS_MAX));
            return Value::Bool(true);
        }
        if depth > limits::CONFIG_SCHEMA_DEPTH_MAX {
            let deepest = limits::CONFIG_SCHEMA_DEPTH_MAX;
            self.once(at, format!("is more than {deepest} schemas deep; write it flatter"));
            return Value::Bool(true);
        }
        let mut expanded = Map::new();
        for (keyword, value) in keywords {
            let at = format!("{at}/{}", escaped(keyword));
            self.keyword(keyword, value, &at, depth, &mut expanded);
        }
        Value::Object(expanded)
    }

    fn keyword(
        &mut self,
        keyword: &str,
        value: &Value,
        at: &str,
        depth: usize,
        expanded: &mut Map<String, Value>,
    ) {
        match keyword {
            "$ref" => {
                let target = self.referred(value, at, depth);
                together(expanded, vec![target]);
            }
            "$defs" => {}
            "$schema" => self.dialect(value, at),
            "$id" => self.id(at),
            "secret" if !value.is_boolean() => {
                self.problem(at, format!("is {}; write true or false", described(value)));
            }
            "pattern" => {
                self.pattern(at);
                expanded.insert(keyword.to_owned(), value.clone());
            }
            _ if FOREIGN.contains(&keyword) => {
                self.problem(
                    at,
                    "is not taken here; put the schema under $defs and write \"$ref\": \"#/$defs/…\"",
                );
            }
            "allOf" => {
                let all = self.held(Holds::List, value, at, depth);
                together(expanded, all.as_array().cloned().unwrap_or_default());
            }
            _ => {
                let holds = HOLDERS.iter().find(|(holder, _)| *holder == keyword).map(|(_, holds)| *holds);
                let value = holds.map_or_else(|| value.clone(), |holds| self.held(holds, value, at, depth));
                if keyword == "patternProperties" {
                    value.as_object().into_iter().flatten().for_each(|_| self.pattern(at));
                }
                expanded.insert(keyword.to_owned(), value);
            }
        }
    }

    fn held(&mut self, holds: Holds, value: &Value, at: &str, depth: usize) -> Value {
        match (holds, value) {
            (Holds::List, Value::Array(list)) => {
                let schemas = list.iter().enumerate();
                schemas
                    .map(|(index, schema)| self.schema(schema, &format!("{at}/{index}"), depth + 1))
                    .collect()
            }
            (Holds::Named, Value::Object(named)) => {
                let mut expanded = Map::new();
                for (name, schema) in named {
                    let schema = self.schema(schema, &format!("{at}/{}", escaped(name)), depth + 1);
                    expanded.insert(name.clone(), schema);
                }
                Value::Object(expanded)
            }
            (Holds::One | Holds::List | Holds::Named, one) => self.schema(one, at, depth + 1),
        }
    }

    fn referred(&mut self, reference: &Value, at: &str, depth: usize) -> Value {
        let Some(pointer) = reference.as_str().and_then(|text| text.strip_prefix('#')) else {
            self.problem(at, "leads out of this schema; write \"#/$defs/…\"");
            return Value::Bool(true);
        };
        let Some(target) =
            self.root.pointer(pointer).filter(|target| target.is_object() || target.is_boolean())
        else {
            self.problem(at, "leads to no schema; write \"#/$defs/…\" and put it there");
            return Value::Bool(true);
        };
        // A target around this very place refers to itself as well, and is found one round later.
        if self.path.iter().any(|followed| followed == pointer) {
            self.problem(at, "leads back to itself; write out as many levels as a config has");
            return Value::Bool(true);
        }
        self.path.push(pointer.to_owned());
        let expanded = self.schema(target, pointer, depth + 1);
        self.path.pop();
        expanded
    }

    fn dialect(&mut self, value: &Value, at: &str) {
        if value.as_str().map(|text| text.trim_end_matches('#')) != Some(DIALECT) {
            self.problem(at, format!("is not the dialect used here; write {DIALECT:?}, or leave it out"));
        }
    }

    /// The root's own name changes nothing; another's would change what its `$ref`s mean.
    fn id(&mut self, at: &str) {
        if at != "/$id" {
            self.problem(at, "is not taken here; leave it out");
        }
    }

    fn pattern(&mut self, at: &str) {
        self.patterns += 1;
        if self.patterns == limits::CONFIG_PATTERNS_MAX + 1 {
            self.problem(
                at,
                format!("is one pattern too many; write at most {}", limits::CONFIG_PATTERNS_MAX),
            );
        }
    }

    fn about_the_root(&mut self) {
        let types = self.root.get("type");
        let takes_objects = match types {
            None => self.root != &Value::Bool(false),
            Some(Value::Array(types)) => types.iter().any(|one| one == "object"),
            Some(one) => one == "object",
        };
        if !takes_objects {
            let at = if types.is_some() { "/type" } else { "" };
            self.problem(at, "takes no object, and a config is one; write \"type\": \"object\"");
        }
    }

    fn problem(&mut self, at: &str, message: impl Into<String>) {
        let problem = ConfigProblem::new(at, message);
        if self.problems.len() < limits::CONFIG_PROBLEMS_TOLD && !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// A bound is passed many times, and told once.
    fn once(&mut self, at: &str, message: String) {
        if self.problems.iter().all(|problem| problem.message != message) {
            self.problem(at, message);
        }
    }
}

/// A `$ref` beside other keywords is one more schema that has to hold.
fn together(expanded: &mut Map<String, Value>, more: Vec<Value>) {
    let all = expanded.entry("allOf").or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(all) = all {
        all.extend(more);
    }
}
