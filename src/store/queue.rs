//! What waits for the thread that writes. Orders come before notes of calls, and notes wait for company: the first one
//! starts a period at whose end all are written at once.

use std::collections::VecDeque;
use std::mem;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::change::{Change, Note};
use super::error::StoreError;
use super::executions::Execution;
use crate::limits;

/// What somebody waits for.
pub(super) enum Order {
    Apply {
        changes: Vec<Change>,
        note: Option<Note>,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    /// Write the notes that are there.
    Flush {
        reply: oneshot::Sender<()>,
    },
    /// The same, and nothing after it.
    End {
        reply: oneshot::Sender<()>,
    },
}

/// What the thread does next.
pub(super) enum Work {
    Order(Order),
    Executions,
}

pub(super) struct Queue {
    state: Mutex<State>,
    /// Something came that the thread does not wait for yet.
    came: Condvar,
}

struct State {
    orders: VecDeque<Order>,
    executions: Vec<Execution>,
    /// When the notes that are there are to be written.
    due: Option<Instant>,
    lost: u64,
    is_closed: bool,
}

impl Queue {
    pub(super) fn new() -> Self {
        let state = State {
            orders: VecDeque::new(),
            executions: Vec::with_capacity(limits::EXECUTIONS_QUEUED),
            due: None,
            lost: 0,
            is_closed: false,
        };
        Self { state: Mutex::new(state), came: Condvar::new() }
    }

    pub(super) fn order(&self, order: Order) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(StoreError::Closed);
        }
        let waiting = state.orders.len();
        if waiting >= limits::STORE_ORDERS_QUEUED {
            return Err(StoreError::Busy { waiting });
        }
        state.orders.push_back(order);
        self.came.notify_one();
        Ok(())
    }

    /// The last order; false if there was one before.
    pub(super) fn end(&self, reply: oneshot::Sender<()>) -> bool {
        let mut state = self.state.lock();
        if mem::replace(&mut state.is_closed, true) {
            return false;
        }
        state.orders.push_back(Order::End { reply });
        self.came.notify_one();
        true
    }

    /// The thread is woken once per period, not per note. What there is no room for is not even built.
    pub(super) fn executions(&self, remarkable: bool, executions: impl ExactSizeIterator<Item = Execution>) {
        let mut state = self.state.lock();
        let most = if remarkable { limits::EXECUTIONS_QUEUED } else { limits::EXECUTIONS_QUEUED / 2 };
        let room = if state.is_closed { 0 } else { most.saturating_sub(state.executions.len()) };
        state.lost += executions.len().saturating_sub(room) as u64;
        state.executions.extend(executions.take(room));
        if state.due.is_none() && !state.executions.is_empty() {
            state.due = Some(Instant::now() + limits::EXECUTIONS_PERIOD);
            self.came.notify_one();
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.state.lock().lost
    }

    pub(super) fn lose(&self, executions: usize) {
        self.state.lock().lost += executions as u64;
    }

    /// Waits for the next thing to do.
    pub(super) fn next(&self) -> Work {
        let mut state = self.state.lock();
        loop {
            if let Some(order) = state.orders.pop_front() {
                return Work::Order(order);
            }
            match state.due {
                Some(due) if due <= Instant::now() => return Work::Executions,
                Some(due) => drop(self.came.wait_until(&mut state, due)),
                None => self.came.wait(&mut state),
            }
        }
    }

    /// Exchanges the notes that are there for the empty `batch`, so that neither side allocates.
    pub(super) fn take(&self, batch: &mut Vec<Execution>) {
        let mut state = self.state.lock();
        state.due = None;
        mem::swap(&mut state.executions, batch);
    }
}
