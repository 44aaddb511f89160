//! An upstream across the network: its settings made ready, its connections, its health.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::attempt::AttemptError;
use super::connections::{Connected, Connections, Source};
use super::credentials;
use super::exchange::Exchange;
use super::head::Outgoing;
use super::health::Health;
use super::network::Network;
use super::settlement::Settlement;
use crate::config::OpenAiUpstream;
use crate::metrics::UpstreamMetrics;

pub(super) struct Remote {
    pub(super) settings: OpenAiUpstream,
    pub(super) host: HeaderValue,
    pub(super) authorization: Option<HeaderValue>,
    /// The settings bring credentials of their own: then the client's go no further than here.
    pub(super) has_own_key: bool,
    pub(super) connections: Connections,
    metrics: Arc<UpstreamMetrics>,
    health: Arc<Health>,
}

impl Remote {
    pub(super) fn new(
        name: &str,
        settings: OpenAiUpstream,
        metrics: UpstreamMetrics,
    ) -> Result<Self, String> {
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
        let sets_key = settings.headers.iter().any(|(name, _)| credentials::is_field(name));
        let metrics = Arc::new(metrics);
        Ok(Self {
            has_own_key: authorization.is_some() || sets_key,
            connections: Connections::new(&settings)?,
            health: Health::new(name, settings.breaker, metrics.clone()),
            metrics,
            host,
            authorization,
            settings,
        })
    }

    /// Whether the upstream's settings give this field a value of their own.
    pub(super) fn sets(&self, name: &HeaderName) -> bool {
        self.settings.headers.iter().any(|(set, _)| set == name)
    }

    /// Sends a whole request and waits for the answer's head. See [`Network::reconnect`] for what a connection that
    /// had died unseen costs.
    pub(super) async fn send(
        self: &Arc<Self>,
        request: Outgoing<'_>,
        body: &Bytes,
    ) -> Result<Exchange, AttemptError> {
        let mut network = self.connect(request).await?;
        if let Err(error) = deliver(&mut network, request, body).await {
            network.reconnect(error, request).await?;
            deliver(&mut network, request, body).await?;
        }
        Ok(Exchange::network(network))
    }

    /// Connects (or takes a pooled connection) and writes the head; the body follows part by part.
    pub(super) async fn open(self: &Arc<Self>, request: Outgoing<'_>) -> Result<Exchange, AttemptError> {
        let mut network = self.connect(request).await?;
        network.keep();
        if let Err(error) = network.write_head(request, false).await {
            network.resend(error, request).await?;
        }
        Ok(Exchange::network(network))
    }

    /// A connection for an attempt that the breaker lets through.
    async fn connect(self: &Arc<Self>, request: Outgoing<'_>) -> Result<Box<Network>, AttemptError> {
        let pass = self
            .health
            .admit(request.model, request.alternative, Instant::now())
            .map_err(AttemptError::breaker_open)?;
        let mut settlement = Settlement::new(self.metrics.clone(), Some(pass));
        match self.connections.get(request.rules.upgrade, Source::Any).await {
            Ok(connected) => Ok(Box::new(Network::new(self.clone(), connected, settlement))),
            Err(error) => Err(settlement.failed(error)),
        }
    }

    /// A connection that served no request before.
    pub(super) async fn connect_anew(&self, request: Outgoing<'_>) -> Result<Connected, AttemptError> {
        self.connections.get(request.rules.upgrade, Source::New).await
    }
}

/// Writes the head and the body and waits for the answer's head. An upstream that answers early and stops reading
/// fails the write; its answer counts all the same.
async fn deliver(network: &mut Network, request: Outgoing<'_>, body: &Bytes) -> Result<(), AttemptError> {
    network.write_head(request, !body.is_empty()).await?;
    let written = async {
        network.write(body.clone()).await?;
        network.end().await
    }
    .await;
    match written {
        Ok(()) => network.read_head().await,
        Err(error) => network.read_head().await.map_err(|_| error),
    }
}
