//! The one thread that writes.

use std::fs::File;
use std::time::SystemTime;

use rusqlite::Connection;

use super::queue::{Order, Queue, Work};
use super::{change, executions};
use crate::limits;

/// Does what is ordered until the last order. The lock goes after the connection: whoever comes next finds the
/// database closed.
pub(super) fn run(connection: Connection, lock: File, queue: &Queue) {
    let batch = Vec::with_capacity(limits::EXECUTIONS_QUEUED);
    let mut writer = Writer { connection, queue, batch, is_failing: false };
    let reply = loop {
        match queue.next() {
            Work::Executions => writer.executions(),
            Work::Order(Order::Apply { changes, note, reply }) => {
                let result =
                    change::commit(&mut writer.connection, &changes, note.as_ref(), SystemTime::now());
                // Whoever ordered it may have gone; it is done all the same.
                let _ = reply.send(result);
            }
            Work::Order(Order::Flush { reply }) => {
                writer.executions();
                let _ = reply.send(());
            }
            Work::Order(Order::End { reply }) => break reply,
        }
    };
    writer.executions();
    drop(writer);
    drop(lock);
    let _ = reply.send(());
}

struct Writer<'a> {
    connection: Connection,
    queue: &'a Queue,
    batch: Vec<executions::Execution>,
    /// Told once, and not at every batch.
    is_failing: bool,
}

impl Writer<'_> {
    fn executions(&mut self) {
        self.queue.take(&mut self.batch);
        if self.batch.is_empty() {
            return;
        }
        let written = executions::write(&mut self.connection, &self.batch);
        if let Err(error) = &written {
            self.queue.lose(self.batch.len());
            if !self.is_failing {
                tracing::error!(%error, "calls of plugins cannot be noted in the database; they are lost until they can");
            }
        }
        self.is_failing = written.is_err();
        self.batch.clear();
    }
}
