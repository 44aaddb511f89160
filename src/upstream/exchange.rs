//! One request at one upstream: written, answered, and its connection given back when both are whole.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::Instant;

use super::attempt::AttemptError;
use super::fields::{self, RequestRules};
use super::gather::Gathered;
use super::patience::in_time;
use super::remote::Remote;
use crate::hook::{Phase, UpstreamCause};
use crate::limits;
use crate::metrics::{AttemptOutcome, UpstreamMetrics};

/// A request as it goes upstream, borrowed from the client's, so that an attempt copies no header map.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    pub method: &'a Method,
    /// What follows the upstream's own path: begins with `/`, query included.
    pub path_and_query: &'a str,
    pub headers: &'a HeaderMap,
    pub rules: RequestRules<'a>,
    pub length: Length,
}

/// How the end of the request body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    None,
    Bytes(u64),
    Chunked,
}

/// An attempt in progress. Dropping it closes the connection (HTTP/1) or resets the stream (HTTP/2).
pub struct Exchange {
    inner: Inner,
}

enum Inner {
    Network(Box<Network>),
    Local(Local),
}

struct Network {
    remote: Arc<Remote>,
    session: HttpSession,
    peer: Arc<HttpPeer>,
    reused: bool,
    /// The request asks to go on in another protocol.
    upgrade: bool,
    sent: Sent,
    deadline: Instant,
    measured: Measured,
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

/// Counts an attempt when it ends, however it does.
pub(super) struct Measured {
    metrics: Arc<UpstreamMetrics>,
    began: std::time::Instant,
    outcome: AttemptOutcome,
}

impl Measured {
    pub(super) fn new(metrics: Arc<UpstreamMetrics>) -> Self {
        Self { metrics, began: std::time::Instant::now(), outcome: AttemptOutcome::Cancelled }
    }

    pub(super) fn failed(&mut self, error: AttemptError) -> AttemptError {
        self.outcome = AttemptOutcome::Failed(error.cause);
        error
    }

    fn answered(&mut self, status: StatusCode) {
        self.outcome = match status {
            StatusCode::TOO_MANY_REQUESTS => AttemptOutcome::Failed(UpstreamCause::RateLimited),
            status if status.is_server_error() => AttemptOutcome::Failed(UpstreamCause::ServerError),
            status if status.is_client_error() => AttemptOutcome::Refused,
            _ => AttemptOutcome::Ok,
        };
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.metrics.attempted(self.outcome, self.began.elapsed());
    }
}

/// An answer made inside the gateway.
struct Local {
    status: StatusCode,
    headers: HeaderMap,
    chunks: VecDeque<Bytes>,
    /// Counts the attempt when this is dropped.
    _measured: Measured,
}

impl Exchange {
    pub(super) fn network(
        remote: Arc<Remote>,
        session: HttpSession,
        peer: Arc<HttpPeer>,
        reused: bool,
        measured: Measured,
    ) -> Self {
        let deadline = Instant::now() + remote.settings.total_timeout;
        let network = Network {
            remote,
            session,
            peer,
            reused,
            upgrade: false,
            sent: Sent::InOrder,
            deadline,
            measured,
        };
        Self { inner: Inner::Network(Box::new(network)) }
    }

    pub(super) fn local(
        status: StatusCode,
        headers: HeaderMap,
        chunks: Vec<Bytes>,
        mut measured: Measured,
    ) -> Self {
        measured.answered(status);
        Self { inner: Inner::Local(Local { status, headers, chunks: chunks.into(), _measured: measured }) }
    }

    /// Whether this failure means that a pooled HTTP/1 connection had died unseen: nothing of an answer came,
    /// and the end came too soon for one.
    pub(super) fn is_stale(&self, error: &AttemptError) -> bool {
        let Inner::Network(network) = &self.inner else { return false };
        let http1 = matches!(network.session, HttpSession::H1(_));
        let unsent = error.phase == Phase::Send;
        http1
            && network.reused
            && error.cause == UpstreamCause::Cut
            && (unsent || network.measured.began.elapsed() < limits::STALE_CONNECTION_WAIT)
    }

