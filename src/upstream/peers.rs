//! The addresses of one upstream, each prepared as a Pingora peer and remembered for a while.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pingora_core::protocols::{ALPN, TcpKeepalive};
use pingora_core::upstreams::peer::HttpPeer;

use crate::config::{Http2, OpenAiUpstream};
use crate::limits;

/// Where one upstream can be reached. A host that is an address never asks the resolver.
#[derive(Debug)]
pub(super) struct Peers {
    host: String,
    port: u16,
    tls: bool,
    http2: Http2,
    connect_timeout: Duration,
    literal: Option<Arc<HttpPeer>>,
    known: Mutex<Option<(Instant, Vec<Arc<HttpPeer>>)>>,
}

impl Peers {
    pub(super) fn new(settings: &OpenAiUpstream) -> Self {
        let host = settings.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let mut peers = Self {
            host,
            port: settings.port,
            tls: settings.tls,
            http2: settings.http2,
            connect_timeout: settings.connect_timeout,
            literal: None,
            known: Mutex::new(None),
        };
        peers.literal =
            peers.host.parse::<IpAddr>().ok().map(|ip| {
                Arc::new(peers.prepare(SocketAddr::new(ip, settings.port), settings.connect_timeout))
            });
        peers
    }

    /// The peer to try as number `turn`, counting from 0; `None` when there are no more.
    pub(super) async fn get(&self, turn: usize) -> std::io::Result<Option<Arc<HttpPeer>>> {
        if let Some(literal) = &self.literal {
            return Ok((turn == 0).then(|| literal.clone()));
        }
        if let Some(peer) = self.remembered(turn, Instant::now()) {
            return Ok(peer);
        }
        let found: Vec<SocketAddr> = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await?
            .take(limits::ADDRESSES_TRIED)
            .collect();
        // Each address has its share, or one that swallows connections would leave no time for the others.
        let share = self.connect_timeout / u32::try_from(found.len().max(1)).unwrap_or(1);
        let found: Vec<Arc<HttpPeer>> =
            found.into_iter().map(|address| Arc::new(self.prepare(address, share))).collect();
        let peer = found.get(turn).cloned();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), found));
        Ok(peer)
    }

    /// `Some` while the last look-up is fresh.
    fn remembered(&self, turn: usize, now: Instant) -> Option<Option<Arc<HttpPeer>>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, peers) = known.as_ref()?;
        (now.duration_since(*since) < limits::RESOLVED_FOR).then(|| peers.get(turn).cloned())
    }

    /// Every address failed: the next attempt looks the name up again.
    pub(super) fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn prepare(&self, address: SocketAddr, connect_timeout: Duration) -> HttpPeer {
        let mut peer = HttpPeer::new(address, self.tls, self.host.clone());
        peer.options.connection_timeout = Some(connect_timeout);
        peer.options.total_connection_timeout = Some(connect_timeout);
        peer.options.h2_ping_interval = Some(limits::UPSTREAM_PROBE_PERIOD);
        peer.options.tcp_keepalive = Some(TcpKeepalive {
            idle: limits::UPSTREAM_PROBE_PERIOD,
            interval: limits::UPSTREAM_PROBE_PERIOD / 3,
            count: limits::UPSTREAM_PROBES,
            user_timeout: Duration::ZERO,
        });
        peer.options.max_h2_streams = limits::UPSTREAM_H2_STREAMS;
        peer.options.alpn = match (self.http2, self.tls) {
            (Http2::Auto, true) => ALPN::H2H1,
            (Http2::Auto, false) | (Http2::Never, _) => ALPN::H1,
            (Http2::Only, _) => ALPN::H2,
        };
        peer
    }
}
