//! What came of a change, and whether the gateway serves as configured.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::config_file::ConfigFile;
use crate::chain::Generation;
use crate::config::Changes;
use crate::plugin::{Plugin, PluginState};

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The published generation.
    pub generation: u64,
    /// False: everything was so already.
    pub changed: bool,
    /// What is different, one sentence each.
    pub changes: Vec<String>,
    /// Plugins that requests no longer pass.
    pub taken_away: Vec<String>,
}

/// What an installation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallReport {
    pub report: Report,
    pub plugins: Vec<InstalledPlugin>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledPlugin {
    pub name: String,
    pub version: String,
    /// The version it took the place of.
    pub replaced: Option<String>,
}

impl fmt::Display for InstalledPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// What lies in the folders that are scanned, by plugin name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// New ones, installed now.
    pub added: Vec<String>,
    /// Their files are not what they were; what is there now is accepted, and used from the next start on.
    pub changed: Vec<String>,
    /// Their folders are gone.
    pub vanished: Vec<String>,
    pub unchanged: Vec<String>,
    /// They stand in the configuration, which decides about them.
    pub managed: Vec<String>,
    pub refused: Vec<Refused>,
}

/// A folder that is no plugin this gateway takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub path: PathBuf,
    pub errors: Vec<String>,
}

/// Whether requests are served as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Readiness {
    pub ready: bool,
    /// What is not as it should be, for people: it may serve all the same.
    pub notes: Vec<String>,
}

/// A plugin that is not up costs its own verdict and no more, so it is told and the gateway stays ready. So it does with
/// a configuration file that is refused: the one before it serves.
pub fn readiness(generation: &Generation<Plugin>, config_file: &ConfigFile) -> Readiness {
    let plugins = generation.members.iter().filter_map(|member| {
        let status = member.hook.status();
        let reason = status.reason.map_or(String::new(), |reason| format!(": {reason}"));
        (status.state != PluginState::Active)
            .then(|| format!("plugin '{}' is {}{reason}", member.name, status.state.as_str()))
    });
    Readiness { ready: true, notes: config_file.notes().chain(plugins).collect() }
}

/// `started` are names of plugins that were started anew.
pub(super) fn sentences(changes: &Changes, started: &[String]) -> Vec<String> {
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
        |name: &String| changes.plugins.added.iter().chain(&changes.plugins.changed).any(|is| is == name);
    let unforeseen = started.iter().filter(|name| !known(name));
    sentences.extend(unforeseen.map(|name| format!("plugin '{name}' changed on disk")));
    sentences
}