    /// With `body_follows` the head may wait for the body, to go out together with it.
    pub(super) async fn write_head(
        &mut self,
        request: Outgoing<'_>,
        body_follows: bool,
    ) -> Result<(), AttemptError> {
        let Inner::Network(network) = &mut self.inner else { return Ok(()) };
        network.upgrade = request.rules.upgrade;
        let http2 = matches!(network.session, HttpSession::H2(_));
        let header = network.remote.request_header(request, http2)?;
        network.begin_write()?;
        network.hold(body_follows);
        let wait = network.remote.settings.chunk_timeout;
        let written = in_time(|| wait, network.session.write_request_header(Box::new(header))).await;
        network.hold(false);
        sent(written)?;
        network.sent = Sent::InOrder;
        Ok(())
    }

    /// The next part of the request body.
    pub async fn write(&mut self, part: Bytes) -> Result<(), AttemptError> {
        let Inner::Network(network) = &mut self.inner else { return Ok(()) };
        if part.is_empty() {
            // An empty chunk is the last one (RFC 9112 section 7.1).
            return Ok(());
        }
        network.begin_write()?;
        let wait = network.remote.settings.chunk_timeout;
        let written = in_time(|| wait, network.session.write_request_body(part, false)).await;
        sent(written).map_err(|error| network.measured.failed(error))?;
        network.sent = Sent::InOrder;
        Ok(())
    }

    /// The request body is whole.
    pub async fn end(&mut self) -> Result<(), AttemptError> {
        let Inner::Network(network) = &mut self.inner else { return Ok(()) };
        network.begin_write()?;
        let wait = network.remote.settings.chunk_timeout;
        let finished = in_time(|| wait, network.session.finish_request_body()).await;
        sent(finished).map_err(|error| network.measured.failed(error))?;
        network.sent = Sent::Whole;
        Ok(())
    }

    /// Waits for the answer's head, past informational ones. Cancel safe.
    pub async fn read_head(&mut self) -> Result<(), AttemptError> {
        let Inner::Network(network) = &mut self.inner else { return Ok(()) };
        let wait = network.remote.settings.first_byte_timeout;
        network.session.set_read_timeout(None);
        let deadline = network.deadline;
        let read = match in_time(|| time_left(wait, deadline), network.read_final_head()).await {
            Some(read) => read.map_err(|error| AttemptError::from_pingora(&error, Phase::FirstByte)),
            None => Err(network.out_of_time("header of the answer", wait, Phase::FirstByte)),
        };
        let read = read.and_then(|()| network.check_protocol());
        if let Err(error) = read {
            return Err(network.measured.failed(error));
        }
        let status = network.answer().status;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            // What the client says from here on goes on behind the request.
            network.sent = Sent::InOrder;
        }
        network.measured.answered(status);
        if let HttpSession::H1(session) = &mut network.session {
            session.respect_keepalive();
            session.maybe_upgrade_body_writer();
        }
        Ok(())
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
            Inner::Local(local) => Ok(local.chunks.pop_front()),
            Inner::Network(network) => {
                let wait = network.remote.settings.chunk_timeout;
                let deadline = network.deadline;
                let left = || time_left(wait, deadline);
                let read = in_time(left, network.session.read_response_body()).await;
                let error = match read {
                    Some(Ok(chunk)) => return Ok(chunk),
                    Some(Err(error)) => AttemptError::from_pingora(&error, Phase::Body),
                    None => network.out_of_time("more of the answer", wait, Phase::Body),
                };
                Err(network.measured.failed(error))
            }
        }
    }

    /// Nothing of the answer is left to be read. May become true only with the `None` of [`Self::chunk`].
    pub fn is_whole(&mut self) -> bool {
        match &mut self.inner {
            Inner::Network(network) => network.session.response_done(),
            Inner::Local(local) => local.chunks.is_empty(),
        }
    }

    /// Only the end of the connection says where the answer ends (RFC 9112 section 6.3, rule 8).
    pub fn ends_by_close(&self) -> bool {
        let Inner::Network(network) = &self.inner else { return false };
        let headers = &network.answer().headers;
        matches!(network.session, HttpSession::H1(_))
            && !headers.contains_key(CONTENT_LENGTH)
            && !headers.contains_key(TRANSFER_ENCODING)
    }

    /// Gives the connection back for reuse, if request and answer are whole; else closes it. Before the answer
    /// ends at the client, so that its next request finds the connection.
    pub async fn release(self) {
        let Inner::Network(mut network) = self.inner else { return };
        if network.sent == Sent::Whole && network.session.response_done() {
            let Network { remote, session, peer, .. } = *network;
            remote.take_back(session, &peer).await;
        }
    }
}

