//! The next generation, built beside the published one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tokio::runtime::Handle;

use super::actor::blocking;
use super::error::LifecycleError;
use super::inventory::{Installed, Origin};
use super::observe::Watcher;
use super::recovery::LOST;
use super::resolve::{Identity, Resolved, Surroundings, resolve};
use crate::chain::{Generation, Lease, Member, MemberHook, sort};
use crate::chat::pointers::BadPointer;
use crate::config::{Config, Environment};
use crate::hook::{BodyNeed, Endpoint, HookName, HookSpec, Mutates, OnFailure, Policy, When};
use crate::limits;
use crate::metrics::Metrics;
use crate::package::{Manifest, Search};
use crate::plugin::launch::Launcher;
use crate::plugin::{Plugin, PluginSpec, StartFailure};
use crate::record::Live;
use crate::route::Routes;
use crate::store::Store;
use crate::upstream::Upstream;

/// What generations are built on, the same from the first to the last.
pub struct Ground {
    pub metrics: Arc<Metrics>,
    pub live: Live,
    pub store: Arc<Store>,
    pub launcher: Launcher,
    pub search: Search,
    /// Where the SDKs that come with the gateway lie.
    pub sdk: PathBuf,
    /// Of the gateway; plugins get from it what they were granted.
    pub environment: Environment,
    /// The runtime of the data plane: links live there, next to the requests that call them.
    pub data: Handle,
    pub control: Handle,
}

/// A plugin's handle, and what makes it the same as one that is wanted.
#[derive(Clone)]
pub(super) struct Running {
    /// None: it could not be resolved, and is withheld.
    pub(super) identity: Option<Identity>,
    /// What it was started with. A scan may have accepted another since, for the next start.
    pub(super) manifest: Option<Arc<Manifest>>,
    pub(super) plugin: Arc<Plugin>,
    pub(super) watcher: Arc<Watcher>,
}

/// A plugin as it is wanted, and its handle while it is enabled.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) wanted: Installed,
    pub(super) running: Option<Running>,
}

impl Entry {
    /// Tells the log what its manifest asks for that this version does not do.
    pub(super) fn warn(&self, config: &Config) {
        for notice in self.wanted.notices(config.plugins.chain_budget) {
            tracing::warn!(plugin = &*self.wanted.name, notice, "plugin.notice");
        }
    }

    /// As operators see it.
    pub(super) fn shown(&self) -> Installed {
        let plugin = self.running.as_ref().map(|running| running.plugin.clone());
        Installed { plugin, ..self.wanted.clone() }
    }
}

/// Which plugins are read from their folders again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// All: the gateway starts. A stored plugin that does not hold is withheld; the others serve.
    Start,
    /// Those of the configuration; one that is what it was keeps its process.
    Managed,
    /// These, and each gets a new process.
    Anew(Vec<Arc<str>>),
}

/// A generation nobody uses yet.
pub(super) struct Built {
    pub(super) generation: Generation<Plugin>,
    pub(super) entries: Vec<Entry>,
    /// Those that were started for it.
    pub(super) started: Vec<Running>,
}

/// What becomes of an entry's handle.
enum Next {
    Off,
    Carry(Running),
    Start(Identity),
    Withhold(String),
}

impl Next {
    /// What the plugin will serve by.
    fn manifest(&self, entry: &Entry) -> Option<Arc<Manifest>> {
        match self {
            Self::Carry(running) => running.manifest.clone(),
            Self::Off | Self::Start(_) | Self::Withhold(_) => entry.wanted.manifest.clone(),
        }
    }
}

/// Builds the generation in which `entries` serve as `config` says. Upstreams that stay the same are carried over
/// from `old`, and so are plugins that are not due. The others are started, and may not be ready yet.
pub(super) async fn build(
    ground: &Ground,
    config: Arc<Config>,
    number: u64,
    old: Option<&Lease<Plugin>>,
    mut entries: Vec<Entry>,
    due: &Due,
) -> Result<Built, LifecycleError> {
    let upstreams = upstreams(ground, &config, old).await?;
    let resolved = read(ground, &entries, due).await?;
    let next = decide(&mut entries, resolved, due)?;
    let manifests: Vec<_> = entries.iter().zip(&next).map(|(entry, next)| next.manifest(entry)).collect();
    let served = entries.iter().zip(&manifests);
    let hooks = served.map(|(entry, manifest)| hooks(ground, &entry.wanted, manifest.as_deref()));
    let hooks = hooks.collect::<Result<Vec<_>, _>>()?;
    let (mut members, mut started) = (Vec::new(), Vec::new());
    // From here on nothing fails, so nothing that was started has to be ended again.
    for (((entry, next), manifest), hooks) in entries.iter_mut().zip(next).zip(manifests).zip(hooks) {
        entry.running = match next {
            Next::Off => None,
            Next::Carry(running) => Some(running),
            Next::Withhold(reason) => Some(withhold(ground, &entry.wanted, number, reason)),
            Next::Start(identity) => {
                let running = start(ground, &entry.wanted, identity, number);
                started.push(running.clone());
                Some(running)
            }
        };
        let wanted = &entry.wanted;
        let version = manifest.as_ref().map_or_else(|| wanted.version.clone(), |it| it.version.to_string());
        let priority = manifest.as_ref().map_or(wanted.priority, |manifest| manifest.priority);
        members.extend(entry.running.as_ref().map(|running| Member {
            name: wanted.name.clone(),
            version: version.into(),
            priority: wanted.position.unwrap_or(i64::from(priority)),
            hooks,
            hook: running.plugin.clone(),
        }));
    }
    sort(&mut members);
    let generation = Generation {
        number,
        routes: Routes::new(&config),
        config,
        upstreams,
        members,
        since: SystemTime::now(),
    };
    Ok(Built { generation, entries, started })
}

