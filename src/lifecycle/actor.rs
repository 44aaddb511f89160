//! The actor: one command at a time, and what happens between them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::build::{self, Built, Due, Entry, Ground, Running};
use super::config_file::ConfigFile;
use super::ending::Ending;
use super::error::LifecycleError;
use super::install;
use super::inventory::{Installed, Inventory, Origin};
use super::journals::Journals;
use super::recovery;
use super::removal::{self, Removal};
use super::report::Report;
use super::row;
use super::source::{Source, Stamp, Watch, looked};
use super::{By, Command};
use crate::chain::{Generation, Published};
use crate::config::Config;
use crate::limits;
use crate::package::staging;
use crate::plugin::Plugin;
use crate::record::Happening;
use crate::store::{Change, Note, NoteOutcome};

pub(super) struct Actor {
    pub(super) source: Source,
    pub(super) watch: Watch,
    /// What the last reloads came to, for operators.
    pub(super) config_file: ConfigFile,
    pub(super) journals: Journals,
    pub(super) ground: Ground,
    pub(super) config: Arc<Config>,
    /// Where installed plugins lie, from the first start to the end: a changed `[state] dir` takes a restart.
    pub(super) installed: PathBuf,
    pub(super) published: Arc<Published<Plugin>>,
    /// Every generation some request may still run on.
    generations: Vec<Weak<Generation<Plugin>>>,
    /// In chain order.
    pub(super) entries: Vec<Entry>,
    inventory: watch::Sender<Arc<Inventory>>,
    pub(super) ending: Ending,
    /// Files that go when nothing runs from them any more.
    pub(super) removals: Vec<Removal>,
    /// The way to itself, for what ends later.
    pub(super) commands: mpsc::WeakSender<Command>,
    pub(super) ends: watch::Receiver<bool>,
}

/// A state that is to follow the present one.
pub(super) struct Plan {
    pub(super) entries: Vec<Entry>,
    /// Which plugins of it are read again; None: the chain stays as it is.
    pub(super) due: Option<Due>,
    /// What the database has to take before it is true.
    pub(super) changes: Vec<Change>,
    /// What is different, one sentence each.
    pub(super) sentences: Vec<String>,
}

impl Actor {
    pub(super) async fn new(
        source: Source,
        config: Config,
        ground: Ground,
        commands: mpsc::WeakSender<Command>,
        ends: watch::Receiver<bool>,
    ) -> Result<Self, LifecycleError> {
        let watch = Watch::new(source.stamp());
        let config_file = ConfigFile { path: source.path.clone(), ..ConfigFile::default() };
        let config = Arc::new(config);
        let installed = install::directory(&config);
        let mut rows = ground.store.plugins().await?;
        // A gateway that is being replaced still runs plugins from what would go, and may be installing.
        if ground.store.report().is_alone {
            removal::finish(&ground.store, &installed, &rows).await?;
            let folder = installed.clone();
            if let Err(error) = blocking(move || staging::sweep(&folder)).await? {
                tracing::warn!(%error, "what an earlier gateway left was not swept away");
            }
            if recovery::recover(&ground.store, &config, &installed, &rows).await? {
                rows = ground.store.plugins().await?;
            }
        }
        let stored_errors: HashMap<String, Option<String>> =
            rows.iter().map(|row| (row.installed.name.clone(), row.error.clone())).collect();
        let mut entries = row::entries(&config, rows, &[]);
        let mut journals = Journals::new(&config.state_dir);
        journals.load(&mut entries).await;
        let built = build::build(&ground, config.clone(), 1, None, entries, &Due::Start).await?;
        for running in &built.started {
            running.watcher.current(&running.plugin);
        }
        // A gateway that replaces another one can take its time, for the other one serves.
        let alone = ground.store.report().is_alone;
        let limit = if alone { limits::FIRST_START_WAIT } else { Duration::MAX };
        for (plugin, failure) in built.wait_until_ready(limit).await {
            tracing::error!(plugin, step = failure.step(), reason = failure.reason, "a plugin did not start");
        }
        for entry in built.entries.iter().filter(|entry| entry.wanted.enabled) {
            entry.warn(&config);
            if let Some(reason) = &entry.wanted.error {
                tracing::error!(plugin = &*entry.wanted.name, reason, "a plugin is not started");
            }
        }
        let stale = stale_errors(&stored_errors, &built.entries);
        if !stale.is_empty()
            && let Err(error) = ground.store.apply(stale, None).await
        {
            tracing::warn!(%error, "what is wrong with plugins was not stored");
        }
        let published = Arc::new(Published::new(built.generation));
        let actor = Self {
            source,
            watch,
            config_file,
            journals,
            generations: vec![Arc::downgrade(&published.lease())],
            ground,
            config,
            installed,
            published,
            entries: built.entries,
            inventory: watch::Sender::default(),
            ending: Ending::default(),
            removals: Vec::new(),
            commands,
            ends,
        };
        actor.tell();
        actor.ground.metrics.published(1);
        Ok(actor)
    }

