//! The last requests: what each left behind. Never a body, a header, a query or a key.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::Parameters;
use super::fields::{Ask, Fields};
use super::{Gateway, micros, rfc3339};
use crate::hook::Policy;
use crate::limits;
use crate::record::{HookRun, Record};

/// How many, newest first.
pub struct Recent {
    pub limit: usize,
}

impl Ask for Recent {
    fn read(fields: &mut Fields) -> Option<Self> {
        let limit = fields.limit(limits::RECENT_REQUESTS);
        Some(Self { limit })
    }
}

/// The last requests that ended, newest first.
#[derive(Serialize, ToSchema)]
pub struct RequestList {
    requests: Vec<RequestView>,
}

/// A request that ended.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "requestId": "01jq5d6zj9c3f2", "traceparent": null, "receivedAt": "2026-03-01T09:30:00.125Z",
    "client": "127.0.0.1:51334", "method": "POST", "path": "/v1/chat/completions", "endpoint": "chat.completions",
    "model": "gpt-4o-mini", "route": "gpt-*", "upstream": "openai", "attempts": 1, "status": 200, "outcome": "ok",
    "stream": false, "bytesIn": 512, "bytesOut": 803, "promptTokens": 20, "completionTokens": 9,
    "firstByteMicros": 412000, "totalMicros": 412300, "overheadMicros": 310, "generation": 3,
    "hooks": [{"plugin": "redact", "hook": "onRequest", "outcome": "patch", "tookMicros": 132, "policy": null, "error": null}],
    "fault": null
})))]
pub(super) struct RequestView {
    /// As in `x-hookway-request-id` and in the access log.
    request_id: String,
    traceparent: Option<String>,
    /// When its first byte came.
    #[schema(format = DateTime)]
    received_at: String,
    client: Option<String>,
    method: String,
    path: String,
    endpoint: &'static str,
    /// Null: it named none, or it was refused before that was known.
    model: Option<String>,
    /// The pattern of the route that matched.
    route: Option<String>,
    /// The last one that was asked.
    upstream: Option<String>,
    attempts: u32,
    /// Null: the client left before any answer.
    status: Option<u16>,
    outcome: &'static str,
    stream: bool,
    bytes_in: u64,
    bytes_out: u64,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    first_byte_micros: Option<u64>,
    total_micros: u64,
    /// The part of it spent in the gateway and its plugins.
    overhead_micros: u64,
    /// The one it was served from.
    generation: u64,
    /// In the order they ran.
    hooks: Vec<HookRunView>,
    /// What went wrong.
    fault: Option<String>,
}

/// One hook call.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct HookRunView {
    plugin: String,
    hook: &'static str,
    /// The verdict's action, or the cause why there is none.
    outcome: &'static str,
    took_micros: u64,
    /// What a call without a verdict meant for the request: `open` or `closed`.
    policy: Option<&'static str>,
    /// Why there was no verdict.
    error: Option<String>,
}

impl From<&Record> for RequestView {
    fn from(record: &Record) -> Self {
        Self {
            request_id: record.request_id.clone(),
            traceparent: record.traceparent.clone(),
            received_at: rfc3339::written(record.times.received),
            client: record.client.map(|client| client.to_string()),
            method: record.method.to_string(),
            path: record.path.clone(),
            endpoint: record.asked.as_str(),
            model: record.model.clone(),
            route: record.route.as_deref().map(str::to_owned),
            upstream: record.upstream.as_deref().map(str::to_owned),
            attempts: record.attempts,
            status: record.status.map(|status| status.as_u16()),
            outcome: record.outcome.as_str(),
            stream: record.stream,
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            prompt_tokens: record.usage.map(|usage| usage.prompt_tokens),
            completion_tokens: record.usage.map(|usage| usage.completion_tokens),
            first_byte_micros: record.times.first_byte.map(micros),
            total_micros: micros(record.times.total),
            overhead_micros: micros(record.times.overhead),
            generation: record.generation,
            hooks: record.hooks.iter().map(HookRunView::from).collect(),
            fault: record.fault.clone(),
        }
    }
}

impl From<&HookRun> for HookRunView {
    fn from(run: &HookRun) -> Self {
        Self {
            plugin: run.plugin.to_string(),
            hook: run.hook.as_str(),
            outcome: run.outcome.as_str(),
            took_micros: micros(run.took),
            policy: run.policy.map(Policy::as_str),
            error: run.error.clone(),
        }
    }
}

impl Gateway {
    pub fn requests(&self, asked: &Recent) -> RequestList {
        let recent = self.live.recent(asked.limit);
        RequestList { requests: recent.iter().map(|record| RequestView::from(&**record)).collect() }
    }
}

/// The last requests
///
/// Newest first. What came before the gateway started, or is older than the last 128, is in the access log.
#[utoipa::path(
    get, path = "/api/requests", tag = "traffic",
    params(("limit" = Option<u16>, Query, minimum = 1, maximum = 128, description = "How many; 50 if left out.")),
    responses((status = 200, body = RequestList))
)]
pub(super) async fn list_requests(
    State(gateway): State<Arc<Gateway>>,
    Parameters(asked): Parameters<Recent>,
) -> Json<RequestList> {
    Json(gateway.requests(&asked))
}
