//! What was recorded: recent hook calls of a plugin, and who changed what. Newest first, page by page.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::extract::{Name, Parameters};
use super::fields::{Ask, Fields};
use super::{ApiError, Gateway, micros, rfc3339};
use crate::limits;
use crate::store::{AuditRow, ExecutionRow, Page};

/// A page of rows, newest first.
pub struct RowPage {
    /// Only rows with a lower id.
    pub before: Option<i64>,
    pub limit: usize,
}

impl Ask for RowPage {
    fn read(fields: &mut Fields) -> Option<Self> {
        let before = fields.number("before", 1, limits::JSON_INTEGER_MAX).map(u64::cast_signed);
        Some(Self { before, limit: fields.limit(limits::ADMIN_PAGE_ROWS_MAX) })
    }
}

impl RowPage {
    /// One row more than asked for: that one tells whether there is another page.
    fn with_one_more(&self) -> Page {
        Page { before: self.before, limit: self.limit + 1 }
    }

    /// The rows asked for, and where the next page begins.
    fn cut<T>(&self, mut rows: Vec<T>, id: impl Fn(&T) -> i64) -> (Vec<T>, Option<i64>) {
        let is_more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let next = rows.last().map(id).filter(|_| is_more);
        (rows, next)
    }
}

/// Recent hook calls of a plugin, newest first.
#[derive(Serialize, ToSchema)]
pub struct ExecutionList {
    executions: Vec<ExecutionView>,
    /// `before` of the request for the next page. Null: there is none.
    next: Option<i64>,
}

/// A hook call that ended.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "id": 4711, "at": "2026-03-01T09:30:00.125Z", "requestId": "01jq5d6zj9c3f2", "version": "1.0.0",
    "hook": "onRequest", "outcome": "timeout", "cause": "timeout", "policy": "open", "tookMicros": 250104,
    "generation": 3, "error": "no verdict within 250 ms"
})))]
pub(super) struct ExecutionView {
    id: i64,
    #[schema(format = DateTime)]
    at: String,
    request_id: String,
    /// Of the plugin.
    version: String,
    hook: String,
    /// The verdict's action, or the cause why there is none.
    outcome: String,
    /// Why there is no verdict.
    cause: Option<String>,
    /// What a call without a verdict meant for the request: `open` or `closed`.
    policy: Option<String>,
    took_micros: u64,
    generation: u64,
    /// In the plugin's or the gateway's words.
    error: Option<String>,
}

impl From<ExecutionRow> for ExecutionView {
    fn from(row: ExecutionRow) -> Self {
        Self {
            id: row.id,
            at: rfc3339::written(row.at),
            request_id: row.request_id,
            version: row.version,
            hook: row.hook,
            outcome: row.outcome,
            cause: row.cause,
            policy: row.policy,
            took_micros: micros(row.took),
            generation: row.generation,
            error: row.error,
        }
    }
}

/// Who changed what, newest first.
#[derive(Serialize, ToSchema)]
pub struct AuditList {
    audit: Vec<AuditView>,
    /// `before` of the request for the next page. Null: there is none.
    next: Option<i64>,
}

/// One change, or one attempt at it.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({
    "id": 12, "at": "2026-03-01T09:30:00.125Z", "who": "cli", "action": "activate", "plugin": "redact",
    "detail": {"grants": []}, "outcome": "done"
})))]
pub(super) struct AuditView {
    id: i64,
    #[schema(format = DateTime)]
    at: String,
    /// `api`, `cli`, `mcp`, `signal`, `file change` or `gateway`.
    who: String,
    action: String,
    plugin: Option<String>,
    detail: Value,
    /// `done` or `failed`.
    outcome: String,
}

impl From<AuditRow> for AuditView {
    fn from(row: AuditRow) -> Self {
        let AuditRow { id, at, who, action, plugin, detail, outcome } = row;
        Self { id, at: rfc3339::written(at), who, action, plugin, detail, outcome }
    }
}

impl Gateway {
    pub async fn executions(&self, name: &str, page: &RowPage) -> Result<ExecutionList, ApiError> {
        super::plugins::find(&self.lifecycle.inventory(), name)?;
        let rows = self.store.executions(Some(name), page.with_one_more()).await?;
        let (rows, next) = page.cut(rows, |row| row.id);
        Ok(ExecutionList { executions: rows.into_iter().map(ExecutionView::from).collect(), next })
    }

    pub async fn audit(&self, page: &RowPage) -> Result<AuditList, ApiError> {
        let rows = self.store.audit(page.with_one_more()).await?;
        let (rows, next) = page.cut(rows, |row| row.id);
        Ok(AuditList { audit: rows.into_iter().map(AuditView::from).collect(), next })
    }
}

/// Recent hook calls of a plugin
///
/// Newest first, over restarts of the gateway. Ask again with `before` set to `next` for older ones. Of a busy plugin
/// not every call is kept; the metrics count them all.
#[utoipa::path(
    get, path = "/api/plugins/{name}/executions", tag = "plugins",
    params(
        ("name" = String, Path, description = "The plugin.", example = "redact"),
        ("before" = Option<u64>, Query, minimum = 1, maximum = 9007199254740991_u64,
            description = "Only calls with a lower id."),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 200, description = "How many; 50 if left out."),
    ),
    responses(
        (status = 200, body = ExecutionList),
        (status = 503, description = "The database does not answer", body = super::error::ErrorBody),
    )
)]
pub(super) async fn list_executions(
    State(gateway): State<Arc<Gateway>>,
    Name(name): Name,
    Parameters(page): Parameters<RowPage>,
) -> Result<Json<ExecutionList>, ApiError> {
    gateway.executions(&name, &page).await.map(Json)
}

/// Who changed what
///
/// Changes of plugins, of their order and of the configuration, with who asked and how it went; newest first.
#[utoipa::path(
    get, path = "/api/audit", tag = "gateway",
    params(
        ("before" = Option<u64>, Query, minimum = 1, maximum = 9007199254740991_u64,
            description = "Only rows with a lower id."),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 200, description = "How many; 50 if left out."),
    ),
    responses(
        (status = 200, body = AuditList),
        (status = 503, description = "The database does not answer", body = super::error::ErrorBody),
    )
)]
pub(super) async fn list_audit(
    State(gateway): State<Arc<Gateway>>,
    Parameters(page): Parameters<RowPage>,
) -> Result<Json<AuditList>, ApiError> {
    gateway.audit(&page).await.map(Json)
}