    pub(super) fn published(&self) -> Arc<Published<Plugin>> {
        self.published.clone()
    }

    pub(super) fn inventory(&self) -> watch::Receiver<Arc<Inventory>> {
        self.inventory.subscribe()
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut tick = tokio::time::interval(limits::CONFIG_WATCH_PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ends = self.ends.clone();
        // Its file system may take its time to answer, and nothing waits for it.
        let mut look: Option<JoinHandle<Stamp>> = None;
        loop {
            tokio::select! {
                biased;
                () = is_ending(&mut ends) => break,
                command = commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => break,
                },
                Some(stamp) = looked(&mut look) => {
                    if self.watch.saw(stamp) {
                        // Told in the log; the old generation serves on.
                        let _ = self.reload(By::File).await;
                    }
                }
                _ = tick.tick() => {
                    self.forget_the_gone();
                    self.count_generations();
                    self.journals.keep_in_time(&self.entries);
                    if self.config.watch && look.is_none() {
                        let source = self.source.clone();
                        look = Some(tokio::task::spawn_blocking(move || source.stamp()));
                    }
                }
            }
        }
        // Whoever still waits for a turn learns that there is none. What ends with the actor must not wait for one.
        drop(commands);
        self.stop().await;
    }

    /// Whoever asked may have gone; what was asked for happens all the same.
    async fn obey(&mut self, command: Command) {
        match command {
            Command::Reload { by, reply } => drop(reply.send(self.reload(by).await)),
            Command::Scan { by, reply } => drop(reply.send(self.scan(by).await)),
            Command::Install { path, options, by, reply } => {
                drop(reply.send(self.install(&path, options, by).await));
            }
            Command::Activate { plugin, grant, by, reply } => {
                drop(reply.send(self.activate(&plugin, grant, by).await));
            }
            Command::Deactivate { plugin, by, reply } => drop(reply.send(self.deactivate(&plugin, by).await)),
            Command::Uninstall { plugin, by, reply } => drop(reply.send(self.uninstall(&plugin, by).await)),
            Command::Restart { plugin, by, reply } => drop(reply.send(self.restart(&plugin, by).await)),
            Command::Configure { plugin, config, by, reply } => {
                drop(reply.send(self.configure(&plugin, config, by).await));
            }
            Command::Reorder { first, by, reply } => drop(reply.send(self.reorder(&first, by).await)),
            Command::RemoveFiles { removal } => self.remove_files(removal).await,
        }
    }

    /// Makes `plan` true, or changes nothing. The audit keeps `note` either way.
    pub(super) async fn carry_out(&mut self, plan: Plan, note: Note) -> Result<Report, LifecycleError> {
        let sentences = plan.sentences.clone();
        match self.try_to_carry_out(plan, note.clone()).await {
            Ok(taken_away) => {
                let generation = self.generation();
                tracing::info!(why = note.who, generation, changes = ?sentences, "lifecycle.changed");
                Ok(Report { generation, changed: true, changes: sentences, taken_away })
            }
            Err(error) => {
                if let (Some(plugin), true) = (&note.plugin, error.is_of_the_plugin()) {
                    self.set_error(plugin, &error.to_string()).await;
                }
                let detail = json!({ "error": error.to_string() });
                let failed = Note { outcome: NoteOutcome::Failed, detail, ..note };
                if let Err(unnoted) = self.ground.store.apply(Vec::new(), failed).await {
                    tracing::error!(%error, reason = %unnoted, "a failed change was not noted in the audit");
                }
                Err(error)
            }
        }
    }

