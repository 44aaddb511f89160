//! Plugins that come from elsewhere: copied, checked where they then lie, and put in the place of what was there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, json};

use super::actor::{Actor, Plan, blocking};
use super::build::{Due, Entry};
use super::error::LifecycleError;
use super::inventory::{Installed, Origin};
use super::removal::Removal;
use super::report::{InstallReport, InstalledPlugin};
use super::row;
use super::{By, InstallOptions};
use crate::config::Config;
use crate::package::staging::StageError;
use crate::package::{Package, staging};
use crate::store::Change;

/// Where installed plugins lie. The folder is the gateway's own: what no known plugin lies in is swept away.
pub(super) fn directory(config: &Config) -> PathBuf {
    config.state_dir.join("installed")
}

/// What a new package does to the plugins that are there.
struct Taken {
    plugin: InstalledPlugin,
    /// The plugin as it was.
    superseded: Option<Entry>,
    /// Of its folder, which nothing wants once this is true.
    removal: Option<Removal>,
}

/// What the disk says of the folder of a plugin that is known.
struct Lying {
    is_there: bool,
    /// It goes when another one takes its place. None: no installation made it.
    removal: Option<Removal>,
}

impl Lying {
    fn of(plugin: &Installed, installed: &Path) -> Self {
        Self { is_there: plugin.directory.exists(), removal: Removal::of(plugin, installed) }
    }
}

impl Actor {
    pub(super) async fn install(
        &mut self,
        source: &Path,
        options: InstallOptions,
        by: By,
    ) -> Result<InstallReport, LifecycleError> {
        let (from, into) = (source.to_owned(), self.installed.clone());
        let known: Vec<Installed> = self.entries.iter().map(|entry| entry.wanted.clone()).collect();
        let (staged, known) = blocking(move || {
            let staged = staging::stage(&from, &into)?;
            let known = known.iter().map(|plugin| (plugin.name.clone(), Lying::of(plugin, &into)));
            Ok::<_, StageError>((staged, known.collect::<HashMap<_, _>>()))
        })
        .await??;
        let (mut plan, budget) = (self.plan(), self.config.plugins.chain_budget);
        let taken: Vec<Taken> = staged
            .iter()
            .map(|staged| plan.take(staged.package(), staged.target(), source, options, &known, budget))
            .collect::<Result<_, _>>()?;
        let anew = taken.iter().filter_map(Taken::to_start).collect::<Vec<_>>();
        plan.due = (!anew.is_empty()).then_some(Due::Anew(anew));
        let targets: Vec<PathBuf> = staged.iter().map(|staged| staged.target().to_owned()).collect();
        let names: Vec<String> = taken.iter().map(|taken| taken.plugin.to_string()).collect();
        // Written down before it is there: a folder without a row is one whose row was lost, or one that is to go.
        let begun: Vec<Removal> = targets.iter().cloned().map(Removal::of_target).collect();
        self.ground.store.apply(begun.iter().map(Removal::begin).collect(), None).await?;
        plan.changes.splice(0..0, begun.iter().map(Removal::end));
        let placed =
            blocking(move || staged.into_iter().try_for_each(|staged| staged.commit().map(drop))).await?;
        let done = match placed {
            Ok(()) => self.carry_out(plan, by.note("install", None, json!(names))).await,
            Err(error) => Err(LifecycleError::from(error)),
        };
        let mut report = match done {
            Ok(report) => report,
            Err(error) => {
                self.take_out(begun).await;
                return Err(error);
            }
        };
        let mut plugins = Vec::new();
        for Taken { plugin, superseded, removal } in taken {
            if let Some(removal) = removal {
                self.remove_files_after(removal, &plugin.name);
            }
            if superseded.is_none() {
                report.changes.extend(self.start_by_default(&plugin.name, options.grant, by).await);
            }
            plugins.push(plugin);
        }
        report.generation = self.generation();
        Ok(InstallReport { report, plugins })
    }

    /// Removes what was put in place for a state that did not come. A process may still run from a folder that goes
    /// later.
    async fn take_out(&mut self, begun: Vec<Removal>) {
        for removal in begun {
            if !self.removals.contains(&removal) {
                self.remove_files(removal).await;
            }
        }
    }

