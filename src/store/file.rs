//! The files of a database: the one itself, its log (`-wal`) and the index of that (`-shm`). Only their owner may read
//! them, for plugins' secrets are in them; and they are moved together, for a log belongs to one database.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The order in which they are moved: a log without its database is thrown away by SQLite, but beside another one it
/// would be written into that.
const SUFFIXES: [&str; 3] = ["-wal", "-shm", ""];
const OWNER_ONLY: u32 = 0o600;

pub(super) fn make_folder(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Makes an empty database. SQLite gives the other files the same mode.
pub(super) fn make(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path).map(drop)
}

/// How many bytes there are, None without a file.
pub(super) fn length(path: &Path) -> io::Result<Option<u64>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes everybody else's rights away, and says whether they had any.
pub(super) fn close_to_others(path: &Path) -> io::Result<bool> {
    let mut were_open = false;
    for file in SUFFIXES.map(|suffix| sibling(path, suffix)) {
        match fs::metadata(&file) {
            Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
                // By its path: closing a descriptor of it would drop SQLite's locks of the whole process.
                fs::set_permissions(&file, Permissions::from_mode(OWNER_ONLY))?;
                were_open = true;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(were_open)
}

/// Moves a damaged database out of the way, to a name that says when, and returns that.
pub(super) fn move_aside(path: &Path, now: SystemTime) -> io::Result<PathBuf> {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut names = (seconds..).map(|second| sibling(path, &format!(".damaged-{second}")));
    let aside = names.find(|name| !name.exists()).unwrap_or_else(|| path.to_owned());
    for suffix in SUFFIXES {
        match fs::rename(sibling(path, suffix), sibling(&aside, suffix)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(aside)
}

/// The log of a database.
pub(super) fn log_of(path: &Path) -> PathBuf {
    sibling(path, "-wal")
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