/// For each entry that is due, what its folder holds. Blocks, so it happens away from the actor's thread.
async fn read(
    ground: &Ground,
    entries: &[Entry],
    due: &Due,
) -> Result<Vec<Option<Result<Resolved, LifecycleError>>>, LifecycleError> {
    let wanted: Vec<Option<Installed>> =
        entries.iter().map(|entry| due.includes(entry).then(|| entry.wanted.clone())).collect();
    let around = Surroundings {
        search: ground.search.clone(),
        sdk: ground.sdk.clone(),
        environment: ground.environment.clone(),
    };
    blocking(move || {
        wanted.iter().map(|wanted| wanted.as_ref().map(|wanted| resolve(wanted, &around))).collect()
    })
    .await
}

/// All that is wrong is told at once.
fn decide(
    entries: &mut [Entry],
    resolved: Vec<Option<Result<Resolved, LifecycleError>>>,
    due: &Due,
) -> Result<Vec<Next>, LifecycleError> {
    let mut failed = Vec::new();
    let mut all = Vec::with_capacity(entries.len());
    for (entry, resolved) in entries.iter_mut().zip(resolved) {
        if let Some(Ok(resolved)) = &resolved {
            entry.wanted.accept(&resolved.package);
        }
        all.push(match resolved {
            _ if entry.wanted.is_lost() => {
                entry.wanted.error = Some(LOST.to_owned());
                match entry.running.take() {
                    Some(running) => Next::Carry(running),
                    None => Next::Withhold(LOST.to_owned()),
                }
            }
            Some(Err(error)) if !entry.wanted.enabled => {
                entry.wanted.error = Some(error.to_string());
                Next::Off
            }
            _ if !entry.wanted.enabled => Next::Off,
            None => match entry.running.take() {
                Some(running) => Next::Carry(running),
                None => Next::Withhold("it was not read".to_owned()),
            },
            Some(Ok(resolved)) => match entry.running.take() {
                Some(running) if due.keeps() && running.identity.as_ref() == Some(&resolved.identity) => {
                    Next::Carry(running)
                }
                Some(_) | None => Next::Start(resolved.identity),
            },
            Some(Err(error)) if due.keeps() && entry.wanted.origin == Origin::Stored => {
                entry.wanted.error = Some(error.to_string());
                Next::Withhold(error.to_string())
            }
            Some(Err(error)) => {
                failed.push(error);
                Next::Off
            }
        });
    }
    LifecycleError::all(failed)?;
    Ok(all)
}

impl Due {
    /// An entry that is enabled and has no handle yet is always due.
    fn includes(&self, entry: &Entry) -> bool {
        let is_new = entry.wanted.enabled && entry.running.is_none();
        let is_managed = entry.wanted.origin == Origin::Managed;
        match self {
            Self::Start => is_new || is_managed,
            Self::Managed => is_new || is_managed,
            Self::Anew(names) => is_new || names.contains(&entry.wanted.name),
        }
    }

    /// Whether a process that is what it should be is kept.
    fn keeps(&self) -> bool {
        !matches!(self, Self::Anew(_))
    }
}

/// Those that stay the same keep their connections. A new one reads the authorities it trusts, which blocks.
async fn upstreams(
    ground: &Ground,
    config: &Config,
    old: Option<&Lease<Plugin>>,
) -> Result<Vec<Upstream>, LifecycleError> {
    let known = |settings: &crate::config::Upstream| {
        old?.upstreams.iter().find(|upstream| *upstream.settings == *settings).cloned()
    };
    let wanted: Vec<_> =
        config.upstreams.iter().map(|settings| known(settings).ok_or_else(|| settings.clone())).collect();
    let metrics = ground.metrics.clone();
    let made: Result<Vec<Upstream>, String> = blocking(move || {
        let made = wanted.into_iter();
        made.map(|wanted| wanted.or_else(|settings| Upstream::new(settings, &metrics))).collect()
    })
    .await?;
    made.map_err(|problem| LifecycleError::Invalid { errors: vec![problem] })
}

