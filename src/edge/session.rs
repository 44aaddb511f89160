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
use crate::upstream::Length;

pub(super) struct Session {
    inner: ServerSession,
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

impl Session {
    pub(super) fn new(inner: ServerSession, head: &Parts, limits: &Limits) -> Self {
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

    /// The session, if its connection may serve another request. If not, and the client may still be
    /// sending, it is heard out for a moment.
    pub(super) async fn into_kept(mut self) -> Option<ServerSession> {
        let Some(http1) = self.inner.as_http1() else {
            return (self.state == State::Whole).then_some(self.inner);
        };
        match self.state {
            State::Whole if http1.will_keepalive() => return Some(self.inner),
            State::Whole | State::Unreadable => self.part().await,
            State::Open | State::Broken => {}
        }
        None
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
        let little = match self.body_length() {
            Length::None => true,
            Length::Bytes(length) => length <= limits::EARLY_ANSWER_DRAIN_BYTES,
            Length::Chunked => false,
        };
        let whole = self.inner.is_body_done();
        let comes = little && !self.hesitates;
        if self.state != State::Open || !(whole || comes) {
            self.inner.set_keepalive(None);
        }
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

impl Downstream for Session {
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
        let read = pingora_timeout::timeout(self.body_timeout, self.inner.read_request_body()).await;
        let part =
            read.unwrap_or_else(|_| Error::e_explain(ErrorType::ReadTimedout, "reading a request body"));
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
        let sent = in_time(self.write_timeout, write_head(&mut self.inner, status, headers)).await;
        sent.map_err(|error| self.failed(&error))
    }

    async fn write(&mut self, part: Bytes, last: bool) -> Result<(), ClientError> {
        if !part.is_empty() && !self.bodyless {
            let sent = self.inner.write_response_body(part, false).await;
            sent.map_err(|error| self.failed(&error))?;
        }
        if last { self.finish().await } else { Ok(()) }
    }

    async fn finish(&mut self) -> Result<(), ClientError> {
        if self.state == State::Whole {
            return Ok(());
        }
        let sent = in_time(self.write_timeout, self.inner.finish_body()).await;
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

/// A write that Pingora itself puts no bound on.
pub(super) async fn in_time(
    bound: Duration,
    write: impl Future<Output = pingora_core::Result<()>>,
) -> pingora_core::Result<()> {
    let written = pingora_timeout::timeout(bound, write).await;
    written.unwrap_or_else(|_| Error::e_explain(ErrorType::WriteTimedout, "writing an answer"))
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
