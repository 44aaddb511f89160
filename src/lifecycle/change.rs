//! What operators ask for one plugin, and for their order.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::By;
use super::actor::{Actor, Plan};
use super::build::{Due, Entry, Running};
use super::error::LifecycleError;
use super::inventory::{Installed, Origin};
use super::order::{Place, arrange};
use super::removal::Removal;
use super::report::Report;
use crate::hook::HookName;
use crate::metrics::RestartReason;
use crate::package::{Manifest, Permissions};
use crate::plugin::PluginState;
use crate::store::Change;

impl Actor {
    pub(super) async fn activate(
        &mut self,
        name: &str,
        grant: bool,
        by: By,
    ) -> Result<Report, LifecycleError> {
        let mut plan = self.plan();
        let entry = plan.stored(name)?;
        // One that was given up on is tried once more, and one whose new files ask for more gets it by a new process.
        let is_to_get_more = grant && !entry.wanted.not_granted().is_empty();
        if entry.wanted.enabled && !entry.is_broken() && !is_to_get_more {
            return Ok(self.unchanged());
        }
        let wanted = &mut entry.wanted;
        let grants = wanted.granted(grant)?;
        wanted.enabled = true;
        wanted.error = None;
        wanted.activated_at = Some(SystemTime::now());
        wanted.grants = Some(grants.clone());
        let name = wanted.name.clone();
        let notices = wanted.notices(self.config.plugins.chain_budget);
        plan.changes.push(Change::SetGrants { name: name.to_string(), grants: json!(grants) });
        plan.changes.push(Change::SetEnabled { name: name.to_string(), enabled: true });
        plan.sentences.push(format!("plugin '{name}' activated"));
        plan.sentences.extend(notices.iter().map(|notice| format!("plugin '{name}': {notice}")));
        plan.due = Some(Due::Anew(vec![name.clone()]));
        self.carry_out(plan, by.note("activate", Some(&name), json!({ "grants": grants.words() }))).await
    }

    pub(super) async fn deactivate(&mut self, name: &str, by: By) -> Result<Report, LifecycleError> {
        let mut plan = self.plan();
        let entry = plan.stored(name)?;
        if !entry.wanted.enabled {
            return Ok(self.unchanged());
        }
        entry.wanted.enabled = false;
        entry.wanted.error = None;
        plan.changes.push(Change::SetEnabled { name: name.to_owned(), enabled: false });
        plan.sentences.push(format!("plugin '{name}' deactivated"));
        plan.due = Some(Due::Anew(Vec::new()));
        self.carry_out(plan, by.note("deactivate", Some(name), Value::Null)).await
    }

    pub(super) async fn uninstall(&mut self, name: &str, by: By) -> Result<Report, LifecycleError> {
        let mut plan = self.plan();
        let gone = plan.stored(name)?.clone();
        plan.entries.retain(|entry| *entry.wanted.name != *name);
        let removal = self.removal(&gone.wanted).await?;
        plan.changes.push(Change::Remove { name: name.to_owned() });
        plan.changes.extend(removal.as_ref().map(Removal::begin));
        plan.sentences.push(match &removal {
            Some(_) => format!("plugin '{name}' uninstalled"),
            None => {
                let folder = gone.wanted.directory.display();
                format!("plugin '{name}' uninstalled; its folder {folder} stays: Hookway did not make it")
            }
        });
        plan.due = gone.wanted.enabled.then(|| Due::Anew(Vec::new()));
        let report = self
            .carry_out(plan, by.note("uninstall", Some(name), json!({ "version": gone.wanted.version })))
            .await?;
        self.journals.forget(name);
        if let Some(removal) = removal {
            self.remove_files_after(removal, name);
        }
        Ok(report)
    }

