//! An upstream across the network: its settings made ready, its connections, its health.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use pingora_core::connectors::http::Connector;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::ALPN;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::http::v1::client::HttpSession as Http1Session;
use pingora_core::tls::{RootCertStore, load_ca_file_into_store, load_platform_certs_incl_env_into_store};
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_core::{Error, ErrorType};

use super::attempt::AttemptError;
use super::breaker::Breaker;
use super::exchange::{Exchange, Measured, Outgoing};
use super::fields::is_credential;
use super::gather::Gathered;
use super::idle::Idle;
use super::patience::in_time;
use super::peers::Peers;
use crate::config::OpenAiUpstream;
use crate::descriptors;
use crate::hook::{Phase, UpstreamCause};
use crate::limits;
use crate::metrics::{BreakerState, UpstreamMetrics};

pub(super) struct Remote {
    pub(super) settings: OpenAiUpstream,
    connector: Connector,
    /// For peers that speak nothing but HTTP/1.
    http1: TransportConnector,
    idle: Arc<Idle>,
    pub(super) host: HeaderValue,
    pub(super) authorization: Option<HeaderValue>,
    metrics: Arc<UpstreamMetrics>,
    peers: Peers,
    breaker: Mutex<Breaker>,
}

impl Remote {
    pub(super) fn new(settings: OpenAiUpstream, metrics: UpstreamMetrics) -> Result<Self, String> {
        let standard_port = if settings.tls { 443 } else { 80 };
        let host = if settings.port == standard_port {
            settings.host.clone()
        } else {
            format!("{}:{}", settings.host, settings.port)
        };
        let host = HeaderValue::from_str(&host).map_err(|_| format!("host '{host}' is not a field value"))?;
        let authorization = settings
            .api_key
            .as_ref()
            .map(|key| HeaderValue::from_str(&format!("Bearer {}", key.expose())))
            .transpose()
            .map_err(|_| "its API key has characters no header can carry".to_owned())?
            .map(|mut value| {
                value.set_sensitive(true);
                value
            });
        // A pool of none keeps, for a while, whatever it is given.
        let mut options = ConnectorOptions::new(settings.idle_connections.max(1));
        options.ca_file = authorities(&settings)?;
        // A breaker starts closed, also where an earlier one of this name was open.
        metrics.breaker(BreakerState::Closed);
        Ok(Self {
            metrics: Arc::new(metrics),
            peers: Peers::new(&settings),
            breaker: Mutex::new(Breaker::new(settings.breaker)),
            http1: TransportConnector::new(Some(options.clone())),
            idle: Idle::new(settings.idle_connections),
            connector: Connector::new(Some(options)),
            host,
            authorization,
            settings,
        })
    }

    /// Whether the upstream's settings give this field a value of their own.
    pub(super) fn sets(&self, name: &HeaderName) -> bool {
        self.settings.headers.iter().any(|(set, _)| set == name)
    }

    /// Whether the settings bring credentials of their own: then the client's go no further than here.
    pub(super) fn has_own_key(&self) -> bool {
        self.authorization.is_some() || self.settings.headers.iter().any(|(name, _)| is_credential(name))
    }

    pub(super) fn admit(&self) -> Result<(), AttemptError> {
        self.with_breaker(|breaker| breaker.admit(Instant::now())).map_err(AttemptError::breaker_open)
    }

    pub(super) fn succeeded(&self) {
        self.with_breaker(Breaker::succeeded);
    }

    pub(super) fn failed(&self) {
        self.with_breaker(|breaker| breaker.failed(Instant::now()));
    }

    fn with_breaker<T>(&self, step: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = breaker.state();
        let result = step(&mut breaker);
        if breaker.state() != before {
            self.metrics.breaker(breaker.state());
        }
        result
    }

