//! The built-in upstream.
use super::exchange::{Exchange, Outgoing};
use bytes::Bytes;
pub(super) fn exchange(_request: Outgoing<'_>, _body: &Bytes) -> Exchange {
    Exchange::local(http::StatusCode::NOT_FOUND, http::HeaderMap::new(), vec![])
}
