//! What a plugin is asked.

use std::time::Duration;

use bytes::Bytes;
use hookway_wire::CallMeta;
use serde::Deserialize;
use serde_json::{Map, Value};

/// One hook of one request. It holds what the manifest asked for, and no more.
#[derive(Clone, Debug)]
pub struct Call {
    meta: CallMeta,
    body: Bytes,
}

/// Why an attempt at an upstream failed.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// `connect`, `tls`, `timeout`, `429`, `5xx`, `cut` or `breaker_open`.
    pub cause: &'a str,
    /// `connect`, `send`, `first_byte` or `body`.
    pub phase: &'a str,
    pub upstream: &'a str,
    /// Counts from 1 over the whole request.
    pub attempt: u32,
    /// The upstream's status, if it gave one.
    pub status: Option<u16>,
    /// Since the request came in.
    pub elapsed: Duration,
    /// Bytes of an answer the client already has; above 0 nothing can be changed any more.
    pub bytes_sent: u64,
    /// Whether the gateway tries again by itself if every plugin lets it go on.
    pub will_retry: bool,
    /// The operator's words for what went wrong.
    pub message: &'a str,
    /// The upstream's own error, if it was JSON.
    pub error_body: Option<&'a Value>,
}

impl Call {
    /// A call as the gateway would make it, for an author's own tests.
    pub fn new(meta: CallMeta, body: impl Into<Bytes>) -> Self {
        Self { meta, body: body.into() }
    }

    pub fn request_id(&self) -> &str {
        &self.meta.request_id
    }

    /// The generation of the gateway's config that runs this request.
    pub fn generation(&self) -> u64 {
        self.meta.generation
    }

    /// `chat.completions`, unless the manifest asked for more.
    pub fn endpoint(&self) -> &str {
        &self.meta.endpoint
    }

    pub fn method(&self) -> &str {
        &self.meta.method
    }

    pub fn path(&self) -> &str {
        &self.meta.path
    }

    /// The model the client, or a plugin before this one, asked for.
    pub fn model(&self) -> Option<&str> {
        self.meta.model.as_deref()
    }

    /// Whether the client asked for a stream.
    pub fn stream(&self) -> bool {
        self.meta.stream
    }

    /// Tells the clients' keys apart without telling a key; `None` if the client sent none.
    pub fn key_id(&self) -> Option<&str> {
        self.meta.key_id.as_deref()
    }

    /// A header the manifest declared. `name` is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.meta.headers.get(name).map(String::as_str)
    }

    /// The body's value at a JSON pointer the manifest declared.
    pub fn pointer(&self, pointer: &str) -> Option<&Value> {
        self.meta.pointers.get(pointer)
    }

    /// What plugins before this one noted on the request.
    pub fn metadata(&self) -> &Map<String, Value> {
        &self.meta.metadata
    }

    /// The request body as plugins before this one left it, byte for byte; empty unless declared `full`.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The request body, read as JSON.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// How long the gateway waits, from when it asked.
    pub fn budget(&self) -> Duration {
        Duration::from_millis(self.meta.budget_ms)
    }

    /// Why the attempt failed; `None` outside `on_error`.
    pub fn failure(&self) -> Option<Failure<'_>> {
        let meta = &self.meta;
        Some(Failure {
            cause: meta.cause.as_deref()?,
            phase: meta.phase.as_deref().unwrap_or_default(),
            upstream: meta.upstream.as_deref().unwrap_or_default(),
            attempt: meta.attempt.unwrap_or(1),
            status: meta.status,
            elapsed: Duration::from_millis(meta.elapsed_ms.unwrap_or_default()),
            bytes_sent: meta.bytes_sent.unwrap_or_default(),
            will_retry: meta.will_retry.unwrap_or_default(),
            message: meta.message.as_deref().unwrap_or_default(),
            error_body: meta.error_body.as_ref(),
        })
    }
}
