//! What can go wrong, each with what an operator needs to set it right.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "another gateway is running on the state folder {}; stop it, give this one a [state] dir of its own, or \
         take over from it with --upgrade",
        dir.display()
    )]
    Held { dir: PathBuf },
    #[error("{} has been in use by a gateway that is starting for {seconds} s; try again", dir.display())]
    Starting { dir: PathBuf, seconds: u64 },
    #[error(
        "{} was written by a newer Hookway (schema {found}, this one knows {known}); start that one, or restore \
         a backup made before it ran",
        path.display()
    )]
    Newer { path: PathBuf, found: usize, known: usize },
    #[error("{} is damaged ({reason}) and another gateway still uses it; stop that one first", path.display())]
    DamagedInUse { path: PathBuf, reason: String },
    #[error("{} cannot be written by this user; its owner has to be the gateway's", path.display())]
    ReadOnly { path: PathBuf },
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{}: {error}", path.display())]
    Database { path: PathBuf, error: rusqlite::Error },
}

impl OpenError {
    pub(super) fn at(path: &Path, error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { path: path.to_owned() },
            Some(_) | None => Self::Database { path: path.to_owned(), error },
        }
    }
}

/// Why something was not written or read, in words that follow the name of the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("no plugin '{name}' is in it")]
    NoPlugin { name: String },
    #[error("a plugin '{name}' is in it already")]
    Exists { name: String },
    #[error("{waiting} changes wait for it already")]
    Busy { waiting: usize },
    #[error("its disk is full")]
    DiskFull,
    #[error("it cannot be written by this user")]
    ReadOnly,
    #[error("{0}")]
    Database(rusqlite::Error),
    #[error("it did not finish in time")]
    Slow,
    #[error("it is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::ReadOnly) => Self::ReadOnly,
            Some(_) | None => Self::Database(error),
        }
    }
}
