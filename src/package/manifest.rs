//! `plugin.json`: what a plugin says of itself.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use super::{Errors, MANIFEST_FILE, hooks, integrity, permissions, program};
use crate::document::{self, Document, Node, Section, Wrong, boolean, integer, name, one_of, parsed, text};
use crate::hook::{HookName, HookSpec};
use crate::limits;
use crate::package::{ConfigProblem, ConfigSchema, Permissions};

/// The protocol this gateway speaks.
pub(super) const PROTOCOL: u32 = 1;
/// Keys of OmniRoute for its pages and its agents.
pub(super) const OBJECT_LISTS: [&str; 3] = ["skills", "adminPages", "dashboardWidgets"];
/// Where OmniRoute has a plugin from.
pub(super) const SOURCES: [(&str, ()); 2] = [("local", ()), ("marketplace", ())];
/// Far enough apart for any order.
pub(super) const PRIORITY_MAX: i32 = 1_000_000;
pub(super) const PRIORITY: i32 = 100;
/// A process below does not start; one above has a machine to itself.
pub(super) const MEMORY_MB: RangeInclusive<u64> = 16..=1 << 20;

/// A checked manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub name: String,
    pub version: semver::Version,
    pub protocol: u32,
    pub description: Option<String>,
    pub author: Option<String>,
    pub license: Option<String>,
    pub homepage: Option<String>,
    pub tags: Vec<String>,
    /// The hooks it serves, without those that are `false`.
    pub hooks: BTreeMap<HookName, HookSpec>,
    /// Lower runs earlier.
    pub priority: i32,
    /// What it asks to be allowed, by `permissions` and by its hooks.
    pub permissions: Permissions,
    pub limits: ProcessLimits,
    /// From the start of its process to its READY.
    pub start_timeout: Duration,
    /// What an operator may set. A manifest without one takes anything.
    pub config_schema: ConfigSchema,
    pub enabled_by_default: bool,
}

/// `limits`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessLimits {
    /// MiB of data one process may have; None: as much as there is.
    pub memory_mb: Option<u64>,
    /// Calls one process works on at once.
    pub max_in_flight: usize,
    /// Processes that share the calls.
    pub instances: usize,
}

impl Manifest {
    /// What a manifest says that was accepted once, without the folder that has its program.
    pub fn parse(text: &str) -> Result<Self, Errors> {
        Document::read_json(MANIFEST_FILE, text, |root| {
            program::skip(root);
            integrity::skip(root);
            read(root)
        })
    }
}

/// All but what is to be run, which the folder has to have. Every key is read before the first missing one ends it,
/// so that all errors are found.
pub(super) fn read(root: &mut Section<'_, '_>) -> Option<Manifest> {
    let name = root.need("name", "\"name\": \"redact\"", name);
    let version = root.need("version", "\"version\": \"1.0.0\"", parsed(version));
    let protocol = root.get("protocol", protocol).unwrap_or(PROTOCOL);
    let description = root.get("description", text);
    let author = root.get("author", text);
    let license = root.get("license", text);
    let homepage = root.get("homepage", text);
    let tags = root.list("tags", text).unwrap_or_default();
    let hooks = root.table("hooks", hooks::read);
    let priority = root.get("priority", integer(-PRIORITY_MAX..=PRIORITY_MAX)).unwrap_or(PRIORITY);
    let permissions = Permissions { hooks: permissions::of_hooks(&hooks), ..permissions::read(root) };
    let limits = root.table("limits", process_limits);
    let start_timeout = root.get("startTimeoutMs", start_timeout).unwrap_or(limits::START_TIMEOUT);
    let config_schema = config_schema(root);
    let enabled_by_default = root.get("enabledByDefault", boolean).unwrap_or(false);
    keys_without_effect(root);
    Some(Manifest {
        name: name?,
        version: version?,
        protocol,
        description,
        author,
        license,
        homepage,
        tags,
        hooks,
        priority,
        permissions,
        limits,
        start_timeout,
        config_schema,
        enabled_by_default,
    })
}

fn version(text: &str) -> Result<semver::Version, String> {
    // It becomes part of a folder's name.
    const VERSION_BYTES_MAX: usize = 100;
    if text.len() > VERSION_BYTES_MAX {
        return Err(format!("is too long; write at most {VERSION_BYTES_MAX} characters, like 1.0.0"));
    }
    text.parse().map_err(|error| format!("is no version ({error}); write it like 1.0.0"))
}

fn protocol(node: &Node) -> Result<u32, Wrong> {
    match integer(1..=u32::MAX)(node) {
        Ok(PROTOCOL) => Ok(PROTOCOL),
        Err(Wrong::Type(_)) => Err(Wrong::Type(PROTOCOL.to_string())),
        Ok(_) | Err(_) => Err(Wrong::Value(format!("is not spoken by this gateway; write {PROTOCOL}"))),
    }
}

fn process_limits(section: &mut Section<'_, '_>) -> ProcessLimits {
    ProcessLimits {
        memory_mb: section.get("memoryMb", integer(MEMORY_MB)),
        max_in_flight: section
            .get("maxInFlight", integer(1..=limits::HOOK_IN_FLIGHT))
            .unwrap_or(limits::HOOK_IN_FLIGHT),
        instances: section.get("instances", integer(1..=limits::PLUGIN_INSTANCES_MAX)).unwrap_or(1),
    }
}

fn start_timeout(node: &Node) -> Result<Duration, Wrong> {
    let longest = u64::try_from(limits::START_TIMEOUT_MAX.as_millis()).unwrap_or(u64::MAX);
    integer(1..=longest)(node).map(Duration::from_millis)
}

/// Its problems are told where they stand in the schema.
fn config_schema(root: &mut Section<'_, '_>) -> ConfigSchema {
    const KEY: &str = "configSchema";
    let Some(node) = root.node(KEY) else { return ConfigSchema::default() };
    let json = match node.to_json() {
        Ok(schema @ (Value::Object(_) | Value::Bool(_))) => schema,
        Ok(_) | Err(_) => {
            let what = node.described("object");
            root.problem(KEY, format!("{KEY} is {what}; write a JSON Schema, {{ \"type\": \"object\", … }}"));
            return ConfigSchema::default();
        }
    };
    ConfigSchema::parse(&json).unwrap_or_else(|problems| {
        for ConfigProblem { pointer, message } in problems {
            let text = format!("{KEY}{pointer} {message}");
            root.problem_at(node.nearest(&pointer), &format!("/{KEY}{pointer}"), text);
        }
        ConfigSchema::default()
    })
}

fn object(node: &Node) -> Result<(), Wrong> {
    match node.value {
        document::Value::Table(_) => Ok(()),
        document::Value::Null
        | document::Value::Boolean(_)
        | document::Value::Number(_)
        | document::Value::String(_)
        | document::Value::Foreign(_)
        | document::Value::List(_) => Err(Wrong::Type("an object".to_owned())),
    }
}

/// Keys of OmniRoute's manifests, and of editors, that are taken and change nothing here.
fn keys_without_effect(root: &mut Section<'_, '_>) {
    root.get("$schema", text);
    root.get("source", one_of(&SOURCES));
    for list in OBJECT_LISTS {
        root.list(list, object);
    }
    root.node("integrations");
}
