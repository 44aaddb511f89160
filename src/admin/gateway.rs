//! What the control listener tells of the running gateway, and how a reload reaches it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Control;
use crate::chain::{Generation, Published};
use crate::hook::HookName;
use crate::lifecycle::{By, Lifecycle, LifecycleError, Readiness, Report, readiness};
use crate::plugin::Plugin;

/// The gateway as its operator sees it.
pub struct Gateway {
    lifecycle: Lifecycle,
    published: Arc<Published<Plugin>>,
    started: Instant,
    draining: AtomicBool,
}

impl Gateway {
    pub fn new(lifecycle: Lifecycle, published: Arc<Published<Plugin>>) -> Self {
        Self { lifecycle, published, started: Instant::now(), draining: AtomicBool::new(false) }
    }

    /// How long requests may take to finish once the end has begun.
    pub fn shutdown_grace(&self) -> Duration {
        self.published.lease().config.shutdown_grace
    }

    /// Not ready from now on, and never again.
    pub fn draining(&self) {
        self.draining.store(true, Ordering::Release);
    }
}

impl Control for Gateway {
    async fn status(&self) -> Value {
        let generation = self.published.lease();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "protocols": [hookway_wire::PROTOCOL],
            "uptimeSeconds": self.started.elapsed().as_secs(),
            "draining": self.draining.load(Ordering::Acquire),
            "sandbox": "process",
            "generation": generation.number,
            "upstreams": generation.upstreams.iter().map(|upstream| &**upstream.name()).collect::<Vec<_>>(),
            "plugins": generation.members.iter().map(|member| plugin(&member.hook)).collect::<Vec<_>>(),
        })
    }

    async fn chain(&self) -> Value {
        let generation = self.published.lease();
        let since = generation.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        let members: Vec<Value> = generation
            .members
            .iter()
            .map(|member| {
                json!({
                    "name": *member.name,
                    "version": &*member.version,
                    "priority": member.priority,
                    "hooks": member.hooks.iter().map(|hook| hook.spec.name.as_str()).collect::<Vec<_>>(),
                })
            })
            .collect();
        json!({
            "generation": generation.number,
            "hash": hash(&generation),
            "since": httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since),
            "sinceUnixMs": u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            "members": members,
        })
    }

    fn ready(&self) -> Readiness {
        if self.draining.load(Ordering::Acquire) {
            return Readiness { ready: false, notes: vec!["the gateway is shutting down".to_owned()] };
        }
        readiness(&self.published.lease())
    }

    async fn reload(&self) -> Result<Report, LifecycleError> {
        self.lifecycle.reload(By::Api).await
    }
}

fn plugin(plugin: &Plugin) -> Value {
    let status = plugin.status();
    json!({
        "name": plugin.name(),
        "version": plugin.spec().version,
        "state": status.state.as_str(),
        "hooks": status.hooks.into_iter().map(HookName::as_str).collect::<Vec<_>>(),
        "pid": status.pid,
        "restarts": status.restarts,
        "reason": status.reason,
    })
}

/// Tells two chains apart: their plugins, versions, order and config. Names nothing of them.
fn hash(generation: &Generation<Plugin>) -> String {
    let mut hash = Sha256::new();
    for member in &generation.members {
        let config = serde_json::to_string(&member.hook.config()).unwrap_or_default();
        for part in [&*member.name, &member.version, &member.priority.to_string(), &config] {
            hash.update(part);
            hash.update([0]);
        }
    }
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
