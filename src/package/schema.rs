//! The JSON Schema of `plugin.json`, for editors: what a manifest may hold, as far as a schema can say it.
//!
//! It is made of the same words and bounds that the reader of manifests uses. The reader alone decides: it knows
//! the folder too, and says more of what is wrong.

use serde_json::{Map, Value, json};

use super::hooks::{BODIES, FOREIGN_HOOKS, FUTURE_CAUSE, MODES, MUTATIONS, POLICIES};
use super::manifest::{MEMORY_MB, OBJECT_LISTS, PRIORITY, PRIORITY_MAX, PROTOCOL, SOURCES};
use super::permissions::WORDS;
use super::program::RUNTIMES;
use crate::hook::{Cause, Endpoint, HookName};
use crate::limits;

/// What is said of keys that are taken and change nothing.
const OMNIROUTE: &str = "OmniRoute's; changes nothing.";
/// RFC 6901.
const POINTER: &str = "^(/([^~/]|~[01])*)*$";

/// The schema, in JSON Schema 2020-12.
pub fn manifest_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "plugin.json of a Hookway plugin",
        "type": "object",
        "required": ["name", "version"],
        "additionalProperties": false,
        "properties": properties(),
        "dependentSchemas": {
            "command": { "properties": { "main": false, "runtime": false, "integrity": false } },
            "permissions": { "properties": { "requires": { "properties": { "permissions": false } } } }
        },
        "$defs": {
            "strings": { "type": "array", "items": { "type": "string" } },
            "pointers": { "type": "array", "items": { "type": "string", "pattern": POINTER } },
            "permissionWords": { "type": "array", "items": { "enum": words(&WORDS) } },
            "policy": { "enum": words(&POLICIES) },
            "hook": hook(false),
            "streamHook": hook(true)
        }
    })
}

fn words<T>(table: &[(&'static str, T)]) -> Vec<&'static str> {
    table.iter().map(|(word, _)| *word).collect()
}

fn properties() -> Value {
    let mut properties = json!({
        "$schema": { "type": "string", "description": "For editors: where this schema is." },
        "name": { "type": "string", "pattern": "^[a-z0-9-]{1,100}$" },
        "version": { "type": "string", "maxLength": 100, "pattern": "^[0-9]+\\.[0-9]+\\.[0-9]+([-+].+)?$",
                     "description": "A semantic version, like 1.0.0." },
        "protocol": { "const": PROTOCOL, "default": PROTOCOL },
        "description": { "type": "string" },
        "author": { "type": "string" },
        "license": { "type": "string" },
        "homepage": { "type": "string" },
        "tags": { "$ref": "#/$defs/strings" },
        "main": { "type": "string", "minLength": 1, "pattern": "^[^/]", "not": { "pattern": "(^|/)\\.\\.(/|$)" },
                  "description": "The entry file, inside the plugin's folder.", "default": "index.js" },
        "runtime": { "enum": words(&RUNTIMES), "description": "What starts main; by its extension if left out." },
        "command": { "type": "array", "minItems": 1, "items": { "type": "string" },
                     "description": "In place of main: a program and its arguments." },
        "integrity": { "type": "string", "pattern": "^sha256-[A-Za-z0-9+/_-]{43}=$",
                       "description": "The SHA-256 of main in base64." },
        "hooks": { "type": "object", "additionalProperties": false, "properties": hooks() },
        "priority": { "type": "integer", "minimum": -PRIORITY_MAX, "maximum": PRIORITY_MAX, "default": PRIORITY,
                      "description": "Place in the chain; lower is earlier." },
        "permissions": { "oneOf": [permissions(), { "$ref": "#/$defs/permissionWords" }] },
        "requires": { "type": "object", "additionalProperties": false,
                      "description": "OmniRoute's form of permissions.",
                      "properties": { "omniroute": { "type": "string" },
                                      "permissions": { "$ref": "#/$defs/permissionWords" } } },
        "configSchema": { "type": ["object", "boolean"],
                          "description": "What an operator may set: JSON Schema 2020-12, or OmniRoute's map of fields. A field with \"secret\": true is never shown again." },
        "limits": process_limits(),
        "startTimeoutMs": { "type": "integer", "minimum": 1, "description": "From the start of its process to READY.",
                            "default": u64::try_from(limits::START_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
                            "maximum": u64::try_from(limits::START_TIMEOUT_MAX.as_millis()).unwrap_or(u64::MAX) },
        "enabledByDefault": { "type": "boolean", "default": false },
        "source": { "enum": words(&SOURCES), "description": OMNIROUTE },
        "integrations": { "description": OMNIROUTE }
    });
    if let Value::Object(properties) = &mut properties {
        let objects = json!({ "type": "array", "items": { "type": "object" }, "description": OMNIROUTE });
        properties.extend(OBJECT_LISTS.map(|list| (list.to_owned(), objects.clone())));
    }
    properties
}

fn hooks() -> Value {
    let declared = HookName::ALL.into_iter().map(|name| {
        let spec = if name == HookName::OnStreamEvent { "streamHook" } else { "hook" };
        let forms = json!({ "description": when_called(name),
                            "oneOf": [{ "type": "boolean" }, { "$ref": format!("#/$defs/{spec}") }] });
        (name.as_str().to_owned(), forms)
    });
    let foreign =
        FOREIGN_HOOKS.map(|name| (name.to_owned(), json!({ "type": "boolean", "description": OMNIROUTE })));
    declared.chain(foreign).collect::<Map<_, _>>().into()
}

fn when_called(name: HookName) -> &'static str {
    match name {
        HookName::OnRequest => "Once per client request, before it is routed.",
        HookName::OnResponse => "A whole answer, before its first byte goes out.",
        HookName::OnStreamEvent => "Each event of a streamed answer.",
        HookName::OnError => "An attempt at an upstream failed.",
        HookName::OnComplete => "After the last byte of every request.",
        HookName::OnInstall => "After it was installed.",
        HookName::OnActivate => "After it was switched on.",
        HookName::OnDeactivate => "Before it is switched off.",
        HookName::OnUninstall => "Before it is removed.",
        HookName::OnConfigChange => "After its config was changed.",
    }
}

/// The object form of a hook. Only a stream's has a mode.
fn hook(is_stream: bool) -> Value {
    let by_cause = Cause::ALL.map(|cause| (cause.as_str().to_owned(), json!({ "$ref": "#/$defs/policy" })));
    let mut causes: Map<String, Value> = by_cause.into_iter().collect();
    causes.insert("default".to_owned(), json!({ "$ref": "#/$defs/policy" }));
    causes.insert(FUTURE_CAUSE.to_owned(), json!({ "$ref": "#/$defs/policy" }));
    let mutation = json!({ "anyOf": [{ "enum": MUTATIONS }, { "type": "string", "pattern": POINTER }] });
    let mut spec = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "body": { "enum": words(&BODIES), "description": "How much of the body it sees.", "default": "none" },
            "pointers": { "$ref": "#/$defs/pointers", "description": "Which parts of the body it sees." },
            "headers": { "$ref": "#/$defs/strings", "description": "Request headers it sees." },
            "mutates": { "type": "array", "items": mutation, "description": "What it may change; all if left out." },
            "when": when(),
            "timeoutMs": { "type": "integer", "description": "How long a call may take.", "minimum": 1,
                           "maximum": u64::try_from(limits::HOOK_TIMEOUT_MAX.as_millis()).unwrap_or(u64::MAX) },
            "onFailure": { "description": "What becomes of a request when the plugin gives no verdict.",
                           "oneOf": [{ "$ref": "#/$defs/policy" },
                                     { "type": "object", "additionalProperties": false, "properties": causes }] },
            "maxBody": { "oneOf": [{ "type": "integer", "minimum": 1 },
                                   { "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$" }],
                         "description": "The largest body it takes, like 8MiB." },
            "idempotent": { "type": "boolean", "default": false, "description": "A call may be repeated." }
        },
        "dependentSchemas": { "pointers": { "properties": { "body": { "const": "pointers" } } } },
        "if": { "properties": { "body": { "const": "pointers" } }, "required": ["body"] },
        "then": { "required": ["pointers"] }
    });
    if is_stream {
        spec["properties"]["mode"] = json!({ "enum": words(&MODES), "default": "transform" });
    }
    spec
}

