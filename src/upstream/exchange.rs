//! One request at one upstream and its answer, from wherever it comes.

use std::collections::VecDeque;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::attempt::AttemptError;
use super::head::Outgoing;
use super::network::Network;
use super::settlement::Settlement;

/// An attempt in progress. Dropping it ends the request at the upstream.
pub struct Exchange {
    inner: Inner,
}

enum Inner {
    Network(Box<Network>),
    Local(Box<Local>),
}

/// An answer made inside the gateway.
struct Local {
    status: StatusCode,
    headers: HeaderMap,
    chunks: VecDeque<Bytes>,
    settlement: Settlement,
}

impl Exchange {
    pub(super) fn network(network: Box<Network>) -> Self {
        Self { inner: Inner::Network(network) }
    }

    pub(super) fn local(
        status: StatusCode,
        headers: HeaderMap,
        chunks: Vec<Bytes>,
        mut settlement: Settlement,
    ) -> Self {
        settlement.answered(status);
        Self { inner: Inner::Local(Box::new(Local { status, headers, chunks: chunks.into(), settlement })) }
    }

    /// The next part of the request body.
    pub async fn write(&mut self, part: Bytes) -> Result<(), AttemptError> {
        match &mut self.inner {
            Inner::Network(network) => network.write(part).await,
            Inner::Local(_) => Ok(()),
        }
    }

    /// The request body is whole.
    pub async fn end(&mut self) -> Result<(), AttemptError> {
        match &mut self.inner {
            Inner::Network(network) => network.end().await,
            Inner::Local(_) => Ok(()),
        }
    }

    /// Waits for the answer's head. Cancel safe.
    pub async fn read_head(&mut self) -> Result<(), AttemptError> {
        match &mut self.inner {
            Inner::Network(network) => network.read_head().await,
            Inner::Local(_) => Ok(()),
        }
    }

    /// After a failure: sends what was sent so far again, once, on a new connection, if the upstream cannot have
    /// worked on it and all of it is kept. Else gives the failure back. Not cancel safe.
    pub async fn resend(&mut self, error: AttemptError, request: Outgoing<'_>) -> Result<(), AttemptError> {
        match &mut self.inner {
            Inner::Network(network) => network.resend(error, request).await,
            Inner::Local(_) => Err(error),
        }
    }

    /// Status and fields of the answer. Only after [`Self::read_head`] succeeded.
    pub fn head(&self) -> (StatusCode, &HeaderMap) {
        match &self.inner {
            Inner::Network(network) => {
                let head = network.answer();
                (head.status, &head.headers)
            }
            Inner::Local(local) => (local.status, &local.headers),
        }
    }

    /// The answer's next body chunk, as it came; `None` at its end. Cancel safe.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, AttemptError> {
        match &mut self.inner {
            Inner::Network(network) => network.chunk().await,
            Inner::Local(local) => Ok(local.chunks.pop_front()),
        }
    }

    /// Nothing of the answer is left to be read. May become true only with the `None` of [`Self::chunk`].
    pub fn is_whole(&mut self) -> bool {
        match &mut self.inner {
            Inner::Network(network) => network.is_whole(),
            Inner::Local(local) => local.chunks.is_empty(),
        }
    }

    /// Only the end of the connection says where the answer ends (RFC 9112 section 6.3, rule 8).
    pub fn ends_by_close(&self) -> bool {
        match &self.inner {
            Inner::Network(network) => network.ends_by_close(),
            Inner::Local(_) => false,
        }
    }

    /// Gives the connection back for reuse, if request and answer are whole; else closes it. Before the answer
    /// ends at the client, so that its next request finds the connection.
    pub async fn release(self) {
        match self.inner {
            Inner::Network(network) => network.release().await,
            Inner::Local(_) => {}
        }
    }

    /// The answer turned out to be broken, though it was framed as a whole one.
    pub fn broken(&mut self, error: AttemptError) -> AttemptError {
        match &mut self.inner {
            Inner::Network(network) => network.settlement.failed(error),
            Inner::Local(local) => local.settlement.failed(error),
        }
    }
}
