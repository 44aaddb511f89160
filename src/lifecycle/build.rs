//! The next generation, built beside the published one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::join_all;
use tokio::runtime::Handle;

use super::observe::Observed;
use super::report::ReloadError;
use super::wanted::{Identity, Wanted, wanted};
use crate::chain::{Generation, Lease, Member, MemberHook, sort};
use crate::config::{Config, Environment};
use crate::hook::HookName;
use crate::metrics::Metrics;
use crate::package::Search;
use crate::plugin::launch::Launcher;
use crate::plugin::{Plugin, PluginSpec, StartFailure};
use crate::route::Routes;
use crate::upstream::Upstream;

/// What generations are built on, the same from the first to the last.
pub struct Ground {
    pub metrics: Arc<Metrics>,
    pub launcher: Launcher,
    pub search: Search,
    /// Where the SDKs that come with the gateway lie.
    pub sdk: PathBuf,
    /// Of the gateway; plugins get from it what their manifests were granted.
    pub environment: Environment,
    /// The runtime of the data plane: links live there, next to the requests that call them.
    pub data: Handle,
    pub control: Handle,
}

/// A plugin that serves a generation, and what makes it the same as one that is wanted.
#[derive(Clone)]
pub(super) struct Running {
    identity: Identity,
    pub(super) plugin: Arc<Plugin>,
    pub(super) observed: Arc<Observed>,
}

/// A generation nobody uses yet.
pub(super) struct Built {
    pub(super) generation: Generation<Plugin>,
    /// Its plugins, those carried over included.
    pub(super) running: Vec<Running>,
    /// Those that were started for it.
    pub(super) started: Vec<Running>,
}

/// Builds the generation `config` asks for. Plugins and upstreams that stay the same are carried over from
/// `old` and `running`; the others are started, and may not be ready yet.
pub(super) async fn build(
    ground: &Ground,
    config: Config,
    number: u64,
    old: Option<&Lease<Plugin>>,
    running: &[Running],
) -> Result<Built, ReloadError> {
    let upstreams = upstreams(ground, &config, old)?;
    let (config, wanted) = read_plugins(ground, config).await?;
    let hooks = wanted.iter().map(|wanted| hooks(ground, wanted)).collect::<Result<Vec<_>, _>>()?;
    let mut built = Built {
        generation: Generation {
            number,
            routes: Routes::new(&config),
            config: Arc::new(config),
            upstreams,
            members: Vec::new(),
            since: SystemTime::now(),
        },
        running: Vec::new(),
        started: Vec::new(),
    };
    // From here on nothing fails, so nothing that was started has to be ended again.
    for (wanted, hooks) in wanted.into_iter().zip(hooks) {
        let carried = running.iter().find(|running| running.identity == wanted.identity);
        let plugin = carried.cloned().unwrap_or_else(|| start(ground, &wanted, number));
        if carried.is_none() {
            built.started.push(plugin.clone());
        }
        built.generation.members.push(Member {
            name: wanted.package.manifest.name.as_str().into(),
            version: wanted.package.manifest.version.to_string(),
            priority: wanted.priority,
            hooks,
            hook: plugin.plugin.clone(),
        });
        built.running.push(plugin);
    }
    sort(&mut built.generation.members);
    Ok(built)
}

/// Reading and hashing folders blocks, so it happens away from the actor's thread.
async fn read_plugins(ground: &Ground, config: Config) -> Result<(Config, Vec<Wanted>), ReloadError> {
    let (environment, search, sdk) = (ground.environment.clone(), ground.search.clone(), ground.sdk.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let wanted = wanted(&config, &environment, &search, &sdk);
        (config, wanted)
    });
    let (config, wanted) = reading.await.map_err(|_| ReloadError::ShuttingDown)?;
    Ok((config, wanted.map_err(|errors| ReloadError::Invalid { errors })?))
}

fn upstreams(
    ground: &Ground,
    config: &Config,
    old: Option<&Lease<Plugin>>,
) -> Result<Vec<Upstream>, ReloadError> {
    let known = |settings: &crate::config::Upstream| {
        old?.upstreams.iter().find(|upstream| *upstream.settings == *settings).cloned()
    };
    let made: Result<Vec<Upstream>, String> = config
        .upstreams
        .iter()
        .map(|settings| known(settings).map_or_else(|| Upstream::new(settings.clone(), &ground.metrics), Ok))
        .collect();
    made.map_err(|problem| ReloadError::Invalid { errors: vec![problem] })
}

fn start(ground: &Ground, wanted: &Wanted, generation: u64) -> Running {
    let manifest = &wanted.package.manifest;
    let identity = wanted.identity.clone();
    let spec = PluginSpec {
        name: identity.name.clone(),
        version: manifest.version.to_string(),
        argv: identity.argv.clone(),
        dir: identity.dir.clone(),
        env: identity.env.clone(),
        config: identity.config.clone(),
        hooks: HookName::CALLED.into_iter().filter(|hook| manifest.hooks.contains_key(hook)).collect(),
        generation,
        max_in_flight: manifest.limits.max_in_flight,
    };
    let observed = Arc::new(Observed::new(ground.metrics.plugin(&identity.name)));
    let plugin =
        Plugin::start(spec, ground.launcher.clone(), ground.data.clone(), &ground.control, observed.clone());
    Running { identity, plugin, observed }
}

fn hooks(ground: &Ground, wanted: &Wanted) -> Result<Vec<MemberHook>, ReloadError> {
    let manifest = &wanted.package.manifest;
    let hooks = HookName::CALLED.into_iter().filter_map(|name| manifest.hooks.get(&name)).map(|spec| {
        MemberHook::new(spec.clone(), ground.metrics.hook(&manifest.name, spec.name)).map_err(|error| {
            ReloadError::Invalid { errors: vec![format!("plugin '{}': {error}", manifest.name)] }
        })
    });
    hooks.collect()
}

impl Built {
    /// Waits until every started plugin is ready or failed; returns the failures. No longer than a handshake.
    pub(super) async fn wait_until_ready(&self) -> Vec<(String, StartFailure)> {
        let started = self.started.iter().map(|running| async {
            let name = running.plugin.name().to_owned();
            running.plugin.ready().await.err().map(|failure| (name, failure))
        });
        join_all(started).await.into_iter().flatten().collect()
    }
}
