//! The rows of the database in Rust's terms: times as times, JSON as JSON.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

/// A plugin as it is wanted. What it is doing is its supervisor's to say.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginRow {
    pub id: i64,
    pub installed: Installed,
    pub enabled: bool,
    /// Its place in the chain, on the scale of the priorities, as the operator ordered it; None: the manifest's.
    pub position: Option<i64>,
    pub config: Map<String, Value>,
    /// The permissions somebody granted.
    pub grants: Value,
    /// Why it last did not work.
    pub error: Option<String>,
    pub installed_at: SystemTime,
    /// The last change of what is wanted, or of the files.
    pub updated_at: SystemTime,
    pub activated_at: Option<SystemTime>,
}

/// What a plugin's folder held when it was installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    pub name: String,
    pub version: String,
    /// `plugin.json` as its author wrote it.
    pub manifest: String,
    /// The sum of the folder, in hexadecimal.
    pub digest: String,
    pub directory: String,
    /// Where it was installed from.
    pub source: String,
}

/// A call of a hook, as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionRow {
    pub id: i64,
    pub at: SystemTime,
    pub request_id: String,
    pub plugin: String,
    pub version: String,
    pub hook: String,
    /// The verdict's word, or the cause's for a call without one.
    pub outcome: String,
    pub cause: Option<String>,
    pub policy: Option<String>,
    pub took: Duration,
    pub generation: u64,
    pub error: Option<String>,
}

/// Something an operator or the gateway itself did.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    pub id: i64,
    pub at: SystemTime,
    pub who: String,
    pub action: String,
    pub plugin: Option<String>,
    pub detail: Value,
    pub outcome: String,
}

/// A part of a list whose newest row comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Rows older than this id; None: from the newest on.
    pub before: Option<i64>,
    /// At most so many, and never more than [`crate::limits::STORE_PAGE_ROWS_MAX`].
    pub limit: usize,
}

/// Milliseconds since 1970, the form of every time in the database.
pub(super) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn time(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}
