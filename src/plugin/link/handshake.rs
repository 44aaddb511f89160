//! HELLO → READY → PING → PONG, one after the other, before a link carries its first call.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use bytes::Bytes;
use hookway_wire::{CREDIT_BYTES, FRAME_BYTES_MAX, FrameType, Head, Hello, PROTOCOL, Ready};
use serde_json::{Map, Value};
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::calls::error_text;
use super::inbox::{Inbox, Incoming};
use super::outbox::Outgoing;
use super::reader::{self, meta};
use super::{Link, encode};
use crate::hook::HookName;
use crate::limits;
use crate::plugin::logs::Logs;
use crate::plugin::watched;

/// What the gateway brings to a handshake.
#[derive(Clone, Debug)]
pub(in crate::plugin) struct Offer {
    pub plugin: String,
    pub generation: u64,
    pub max_in_flight: usize,
    pub config: Map<String, Value>,
    pub hooks: Vec<HookName>,
}

impl Offer {
    fn hello(&self) -> Hello {
        Hello {
            protocols: vec![PROTOCOL],
            gateway: concat!("hookway/", env!("CARGO_PKG_VERSION")).to_owned(),
            plugin: self.plugin.clone(),
            instance: 0,
            generation: self.generation,
            max_frame: FRAME_BYTES_MAX,
            max_in_flight: self.max_in_flight,
            max_verdict_bytes: limits::VERDICT_BYTES_MAX,
            credit: CREDIT_BYTES,
            config: self.config.clone(),
            hooks: self.hooks.iter().map(|hook| hook.as_str().to_owned()).collect(),
        }
    }

    /// The number of calls both sides agree on. READY has to name exactly the hooks of HELLO: a hook that nobody
    /// serves would let every request pass.
    fn agree(&self, ready: &Ready) -> Result<usize, HandshakeFailure> {
        if ready.protocol != PROTOCOL {
            let refusal = format!("it speaks protocol {}, the gateway {PROTOCOL}", ready.protocol);
            return Err(HandshakeFailure::Refused(refusal));
        }
        let unknown = |name: &&String| !self.hooks.iter().any(|hook| hook.as_str() == name.as_str());
        if let Some(name) = ready.hooks.iter().find(unknown) {
            let breach = format!("it serves {name:?}, which its manifest does not ask for");
            return Err(HandshakeFailure::Protocol(breach));
        }
        let unserved = |hook: &&HookName| !ready.hooks.iter().any(|name| name == hook.as_str());
        let missing: Vec<HookName> = self.hooks.iter().filter(unserved).copied().collect();
        if !missing.is_empty() {
            return Err(HandshakeFailure::Unserved(missing));
        }
        match ready.max_in_flight.unwrap_or(self.max_in_flight) {
            0 => Err(HandshakeFailure::Protocol("it takes no calls at all: maxInFlight is 0".to_owned())),
            calls => Ok(calls.min(self.max_in_flight)),
        }
    }
}

/// Why a process that runs is no plugin yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::plugin) enum HandshakeFailure {
    /// It closed its socket; the process has most likely died and its status says more.
    #[error("it closed its socket before it was ready")]
    Closed,
    /// The plugin's own words.
    #[error("it refused: {0}")]
    Refused(String),
    /// Its program has no handler for hooks that its manifest declares.
    #[error("{}", unserved(.0))]
    Unserved(Vec<HookName>),
    #[error("{0}")]
    Protocol(String),
}

/// What an author does about hooks that READY left out.
fn unserved(missing: &[HookName]) -> String {
    let names: Vec<&str> = missing.iter().map(|hook| hook.as_str()).collect();
    let names = names.join(" and ");
    format!(
        "plugin.json declares {names}, but the program does not serve it (READY leaves it out); add a handler for \
         {names} to the program, or take it out of \"hooks\" in plugin.json"
    )
}

/// The two tasks of a link. Both end when it ends.
pub(in crate::plugin) type Tasks = [JoinHandle<()>; 2];

/// Makes a link of a socket. Must run on the data plane's runtime, where its tasks then live. Takes as long as
/// the plugin does: the caller has the clock, and drops this future when it is over.
pub(in crate::plugin) async fn open(
    socket: UnixStream,
    offer: Offer,
    logs: Arc<Logs>,
) -> Result<(Arc<Link>, Tasks), HandshakeFailure> {
    let socket = Arc::new(socket);
    let lost = |_| HandshakeFailure::Closed;
    let readable = watched::for_reading(Arc::clone(&socket)).map_err(lost)?;
    let mut inbox = Inbox::new();
    let hello = encode(Head::link(FrameType::Hello), &offer.hello(), 0).map_err(|failure| {
        HandshakeFailure::Protocol(format!("its config is too large: {}", failure.detail))
    })?;

    let mut link = Link::new(Arc::clone(&socket));
    link.outbox().push(Outgoing { head: hello, body: Bytes::new() }, None).expect("the outbox is new");
    link.drain().await.map_err(lost)?;
    let ready = expect(FrameType::Ready, &readable, &mut inbox, &logs, meta).await?;
    let in_flight = offer.agree(&ready)?;
    link.outbox().push_bare(Head::link(FrameType::Ping));
    link.drain().await.map_err(lost)?;
    expect(FrameType::Pong, &readable, &mut inbox, &logs, |_| Ok(())).await?;

    link.hooks = offer.hooks;
    link.in_flight = Semaphore::new(in_flight.min(Semaphore::MAX_PERMITS));
    let link = Arc::new(link);
    let writer = tokio::spawn(Arc::clone(&link).write());
    let reader = tokio::spawn(reader::read(Arc::clone(&link), readable, inbox, logs));
    Ok((link, [reader, writer]))
}

/// The next frame, which has to be `wanted`, as `read` reads it. Lines for the log may come before it.
async fn expect<T>(
    wanted: FrameType,
    socket: &AsyncFd<Arc<UnixStream>>,
    inbox: &mut Inbox,
    logs: &Logs,
    read: impl Fn(&Incoming<'_>) -> Result<T, String>,
) -> Result<T, HandshakeFailure> {
    loop {
        while let Some(frame) = inbox.next().map_err(|error| HandshakeFailure::Protocol(error.to_string()))? {
            match frame.header.kind {
                FrameType::Log => reader::log(&frame, logs).map_err(HandshakeFailure::Protocol)?,
                FrameType::Error => return Err(HandshakeFailure::Refused(error_text(frame.meta))),
                kind if kind == wanted => return read(&frame).map_err(HandshakeFailure::Protocol),
                kind => {
                    return Err(HandshakeFailure::Protocol(format!("a {kind} frame where {wanted} was due")));
                }
            }
        }
        match inbox.fill(socket).await {
            Ok(0) | Err(_) => return Err(HandshakeFailure::Closed),
            Ok(_) => {}
        }
    }
}