fn start(ground: &Ground, wanted: &Installed, identity: Identity, generation: u64) -> Running {
    let spec = PluginSpec {
        argv: identity.argv.clone(),
        dir: identity.dir.clone(),
        env: identity.env.clone(),
        config: identity.config.clone(),
        ..spec(wanted, generation)
    };
    let watcher = watcher(ground, wanted);
    let plugin =
        Plugin::start(spec, ground.launcher.clone(), ground.data.clone(), &ground.control, watcher.clone());
    Running { identity: Some(identity), manifest: wanted.manifest.clone(), plugin, watcher }
}

fn watcher(ground: &Ground, wanted: &Installed) -> Arc<Watcher> {
    let metrics = ground.metrics.plugin(&wanted.name);
    Arc::new(Watcher::new(metrics, ground.live.clone(), wanted.journal.clone()))
}

fn withhold(ground: &Ground, wanted: &Installed, generation: u64, reason: String) -> Running {
    let watcher = watcher(ground, wanted);
    let plugin = Plugin::withheld(spec(wanted, generation), reason, watcher.clone());
    Running { identity: None, manifest: wanted.manifest.clone(), plugin, watcher }
}

/// What is known of a plugin without its folder.
fn spec(wanted: &Installed, generation: u64) -> PluginSpec {
    let manifest = wanted.manifest.as_deref();
    let declares = |hook: &HookName| manifest.is_some_and(|manifest| manifest.hooks.contains_key(hook));
    PluginSpec {
        name: wanted.name.to_string(),
        version: wanted.version.clone(),
        argv: Vec::new(),
        dir: wanted.directory.clone(),
        env: Vec::new(),
        config: wanted.config.clone(),
        hooks: HookName::CALLED.into_iter().filter(declares).collect(),
        generation,
        max_in_flight: manifest.map_or(limits::HOOK_IN_FLIGHT, |manifest| manifest.limits.max_in_flight),
        start_timeout: manifest.map_or(limits::START_TIMEOUT, |manifest| manifest.start_timeout),
    }
}

/// The hooks of a plugin that is enabled; of any other, none.
fn hooks(
    ground: &Ground,
    wanted: &Installed,
    manifest: Option<&Manifest>,
) -> Result<Vec<MemberHook>, LifecycleError> {
    if !wanted.enabled {
        return Ok(Vec::new());
    }
    let Some(manifest) = manifest.filter(|_| !wanted.is_lost()) else {
        return refuse_everything(ground, wanted);
    };
    let hooks = HookName::CALLED.into_iter().filter_map(|name| manifest.hooks.get(&name)).map(|spec| {
        MemberHook::new(spec.clone(), ground.metrics.hook(&manifest.name, spec.name)).map_err(|error| {
            LifecycleError::Invalid { errors: vec![format!("plugin '{}': {error}", manifest.name)] }
        })
    });
    hooks.collect()
}

/// Nobody can say which hooks the plugin has, and one that fails closed is never skipped: until somebody looks into
/// it, its place in the chain lets nothing pass.
fn refuse_everything(ground: &Ground, wanted: &Installed) -> Result<Vec<MemberHook>, LifecycleError> {
    let spec = HookSpec {
        name: HookName::OnRequest,
        headers: Vec::new(),
        body: BodyNeed::None,
        mutates: Mutates { body: Vec::new(), headers: false, route: false },
        when: When { endpoints: Endpoint::ALL.to_vec(), ..When::default() },
        timeout: limits::HOOK_TIMEOUT,
        on_failure: OnFailure::always(Policy::Closed),
        body_bytes_max: usize::MAX,
        idempotent: false,
    };
    let metrics = ground.metrics.hook(&wanted.name, spec.name);
    let invalid = |error: BadPointer| LifecycleError::Invalid { errors: vec![error.to_string()] };
    Ok(vec![MemberHook::new(spec, metrics).map_err(invalid)?])
}

impl Built {
    /// Waits until every started plugin is ready or failed, but no longer than `limit`; returns the failures.
    pub(super) async fn wait_until_ready(&self, limit: Duration) -> Vec<(String, StartFailure)> {
        let started = self.started.iter().map(|running| async {
            let name = running.plugin.name().to_owned();
            match tokio::time::timeout(limit, running.plugin.ready()).await {
                Ok(outcome) => outcome.err().map(|failure| (name, failure)),
                Err(_) => {
                    tracing::warn!(plugin = name, "still starting; its onFailure decides until it is ready");
                    None
                }
            }
        });
        join_all(started).await.into_iter().flatten().collect()
    }
}
