//! One plugin in the hands of the gateway's own lifecycle, without a gateway around it.
//!
//! It is loaded, started, spoken to and ended by what does so when it serves; only the state folder is another one,
//! which goes away with the stage. Nothing of the operator's state is read or changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::super::CONFIG_ID;
use super::super::say::Failure;
use crate::app;
use crate::chain::Published;
use crate::config::{Config, Environment, PluginEntry, Position};
use crate::lifecycle::{Ground, Lifecycle, LifecycleError, Source};
use crate::limits;
use crate::metrics::Metrics;
use crate::package::{ConfigProblem, Package, Search};
use crate::plugin::launch::Launcher;
use crate::plugin::{Plugin, StartFailure};
use crate::record::Live;
use crate::store::{Entry, Store};

/// `--config`
#[derive(Args, Debug)]
pub(super) struct ConfigArg {
    /// The plugin's config, a JSON object.
    #[arg(long = "config", value_name = "JSON", value_parser = object)]
    pub(super) config: Option<Map<String, Value>>,
    /// The gateway's config, for the upstreams a verdict may name; without it there is 'echo'.
    #[arg(id = CONFIG_ID, short = 'c', value_name = "FILE")]
    pub(super) gateway_config: Option<PathBuf>,
}

impl ConfigArg {
    pub(super) fn take(self) -> Map<String, Value> {
        self.config.unwrap_or_default()
    }
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("it is no JSON object: {error}"))
}

/// A running plugin. [`Stage::end`] ends it; dropped, it is ended too, in its own time.
pub(super) struct Stage {
    runtime: Runtime,
    lifecycle: Lifecycle,
    pub(super) published: Arc<Published<Plugin>>,
    /// Removed with the stage.
    _state: TempDir,
}

impl Stage {
    /// Starts the plugin of `package` under `config`, which has everything but plugins and a state folder.
    pub(super) fn start(
        package: &Package,
        plugin_config: Map<String, Value>,
        config: Config,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::new("failed", error.to_string());
        let state = tempfile::Builder::new().prefix("hookway-").tempdir().map_err(|error| failed(&error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| failed(&error))?;
        let entry = PluginEntry {
            name: package.manifest.name.clone(),
            path: package.dir.clone(),
            enabled: true,
            priority: None,
            config: plugin_config,
            at: Position::default(),
        };
        let mut config = config;
        config.state_dir = state.path().to_owned();
        config.plugins.dirs = Vec::new();
        config.plugin_entries = vec![entry];
        config.watch = false;
        let ground = Ground {
            metrics: Arc::new(Metrics::new()),
            live: Live::default(),
            store: Arc::new(Store::open(state.path(), Entry::Alone).map_err(|error| failed(&error))?),
            launcher: Launcher::start("/proc/self/exe".into()).map_err(|error| failed(&error))?,
            search: Search::of_this_process(),
            sdk: app::write_sdk(state.path()).map_err(|error| failed(&error))?,
            environment: environment.clone(),
            data: runtime.handle().clone(),
            control: runtime.handle().clone(),
        };
        let source = Source { path: None, environment: environment.clone() };
        let started = runtime.block_on(Lifecycle::start(source, config, ground));
        let (lifecycle, published) = started.map_err(refused)?;
        Ok(Self { runtime, lifecycle, published, _state: state })
    }

    pub(super) fn plugin(&self) -> Arc<Plugin> {
        let lease = self.published.lease();
        Arc::clone(&lease.members[0].hook)
    }

    /// What came of the start. A failure brings what the plugin said.
    pub(super) fn ready(&self) -> Result<(), Failure> {
        let plugin = self.plugin();
        self.wait_for(plugin.ready()).map_err(|failure: StartFailure| {
            let output = self.output();
            let message = format!("{failure}\n{}", told(&output));
            let details = json!({ "step": failure.step(), "reason": failure.reason, "output": output });
            Failure::new("plugin_failed", message.trim_end()).details(details)
        })
    }

    pub(super) fn wait_for<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// What the plugin wrote until now, and what the gateway noted about it.
    pub(super) fn output(&self) -> Vec<Value> {
        let lines = self.plugin().logs(0, limits::PLUGIN_LOG_LINES);
        lines.iter().map(|line| json!({ "source": line.source.as_str(), "text": line.text })).collect()
    }

    /// Ends the plugin and tells how long that took.
    pub(super) fn end(&self) -> Duration {
        let began = Instant::now();
        self.wait_for(self.lifecycle.stop());
        began.elapsed()
    }
}

fn refused(error: LifecycleError) -> Failure {
    let failure = Failure::new("invalid_plugin_config", error.to_string());
    match error {
        LifecycleError::Config { problems, .. } => {
            let problem =
                |problem: &ConfigProblem| json!({ "pointer": problem.pointer, "message": problem.message });
            failure.details(json!({ "problems": problems.iter().map(problem).collect::<Vec<_>>() }))
        }
        other => Failure::new("failed", other.to_string()),
    }
}

/// The lines of an output that are the plugin's own, for people.
pub(super) fn told(output: &[Value]) -> String {
    let own = output.iter().filter(|line| line["source"] != "gateway");
    own.map(|line| format!("  | {}\n", line["text"].as_str().unwrap_or_default())).collect()
}

/// Reads the plugin in `dir`; its faults are told by the name the folder was given.
pub(super) fn load(dir: &Path) -> Result<Package, Failure> {
    Ok(crate::package::load(dir)?)
}