    /// Sends a whole request and waits for the answer's head.
    ///
    /// A pooled connection may have died unseen, so its first failure costs the client nothing: the request
    /// goes out once more, on a new one. Only where it cannot have been worked on, for a request must not be
    /// done twice (RFC 9110 section 9.2.2): the connection broke before or right after the request was sent.
    pub(super) async fn send(
        self: &Arc<Self>,
        request: Outgoing<'_>,
        body: &Bytes,
    ) -> Result<Exchange, AttemptError> {
        let mut exchange = self.connect(request, Pool::First).await?;
        match deliver(&mut exchange, request, body).await {
            Ok(()) => return Ok(exchange),
            Err(error) if exchange.is_stale(&error) => {
                tracing::debug!(%error, "a pooled connection had died, trying a new one");
            }
            Err(error) => return Err(error),
        }
        let mut exchange = self.connect(request, Pool::Avoid).await?;
        deliver(&mut exchange, request, body).await.map(|()| exchange)
    }

    /// Connects (or takes a pooled connection) and writes the head; the body follows part by part.
    pub(super) async fn open(self: &Arc<Self>, request: Outgoing<'_>) -> Result<Exchange, AttemptError> {
        let mut exchange = self.connect(request, Pool::First).await?;
        match exchange.write_head(request, false).await {
            Ok(()) => return Ok(exchange),
            Err(error) if exchange.is_stale(&error) => {}
            Err(error) => return Err(error),
        }
        let mut exchange = self.connect(request, Pool::Avoid).await?;
        exchange.write_head(request, false).await.map(|()| exchange)
    }

    /// A connection to the first address that takes one, within the connect timeout.
    async fn connect(self: &Arc<Self>, request: Outgoing<'_>, pool: Pool) -> Result<Exchange, AttemptError> {
        let mut measured = Measured::new(self.metrics.clone());
        let connected = self.connect_in_turn(request.rules.upgrade, pool).await;
        match connected {
            Ok((session, peer, reused)) => {
                Ok(Exchange::network(self.clone(), session, peer, reused, measured))
            }
            Err(error) => Err(measured.failed(error)),
        }
    }

    /// Pingora's own timer bounds each address; the look-up and the sum of all are bounded here.
    async fn connect_in_turn(
        &self,
        upgrade: bool,
        pool: Pool,
    ) -> Result<(HttpSession, Arc<HttpPeer>, bool), AttemptError> {
        let wait = self.settings.connect_timeout;
        let began = Instant::now();
        let mut last = None;
        for turn in 0.. {
            let Some(peer) = self.peer(turn, wait).await? else { break };
            let peer = if upgrade { http1_only(peer) } else { peer };
            match self.session(&peer, pool).await {
                Ok((session, reused)) => return Ok((session, peer, reused)),
                Err(error) => last = Some(AttemptError::from_pingora(&error, Phase::Connect)),
            }
            if began.elapsed() >= wait {
                break;
            }
        }
        self.peers.forget();
        Err(last.unwrap_or_else(|| {
            let message = format!("'{}' has no address", self.settings.host);
            AttemptError::new(UpstreamCause::Connect, Phase::Connect, message)
        }))
    }

    async fn peer(&self, turn: usize, wait: Duration) -> Result<Option<Arc<HttpPeer>>, AttemptError> {
        let host = &self.settings.host;
        let failed = |cause, message| AttemptError::new(cause, Phase::Connect, message);
        match in_time(|| wait, self.peers.get(turn)).await {
            Some(Ok(peer)) => Ok(peer),
            Some(Err(error)) => Err(failed(UpstreamCause::Connect, format!("looking up '{host}': {error}"))),
            None => {
                Err(failed(UpstreamCause::Timeout, format!("looking up '{host}' took more than {wait:?}")))
            }
        }
    }
}

