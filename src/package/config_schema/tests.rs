//! Schemas that hold and schemas that do not, defaults, secrets, and schemas made to hurt.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::ConfigSchema;
use crate::limits;

fn schema(json: &Value) -> ConfigSchema {
    ConfigSchema::parse(json).unwrap()
}

fn object(json: Value) -> Map<String, Value> {
    match json {
        Value::Object(members) => members,
        other => panic!("{other} is no object"),
    }
}

/// What an empty or partial config becomes, or the problems with it, a line each.
fn checked(json: &Value, config: Value) -> Result<Value, String> {
    let problems = |problems: Vec<super::ConfigProblem>| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    schema(json).check(&object(config)).map(Value::Object).map_err(problems)
}

fn refused(json: &Value) -> Vec<(String, String)> {
    let problems = ConfigSchema::parse(json).unwrap_err();
    problems.into_iter().map(|problem| (problem.pointer, problem.message)).collect()
}

#[test]
fn defaults_stand_where_the_config_says_nothing() {
    let json = json!({
        "type": "object",
        "properties": {
            "a": { "type": "integer", "default": 1 },
            "b": { "type": "object", "default": {}, "properties": { "c": { "default": "x" } } },
            "d": { "type": "object", "properties": { "e": { "default": true } } },
            "list": { "type": "array", "items": { "properties": { "f": { "default": null } } } },
            "r": { "$ref": "#/$defs/r" }
        },
        "additionalProperties": { "properties": { "g": { "default": 2 } } },
        "$defs": { "r": { "type": "string", "default": "r" } }
    });
    assert_eq!(checked(&json, json!({})).unwrap(), json!({ "a": 1, "b": { "c": "x" }, "r": "r" }));
    let written = json!({ "a": 5, "b": { "c": "y" }, "d": {}, "list": [{}, { "f": 1 }], "r": "s", "z": {} });
    let merged = json!({ "a": 5, "b": { "c": "y" }, "d": { "e": true }, "list": [{ "f": null }, { "f": 1 }], "r": "s",
                         "z": { "g": 2 } });
    assert_eq!(checked(&json, written).unwrap(), merged);
}

#[test]
fn everything_wrong_with_a_config_is_told_at_its_pointer_and_never_with_its_value() {
    let json = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["must"],
        "properties": {
            "must": true,
            "text": { "type": "string", "minLength": 2, "pattern": "^[a-z]+$" },
            "share": { "type": "number", "minimum": 0, "exclusiveMaximum": 1 },
            "word": { "enum": ["open", "closed"] },
            "list": { "type": "array", "items": { "type": ["integer", "null"] }, "uniqueItems": true, "maxItems": 2 },
            "form": { "oneOf": [{ "const": "hush-1" }, { "type": "integer" }] },
            "deep/er": { "properties": { "x": { "type": "boolean" } } }
        }
    });
    let config = json!({
        "text": "H", "share": 1, "word": "hush", "list": [1, "hush", 1], "form": "hush", "deep/er": { "x": "hush" },
        "txt": "hush", "other": "hush"
    });
    let told = checked(&json, config).unwrap_err();
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_unstable();
    let expected = [
        "/deep~1er/x is a string; write true or false",
        "/form has none of the forms that the schema names",
        "/list has an item twice; write each once",
        "/list has too many items; write 2 or less",
        "/list/1 is a string; write null or a whole number",
        "/other is not known; known here: must, text, share, word, list, form, deep/er",
        "/share is too large; write less than 1",
        "/text does not match the pattern \"^[a-z]+$\"",
        "/text is too short; write 2 characters or more",
        "/txt is not known; did you mean \"text\"?",
        "/word is not one of \"open\", \"closed\"",
        "the config has no \"must\"; write it",
    ];
    assert_eq!(lines, expected);
    assert!(!told.contains("hush"), "{told}");
}

#[test]
fn omniroutes_map_of_fields_is_a_schema() {
    let json = json!({
        "threshold": { "type": "number", "default": 0.5, "min": 0, "max": 1, "description": "d" },
        "mode": { "type": "select", "enum": ["a", "b"], "default": "a" },
        "banner": { "type": "string", "min": 3, "label": "Banner" },
        "on": { "type": "boolean", "required": true },
        "key": { "type": "string", "secret": true }
    });
    assert_eq!(
        schema(&json).json(),
        &json!({
            "type": "object",
            "properties": {
                "threshold": { "type": "number", "description": "d", "default": 0.5, "minimum": 0, "maximum": 1 },
                "mode": { "type": "string", "default": "a", "enum": ["a", "b"] },
                "banner": { "type": "string", "title": "Banner" },
                "on": { "type": "boolean" },
                "key": { "type": "string", "secret": true }
            },
            "required": ["on"],
            "additionalProperties": false
        })
    );
    assert_eq!(checked(&json, json!({ "on": true })).unwrap()["threshold"], json!(0.5));
    assert_eq!(
        checked(&json, json!({ "threshold": 2, "mode": "c", "thresold": 1 })).unwrap_err(),
        "/threshold is too large; write 1 or less\n\
         /mode is not one of \"a\", \"b\"\n\
         /thresold is not known; did you mean \"threshold\"?\n\
         the config has no \"on\"; write it"
    );
    assert_eq!(schema(&json).secrets(), ["/key"]);
    for anything in [json!({}), json!(true)] {
        assert_eq!(checked(&anything, json!({ "a": 1 })).unwrap(), json!({ "a": 1 }));
    }
}