    pub(super) async fn restart(&mut self, name: &str, by: By) -> Result<Report, LifecycleError> {
        let mut plan = self.plan();
        let entry = plan.entry(name)?;
        if !entry.wanted.enabled {
            return Err(LifecycleError::wrong_state(name, "is not active; activate it"));
        }
        // Files that a scan has accepted may ask for more than the process that runs.
        let _granted = entry.wanted.granted(false)?;
        let was_wrong = entry.wanted.origin == Origin::Stored && entry.wanted.error.is_some();
        plan.due = Some(Due::Anew(vec![entry.wanted.name.clone()]));
        let right = Change::SetError { name: name.to_owned(), error: None };
        plan.changes.extend(was_wrong.then_some(right));
        plan.sentences.push(format!("plugin '{name}' restarted"));
        let done = self.carry_out(plan, by.note("restart", Some(name), Value::Null)).await;
        if done.is_ok() {
            self.ground.metrics.plugin(name).restarted(RestartReason::Operator);
        }
        done
    }

    /// Stores the config, then tells the plugin. A process that takes a new config while it runs keeps running; any other
    /// is replaced by one that has it.
    pub(super) async fn configure(
        &mut self,
        name: &str,
        config: Map<String, Value>,
        by: By,
    ) -> Result<Report, LifecycleError> {
        let mut plan = self.plan();
        let entry = plan.stored(name)?;
        // A secret that was shown masked and comes back so is the one that was there.
        let config = entry.wanted.manifest()?.config_schema.unmask(config, &entry.wanted.config);
        let effective = entry.wanted.effective(&config)?;
        if config == entry.wanted.config && entry.runs_with(&effective) {
            return Ok(self.unchanged());
        }
        let live = entry.takes_config().map(|running| running.plugin.clone());
        entry.wanted.config.clone_from(&config);
        entry.wanted.error = None;
        let anew = if live.is_some() { Vec::new() } else { vec![entry.wanted.name.clone()] };
        plan.due = entry.wanted.enabled.then_some(Due::Anew(anew));
        plan.changes.push(Change::SetConfig { name: name.to_owned(), config });
        plan.sentences.push(format!("plugin '{name}' configured"));
        let note = by.note("configure", Some(name), json!({ "live": live.is_some() }));
        let report = self.carry_out(plan, note).await?;
        match live {
            None => Ok(report),
            Some(plugin) if plugin.reconfigure(effective.clone()).await.is_ok() => {
                self.told(name, effective);
                Ok(report)
            }
            Some(_) => self.replace_to_configure(name, report).await,
        }
    }

    /// The running process of a plugin has taken this config.
    fn told(&mut self, name: &str, config: Map<String, Value>) {
        let mut entries = self.entries.iter_mut().filter(|entry| *entry.wanted.name == *name);
        let running = entries.next().and_then(|entry| entry.running.as_mut());
        if let Some(identity) = running.and_then(|running| running.identity.as_mut()) {
            identity.config = config;
        }
    }

    /// The running process did not take the config that is stored, so a new one is started with it. If that fails too,
    /// the plugin serves on with the config it had, and shows that it does.
    async fn replace_to_configure(
        &mut self,
        name: &str,
        mut report: Report,
    ) -> Result<Report, LifecycleError> {
        let mut plan = self.plan();
        plan.due = Some(Due::Anew(vec![plan.entry(name)?.wanted.name.clone()]));
        plan.sentences.push(format!("plugin '{name}' restarted, as its process did not take the config"));
        match self.carry_out(plan, By::Gateway.note("restart", Some(name), Value::Null)).await {
            Ok(restarted) => {
                report.generation = restarted.generation;
                report.changes.extend(restarted.changes);
                Ok(report)
            }
            Err(error) => {
                let why = format!("does not run with its config, which is stored: {error}");
                self.set_error(name, &why).await;
                Err(LifecycleError::NotInForce { plugin: name.to_owned(), why })
            }
        }
    }

