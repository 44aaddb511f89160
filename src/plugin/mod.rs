//! A plugin alive: its process, its link, its supervisor.
//!
//! [`Plugin`] is the handle. It can be called from the moment it is made: while there is no process, or one that
//! is not to be trusted, a call answers at once with the cause. The supervisor behind it keeps at most one
//! process, restarts it, and ends it when the handle is gone.

mod actor;
mod breaker;
mod last_words;
pub mod launch;
mod link;
mod logs;
mod state;
mod supervisor;
mod watched;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::hook::{Call, Cause, Hook, HookFailure, HookName, Verdict};
use crate::limits;
use actor::{Actor, Command};
use launch::Launcher;
use state::{FirstStart, Shared};

pub use breaker::BreakerState;
pub use logs::{Journal, LogLine, Source};
pub use supervisor::DeathKind;

/// What to run, resolved and checked by whoever read the manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginSpec {
    pub name: String,
    pub version: String,
    /// The program's absolute path and its arguments.
    pub argv: Vec<OsString>,
    /// The plugin's folder, absolute: the working directory.
    pub dir: PathBuf,
    /// The whole environment. Only `HOOKWAY_FD` is added.
    pub env: Vec<(String, String)>,
    pub config: Map<String, Value>,
    /// What the manifest declares and the gateway calls.
    pub hooks: Vec<HookName>,
    /// The generation it is started for.
    pub generation: u64,
    /// Calls it works on at once.
    pub max_in_flight: usize,
    /// From the start of its process to its READY.
    pub start_timeout: Duration,
}

/// What an operator sees of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginState {
    /// Not ready yet for the first time.
    Starting,
    Active,
    /// Was active and is between two processes, or its breaker is not closed.
    Degraded,
    /// Given up on, but for a probe now and then.
    Broken,
    Stopped,
}

impl PluginState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Active => "active",
            Self::Degraded => "degraded",
            Self::Broken => "broken",
            Self::Stopped => "stopped",
        }
    }
}

/// A plugin at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginStatus {
    pub state: PluginState,
    pub breaker: BreakerState,
    /// What READY promised, in the last process that became ready.
    pub hooks: Vec<HookName>,
    pub pid: Option<u32>,
    /// When that process was started.
    pub since: Option<SystemTime>,
    /// Processes that were started after one had died.
    pub restarts: u64,
    /// Why the last process ended.
    pub reason: Option<String>,
}

/// Why the first start came to nothing. The supervisor may go on trying.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {reason}", step = self.step())]
pub struct StartFailure {
    pub kind: DeathKind,
    pub reason: String,
}

impl StartFailure {
    /// Which step of a start failed, for the answer to a reload.
    pub const fn step(&self) -> &'static str {
        match self.kind {
            DeathKind::Launch => "launch",
            DeathKind::Exit => "start",
            DeathKind::Handshake | DeathKind::Protocol | DeathKind::Unhealthy => "handshake",
        }
    }
}

/// What happens to a plugin, for metrics and lifecycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginEvent {
    /// The process is there and not ready yet, for so long; it has `limit`.
    Starting { elapsed: Duration, limit: Duration },
    /// The handshake is done, and calls go through.
    Ready { pid: u32 },
    /// The process is gone. `again` is the pause before the next start, if one follows.
    Died { kind: DeathKind, reason: String, again: Option<Duration> },
    /// It was given up on. Said after the [`PluginEvent::Died`] that was one too many.
    Broken { reason: String },
    /// The call breaker is now in this state.
    Breaker(BreakerState),
    /// A line of its output was kept.
    Printed(LogLine),
    /// Retired or dropped, and nothing of it is left.
    Stopped,
}

/// Is told what happens to plugins, from whichever task it happens in. Must not block.
pub trait Observer: Send + Sync + 'static {
    fn observe(&self, plugin: &str, event: &PluginEvent);

    /// Where what the plugin prints is kept. By default with its handle.
    fn journal(&self) -> Arc<Journal> {
        Arc::default()
    }
}

impl<F: Fn(&str, &PluginEvent) + Send + Sync + 'static> Observer for F {
    fn observe(&self, plugin: &str, event: &PluginEvent) {
        self(plugin, event);
    }
}

