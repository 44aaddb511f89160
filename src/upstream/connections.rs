//! The connections of one upstream: new ones, and those that served a request before.
//!
//! HTTP/1 connections wait in [`Idle`], HTTP/2 connections in Pingora's pool, where many requests share one. A
//! connection that shows a fault takes no new request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::v2;
use pingora_core::protocols::ALPN;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::http::v1::client::HttpSession as Http1Session;
use pingora_core::protocols::http::v2::client::Http2Session;
use pingora_core::tls::{RootCertStore, load_ca_file_into_store, load_platform_certs_incl_env_into_store};
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_core::{Error, ErrorType, OkOrErr};

use super::attempt::AttemptError;
use super::gather::Gathered;
use super::idle::Idle;
use super::patience::in_time;
use super::peers::Peers;
use crate::config::OpenAiUpstream;
use crate::descriptors;
use crate::hook::{Phase, UpstreamCause};
use crate::limits;

/// Where a connection may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// One that is there, else a new one.
    Any,
    /// A new one. No other request shares it, so that nothing but this request can break it.
    New,
}

/// A connection, or a stream of one, that is ready for a request.
pub(super) struct Connected {
    pub(super) session: HttpSession,
    pub(super) peer: Arc<HttpPeer>,
    /// It served requests before, or serves others now.
    pub(super) reused: bool,
    /// Others may share it, and break it.
    pub(super) shared: bool,
}

pub(super) struct Connections {
    host: String,
    connect_timeout: Duration,
    peers: Peers,
    idle: Arc<Idle>,
    /// Makes all connections, and keeps those that speak HTTP/2.
    connector: v2::Connector,
}

impl Connections {
    /// Opens none.
    pub(super) fn new(settings: &OpenAiUpstream) -> Result<Self, String> {
        // A pool of none keeps, for a while, whatever it is given.
        let mut options = ConnectorOptions::new(settings.idle_connections.max(1));
        options.ca_file = authorities(settings)?;
        Ok(Self {
            host: settings.host.clone(),
            connect_timeout: settings.connect_timeout,
            peers: Peers::new(settings),
            idle: Idle::new(settings.idle_connections),
            connector: v2::Connector::new(Some(options)),
        })
    }

    /// A connection to the first address that takes one, within the connect timeout. Pingora's own timer bounds
    /// each address; the look-up and the sum of all are bounded here.
    pub(super) async fn get(&self, upgrade: bool, source: Source) -> Result<Connected, AttemptError> {
        let wait = self.connect_timeout;
        let began = Instant::now();
        let mut last = None;
        for turn in 0.. {
            let Some(peer) = self.peer(turn, wait).await? else { break };
            let peer = if upgrade { http1_only(peer) } else { peer };
            match self.session(&peer, source).await {
                Ok((session, reused)) => {
                    let shared = source == Source::Any && matches!(session, HttpSession::H2(_));
                    return Ok(Connected { session, peer, reused, shared });
                }
                Err(error) => last = Some(AttemptError::from_pingora(&error, Phase::Connect)),
            }
            if began.elapsed() >= wait {
                break;
            }
        }
        self.peers.forget();
        Err(last.unwrap_or_else(|| {
            let message = format!("'{}' has no address", self.host);
            AttemptError::new(UpstreamCause::Connect, Phase::Connect, message)
        }))
    }

    async fn peer(&self, turn: usize, wait: Duration) -> Result<Option<Arc<HttpPeer>>, AttemptError> {
        let host = &self.host;
        let failed = |cause, message| AttemptError::new(cause, Phase::Connect, message);
        match in_time(|| wait, self.peers.get(turn)).await {
            Some(Ok(peer)) => Ok(peer),
            Some(Err(error)) => Err(failed(UpstreamCause::Connect, format!("looking up '{host}': {error}"))),
            None => {
                Err(failed(UpstreamCause::Timeout, format!("looking up '{host}' took more than {wait:?}")))
            }
        }
    }

    /// A connection to this address; tells whether it was there before.
    async fn session(&self, peer: &HttpPeer, source: Source) -> pingora_core::Result<(HttpSession, bool)> {
        if source == Source::Any {
            if peer.options.alpn.get_max_http_version() > 1
                && let Some(shared) = self.shared(peer).await
            {
                return Ok((HttpSession::H2(shared), true));
            }
            if let Some(stream) = address(peer).and_then(|to| self.idle.take(to)) {
                return Ok((HttpSession::H1(Http1Session::new_with_options(stream, peer)), true));
            }
        }
        let stream = self.connector.transport().new_stream(peer).await?;
        if descriptors::is_in_last(stream.id(), limits::DESCRIPTORS_KEPT_FROM_UPSTREAMS) {
            let message = "too few descriptors are left for a connection";
            return Error::e_explain(ErrorType::InternalError, message);
        }
        let agreed = stream.selected_alpn_proto();
        // Over clear text nothing is agreed on: the configuration says what the upstream speaks.
        let prior = !peer.is_tls() && peer.options.alpn.get_min_http_version() == 2;
        if !prior && agreed != Some(ALPN::H2) {
            let stream = Box::new(Gathered::new(stream));
            return Ok((HttpSession::H1(Http1Session::new_with_options(stream, peer)), false));
        }
        let mut settings = v2::H2HandshakeSettings::new();
        settings.max_streams = peer.options.max_h2_streams;
        settings.ping_interval = peer.options.h2_ping_interval;
        let connection = v2::handshake(stream, settings).await?;
        let stream = connection.spawn_stream().await?;
        let stream = stream.or_err(ErrorType::H2Error, "a new connection takes no stream")?;
        if source == Source::Any && connection.more_streams_allowed() {
            self.connector.in_use_pool().insert(peer.reuse_hash(), connection);
        }
        Ok((HttpSession::H2(stream), false))
    }

    /// A stream of an HTTP/2 connection that is there. Pingora's pool may still hold one that takes no more.
    async fn shared(&self, peer: &HttpPeer) -> Option<Http2Session> {
        loop {
            // What cannot take a stream is out of the pool by now.
            let session = self.connector.reused_http_session(peer).await.ok()??;
            if !session.conn.is_shutting_down() && !session.conn.is_closed() {
                return Some(session);
            }
        }
    }

    /// Takes a connection back whose request and answer are whole.
    pub(super) async fn take_back(&self, session: HttpSession, peer: &HttpPeer) {
        match session {
            HttpSession::H1(session) => {
                if let (Some(stream), Some(to)) = (session.reuse().await, address(peer)) {
                    self.idle.put(to, stream);
                }
            }
            HttpSession::H2(session) => {
                let idle = Some(limits::UPSTREAM_IDLE_TIMEOUT);
                self.connector.release_http_session(session, peer, idle);
            }
            HttpSession::Custom(()) => {}
        }
    }
}

fn address(peer: &HttpPeer) -> Option<SocketAddr> {
    peer.address().as_inet().copied()
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
        return Err(format!(
            "no certificate authority found in {whence}; set ca_file to a PEM file with the one that signed the upstream's certificate"
        ));
    }
    Ok(settings.ca_file.as_ref().map(|file| file.to_string_lossy().into_owned()))
}
