//! One connection of the scripted upstream: reads a request, writes its answer piece by piece, reads the next.
//!
//! Never blocks and owns no clock: the server tells it the time and when its socket is ready, and is told what
//! the connection waits for.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Instant;

use super::answer::{Answer, End};
use super::request::{Head, Intake, Taken};

/// Bytes of a next request that may come while an answer goes out; a peer that pipelines more is cut off.
const PENDING_BYTES_MAX: usize = 1024 * 1024;

pub(crate) struct Connection {
    pub(crate) socket: TcpStream,
    intake: Intake,
    head: Head,
    /// Bytes that came while an answer was going out.
    pending: Vec<u8>,
    answering: Option<Answering>,
}

struct Answering {
    answer: Rc<Answer>,
    piece: usize,
    written: usize,
    due: Instant,
    closes: bool,
}

/// What a connection waits for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    Read,
    /// Room in the socket's buffer.
    Write,
    /// The moment its next piece is due.
    Until(Instant),
    Close,
    Reset,
}

impl Connection {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            intake: Intake::default(),
            head: Head::default(),
            pending: Vec::new(),
            answering: None,
        }
    }

    /// Reads what is there. `choose` names the answer of a request that has become whole.
    pub(crate) fn on_readable(
        &mut self,
        now: Instant,
        scratch: &mut [u8],
        choose: &mut dyn FnMut(&Head) -> Rc<Answer>,
    ) -> Wants {
        match self.socket.read(scratch) {
            Ok(0) => Wants::Close,
            Ok(bytes) if self.answering.is_some() => {
                self.pending.extend_from_slice(&scratch[..bytes]);
                if self.pending.len() > PENDING_BYTES_MAX { Wants::Close } else { self.on_due(now, choose) }
            }
            Ok(bytes) => self.take(&scratch[..bytes], now, choose),
            Err(error) if is_temporary(&error) => self.wants(now),
            Err(_) => Wants::Close,
        }
    }

    /// Writes what is due by now, as far as the socket takes it.
    pub(crate) fn on_due(&mut self, now: Instant, choose: &mut dyn FnMut(&Head) -> Rc<Answer>) -> Wants {
        while let Some(answering) = &mut self.answering {
            let Some(piece) = answering.answer.pieces.get(answering.piece) else {
                match answering.answer.end {
                    End::KeepAlive if answering.closes => return Wants::Close,
                    End::KeepAlive => {}
                    End::Close => return Wants::Close,
                    End::Reset => return Wants::Reset,
                    End::Stall => return Wants::Read,
                }
                self.answering = None;
                let pending = std::mem::take(&mut self.pending);
                return if pending.is_empty() { Wants::Read } else { self.take(&pending, now, choose) };
            };
            if answering.due > now {
                return Wants::Until(answering.due);
            }
            match self.socket.write(&piece.bytes[answering.written..]) {
                Ok(bytes) => answering.written += bytes,
                Err(error) if is_temporary(&error) => return Wants::Write,
                Err(_) => return Wants::Close,
            }
            if answering.written == piece.bytes.len() {
                (answering.piece, answering.written) = (answering.piece + 1, 0);
                if let Some(next) = answering.answer.pieces.get(answering.piece) {
                    answering.due += next.wait;
                }
            }
        }
        Wants::Read
    }

    fn take(&mut self, input: &[u8], now: Instant, choose: &mut dyn FnMut(&Head) -> Rc<Answer>) -> Wants {
        match self.intake.feed(input, &mut self.head) {
            Ok(Taken::More { send_continue: true }) => {
                match self.socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n") {
                    Ok(()) => Wants::Read,
                    Err(_) => Wants::Close,
                }
            }
            Ok(Taken::More { send_continue: false }) => Wants::Read,
            Ok(Taken::Whole { head, used }) => {
                self.pending.extend_from_slice(&input[used..]);
                let answer = choose(&head);
                let due = now + answer.pieces.first().map_or_else(Default::default, |piece| piece.wait);
                self.answering = Some(Answering { answer, piece: 0, written: 0, due, closes: head.closes });
                self.on_due(now, choose)
            }
            Err(_) => Wants::Close,
        }
    }

    fn wants(&self, now: Instant) -> Wants {
        match &self.answering {
            Some(answering) if answering.due > now => Wants::Until(answering.due),
            Some(answering) if answering.piece < answering.answer.pieces.len() => Wants::Write,
            Some(_) | None => Wants::Read,
        }
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
