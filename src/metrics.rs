//! What Prometheus sees: names, help, labels and buckets, each in one place.
//!
//! Series of plugins and upstreams are resolved once, when a generation is built; counting on the request path is
//! then an atomic add. Labels are enums, names from the configuration, or model names up to a bound.

mod families;
mod handles;
mod labels;
mod quantiles;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use http::StatusCode;
use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use families::Families;
pub use handles::{HookCall, HookMetrics, HookSummary, InFlight, PluginMetrics, UpstreamMetrics};
pub use labels::{
    Asked, AttemptOutcome, BreakerState, Direction, HookOutcome, Lost, Outcome, ReloadOutcome, RestartReason,
    SandboxLevel,
};
pub use quantiles::Quantiles;

use crate::hook::{Cause, HookName};
use crate::limits;

/// From a plugin call in the same process group (10 µs) to one that asks a model.
const HOOK_BUCKETS: [f64; 16] =
    [1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
/// What the gateway and its plugins add to a request.
const OVERHEAD_BUCKETS: [f64; 12] =
    [5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25];
/// Answers of models: an echo takes milliseconds, a reasoning model minutes.
const ANSWER_BUCKETS: [f64; 16] =
    [1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 180.0, 600.0];

/// Stands for the models beyond those that are counted by name.
const OTHER_MODEL: &str = "other";

/// Tells how much of something there was so far.
type Count = Box<dyn Fn() -> u64 + Send + Sync>;

/// All metrics of the gateway, on a registry of their own.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    requests_in_flight: IntGauge,
    request_duration: ByEndpoint,
    time_to_first_byte: ByEndpoint,
    overhead: ByEndpoint,
    upstream_attempts: IntCounterVec,
    upstream_duration: HistogramVec,
    upstream_breaker_state: IntGaugeVec,
    hook_calls: IntCounterVec,
    hook_duration: HistogramVec,
    hook_in_flight: IntGaugeVec,
    hook_fail_open: IntCounterVec,
    plugin_up: IntGaugeVec,
    plugin_restarts: IntCounterVec,
    plugin_breaker_state: IntGaugeVec,
    plugin_sandbox_level: IntGaugeVec,
    chain_generation: IntGauge,
    chain_reloads: IntCounterVec,
    chain_generations_alive: IntGauge,
    panics: IntCounter,
    tokens: IntCounterVec,
    lost: IntCounterVec,
    /// Who counts what was lost; asked at each scrape.
    losses: Mutex<Vec<(Lost, Count)>>,
    /// The models counted by name. Clients choose names, so there is an end to them.
    models: RwLock<HashMap<Box<str>, [IntCounter; 2]>>,
}

/// A time of requests, resolved per endpoint, at its place in [`Asked::ALL`].
type ByEndpoint = [Histogram; Asked::ALL.len()];

