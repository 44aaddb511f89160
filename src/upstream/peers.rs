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
    /// Held by the one request that looks the name up; the others wait for what it finds.
    looking: tokio::sync::Mutex<()>,
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
            looking: tokio::sync::Mutex::new(()),
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
        self.found(turn, async || {
            let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
            Ok(found.take(limits::ADDRESSES_TRIED).collect())
        })
        .await
    }

    /// What is remembered, else what `look_up` finds. One look-up at a time: each is a thread that blocks.
    async fn found(
        &self,
        turn: usize,
        look_up: impl AsyncFnOnce() -> std::io::Result<Vec<SocketAddr>>,
    ) -> std::io::Result<Option<Arc<HttpPeer>>> {
        if let Some(peer) = self.remembered(turn, Instant::now()) {
            return Ok(peer);
        }
        let _looking = self.looking.lock().await;
        if let Some(peer) = self.remembered(turn, Instant::now()) {
            return Ok(peer);
        }
        let found = look_up().await?;
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn peers() -> Peers {
        Peers {
            host: "up.test".to_owned(),
            port: 80,
            tls: false,
            http2: Http2::Never,
            connect_timeout: Duration::from_secs(1),
            literal: None,
            known: Mutex::new(None),
            looking: tokio::sync::Mutex::new(()),
        }
    }

    #[tokio::test]
    async fn requests_that_come_together_look_a_name_up_once() {
        let peers = peers();
        let asked = AtomicUsize::new(0);
        let look_up = async || {
            asked.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok(vec![SocketAddr::from(([127, 0, 0, 1], 80))])
        };
        let found = futures_util::future::join_all((0..10).map(|_| peers.found(0, look_up))).await;
        assert!(found.into_iter().all(|peer| peer.unwrap().is_some()));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        peers.forget();
        assert!(peers.found(0, look_up).await.unwrap().is_some());
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_look_up_that_fails_leaves_the_next_request_to_try() {
        let peers = peers();
        let failed = peers.found(0, async || Err(std::io::ErrorKind::NotFound.into())).await;
        assert!(failed.is_err());
        let found = peers.found(0, async || Ok(vec![SocketAddr::from(([127, 0, 0, 1], 80))])).await;
        assert!(found.unwrap().is_some());
    }
}
