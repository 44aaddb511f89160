//! A plugin as operators read it: what is wanted of it beside what is observed.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::admin::{micros, rfc3339};
use crate::chain::Generation;
use crate::hook::{Cause, HookSpec, OnFailure, Policy};
use crate::lifecycle::{Installed, Origin};
use crate::metrics::{HookSummary, Quantiles, SandboxLevel};
use crate::package::Permissions;
use crate::plugin::Plugin;

/// A plugin: what is wanted of it, and what it is doing.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginView {
    pub name: String,
    version: String,
    description: Option<String>,
    /// It stands in the configuration, and is changed there.
    managed: bool,
    wanted: WantedView,
    observed: ObservedView,
    permissions: PermissionsView,
    hooks: Vec<HookView>,
    /// What its manifest asks for that this version does not do, one sentence each.
    notices: Vec<String>,
    /// Calls without a verdict that let their request go on, by cause.
    fail_open: BTreeMap<&'static str, u64>,
    directory: String,
    /// SHA-256 of its folder when it was accepted.
    digest: String,
    /// Where it was installed from.
    source: Option<String>,
    /// Why it is not as wanted.
    error: Option<String>,
    #[schema(format = DateTime)]
    installed_at: Option<String>,
    #[schema(format = DateTime)]
    updated_at: Option<String>,
    #[schema(format = DateTime)]
    activated_at: Option<String>,
}

/// What an operator or the configuration wants. Its config has a route of its own.
#[derive(Serialize, ToSchema)]
pub(super) struct WantedView {
    enabled: bool,
    /// What its manifest says; lower runs earlier.
    priority: i32,
    /// Where it was put, on the same scale. Null: where its priority puts it.
    position: Option<i64>,
}

/// What its supervisor sees.
#[derive(Serialize, ToSchema)]
pub(super) struct ObservedView {
    /// `installed`, `starting`, `active`, `degraded`, `broken` or `stopped`.
    state: &'static str,
    /// Why its last process ended.
    reason: Option<String>,
    pid: Option<u32>,
    /// When that process was started.
    #[schema(format = DateTime)]
    since: Option<String>,
    /// Processes that were started after one had died.
    restarts: u64,
    /// `closed`, `half_open` or `open`.
    breaker: &'static str,
    /// How far its process is confined: `process`, `partial` or `full`. Null: there is none.
    sandbox: Option<&'static str>,
}

/// What it may do beyond computing.
#[derive(Serialize, ToSchema)]
pub(super) struct PermissionsView {
    /// What its manifest asks for, in words: what its hooks see and change, and its `permissions`.
    asked: Vec<String>,
    /// What was granted. Null: nobody was asked yet.
    granted: Option<Vec<String>>,
    /// What it asks for and was not granted. Activate it with `grant`.
    missing: Vec<String>,
    /// What its manifest asks for, as data. Null: the manifest does not hold any more.
    manifest: Option<Value>,
}

/// One of its hooks.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct HookView {
    name: &'static str,
    /// This version calls it.
    called: bool,
    timeout_ms: u64,
    /// What a call without a verdict means for the request.
    on_failure: OnFailureView,
    /// Since the gateway started, by the verdict's action or the cause why there was none.
    calls: BTreeMap<&'static str, u64>,
    in_flight: u64,
    /// Null before the first verdict.
    latency_micros: Option<LatencyView>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OnFailureView {
    /// `open` or `closed`.
    default: &'static str,
    /// Where a cause has another policy.
    by_cause: BTreeMap<&'static str, &'static str>,
}

/// Estimated from a histogram.
#[derive(Serialize, ToSchema)]
pub(super) struct LatencyView {
    p50: u64,
    p90: u64,
    p99: u64,
}

