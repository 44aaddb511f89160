//! Opening: who else is there, what is in the file, and what becomes of a file that is damaged.
//!
//! Each gateway holds a shared lock on `hookway.lock` for as long as it has the database open. One that starts by
//! itself wants nobody else to hold it; one that takes over from another (`--upgrade`) does not mind, for the two
//! share the database for as long as the old one drains, and SQLite's own locks keep their transactions apart. To look
//! and to enter is one step: whoever opens does it alone, under a lock on the folder. The kernel drops both locks with
//! the process, however it ends.
//!
//! A damaged database is moved aside, with its log, and never while somebody else has it open. A newer one is refused.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Instant, SystemTime};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::error::OpenError;
use super::{file, schema};
use crate::limits;

const FILE: &str = "hookway.db";
const LOCK: &str = "hookway.lock";

/// How a gateway comes to a state folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It is to be the only one there.
    Alone,
    /// It takes over from one that still runs. What that one changes until it hands its sockets over is seen by
    /// reading again.
    Beside,
}

/// What there was to say when the database was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub path: PathBuf,
    pub found: Found,
    /// Others could read the files, and with them the secrets of plugins' configs. Now they cannot.
    pub was_exposed: bool,
    /// No other gateway had it open. Otherwise what lies in the state folder may be in use.
    pub is_alone: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing: it was made.
    Nothing,
    /// A file without a byte in it. A gateway that was killed at its first start leaves one, and so does whatever empties
    /// a database.
    Emptied,
    /// A whole one, of this version.
    Whole,
    /// A whole one with a schema of so few steps; it took the missing ones.
    Older { steps: usize },
    /// One that cannot be read. It is here now, and an empty one was made in its place.
    Damaged { moved_to: PathBuf, reason: String },
}

pub(super) struct Opened {
    pub(super) connection: Connection,
    /// Held as long as it is open.
    pub(super) lock: File,
    pub(super) path: PathBuf,
    pub(super) report: Report,
}

/// What a file holds.
enum Health {
    Nothing,
    Whole,
    Damaged { reason: String },
}

pub(super) fn open(dir: &Path, entry: Entry) -> Result<Opened, OpenError> {
    let path = dir.join(FILE);
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| OpenError::File { path, error }
    };
    file::make_folder(dir).map_err(at(dir))?;
    let _door = door(dir)?;
    let (lock, is_alone) = enter(dir, entry)?;
    let was_exposed = file::close_to_others(&path).map_err(at(&path))?;
    let moved = match examine(&path)? {
        Health::Nothing | Health::Whole => None,
        Health::Damaged { reason } if !is_alone => return Err(OpenError::DamagedInUse { path, reason }),
        Health::Damaged { reason } => {
            let moved_to = file::move_aside(&path, SystemTime::now()).map_err(at(&path))?;
            Some(Found::Damaged { moved_to, reason })
        }
    };
    let length = file::length(&path).map_err(at(&path))?;
    if length.is_none() {
        file::make(&path).map_err(at(&path))?;
    }
    let (connection, steps) = connect(&path)?;
    let found = moved.unwrap_or(match steps {
        0 if length == Some(0) => Found::Emptied,
        0 => Found::Nothing,
        steps if steps < schema::MIGRATIONS.len() => Found::Older { steps },
        _ => Found::Whole,
    });
    let report = Report { path: path.clone(), found, was_exposed, is_alone };
    Ok(Opened { connection, lock, path, report })
}

/// One that opens at a time. What has the lock now is as bounded as this.
fn door(dir: &Path) -> Result<File, OpenError> {
    let at = |error| OpenError::File { path: dir.to_owned(), error };
    let folder = File::open(dir).map_err(at)?;
    let begun = Instant::now();
    loop {
        match folder.try_lock() {
            Ok(()) => return Ok(folder),
            Err(TryLockError::Error(error)) => return Err(at(error)),
            Err(TryLockError::WouldBlock) if begun.elapsed() >= limits::STORE_OPEN_WAIT => {
                let seconds = limits::STORE_OPEN_WAIT.as_secs();
                return Err(OpenError::Starting { dir: dir.to_owned(), seconds });
            }
            Err(TryLockError::WouldBlock) => thread::sleep(limits::STORE_OPEN_RETRY),
        }
    }
}

/// Takes the shared lock, and says whether nobody else has it.
fn enter(dir: &Path, entry: Entry) -> Result<(File, bool), OpenError> {
    let path = dir.join(LOCK);
    let at = |error| OpenError::File { path: path.clone(), error };
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
    let lock = options.open(&path).map_err(at)?;
    let is_alone = match lock.try_lock() {
        Ok(()) => {
            lock.unlock().map_err(at)?;
            true
        }
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(error)) => return Err(at(error)),
    };
    if !is_alone && entry == Entry::Alone {
        return Err(OpenError::Held { dir: dir.to_owned() });
    }
    match lock.try_lock_shared() {
        Ok(()) => Ok((lock, is_alone)),
        // No gateway has it exclusively, for whoever tries does so at the door.
        Err(TryLockError::WouldBlock) => Err(OpenError::Held { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(at(error)),
    }
}

/// Looks at the file without changing anything in it.
fn examine(path: &Path) -> Result<Health, OpenError> {
    let length = |path: &Path| {
        let length = file::length(path).map(Option::unwrap_or_default);
        length.map_err(|error| OpenError::File { path: path.to_owned(), error })
    };
    if length(path)? == 0 {
        // SQLite would throw the log away, and with it what was written last.
        let reason = "it is empty, and its log is not".to_owned();
        let has_log = length(&file::log_of(path))? > 0;
        return Ok(if has_log { Health::Damaged { reason } } else { Health::Nothing });
    }
    match verdict(path) {
        Ok(Ok(())) => Ok(Health::Whole),
        Ok(Err(reason)) => Ok(Health::Damaged { reason }),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Ok(Health::Damaged { reason: error.to_string() })
            }
            Some(_) | None => Err(OpenError::at(path, error)),
        },
    }
}

/// SQLite's own verdict on a database: nothing, or the first thing that is wrong with it.
fn verdict(path: &Path) -> rusqlite::Result<Result<(), String>> {
    let connection = Connection::open_with_flags(path, flags())?;
    connection.busy_timeout(limits::STORE_BUSY_TIMEOUT)?;
    // A log whose database is damaged stays as it is for whoever looks at them later.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    if schema::version(&connection)? > schema::MIGRATIONS.len() {
        // A newer version's is not ours to judge.
        return Ok(Ok(()));
    }
    let said: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok(if said == "ok" { Ok(()) } else { Err(said) })
}

/// A connection that may write, to a database of this version, and how many steps its schema had before.
fn connect(path: &Path) -> Result<(Connection, usize), OpenError> {
    let at = |error| OpenError::at(path, error);
    let mut connection = Connection::open_with_flags(path, flags()).map_err(at)?;
    connection.busy_timeout(limits::STORE_BUSY_TIMEOUT).map_err(at)?;
    if connection.is_readonly("main").map_err(at)? {
        return Err(OpenError::ReadOnly { path: path.to_owned() });
    }
    let found = schema::version(&connection).map_err(at)?;
    let known = schema::MIGRATIONS.len();
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    let mode = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0));
    let _wal: String = mode.map_err(at)?;
    connection.pragma_update(None, "journal_size_limit", limits::STORE_LOG_BYTES).map_err(at)?;
    connection.pragma_update(None, "synchronous", "full").map_err(at)?;
    let steps = schema::migrate(&mut connection, schema::MIGRATIONS).map_err(at)?;
    Ok((connection, steps))
}

/// Each connection is used by one thread at a time.
fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}