fn when() -> Value {
    let endpoint = json!({ "enum": Endpoint::ALL.map(Endpoint::as_str) });
    let model = json!({ "type": "string", "description": "A glob, like gpt-*." });
    let one_or_more = |one: Value| json!({ "oneOf": [one, { "type": "array", "items": one }] });
    json!({
        "description": "Which requests it is asked about.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "endpoint": one_or_more(endpoint),
            "model": one_or_more(model),
            "header": { "type": "object", "additionalProperties": false, "required": ["name"],
                        "properties": { "name": { "type": "string" }, "value": { "type": "string" } } },
            "sample": { "type": "number", "minimum": 0, "maximum": 1, "default": 1,
                        "description": "A share of the requests." }
        }
    })
}

fn permissions() -> Value {
    let path = json!({ "type": "string", "minLength": 1, "not": { "pattern": "(^|/)\\.\\.(/|$)" } });
    let paths = json!({ "type": "array", "items": path });
    let port = json!({ "type": "string", "pattern": "^tcp:[1-9][0-9]{0,4}$" });
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "env": { "description": "Variables of the gateway's environment that it gets.", "type": "array", "items": { "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
                                                 "not": { "pattern": "^HOOKWAY_" } } },
            "fs": { "description": "Files beyond its own folder.", "type": "object", "additionalProperties": false,
                    "properties": { "read": paths, "write": paths } },
            "network": { "description": "TCP ports it may connect to, on any host.", "default": "none", "oneOf": [{ "enum": ["none", "any"] }, { "type": "array", "items": port }] },
            "exec": { "description": "Programs it may start.", "default": false, "oneOf": [{ "const": false }, paths] }
        }
    })
}

fn process_limits() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "memoryMb": { "type": "integer", "minimum": MEMORY_MB.start(), "maximum": MEMORY_MB.end(),
                          "description": "Memory of one process." },
            "maxInFlight": { "type": "integer", "minimum": 1, "maximum": limits::HOOK_IN_FLIGHT,
                             "description": "Calls one process works on at once." },
            "instances": { "type": "integer", "minimum": 1, "maximum": limits::PLUGIN_INSTANCES_MAX, "default": 1,
                           "description": "Processes that share the calls." }
        }
    })
}