#[test]
fn a_field_may_have_the_name_of_a_keyword() {
    let json = json!({ "type": { "type": "string" }, "title": { "type": "string", "default": "t" } });
    assert_eq!(checked(&json, json!({})).unwrap(), json!({ "title": "t" }));
}

#[test]
fn a_schema_that_does_not_hold_is_refused_at_its_place() {
    let table = [
        (json!({ "a": 5 }), "/a", "is a number; write an object like { \"type\": \"string\" }"),
        (json!({ "a": {} }), "/a", "has no \"type\"; write \"type\": \"string\""),
        (
            json!({ "a": { "type": "text" } }),
            "/a/type",
            "is not one of \"string\", \"number\", \"integer\", \"boolean\", \"select\"",
        ),
        (
            json!({ "a": { "type": "select" } }),
            "/a/enum",
            "is no list of what can be selected; write [\"a\", \"b\"]",
        ),
        (json!({ "a": { "type": "number", "min": "0" } }), "/a/min", "is a string; write a number"),
        (
            json!({ "a": { "type": "string", "defualt": 1 } }),
            "/a/defualt",
            "is not known; did you mean \"default\"?",
        ),
        (
            json!({ "a": { "type": "string", "default": 1 } }),
            "/a/default",
            "does not fit the schema: it is a number; write a string",
        ),
        (
            json!({ "a": { "type": "string", "description": 1 } }),
            "/a/description",
            "is a number; write a string",
        ),
        (
            json!({ "type": "array" }),
            "/type",
            "takes no object, and a config is one; write \"type\": \"object\"",
        ),
        (
            json!({ "type": "objekt" }),
            "/type",
            "is no type; write \"string\", \"number\", \"integer\", \"boolean\", \"array\", \"object\" or \"null\"",
        ),
        (json!(false), "", "takes no object, and a config is one; write \"type\": \"object\""),
        (
            json!({ "properties": { "a": { "minimum": "1" } } }),
            "/properties/a/minimum",
            "is a string; write a number",
        ),
        (
            json!({ "properties": { "a": { "secret": "yes" } } }),
            "/properties/a/secret",
            "is a string; write true or false",
        ),
        (
            json!({ "type": "object", "secret": true }),
            "/secret",
            "hides the whole config; write it at single values",
        ),
        (
            json!({ "$ref": "https://example.com/x" }),
            "/$ref",
            "leads out of this schema; write \"#/$defs/…\"",
        ),
        (
            json!({ "$ref": "#/$defs/gone" }),
            "/$ref",
            "leads to no schema; write \"#/$defs/…\" and put it there",
        ),
        (json!({ "$ref": "#" }), "/$ref", "leads back to itself; write out as many levels as a config has"),
        (
            json!({ "$schema": "http://json-schema.org/draft-07/schema#" }),
            "/$schema",
            "is not the dialect used here; write \"https://json-schema.org/draft/2020-12/schema\", or leave it out",
        ),
        (
            json!({ "properties": { "a": { "$id": "x" } } }),
            "/properties/a/$id",
            "is not taken here; leave it out",
        ),
        (
            json!({ "type": "object", "$anchor": "x" }),
            "/$anchor",
            "is not taken here; put the schema under $defs and write \"$ref\": \"#/$defs/…\"",
        ),
    ];
    for (json, pointer, message) in table {
        assert_eq!(refused(&json), [(pointer.to_owned(), message.to_owned())], "{json}");
    }
}

#[test]
fn a_pattern_that_is_none_or_could_explode_is_refused() {
    for pattern in ["(", "(?=a)b", "(a)\\1", "(((a{100}){100}){100})"] {
        let json = json!({ "properties": { "a": { "pattern": pattern } } });
        assert!(ConfigSchema::parse(&json).is_err(), "{pattern}");
    }
    let slow = json!({ "properties": { "a": { "pattern": "^(a+)+$" } } });
    assert!(checked(&slow, json!({ "a": "a".repeat(100_000) + "b" })).is_err());
}

