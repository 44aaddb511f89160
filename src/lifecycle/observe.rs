//! What happens to a plugin, told to metrics, log and whoever looks on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::metrics::{BreakerState, PluginMetrics, RestartReason, SandboxLevel};
use crate::plugin::{self, DeathKind, Journal, Observer, Plugin, PluginEvent, PluginState};
use crate::record::{Happening, Live};

/// Watches one plugin handle. While a plugin is replaced two handles have its name, and only the one whose
/// generation is published speaks for the gauges.
pub(super) struct Watcher {
    metrics: PluginMetrics,
    live: Live,
    journal: Arc<Journal>,
    stage: AtomicU8,
}

const BUILDING: u8 = 0;
const CURRENT: u8 = 1;
const RETIRED: u8 = 2;
const REPLACED: u8 = 3;

impl Watcher {
    pub(super) fn new(metrics: PluginMetrics, live: Live, journal: Arc<Journal>) -> Self {
        Self { metrics, live, journal, stage: AtomicU8::new(BUILDING) }
    }

    /// Its generation is the published one. `plugin` is the handle that is watched.
    pub(super) fn current(&self, plugin: &Plugin) {
        self.stage.store(CURRENT, Ordering::Release);
        self.metrics.sandbox(SandboxLevel::Process);
        self.metrics.breaker(BreakerState::Closed);
        let mut status = plugin.status();
        self.metrics.up(status.state == PluginState::Active);
        // What happened since the status was read has told the gauge something newer.
        loop {
            let newer = plugin.status();
            if newer.state == status.state {
                break;
            }
            self.metrics.up(newer.state == PluginState::Active);
            status = newer;
        }
        self.live.publish(|| in_state(plugin.name(), status.state, status.reason));
    }

    /// No new request uses it.
    pub(super) fn retire(&self) {
        self.stage.store(RETIRED, Ordering::Release);
    }

    /// No new request uses it, and a successor speaks for the plugin.
    pub(super) fn replaced(&self) {
        self.stage.store(REPLACED, Ordering::Release);
    }
}

impl Observer for Watcher {
    fn journal(&self) -> Arc<Journal> {
        self.journal.clone()
    }

    fn observe(&self, plugin: &str, event: &PluginEvent) {
        let stage = self.stage.load(Ordering::Acquire);
        let current = stage == CURRENT;
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
                // Of one that only tries to start, no series is to outlive the try.
                if again.is_some() && current {
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
        // Of one that only tries to start, or that has a successor, the plugin's state is not to be told.
        let is_told = match event {
            PluginEvent::Printed(_) => true,
            PluginEvent::Stopped => current || stage == RETIRED,
            PluginEvent::Ready { .. }
            | PluginEvent::Died { .. }
            | PluginEvent::Broken { .. }
            | PluginEvent::Breaker(_) => current,
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
