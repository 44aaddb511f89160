//! What came of a reload, and whether the gateway serves as configured.

use serde::Serialize;

use super::build::Running;
use crate::chain::Generation;
use crate::config::{Changes, Errors};
use crate::plugin::{Plugin, PluginState};

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReloadReport {
    /// The published generation.
    pub generation: u64,
    /// False: the configuration says the same as before.
    pub changed: bool,
    /// What is different, one sentence each.
    pub changes: Vec<String>,
}

/// Why a reload changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    #[error("the configuration has {} error(s):\n{}", errors.len(), errors.join("\n"))]
    Invalid { errors: Vec<String> },
    #[error("plugin '{plugin}' failed at {step}: {message}")]
    Plugin { plugin: String, step: &'static str, message: String },
    #[error("the gateway is shutting down")]
    ShuttingDown,
}

impl ReloadError {
    pub(super) fn invalid(errors: Errors) -> Self {
        Self::Invalid { errors: errors.to_string().lines().map(str::to_owned).collect() }
    }
}

/// Whether requests are served as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Readiness {
    pub ready: bool,
    /// What is not as it should be, for people: it may serve all the same.
    pub notes: Vec<String>,
}

/// A plugin that is not up costs its own verdict and no more, so it is told and the gateway stays ready.
pub fn readiness(generation: &Generation<Plugin>) -> Readiness {
    let notes = generation.members.iter().filter_map(|member| {
        let status = member.hook.status();
        let reason = status.reason.map_or(String::new(), |reason| format!(": {reason}"));
        (status.state != PluginState::Active)
            .then(|| format!("plugin '{}' is {}{reason}", member.name, status.state.as_str()))
    });
    Readiness { ready: true, notes: notes.collect() }
}

pub(super) fn sentences(changes: &Changes, started: &[Running]) -> Vec<String> {
    let lists = [("upstream", &changes.upstreams), ("plugin", &changes.plugins)];
    let mut sentences: Vec<String> = changes
        .restart
        .iter()
        .map(|key| format!("{key} changed; it takes a restart to take effect"))
        .collect();
    sentences.extend(changes.live.iter().map(|key| format!("{key} changed")));
    for (what, difference) in lists {
        let told = [
            ("added", &difference.added),
            ("removed", &difference.removed),
            ("changed", &difference.changed),
        ];
        for (how, names) in told {
            sentences.extend(names.iter().map(|name| format!("{what} '{name}' {how}")));
        }
    }
    let known =
        |name: &str| changes.plugins.added.iter().chain(&changes.plugins.changed).any(|known| known == name);
    sentences.extend(
        started
            .iter()
            .map(|running| running.plugin.name())
            .filter(|name| !known(name))
            .map(|name| format!("plugin '{name}' changed on disk")),
    );
    sentences
}
