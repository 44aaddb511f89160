//! What runs, whether it is ready, and its metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use serde::Serialize;
use utoipa::ToSchema;

use super::{ApiError, ChangeReport, Gateway, rfc3339};
use crate::hook::HookName;
use crate::lifecycle::{By, ConfigFile, Readiness, RefusedConfig};
use crate::metrics::SandboxLevel;
use crate::plugin::Plugin;

/// What runs.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "version": "0.1.0", "protocols": [1], "uptimeSeconds": 86400, "draining": false, "sandbox": "process",
    "generation": 3, "config": {"file": "/etc/hookway/hookway.toml", "refused": null, "takenAway": []}, "upstreams": ["openai"], "plugins": [{
        "name": "redact", "version": "1.0.0", "state": "active", "hooks": ["onRequest"], "pid": 4711, "restarts": 0,
        "reason": null
    }]
})))]
pub struct Status {
    version: &'static str,
    /// Versions of the hook protocol it speaks.
    protocols: Vec<u32>,
    uptime_seconds: u64,
    /// It shuts down, and takes no new requests.
    draining: bool,
    /// How far plugins are confined: `process`, `partial` or `full`.
    sandbox: &'static str,
    /// The published one.
    generation: u64,
    config: ConfigFileView,
    upstreams: Vec<String>,
    /// Those of the chain, in its order.
    plugins: Vec<PluginLine>,
}

/// Where the configuration comes from, and what its last reloads came to.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConfigFileView {
    /// Null: the built-in configuration.
    file: Option<String>,
    /// What is on the disk was refused, and what was read before serves on. Null: it is in force.
    refused: Option<RefusedConfigView>,
    /// Plugins that the last reload took out of the chain.
    taken_away: Vec<String>,
}

/// A configuration that was not taken.
#[derive(Serialize, ToSchema)]
pub(super) struct RefusedConfigView {
    #[schema(format = DateTime)]
    at: String,
    /// Each with its file, line and column, where it has one.
    errors: Vec<String>,
}

impl From<&ConfigFile> for ConfigFileView {
    fn from(config: &ConfigFile) -> Self {
        let ConfigFile { path, refused, taken_away, .. } = config;
        let refused = refused.as_ref().map(|RefusedConfig { at, errors }| RefusedConfigView {
            at: rfc3339::written(*at),
            errors: errors.clone(),
        });
        Self {
            file: path.as_ref().map(|path| path.display().to_string()),
            refused,
            taken_away: taken_away.clone(),
        }
    }
}

/// A plugin of the chain.
#[derive(Serialize, ToSchema)]
pub(super) struct PluginLine {
    name: String,
    version: String,
    state: &'static str,
    /// What READY promised.
    hooks: Vec<&'static str>,
    pid: Option<u32>,
    restarts: u64,
    /// Why its last process ended.
    reason: Option<String>,
}

/// Whether new requests are taken.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"ready": true, "notes": ["plugin 'redact' is degraded: exited with status 1"]})))]
pub(super) struct ReadinessView {
    ready: bool,
    /// What is not as it should be; it may serve all the same.
    notes: Vec<String>,
}

impl From<Readiness> for ReadinessView {
    fn from(readiness: Readiness) -> Self {
        let Readiness { ready, notes } = readiness;
        Self { ready, notes }
    }
}

impl PluginLine {
    fn of(plugin: &Plugin) -> Self {
        let status = plugin.status();
        Self {
            name: plugin.name().to_owned(),
            version: plugin.spec().version.clone(),
            state: status.state.as_str(),
            hooks: status.hooks.into_iter().map(HookName::as_str).collect(),
            pid: status.pid,
            restarts: status.restarts,
            reason: status.reason,
        }
    }
}

impl Gateway {
    pub fn status(&self) -> Status {
        let generation = self.published.lease();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            protocols: vec![hookway_wire::PROTOCOL],
            uptime_seconds: self.started.elapsed().as_secs(),
            draining: self.is_draining(),
            sandbox: SandboxLevel::Process.as_str(),
            generation: generation.number,
            config: (&self.lifecycle.inventory().config_file).into(),
            upstreams: generation.upstreams.iter().map(|upstream| upstream.name().to_string()).collect(),
            plugins: generation.members.iter().map(|member| PluginLine::of(&member.hook)).collect(),
        }
    }

    /// Reads the configuration again and publishes what it says, or changes nothing.
    pub async fn reload(&self, by: By) -> Result<ChangeReport, ApiError> {
        Ok(self.lifecycle.reload(by).await.map_err(ApiError::of_reload)?.into())
    }
}

/// Whether the process lives
///
/// The one route that needs no token.
#[utoipa::path(
    get, path = "/healthz", tag = "gateway", security(()),
    responses((status = 200, body = String, content_type = "text/plain", example = "ok"))
)]
pub(super) async fn healthz() -> &'static str {
    "ok"
}

/// Whether new requests are taken
///
/// A plugin that is down leaves the gateway ready, for its policy answers in its place; `notes` name it.
#[utoipa::path(
    get, path = "/readyz", tag = "gateway",
    responses(
        (status = 200, body = ReadinessView),
        (status = 503, description = "It is shutting down", body = ReadinessView),
    )
)]
pub(super) async fn readyz(State(gateway): State<Arc<Gateway>>) -> (StatusCode, Json<ReadinessView>) {
    let readiness = gateway.ready();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness.into()))
}

/// What runs
#[utoipa::path(get, path = "/api/status", tag = "gateway", responses((status = 200, body = Status)))]
pub(super) async fn get_status(State(gateway): State<Arc<Gateway>>) -> Json<Status> {
    Json(gateway.status())
}

/// Reload the configuration
///
/// Reads the file again, checks it whole, and publishes what it says; or changes nothing, and says why.
#[utoipa::path(
    post, path = "/api/reload", tag = "gateway",
    responses(
        (status = 200, body = ChangeReport),
        (status = 422, description = "The configuration does not hold, or a plugin did not become ready",
            body = super::error::ErrorBody),
    )
)]
pub(super) async fn reload(
    State(gateway): State<Arc<Gateway>>,
    by: By,
) -> Result<Json<ChangeReport>, ApiError> {
    gateway.reload(by).await.map(Json)
}

/// Metrics, for Prometheus
#[utoipa::path(
    get, path = "/metrics", tag = "gateway",
    responses((status = 200, description = "The text format", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(
    State(gateway): State<Arc<Gateway>>,
) -> ([(HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], gateway.metrics.render())
}
