//! One Pingora session as the relay sees it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use pingora_core::protocols::http::ServerSession;
use pingora_core::{Error, ErrorType};
use pingora_http::ResponseHeader;

use super::prompt::Prompt;
use crate::config::Limits;
use crate::limits;
use crate::relay::{ClientError, Downstream};
use crate::upstream::{Length, in_time};

pub(super) struct Session<'a> {
    inner: &'a mut ServerSession,
    /// HTTP/1.1: an answer of unknown length goes out chunked.
    chunks: bool,
    bodyless: bool,
    upgraded: bool,
    /// Only the end of the connection tells where the answer ends.
    unframed: bool,
    /// The client sends its body only when told to go on.
    hesitates: bool,
    body_timeout: Duration,
    write_timeout: Duration,
    state: State,
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

impl<'a> Session<'a> {
    pub(super) fn new(inner: &'a mut ServerSession, head: &Parts, limits: &Limits) -> Self {
        Self {
            inner,
            chunks: head.version == Version::HTTP_11,
            bodyless: head.method == Method::HEAD,
            upgraded: false,
            unframed: false,
            hesitates: head.headers.contains_key(EXPECT),
            body_timeout: limits.body_timeout,
            write_timeout: limits.write_timeout,
            state: State::Open,
        }
    }

    /// Whether its connection may serve another request. If not, and the client may still be sending, it is
    /// heard out for a moment.
    pub(super) async fn keeps_connection(mut self) -> bool {
        let Some(http1) = self.inner.as_http1() else { return self.state == State::Whole };
        match self.state {
            State::Whole if http1.will_keepalive() => return true,
            State::Whole | State::Unreadable => self.part().await,
            State::Open | State::Broken => {}
        }
        false
    }

    /// A socket closed with unread bytes in it is reset, and the reset may overtake the answer.
    async fn part(&mut self) {
        self.inner.shutdown().await;
        // An error says that the client is gone: nothing is left to wait for.
        let _ = self.inner.drain_request_body().await;
    }

    /// An answer before the request is whole keeps the connection if what is left of it is little and sure to
    /// come; else it is the last.
    fn keep_or_end(&mut self) {
        let whole = self.inner.is_body_done();
        if self.state != State::Open || !(whole || self.rest_comes()) {
            self.inner.set_keepalive(None);
        }
    }

    fn rest_comes(&mut self) -> bool {
        let little = match self.body_length() {
            Length::None => true,
            Length::Bytes(length) => length <= limits::EARLY_ANSWER_DRAIN_BYTES,
            Length::Chunked => false,
        };
        little && !self.hesitates
    }

    fn unreadable(&mut self, error: &Error) -> ClientError {
        self.state = State::Unreadable;
        self.told(error)
    }

    fn failed(&mut self, error: &Error) -> ClientError {
        self.state = State::Broken;
        self.told(error)
    }

    fn told(&self, error: &Error) -> ClientError {
        tracing::debug!(%error, "a client connection failed");
        match error.etype() {
            ErrorType::ReadTimedout => ClientError::Slow,
            ErrorType::InvalidHTTPHeader | ErrorType::Custom(_) => ClientError::Malformed,
            _ => ClientError::Gone,
        }
    }
}

impl Downstream for Session<'_> {
    fn body_length(&mut self) -> Length {
        if self.inner.is_body_empty() {
            return Length::None;
        }
        let announced = self.inner.req_header().headers.get(CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        announced.map_or(Length::Chunked, Length::Bytes)
    }

    async fn send_continue(&mut self) -> Result<(), ClientError> {
        self.hesitates = false;
        let sent = self.inner.write_continue_response().await;
        sent.map_err(|error| self.failed(&error))
    }

    async fn read(&mut self) -> Result<Option<Bytes>, ClientError> {
        if self.upgraded {
            // Whoever speaks another protocol may be silent as long as it likes.
            let part = self.inner.read_request_body().await;
            return part.map_err(|error| self.unreadable(&error));
        }
        // Over HTTP/2 Pingora waits for ever.
        let read = in_time(|| self.body_timeout, self.inner.read_request_body()).await;
        let part =
            read.unwrap_or_else(|| Error::e_explain(ErrorType::ReadTimedout, "reading a request body"));
        part.map_err(|error| self.unreadable(&error))
    }

    async fn gone(&mut self) -> ClientError {
        if !self.inner.is_body_done() {
            // What comes next is body, not the next request: nobody could tell where that begins.
            self.inner.set_keepalive(None);
        }
        loop {
            // Bytes behind the request belong to the next one, which waits its turn.
            if let Err(error) = self.inner.read_body_or_idle(true).await {
                return self.failed(&error);
            }
        }
    }

    async fn start(&mut self, status: StatusCode, mut headers: HeaderMap) -> Result<(), ClientError> {
        self.upgraded = status == StatusCode::SWITCHING_PROTOCOLS;
        if self.upgraded {
            self.inner.set_read_timeout(None);
        }
        self.bodyless |= matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let untold = !self.bodyless && !self.upgraded && !headers.contains_key(CONTENT_LENGTH);
        if untold && self.chunks {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        self.unframed = untold && !self.chunks;
        self.keep_or_end();
        let sent = write_in_time(self.write_timeout, write_head(self.inner, status, headers)).await;
        sent.map_err(|error| self.failed(&error))
    }

    async fn write(&mut self, part: Bytes, last: bool) -> Result<(), ClientError> {
        if !part.is_empty() && !self.bodyless {
            let sent = write_in_time(self.write_timeout, self.inner.write_response_body(part, false)).await;
            sent.map_err(|error| self.failed(&error))?;
        }
        if last { self.finish().await } else { Ok(()) }
    }

    async fn finish(&mut self) -> Result<(), ClientError> {
        if self.state == State::Whole {
            return Ok(());
        }
        let sent = write_in_time(self.write_timeout, self.inner.finish_body()).await;
        sent.map_err(|error| self.failed(&error))?;
        if self.state == State::Open {
            self.state = State::Whole;
        }
        Ok(())
    }

    async fn abort(&mut self) {
        let broken = std::mem::replace(&mut self.state, State::Broken) == State::Broken;
        let http1 = self.inner.as_http1().filter(|_| self.unframed);
        if let Some(http1) = http1 {
            Prompt::break_on_close(http1.stream());
        } else if !broken {
            // What was said is still sent. A client that does not take it is not waited for.
            let _ = tokio::time::timeout(self.write_timeout, self.inner.shutdown()).await;
        }
    }
}

pub(super) async fn write_in_time(
    bound: Duration,
    write: impl Future<Output = pingora_core::Result<()>>,
) -> pingora_core::Result<()> {
    let written = in_time(|| bound, write).await;
    written.unwrap_or_else(|| Error::e_explain(ErrorType::WriteTimedout, "writing an answer"))
}

/// Writes an answer's head. Names go out in lower case, as they come in from HTTP/2 anyway.
pub(super) async fn write_head(
    session: &mut ServerSession,
    status: StatusCode,
    headers: HeaderMap,
) -> pingora_core::Result<()> {
    let mut parts = http::Response::new(()).into_parts().0;
    parts.status = status;
    parts.headers = headers;
    session.write_response_header(Box::new(ResponseHeader::from(parts))).await
}
