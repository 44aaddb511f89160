//! What the relay needs of a client's connection: the request body, and a way to answer.

use std::future::Future;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::upstream::Length;

/// One request of one client behind its head, over whatever carries it. Implemented by the edge, and by a fake in tests.
pub trait Downstream: Send {
    /// Tells a client that waits for `100 Continue` (RFC 9110 section 10.1.1) to send its body.
    fn send_continue(&mut self) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// How the end of the request body is told.
    fn body_length(&mut self) -> Length;

    /// The next part of the request body; `None` at its end. Cancel safe.
    fn read(&mut self) -> impl Future<Output = Result<Option<Bytes>, ClientError>> + Send;

    /// Ends when the client hangs up, and not before. Only once the body was read. Cancel safe.
    fn gone(&mut self) -> impl Future<Output = ClientError> + Send;

    /// Starts the answer. `headers` has a `content-length` unless the body's end is told otherwise.
    fn start(
        &mut self,
        status: StatusCode,
        headers: HeaderMap,
    ) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// The next part of the answer's body; with `last` the answer is whole.
    fn write(&mut self, part: Bytes, last: bool) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// The answer is whole.
    fn finish(&mut self) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// The answer is the last on its connection: how far the request was read is not known for sure.
    fn end_after_answer(&mut self);

    /// Breaks an answer off in a way the client can tell from its end.
    fn abort(&mut self) -> impl Future<Output = ()> + Send;
}

/// Why a client can no longer be read from or written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error("the client closed the connection")]
    Gone,
    #[error("the client sent nothing for too long")]
    Slow,
    #[error("the client's request body is not framed as HTTP says")]
    Malformed,
}
