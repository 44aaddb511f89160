//! One attempt at one upstream, classified, and the health of each.
//!
//! An [`Upstream`] is a remote one with its own connections and breaker, or the built-in echo. It never
//! retries beyond a dead pooled connection, and knows neither hooks nor clients.

mod attempt;
mod breaker;
mod connections;
mod credentials;
mod echo;
mod exchange;
mod fields;
mod framing;
mod gather;
mod head;
mod health;
mod idle;
mod network;
mod patience;
mod peers;
mod remote;
mod settlement;

use std::sync::Arc;

use bytes::Bytes;

pub use attempt::AttemptError;
pub use exchange::Exchange;
pub use fields::{RequestRules, asks_for_web_socket, is_hop_by_hop, strip_agreement, strip_answer};
pub use head::{Length, Outgoing};
pub use patience::in_time;

use crate::config;
use crate::metrics::{Metrics, UpstreamMetrics};
use remote::Remote;

/// One configured upstream, shared by every generation that keeps its settings.
#[derive(Clone)]
pub struct Upstream {
    /// As configured; two upstreams with equal settings are the same one.
    pub settings: Arc<config::Upstream>,
    name: Arc<str>,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Echo(Arc<UpstreamMetrics>),
    Remote(Arc<Remote>),
}

impl Upstream {
    /// Prepares connections to an upstream; opens none.
    pub fn new(settings: config::Upstream, metrics: &Metrics) -> Result<Self, String> {
        let kind = match &settings.kind {
            config::UpstreamKind::Echo => Kind::Echo(Arc::new(metrics.upstream(&settings.name))),
            config::UpstreamKind::OpenAi(remote) => {
                let remote =
                    Remote::new(&settings.name, (**remote).clone(), metrics.upstream(&settings.name))
                        .map_err(|error| format!("upstream '{}': {error}", settings.name))?;
                Kind::Remote(Arc::new(remote))
            }
        };
        Ok(Self { name: settings.name.as_str().into(), settings: Arc::new(settings), kind })
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The built-in upstream takes whole requests only.
    pub fn is_echo(&self) -> bool {
        matches!(self.kind, Kind::Echo(_))
    }

    /// Sends a whole request and waits for the answer's head.
    pub async fn send(&self, request: Outgoing<'_>, body: &Bytes) -> Result<Exchange, AttemptError> {
        match &self.kind {
            Kind::Echo(metrics) => Ok(echo::exchange(request, body, metrics.clone())),
            Kind::Remote(remote) => remote.send(request, body).await,
        }
    }

    /// Opens a request whose body follows part by part.
    pub async fn open(&self, request: Outgoing<'_>) -> Result<Exchange, AttemptError> {
        match &self.kind {
            Kind::Echo(metrics) => Ok(echo::exchange(request, &Bytes::new(), metrics.clone())),
            Kind::Remote(remote) => remote.open(request).await,
        }
    }
}
