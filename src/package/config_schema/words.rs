//! What is wrong with a value, in the words of this project, and never with the value itself.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::Value;

use super::ConfigProblem;
use crate::document::suggestion;

/// One problem, or one for each name that is not known. `schema` is what the value was checked against.
pub(super) fn problems(error: &ValidationError<'_>, schema: &Value) -> Vec<ConfigProblem> {
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let at = error.instance_path().as_str();
            let known = known_names(error, schema);
            let told = |name: &String| {
                ConfigProblem::new(format!("{at}/{}", escaped(name)), not_known(name, &known))
            };
            unexpected.iter().map(told).collect()
        }
        _ => vec![problem(error)],
    }
}

pub(super) fn problem(error: &ValidationError<'_>) -> ConfigProblem {
    ConfigProblem::new(error.instance_path().as_str(), message(error))
}

fn message(error: &ValidationError<'_>) -> String {
    let what = described(error.instance());
    match error.kind() {
        Kind::Type { kind } => format!("is {what}; write {}", types(kind)),
        Kind::Enum { options } => format!("is not one of {}", listed(options)),
        Kind::Constant { expected_value } => format!("is not {expected_value}, which is all it may be"),
        Kind::Required { property: Value::String(name) } => format!("has no {name:?}; write it"),
        Kind::Minimum { limit } => format!("is too small; write {limit} or more"),
        Kind::Maximum { limit } => format!("is too large; write {limit} or less"),
        Kind::ExclusiveMinimum { limit } => format!("is too small; write more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("is too large; write less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("is no multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("is too short; write {limit} characters or more"),
        Kind::MaxLength { limit } => format!("is too long; write {limit} characters or less"),
        Kind::MinItems { limit } => format!("has too few items; write {limit} or more"),
        Kind::MaxItems { limit } => format!("has too many items; write {limit} or less"),
        Kind::UniqueItems => "has an item twice; write each once".to_owned(),
        Kind::Pattern { pattern } => format!("does not match the pattern {pattern:?}"),
        Kind::Format { format } if format == "regex" => {
            "is no pattern used here; write a regular expression without look-around and back-references"
                .to_owned()
        }
        Kind::Format { format } => format!("is no {format}"),
        Kind::FalseSchema => "is not taken here; leave it out".to_owned(),
        Kind::AnyOf { .. } => any_of(error),
        Kind::OneOfNotValid { .. } => "has none of the forms that the schema names".to_owned(),
        Kind::OneOfMultipleValid { .. } => "has several of the forms that exclude one another".to_owned(),
        Kind::PropertyNames { error } => format!("has a name that is not taken: {}", message(error)),
        _ => error.masked().to_string(),
    }
}

/// The schema of schemas says this of a type that is none.
fn any_of(error: &ValidationError<'_>) -> String {
    if error.instance_path().as_str().ends_with("/type")
        && error.schema_path().as_str().ends_with("/type/anyOf")
    {
        return "is no type; write \"string\", \"number\", \"integer\", \"boolean\", \"array\", \"object\" or \"null\""
            .to_owned();
    }
    "has none of the forms that the schema names".to_owned()
}

fn not_known(name: &str, known: &[&str]) -> String {
    if known.is_empty() {
        return "is not known; leave it out".to_owned();
    }
    format!("is not known; {}", suggestion(name, known))
}

/// The names beside the keyword that refused another.
fn known_names<'s>(error: &ValidationError<'_>, schema: &'s Value) -> Vec<&'s str> {
    let keyword = error.schema_path().as_str();
    let place = keyword.rfind('/').map_or("", |end| &keyword[..end]);
    let properties = schema.pointer(place).and_then(|schema| schema.get("properties")?.as_object());
    properties.map(|properties| properties.keys().map(String::as_str).collect()).unwrap_or_default()
}

fn types(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(one) => article(one.as_str()).to_owned(),
        TypeKind::Multiple(several) => {
            several.iter().map(|one| article(one.as_str())).collect::<Vec<_>>().join(" or ")
        }
    }
}

fn article(json_type: &str) -> &'static str {
    match json_type {
        "string" => "a string",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "an object",
        _ => "null",
    }
}

pub(super) fn described(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn listed(options: &Value) -> String {
    let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
    options.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")
}

/// A name as a step of a JSON pointer.
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
