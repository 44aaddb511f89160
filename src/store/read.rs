//! Reads, on a connection of their own. Writers do not hold them up, nor they writers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;

use super::error::StoreError;
use super::rows::{AuditRow, ExecutionRow, Installed, Page, PluginRow, time};
use crate::limits;

const PLUGIN: &str = "SELECT id, name, version, manifest, digest, directory, source, enabled, position, config, grants, \
                      error, installed_at, updated_at, activated_at FROM plugins";

pub(super) struct Reader {
    connection: Mutex<Option<Connection>>,
}

impl Reader {
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(limits::STORE_BUSY_TIMEOUT)?;
        Ok(Self { connection: Mutex::new(Some(connection)) })
    }

    /// Runs one read where it may block.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = self.clone();
        let reading = move || {
            let connection = reader.connection.lock();
            Ok(read(connection.as_ref().ok_or(StoreError::Closed)?)?)
        };
        // A read that is gone was cut off by the end of the runtime.
        tokio::task::spawn_blocking(reading).await.unwrap_or(Err(StoreError::Closed))
    }

    pub(super) async fn close(self: &Arc<Self>) {
        let reader = self.clone();
        let closing = move || drop(reader.connection.lock().take());
        // It is closed with the runtime else.
        let _ = tokio::task::spawn_blocking(closing).await;
    }
}

pub(super) fn plugins(connection: &Connection) -> rusqlite::Result<Vec<PluginRow>> {
    connection.prepare(&format!("{PLUGIN} ORDER BY name"))?.query_map([], plugin_row)?.collect()
}

pub(super) fn removals(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT directory FROM removals ORDER BY directory";
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

pub(super) fn plugin(connection: &Connection, name: &str) -> rusqlite::Result<Option<PluginRow>> {
    connection.query_row(&format!("{PLUGIN} WHERE name = ?1"), [name], plugin_row).optional()
}

pub(super) fn executions(
    connection: &Connection,
    plugin: Option<&str>,
    page: Page,
) -> rusqlite::Result<Vec<ExecutionRow>> {
    let of = if plugin.is_some() { "plugin = ?3 AND" } else { "?3 IS NULL AND" };
    let sql = format!(
        "SELECT id, at, request_id, plugin, version, hook, outcome, cause, policy, duration_us, generation, error \
         FROM plugin_executions WHERE {of} id < ?1 ORDER BY id DESC LIMIT ?2"
    );
    let (before, limit) = bounds(page);
    connection.prepare(&sql)?.query_map(params![before, limit, plugin], execution_row)?.collect()
}

pub(super) fn audit(connection: &Connection, page: Page) -> rusqlite::Result<Vec<AuditRow>> {
    let sql = "SELECT id, at, who, action, plugin, detail, outcome FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
    connection.prepare(sql)?.query_map(bounds(page), audit_row)?.collect()
}

fn bounds(page: Page) -> (i64, i64) {
    let limit = page.limit.min(limits::STORE_PAGE_ROWS_MAX);
    (page.before.unwrap_or(i64::MAX), i64::try_from(limit).unwrap_or(i64::MAX))
}

fn plugin_row(row: &Row<'_>) -> rusqlite::Result<PluginRow> {
    Ok(PluginRow {
        id: row.get("id")?,
        installed: Installed {
            name: row.get("name")?,
            version: row.get("version")?,
            manifest: row.get("manifest")?,
            digest: row.get("digest")?,
            directory: row.get("directory")?,
            source: row.get("source")?,
        },
        enabled: row.get("enabled")?,
        position: row.get("position")?,
        config: json(row, "config")?,
        grants: json(row, "grants")?,
        error: row.get("error")?,
        installed_at: time(row.get("installed_at")?),
        updated_at: time(row.get("updated_at")?),
        activated_at: row.get::<_, Option<i64>>("activated_at")?.map(time),
    })
}

fn execution_row(row: &Row<'_>) -> rusqlite::Result<ExecutionRow> {
    let number = |column| row.get(column).map(|number: i64| u64::try_from(number).unwrap_or_default());
    Ok(ExecutionRow {
        id: row.get("id")?,
        at: time(row.get("at")?),
        request_id: row.get("request_id")?,
        plugin: row.get("plugin")?,
        version: row.get("version")?,
        hook: row.get("hook")?,
        outcome: row.get("outcome")?,
        cause: row.get("cause")?,
        policy: row.get("policy")?,
        took: Duration::from_micros(number("duration_us")?),
        generation: number("generation")?,
        error: row.get("error")?,
    })
}

fn audit_row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok(AuditRow {
        id: row.get("id")?,
        at: time(row.get("at")?),
        who: row.get("who")?,
        action: row.get("action")?,
        plugin: row.get("plugin")?,
        detail: json(row, "detail")?,
        outcome: row.get("outcome")?,
    })
}

/// What no gateway wrote, an error of SQLite's kind that names the column.
fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    let place = row.as_ref().column_index(column)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(place, Type::Text, Box::new(error)))
}