impl Remote {
    /// A pooled or new connection. One that can only be HTTP/1 is wrapped, so that a request's head and body
    /// leave together.
    async fn session(&self, peer: &HttpPeer, pool: Pool) -> pingora_core::Result<(HttpSession, bool)> {
        if peer.options.alpn.get_max_http_version() > 1 {
            return self.connector.get_http_session(peer).await;
        }
        let pooled = match pool {
            Pool::First => address(peer).and_then(|to| self.idle.take(to)),
            Pool::Avoid => None,
        };
        if let Some(stream) = pooled {
            return Ok((HttpSession::H1(Http1Session::new_with_options(stream, peer)), true));
        }
        let stream = self.http1.new_stream(peer).await?;
        if descriptors::is_in_last(stream.id(), limits::DESCRIPTORS_KEPT_FROM_UPSTREAMS) {
            return Error::e_explain(
                ErrorType::ConnectError,
                "too few descriptors are left for a connection",
            );
        }
        let stream = Box::new(Gathered::new(stream));
        Ok((HttpSession::H1(Http1Session::new_with_options(stream, peer)), false))
    }

    /// Takes a connection back whose request and answer are whole.
    pub(super) async fn take_back(&self, session: HttpSession, peer: &HttpPeer) {
        let idle = Some(limits::UPSTREAM_IDLE_TIMEOUT);
        match session {
            HttpSession::H1(session) if peer.options.alpn.get_max_http_version() == 1 => {
                if let (Some(stream), Some(to)) = (session.reuse().await, address(peer)) {
                    self.idle.put(to, stream);
                }
            }
            HttpSession::H1(_) if self.settings.idle_connections == 0 => {}
            session => self.connector.release_http_session(session, peer, idle).await,
        }
    }
}

fn address(peer: &HttpPeer) -> Option<SocketAddr> {
    peer.address().as_inet().copied()
}

/// The file of authorities a connector is made with; `None`: the system's. Pingora panics at what it cannot
/// load, so it is loaded here before.
fn authorities(settings: &OpenAiUpstream) -> Result<Option<String>, String> {
    // A connector without TLS loads authorities too. In this file there are none.
    const NOBODY: &str = "/dev/null";
    if !settings.tls {
        return Ok(Some(NOBODY.to_owned()));
    }
    let mut trusted = RootCertStore::empty();
    let (loaded, whence) = match &settings.ca_file {
        Some(file) => (load_ca_file_into_store(file, &mut trusted), format!("ca_file {}", file.display())),
        None => {
            let whence = "the system's certificate authorities (write a ca_file to use others)";
            (load_platform_certs_incl_env_into_store(&mut trusted), whence.to_owned())
        }
    };
    loaded.map_err(|error| format!("cannot load {whence}: {error}"))?;
    if trusted.is_empty() {
        return Err(format!("found nobody to trust in {whence}"));
    }
    Ok(settings.ca_file.as_ref().map(|file| file.to_string_lossy().into_owned()))
}

/// Where a connection may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pool {
    /// From the pool, if there is one.
    First,
    /// A new one, so far as the protocol leaves the choice: requests share an HTTP/2 connection.
    Avoid,
}

/// An upgrade is a matter of HTTP/1 (RFC 9113 section 8.6), whatever else the upstream offers.
fn http1_only(peer: Arc<HttpPeer>) -> Arc<HttpPeer> {
    if peer.options.alpn.get_max_http_version() == 1 {
        return peer;
    }
    let mut peer = (*peer).clone();
    peer.options.alpn = ALPN::H1;
    Arc::new(peer)
}

/// Writes the head and the body and waits for the answer's head. An upstream that answers early and stops reading fails the
/// write; its answer counts all the same.
async fn deliver(exchange: &mut Exchange, request: Outgoing<'_>, body: &Bytes) -> Result<(), AttemptError> {
    exchange.write_head(request, !body.is_empty()).await?;
    let written = async {
        if !body.is_empty() {
            exchange.write(body.clone()).await?;
        }
        exchange.end().await
    }
    .await;
    match written {
        Ok(()) => exchange.read_head().await,
        Err(error) => exchange.read_head().await.map_err(|_| error),
    }
}
