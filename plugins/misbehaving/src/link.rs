//! The socket: an honest reader, and whatever `act` makes of what was read.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use hookway_wire::{
    CallMeta, ConfigureMeta, CreditMeta, Decoder, ErrorCode, ErrorMeta, Frame, FrameType, Head, Hello,
    PROTOCOL, Ready,
};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::act::{Acts, Call, park};
use crate::mode::{Mode, Start};

/// Why it ended without being told to.
pub(crate) struct LinkError(String);

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for LinkError {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// The writing half, shared with threads that answer later.
#[derive(Clone)]
pub(crate) struct Writer(Arc<Mutex<UnixStream>>);

impl Writer {
    /// Sends bytes as they are. A gateway that is gone is noticed by the reader.
    pub(crate) fn raw(&self, bytes: &[u8]) {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = stream.write_all(bytes);
    }

    pub(crate) fn json(&self, head: Head, meta: &impl Serialize, body: &[u8]) {
        let mut out = BytesMut::new();
        head.write_json(&mut out, meta, body.len()).expect("values with text keys are JSON");
        out.extend_from_slice(body);
        self.raw(&out);
    }

    pub(crate) fn bare(&self, head: Head) {
        self.raw(&head.header(0, 0).encode());
    }

    pub(crate) fn error(&self, id: u32, code: ErrorCode, message: &str) {
        let head = Head::of(FrameType::Error, id).code(code.number()).end();
        self.json(head, &ErrorMeta { code, message: message.to_owned() }, &[]);
    }
}

struct Reader {
    stream: UnixStream,
    bytes: BytesMut,
    decoder: Decoder,
}

impl Reader {
    /// The next frame, or `None` at the end of the stream.
    fn next(&mut self) -> Result<Option<Frame>, LinkError> {
        let mut chunk = [0; 16 << 10];
        loop {
            if let Some(frame) = self.decoder.next(&mut self.bytes)? {
                return Ok(Some(frame));
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(len) => self.bytes.extend_from_slice(&chunk[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

pub(crate) fn serve() -> Result<(), LinkError> {
    let number = std::env::var("HOOKWAY_FD")?.parse()?;
    // SAFETY: the gateway opened this descriptor for us, and nothing else takes it.
    let stream = UnixStream::from(unsafe { OwnedFd::from_raw_fd(number) });
    let writer = Writer(Arc::new(Mutex::new(stream.try_clone()?)));
    let mut reader =
        Reader { stream, bytes: BytesMut::new(), decoder: Decoder::new(hookway_wire::FRAME_BYTES_MAX) };
    let Some(frame) = reader.next()? else { return Ok(()) };
    let hello: Hello = frame.parse()?;
    let Some(mode) = mode_of(&hello.config) else {
        writer.error(0, ErrorCode::Error, "config.mode is not a mode");
        return Err(LinkError("config.mode is not a mode".to_owned()));
    };
    start(&mode, &hello, &writer);
    let mut link = Link { acts: Acts::new(writer, &hello), mode, ponged: false, arriving: HashMap::new() };
    while let Some(frame) = reader.next()? {
        if frame.kind == FrameType::Shutdown && link.mode != Mode::Start(Start::IgnoreSigterm) {
            return Ok(());
        }
        link.accept(frame)?;
    }
    if link.mode == Mode::Start(Start::IgnoreSigterm) {
        park();
    }
    Ok(())
}

fn mode_of(config: &Map<String, Value>) -> Option<Mode> {
    config.get("mode").map_or(Some(Mode::Ok), |mode| Mode::parse(mode.as_str()?))
}

/// The handshake, honest or not.
fn start(mode: &Mode, hello: &Hello, writer: &Writer) {
    let mut ready = Ready {
        protocol: PROTOCOL,
        name: hello.plugin.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hooks: hello.hooks.clone(),
        max_in_flight: None,
    };
    if let Mode::Start(start) = mode {
        start_badly(*start, &mut ready, writer);
    }
    writer.json(Head::link(FrameType::Ready), &ready, &[]);
}

fn start_badly(start: Start, ready: &mut Ready, writer: &Writer) {
    match start {
        Start::Exit => {
            eprintln!("told to exit at start");
            std::process::exit(3);
        }
        Start::Hang => park(),
        Start::Refuse => {
            writer.error(0, ErrorCode::Error, "told to refuse");
            std::process::exit(1);
        }
        Start::ClaimHooks => ready.hooks.push("onStreamEvent".to_owned()),
        Start::ForgetHooks => ready.hooks.clear(),
        Start::WrongProtocol => ready.protocol = 9,
        Start::IgnoreSigterm => {
            // SAFETY: SIG_IGN runs no code of ours.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        }
    }
}

struct Link {
    acts: Acts,
    mode: Mode,
    /// A PING was answered: the handshake is over.
    ponged: bool,
    arriving: HashMap<u32, (CallMeta, BytesMut)>,
}

impl Link {
    fn accept(&mut self, frame: Frame) -> Result<(), LinkError> {
        match frame.kind {
            FrameType::Call => {
                let meta: CallMeta = frame.parse()?;
                if frame.flags.is_end() {
                    self.act(frame.id, meta, frame.body);
                } else {
                    self.arriving.insert(frame.id, (meta, BytesMut::from(&frame.body[..])));
                }
            }
            FrameType::Data => self.data(&frame),
            FrameType::Cancel => {
                self.arriving.remove(&frame.id);
            }
            FrameType::Configure => self.configure(&frame)?,
            FrameType::Ping => {
                if self.mode != Mode::NoPong || !self.ponged {
                    self.acts.writer.bare(Head::link(FrameType::Pong));
                }
                self.ponged = true;
            }
            FrameType::Credit | FrameType::Drain | FrameType::Shutdown => {}
            kind @ (FrameType::Hello
            | FrameType::Ready
            | FrameType::Result
            | FrameType::Error
            | FrameType::Pong
            | FrameType::Log) => return Err(LinkError(format!("the gateway sent {kind}"))),
        }
        Ok(())
    }

    fn data(&mut self, frame: &Frame) {
        let Some((_, body)) = self.arriving.get_mut(&frame.id) else { return };
        body.extend_from_slice(&frame.body);
        if frame.flags.is_end() {
            if let Some((meta, body)) = self.arriving.remove(&frame.id) {
                self.act(frame.id, meta, body.freeze());
            }
        } else if self.mode != Mode::NoCredit {
            let bytes = frame.body.len() as u64;
            self.acts.writer.json(Head::of(FrameType::Credit, frame.id), &CreditMeta { bytes }, &[]);
        }
    }

    fn act(&mut self, id: u32, meta: CallMeta, body: Bytes) {
        let asked = meta
            .headers
            .get("x-misbehave")
            .map(String::as_str)
            .or_else(|| meta.metadata.get("misbehave").and_then(Value::as_str));
        let mode = match asked.map(Mode::parse) {
            None => self.mode.clone(),
            Some(Some(mode)) => mode,
            Some(None) => {
                return self.acts.writer.error(id, ErrorCode::Error, "x-misbehave is not a mode");
            }
        };
        self.acts.act(mode, Call { id, meta, body });
    }

    fn configure(&mut self, frame: &Frame) -> Result<(), LinkError> {
        let ConfigureMeta { config } = frame.parse()?;
        let writer = &self.acts.writer;
        if self.mode == Mode::RestartOnConfigure {
            writer.error(frame.id, ErrorCode::Unsupported, "start me anew");
        } else if let Some(mode) = mode_of(&config) {
            self.mode = mode;
            self.acts.config = config;
            self.acts.writer.bare(Head::of(FrameType::Result, frame.id).end());
        } else {
            writer.error(frame.id, ErrorCode::Error, "config.mode is not a mode");
        }
        Ok(())
    }
}