    /// Keeps why a plugin is not as it was asked to be, until it is.
    pub(super) async fn set_error(&mut self, name: &str, error: &str) {
        let mut entries = self.entries.iter_mut();
        let Some(entry) =
            entries.find(|entry| *entry.wanted.name == *name && entry.wanted.origin == Origin::Stored)
        else {
            return;
        };
        entry.wanted.error = Some(error.to_owned());
        let change = Change::SetError { name: name.to_owned(), error: Some(error.to_owned()) };
        if let Err(unnoted) = self.ground.store.apply(vec![change], None).await {
            tracing::error!(plugin = name, error, reason = %unnoted, "an error of a plugin was not stored");
        }
        self.tell();
    }

    /// The plugins that left the chain by it.
    async fn try_to_carry_out(&mut self, plan: Plan, note: Note) -> Result<Vec<String>, LifecycleError> {
        let Plan { entries, due, changes, sentences } = plan;
        match due {
            Some(due) => {
                let built = self.build(&self.config.clone(), entries, &due).await?;
                self.commit(built, changes, note, &sentences).await
            }
            None => {
                self.ground.store.apply(changes, note).await?;
                self.entries = entries;
                self.tell();
                Ok(Vec::new())
            }
        }
    }

    pub(super) async fn build(
        &self,
        config: &Arc<Config>,
        entries: Vec<Entry>,
        due: &Due,
    ) -> Result<Built, LifecycleError> {
        let old = self.published.lease();
        build::build(&self.ground, config.clone(), old.number + 1, Some(&old), entries, due).await
    }

    /// Publishes what was built once it is ready and written down. Returns the plugins that left the chain by it.
    pub(super) async fn commit(
        &mut self,
        built: Built,
        changes: Vec<Change>,
        note: Note,
        sentences: &[String],
    ) -> Result<Vec<String>, LifecycleError> {
        let mut ends = self.ends.clone();
        self.tell_of_starts(&built);
        let failures = tokio::select! {
            biased;
            failures = built.wait_until_ready(Duration::MAX) => Some(failures),
            () = is_ending(&mut ends) => None,
        };
        let refused = match failures.map(|failures| failures.into_iter().next()) {
            None => Some(LifecycleError::ShuttingDown),
            Some(Some((plugin, failure))) => Some(LifecycleError::failed(plugin, failure)),
            Some(None) => self.ground.store.apply(changes, note).await.err().map(LifecycleError::from),
        };
        if let Some(error) = refused {
            for running in &built.started {
                self.ending.retire(running, Duration::ZERO);
                self.forget_metrics_of(running.plugin.name());
            }
            self.tell();
            return Err(error);
        }
        let taken_away = self.publish(built);
        let generation = self.generation();
        self.ground.live.publish(|| Happening::Chain { generation, changes: sentences.to_vec() });
        Ok(taken_away)
    }

    /// Returns the plugins that are no longer in the chain.
    fn publish(&mut self, built: Built) -> Vec<String> {
        let Built { generation, entries, started } = built;
        let (number, drain) = (generation.number, generation.config.plugins.drain);
        let old = self.published.publish(generation);
        let new = self.published.lease();
        self.generations.push(Arc::downgrade(&new));
        let before = std::mem::replace(&mut self.entries, entries);
        for before in before.iter().filter_map(|entry| entry.running.as_ref()) {
            let mut running = self.entries.iter().filter_map(|entry| entry.running.as_ref());
            match running.find(|running| running.plugin.name() == before.plugin.name()) {
                Some(kept) if Arc::ptr_eq(&kept.plugin, &before.plugin) => {}
                Some(_successor) => self.ending.replace(before, drain),
                None => self.ending.retire(before, drain),
            }
        }
        for running in &started {
            running.watcher.current(&running.plugin);
        }
        self.forget_metrics(&old, &new);
        self.ground.metrics.published(number);
        self.forget_the_gone();
        self.tell();
        let stays = |name: &str| new.members.iter().any(|member| *member.name == *name);
        let gone = old.members.iter().filter(|member| !stays(&member.name));
        gone.map(|member| member.name.to_string()).collect()
    }

