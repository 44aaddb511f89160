//! Many calls over one socket, each with an end of its own.
//!
//! A caller encodes its frame and writes it from its own task when the socket takes it; the writer task only
//! comes in when it does not. One task reads. Reading never waits for writing, or two full buffers would
//! wait for each other for ever. A link ends once, for one reason, and every call on it ends with it.
//!
//! ```text
//!  call ──► Calls (id → who waits) ──► Outbox ──► socket ──► plugin
//!   ▲                │                   ▲ what did not fit: writer task
//!   └──── answer ◄───┴── reader task ◄───┴── socket ◄─────────┘
//! ```

mod calls;
mod handshake;
mod inbox;
mod outbox;
mod reader;
mod verdict;

#[cfg(test)]
mod tests;

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hookway_wire::{ConfigureMeta, FRAME_BYTES_MAX, FrameType, HEADER_BYTES, Head};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, oneshot, watch};
use tokio::time::Instant;

// A deadline of tokio's that comes before all others wakes the runtime's driver by a write to an eventfd: a
// system call for each call of a hook. Tests pause tokio's clock, and need its timers.
#[cfg(not(test))]
use pingora_timeout::timeout;
#[cfg(test)]
use tokio::time::timeout;

use super::watched;
use crate::hook::{Call, Cause, HookFailure, HookName, Verdict};
use calls::{Answer, Begun, Calls, Effect, NoId, Reply};
use outbox::{Flushed, Outbox, Outgoing, Refused, Upload};

pub(super) use handshake::{HandshakeFailure, Offer, Tasks, open};

/// Room for the header and meta of a common call.
const META_BYTES: usize = 1 << 10;
/// Batches a caller writes before it leaves the rest to the writer task: its own large body, not everyone's.
const BATCHES_PER_CALLER: usize = 8;

/// Why a link is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LinkEnd {
    /// The plugin's end was closed: as a rule its process has died.
    Closed,
    /// The plugin sent what is no frame, or no frame that fits.
    Protocol(String),
    /// Pings went unanswered.
    Unhealthy,
    /// All 2³² call ids are used.
    Exhausted,
    /// The gateway is done with it.
    Stopped,
}

impl LinkEnd {
    /// What that means to a call.
    fn failure(&self) -> HookFailure {
        match self {
            Self::Closed => HookFailure::new(Cause::Unavailable, "the process ended during the call"),
            Self::Protocol(breach) => HookFailure::new(Cause::Protocol, breach.clone()),
            Self::Unhealthy => HookFailure::new(Cause::Unavailable, "the process no longer answers"),
            Self::Exhausted => HookFailure::new(Cause::Unavailable, "all call ids are used"),
            Self::Stopped => HookFailure::new(Cause::Unavailable, "the plugin was stopped"),
        }
    }
}

/// A live link. Shared by its callers, its two tasks, and the supervisor that ends it.
#[derive(Debug)]
pub(super) struct Link {
    socket: Arc<UnixStream>,
    /// The hooks that HELLO asked for and READY promised.
    hooks: Vec<HookName>,
    calls: Mutex<Calls>,
    outbox: Mutex<Outbox>,
    /// Something is left in the outbox that its owner could not write.
    unwritten: Notify,
    in_flight: Semaphore,
    end: watch::Sender<Option<LinkEnd>>,
}

impl Link {
    fn new(socket: Arc<UnixStream>) -> Self {
        Self {
            socket,
            hooks: Vec::new(),
            calls: Mutex::default(),
            outbox: Mutex::default(),
            unwritten: Notify::new(),
            in_flight: Semaphore::new(0),
            end: watch::Sender::new(None),
        }
    }

    pub(super) fn hooks(&self) -> &[HookName] {
        &self.hooks
    }

