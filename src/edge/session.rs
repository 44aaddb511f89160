//! One request of a client, over whichever version of HTTP it came.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::pace::Pace;
use super::{http1, http2};
use crate::config::Limits;
use crate::limits;
use crate::relay::{ClientError, Downstream};
use crate::upstream::Length;

pub(super) struct Session<'a> {
    over: Version<'a>,
    body_timeout: Duration,
    write_timeout: Duration,
    /// How fast the body has to come, and since when its next part is waited for.
    sending: Pace,
    reading_since: Option<Instant>,
    /// How fast the answer has to be taken.
    taking: Pace,
}

pub(super) enum Version<'a> {
    One(http1::Exchange<'a>),
    Two(http2::Exchange<'a>),
}

impl<'a> Session<'a> {
    pub(super) fn new(over: Version<'a>, limits: &Limits) -> Self {
        Self {
            over,
            body_timeout: limits.body_timeout,
            write_timeout: limits.write_timeout,
            sending: Pace::new(limits.body_rate, limits.rate_window),
            reading_since: None,
            taking: Pace::new(limits.answer_rate, limits.rate_window),
        }
    }

    async fn write_part(&mut self, part: Bytes, last: bool) -> Result<(), ClientError> {
        let (began, length) = (Instant::now(), part.len());
        let patience = self.taking.patience(self.write_timeout);
        match &mut self.over {
            Version::One(exchange) => {
                exchange.wait_for_writes(patience);
                exchange.write(part, last).await?;
            }
            Version::Two(exchange) => {
                exchange.wait_for_writes(patience);
                exchange.write(part, last).await?;
            }
        }
        self.taking.moved(length, began.elapsed());
        Ok(())
    }

    /// Whether its connection may serve another request.
    pub(super) async fn keeps_connection(&mut self) -> bool {
        match &mut self.over {
            Version::One(exchange) => exchange.keeps_connection().await,
            Version::Two(exchange) => exchange.is_whole(),
        }
    }
}

impl Downstream for Session<'_> {
    async fn send_continue(&mut self) -> Result<(), ClientError> {
        match &mut self.over {
            Version::One(exchange) => exchange.send_continue().await,
            Version::Two(exchange) => exchange.send_continue().await,
        }
    }

    fn body_length(&mut self) -> Length {
        match &mut self.over {
            Version::One(exchange) => exchange.body_length(),
            Version::Two(exchange) => exchange.body_length(),
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>, ClientError> {
        // A read that is given up and begun again goes on waiting from where it began.
        let since = *self.reading_since.get_or_insert_with(Instant::now);
        let patience = self.sending.patience(self.body_timeout).saturating_sub(since.elapsed());
        let part = match &mut self.over {
            Version::One(exchange) => {
                exchange.wait_for_reads(patience);
                exchange.read().await
            }
            Version::Two(exchange) => {
                exchange.wait_for_reads(patience);
                exchange.read().await
            }
        };
        self.reading_since = None;
        if let Ok(Some(part)) = &part {
            self.sending.moved(part.len(), since.elapsed());
        }
        part
    }

    async fn gone(&mut self) -> ClientError {
        match &mut self.over {
            Version::One(exchange) => exchange.gone().await,
            Version::Two(exchange) => exchange.gone().await,
        }
    }

    async fn start(&mut self, status: StatusCode, headers: HeaderMap) -> Result<(), ClientError> {
        match &mut self.over {
            Version::One(exchange) => exchange.start(status, headers).await,
            Version::Two(exchange) => exchange.start(status, headers).await,
        }
    }

    async fn write(&mut self, mut part: Bytes, last: bool) -> Result<(), ClientError> {
        // In parts, so that each pause is bounded and not the whole of a large answer.
        while part.len() > limits::ANSWER_PART_BYTES {
            self.write_part(part.split_to(limits::ANSWER_PART_BYTES), false).await?;
        }
        self.write_part(part, last).await
    }

    async fn finish(&mut self) -> Result<(), ClientError> {
        match &mut self.over {
            Version::One(exchange) => exchange.finish().await,
            Version::Two(exchange) => exchange.finish().await,
        }
    }

    fn end_after_answer(&mut self) {
        match &mut self.over {
            Version::One(exchange) => exchange.end_after_answer(),
            Version::Two(exchange) => exchange.end_after_answer(),
        }
    }

    async fn abort(&mut self) {
        match &mut self.over {
            Version::One(exchange) => exchange.abort().await,
            Version::Two(exchange) => exchange.abort().await,
        }
    }
}