/// The handle of a supervised plugin. Dropping it stops the plugin gracefully, in the background.
pub struct Plugin {
    spec: PluginSpec,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl Plugin {
    /// Starts the plugin and returns at once. Calls and the link's tasks run on `data`, the supervisor on
    /// `control`.
    pub fn start(
        spec: PluginSpec,
        launcher: Launcher,
        data: Handle,
        control: &Handle,
        observer: Arc<dyn Observer>,
    ) -> Arc<Self> {
        let shared = Arc::new(Shared::new(spec.name.clone(), spec.config.clone(), observer));
        // A command is one of few, and the supervisor always comes back to the channel.
        let (commands, queue) = mpsc::channel(limits::PLUGIN_COMMANDS);
        let actor = Actor::new(spec.clone(), launcher, data, Arc::clone(&shared), queue);
        control.spawn(actor.run());
        Arc::new(Self { spec, shared, commands })
    }

    /// A plugin that is wanted and not started, for `reason`. It answers each call with the cause `broken`.
    pub fn withheld(spec: PluginSpec, reason: String, observer: Arc<dyn Observer>) -> Arc<Self> {
        let shared = Arc::new(Shared::new(spec.name.clone(), spec.config.clone(), observer));
        shared.withhold(reason);
        // There is no supervisor to take commands.
        let (commands, _) = mpsc::channel(1);
        Arc::new(Self { spec, shared, commands })
    }

    pub fn spec(&self) -> &PluginSpec {
        &self.spec
    }

    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Waits until the first start is decided: ready, or failed for this reason. Once its process is there, it takes
    /// no longer than [`PluginSpec::start_timeout`].
    pub async fn ready(&self) -> Result<(), StartFailure> {
        let mut start = self.shared.first_start.subscribe();
        let over = start.wait_for(|start| matches!(start, FirstStart::Over(_))).await;
        match over.as_deref() {
            Ok(FirstStart::Over(outcome)) => outcome.clone(),
            Ok(FirstStart::UnderWay) | Err(_) => {
                unreachable!("the sender lives in `self`, and the state was waited for")
            }
        }
    }

    pub fn status(&self) -> PluginStatus {
        self.shared.status()
    }

    /// Recent output, oldest first, over restarts: the first `count` lines with a number beyond `after`.
    pub fn logs(&self, after: u64, count: usize) -> Vec<LogLine> {
        self.shared.logs.lines(after, count)
    }

    /// What the process has, or the next one will be started with.
    pub fn config(&self) -> Map<String, Value> {
        self.shared.config()
    }

    /// Gives the running process a new config, which later ones are started with too. An error says that the old
    /// one still holds, and a new process is needed to change it.
    pub async fn reconfigure(&self, config: Map<String, Value>) -> Result<(), HookFailure> {
        let link = self.shared.current()?;
        link.configure(config.clone(), limits::CONFIGURE_TIMEOUT).await?;
        self.shared.set_config(config);
        self.shared.logs.line(Source::Gateway, "took a new config".to_owned());
        Ok(())
    }

    /// No new request will use this plugin: it is stopped when the last handle is dropped, at the latest after
    /// `drain`; with a `drain` of zero, now. It is not started again if it dies meanwhile.
    pub fn retire(&self, drain: Duration) {
        // Full of earlier ones, or the supervisor is gone: either way the plugin is about to stop.
        let _ = self.commands.try_send(Command::Retire { drain });
    }

    /// Waits until nothing of the plugin is left: no process, no zombie, no task. The future holds no handle.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut stopped = self.shared.stopped.subscribe();
        async move {
            // An error means that the supervisor is gone, and took everything with it.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
    }
}

impl Hook for Plugin {
    async fn call(&self, call: Call<'_>) -> Result<Verdict, HookFailure> {
        let link = self.shared.current()?;
        let Some((pass, moved)) = self.shared.breaker.admit(call.client) else {
            return Err(HookFailure::new(Cause::Broken, "its breaker is open: too many calls failed"));
        };
        self.shared.tell(moved);
        let cut_short = call.cut_short;
        let result = link.call(call).await;
        self.shared.tell(pass.settle(result.as_ref().map_err(|failure| failure.cause), cut_short));
        result
    }
}
