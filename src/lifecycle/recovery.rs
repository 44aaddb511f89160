//! Plugins whose files are there and whose rows are not: the database was damaged, emptied, or is an older copy.
//!
//! What was wanted of such a plugin is lost: whether it was active, its config, its grants. It may have been a guard. So
//! it is written down as enabled and granted nothing. Such a plugin is never started, and it lets no request pass, until
//! an operator activates, deactivates or uninstalls it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::actor::blocking;
use super::error::LifecycleError;
use super::{By, row};
use crate::config::Config;
use crate::package::{self, staging};
use crate::store::{Change, Found, Installed, PluginRow, Store};

/// Why a plugin without its row is not started.
pub(super) const LOST: &str = "the database has lost its config and its grants; activate it (with a grant), deactivate it, or uninstall it";

/// Writes rows for the plugins that have lost theirs, and says whether there were any.
pub(super) async fn recover(
    store: &Store,
    config: &Config,
    installed: &Path,
    rows: &[PluginRow],
) -> Result<bool, LifecycleError> {
    let known = rows.iter().map(|row| row.installed.directory.clone());
    let known: HashSet<PathBuf> = known.chain(store.removals().await?).map(PathBuf::from).collect();
    let names: Vec<String> = rows.iter().map(|row| row.installed.name.clone()).collect();
    let managed = config.plugin_entries.iter().map(|entry| entry.name.clone()).collect();
    let scanned = match store.report().found {
        Found::Damaged { .. } | Found::Emptied => Some((config.plugins.dirs.clone(), managed)),
        // At a first start nobody has chosen yet what to do with what lies there.
        Found::Nothing | Found::Whole | Found::Older { .. } => None,
    };
    let folder = installed.to_owned();
    let lost = blocking(move || lost(&folder, &known, names, scanned)).await?;
    if lost.is_empty() {
        return Ok(false);
    }
    let names: Vec<&str> = lost.iter().map(|plugin| plugin.name.as_str()).collect();
    tracing::error!(
        plugins = names.join(", "),
        "installed plugins are missing in the database; nothing passes until each is activated or uninstalled"
    );
    let note = By::Gateway.note("recover", None, json!(names));
    let insert =
        |installed| Change::Insert { installed, enabled: true, config: Map::new(), grants: Value::Null };
    store.apply(lost.into_iter().map(insert).collect(), note).await?;
    Ok(true)
}

/// The plugins without a row, one of each name. `scanned` are folders whose plugins count too, and the names that do not.
fn lost(
    installed: &Path,
    known: &HashSet<PathBuf>,
    mut names: Vec<String>,
    scanned: Option<(Vec<PathBuf>, Vec<String>)>,
) -> Vec<Installed> {
    let mut lost = Vec::new();
    let folders = staging::installed(installed).unwrap_or_else(|error| {
        tracing::error!(%error, "the folder of installed plugins cannot be read");
        Vec::new()
    });
    for folder in folders.into_iter().filter(|folder| !known.contains(folder)) {
        let Some((name, version)) = staging::named(&folder) else { continue };
        if names.iter().any(|known| known == name) {
            tracing::warn!(folder = %folder.display(), "an installed folder stays that the database does not name");
            continue;
        }
        names.push(name.to_owned());
        lost.push(as_it_lies(name, version, &folder));
    }
    let (dirs, managed) = scanned.unwrap_or_default();
    for found in package::scan(&dirs) {
        let Ok(package) = found.result else { continue };
        let name = &package.manifest.name;
        if !names.contains(name) && !managed.contains(name) {
            names.push(name.clone());
            lost.push(row::installed(&package, &found.dir, &found.dir));
        }
    }
    lost
}

/// What an installed folder says, as far as it can be read. Whatever it says, the plugin is called as its folder is.
fn as_it_lies(name: &str, version: &str, folder: &Path) -> Installed {
    match package::load(folder) {
        Ok(package) if package.manifest.name == name => row::installed(&package, folder, folder),
        Ok(_) | Err(_) => Installed {
            name: name.to_owned(),
            version: version.to_owned(),
            manifest: String::new(),
            digest: String::new(),
            directory: folder.to_string_lossy().into_owned(),
            source: folder.to_string_lossy().into_owned(),
        },
    }
}
