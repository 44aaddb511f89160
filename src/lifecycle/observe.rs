//! What happens to a plugin, told to metrics, log and whoever looks on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::metrics::{BreakerState, PluginMetrics, RestartReason, SandboxLevel};
use crate::plugin::{self, DeathKind, Journal, Observer, Plugin, PluginEvent, PluginState};
use crate::record::{Happening, Live};

/// Watches one plugin handle. While a plugin is replaced two handles have its name, and only the one whose
/// generation is published speaks for the gauges.
pub(super) struct Watcher {
    metrics: PluginMetrics,
    live: Live,
    journal: Arc<Journal>,
    /// Held while the gauges are set, so that they never show what was true before the last event.
    stage: Mutex<Stage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its generation is not published yet.
    Building,
    Current,
    /// No new request uses it.
    Retired,
    /// No new request uses it, and a successor speaks for the plugin.
    Replaced,
}

impl Watcher {
    pub(super) fn new(metrics: PluginMetrics, live: Live, journal: Arc<Journal>) -> Self {
        Self { metrics, live, journal, stage: Mutex::new(Stage::Building) }
    }

    /// Its generation is the published one. `plugin` is the handle that is watched.
    pub(super) fn current(&self, plugin: &Plugin) {
        let mut stage = self.stage();
        *stage = Stage::Current;
        // Events of now wait for the lock. An earlier one has changed the status before it was told.
        let status = plugin.status();
        self.metrics.sandbox(SandboxLevel::Process);
        self.metrics.breaker(breaker_state(status.breaker));
        self.metrics.up(status.state == PluginState::Active);
        drop(stage);
        self.live.publish(|| in_state(plugin.name(), status.state, status.reason));
    }

    /// No new request uses it.
    pub(super) fn retire(&self) {
        *self.stage() = Stage::Retired;
    }

    /// No new request uses it, and a successor speaks for the plugin.
    pub(super) fn replaced(&self) {
        *self.stage() = Stage::Replaced;
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the gauges if this handle speaks for them. The stage it is in.
    fn gauge(&self, event: &PluginEvent) -> Stage {
        let stage = self.stage();
        if *stage == Stage::Current {
            match event {
                PluginEvent::Ready { .. } => self.metrics.up(true),
                PluginEvent::Died { .. } => self.metrics.up(false),
                PluginEvent::Breaker(state) => self.metrics.breaker(breaker_state(*state)),
                PluginEvent::Starting { .. }
                | PluginEvent::Broken { .. }
                | PluginEvent::Printed(_)
                | PluginEvent::Stopped => {}
            }
        }
        *stage
    }
}

impl Observer for Watcher {
    fn journal(&self) -> Arc<Journal> {
        self.journal.clone()
    }

    fn observe(&self, plugin: &str, event: &PluginEvent) {
        // Output comes often and moves no gauge.
        let stage = match event {
            PluginEvent::Printed(_) => None,
            PluginEvent::Starting { .. }
            | PluginEvent::Ready { .. }
            | PluginEvent::Died { .. }
            | PluginEvent::Broken { .. }
            | PluginEvent::Breaker(_)
            | PluginEvent::Stopped => Some(self.gauge(event)),
        };
        match event {
            PluginEvent::Starting { elapsed, limit } => {
                let (seconds, limit_seconds) = (elapsed.as_secs(), limit.as_secs());
                tracing::info!(plugin, seconds, limit_seconds, "plugin.starting");
            }
            PluginEvent::Ready { pid } => tracing::info!(plugin, pid, "plugin ready"),
            PluginEvent::Died { kind, reason, again } => {
                let again_ms = again.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
                tracing::warn!(plugin, kind = kind.as_str(), reason, again_ms, "plugin died");
                // Of one that only tries to start, no series is to outlive the try.
                if again.is_some() && stage == Some(Stage::Current) {
                    self.metrics.restarted(restart_reason(*kind));
                }
            }
            PluginEvent::Broken { reason } => {
                tracing::error!(
                    plugin,
                    reason,
                    "plugin broken: its onFailure verdict applies until a probe succeeds"
                );
            }
            PluginEvent::Breaker(state) => {
                tracing::warn!(plugin, breaker = state.as_str(), "plugin breaker moved");
            }
            PluginEvent::Printed(_) => {}
            PluginEvent::Stopped => tracing::info!(plugin, "plugin stopped"),
        }
        // Of one that only tries to start, or that has a successor, the plugin's state is not to be told.
        let is_told = match event {
            PluginEvent::Printed(_) => true,
            PluginEvent::Stopped => matches!(stage, Some(Stage::Current | Stage::Retired)),
            PluginEvent::Starting { .. }
            | PluginEvent::Ready { .. }
            | PluginEvent::Died { .. }
            | PluginEvent::Broken { .. }
            | PluginEvent::Breaker(_) => stage == Some(Stage::Current),
        };
        if is_told {
            self.live.publish(|| happening(plugin, event));
        }
    }
}

fn in_state(plugin: &str, state: PluginState, reason: Option<String>) -> Happening {
    Happening::Plugin { plugin: plugin.into(), state: state.as_str(), reason }
}

fn happening(plugin: &str, event: &PluginEvent) -> Happening {
    let state = |state, reason| in_state(plugin, state, reason);
    match event {
        PluginEvent::Printed(line) => Happening::Log { plugin: plugin.into(), line: line.clone() },
        PluginEvent::Starting { .. } => state(PluginState::Starting, None),
        PluginEvent::Ready { .. } => state(PluginState::Active, None),
        PluginEvent::Died { reason, .. } => state(PluginState::Degraded, Some(reason.clone())),
        PluginEvent::Broken { reason } => state(PluginState::Broken, Some(reason.clone())),
        PluginEvent::Breaker(plugin::BreakerState::Closed) => state(PluginState::Active, None),
        PluginEvent::Breaker(breaker @ (plugin::BreakerState::HalfOpen | plugin::BreakerState::Open)) => {
            state(PluginState::Degraded, Some(format!("its breaker is {}", breaker.as_str())))
        }
        PluginEvent::Stopped => state(PluginState::Stopped, None),
    }
}

fn restart_reason(kind: DeathKind) -> RestartReason {
    match kind {
        DeathKind::Launch | DeathKind::Exit => RestartReason::Exited,
        DeathKind::Handshake => RestartReason::Handshake,
        DeathKind::Protocol => RestartReason::Protocol,
        DeathKind::Unhealthy => RestartReason::Unresponsive,
    }
}

fn breaker_state(state: plugin::BreakerState) -> BreakerState {
    match state {
        plugin::BreakerState::Closed => BreakerState::Closed,
        plugin::BreakerState::HalfOpen => BreakerState::HalfOpen,
        plugin::BreakerState::Open => BreakerState::Open,
    }
}
