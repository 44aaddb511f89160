//! A change of what is wanted, and the line it leaves in the audit.

use std::time::SystemTime;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};
use serde_json::{Map, Value};

use super::error::StoreError;
use super::rows::{Installed, millis};
use crate::limits;

/// What may be done to the plugins. Whatever names one, but `Insert`, names one that has to be there.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A plugin that was not there.
    Insert {
        installed: Installed,
        enabled: bool,
        config: Map<String, Value>,
        grants: Value,
    },
    /// Other files. What is wanted of the plugin stays as it is.
    Update(Installed),
    /// The plugin, and what its calls left.
    Remove {
        name: String,
    },
    /// Switched on, it has become active just now, and its last error is history.
    SetEnabled {
        name: String,
        enabled: bool,
    },
    /// What was wrong with the one before is history.
    SetConfig {
        name: String,
        config: Map<String, Value>,
    },
    SetGrants {
        name: String,
        grants: Value,
    },
    /// Where these stand in the chain, on the scale of the priorities.
    SetPositions {
        positions: Vec<(String, i64)>,
    },
    /// Why it is not as it was asked to be.
    SetError {
        name: String,
        error: Option<String>,
    },
    /// A folder of an installed plugin that nothing wants any more. What is begun is ended, by the next gateway if need
    /// be.
    BeginRemoval {
        directory: String,
    },
    EndRemoval {
        directory: String,
    },
}

/// Who did something and how it went. Holds no secret: the audit is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub who: String,
    pub action: String,
    pub plugin: Option<String>,
    pub detail: Value,
    pub outcome: NoteOutcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteOutcome {
    Done,
    Failed,
}

impl NoteOutcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// All of it or nothing. Returned from, it is on the disk.
pub(super) fn commit(
    connection: &mut Connection,
    changes: &[Change],
    note: Option<&Note>,
    now: SystemTime,
) -> Result<(), StoreError> {
    connection.pragma_update(None, "synchronous", "full")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for change in changes {
        make(&transaction, change, millis(now))?;
    }
    if let Some(note) = note {
        write_note(&transaction, note, millis(now))?;
    }
    Ok(transaction.commit()?)
}

fn make(transaction: &Transaction<'_>, change: &Change, now: i64) -> Result<(), StoreError> {
    match change {
        Change::Insert { installed, enabled, config, grants } => {
            insert(transaction, installed, *enabled, config, grants, now)
        }
        Change::Update(installed) => update(transaction, installed, now),
        Change::Remove { name } => {
            transaction.execute("DELETE FROM plugin_executions WHERE plugin = ?1", [name])?;
            one(name, transaction.execute("DELETE FROM plugins WHERE name = ?1", [name])?)
        }
        Change::SetEnabled { name, enabled: true } => {
            let sql = "UPDATE plugins SET enabled = 1, error = NULL, activated_at = ?2, updated_at = ?2 WHERE name = ?1";
            one(name, transaction.execute(sql, params![name, now])?)
        }
        Change::SetEnabled { name, enabled: false } => {
            let sql = "UPDATE plugins SET enabled = 0, updated_at = ?2 WHERE name = ?1";
            one(name, transaction.execute(sql, params![name, now])?)
        }
        Change::SetConfig { name, config } => {
            let sql = "UPDATE plugins SET config = ?2, error = NULL, updated_at = ?3 WHERE name = ?1";
            one(name, transaction.execute(sql, params![name, object(config), now])?)
        }
        Change::SetGrants { name, grants } => {
            let sql = "UPDATE plugins SET grants = ?2, updated_at = ?3 WHERE name = ?1";
            one(name, transaction.execute(sql, params![name, grants.to_string(), now])?)
        }
        Change::SetPositions { positions } => set_positions(transaction, positions, now),
        Change::BeginRemoval { directory } => {
            // The digest is of a time when folders were removed that no installation had made.
            let sql = "INSERT OR REPLACE INTO removals (directory, digest) VALUES (?1, '')";
            transaction.execute(sql, [directory])?;
            Ok(())
        }
        Change::EndRemoval { directory } => {
            transaction.execute("DELETE FROM removals WHERE directory = ?1", [directory])?;
            Ok(())
        }
        Change::SetError { name, error } => {
            let sql = "UPDATE plugins SET error = ?2 WHERE name = ?1";
            one(name, transaction.execute(sql, params![name, error.as_deref().map(cut)])?)
        }
    }
}

fn insert(
    transaction: &Transaction<'_>,
    installed: &Installed,
    enabled: bool,
    config: &Map<String, Value>,
    grants: &Value,
    now: i64,
) -> Result<(), StoreError> {
    let Installed { name, version, manifest, digest, directory, source } = installed;
    let sql = "INSERT INTO plugins (name, version, manifest, digest, directory, source, enabled, config, grants, \
               installed_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10)";
    let config = object(config);
    let values =
        params![name, version, manifest, digest, directory, source, enabled, config, grants.to_string(), now];
    match transaction.execute(sql, values) {
        Ok(_) => Ok(()),
        Err(error)
            if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
                && is_there(transaction, name)? =>
        {
            Err(StoreError::Exists { name: name.clone() })
        }
        Err(error) => Err(error.into()),
    }
}

fn is_there(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<bool> {
    let row = transaction.query_row("SELECT 1 FROM plugins WHERE name = ?1", [name], |_| Ok(()));
    Ok(row.optional()?.is_some())
}

fn update(transaction: &Transaction<'_>, installed: &Installed, now: i64) -> Result<(), StoreError> {
    let Installed { name, version, manifest, digest, directory, source } = installed;
    let sql = "UPDATE plugins SET version = ?2, manifest = ?3, digest = ?4, directory = ?5, source = ?6, \
               updated_at = ?7 WHERE name = ?1";
    let values = params![name, version, manifest, digest, directory, source, now];
    one(name, transaction.execute(sql, values)?)
}

fn set_positions(
    transaction: &Transaction<'_>,
    positions: &[(String, i64)],
    now: i64,
) -> Result<(), StoreError> {
    let mut place =
        transaction.prepare("UPDATE plugins SET position = ?2, updated_at = ?3 WHERE name = ?1")?;
    for (name, position) in positions {
        one(name, place.execute(params![name, position, now])?)?;
    }
    Ok(())
}

fn one(name: &str, rows: usize) -> Result<(), StoreError> {
    if rows == 0 { Err(StoreError::NoPlugin { name: name.to_owned() }) } else { Ok(()) }
}

fn write_note(transaction: &Transaction<'_>, note: &Note, now: i64) -> rusqlite::Result<()> {
    let Note { who, action, plugin, detail, outcome } = note;
    let sql = "INSERT INTO audit (at, who, action, plugin, detail, outcome) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    transaction.execute(sql, params![now, who, action, plugin, detail.to_string(), outcome.as_str()])?;
    let sql = "DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - ?1";
    transaction.execute(sql, [limits::AUDIT_ROWS_MAX]).map(drop)
}

fn object(config: &Map<String, Value>) -> String {
    serde_json::to_string(config).expect("JSON of strings and values is written")
}

/// The first part of a text that somebody else wrote.
pub(super) fn cut(text: &str) -> &str {
    let end =
        (0..=text.len().min(limits::STORE_TEXT_BYTES_MAX)).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or_default()]
}
