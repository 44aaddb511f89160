//! What outlives the process: which plugins are wanted, their recent calls, and who changed what.
//!
//! One SQLite database, `hookway.db` in the state folder. One thread writes; reads have a connection of their own and
//! run off the runtime. A change is answered once it is on the disk, whole and together with its line in the audit.
//! Calls are noted through a bounded queue that loses notes rather than wait, so that nothing here is ever in the
//! way of a request. Knows no HTTP and no shape the control listener answers in.

mod change;
mod error;
mod executions;
mod file;
mod open;
mod queue;
mod read;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::thread;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::limits;

pub use change::{Change, Note, NoteOutcome};
pub use error::{OpenError, StoreError};
pub use executions::Execution;
pub use open::{Entry, Found, Report};
pub use rows::{AuditRow, ExecutionRow, Installed, Page, PluginRow};

use queue::{Order, Queue};
use read::Reader;

/// The way to the database. Dropped, it lets its thread finish what is queued and waits for nothing; whoever wants to
/// know that all is written calls [`Store::close`].
pub struct Store {
    queue: Arc<Queue>,
    reader: Arc<Reader>,
    report: Report,
}

impl Store {
    /// Opens the database in `dir`, or makes both. Blocks, for as long as the disk and [`limits::STORE_OPEN_WAIT`]
    /// take. What was found there is in [`Store::report`], and worth a line in the log.
    pub fn open(dir: &Path, entry: Entry) -> Result<Self, OpenError> {
        let opened = open::open(dir, entry)?;
        let reader =
            Arc::new(Reader::open(&opened.path).map_err(|error| OpenError::at(&opened.path, error))?);
        let queue = Arc::new(Queue::new());
        let orders = queue.clone();
        // The thread lasts until the last order; it is waited for in `close`.
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || write::run(opened.connection, opened.lock, &orders))
            .map_err(|error| OpenError::File { path: opened.path, error })?;
        Ok(Self { queue, reader, report: opened.report })
    }

    /// What was found when the database was opened.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Makes all of `changes` and writes `note`, if there is one, into the audit, in one transaction; without changes the
    /// note alone.
    ///
    /// `Ok` says that it is on the disk. On an error nothing of it happened. Dropping the future does not take the
    /// changes back.
    pub async fn apply(&self, changes: Vec<Change>, note: impl Into<Option<Note>>) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let note = note.into();
        self.queue.order(Order::Apply { changes, note, reply })?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Notes calls of hooks. Never waits: a note for which there is no room is lost, and counted. Half of the room is
    /// kept for remarkable calls, those that did more than let a request pass.
    pub fn record(&self, remarkable: bool, executions: impl ExactSizeIterator<Item = Execution>) {
        self.queue.executions(remarkable, executions);
    }

    /// Calls that were not written down: too many at once, or the disk would not have them.
    pub fn executions_lost(&self) -> u64 {
        self.queue.lost()
    }

    /// All plugins, by name.
    pub async fn plugins(&self) -> Result<Vec<PluginRow>, StoreError> {
        self.reader.run(read::plugins).await
    }

    pub async fn plugin(&self, name: &str) -> Result<Option<PluginRow>, StoreError> {
        let name = name.to_owned();
        self.reader.run(move |connection| read::plugin(connection, &name)).await
    }

    /// Folders whose removal was begun and not ended.
    pub async fn removals(&self) -> Result<Vec<String>, StoreError> {
        self.reader.run(read::removals).await
    }

    /// Calls of one plugin, or of all, newest first. What was recorded before is among them.
    pub async fn executions(
        &self,
        plugin: Option<&str>,
        page: Page,
    ) -> Result<Vec<ExecutionRow>, StoreError> {
        let (reply, written) = oneshot::channel();
        self.queue.order(Order::Flush { reply })?;
        written.await.map_err(|_| StoreError::Closed)?;
        let plugin = plugin.map(str::to_owned);
        self.reader.run(move |connection| read::executions(connection, plugin.as_deref(), page)).await
    }

    /// Who changed what, newest first.
    pub async fn audit(&self, page: Page) -> Result<Vec<AuditRow>, StoreError> {
        self.reader.run(move |connection| read::audit(connection, page)).await
    }

    /// Writes what is queued and ends; whoever comes later is told [`StoreError::Closed`]. Waits at most
    /// [`limits::STORE_CLOSE_WAIT`].
    pub async fn close(&self) -> Result<(), StoreError> {
        let closing = async {
            self.reader.close().await;
            let (reply, ended) = oneshot::channel();
            // An error says that somebody closed it before.
            if self.queue.end(reply) { ended.await.map_err(|_| StoreError::Closed) } else { Ok(()) }
        };
        timeout(limits::STORE_CLOSE_WAIT, closing).await.unwrap_or(Err(StoreError::Slow))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let (reply, _nobody_waits) = oneshot::channel();
        self.queue.end(reply);
    }
}
