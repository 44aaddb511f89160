//! Series resolved once: what a generation keeps per hook, plugin and upstream.

use std::time::{Duration, Instant};

use prometheus::core::Metric;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use super::quantiles::{self, Quantiles};

use super::{AttemptOutcome, BreakerState, HookOutcome, Metrics, RestartReason, SandboxLevel};
use crate::hook::{Cause, HookName};

/// A gauge that is one higher while this lives.
#[derive(Debug)]
pub struct InFlight(IntGauge);

impl InFlight {
    pub(super) fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// One hook of one plugin.
#[derive(Clone, Debug)]
pub struct HookMetrics {
    calls: [IntCounter; HookOutcome::COUNT],
    duration: Histogram,
    in_flight: IntGauge,
    fail_open: [IntCounter; Cause::ALL.len()],
}

impl HookMetrics {
    pub(super) fn new(metrics: &Metrics, plugin: &str, hook: HookName) -> Self {
        let hook = hook.as_str();
        let mut outcomes = HookOutcome::all();
        Self {
            calls: std::array::from_fn(|_| {
                let outcome = outcomes.next().expect("COUNT outcomes, in the order of their indexes");
                metrics.hook_calls.with_label_values(&[plugin, hook, outcome.as_str()])
            }),
            duration: metrics.hook_duration.with_label_values(&[plugin, hook]),
            in_flight: metrics.hook_in_flight.with_label_values(&[plugin, hook]),
            fail_open: Cause::ALL
                .map(|cause| metrics.hook_fail_open.with_label_values(&[plugin, cause.as_str()])),
        }
    }

    /// A call begins. Dropped without [`HookCall::end`] it counts as cancelled.
    pub fn call(&self) -> HookCall<'_> {
        self.in_flight.inc();
        HookCall { metrics: self, began: Instant::now(), outcome: HookOutcome::Cancelled }
    }

    /// A call without a verdict was passed over.
    pub fn failed_open(&self, cause: Cause) {
        self.fail_open[cause as usize].inc();
    }

    /// What was counted so far. A scrape at the same moment would show the same.
    pub fn summary(&self) -> HookSummary {
        let calls = HookOutcome::all().map(|outcome| (outcome, self.calls[outcome.index()].get()));
        let fail_open = Cause::ALL.map(|cause| (cause, self.fail_open[cause as usize].get()));
        let seconds = self.duration.metric();
        let buckets = seconds.get_histogram().get_bucket().iter();
        let buckets: Vec<_> = buckets.map(|b| (b.upper_bound(), b.cumulative_count())).collect();
        HookSummary {
            calls: calls.filter(|(_, count)| *count > 0).collect(),
            fail_open: fail_open.into_iter().filter(|(_, count)| *count > 0).collect(),
            in_flight: u64::try_from(self.in_flight.get()).unwrap_or_default(),
            took: quantiles::of(&buckets, seconds.get_histogram().get_sample_count()),
        }
    }
}

/// One hook of one plugin in numbers, since the gateway started. What never happened is left out.
#[derive(Clone, Debug, PartialEq)]
pub struct HookSummary {
    pub calls: Vec<(HookOutcome, u64)>,
    /// Of all the plugin's hooks together: its series knows no hook.
    pub fail_open: Vec<(Cause, u64)>,
    pub in_flight: u64,
    /// None before the first verdict.
    pub took: Option<Quantiles>,
}

/// A hook call in flight.
#[derive(Debug)]
pub struct HookCall<'a> {
    metrics: &'a HookMetrics,
    began: Instant,
    outcome: HookOutcome,
}

impl HookCall<'_> {
    /// The call ended; tells how long it took.
    pub fn end(mut self, outcome: HookOutcome) -> Duration {
        self.outcome = outcome;
        let took = self.began.elapsed();
        self.metrics.duration.observe(took.as_secs_f64());
        took
    }
}

impl Drop for HookCall<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        self.metrics.calls[self.outcome.index()].inc();
    }
}

/// One plugin's process.
#[derive(Clone, Debug)]
pub struct PluginMetrics {
    plugin: String,
    up: IntGauge,
    breaker_state: IntGauge,
    sandbox_level: IntGauge,
    restarts: IntCounterVec,
}

