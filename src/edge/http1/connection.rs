//! A client's connection over HTTP/1: what was read and not used yet, what was said and not sent yet.
//!
//! Whatever was said goes out before anything is waited for, so that a short answer leaves in one send and a slow
//! one is still heard of at once.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use http::request::Parts;
use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::stream::Stream as Plain;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::http1::{Body, Framing, HeadEnd, Misread, Piece, parse_request};
use crate::limits;

pub(in crate::edge) struct Connection {
    io: Stream,
    read: BytesMut,
    /// The buffer has served a large body.
    large: bool,
    unsent: BytesMut,
    /// Something was written that the stream may still hold.
    unflushed: bool,
    /// When the client said that it sends nothing more.
    ended: Option<Instant>,
    /// When something was last said to the client.
    said: Instant,
}

impl Connection {
    pub(in crate::edge) fn new(io: Stream) -> Self {
        Self {
            io,
            read: BytesMut::new(),
            large: false,
            unsent: BytesMut::new(),
            unflushed: false,
            ended: None,
            said: Instant::now(),
        }
    }

    pub(super) fn peer(&self) -> Option<std::net::SocketAddr> {
        self.io.get_socket_digest()?.peer_addr()?.as_inet().copied()
    }

    /// Nothing more will come, and nothing is left of what came.
    pub(super) fn is_at_end(&self) -> bool {
        self.ended.is_some() && self.read.is_empty()
    }

    /// Waits for the first byte of the next request; false if none will come. Cancel safe.
    pub(super) async fn begins(&mut self) -> bool {
        if self.read.is_empty() && std::mem::take(&mut self.large) {
            // An idle connection keeps a small buffer.
            self.read = BytesMut::new();
        }
        while self.read.is_empty() {
            if !matches!(self.fill(limits::HEADER_READ_BYTES).await, Ok(true)) {
                return false;
            }
        }
        true
    }

    /// The next request's head, of at most `max` bytes; `None` if the client leaves before it is whole.
    pub(super) async fn head(&mut self, max: usize) -> Result<Option<(Parts, Framing)>, Misread> {
        let mut end = HeadEnd::default();
        loop {
            if let Some(length) = end.find(&mut self.read, max)? {
                return parse_request(&self.read.split_to(length).freeze()).map(Some);
            }
            if !matches!(self.fill(limits::HEADER_READ_BYTES).await, Ok(true)) {
                return Ok(None);
            }
        }
    }

    /// The next piece of `body` in what was read.
    pub(super) fn take(&mut self, body: &mut Body) -> Result<Piece, Misread> {
        body.take(&mut self.read)
    }

    /// How much was read ahead.
    pub(super) fn ahead(&self) -> usize {
        self.read.len()
    }

    /// How long the client has been silent for good, and nothing was said to it since.
    pub(super) fn silence(&self) -> Option<Duration> {
        self.ended.map(|ended| ended.max(self.said).elapsed())
    }

    /// Reads more, with room for so many bytes at least; false if nothing more will come. Cancel safe.
    pub(super) async fn fill(&mut self, room: usize) -> io::Result<bool> {
        if self.ended.is_some() {
            self.send().await?;
            return Ok(false);
        }
        self.read.reserve(room);
        self.large |= room > limits::HEADER_READ_BYTES;
        let read = poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = self.poll_send(cx) {
                return Poll::Ready(Err(error));
            }
            pin!(self.io.read_buf(&mut self.read)).poll(cx)
        });
        let read = read.await?;
        if read == 0 {
            self.ended = Some(Instant::now());
        }
        Ok(read > 0)
    }

    /// Where to say what goes out with what follows, or before anything is waited for.
    pub(super) fn unsent(&mut self) -> &mut BytesMut {
        self.said = Instant::now();
        &mut self.unsent
    }

    /// Says `bytes` behind what was said before. They may be held back for more to come until [`Self::send`].
    pub(super) async fn write(&mut self, bytes: impl Buf) -> io::Result<()> {
        self.unflushed = true;
        let mut all = self.unsent.split().chain(bytes);
        self.io.write_all_buf(&mut all).await?;
        self.said = Instant::now();
        Ok(())
    }

    /// Sends all that was said. Cancel safe.
    pub(super) async fn send(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_send(cx)).await
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.unsent))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.advance(written);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more will be said, and hears the client out for a moment: a socket that is closed with
    /// unread bytes in it is reset, and the reset may overtake the answer.
    pub(super) async fn part(&mut self) {
        let parting = async {
            self.send().await?;
            self.io.shutdown().await?;
            loop {
                self.read.clear();
                if !self.fill(limits::HEADER_READ_BYTES).await? {
                    return io::Result::Ok(());
                }
            }
        };
        // Whether the client took it or not, its time is over.
        let _ = pingora_timeout::timeout(limits::EARLY_ANSWER_DRAIN, parting).await;
    }

    /// Sends what was said and closes. A client that does not take it is not waited for longer than `wait`.
    pub(super) async fn close(&mut self, wait: Duration) {
        let closing = async {
            self.send().await?;
            self.io.shutdown().await
        };
        // The connection ends either way.
        let _ = pingora_timeout::timeout(wait, closing).await;
    }

    /// Makes the close of a clear-text connection a reset, which no client takes for the end of an answer.
    pub(super) fn break_on_close(&mut self) {
        self.unsent.clear();
        let Some(plain) = (*self.io).as_any().downcast_ref::<Plain>() else { return };
        // SAFETY: the descriptor is the stream's own, and the stream outlives this call.
        let socket = unsafe { BorrowedFd::borrow_raw(plain.as_raw_fd()) };
        // If it fails, the peer has closed already.
        let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
    }
}

/// One part of an answer as a chunk: its size line, the part, the line end.
pub(super) fn chunk(part: Bytes) -> impl Buf {
    let size = Bytes::from(format!("{:X}\r\n", part.len()));
    size.chain(part).chain(&b"\r\n"[..])
}
