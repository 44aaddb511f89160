//! The gateway's side of one client: reads its request, starts its answer once, and knows how far that got.

use std::time::Instant;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::downstream::{ClientError, Downstream};
use crate::chat::answer;
use crate::fault::{Fault, Kind};
use crate::hook::ApiError;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-hookway-request-id");
pub(super) const PLUGIN: HeaderName = HeaderName::from_static("x-hookway-plugin");
const CAUSE: HeaderName = HeaderName::from_static("x-hookway-cause");
pub(super) const TRACE: HeaderName = HeaderName::from_static("x-hookway-trace");
pub(super) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const RETRY_AFTER: HeaderName = http::header::RETRY_AFTER;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(super) const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

/// Why a request ends before its answer is whole.
#[derive(Debug)]
pub(super) enum End {
    /// The gateway says no.
    Fault(Fault),
    /// Nobody is there to be answered.
    Client(ClientError),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<ClientError> for End {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// How an answer was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Started {
    pub(super) status: StatusCode,
    pub(super) at: Instant,
    /// The answer is a stream of events, so an error can still be told in its language.
    pub(super) events: bool,
}

pub(super) struct Client<'a, D> {
    pub(super) down: &'a mut D,
    pub(super) started: Option<Started>,
    pub(super) bytes_received: u64,
    pub(super) bytes_sent: u64,
    /// The client waits to be told before it sends its body.
    expects_continue: bool,
    /// A write was begun and not ended: what is said next would land in the middle of it.
    writing: bool,
    /// Fields every answer carries: the request id and, for those who may see it, the trace.
    pub(super) own: Vec<(HeaderName, HeaderValue)>,
}

impl<'a, D: Downstream> Client<'a, D> {
    pub(super) fn new(down: &'a mut D, head: &Parts, request_id: &str) -> Self {
        let id = HeaderValue::from_str(request_id).expect("request ids are hexadecimal digits");
        let expects_continue = head
            .headers
            .get(EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        Self {
            down,
            started: None,
            bytes_received: 0,
            bytes_sent: 0,
            expects_continue,
            writing: false,
            own: vec![(REQUEST_ID, id)],
        }
    }

    /// The next part of the request body, never an empty one.
    pub(super) async fn read(&mut self) -> Result<Option<Bytes>, ClientError> {
        if self.expects_continue {
            self.down.send_continue().await?;
            self.expects_continue = false;
        }
        loop {
            let Some(part) = self.down.read().await? else { return Ok(None) };
            self.bytes_received += part.len() as u64;
            if !part.is_empty() {
                return Ok(Some(part));
            }
        }
    }

    /// The next part of the request body while there is one to come, else the end of the client's patience.
    /// Cancel safe.
    pub(super) async fn read_or_gone(&mut self, reading: bool) -> Result<Option<Bytes>, ClientError> {
        if reading { self.read().await } else { Err(self.down.gone().await) }
    }

    /// Starts an answer whose body follows.
    pub(super) async fn start(
        &mut self,
        status: StatusCode,
        mut headers: HeaderMap,
        events: bool,
    ) -> Result<(), ClientError> {
        for (name, value) in self.own.drain(..) {
            headers.insert(name, value);
        }
        self.started = Some(Started { status, at: Instant::now(), events });
        self.writing = true;
        self.down.start(status, headers).await?;
        self.writing = false;
        Ok(())
    }

    /// The answer is whole.
    pub(super) async fn finish(&mut self) -> Result<(), ClientError> {
        self.down.finish().await
    }

    pub(super) async fn write(&mut self, part: Bytes, last: bool) -> Result<(), ClientError> {
        let length = part.len() as u64;
        self.writing = true;
        self.down.write(part, last).await?;
        self.writing = false;
        self.bytes_sent += length;
        Ok(())
    }

    /// A whole answer at once.
    pub(super) async fn answer(
        &mut self,
        status: StatusCode,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<(), ClientError> {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        self.start(status, headers, false).await?;
        self.write(body, true).await
    }

    pub(super) async fn answer_json(&mut self, status: StatusCode, body: Bytes) -> Result<(), ClientError> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, JSON)]);
        self.answer(status, headers, body).await
    }

    /// An error in OpenAI's form.
    pub(super) async fn answer_error(
        &mut self,
        status: StatusCode,
        mut headers: HeaderMap,
        error: &ApiError,
    ) -> Result<(), ClientError> {
        headers.insert(CONTENT_TYPE, JSON);
        self.answer(status, headers, answer::error_body(error)).await
    }

    /// Tells the client no, in whatever way the answer so far leaves open: a real status before the first
    /// byte, an error event inside a stream, else a break that cannot be taken for the end.
    pub(super) async fn refuse(&mut self, fault: &Fault) -> Result<(), ClientError> {
        match self.started {
            None => self.answer_error(fault.status(), fields_of(fault), &fault.api_error()).await,
            Some(Started { events: true, .. }) if !self.writing => {
                self.write(answer::error_event(&fault.api_error()), true).await
            }
            Some(_) => {
                self.down.abort().await;
                Ok(())
            }
        }
    }
}

fn fields_of(fault: &Fault) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(wait) = fault.retry_after {
        // Whole seconds, rounded up (RFC 9110 section 10.2.3).
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_millis().div_ceil(1000) as u64));
    }
    if let Some(allow) = fault.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if let Some(plugin) = fault.plugin.as_deref().and_then(|name| HeaderValue::from_str(name).ok()) {
        headers.insert(PLUGIN, plugin);
    }
    if let Kind::Hook(cause) = fault.kind {
        headers.insert(CAUSE, HeaderValue::from_static(cause.as_str()));
    }
    if fault.final_word {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    headers
}