    pub(super) async fn reorder(&mut self, first: &[String], by: By) -> Result<Report, LifecycleError> {
        let mut plan = self.plan();
        let places: Vec<Place> = self.entries.iter().map(|entry| place(&entry.wanted)).collect();
        let positions = arrange(&places, first).map_err(|problem| LifecycleError::Order { problem })?;
        let is_there =
            |(name, to): &(&str, i64)| places.iter().any(|place| place.name == *name && place.rank == *to);
        if first.is_empty() || positions.iter().all(is_there) {
            return Ok(self.unchanged());
        }
        for (name, position) in &positions {
            plan.entry(name)?.wanted.position = Some(*position);
        }
        let positions = positions.iter().map(|(name, position)| ((*name).to_owned(), *position)).collect();
        plan.changes.push(Change::SetPositions { positions });
        plan.sentences.push(format!("order changed: first {}", first.join(", ")));
        plan.due = Some(Due::Anew(Vec::new()));
        self.carry_out(plan, by.note("reorder", None, json!(first))).await
    }

    /// The present state, from which the next one is made.
    pub(super) fn plan(&self) -> Plan {
        Plan { entries: self.entries.clone(), due: None, changes: Vec::new(), sentences: Vec::new() }
    }

    pub(super) fn unchanged(&self) -> Report {
        Report { generation: self.generation(), changed: false, changes: Vec::new(), taken_away: Vec::new() }
    }
}

fn place(wanted: &Installed) -> Place<'_> {
    Place { name: &wanted.name, fixed: wanted.origin == Origin::Managed, rank: wanted.rank() }
}

impl Plan {
    pub(super) fn entry(&mut self, name: &str) -> Result<&mut Entry, LifecycleError> {
        let found = self.entries.iter_mut().find(|entry| *entry.wanted.name == *name);
        found.ok_or_else(|| LifecycleError::Unknown { plugin: name.to_owned() })
    }

    /// One that may be changed here.
    pub(super) fn stored(&mut self, name: &str) -> Result<&mut Entry, LifecycleError> {
        let entry = self.entry(name)?;
        match entry.wanted.origin {
            Origin::Stored => Ok(entry),
            Origin::Managed => Err(LifecycleError::Managed { plugin: name.to_owned() }),
        }
    }
}

impl Entry {
    fn is_broken(&self) -> bool {
        let status = self.running.as_ref().map(|running| running.plugin.status());
        status.is_some_and(|status| status.state == PluginState::Broken)
    }

    /// Whether its process, if there is one, has this config.
    fn runs_with(&self, config: &Map<String, Value>) -> bool {
        let identity = self.running.as_ref().and_then(|running| running.identity.as_ref());
        identity.is_none_or(|identity| identity.config == *config)
    }

    /// The handle of a plugin that says it takes a new config without a new process, and has a process that can be
    /// told.
    fn takes_config(&self) -> Option<&Running> {
        let running = self.running.as_ref()?;
        let status = running.plugin.status();
        let is_up = match status.state {
            PluginState::Active | PluginState::Degraded => status.pid.is_some(),
            PluginState::Starting | PluginState::Broken | PluginState::Stopped => false,
        };
        let hooks = &running.manifest.as_ref()?.hooks;
        (is_up && hooks.contains_key(&HookName::OnConfigChange)).then_some(running)
    }
}

impl Installed {
    pub(super) fn manifest(&self) -> Result<&Manifest, LifecycleError> {
        let why =
            || LifecycleError::wrong_state(&self.name, self.error.as_deref().unwrap_or("has no manifest"));
        self.manifest.as_deref().ok_or_else(why)
    }

    /// `config` as the plugin is told it.
    pub(super) fn effective(
        &self,
        config: &Map<String, Value>,
    ) -> Result<Map<String, Value>, LifecycleError> {
        let invalid = |problems| LifecycleError::Config { plugin: self.name.to_string(), problems };
        self.manifest()?.config_schema.check(config).map_err(invalid)
    }

    /// What it may do from now on. What it asks for has to be granted in so many words, the first time and whenever it
    /// asks for more.
    pub(super) fn granted(&self, grant: bool) -> Result<Permissions, LifecycleError> {
        let permissions = self.not_granted();
        match &self.grants {
            Some(grants) if permissions.is_empty() => Ok(grants.clone()),
            Some(_) | None if permissions.is_empty() || grant => Ok(self.manifest()?.permissions.clone()),
            Some(_) | None => Err(LifecycleError::NotGranted { plugin: self.name.to_string(), permissions }),
        }
    }
}