impl PluginView {
    /// `generation` has the counters of the plugins it calls.
    pub(super) fn of(plugin: &Installed, generation: &Generation<Plugin>) -> Self {
        let member = generation.members.iter().find(|member| *member.name == *plugin.name);
        let summaries: Vec<_> = member
            .map(|member| member.hooks.iter().map(|hook| (hook.spec.name, hook.metrics.summary())).collect())
            .unwrap_or_default();
        let summary = |spec: &HookSpec| {
            summaries.iter().find(|(name, _)| *name == spec.name).map(|(_, summary)| summary)
        };
        let manifest = plugin.manifest.as_deref();
        let hooks = manifest.map(|manifest| &manifest.hooks).into_iter().flatten();
        let fail_open =
            summaries.first().map(|(_, summary)| summary.fail_open.as_slice()).unwrap_or_default();
        Self {
            name: plugin.name.to_string(),
            version: plugin.version.clone(),
            description: manifest.and_then(|manifest| manifest.description.clone()),
            managed: plugin.origin == Origin::Managed,
            wanted: WantedView {
                enabled: plugin.enabled,
                priority: plugin.priority,
                position: plugin.position,
            },
            observed: ObservedView::of(plugin),
            permissions: PermissionsView::of(plugin),
            hooks: hooks.map(|(_, spec)| HookView::of(spec, summary(spec))).collect(),
            notices: plugin.notices(generation.config.plugins.chain_budget),
            fail_open: fail_open.iter().map(|(cause, count)| (cause.as_str(), *count)).collect(),
            directory: plugin.directory.display().to_string(),
            digest: plugin.digest.clone(),
            source: plugin.source.clone(),
            error: plugin.error.clone(),
            installed_at: plugin.installed_at.map(rfc3339::written),
            updated_at: plugin.updated_at.map(rfc3339::written),
            activated_at: plugin.activated_at.map(rfc3339::written),
        }
    }
}

impl ObservedView {
    fn of(plugin: &Installed) -> Self {
        let state = plugin.observed().as_str();
        let Some(status) = plugin.status() else {
            return Self {
                state,
                reason: None,
                pid: None,
                since: None,
                restarts: 0,
                breaker: "closed",
                sandbox: None,
            };
        };
        Self {
            state,
            reason: status.reason,
            pid: status.pid,
            since: status.since.map(rfc3339::written),
            restarts: status.restarts,
            breaker: status.breaker.as_str(),
            sandbox: status.pid.map(|_| SandboxLevel::Process.as_str()),
        }
    }
}

impl PermissionsView {
    fn of(plugin: &Installed) -> Self {
        let asked = plugin.manifest.as_deref().map(|manifest| &manifest.permissions);
        Self {
            asked: asked.map(Permissions::words).unwrap_or_default(),
            granted: plugin.grants.as_ref().map(Permissions::words),
            missing: plugin.not_granted(),
            manifest: asked.map(|asked| serde_json::json!(asked)),
        }
    }
}

impl HookView {
    fn of(spec: &HookSpec, summary: Option<&HookSummary>) -> Self {
        let calls = summary.map(|summary| summary.calls.as_slice()).unwrap_or_default();
        Self {
            name: spec.name.as_str(),
            called: spec.name.is_used(),
            timeout_ms: u64::try_from(spec.timeout.as_millis()).unwrap_or(u64::MAX),
            on_failure: OnFailureView::of(&spec.on_failure),
            calls: calls.iter().map(|(outcome, count)| (outcome.as_str(), *count)).collect(),
            in_flight: summary.map(|summary| summary.in_flight).unwrap_or_default(),
            latency_micros: summary.and_then(|summary| summary.took).map(LatencyView::from),
        }
    }
}

impl OnFailureView {
    /// The policy most causes have is told as the default.
    fn of(on_failure: &OnFailure) -> Self {
        let open = Cause::ALL.into_iter().filter(|cause| on_failure.policy(*cause) == Policy::Open).count();
        let default = if 2 * open > Cause::ALL.len() { Policy::Open } else { Policy::Closed };
        let others = Cause::ALL.into_iter().filter(|cause| on_failure.policy(*cause) != default);
        let by_cause = others.map(|cause| (cause.as_str(), on_failure.policy(cause).as_str()));
        Self { default: default.as_str(), by_cause: by_cause.collect() }
    }
}

impl From<Quantiles> for LatencyView {
    fn from(took: Quantiles) -> Self {
        Self { p50: micros(took.p50), p90: micros(took.p90), p99: micros(took.p99) }
    }
}
