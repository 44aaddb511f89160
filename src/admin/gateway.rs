//! The gateway as its operator sees it. What can be asked of it is beside what is asked about; each is called by a
//! route, and may be called by anything else that speaks for an operator.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use crate::chain::Published;
use crate::lifecycle::{Lifecycle, Readiness, readiness};
use crate::limits;
use crate::metrics::Metrics;
use crate::plugin::Plugin;
use crate::record::Live;
use crate::store::Store;

/// What the control listener speaks of.
pub struct Gateway {
    pub(super) lifecycle: Lifecycle,
    pub(super) published: Arc<Published<Plugin>>,
    pub(super) store: Arc<Store>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) live: Live,
    pub(super) started: Instant,
    /// Places for readers of the live stream.
    pub(super) streams: Arc<Semaphore>,
    /// True: the live streams end.
    pub(super) ending: watch::Sender<bool>,
    draining: AtomicBool,
}

impl Gateway {
    pub fn new(
        lifecycle: Lifecycle,
        published: Arc<Published<Plugin>>,
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        live: Live,
    ) -> Self {
        Self {
            lifecycle,
            published,
            store,
            metrics,
            live,
            started: Instant::now(),
            streams: Arc::new(Semaphore::new(limits::EVENT_STREAMS_MAX)),
            ending: watch::Sender::new(false),
            draining: AtomicBool::new(false),
        }
    }

    /// How long requests may take to finish once the end has begun.
    pub fn shutdown_grace(&self) -> Duration {
        self.published.lease().config.shutdown_grace
    }

    /// Not ready from now on, and never again.
    pub fn draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Nothing more will be told: the live streams end, and new ones end at once.
    pub(super) fn ending(&self) {
        self.ending.send_replace(true);
    }

    pub fn ready(&self) -> Readiness {
        if self.is_draining() {
            return Readiness { ready: false, notes: vec!["the gateway is shutting down".to_owned()] };
        }
        let mut readiness = readiness(&self.published.lease(), &self.lifecycle.inventory().config_file);
        if !self.lifecycle.is_running() {
            readiness.notes.push("plugins and configuration cannot be changed until a restart".to_owned());
        }
        readiness
    }
}
