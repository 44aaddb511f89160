//! Recent calls of hooks: noted in batches, and kept in bounds per plugin and in all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, Statement, TransactionBehavior, params};

use super::change::cut;
use super::rows::millis;
use crate::hook::{Cause, HookName, Policy};
use crate::limits;

/// A call of a hook that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    pub at: SystemTime,
    pub request_id: Arc<str>,
    pub plugin: Arc<str>,
    pub version: Arc<str>,
    pub hook: HookName,
    /// The verdict's word, or the cause's for a call without one.
    pub outcome: &'static str,
    pub cause: Option<Cause>,
    /// What a call without a verdict meant for the request.
    pub policy: Option<Policy>,
    pub took: Duration,
    pub generation: u64,
    /// In the plugin's or the gateway's words.
    pub error: Option<String>,
}

/// Writes a batch in one transaction, and removes what has become too old. A crash of the machine may take the last
/// batches with it.
pub(super) fn write(connection: &mut Connection, batch: &[Execution]) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "normal")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let sql = "INSERT INTO plugin_executions (at, request_id, plugin, version, hook, outcome, cause, policy, \
                   duration_us, generation, error) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        let mut statement = transaction.prepare(sql)?;
        for execution in newest(batch) {
            insert(&mut statement, execution)?;
        }
    }
    let plugins: BTreeSet<&str> = batch.iter().map(|execution| &*execution.plugin).collect();
    for plugin in plugins {
        let sql = "DELETE FROM plugin_executions WHERE plugin = ?1 AND id <= (SELECT id FROM plugin_executions \
                   WHERE plugin = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
        transaction.execute(sql, params![plugin, limits::EXECUTIONS_PER_PLUGIN_MAX])?;
    }
    let sql = "DELETE FROM plugin_executions WHERE id <= (SELECT id FROM plugin_executions ORDER BY id DESC \
               LIMIT 1 OFFSET ?1)";
    transaction.execute(sql, [limits::EXECUTIONS_MAX])?;
    transaction.commit()
}

/// What of a batch will not be removed again at its end.
fn newest(batch: &[Execution]) -> impl Iterator<Item = &Execution> {
    let mut left: BTreeMap<&str, i64> = BTreeMap::new();
    for execution in batch {
        *left.entry(&execution.plugin).or_default() += 1;
    }
    batch.iter().filter(move |execution| {
        let newer = left.get_mut(&*execution.plugin).map_or(0, |left| {
            *left -= 1;
            *left
        });
        newer < limits::EXECUTIONS_PER_PLUGIN_MAX
    })
}

fn insert(statement: &mut Statement<'_>, execution: &Execution) -> rusqlite::Result<()> {
    let Execution { at, request_id, plugin, version, hook, outcome, cause, policy, took, generation, error } =
        execution;
    statement.execute(params![
        millis(*at),
        &**request_id,
        &**plugin,
        &**version,
        hook.as_str(),
        outcome,
        cause.map(Cause::as_str),
        policy.map(Policy::as_str),
        i64::try_from(took.as_micros()).unwrap_or(i64::MAX),
        i64::try_from(*generation).unwrap_or(i64::MAX),
        error.as_deref().map(cut),
    ])?;
    Ok(())
}
