//! What a plugin printed of late.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Name, Parameters};
use super::fields::{Ask, Fields};
use super::{ApiError, Gateway, rfc3339};
use crate::limits;
use crate::plugin::LogLine;

/// Which lines.
pub struct LogPage {
    /// Only lines with a higher number.
    pub after: u64,
    pub limit: usize,
}

impl Ask for LogPage {
    fn read(fields: &mut Fields) -> Option<Self> {
        let after = fields.number("after", 0, limits::JSON_INTEGER_MAX).unwrap_or_default();
        Some(Self { after, limit: fields.limit(limits::PLUGIN_LOG_LINES) })
    }
}

/// What a plugin printed, oldest first.
#[derive(Serialize, ToSchema)]
pub struct LogList {
    lines: Vec<LogLineView>,
    /// `after` of the request that reads on from here.
    next: u64,
    /// Lines that were not kept because there were too many at once.
    dropped: u64,
}

/// A line a plugin printed.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({
    "number": 1772357400125001_u64, "at": "2026-03-01T09:30:00.125Z", "source": "info", "text": "ready with 3 patterns"
})))]
pub(super) struct LogLineView {
    /// Rises from line to line, over restarts too.
    number: u64,
    #[schema(format = DateTime)]
    at: String,
    /// `stdout` or `stderr`; `debug`, `info`, `warn` or `error` for what it logged; `gateway` for what was said about it.
    source: &'static str,
    text: String,
}

impl From<&LogLine> for LogLineView {
    fn from(line: &LogLine) -> Self {
        Self {
            number: line.number,
            at: rfc3339::written(line.at),
            source: line.source.as_str(),
            text: line.text.clone(),
        }
    }
}

impl Gateway {
    pub fn logs(&self, name: &str, page: &LogPage) -> Result<LogList, ApiError> {
        let inventory = self.lifecycle.inventory();
        let journal = &super::plugins::find(&inventory, name)?.journal;
        let lines = journal.lines(page.after, page.limit);
        Ok(LogList {
            next: lines.last().map_or(page.after, |last| last.number),
            lines: lines.iter().map(LogLineView::from).collect(),
            dropped: journal.dropped(),
        })
    }
}

/// What a plugin printed
///
/// Its standard output, standard error and LOG frames, oldest first; the last 1000 lines or 256 KiB are kept, over all
/// its processes and over restarts of the gateway. Lines of the source `gateway` tell when a process started and ended.
/// Ask again with `after` set to `next` to follow.
#[utoipa::path(
    get, path = "/api/plugins/{name}/logs", tag = "plugins",
    params(
        ("name" = String, Path, description = "The plugin.", example = "redact"),
        ("after" = Option<u64>, Query, minimum = 0, maximum = 9007199254740991_u64,
            description = "Only lines with a higher number."),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "How many; 50 if left out."),
    ),
    responses((status = 200, body = LogList))
)]
pub(super) async fn list_logs(
    State(gateway): State<Arc<Gateway>>,
    Name(name): Name,
    Parameters(page): Parameters<LogPage>,
) -> Result<Json<LogList>, ApiError> {
    gateway.logs(&name, &page).map(Json)
}
