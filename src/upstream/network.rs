//! One request at an upstream across the network: written in order, answered, and its connection given back when
//! both are whole. Knows when a request that failed may be sent again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, StatusCode};
use pingora_core::protocols::http::client::HttpSession;
use pingora_http::ResponseHeader;
use tokio::time::Instant;

use super::attempt::AttemptError;
use super::connections::Connected;
use super::gather::Gathered;
use super::head::Outgoing;
use super::patience::in_time;
use super::remote::Remote;
use super::settlement::Settlement;
use crate::hook::{Phase, UpstreamCause};
use crate::limits;

/// An attempt in progress. Dropping it closes the connection (HTTP/1) or resets the stream (HTTP/2).
pub(super) struct Network {
    remote: Arc<Remote>,
    connected: Connected,
    /// The request asks to go on in another protocol.
    upgrade: bool,
    sent: Sent,
    /// No more of the request follows, whether or not all of it went out.
    ended: bool,
    /// When the request's first byte went out.
    first_write: Option<Instant>,
    /// What was sent of the body, while it may have to be sent again. `None`: it cannot be.
    kept: Option<Kept>,
    deadline: Instant,
    pub(super) settlement: Settlement,
}

/// How much of the request went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// All that was given so far. More may follow.
    InOrder,
    /// A write began and did not end, so nothing may follow: nobody knows where it stopped.
    Torn,
    /// The whole request, so the connection may serve another.
    Whole,
}

/// The parts of a body that were sent.
#[derive(Default)]
struct Kept {
    parts: Vec<Bytes>,
    bytes: usize,
}

impl Network {
    pub(super) fn new(remote: Arc<Remote>, connected: Connected, settlement: Settlement) -> Self {
        let deadline = Instant::now() + remote.settings.total_timeout;
        Self {
            remote,
            connected,
            upgrade: false,
            sent: Sent::InOrder,
            ended: false,
            first_write: None,
            kept: None,
            deadline,
            settlement,
        }
    }

    /// Keeps what is sent of the body, up to [`limits::RESEND_BYTES_MAX`], for [`Self::resend`].
    pub(super) fn keep(&mut self) {
        self.kept = Some(Kept::default());
    }

    /// Takes a new connection in place of one that failed, for a request that may be sent again; else gives the
    /// failure back. What is sent on it is up to the caller.
    ///
    /// A connection that served a request before may have died unseen, which costs the client nothing. But no
    /// request must be worked on twice (RFC 9110 section 9.2.2), so it is sent again only where the connection
    /// cannot have carried it: see [`Self::may_resend`]. Once, for a new connection is none that was reused.
    pub(super) async fn reconnect(
        &mut self,
        error: AttemptError,
        request: Outgoing<'_>,
    ) -> Result<(), AttemptError> {
        if !self.may_resend(&error) {
            return Err(error);
        }
        tracing::debug!(%error, "upstream.resending");
        let connected = self.remote.connect_anew(request).await;
        self.connected = connected.map_err(|error| self.settlement.failed(error))?;
        self.sent = Sent::InOrder;
        self.settlement.again();
        Ok(())
    }

    /// Sends what was sent so far again, under the rule of [`Self::reconnect`] and while all of it is kept. Not
    /// cancel safe.
    pub(super) async fn resend(
        &mut self,
        error: AttemptError,
        request: Outgoing<'_>,
    ) -> Result<(), AttemptError> {
        let Some(kept) = self.kept.take() else { return Err(error) };
        let ended = self.ended;
        self.reconnect(error, request).await?;
        self.write_head(request, !kept.parts.is_empty()).await?;
        for part in kept.parts {
            self.write(part).await?;
        }
        if ended { self.end().await } else { Ok(()) }
    }

    /// With `body_follows` the head may wait for the body, to go out together with it.
    pub(super) async fn write_head(
        &mut self,
        request: Outgoing<'_>,
        body_follows: bool,
    ) -> Result<(), AttemptError> {
        self.upgrade = request.rules.upgrade;
        let http2 = matches!(self.connected.session, HttpSession::H2(_));
        let header = self.remote.request_header(request, http2);
        let header = header.map_err(|error| self.settlement.unsendable(error))?;
        self.begin_write()?;
        self.first_write = Some(Instant::now());
        self.begin(request.method, body_follows);
        let wait = self.remote.settings.chunk_timeout;
        let written = in_time(|| wait, self.connected.session.write_request_header(Box::new(header))).await;
        self.hold(false);
        self.written(written)
    }

