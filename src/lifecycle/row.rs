//! Plugins as they are wanted: from the configuration and from the database.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;

use super::build::Entry;
use super::inventory::{Installed, Origin};
use crate::config::{Config, PluginEntry};
use crate::package::{Manifest, Package, Permissions};
use crate::store::{self, PluginRow};

/// What `config` and `rows` want, with the handles of `old`. Where both name a plugin, the configuration decides.
pub(super) fn entries(config: &Config, rows: Vec<PluginRow>, old: &[Entry]) -> Vec<Entry> {
    let managed = config.plugin_entries.iter().map(of_entry);
    let is_managed =
        |row: &PluginRow| config.plugin_entries.iter().any(|entry| entry.name == row.installed.name);
    let stored = rows.into_iter().filter(|row| !is_managed(row)).map(of_row);
    // A stored plugin that another gateway changed meanwhile gets a process of its own.
    let is_same = |one: &Installed, other: &Installed| {
        one.origin == other.origin
            && (one.origin == Origin::Managed
                || (&one.digest, &one.config, &one.grants, &one.directory)
                    == (&other.digest, &other.config, &other.grants, &other.directory))
    };
    let known = |wanted: &Installed| {
        old.iter().find(|old| old.wanted.name == wanted.name && is_same(&old.wanted, wanted))
    };
    // Whoever decides about it, the plugin is the same to those who read what it printed.
    let journal = |name: &str| {
        let old = old.iter().find(|old| *old.wanted.name == *name);
        old.map_or_else(Arc::default, |old| old.wanted.journal.clone())
    };
    managed
        .chain(stored)
        .map(|wanted| Entry {
            running: known(&wanted).and_then(|old| old.running.clone()),
            wanted: Installed { journal: journal(&wanted.name), ..wanted },
        })
        .collect()
}

/// What the folder holds is known once it was read.
fn of_entry(entry: &PluginEntry) -> Installed {
    Installed {
        name: entry.name.as_str().into(),
        origin: Origin::Managed,
        directory: entry.path.clone(),
        enabled: entry.enabled,
        position: entry.priority.map(i64::from),
        config: entry.config.clone(),
        ..Installed::default()
    }
}

/// The folder is not looked at before the plugin is started.
fn of_row(row: PluginRow) -> Installed {
    let store::Installed { name, version, manifest, digest, directory, source } = row.installed;
    let manifest = Manifest::parse(&manifest);
    let unread =
        manifest.as_ref().err().map(|errors| format!("its manifest does not hold any more: {errors}"));
    let manifest = manifest.ok();
    let grants = grants(row.grants, manifest.as_ref());
    Installed {
        name: name.into(),
        origin: Origin::Stored,
        version,
        priority: manifest.as_ref().map_or(0, |manifest| manifest.priority),
        manifest: manifest.map(Arc::new),
        directory: PathBuf::from(directory),
        digest,
        enabled: row.enabled,
        position: row.position,
        config: row.config,
        grants,
        source: Some(source),
        error: unread.or(row.error),
        installed_at: Some(row.installed_at),
        updated_at: Some(row.updated_at),
        activated_at: row.activated_at,
        plugin: None,
        journal: Arc::default(),
    }
}

/// Null says that nobody was asked yet. What cannot be read grants nothing. An earlier version asked for no hooks: what
/// the hooks of its plugins see and change was granted by their activation.
fn grants(grants: Value, manifest: Option<&Manifest>) -> Option<Permissions> {
    let asks_for_hooks = grants.get("hooks").is_some();
    let grants = (!grants.is_null()).then(|| serde_json::from_value(grants).unwrap_or_default());
    match (grants, manifest) {
        (Some(grants), Some(manifest)) if !asks_for_hooks => {
            Some(Permissions { hooks: manifest.permissions.hooks.clone(), ..grants })
        }
        (grants, _) => grants,
    }
}

/// A plugin nobody knew before.
pub(super) fn new(package: &Package, directory: &Path, source: &Path) -> Installed {
    let now = Some(SystemTime::now());
    let mut wanted = Installed {
        name: package.manifest.name.as_str().into(),
        origin: Origin::Stored,
        directory: directory.to_owned(),
        source: Some(source.to_string_lossy().into_owned()),
        installed_at: now,
        updated_at: now,
        ..Installed::default()
    };
    wanted.accept(package);
    wanted
}

/// What the database keeps of a package that lies in `directory`.
pub(super) fn installed(package: &Package, directory: &Path, source: &Path) -> store::Installed {
    store::Installed {
        name: package.manifest.name.clone(),
        version: package.manifest.version.to_string(),
        manifest: package.manifest_text.clone(),
        digest: package.digest.to_string(),
        directory: directory.to_string_lossy().into_owned(),
        source: source.to_string_lossy().into_owned(),
    }
}
