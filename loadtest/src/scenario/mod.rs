//! What a scenario file says: the request, the answer, the peers side by side, what changes under them, and
//! what must hold. One TOML file in `scenarios/` each; a key that is not known is an error.

pub(crate) mod target;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::load::failure::Failure;
use crate::upstream::script::Script;
use target::Target;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// One line for the head of its table.
    pub(crate) about: String,
    pub(crate) request: RequestShape,
    /// The upstream's script; see `upstream::script`.
    pub(crate) answer: String,
    #[serde(default = "ten_seconds")]
    pub(crate) timeout_ms: u64,
    /// Constant arrival rate: latency, and CPU at a rate all peers hold.
    pub(crate) open: Option<OpenLoop>,
    /// As fast as so many connections go: CPU at saturation, and throughput.
    pub(crate) closed: Option<ClosedLoop>,
    /// Not part of the form that is left out.
    pub(crate) short: Option<Length>,
    pub(crate) long: Option<Length>,
    /// Time the raw Unix socket with a body of this size in every round.
    pub(crate) socket_bytes: Option<usize>,
    /// Peers whose program is not installed are left out instead of failing the run.
    #[serde(default)]
    pub(crate) optional: bool,
    pub(crate) change: Option<Change>,
    #[serde(rename = "peer")]
    pub(crate) peers: Vec<Peer>,
    #[serde(default, rename = "explain")]
    pub(crate) explanations: Vec<Explanation>,
    #[serde(default, rename = "target")]
    pub(crate) targets: Vec<Target>,
    #[serde(default)]
    pub(crate) plot: Plot,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestShape {
    pub(crate) body_bytes: usize,
    #[serde(default)]
    pub(crate) stream: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenLoop {
    pub(crate) per_second: f64,
    pub(crate) connections_max: usize,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClosedLoop {
    pub(crate) connections: usize,
    /// Ends before its time once so many were sent.
    #[serde(default = "no_limit")]
    pub(crate) requests_max: u64,
}

/// How long a form of the run measures: so many rounds over all peers, so long at each in each loop.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Length {
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
}

/// What is done to a gateway while it is under load. It starts after a quarter of the time and ends after three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
pub(crate) enum Change {
    /// The plugins' config is rewritten and SIGHUP sent.
    Reload { every_ms: u64, slot_ms: u64 },
    /// SIGKILL to every plugin.
    Kill { every_ms: u64, slot_ms: u64 },
    /// SIGSTOP to every plugin, again and again, so that one that was restarted hangs too; then SIGCONT.
    Hang { every_ms: u64, slot_ms: u64 },
    /// Nothing: the upstream changes by its own script.
    Upstream { slot_ms: u64 },
}

impl Change {
    pub(crate) fn slot(self) -> Duration {
        match self {
            Self::Reload { slot_ms, .. }
            | Self::Kill { slot_ms, .. }
            | Self::Hang { slot_ms, .. }
            | Self::Upstream { slot_ms } => Duration::from_millis(slot_ms),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) kind: PeerKind,
    /// Only for `hookway`; in chain order.
    #[serde(default)]
    pub(crate) plugins: Vec<Plugins>,
    /// Only for `hookway`: lines for its `[[upstream]]`.
    #[serde(default)]
    pub(crate) upstream: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PeerKind {
    /// No proxy at all.
    Direct,
    Bare,
    Hookway,
    Nginx,
    Haproxy,
}

/// So many alike in a row.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plugins {
    pub(crate) sdk: Sdk,
    #[serde(default = "one")]
    pub(crate) count: usize,
    pub(crate) body: Body,
    /// It declares that it changes nothing, so that neighbours run concurrently.
    #[serde(default)]
    pub(crate) observe: bool,
    #[serde(default = "closed")]
    pub(crate) on_failure: OnFailure,
    pub(crate) timeout_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sdk {
    Rust,
    Python,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Body {
    None,
    Pointers,
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnFailure {
    Open,
    Closed,
}

/// A failure that has a reason in this scenario. Any other fails the run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Explanation {
    pub(crate) status: Option<u16>,
    /// The gateway's `x-hookway-cause`.
    pub(crate) cause: Option<String>,
    /// The code of the error in the body.
    pub(crate) code: Option<String>,
    pub(crate) why: String,
}

impl Explanation {
    pub(crate) fn covers(&self, failure: &Failure) -> bool {
        let Failure::Status { status, cause, plugin: _, code } = failure else { return false };
        let agrees = |wanted: &Option<String>, told: &Option<String>| wanted.is_none() || wanted == told;
        self.status.is_none_or(|wanted| wanted == *status)
            && agrees(&self.cause, cause)
            && agrees(&self.code, code)
    }
}

/// Which plots a scenario is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Plot {
    #[default]
    Percentiles,
    /// CPU and added latency against the number of plugins, told from the peers' chains.
    Chain,
    Timeline,
}

fn ten_seconds() -> u64 {
    10_000
}

fn no_limit() -> u64 {
    u64::MAX
}

fn one() -> usize {
    1
}

fn closed() -> OnFailure {
    OnFailure::Closed
}

impl Scenario {
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let scenario: Self = toml::from_str(text)?;
        scenario.answer.parse::<Script>().context("answer")?;
        ensure!(!scenario.peers.is_empty(), "a scenario has at least one [[peer]]");
        ensure!(scenario.open.is_some() || scenario.closed.is_some(), "a scenario has [open] or [closed]");
        let names: Vec<&str> = scenario.peers.iter().map(|peer| &*peer.name).collect();
        for (index, name) in names.iter().enumerate() {
            ensure!(!names[..index].contains(name), "two peers are named {name}");
        }
        for target in &scenario.targets {
            target.check(&names, scenario.socket_bytes.is_some())?;
        }
        for length in [scenario.short, scenario.long].into_iter().flatten() {
            ensure!(length.rounds > 0 && length.seconds > 0.0, "a form has rounds and seconds above 0");
        }
        ensure!(
            scenario.change.is_none() || scenario.open.is_some(),
            "a change is measured over time, which takes [open]"
        );
        Ok(scenario)
    }

    /// Every scenario of a folder, in the order of the file names.
    pub(crate) fn load_all(folder: &Path) -> anyhow::Result<Vec<Self>> {
        let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
        let mut files: Vec<_> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
        files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        files.sort();
        let load = |path: &std::path::PathBuf| {
            let text = std::fs::read_to_string(path)?;
            Self::parse(&text).with_context(|| format!("in {}", path.display()))
        };
        files.iter().map(load).collect()
    }

    /// The upstream's script. Checked when the scenario was parsed.
    pub(crate) fn script(&self) -> Script {
        self.answer.parse().expect("the script was parsed with the scenario")
    }
}

#[cfg(test)]
mod tests;
