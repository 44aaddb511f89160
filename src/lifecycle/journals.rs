//! What plugins printed, kept beyond the end of the gateway: a file for each plugin in `logs` of the state folder.
//!
//! A file holds what the journal in memory holds, and is written anew when that has changed: every few seconds, and at
//! the end. A gateway that is killed loses the lines since. Nothing waits for these files, and one that cannot be read
//! or written costs its lines alone.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::build::Entry;
use crate::files;
use crate::limits;
use crate::plugin::{Journal, LogLine, Source};

pub(super) struct Journals {
    folder: PathBuf,
    /// The newest line of each plugin that is in its file.
    written: HashMap<Arc<str>, u64>,
    due: Instant,
}

/// A line of a file.
#[derive(Serialize, Deserialize)]
struct Kept {
    number: u64,
    /// Milliseconds since 1970.
    at: u64,
    source: String,
    text: String,
}

impl Journals {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("logs"), written: HashMap::new(), due: Instant::now() }
    }

    /// Gives each entry the journal that an earlier gateway kept of it.
    pub(super) async fn load(&mut self, entries: &mut [Entry]) {
        let names: Vec<Arc<str>> = entries.iter().map(|entry| entry.wanted.name.clone()).collect();
        let folder = self.folder.clone();
        let reading = move || names.iter().map(|name| read(&file(&folder, name))).collect::<Vec<_>>();
        let Ok(journals) = tokio::task::spawn_blocking(reading).await else { return };
        for (entry, lines) in entries.iter_mut().zip(journals) {
            let journal = Journal::after(lines);
            self.written.insert(entry.wanted.name.clone(), journal.newest());
            entry.wanted.journal = Arc::new(journal);
        }
    }

    /// Writes what is new, if it is time for that.
    pub(super) fn keep_in_time(&mut self, entries: &[Entry]) {
        if Instant::now() >= self.due {
            self.due = Instant::now() + limits::PLUGIN_LOG_KEEP_PERIOD;
            drop(self.keep(entries));
        }
    }

    /// Writes what is new, away from this thread.
    pub(super) fn keep(&mut self, entries: &[Entry]) -> tokio::task::JoinHandle<()> {
        let mut changed = Vec::new();
        for wanted in entries.iter().map(|entry| &entry.wanted) {
            let newest = wanted.journal.newest();
            if self.written.insert(wanted.name.clone(), newest).unwrap_or_default() != newest {
                changed.push((file(&self.folder, &wanted.name), wanted.journal.clone()));
            }
        }
        tokio::task::spawn_blocking(move || {
            for (path, journal) in changed {
                if let Err(error) = write(&path, &journal) {
                    tracing::warn!(path = %path.display(), %error, "what a plugin printed was not kept");
                }
            }
        })
    }

    /// Removes the file of a plugin that is uninstalled.
    pub(super) fn forget(&mut self, name: &str) {
        self.written.remove(name);
        let path = file(&self.folder, name);
        drop(tokio::task::spawn_blocking(move || fs::remove_file(path)));
    }
}

/// Names of plugins are of letters, digits and hyphens.
fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.jsonl"))
}

/// Lines that are not as they were written are left out.
fn read(path: &Path) -> Vec<LogLine> {
    let text = match files::text(path, limits::PLUGIN_LOG_FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "what a plugin printed before is lost");
            }
            return Vec::new();
        }
    };
    let lines = text.lines().filter_map(|line| {
        let Kept { number, at, source, text } = serde_json::from_str(line).ok()?;
        Some(LogLine {
            number,
            at: UNIX_EPOCH + Duration::from_millis(at),
            source: Source::parse(&source)?,
            text,
        })
    });
    let mut lines: Vec<LogLine> = lines.collect();
    lines.sort_by_key(|line| line.number);
    lines
}

/// A whole file takes the place of the one before. Only the gateway's user may read it.
fn write(path: &Path, journal: &Journal) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let mut out = Vec::new();
    for LogLine { number, at, source, text } in journal.lines(0, usize::MAX) {
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let at = u64::try_from(at).unwrap_or(u64::MAX);
        serde_json::to_writer(&mut out, &Kept { number, at, source: source.as_str().to_owned(), text })?;
        out.push(b'\n');
    }
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?
        .write_all(&out)?;
    fs::rename(fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_again_and_a_spoilt_line_costs_itself_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), "p");
        let line = |number, text: &str| LogLine {
            number,
            at: UNIX_EPOCH + Duration::from_millis(number),
            source: Source::Stderr,
            text: text.to_owned(),
        };
        let lines = vec![line(3, "one\ntwo"), line(7, "three")];
        let journal = Journal::after(lines.clone());
        write(&path, &journal).unwrap();
        assert_eq!(read(&path), lines);
        let spoilt = fs::read_to_string(&path).unwrap().replacen("{", "{ no", 1);
        fs::write(&path, spoilt).unwrap();
        assert_eq!(read(&path), lines[1..]);
        assert_eq!(read(&folder.path().join("gone")), []);
        assert_eq!((journal.newest(), Journal::default().newest()), (7, 0));
    }
}
