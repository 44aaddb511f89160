//! OmniRoute's form of a config schema: a map from the names of fields to what each may be.

use serde_json::{Map, Value, json};

use super::ConfigProblem;
use super::words::{described, escaped};
use crate::document::suggestion;

/// Keywords of JSON Schema that no field is called without being one: their values are schemas, or maps of them.
const HOLDERS: [&str; 12] = [
    "$defs",
    "additionalProperties",
    "contains",
    "definitions",
    "else",
    "if",
    "items",
    "not",
    "patternProperties",
    "properties",
    "propertyNames",
    "then",
];
/// Keywords that a schema may begin with and whose values are no objects, as those of fields are.
const PLAIN: [&str; 17] = [
    "$comment",
    "$id",
    "$ref",
    "$schema",
    "allOf",
    "anyOf",
    "const",
    "default",
    "description",
    "enum",
    "examples",
    "maxProperties",
    "minProperties",
    "oneOf",
    "required",
    "title",
    "type",
];
const TYPES: [&str; 5] = ["string", "number", "integer", "boolean", "select"];
const KEYS: [&str; 9] =
    ["type", "default", "min", "max", "enum", "description", "required", "secret", "label"];

/// Whether this is a map of fields, right or wrong: an object without a keyword of JSON Schema.
pub(super) fn is_map(schema: &Value) -> bool {
    let Value::Object(fields) = schema else { return false };
    let is_keyword = |(name, value): (&String, &Value)| {
        HOLDERS.contains(&name.as_str()) || (PLAIN.contains(&name.as_str()) && !value.is_object())
    };
    !fields.is_empty() && !fields.iter().any(is_keyword)
}

/// The same as JSON Schema. As there, a field that no one named is refused.
pub(super) fn to_json_schema(fields: &Value) -> Result<Value, Vec<ConfigProblem>> {
    let mut problems = Vec::new();
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, field) in fields.as_object().into_iter().flatten() {
        let mut field = Field { at: format!("/{}", escaped(name)), field, problems: &mut problems };
        let schema = field.read();
        if field.is("required") {
            required.push(Value::String(name.clone()));
        }
        properties.insert(name.clone(), schema);
    }
    if problems.is_empty() {
        let schema = json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false
        });
        Ok(schema)
    } else {
        Err(problems)
    }
}

/// One field being read.
struct Field<'f> {
    at: String,
    field: &'f Value,
    problems: &'f mut Vec<ConfigProblem>,
}

impl Field<'_> {
    fn read(&mut self) -> Value {
        for key in self.field.as_object().into_iter().flatten().map(|(key, _)| key) {
            if !KEYS.contains(&key.as_str()) {
                self.problem(key, format!("is not known; {}", suggestion(key, &KEYS)));
            }
        }
        if !self.field.is_object() {
            let message =
                format!("is {}; write an object like {{ \"type\": \"string\" }}", described(self.field));
            self.problems.push(ConfigProblem::new(self.at.clone(), message));
            return Value::Bool(true);
        }
        let json_type = self.json_type();
        let mut schema = Map::new();
        schema.insert("type".to_owned(), json_type.into());
        for key in ["description", "default", "secret"] {
            self.carry(key, key, &mut schema);
        }
        self.carry("label", "title", &mut schema);
        self.options(&mut schema);
        for (key, keyword) in [("min", "minimum"), ("max", "maximum")] {
            self.bound(key, keyword, json_type, &mut schema);
        }
        self.is("required");
        Value::Object(schema)
    }

    fn json_type(&mut self) -> &'static str {
        let written = self.field.get("type");
        match written.and_then(Value::as_str) {
            Some("string" | "select") => "string",
            Some("number") => "number",
            Some("integer") => "integer",
            Some("boolean") => "boolean",
            Some(_) => {
                let types = TYPES.map(|word| format!("{word:?}")).join(", ");
                self.problem("type", format!("is not one of {types}"));
                "string"
            }
            None => {
                let at = self.at.clone();
                self.problems.push(ConfigProblem::new(at, "has no \"type\"; write \"type\": \"string\""));
                "string"
            }
        }
    }

    fn options(&mut self, schema: &mut Map<String, Value>) {
        let is_select = self.field.get("type").and_then(Value::as_str) == Some("select");
        match self.field.get("enum") {
            Some(Value::Array(options)) if !options.is_empty() => {
                schema.insert("enum".to_owned(), options.clone().into());
            }
            Some(Value::Array(_)) if !is_select => {}
            None if !is_select => {}
            Some(_) | None => {
                self.problem("enum", "is no list of what can be selected; write [\"a\", \"b\"]")
            }
        }
    }

    /// Only numbers have bounds. OmniRoute takes them elsewhere and looks at none.
    fn bound(&mut self, key: &str, keyword: &str, json_type: &str, schema: &mut Map<String, Value>) {
        match self.field.get(key) {
            Some(bound) if !bound.is_number() => {
                self.problem(key, format!("is {}; write a number", described(bound)))
            }
            Some(bound) if matches!(json_type, "number" | "integer") => {
                schema.insert(keyword.to_owned(), bound.clone());
            }
            Some(_) | None => {}
        }
    }

    fn carry(&self, key: &str, keyword: &str, schema: &mut Map<String, Value>) {
        if let Some(value) = self.field.get(key) {
            schema.insert(keyword.to_owned(), value.clone());
        }
    }

    fn is(&mut self, key: &str) -> bool {
        match self.field.get(key) {
            Some(Value::Bool(value)) => *value,
            None => false,
            Some(other) => {
                self.problem(key, format!("is {}; write true or false", described(other)));
                false
            }
        }
    }

    fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(ConfigProblem::new(format!("{}/{}", self.at, escaped(key)), message));
    }
}