/// A request that ended.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    pub asked: Asked,
    /// The pattern of the route that matched.
    pub route: Option<&'a str>,
    /// None when the client left before any answer.
    pub status: Option<StatusCode>,
    pub outcome: Outcome,
    pub total: Duration,
    pub first_byte: Option<Duration>,
    /// Spent in the gateway and its plugins, not waiting for client or upstream.
    pub overhead: Duration,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let f = Families::default();
        f.gauges("build_info", "The version that runs; always 1.", &["version", "protocol"])
            .with_label_values(&[env!("CARGO_PKG_VERSION"), "1"])
            .set(1);
        f.process();
        let by_endpoint = |name, help, buckets: &[f64]| {
            let family = f.histograms(name, help, &["endpoint"], buckets);
            std::array::from_fn(|at| family.with_label_values(&[Asked::ALL[at].as_str()]))
        };
        let metrics = Self {
            requests: f.counters(
                "requests_total",
                "Requests that ended, by what was asked for and how it ended.",
                &["endpoint", "route", "status", "outcome"],
            ),
            requests_in_flight: f.gauge("requests_in_flight", "Requests being served."),
            request_duration: by_endpoint(
                "request_duration_seconds",
                "From the first byte of a request to the last byte of its answer.",
                &ANSWER_BUCKETS,
            ),
            time_to_first_byte: by_endpoint(
                "time_to_first_byte_seconds",
                "From the first byte of a request to the first byte of its answer.",
                &ANSWER_BUCKETS,
            ),
            overhead: by_endpoint(
                "gateway_overhead_seconds",
                "Part of a request spent in the gateway and its plugins, not waiting for client or upstream.",
                &OVERHEAD_BUCKETS,
            ),
            upstream_attempts: f.counters(
                "upstream_attempts_total",
                "Attempts at an upstream, by how they ended.",
                &["upstream", "outcome"],
            ),
            upstream_duration: f.histograms(
                "upstream_duration_seconds",
                "From an attempt's start to the last byte of its answer.",
                &["upstream"],
                &ANSWER_BUCKETS,
            ),
            upstream_breaker_state: f.gauges(
                "upstream_breaker_state",
                "Whether an upstream is asked: 0 closed, 1 half open, 2 open.",
                &["upstream"],
            ),
            hook_calls: f.counters(
                "hook_calls_total",
                "Hook calls, by the verdict's action or the cause why there is none.",
                &["plugin", "hook", "outcome"],
            ),
            hook_duration: f.histograms(
                "hook_duration_seconds",
                "From a hook call to its verdict.",
                &["plugin", "hook"],
                &HOOK_BUCKETS,
            ),
            hook_in_flight: f.gauges(
                "hook_in_flight",
                "Hook calls without a verdict yet.",
                &["plugin", "hook"],
            ),
            hook_fail_open: f.counters(
                "hook_fail_open_total",
                "Hook calls without a verdict whose request went on because the policy is open.",
                &["plugin", "cause"],
            ),
            plugin_up: f.gauges("plugin_up", "Whether a plugin answers calls.", &["plugin"]),
            plugin_restarts: f.counters(
                "plugin_restarts_total",
                "Plugin processes started anew, by reason.",
                &["plugin", "reason"],
            ),
            plugin_breaker_state: f.gauges(
                "plugin_breaker_state",
                "Whether a plugin is called: 0 closed, 1 half open, 2 open.",
                &["plugin"],
            ),
            plugin_sandbox_level: f.gauges(
                "plugin_sandbox_level",
                "How far a plugin is confined: 0 own process, 1 partly, 2 to what its manifest grants.",
                &["plugin"],
            ),
            chain_generation: f.gauge("chain_generation", "Number of the published generation."),
            chain_reloads: f.counters("chain_reloads_total", "Reloads, by how they ended.", &["outcome"]),
            chain_generations_alive: f.gauge(
                "chain_generations_alive",
                "Generations some request still runs on, the published one included.",
            ),
            panics: f.counter(
                "panics_total",
                "Panics of the gateway's own code. One inside a request ends that request with 500.",
            ),
            tokens: f.counters("tokens_total", "Tokens as upstreams report them.", &["direction", "model"]),
            lost: lost(&f),
            losses: Mutex::default(),
            models: RwLock::default(),
            registry: f.into_registry(),
        };
        metrics.begin_at_zero();
        metrics
    }

    /// Makes the series that would else begin with their first event, which a rate cannot see then. What belongs to a
    /// plugin or an upstream begins with it.
    fn begin_at_zero(&self) {
        for outcome in Outcome::ALL {
            let labels = [Asked::ChatCompletions.as_str(), "none", "none", outcome.as_str()];
            self.requests.with_label_values(&labels);
        }
        for outcome in ReloadOutcome::ALL {
            self.chain_reloads.with_label_values(&[outcome.as_str()]);
        }
        for direction in Direction::ALL {
            self.tokens.with_label_values(&[direction.as_str(), OTHER_MODEL]);
        }
    }
}

/// Both kinds are there from the first scrape on.
fn lost(families: &Families) -> IntCounterVec {
    let lost = families.counters("lost_total", "Records dropped instead of waiting, by kind.", &["kind"]);
    for kind in Lost::ALL {
        lost.with_label_values(&[kind.as_str()]);
    }
    lost
}

impl Metrics {
    /// The text format, as `GET /metrics` answers it.
    pub fn render(&self) -> String {
        for (kind, count) in &*self.losses.lock().unwrap_or_else(PoisonError::into_inner) {
            let shown = self.lost.with_label_values(&[kind.as_str()]);
            shown.inc_by(count().saturating_sub(shown.get()));
        }
        TextEncoder::new().encode_to_string(&self.registry.gather()).expect("metrics encode into memory")
    }

    /// `count` says how many of a kind were lost since the start.
    pub fn watch_losses(&self, kind: Lost, count: impl Fn() -> u64 + Send + Sync + 'static) {
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        losses.push((kind, Box::new(count)));
    }