#[test]
fn a_schema_made_to_grow_is_refused_and_not_followed() {
    let mut defs = Map::new();
    defs.insert("d0".to_owned(), json!({}));
    for level in 1..31 {
        let twice = json!({ "$ref": format!("#/$defs/d{}", level - 1) });
        defs.insert(format!("d{level}"), json!({ "anyOf": [twice, twice] }));
    }
    let laughs = json!({ "$ref": "#/$defs/d30", "$defs": defs });
    assert!(refused(&laughs).iter().any(|(_, text)| text.starts_with("makes more than 10000 schemas")));
    let there_and_back = json!({ "properties": { "a": { "$ref": "#/properties/b" }, "b": { "items": { "$ref": "#/properties/a" } } } });
    assert!(refused(&there_and_back).iter().all(|(_, text)| text.starts_with("leads back to itself")));
    let deep = (0..100).fold(json!({}), |inner, _| json!({ "properties": { "a": inner } }));
    assert!(refused(&deep)[0].1.starts_with("is more than 32 schemas deep"));
    let patterns: Vec<Value> = (0..=limits::CONFIG_PATTERNS_MAX).map(|_| json!({ "pattern": "a" })).collect();
    assert!(refused(&json!({ "anyOf": patterns }))[0].1.starts_with("is one pattern too many"));
}

#[test]
fn defaults_that_would_fill_the_memory_are_refused() {
    let json = json!({ "properties": { "list": { "items": { "properties": { "a": { "default": "x".repeat(60_000) } } } } } });
    let items = vec![json!({}); 1_000];
    assert!(checked(&json, json!({ "list": items })).unwrap_err().contains("gets defaults of more than"));
    assert!(checked(&json, json!({ "list": [{}, {}] })).is_ok());
}

#[test]
fn secrets_are_hidden_wherever_the_schema_says_so_and_come_back_unseen() {
    let json = json!({
        "type": "object",
        "properties": {
            "key": { "type": ["string", "null"], "secret": true },
            "plain": { "type": "string" },
            "keys": { "type": "array", "items": { "type": "object", "properties": { "token": { "$ref": "#/$defs/secret" } } } },
            "named": { "additionalProperties": { "secret": true }, "properties": { "public": {} } },
            "either": { "anyOf": [{ "type": "string" }, { "properties": { "p": { "secret": true } } }] },
            "secret": { "type": "string" }
        },
        "$defs": { "secret": { "secret": true } }
    });
    let schema = schema(&json);
    assert_eq!(schema.secrets(), ["/either/p", "/key", "/keys/*/token", "/named/*"]);
    let stored = object(json!({
        "key": "k", "plain": "p", "keys": [{ "token": "t0", "n": 0 }, { "token": "t1" }],
        "named": { "a": { "b": 1 }, "public": 2 }, "either": { "p": [1] }, "secret": "no secret"
    }));
    let shown = schema.masked(&stored);
    assert_eq!(
        Value::Object(shown.clone()),
        json!({
            "key": null, "plain": "p", "keys": [{ "token": null, "n": 0 }, { "token": null }],
            "named": { "a": null, "public": 2 }, "either": { "p": null }, "secret": "no secret"
        })
    );
    assert_eq!(schema.unmask(shown.clone(), &stored), stored);
    let mut changed = shown;
    changed.insert("key".to_owned(), json!("new"));
    changed.remove("either");
    let changed = schema.unmask(changed, &stored);
    assert_eq!((&changed["key"], changed.get("either")), (&json!("new"), None));
    assert_eq!(changed["keys"], stored["keys"]);
}

fn any_json() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "type",
        "properties",
        "items",
        "allOf",
        "anyOf",
        "not",
        "$ref",
        "#",
        "#/properties/a",
        "#/$defs/a",
        "$defs",
        "a",
        "b",
        "default",
        "secret",
        "enum",
        "pattern",
        "(",
        "object",
        "string",
        "number",
        "select",
        "required",
        "min",
        "additionalProperties",
        "$id",
        "if",
        "const",
        "",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i32>().prop_map(Value::from),
        words.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((words.clone(), inner), 0..6).prop_map(|members| members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_a_schema_or_a_list_of_problems(json in any_json(), config in any_json()) {
        match ConfigSchema::parse(&json) {
            Ok(schema) => {
                let config = config.as_object().cloned().unwrap_or_default();
                if let Ok(merged) = schema.check(&config) {
                    prop_assert_eq!(schema.unmask(schema.masked(&merged), &merged), merged);
                }
            }
            Err(problems) => prop_assert!(!problems.is_empty()),
        }
    }
}
