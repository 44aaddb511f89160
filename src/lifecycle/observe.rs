//! What happens to a plugin, told to metrics, log and whoever looks on.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::metrics::{BreakerState, PluginMetrics, RestartReason, SandboxLevel};
use crate::plugin::{self, DeathKind, Observer, Plugin, PluginEvent, PluginState};
use crate::record::{Happening, Live};

/// Watches one plugin handle. While a plugin is replaced two handles have its name, and only the one whose
/// generation is published speaks for the gauges.
pub(super) struct Watcher {
    metrics: PluginMetrics,
    live: Live,
    stage: AtomicU8,
}

const BUILDING: u8 = 0;
const CURRENT: u8 = 1;
const RETIRED: u8 = 2;

impl Watcher {
    pub(super) fn new(metrics: PluginMetrics, live: Live) -> Self {
        Self { metrics, live, stage: AtomicU8::new(BUILDING) }
    }

    /// Its generation is the published one. `plugin` is the handle that is watched.
    pub(super) fn current(&self, plugin: &Plugin) {
        self.stage.store(CURRENT, Ordering::Release);
        self.metrics.sandbox(SandboxLevel::Process);
        self.metrics.breaker(BreakerState::Closed);
        self.metrics.up(plugin.status().state == PluginState::Active);
    }

    /// No new request uses it.
    pub(super) fn retire(&self) {
        self.stage.store(RETIRED, Ordering::Release);
    }
}

impl Observer for Watcher {
    fn observe(&self, plugin: &str, event: &PluginEvent) {
        let current = self.stage.load(Ordering::Acquire) == CURRENT;
        match event {
            PluginEvent::Ready { pid } => {
                tracing::info!(plugin, pid, "plugin ready");
                if current {
                    self.metrics.up(true);
                }
            }
            PluginEvent::Died { kind, reason, again } => {
                let again_ms = again.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
                tracing::warn!(plugin, kind = kind.as_str(), reason, again_ms, "plugin died");
                if current {
                    self.metrics.up(false);
                }
                if again.is_some() {
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
                if current {
                    self.metrics.breaker(breaker_state(*state));
                }
            }
            PluginEvent::Printed(_) => {}
            PluginEvent::Stopped => tracing::info!(plugin, "plugin stopped"),
        }
        self.live.publish(|| happening(plugin, event));
    }
}

fn happening(plugin: &str, event: &PluginEvent) -> Happening {
    let state = |state: PluginState, reason: Option<String>| Happening::Plugin {
        plugin: plugin.into(),
        state: state.as_str(),
        reason,
    };
    match event {
        PluginEvent::Printed(line) => Happening::Log { plugin: plugin.into(), line: line.clone() },
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