impl Network {
    /// Only once what was written before went out in order, and never behind the end.
    fn begin_write(&mut self) -> Result<(), AttemptError> {
        if self.sent != Sent::InOrder {
            let message = "the request cannot be written on behind its end or a write that failed";
            return Err(AttemptError::new(UpstreamCause::Cut, Phase::Send, message));
        }
        self.sent = Sent::Torn;
        Ok(())
    }

    fn hold(&self, holding: bool) {
        if let HttpSession::H1(session) = &self.session {
            Gathered::hold(session.stream(), holding);
        }
    }

    fn answer(&self) -> &ResponseHeader {
        self.session.response_header().expect("the head was read before anything asks for it")
    }

    async fn read_final_head(&mut self) -> pingora_core::Result<()> {
        loop {
            self.session.read_response_header().await?;
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

/// `None`: the upstream did not take it in time.
fn sent<T>(written: Option<pingora_core::Result<T>>) -> Result<(), AttemptError> {
    match written {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(AttemptError::from_pingora(&error, Phase::Send)),
        None => {
            let message = "the request was not taken in time";
            Err(AttemptError::new(UpstreamCause::Timeout, Phase::Send, message))
        }
    }
}

impl Remote {
    fn request_header(&self, request: Outgoing<'_>, http2: bool) -> Result<RequestHeader, AttemptError> {
        let path = format!("{}{}", self.settings.path, request.path_and_query);
        let mut header = RequestHeader::build_no_case(
            request.method.clone(),
            path.as_bytes(),
            Some(request.headers.len() + 4),
        )
        .map_err(|error| AttemptError::from_pingora(&error, Phase::Send))?;
        if http2 {
            header.set_version(Version::HTTP_2);
            header.set_uri(self.uri(&path)?);
        } else {
            header.set_version(Version::HTTP_11);
            append(&mut header, &HOST, &self.host)?;
        }
        let own = self.authorization.as_ref();
        let client = fields::for_upstream(request.headers, request.rules, self.has_own_key());
        let settings = self.settings.headers.iter().map(|(name, value)| (name, value));
        for (name, value) in client.filter(|(name, _)| !self.sets(name)).chain(settings) {
            append(&mut header, name, value)?;
        }
        if let Some(authorization) = own {
            append(&mut header, &AUTHORIZATION, authorization)?;
        }
        match request.length {
            // Some servers want to be told that there is nothing (RFC 9110 section 8.6).
            Length::None if expects_content(request.method) && !request.rules.upgrade => {
                append(&mut header, &CONTENT_LENGTH, &HeaderValue::from_static("0"))?;
            }
            Length::None => {}
            Length::Bytes(length) => append(&mut header, &CONTENT_LENGTH, &HeaderValue::from(length))?,
            Length::Chunked if http2 => {}
            Length::Chunked => {
                append(&mut header, &TRANSFER_ENCODING, &HeaderValue::from_static("chunked"))?;
            }
        }
        Ok(header)
    }
}

impl Remote {
    /// HTTP/2 carries scheme and authority in the URI (RFC 9113 section 8.3.1).
    fn uri(&self, path_and_query: &str) -> Result<Uri, AttemptError> {
        let scheme = if self.settings.tls { "https" } else { "http" };
        Uri::builder()
            .scheme(scheme)
            .authority(self.host.as_bytes())
            .path_and_query(path_and_query)
            .build()
            .map_err(|error| AttemptError::new(UpstreamCause::Connect, Phase::Send, error.to_string()))
    }
}

fn expects_content(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::PATCH].contains(method)
}

fn append(
    header: &mut RequestHeader,
    name: &http::HeaderName,
    value: &HeaderValue,
) -> Result<(), AttemptError> {
    header
        .append_header(name, value)
        .map(|_| ())
        .map_err(|error| AttemptError::from_pingora(&error, Phase::Send))
}
