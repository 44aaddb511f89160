//! One HTTP/2 stream as the relay sees it: a Pingora session. The frames are Pingora's.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, StatusCode};
use pingora_core::protocols::http::ServerSession;
use pingora_core::{Error, ErrorType};
use pingora_http::ResponseHeader;

use crate::config::Limits;
use crate::relay::{ClientError, Downstream};
use crate::upstream::{Length, in_time};

pub(super) struct Exchange<'a> {
    inner: &'a mut ServerSession,
    bodyless: bool,
    body_timeout: Duration,
    write_timeout: Duration,
    whole: bool,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(inner: &'a mut ServerSession, method: &Method, limits: &Limits) -> Self {
        Self {
            inner,
            bodyless: *method == Method::HEAD,
            body_timeout: limits.body_timeout,
            write_timeout: limits.write_timeout,
            whole: false,
        }
    }

    /// How long the next part of the body is waited for.
    pub(super) const fn wait_for_reads(&mut self, most: Duration) {
        self.body_timeout = most;
    }

    /// How long the client may take for the next part of the answer.
    pub(super) const fn wait_for_writes(&mut self, most: Duration) {
        self.write_timeout = most;
    }

    /// The answer went out whole.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }
}

fn told(error: &Error) -> ClientError {
    tracing::debug!(%error, "a client's stream failed");
    match error.etype() {
        ErrorType::ReadTimedout => ClientError::Slow,
        ErrorType::InvalidHTTPHeader | ErrorType::Custom(_) => ClientError::Malformed,
        _ => ClientError::Gone,
    }
}

impl Downstream for Exchange<'_> {
    fn body_length(&mut self) -> Length {
        if self.inner.is_body_empty() {
            return Length::None;
        }
        let announced = self.inner.req_header().headers.get(CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        announced.map_or(Length::Chunked, Length::Bytes)
    }

    async fn send_continue(&mut self) -> Result<(), ClientError> {
        self.inner.write_continue_response().await.map_err(|error| told(&error))
    }

    async fn read(&mut self) -> Result<Option<Bytes>, ClientError> {
        // Pingora waits for ever.
        let read = in_time(|| self.body_timeout, self.inner.read_request_body()).await;
        let part =
            read.unwrap_or_else(|| Error::e_explain(ErrorType::ReadTimedout, "reading a request body"));
        part.map_err(|error| told(&error))
    }

    async fn gone(&mut self) -> ClientError {
        loop {
            if let Err(error) = self.inner.read_body_or_idle(true).await {
                return told(&error);
            }
        }
    }

    async fn start(&mut self, status: StatusCode, headers: HeaderMap) -> Result<(), ClientError> {
        self.bodyless |= matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let mut parts = http::Response::new(()).into_parts().0;
        parts.status = status;
        parts.headers = headers;
        let head = Box::new(ResponseHeader::from(parts));
        let sent = write_in_time(self.write_timeout, self.inner.write_response_header(head)).await;
        sent.map_err(|error| told(&error))
    }

    async fn write(&mut self, part: Bytes, last: bool) -> Result<(), ClientError> {
        if !part.is_empty() && !self.bodyless {
            let sent = write_in_time(self.write_timeout, self.inner.write_response_body(part, false)).await;
            sent.map_err(|error| told(&error))?;
        }
        if last { self.finish().await } else { Ok(()) }
    }

    async fn finish(&mut self) -> Result<(), ClientError> {
        if self.whole {
            return Ok(());
        }
        let sent = write_in_time(self.write_timeout, self.inner.finish_body()).await;
        sent.map_err(|error| told(&error))?;
        self.whole = true;
        Ok(())
    }

    fn end_after_answer(&mut self) {
        // A stream serves one request anyway.
    }

    async fn abort(&mut self) {
        // What was said is still sent. A client that does not take it is not waited for.
        let _ = tokio::time::timeout(self.write_timeout, self.inner.shutdown()).await;
    }
}

async fn write_in_time(
    bound: Duration,
    write: impl Future<Output = pingora_core::Result<()>>,
) -> pingora_core::Result<()> {
    let written = in_time(|| bound, write).await;
    written.unwrap_or_else(|| Error::e_explain(ErrorType::WriteTimedout, "writing an answer"))
}
