//! One Pingora session as the relay sees it.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use pingora_core::protocols::http::ServerSession;
use pingora_core::{Error, ErrorType};
use pingora_http::ResponseHeader;

use crate::relay::{ClientError, Downstream};
use crate::upstream::Length;

pub(super) struct Session {
    inner: ServerSession,
    /// HTTP/1.1: an answer of unknown length goes out chunked.
    chunks: bool,
    bodyless: bool,
    upgraded: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The answer went out whole.
    Whole,
    Broken,
}

impl Session {
    pub(super) fn new(inner: ServerSession, head: &Parts) -> Self {
        Self {
            inner,
            chunks: head.version == Version::HTTP_11,
            bodyless: head.method == Method::HEAD,
            upgraded: false,
            state: State::Open,
        }
    }

    /// The session, if its answer went out whole, so that the connection may serve another request.
    pub(super) fn into_whole(self) -> Option<ServerSession> {
        (self.state == State::Whole).then_some(self.inner)
    }

    fn failed(&mut self, error: &Error) -> ClientError {
        self.state = State::Broken;
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
        let sent = self.inner.write_continue_response().await;
        sent.map_err(|error| self.failed(&error))
    }

    async fn read(&mut self) -> Result<Option<Bytes>, ClientError> {
        let part = self.inner.read_request_body().await;
        part.map_err(|error| self.failed(&error))
    }

    async fn gone(&mut self) -> ClientError {
        loop {
            // Bytes behind the request belong to the next one, which waits its turn.
            if let Err(error) = self.inner.read_body_or_idle(true).await {
                return self.failed(&error);
            }
        }
    }

    async fn start(&mut self, status: StatusCode, mut headers: HeaderMap) -> Result<(), ClientError> {
        self.upgraded = status == StatusCode::SWITCHING_PROTOCOLS;
        self.bodyless |= matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if self.chunks && !self.bodyless && !self.upgraded && !headers.contains_key(CONTENT_LENGTH) {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let sent = write_head(&mut self.inner, status, headers).await;
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
        let sent = self.inner.finish_body().await;
        sent.map_err(|error| self.failed(&error))?;
        self.state = State::Whole;
        Ok(())
    }

    async fn abort(&mut self) {
        self.state = State::Broken;
        self.inner.shutdown().await;
    }
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