    /// The next part of the request body. Each piece of it has `chunk_timeout` to be taken, so that a large one
    /// may take as long as it needs while it moves on.
    pub(super) async fn write(&mut self, mut part: Bytes) -> Result<(), AttemptError> {
        // Written nowhere: in chunked framing a part without bytes would end the body.
        if part.is_empty() {
            return Ok(());
        }
        if let Some(kept) = &mut self.kept {
            kept.bytes += part.len();
            kept.parts.push(part.clone());
        }
        if self.kept.as_ref().is_some_and(|kept| kept.bytes > limits::RESEND_BYTES_MAX) {
            self.kept = None;
        }
        self.begin_write()?;
        let wait = self.remote.settings.chunk_timeout;
        while !part.is_empty() {
            let piece = part.split_to(part.len().min(limits::UPSTREAM_WRITE_BYTES));
            let written = in_time(|| wait, self.connected.session.write_request_body(piece, false)).await;
            self.written(written)?;
            self.sent = if part.is_empty() { Sent::InOrder } else { Sent::Torn };
        }
        Ok(())
    }

    /// The request body is whole.
    pub(super) async fn end(&mut self) -> Result<(), AttemptError> {
        self.ended = true;
        self.begin_write()?;
        let wait = self.remote.settings.chunk_timeout;
        let finished = in_time(|| wait, self.connected.session.finish_request_body()).await;
        self.written(finished)?;
        self.sent = Sent::Whole;
        Ok(())
    }