    /// Shows everybody what there is now.
    pub(super) fn tell(&self) {
        self.tell_with(&[]);
    }

    /// Shows a plugin that does not run yet as starting. One that has a process is what it is until it is replaced.
    fn tell_of_starts(&self, built: &Built) {
        let is_new = |running: &&Running| {
            let mut entries = self.entries.iter().filter_map(|entry| entry.running.as_ref());
            !entries.any(|entry| entry.plugin.name() == running.plugin.name())
        };
        self.tell_with(&built.started.iter().filter(is_new).cloned().collect::<Vec<_>>());
    }

    fn tell_with(&self, starting: &[Running]) {
        self.count_generations();
        let mut plugins: Vec<Installed> = self.entries.iter().map(Entry::shown).collect();
        for plugin in &mut plugins {
            let start = starting.iter().find(|running| running.plugin.name() == &*plugin.name);
            plugin.plugin = plugin.plugin.take().or_else(|| start.map(|running| running.plugin.clone()));
        }
        plugins.sort_by(|a, b| (a.rank(), &a.name).cmp(&(b.rank(), &b.name)));
        let config_file = self.config_file.clone();
        self.inventory.send_replace(Arc::new(Inventory {
            generation: self.generation(),
            plugins,
            config_file,
        }));
    }

    pub(super) fn generation(&self) -> u64 {
        self.published.lease().number
    }

    /// A plugin whose start failed is in no chain, unless an earlier process of it is.
    fn forget_metrics_of(&self, name: &str) {
        if !self.published.lease().members.iter().any(|member| *member.name == *name) {
            self.ground.metrics.forget_plugin(name);
        }
    }

    /// Series of what is no longer configured would be shown for ever.
    fn forget_metrics(&self, old: &Generation<Plugin>, new: &Generation<Plugin>) {
        let stays = |name: &str| new.members.iter().any(|member| *member.name == *name);
        for member in old.members.iter().filter(|member| !stays(&member.name)) {
            self.ground.metrics.forget_plugin(&member.name);
        }
        let stays = |name: &str| new.upstreams.iter().any(|upstream| **upstream.name() == *name);
        for upstream in old.upstreams.iter().filter(|upstream| !stays(upstream.name())) {
            self.ground.metrics.forget_upstream(upstream.name());
        }
    }

    fn forget_the_gone(&mut self) {
        self.generations.retain(|generation| generation.strong_count() > 0);
        self.ending.forget_the_gone();
    }

    fn count_generations(&self) {
        let alive = self.generations.iter().filter(|generation| generation.strong_count() > 0).count();
        self.ground.metrics.generations_alive(alive);
    }

    /// DRAIN, SHUTDOWN, TERM, KILL for every plugin at once, those included that are ending already.
    async fn stop(&mut self) {
        // The handles that are shown to operators go first, or they would keep the plugins.
        self.inventory.send_replace(Arc::default());
        // The entries stay: they say which files are wanted.
        for running in self.entries.iter_mut().filter_map(|entry| entry.running.take()) {
            self.ending.retire(&running, Duration::ZERO);
        }
        self.ending.now().await;
        for removal in self.removals.clone() {
            self.remove_files(removal).await;
        }
        // An error says that the runtime ends.
        let _ = self.journals.keep(&self.entries).await;
    }
}

/// The column `error` is to say what is so now: `stored` is what it says.
fn stale_errors(stored: &HashMap<String, Option<String>>, entries: &[Entry]) -> Vec<Change> {
    let rows = entries.iter().map(|entry| &entry.wanted).filter(|wanted| wanted.origin == Origin::Stored);
    rows.filter(|wanted| stored.get(&*wanted.name) != Some(&wanted.error))
        .map(|wanted| Change::SetError { name: wanted.name.to_string(), error: wanted.error.clone() })
        .collect()
}

/// Runs what may block on files away from the threads that answer operators.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LifecycleError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| LifecycleError::ShuttingDown)
}

/// Returns once the actor is to end.
pub(super) async fn is_ending(ends: &mut watch::Receiver<bool>) {
    // An error says that nobody is left who could say so.
    let _ = ends.wait_for(|ending| *ending).await;
}