impl PluginMetrics {
    pub(super) fn new(metrics: &Metrics, plugin: &str) -> Self {
        for reason in RestartReason::ALL {
            metrics.plugin_restarts.with_label_values(&[plugin, reason.as_str()]);
        }
        Self {
            plugin: plugin.to_owned(),
            up: metrics.plugin_up.with_label_values(&[plugin]),
            breaker_state: metrics.plugin_breaker_state.with_label_values(&[plugin]),
            sandbox_level: metrics.plugin_sandbox_level.with_label_values(&[plugin]),
            restarts: metrics.plugin_restarts.clone(),
        }
    }

    pub fn up(&self, up: bool) {
        self.up.set(i64::from(up));
    }

    pub fn breaker(&self, state: BreakerState) {
        self.breaker_state.set(state as i64);
    }

    pub fn sandbox(&self, level: SandboxLevel) {
        self.sandbox_level.set(level as i64);
    }

    pub fn restarted(&self, reason: RestartReason) {
        self.restarts.with_label_values(&[self.plugin.as_str(), reason.as_str()]).inc();
    }
}

/// One upstream.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    attempts: [IntCounter; AttemptOutcome::COUNT],
    duration: Histogram,
    breaker_state: IntGauge,
}

impl UpstreamMetrics {
    pub(super) fn new(metrics: &Metrics, upstream: &str) -> Self {
        let mut outcomes = AttemptOutcome::all();
        Self {
            attempts: std::array::from_fn(|_| {
                let outcome = outcomes.next().expect("COUNT outcomes, in the order of their indexes");
                metrics.upstream_attempts.with_label_values(&[upstream, outcome.as_str()])
            }),
            duration: metrics.upstream_duration.with_label_values(&[upstream]),
            breaker_state: metrics.upstream_breaker_state.with_label_values(&[upstream]),
        }
    }

    pub fn attempted(&self, outcome: AttemptOutcome, took: Duration) {
        self.attempts[outcome.index()].inc();
        self.duration.observe(took.as_secs_f64());
    }

    pub fn breaker(&self, state: BreakerState) {
        self.breaker_state.set(state as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_counted_once_however_it_ends() {
        let metrics = Metrics::new();
        let hook = metrics.hook("redact", HookName::OnRequest);
        hook.call().end(HookOutcome::Patch);
        hook.call().end(HookOutcome::Failed(Cause::Oversize));
        drop(hook.call());
        let open = hook.call();
        let count = |outcome: HookOutcome| hook.calls[outcome.index()].get();
        assert_eq!(count(HookOutcome::Patch), 1);
        assert_eq!(count(HookOutcome::Failed(Cause::Oversize)), 1);
        assert_eq!(count(HookOutcome::Cancelled), 1);
        assert_eq!(hook.in_flight.get(), 1);
        assert_eq!(hook.duration.get_sample_count(), 2, "a cancelled call has no duration worth knowing");
        open.end(HookOutcome::Continue);
        assert_eq!(hook.in_flight.get(), 0);
    }

    #[test]
    fn a_summary_tells_what_happened_and_leaves_out_what_did_not() {
        let metrics = Metrics::new();
        let hook = metrics.hook("redact", HookName::OnRequest);
        assert_eq!(hook.summary().took, None);
        hook.call().end(HookOutcome::Patch);
        hook.failed_open(Cause::Timeout);
        let _open = hook.call();
        let summary = hook.summary();
        assert_eq!(summary.calls, [(HookOutcome::Patch, 1)]);
        assert_eq!(summary.fail_open, [(Cause::Timeout, 1)]);
        assert_eq!(summary.in_flight, 1);
        assert!(summary.took.is_some());
    }

    #[test]
    fn two_handles_of_one_upstream_count_together() {
        let metrics = Metrics::new();
        metrics.upstream("openai").attempted(AttemptOutcome::Ok, Duration::from_millis(1));
        let again = metrics.upstream("openai");
        again.attempted(AttemptOutcome::Ok, Duration::from_millis(1));
        assert_eq!(again.attempts[AttemptOutcome::Ok.index()].get(), 2);
    }
}
