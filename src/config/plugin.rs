//! `[[plugin]]`: which plugins run. What is in their folders is `package`'s to know.

use serde_json::{Map, Value};

use super::PluginEntry;
use super::place::Place;
use crate::document::{Section, boolean, integer, name};

/// Far enough apart for any order, and the same bounds as a manifest's.
const PRIORITY_MAX: i32 = 1_000_000;

pub(super) fn all(root: &mut Section<'_, '_>, place: &Place<'_>) -> Vec<PluginEntry> {
    let mut names: Vec<String> = Vec::new();
    root.tables("plugin", |section| {
        let name = section.need("name", "name = \"redact\"", name);
        if let Some(name) = &name {
            if names.contains(name) {
                section.problem("name", format!("name {name:?} is taken by another plugin; write another"));
            }
            names.push(name.clone());
        }
        let path = section.need("path", "path = \"../plugins/redact\"", place.path());
        let enabled = section.get("enabled", boolean).unwrap_or(true);
        let priority = section.get("priority", integer(-PRIORITY_MAX..=PRIORITY_MAX));
        let config = own_config(section);
        let at = section.position("path");
        Some(PluginEntry { name: name?, path: path?, enabled, priority, config: config?, at })
    })
}

/// The plugin's own config, in JSON as the plugin will get it.
fn own_config(section: &mut Section<'_, '_>) -> Option<Map<String, Value>> {
    let Some(node) = section.node("config") else { return Some(Map::new()) };
    match node.to_json() {
        Ok(Value::Object(config)) => Some(config),
        Ok(_) => {
            section
                .problem("config", "config is not a table; write it like config = { replacement = \"***\" }");
            None
        }
        Err(foreign) => {
            let what = foreign.described("table");
            let text = format!("config holds {what}; plugins get it as JSON, which has none: write a string");
            section.problem_at(foreign, "/config", text);
            None
        }
    }
}
