//! A request on its way through the chain: what the client sent and what hooks made of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::chat::{self, Refusal};
use crate::hook::{Endpoint, HeaderChanges};
use crate::limits;
use crate::record::HookRun;
use crate::room::Room;

/// The request as the next hook sees it.
pub struct Draft {
    /// Whose dialect the body speaks.
    pub endpoint: Endpoint,
    /// The client's own bytes until a hook changes them.
    pub body: Bytes,
    pub model: Option<String>,
    pub stream: bool,
    /// The client asked for a usage chunk at the end of its stream.
    pub include_usage: bool,
    /// What hooks changed in the header that goes upstream.
    pub headers: HeaderChanges,
    /// The upstream a hook chose, past the routes.
    pub upstream: Option<String>,
    pub metadata: Map<String, Value>,
    /// Every hook call so far, in the order they ended.
    pub runs: Vec<HookRun>,
    /// What is left for the error hooks of this request; `None` before the first.
    pub(super) error_budget: Option<Duration>,
    pub(super) room: Arc<Room>,
    /// The largest body a hook may make of it.
    pub(super) bytes_max: u64,
}

/// What the chain and the routes need to know of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) model: Option<String>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

impl Head {
    /// The gate that every body passes, the client's and what a hook makes of it.
    pub(super) fn read(endpoint: Endpoint, body: &[u8]) -> Result<Self, Refusal> {
        let peek = chat::peek(endpoint, body)?;
        Ok(Self {
            model: peek.model.as_deref().map(str::to_owned),
            stream: peek.stream,
            include_usage: peek.include_usage,
        })
    }
}

impl Draft {
    /// Reads a body that has to be one whole JSON object, on this thread.
    pub fn new(endpoint: Endpoint, body: Bytes) -> Result<Self, Refusal> {
        let head = Head::read(endpoint, &body)?;
        Ok(Self::of(Arc::default(), endpoint, body, head, limits::BODY_BYTES))
    }

    /// The same for a body of any size, beside others. No hook makes it larger than `bytes_max`.
    pub async fn read(
        room: &Arc<Room>,
        endpoint: Endpoint,
        body: Bytes,
        bytes_max: u64,
    ) -> Result<Self, Refusal> {
        let head = room.work(body.len(), || Head::read(endpoint, &body)).await?;
        Ok(Self::of(room.clone(), endpoint, body, head, bytes_max))
    }

    fn of(room: Arc<Room>, endpoint: Endpoint, body: Bytes, head: Head, bytes_max: u64) -> Self {
        let Head { model, stream, include_usage } = head;
        Self {
            endpoint,
            body,
            model,
            stream,
            include_usage,
            headers: HeaderChanges::default(),
            upstream: None,
            metadata: Map::new(),
            runs: Vec::new(),
            error_budget: None,
            room,
            bytes_max,
        }
    }
}
