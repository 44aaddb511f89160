//! The life of a plugin's socket: handshake, then calls in and verdicts out, until the gateway is gone.
//!
//! One task reads, runs and writes. A handler that is ready at its first poll is answered right there, without a
//! task of its own; all answers to what one read brought leave in one write. Reading never waits for writing.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use hookway_wire::{
    CREDIT_BYTES, CallMeta, ConfigureMeta, Decoder, ErrorCode, FRAME_BYTES_MAX, Frame, FrameError, FrameType,
    Head, Hello, MetaError, PROTOCOL, Ready,
};
use serde_json::{Map, Value};
use tokio::task::{AbortHandle, JoinSet};

use crate::outbox::Outbox;
use crate::socket::Socket;
use crate::{Call, Error, Hook, Plugin, Verdict};

/// Room for a read: a batch of small calls, or some parts of a large body.
const READ_BYTES: usize = 256 << 10;
/// Granted when half of what may be under way has come, so that a sender never has to pause for it.
const CREDIT_STEP: usize = CREDIT_BYTES / 2;
/// A body may claim any size; more than this is reserved only as it comes.
const BODY_RESERVE_MAX: usize = 16 << 20;

/// Why a plugin stopped serving before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("this is a Hookway plugin: the gateway starts it, with a socket in HOOKWAY_FD")]
    NotStartedByGateway,
    #[error("the gateway speaks protocols {theirs:?}, this plugin {PROTOCOL}")]
    Version { theirs: Vec<u32> },
    #[error("config: {0}")]
    Config(Error),
    #[error("the gateway sent {0} where it must not")]
    Unexpected(FrameType),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Meta(#[from] MetaError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ServeError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotStartedByGateway | Self::Config(_) | Self::Io(_) => ErrorCode::Error,
            Self::Version { .. } => ErrorCode::Version,
            Self::Unexpected(_) | Self::Frame(_) | Self::Meta(_) => ErrorCode::Protocol,
        }
    }
}

/// The hook of this name, if the plugin has a method for it.
fn served<P: Plugin>(name: &str) -> Option<Hook> {
    Hook::parse(name).filter(|hook| P::HOOKS.contains(hook))
}

/// Serves one gateway on `stream` until it is gone or says stop. [`crate::serve`] is this on the inherited socket;
/// a test can use one end of a pair. Must run inside a tokio runtime with I/O enabled.
pub async fn serve_on<P: Plugin>(stream: UnixStream) -> Result<(), ServeError> {
    let socket = &Socket::new(stream)?;
    let mut inbox =
        Inbox { socket, bytes: BytesMut::with_capacity(READ_BYTES), decoder: Decoder::new(FRAME_BYTES_MAX) };
    let mut outbox = Outbox::new(FRAME_BYTES_MAX, FRAME_BYTES_MAX);
    let served = match shake_hands::<P>(&mut inbox, &mut outbox).await {
        Ok(Some(plugin)) => {
            let link = Link {
                plugin,
                outbox: &mut outbox,
                arriving: HashMap::new(),
                running: HashMap::new(),
                tasks: JoinSet::new(),
            };
            link.run(inbox).await
        }
        Ok(None) => return Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = &served {
        outbox.error(0, error.code(), error.to_string());
    }
    // The gateway may be gone already; then nobody misses these bytes.
    let _ = flush(&mut outbox, socket);
    served
}

struct Inbox<'a> {
    socket: &'a Socket,
    bytes: BytesMut,
    decoder: Decoder,
}

impl Inbox<'_> {
    fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        self.decoder.next(&mut self.bytes)
    }

    /// Waits for bytes; `false` at the end of the stream. Cancel safe.
    async fn fill(&mut self) -> io::Result<bool> {
        if self.bytes.capacity() - self.bytes.len() < READ_BYTES / 4 {
            self.bytes.reserve(READ_BYTES);
        }
        Ok(self.socket.read(&mut self.bytes).await? > 0)
    }
}

