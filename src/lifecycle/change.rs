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
        plan.changes.push(Change::SetGrants { name: name.to_string(), grants: json!(grants) });
        plan.changes.push(Change::SetEnabled { name: name.to_string(), enabled: true });
        plan.sentences.push(format!("plugin '{name}' activated"));
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
        entry.wanted.granted(false)?;
        plan.due = Some(Due::Anew(vec![entry.wanted.name.clone()]));
        plan.sentences.push(format!("plugin '{name}' restarted"));
        self.carry_out(plan, by.note("restart", Some(name), Value::Null)).await
    }

    /// A process that takes a new config while it runs keeps running; any other is replaced by one that has it.
    pub(super) async fn configure(
        &mut self,
        name: &str,
        config: Map<String, Value>,
        by: By,
    ) -> Result<Report, LifecycleError> {
        let mut plan = self.plan();
        let entry = plan.stored(name)?;
        let before = entry.wanted.config.clone();
        // A secret that was shown masked and comes back so is the one that was there.
        let config = entry.wanted.manifest()?.config_schema.unmask(config, &before);
        let effective = entry.wanted.effective(&config)?;
        if config == before {
            return Ok(self.unchanged());
        }
        let live = match entry.takes_config() {
            Some(running) if running.plugin.reconfigure(effective.clone()).await.is_ok() => {
                Some(running.clone())
            }
            Some(_) | None => None,
        };
        if let (Some(_), Some(Running { identity: Some(identity), .. })) = (&live, &mut entry.running) {
            identity.config = effective;
        }
        entry.wanted.config.clone_from(&config);
        let anew = if live.is_some() { Vec::new() } else { vec![entry.wanted.name.clone()] };
        plan.due = entry.wanted.enabled.then_some(Due::Anew(anew));
        plan.changes.push(Change::SetConfig { name: name.to_owned(), config });
        plan.sentences.push(format!("plugin '{name}' configured"));
        let done =
            self.carry_out(plan, by.note("configure", Some(name), json!({ "live": live.is_some() }))).await;
        if let (Err(_), Some(running)) = (&done, live) {
            self.take_back(&running, &before).await;
        }
        done
    }

    /// The running process was given a config that did not become true.
    async fn take_back(&mut self, running: &Running, before: &Map<String, Value>) {
        let name = running.plugin.name();
        let Ok(entry) = self.plan().stored(name).cloned() else { return };
        let Ok(before) = entry.wanted.effective(before) else { return };
        if running.plugin.reconfigure(before).await.is_err() {
            let mut plan = self.plan();
            plan.due = Some(Due::Anew(vec![entry.wanted.name.clone()]));
            if let Err(error) =
                self.carry_out(plan, By::Gateway.note("restart", Some(name), Value::Null)).await
            {
                tracing::error!(plugin = name, %error, "a plugin runs with a config that was not accepted");
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

    /// The handle of a plugin that says it takes a new config without a new process.
    fn takes_config(&self) -> Option<&Running> {
        let running = self.running.as_ref()?;
        let hooks = &running.manifest.as_ref()?.hooks;
        hooks.contains_key(&HookName::OnConfigChange).then_some(running)
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

    /// What it may do from now on. The first time that is what it asks for: whoever activates it has seen the list.
    /// What it asks for later has to be granted in so many words.
    pub(super) fn granted(&self, grant: bool) -> Result<Permissions, LifecycleError> {
        let asked = &self.manifest()?.permissions;
        let permissions = self.not_granted();
        match &self.grants {
            Some(grants) if permissions.is_empty() => Ok(grants.clone()),
            Some(_) if !grant => {
                Err(LifecycleError::NotGranted { plugin: self.name.to_string(), permissions })
            }
            Some(_) | None => Ok(asked.clone()),
        }
    }
}