    /// Counts a request as in flight until dropped.
    pub fn in_flight(&self) -> InFlight {
        InFlight::new(self.requests_in_flight.clone())
    }

    pub fn finished(&self, request: &Finished<'_>) {
        let status = request.status.as_ref().map_or("none", StatusCode::as_str);
        let route = request.route.unwrap_or("none");
        self.requests
            .with_label_values(&[request.asked.as_str(), route, status, request.outcome.as_str()])
            .inc();
        let endpoint = request.asked as usize;
        self.request_duration[endpoint].observe(request.total.as_secs_f64());
        self.overhead[endpoint].observe(request.overhead.as_secs_f64());
        if let Some(first_byte) = request.first_byte {
            self.time_to_first_byte[endpoint].observe(first_byte.as_secs_f64());
        }
    }

    /// Tokens of one answer. Past `limits::METRIC_MODELS_MAX` names, or with a very long one, `other` is counted.
    pub fn tokens(&self, model: &str, input: u64, output: u64) {
        let known = |models: &HashMap<Box<str>, [IntCounter; 2]>, model: &str| {
            let counters = models.get(model)?;
            counters[0].inc_by(input);
            counters[1].inc_by(output);
            Some(())
        };
        if known(&self.models.read().unwrap_or_else(PoisonError::into_inner), model).is_some() {
            return;
        }
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        let room = models.len() < limits::METRIC_MODELS_MAX && model.len() <= limits::METRIC_MODEL_BYTES_MAX;
        let label = if room { model } else { OTHER_MODEL };
        models.entry(label.into()).or_insert_with(|| {
            [Direction::Input, Direction::Output]
                .map(|direction| self.tokens.with_label_values(&[direction.as_str(), label]))
        });
        known(&models, label);
    }

    /// The series of one hook of one plugin.
    pub fn hook(&self, plugin: &str, hook: HookName) -> HookMetrics {
        HookMetrics::new(self, plugin, hook)
    }

    /// The series of one plugin's process.
    pub fn plugin(&self, plugin: &str) -> PluginMetrics {
        PluginMetrics::new(self, plugin)
    }

    /// The series of one upstream.
    pub fn upstream(&self, upstream: &str) -> UpstreamMetrics {
        UpstreamMetrics::new(self, upstream)
    }

    /// Ends the series of a plugin that is no longer configured. Calls still in flight count into the void.
    pub fn forget_plugin(&self, plugin: &str) {
        // A series that was never made is as gone as one that is removed.
        let gone = drop::<prometheus::Result<()>>;
        for hook in HookName::ALL.map(HookName::as_str) {
            gone(self.hook_duration.remove_label_values(&[plugin, hook]));
            gone(self.hook_in_flight.remove_label_values(&[plugin, hook]));
            for outcome in HookOutcome::all() {
                gone(self.hook_calls.remove_label_values(&[plugin, hook, outcome.as_str()]));
            }
        }
        for cause in Cause::ALL {
            gone(self.hook_fail_open.remove_label_values(&[plugin, cause.as_str()]));
        }
        for reason in RestartReason::ALL {
            gone(self.plugin_restarts.remove_label_values(&[plugin, reason.as_str()]));
        }
        for gauges in [&self.plugin_up, &self.plugin_breaker_state, &self.plugin_sandbox_level] {
            gone(gauges.remove_label_values(&[plugin]));
        }
    }

    /// Ends the series of an upstream that is no longer configured.
    pub fn forget_upstream(&self, upstream: &str) {
        let gone = drop::<prometheus::Result<()>>;
        for outcome in AttemptOutcome::all() {
            gone(self.upstream_attempts.remove_label_values(&[upstream, outcome.as_str()]));
        }
        gone(self.upstream_duration.remove_label_values(&[upstream]));
        gone(self.upstream_breaker_state.remove_label_values(&[upstream]));
    }

    pub fn published(&self, generation: u64) {
        self.chain_generation.set(generation.cast_signed());
    }

    pub fn generations_alive(&self, generations: usize) {
        self.chain_generations_alive.set(generations as i64);
    }

    pub fn panicked(&self) {
        self.panics.inc();
    }

    pub fn reloaded(&self, outcome: ReloadOutcome) {
        self.chain_reloads.with_label_values(&[outcome.as_str()]).inc();
    }
}