    /// Asks the plugin. Ends at the latest when `call.budget` is spent; dropped, it tells the plugin to stop.
    /// A hook that its process was not started for has no verdict, so the hook's policy applies.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Verdict, HookFailure> {
        if !self.hooks.contains(&call.hook) {
            return Err(HookFailure::new(
                Cause::Unavailable,
                format!("its process was started without {}", call.hook),
            ));
        }
        let (budget, cut_short) = (call.budget, call.cut_short);
        match timeout(budget, self.exchange(call)).await {
            Ok(result) => result,
            Err(_) => {
                let whose = if cut_short { ", which was left of [plugins] chain_budget" } else { "" };
                let detail = format!("no answer within {} ms{whose}", budget.as_millis());
                Err(HookFailure::new(Cause::Timeout, detail))
            }
        }
    }

    async fn exchange(&self, mut call: Call<'_>) -> Result<Verdict, HookFailure> {
        let _permit = self.admit(&mut call.budget).await?;
        let hook = call.hook;
        let body = call.body.take().unwrap_or_default();
        match self.ask(FrameType::Call, hook.number(), &call, body).await? {
            Reply::Unchanged => Ok(Verdict::default()),
            Reply::Verdict { meta, body } => verdict::read(hook, &meta, body),
        }
    }

    /// A place among the calls in flight. Waits for one no longer than a quarter of `budget`, and takes the wait
    /// off it.
    async fn admit(&self, budget: &mut Duration) -> Result<SemaphorePermit<'_>, HookFailure> {
        if let Ok(permit) = self.in_flight.try_acquire() {
            return Ok(permit);
        }
        let since = Instant::now();
        let wait = *budget / 4;
        let Ok(permit) = timeout(wait, self.in_flight.acquire()).await else {
            let detail = format!("no free place among its calls within {} ms", wait.as_millis());
            return Err(HookFailure::new(Cause::Overloaded, detail));
        };
        *budget = budget.saturating_sub(since.elapsed());
        permit.map_err(|_| self.why_ended())
    }

    /// New configuration for the running process. An error means that it wants to be restarted instead, or did
    /// not answer in time.
    pub(super) async fn configure(
        &self,
        config: Map<String, Value>,
        wait: Duration,
    ) -> Result<(), HookFailure> {
        let meta = ConfigureMeta { config };
        match timeout(wait, self.ask(FrameType::Configure, 0, &meta, Bytes::new())).await {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => {
                Err(HookFailure::new(Cause::Timeout, format!("no answer within {} ms", wait.as_millis())))
            }
        }
    }

    /// One question, one answer. Dropping the future cancels it.
    async fn ask(
        &self,
        kind: FrameType,
        code: u16,
        meta: &impl Serialize,
        body: Bytes,
    ) -> Result<Reply, HookFailure> {
        let (sender, answer) = oneshot::channel();
        let Begun { id, alone } = self.begin(sender, body.len() > hookway_wire::BODY_PART_BYTES)?;
        let mut open = OpenCall { link: self, id, state: CallState::Unsent };
        let (first, upload) = Upload::split(id, body);
        let head = Head::of(kind, id).code(code);
        let head = encode(if upload.is_some() { head } else { head.end() }, meta, first.len())?;
        self.queue(Outgoing { head, body: first }, upload)?;
        open.state = CallState::Sent;
        if !alone {
            // Under load, what other requests on this thread have to ask leaves in the same write, and finds the
            // plugin in the same wake-up. Whoever comes first writes for all.
            tokio::task::yield_now().await;
        }
        self.flush(self.outbox());
        let reply = answer.await.expect("the link holds the other end and lets go of it only with an answer");
        open.state = CallState::Answered;
        reply
    }

    fn begin(&self, answer: oneshot::Sender<Answer>, uploads: bool) -> Result<Begun, HookFailure> {
        let begun = self.calls().begin(answer, uploads);
        begun.map_err(|no_id| match no_id {
            NoId::Ended => self.why_ended(),
            NoId::Exhausted => {
                self.end(LinkEnd::Exhausted);
                self.why_ended()
            }
        })
    }

    fn queue(&self, frame: Outgoing, upload: Option<Upload>) -> Result<(), HookFailure> {
        match self.outbox().push(frame, upload) {
            Ok(()) => Ok(()),
            Err(Refused::Closed) => Err(self.why_ended()),
            Err(Refused::Full) => {
                Err(HookFailure::new(Cause::Overloaded, "too much already waits for its socket"))
            }
        }
    }

    /// Sends a frame of 16 bytes, if the link still stands.
    pub(super) fn tell(&self, head: Head) {
        let mut outbox = self.outbox();
        outbox.push_bare(head);
        self.flush(outbox);
    }

    /// Writes what the socket takes now, and leaves the rest to the writer task.
    fn flush(&self, mut outbox: MutexGuard<'_, Outbox>) {
        if outbox.is_blocked() {
            return;
        }
        for _ in 0..BATCHES_PER_CALLER {
            match outbox.flush(&*self.socket) {
                Ok(Flushed::More) => {}
                Ok(Flushed::Empty) => return,
                Ok(Flushed::Full) => break,
                Err(_) => {
                    drop(outbox);
                    return self.end(LinkEnd::Closed);
                }
            }
        }
        drop(outbox);
        self.unwritten.notify_one();
    }

    /// Writes what callers could not. Ends with the link.
    async fn write(self: Arc<Self>) {
        while !self.outbox().is_closed() {
            self.unwritten.notified().await;
            if self.drain().await.is_err() {
                self.end(LinkEnd::Closed);
            }
        }
    }

    /// Writes until nothing is left that may go now.
    async fn drain(&self) -> std::io::Result<()> {
        loop {
            let flushed = self.outbox().flush(&*self.socket)?;
            match flushed {
                Flushed::Empty => return Ok(()),
                Flushed::More => tokio::task::consume_budget().await,
                Flushed::Full => {
                    self.writable().await?;
                    self.outbox().unblock();
                }
            }
        }
    }

    /// Waits until the socket takes bytes again. It is watched through a copy of its descriptor, and only now:
    /// a socket watched for writing all the time wakes its task each time the plugin reads.
    async fn writable(&self) -> std::io::Result<()> {
        let copy = watched::for_writing(self.socket.try_clone()?)?;
        copy.writable().await?.retain_ready();
        Ok(())
    }

    /// Ends the link, if it has not ended yet: no call waits any longer, and the plugin sees end of file.
    pub(super) fn end(&self, end: LinkEnd) {
        let first = self.end.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(end);
            first
        });
        if first {
            let end = self.end.borrow().clone().expect("it was just set");
            self.calls().end(&end);
            self.outbox().close();
            self.in_flight.close();
            let _ = self.socket.shutdown(std::net::Shutdown::Both);
            self.unwritten.notify_one();
        }
    }

    /// Waits until the link has ended. Cancel-safe.
    pub(super) async fn ended(&self) -> LinkEnd {
        let mut end = self.end.subscribe();
        let ended = end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        ended.unwrap_or(LinkEnd::Stopped)
    }

    fn why_ended(&self) -> HookFailure {
        self.end.borrow().as_ref().map_or_else(|| LinkEnd::Closed.failure(), LinkEnd::failure)
    }

    /// Does what a frame made necessary.
    fn apply(&self, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Cancel(id) => {
                self.outbox().forget(id);
                self.tell(Head::of(FrameType::Cancel, id));
            }
            Effect::StopUpload(id) => {
                if self.outbox().forget(id) {
                    self.tell(Head::of(FrameType::Cancel, id));
                }
            }
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that was begun. Dropped before its answer came, it tells the plugin so.
struct OpenCall<'a> {
    link: &'a Link,
    id: u32,
    state: CallState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CallState {
    Unsent,
    /// Some of it may have reached the plugin.
    Sent,
    Answered,
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        // The answer may have come this instant; then there is nothing to cancel.
        let unanswered = self.state != CallState::Answered && self.link.calls().forget(self.id);
        if unanswered && self.state == CallState::Sent {
            self.link.apply(Effect::Cancel(self.id));
        }
    }
}

/// Header and meta of a frame whose `body_len` bytes follow.
fn encode(head: Head, meta: &impl Serialize, body_len: usize) -> Result<Bytes, HookFailure> {
    let mut out = BytesMut::with_capacity(META_BYTES);
    let malformed = |detail: String| HookFailure::new(Cause::Oversize, detail);
    head.write_json(&mut out, meta, body_len).map_err(|error| malformed(error.to_string()))?;
    let len = out.len() - HEADER_BYTES + body_len;
    if len > FRAME_BYTES_MAX {
        return Err(malformed(format!("a frame of {len} bytes, the limit is {FRAME_BYTES_MAX}")));
    }
    Ok(out.freeze())
}