async fn shake_hands<P: Plugin>(
    inbox: &mut Inbox<'_>,
    outbox: &mut Outbox,
) -> Result<Option<Arc<P>>, ServeError> {
    let frame = loop {
        match inbox.next()? {
            Some(frame) => break frame,
            None if inbox.fill().await? => {}
            None => return Ok(None),
        }
    };
    if frame.kind != FrameType::Hello {
        return Err(ServeError::Unexpected(frame.kind));
    }
    let hello: Hello = frame.parse()?;
    if !hello.protocols.contains(&PROTOCOL) {
        return Err(ServeError::Version { theirs: hello.protocols });
    }
    let plugin = P::configure(read_config(hello.config)?).map_err(ServeError::Config)?;
    inbox.decoder = Decoder::new(hello.max_frame);
    *outbox = Outbox::new(hello.max_frame, hello.max_verdict_bytes);
    let hooks = hello.hooks.into_iter().filter(|hook| served::<P>(hook).is_some()).collect();
    let ready = Ready {
        protocol: PROTOCOL,
        name: hello.plugin,
        version: P::VERSION.to_owned(),
        hooks,
        max_in_flight: None,
    };
    outbox.json(Head::link(FrameType::Ready), &ready);
    Ok(Some(Arc::new(plugin)))
}

fn read_config<C: serde::de::DeserializeOwned>(config: Map<String, Value>) -> Result<C, ServeError> {
    serde_json::from_value(Value::Object(config)).map_err(|error| ServeError::Config(error.into()))
}

/// Says which handler failed.
fn named(hook: Hook) -> impl FnOnce(Error) -> Error {
    move |error| format!("{} handler failed: {error}", hook.as_str()).into()
}

