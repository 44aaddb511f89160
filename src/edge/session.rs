//! One request of a client, over whichever version of HTTP it came.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{http1, http2};
use crate::relay::{ClientError, Downstream};
use crate::upstream::Length;

pub(super) enum Session<'a> {
    One(http1::Exchange<'a>),
    Two(http2::Exchange<'a>),
}

impl Session<'_> {
    /// Whether its connection may serve another request.
    pub(super) async fn keeps_connection(&mut self) -> bool {
        match self {
            Self::One(exchange) => exchange.keeps_connection().await,
            Self::Two(exchange) => exchange.is_whole(),
        }
    }
}

impl Downstream for Session<'_> {
    async fn send_continue(&mut self) -> Result<(), ClientError> {
        match self {
            Self::One(exchange) => exchange.send_continue().await,
            Self::Two(exchange) => exchange.send_continue().await,
        }
    }

    fn body_length(&mut self) -> Length {
        match self {
            Self::One(exchange) => exchange.body_length(),
            Self::Two(exchange) => exchange.body_length(),
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>, ClientError> {
        match self {
            Self::One(exchange) => exchange.read().await,
            Self::Two(exchange) => exchange.read().await,
        }
    }

    async fn gone(&mut self) -> ClientError {
        match self {
            Self::One(exchange) => exchange.gone().await,
            Self::Two(exchange) => exchange.gone().await,
        }
    }

    async fn start(&mut self, status: StatusCode, headers: HeaderMap) -> Result<(), ClientError> {
        match self {
            Self::One(exchange) => exchange.start(status, headers).await,
            Self::Two(exchange) => exchange.start(status, headers).await,
        }
    }

    async fn write(&mut self, part: Bytes, last: bool) -> Result<(), ClientError> {
        match self {
            Self::One(exchange) => exchange.write(part, last).await,
            Self::Two(exchange) => exchange.write(part, last).await,
        }
    }

    async fn finish(&mut self) -> Result<(), ClientError> {
        match self {
            Self::One(exchange) => exchange.finish().await,
            Self::Two(exchange) => exchange.finish().await,
        }
    }

    fn end_after_answer(&mut self) {
        match self {
            Self::One(exchange) => exchange.end_after_answer(),
            Self::Two(exchange) => exchange.end_after_answer(),
        }
    }

    async fn abort(&mut self) {
        match self {
            Self::One(exchange) => exchange.abort().await,
            Self::Two(exchange) => exchange.abort().await,
        }
    }
}