    /// Activates a new plugin that wants to be active from the start, if what it asks for is granted. What came of it is
    /// told in a sentence: the plugin is installed either way.
    pub(super) async fn start_by_default(&mut self, name: &str, grant: bool, by: By) -> Option<String> {
        let entry = self.entries.iter().find(|entry| *entry.wanted.name == *name)?;
        if !entry.wanted.manifest.as_ref()?.enabled_by_default {
            return None;
        }
        match self.activate(name, grant, by).await {
            Ok(_) => Some(format!("plugin '{name}' activated")),
            Err(error) => Some(format!("plugin '{name}' was not activated: {error}")),
        }
    }
}

impl Taken {
    /// The name of a plugin that is to run from its new files.
    fn to_start(&self) -> Option<Arc<str>> {
        let before = &self.superseded.as_ref()?.wanted;
        before.enabled.then(|| before.name.clone())
    }
}

impl Plan {
    /// Puts a package that will lie in `target` into the plan.
    fn take(
        &mut self,
        package: &Package,
        target: &Path,
        source: &Path,
        InstallOptions { grant, force }: InstallOptions,
        known: &HashMap<Arc<str>, Lying>,
        chain_budget: Duration,
    ) -> Result<Taken, LifecycleError> {
        let name = package.manifest.name.clone();
        let version = package.manifest.version.to_string();
        let installed = row::installed(package, target, source);
        let notices = package.manifest.notices(chain_budget);
        let notices =
            notices.into_iter().map(|notice| format!("plugin '{name}': {notice}")).collect::<Vec<_>>();
        let Some(entry) = self.entries.iter_mut().find(|entry| *entry.wanted.name == *name) else {
            let grants = grant.then(|| package.manifest.permissions.clone());
            let config = Map::new();
            let wanted = Installed { grants: grants.clone(), ..row::new(package, target, source) };
            self.entries.push(Entry { wanted, running: None });
            self.sentences.push(format!("plugin '{name}' {version} installed"));
            self.sentences.extend(notices);
            let grants = json!(grants);
            self.changes.push(Change::Insert { installed, enabled: false, config, grants });
            let plugin = InstalledPlugin { name, version, replaced: None };
            return Ok(Taken { plugin, superseded: None, removal: None });
        };
        let before = entry.clone();
        let lying = known.get(&before.wanted.name);
        if before.wanted.origin == Origin::Managed {
            return Err(LifecycleError::Managed { plugin: name });
        }
        let is_same_version = before.wanted.version == version;
        let is_same = before.wanted.digest == installed.digest && before.wanted.directory == target;
        // Nothing was ever built on a version that never ran, and a pre-release is there to be changed.
        let is_settled = package.manifest.version.pre.is_empty() && before.wanted.activated_at.is_some();
        if is_same_version && lying.is_some_and(|lying| lying.is_there) && (is_same || (is_settled && !force))
        {
            let is_same = before.wanted.digest == installed.digest;
            return Err(LifecycleError::AlreadyInstalled { plugin: name, version, is_same });
        }
        let wanted = &mut entry.wanted;
        wanted.accept(package);
        wanted.directory = target.to_owned();
        wanted.source = Some(source.to_string_lossy().into_owned());
        wanted.updated_at = Some(SystemTime::now());
        if grant || (wanted.enabled && wanted.grants.is_some()) {
            let grants = wanted.granted(grant)?;
            self.changes.push(Change::SetGrants { name: name.clone(), grants: json!(grants) });
            wanted.grants = Some(grants);
        }
        self.changes.push(Change::Update(installed));
        let removal = lying.and_then(|lying| lying.removal.clone()).filter(|removal| !removal.is_of(target));
        self.changes.extend(removal.as_ref().map(Removal::begin));
        self.sentences.push(if is_same_version {
            format!("plugin '{name}' {version} with other files")
        } else {
            format!("plugin '{name}' {version} in place of {}", before.wanted.version)
        });
        self.sentences.extend(notices);
        let plugin = InstalledPlugin { name, version, replaced: Some(before.wanted.version.clone()) };
        Ok(Taken { plugin, superseded: Some(before), removal })
    }
}
