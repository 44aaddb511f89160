//! What lies in the plugin folders of the configuration, held against what is known.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::By;
use super::actor::{Actor, Plan, blocking};
use super::build::Entry;
use super::error::LifecycleError;
use super::inventory::{Installed, Origin};
use super::report::{Refused, ScanReport};
use super::row;
use crate::package::{self, Found, Package};
use crate::store::Change;

impl Actor {
    pub(super) async fn scan(&mut self, by: By) -> Result<ScanReport, LifecycleError> {
        let dirs = self.config.plugins.dirs.clone();
        let known: Vec<Installed> = self.entries.iter().map(|entry| entry.wanted.clone()).collect();
        let (found, vanished) = blocking(move || (package::scan(&dirs), vanished(&known))).await?;
        let mut plan = self.plan();
        let mut report = ScanReport { vanished, ..ScanReport::default() };
        // What was uninstalled and is still used is not found again.
        let is_to_go = |dir: &Path| self.removals.iter().any(|removal| removal.is_of(dir));
        for Found { dir, result } in found.into_iter().filter(|found| !is_to_go(&found.dir)) {
            match result {
                Ok(package) => plan.found(dir, &package, &mut report),
                Err(errors) => {
                    report.refused.push(refused(dir, errors.to_string().lines().map(str::to_owned)))
                }
            }
        }
        if plan.changes.is_empty() {
            return Ok(report);
        }
        let detail = json!({ "added": report.added, "changed": report.changed });
        self.carry_out(plan, by.note("scan", None, detail)).await?;
        for name in report.added.clone() {
            if let Some(told) = self.start_by_default(&name, false, by).await {
                tracing::info!(plugin = name, told, "a scan found a plugin that wants to be active");
            }
        }
        Ok(report)
    }
}

fn refused(path: PathBuf, errors: impl IntoIterator<Item = String>) -> Refused {
    Refused { path, errors: errors.into_iter().collect() }
}

/// Blocks.
fn vanished(known: &[Installed]) -> Vec<String> {
    let stored = known.iter().filter(|plugin| plugin.origin == Origin::Stored);
    stored.filter(|plugin| !plugin.directory.exists()).map(|plugin| plugin.name.to_string()).collect()
}

impl Plan {
    /// Files the next start of a known plugin is to take, or a new plugin.
    fn found(&mut self, dir: PathBuf, package: &Package, report: &mut ScanReport) {
        let name = package.manifest.name.clone();
        let installed = row::installed(package, &dir, &dir);
        let Some(entry) = self.entries.iter_mut().find(|entry| *entry.wanted.name == *name) else {
            self.entries.push(Entry { wanted: row::new(package, &dir, &dir), running: None });
            self.sentences.push(format!("plugin '{name}' installed"));
            self.changes.push(Change::Insert {
                installed,
                enabled: false,
                config: Map::new(),
                grants: Value::Null,
            });
            return report.added.push(name);
        };
        if entry.wanted.origin == Origin::Managed {
            report.managed.push(name);
        } else if entry.wanted.directory != dir {
            let known = entry.wanted.directory.display();
            let problem = format!(
                "a plugin '{name}' lies in {known}; install this folder to put it in that one's place"
            );
            report.refused.push(refused(dir, [problem]));
        } else if entry.wanted.digest == installed.digest {
            report.unchanged.push(name);
        } else {
            entry.wanted.accept(package);
            self.sentences.push(format!("plugin '{name}' has other files"));
            self.changes.push(Change::Update(installed));
            report.changed.push(name);
        }
    }
}
