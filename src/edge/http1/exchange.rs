//! One request and its answer: a body read to its end, an answer framed and written, and whether the connection
//! may serve another.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, EXPECT, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use pingora_core::protocols::http::date::get_cached_date;

use super::connection::{Connection, chunk};
use crate::config::Limits;
use crate::http1::{Body, Framing, Piece};
use crate::limits;
use crate::relay::{ClientError, Downstream};
use crate::upstream::{Length, in_time};

pub(in crate::edge) struct Exchange<'a> {
    connection: &'a mut Connection,
    body: Body,
    /// HTTP/1.1: an answer of unknown length goes out chunked.
    chunks: bool,
    /// An answer to this request has no body, whatever its head says.
    bodyless: bool,
    /// The client sends its body only when told to go on.
    hesitates: bool,
    pub(super) keeps: bool,
    answer: Answer,
    state: State,
    body_timeout: Duration,
    write_timeout: Duration,
    half_close_wait: Duration,
}

/// How the end of the answer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It has no body.
    Empty,
    /// So many bytes are still to be written.
    Length(u64),
    Chunked,
    /// Only the end of the connection tells it.
    Unframed,
    /// Another protocol.
    Tunnel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The answer went out whole.
    Whole,
    /// The request can no longer be read. It may still be answered, as the last on its connection.
    Unreadable,
    /// Nothing more can be said.
    Broken,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        connection: &'a mut Connection,
        head: &Parts,
        framing: Framing,
        limits: &Limits,
    ) -> Self {
        Self {
            body: Body::new(framing),
            chunks: head.version == Version::HTTP_11,
            bodyless: head.method == Method::HEAD,
            hesitates: head.version == Version::HTTP_11 && head.headers.contains_key(EXPECT),
            keeps: keeps(head),
            ..Self::of_no_request(connection, limits)
        }
    }

    pub(super) fn of_no_request(connection: &'a mut Connection, limits: &Limits) -> Self {
        Self {
            connection,
            body: Body::new(Framing::None),
            chunks: true,
            bodyless: false,
            hesitates: false,
            keeps: false,
            answer: Answer::Empty,
            state: State::Open,
            body_timeout: limits.body_timeout,
            write_timeout: limits.write_timeout,
            half_close_wait: limits.half_close_wait,
        }
    }

    /// How long the next part of the body is waited for.
    pub(in crate::edge) const fn wait_for_reads(&mut self, most: Duration) {
        self.body_timeout = most;
    }

    /// How long the client may take for the next part of the answer.
    pub(in crate::edge) const fn wait_for_writes(&mut self, most: Duration) {
        self.write_timeout = most;
    }

    /// Whether the connection may serve another request. If not, it was closed.
    pub(in crate::edge) async fn keeps_connection(&mut self) -> bool {
        match self.state {
            State::Whole if self.keeps && self.answer != Answer::Tunnel => {
                let rest = pingora_timeout::timeout(limits::EARLY_ANSWER_DRAIN, self.drain()).await;
                let came = rest.unwrap_or(false);
                if !came {
                    self.connection.part().await;
                }
                came
            }
            State::Whole | State::Unreadable => {
                self.connection.part().await;
                false
            }
            State::Open | State::Broken => false,
        }
    }

    /// Reads the rest of the request for the sake of the one behind it.
    async fn drain(&mut self) -> bool {
        loop {
            match self.read().await {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// An answer before the request is whole keeps the connection if what is left of it is little and sure to
    /// come; else it is the last.
    fn keep_or_end(&mut self) {
        let little = self.body.left().is_some_and(|left| left <= limits::EARLY_ANSWER_DRAIN_BYTES);
        let ends = self.body.is_done() || (little && !self.hesitates);
        self.keeps &= self.state == State::Open && ends && !self.connection.is_at_end();
    }

    /// How much room the next read should have.
    fn room(&self) -> usize {
        let left = self.body.left().and_then(|left| usize::try_from(left).ok());
        left.unwrap_or(usize::MAX).clamp(limits::HEADER_READ_BYTES, limits::BODY_CHUNK_BYTES)
    }

    fn gone_for_good(&mut self) -> ClientError {
        self.state = State::Broken;
        ClientError::Gone
    }

    fn frame(&mut self, status: StatusCode, headers: &mut HeaderMap) {
        self.bodyless |= matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        self.answer = match length {
            _ if status == StatusCode::SWITCHING_PROTOCOLS => Answer::Tunnel,
            _ if self.bodyless => Answer::Empty,
            Some(length) => Answer::Length(length),
            None if self.chunks => Answer::Chunked,
            None => Answer::Unframed,
        };
        if status == StatusCode::NO_CONTENT {
            headers.remove(CONTENT_LENGTH);
        }
        if let (Some(length), Some(_)) = (length, headers.get_all(CONTENT_LENGTH).iter().nth(1)) {
            // Said once, also where an upstream said it twice.
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        if self.answer == Answer::Chunked {
            headers.remove(CONTENT_LENGTH);
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        self.keep_or_end();
        self.keeps &= self.answer != Answer::Unframed;
        if self.answer == Answer::Tunnel {
            self.body = Body::raw();
            self.keeps = false;
            return;
        }
        let connection = if self.keeps { "keep-alive" } else { "close" };
        headers.insert(CONNECTION, HeaderValue::from_static(connection));
        // An upstream's own is the date of the answer, and without a clock there is none (RFC 9110 section 6.6.1).
        // One before 1970 is no clock, and what keeps the date panics at it.
        if SystemTime::now() >= UNIX_EPOCH {
            headers.entry(DATE).or_insert_with(get_cached_date);
        }
    }
}

impl Downstream for Exchange<'_> {
    fn body_length(&mut self) -> Length {
        match self.body.left() {
            Some(0) => Length::None,
            Some(left) => Length::Bytes(left),
            None => Length::Chunked,
        }
    }

    async fn send_continue(&mut self) -> Result<(), ClientError> {
        if !self.hesitates {
            return Ok(());
        }
        self.hesitates = false;
        self.connection.unsent().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        let sent = in_time(|| self.write_timeout, self.connection.send()).await;
        if matches!(sent, Some(Ok(()))) { Ok(()) } else { Err(self.gone_for_good()) }
    }

    async fn read(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match self.connection.take(&mut self.body) {
                Ok(Piece::Data(part)) => return Ok(Some(part)),
                Ok(Piece::End) => return Ok(None),
                Ok(Piece::More) => {}
                Err(misread) => {
                    tracing::debug!(%misread, "a request body is malformed");
                    self.state = State::Unreadable;
                    return Err(ClientError::Malformed);
                }
            }
            let room = self.room();
            let filling = self.connection.fill(room);
            // A tunnel has no pause between its parts that would be too long.
            let filled = match self.answer {
                Answer::Tunnel => Some(filling.await),
                _ => in_time(|| self.body_timeout, filling).await,
            };
            match filled {
                Some(Ok(true)) => {}
                Some(Ok(false)) if self.answer == Answer::Tunnel => return Ok(None),
                Some(Ok(false) | Err(_)) => return Err(self.gone_for_good()),
                None => {
                    self.state = State::Unreadable;
                    return Err(ClientError::Slow);
                }
            }
        }
    }

    async fn gone(&mut self) -> ClientError {
        loop {
            if let Some(silence) = self.connection.silence() {
                let left = self.half_close_wait.saturating_sub(silence);
                let sent = in_time(|| left, self.connection.send()).await;
                if left.is_zero() || !matches!(sent, Some(Ok(()))) {
                    return self.gone_for_good();
                }
                pingora_timeout::sleep(left).await;
            } else if self.connection.ahead() >= limits::BODY_CHUNK_BYTES {
                // More than that of the next requests waits in the socket.
                if self.connection.send().await.is_err() {
                    return self.gone_for_good();
                }
                std::future::pending().await
            } else if self.connection.fill(limits::HEADER_READ_BYTES).await.is_err() {
                return self.gone_for_good();
            }
        }
    }

    async fn start(&mut self, status: StatusCode, mut headers: HeaderMap) -> Result<(), ClientError> {
        self.frame(status, &mut headers);
        say_head(self.connection.unsent(), status, &headers);
        if matches!(self.answer, Answer::Empty | Answer::Length(_)) {
            return Ok(());
        }
        let sent = in_time(|| self.write_timeout, self.connection.send()).await;
        if matches!(sent, Some(Ok(()))) { Ok(()) } else { Err(self.gone_for_good()) }
    }

    async fn write(&mut self, mut part: Bytes, last: bool) -> Result<(), ClientError> {
        if let Answer::Length(left) = &mut self.answer {
            part.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= part.len() as u64;
        }
        if !part.is_empty() && self.answer != Answer::Empty {
            let connection = &mut *self.connection;
            let writing = async {
                match self.answer {
                    Answer::Chunked => connection.write(chunk(part)).await?,
                    _ => connection.write(part).await?,
                }
                let held = last || matches!(self.answer, Answer::Length(1..));
                if held { Ok(()) } else { connection.send().await }
            };
            if !matches!(in_time(|| self.write_timeout, writing).await, Some(Ok(()))) {
                return Err(self.gone_for_good());
            }
        }
        if last { self.finish().await } else { Ok(()) }
    }

    async fn finish(&mut self) -> Result<(), ClientError> {
        if self.state == State::Whole {
            return Ok(());
        }
        if let Answer::Length(1..) = self.answer {
            // The close tells the client that the answer is not whole.
            return Err(self.gone_for_good());
        }
        if self.answer == Answer::Chunked {
            self.connection.unsent().extend_from_slice(b"0\r\n\r\n");
        }
        let sent = in_time(|| self.write_timeout, self.connection.send()).await;
        if !matches!(sent, Some(Ok(()))) {
            return Err(self.gone_for_good());
        }
        if self.state == State::Open {
            self.state = State::Whole;
        }
        Ok(())
    }

    fn end_after_answer(&mut self) {
        if self.state == State::Open {
            self.state = State::Unreadable;
        }
    }

    async fn abort(&mut self) {
        let broken = std::mem::replace(&mut self.state, State::Broken) == State::Broken;
        if self.answer == Answer::Unframed {
            self.connection.break_on_close();
        } else if !broken {
            // What was said is still sent.
            self.connection.close(self.write_timeout).await;
        }
    }
}

/// Whether the client wants its connection kept (RFC 9112 section 9.3).
fn keeps(head: &Parts) -> bool {
    let options = head.headers.get_all(CONNECTION);
    let says = |word: &str| {
        options
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|option| option.trim().eq_ignore_ascii_case(word)))
    };
    !says("close") && (head.version == Version::HTTP_11 || says("keep-alive"))
}

/// Names go out in lower case, as they come in from HTTP/2 anyway.
fn say_head(head: &mut BytesMut, status: StatusCode, headers: &HeaderMap) {
    const FRAMING: usize = ": \r\n".len();
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FRAMING);
    head.reserve(64 + fields.sum::<usize>());
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.extend_from_slice(b" ");
    head.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    head.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        head.extend_from_slice(name.as_ref());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
}