    /// Waits for the answer's head, past informational ones. Cancel safe. The clock of `first_byte_timeout` runs
    /// once the request is whole: before, the client may be what takes its time.
    pub(super) async fn read_head(&mut self) -> Result<(), AttemptError> {
        let first_byte = self.remote.settings.first_byte_timeout;
        let wait = match self.sent {
            Sent::InOrder => Duration::MAX,
            Sent::Torn => first_byte.min(limits::EARLY_ANSWER_WAIT),
            Sent::Whole => first_byte,
        };
        self.connected.session.set_read_timeout(None);
        let deadline = self.deadline;
        let read = match in_time(|| time_left(wait, deadline), self.read_final_head()).await {
            Some(read) => read.map_err(|error| AttemptError::from_pingora(&error, Phase::FirstByte)),
            None => Err(self.out_of_time("header of the answer", wait, Phase::FirstByte)),
        };
        if let Err(error) = read.and_then(|()| self.check_protocol()) {
            // The attempt's time is over before the request is whole: that was the client's pace.
            let slow_client = error.cause == UpstreamCause::Timeout && self.sent == Sent::InOrder;
            let settle = if slow_client { Settlement::unsendable } else { Settlement::failed };
            return Err(settle(&mut self.settlement, error));
        }
        self.kept = None;
        let status = self.answer().status;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            // What the client says from here on goes on behind the request.
            self.sent = Sent::InOrder;
        }
        self.settlement.answered(status);
        if let HttpSession::H1(session) = &mut self.connected.session {
            session.respect_keepalive();
            session.maybe_upgrade_body_writer();
        }
        Ok(())
    }

    /// The answer's next body chunk, as it came; `None` at its end. Cancel safe.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, AttemptError> {
        let wait = self.remote.settings.chunk_timeout;
        let deadline = self.deadline;
        let left = || time_left(wait, deadline);
        let error = match in_time(left, self.connected.session.read_response_body()).await {
            Some(Ok(Some(chunk))) => return Ok(Some(chunk)),
            Some(Ok(None)) => {
                self.settlement.whole();
                return Ok(None);
            }
            Some(Err(error)) => AttemptError::from_pingora(&error, Phase::Body),
            None => self.out_of_time("more of the answer", wait, Phase::Body),
        };
        Err(self.settlement.failed(error))
    }

    pub(super) fn is_whole(&mut self) -> bool {
        self.connected.session.response_done()
    }

    /// Only the end of the connection says where the answer ends (RFC 9112 section 6.3, rule 8).
    pub(super) fn ends_by_close(&self) -> bool {
        let headers = &self.answer().headers;
        matches!(self.connected.session, HttpSession::H1(_))
            && !headers.contains_key(CONTENT_LENGTH)
            && !headers.contains_key(TRANSFER_ENCODING)
    }

    /// Gives the connection back for reuse, if request and answer are whole; else closes it.
    pub(super) async fn release(mut self) {
        if !self.connected.session.response_done() {
            return;
        }
        self.settlement.whole();
        if self.sent == Sent::Whole {
            self.remote.connections.take_back(self.connected.session, &self.connected.peer).await;
        }
    }

    /// Whether this failure means that the upstream cannot have worked on the request, and it may go out again.
    ///
    /// An HTTP/1 connection that was reused and ended before a byte of an answer, at once, had died before: no
    /// upstream works on a request and gives up within [`limits::RESEND_WITHIN`] (RFC 9112 section 9.3.1). On an
    /// HTTP/2 connection that others use too, a request that did not get out whole had no room left by them, and
    /// one whose connection ended by an invalid answer was not necessarily its cause.
    fn may_resend(&self, error: &AttemptError) -> bool {
        if !self.remote.settings.resend {
            return false;
        }
        let Connected { session, reused, shared, .. } = &self.connected;
        match session {
            HttpSession::H1(session) => {
                *reused
                    && error.cause == UpstreamCause::Cut
                    && !Gathered::heard(session.stream())
                    && self.first_write.is_some_and(|at| at.elapsed() < limits::RESEND_WITHIN)
            }
            HttpSession::H2(session) => {
                let unsent = *reused && self.sent != Sent::Whole && error.phase == Phase::Send;
                session.response_header().is_none() && (unsent || *shared && error.broken_by_any)
            }
            HttpSession::Custom(()) => false,
        }
    }

    /// Only once what was written before went out in order, and never behind the end.
    fn begin_write(&mut self) -> Result<(), AttemptError> {
        if self.sent != Sent::InOrder {
            let message = "the request cannot be written on behind its end or a write that failed";
            return Err(AttemptError::new(UpstreamCause::Cut, Phase::Send, message));
        }
        self.sent = Sent::Torn;
        Ok(())
    }

    /// What came of writing a part of the request; `None`: the upstream did not take it in time. An HTTP/2
    /// connection that has no room takes no new request, for it would wait for the same room.
    fn written<T>(&mut self, written: Option<pingora_core::Result<T>>) -> Result<(), AttemptError> {
        let error = match written {
            Some(Ok(_)) => {
                self.sent = Sent::InOrder;
                return Ok(());
            }
            Some(Err(error)) => AttemptError::from_pingora(&error, Phase::Send),
            None => {
                if let HttpSession::H2(session) = &self.connected.session {
                    session.conn.mark_shutdown();
                }
                let message = "the request was not taken in time";
                AttemptError::new(UpstreamCause::Timeout, Phase::Send, message)
            }
        };
        // An upstream that has begun to answer may take no more of the request.
        if self.connected.session.response_header().is_some() {
            return Err(error);
        }
        Err(self.settlement.failed(error))
    }

    /// A request begins on this connection.
    fn begin(&self, method: &Method, holding: bool) {
        if let HttpSession::H1(session) = &self.connected.session {
            Gathered::begin(session.stream(), method);
        }
        self.hold(holding);
    }

    fn hold(&self, holding: bool) {
        if let HttpSession::H1(session) = &self.connected.session {
            Gathered::hold(session.stream(), holding);
        }
    }

    pub(super) fn answer(&self) -> &ResponseHeader {
        self.connected.session.response_header().expect("the head was read before anything asks for it")
    }

    async fn read_final_head(&mut self) -> pingora_core::Result<()> {
        loop {
            self.connected.session.read_response_header().await?;
            let status = self.answer().status;
            if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(());
            }
        }
    }

    fn check_protocol(&self) -> Result<(), AttemptError> {
        if self.upgrade || self.answer().status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        let message = "the upstream went over to a protocol nobody asked for";
        Err(AttemptError::new(UpstreamCause::Cut, Phase::FirstByte, message))
    }

    /// What to say when [`time_left`] is over.
    fn out_of_time(&self, awaited: &str, wait: Duration, phase: Phase) -> AttemptError {
        let message = if Instant::now() < self.deadline {
            format!("no {awaited} within {wait:?}")
        } else {
            format!("no end of the answer within {:?}", self.remote.settings.total_timeout)
        };
        AttemptError::new(UpstreamCause::Timeout, phase, message)
    }
}

/// The shorter of `wait` and what is left of the attempt.
fn time_left(wait: Duration, deadline: Instant) -> Duration {
    wait.min(deadline.saturating_duration_since(Instant::now()))
}