fn flush(outbox: &mut Outbox, socket: &Socket) -> io::Result<()> {
    while !outbox.is_empty() {
        match socket.write(outbox.chunk()) {
            Ok(len) => outbox.sent(len),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A call whose body is not whole yet.
struct Arriving {
    meta: CallMeta,
    body: BytesMut,
    /// Body bytes the gateway may send in all, so far. A body that fits in what it had from the start costs no
    /// CREDIT.
    granted: usize,
}

impl Arriving {
    /// More credit, if the body needs it and half of the old is used up.
    fn grant(&mut self) -> Option<usize> {
        let told = self.meta.body_bytes;
        let wanted = told == 0 || (self.granted as u64) < told;
        let due = self.granted.saturating_sub(self.body.len()) <= CREDIT_STEP;
        (wanted && due).then(|| {
            self.granted += CREDIT_STEP;
            CREDIT_STEP
        })
    }
}

struct Link<'a, P> {
    plugin: Arc<P>,
    outbox: &'a mut Outbox,
    arriving: HashMap<u32, Arriving>,
    running: HashMap<u32, AbortHandle>,
    tasks: JoinSet<(u32, Result<Verdict, Error>)>,
}

impl<P: Plugin> Link<'_, P> {
    async fn run(mut self, mut inbox: Inbox<'_>) -> Result<(), ServeError> {
        let socket = inbox.socket;
        loop {
            while let Some(frame) = inbox.next()? {
                if frame.kind == FrameType::Shutdown {
                    return Ok(());
                }
                self.accept(frame)?;
            }
            flush(self.outbox, socket)?;
            tokio::select! {
                open = inbox.fill() => if !open? { return Ok(()) },
                ready = socket.writable(), if !self.outbox.is_empty() => ready?,
                Some(joined) = self.tasks.join_next() => self.finish(joined),
            }
        }
    }

    fn accept(&mut self, frame: Frame) -> Result<(), ServeError> {
        let id = frame.id;
        match frame.kind {
            FrameType::Call => self.call(frame)?,
            FrameType::Data => self.data(frame),
            FrameType::Cancel | FrameType::Error if id != 0 => self.cancel(id),
            FrameType::Configure => self.configure(&frame)?,
            FrameType::Ping => self.outbox.bare(Head::link(FrameType::Pong)),
            // The gateway's credit covers a whole verdict from the start, and what is open when it drains is
            // answered as ever.
            FrameType::Credit | FrameType::Drain => {}
            kind @ (FrameType::Hello
            | FrameType::Ready
            | FrameType::Result
            | FrameType::Error
            | FrameType::Cancel
            | FrameType::Pong
            | FrameType::Shutdown
            | FrameType::Log) => return Err(ServeError::Unexpected(kind)),
        }
        Ok(())
    }

    fn call(&mut self, frame: Frame) -> Result<(), ServeError> {
        let meta: CallMeta = frame.parse()?;
        if frame.flags.is_end() {
            self.start(frame.id, meta, frame.body);
            return Ok(());
        }
        let size = usize::try_from(meta.body_bytes).unwrap_or(usize::MAX).min(BODY_RESERVE_MAX);
        let mut body = BytesMut::with_capacity(size.max(frame.body.len()));
        body.extend_from_slice(&frame.body);
        self.arriving.insert(frame.id, Arriving { meta, body, granted: CREDIT_BYTES });
        Ok(())
    }

    /// Parts of a call that was cancelled or refused meanwhile are swallowed.
    fn data(&mut self, frame: Frame) {
        let Some(call) = self.arriving.get_mut(&frame.id) else { return };
        call.body.extend_from_slice(&frame.body);
        if frame.flags.is_end() {
            if let Some(Arriving { meta, body, .. }) = self.arriving.remove(&frame.id) {
                self.start(frame.id, meta, body.freeze());
            }
        } else if let Some(bytes) = call.grant() {
            self.outbox.credit(frame.id, bytes);
        }
    }

    fn start(&mut self, id: u32, meta: CallMeta, body: Bytes) {
        let Some(hook) = served::<P>(&meta.hook) else {
            let message = format!("hook {} is not served", meta.hook);
            return self.outbox.error(id, ErrorCode::Unsupported, message);
        };
        let (plugin, call) = (Arc::clone(&self.plugin), Call::new(meta, body));
        let mut handler: Pin<Box<dyn Future<Output = _> + Send>> = match hook {
            Hook::OnRequest => Box::pin(async move { plugin.on_request(call).await.map_err(named(hook)) }),
            Hook::OnError => Box::pin(async move { plugin.on_error(call).await.map_err(named(hook)) }),
        };
        // A handler that is not ready is polled again, with a waker, as soon as it runs in its task.
        match handler.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => self.answer(id, answer),
            Poll::Pending => {
                let task = self.tasks.spawn(async move { (id, handler.await) });
                self.running.insert(id, task);
            }
        }
    }

    fn finish(&mut self, joined: Result<(u32, Result<Verdict, Error>), tokio::task::JoinError>) {
        match joined {
            Ok((id, answer)) => {
                // A call may be cancelled between its last step and here.
                if self.running.remove(&id).is_some() {
                    self.answer(id, answer);
                }
            }
            Err(error) if error.is_cancelled() => {}
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn answer(&mut self, id: u32, answer: Result<Verdict, Error>) {
        match answer {
            Ok(verdict) => self.outbox.verdict(id, verdict),
            Err(error) => {
                eprintln!("call {id}: {error}");
                self.outbox.error(id, ErrorCode::Error, error.to_string());
            }
        }
    }

    fn cancel(&mut self, id: u32) {
        self.arriving.remove(&id);
        self.outbox.cancel(id);
        if let Some(task) = self.running.remove(&id) {
            task.abort();
        }
    }

    fn configure(&mut self, frame: &Frame) -> Result<(), ServeError> {
        let ConfigureMeta { config } = frame.parse()?;
        match read_config(config)
            .and_then(|config| self.plugin.reconfigure(config).map_err(ServeError::Config))
        {
            Ok(plugin) => {
                self.plugin = Arc::new(plugin);
                self.outbox.bare(Head::of(FrameType::Result, frame.id).end());
            }
            Err(error) => self.outbox.error(frame.id, error.code(), error.to_string()),
        }
        Ok(())
    }
}
