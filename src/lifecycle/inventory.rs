//! What is installed and what of it is wanted, as of the last change; what is observed is asked of the plugins.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::config_file::ConfigFile;
use crate::package::{Manifest, Package, Permissions};
use crate::plugin::{Journal, Plugin, PluginState, PluginStatus};

/// Everything the gateway knows of plugins at one moment, in chain order.
#[derive(Clone, Default)]
pub struct Inventory {
    /// The published generation.
    pub generation: u64,
    pub plugins: Vec<Installed>,
    pub config_file: ConfigFile,
}

/// Who decides about a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A `[[plugin]]` entry: changed there, and nowhere else.
    Managed,
    /// Installed or found by a scan: changed through the admin API.
    #[default]
    Stored,
}

/// One plugin: what is wanted, and the handle of what is.
#[derive(Clone, Default)]
pub struct Installed {
    pub name: Arc<str>,
    pub origin: Origin,
    pub version: String,
    /// None: what was written does not hold any more, as `error` says.
    pub manifest: Option<Arc<Manifest>>,
    pub directory: PathBuf,
    /// SHA-256 of the folder when it was accepted, in hexadecimal.
    pub digest: String,
    pub enabled: bool,
    /// Of the manifest; lower runs earlier.
    pub priority: i32,
    /// Where the configuration or an operator put it, on the scale of the priorities, which it overrides.
    pub position: Option<i64>,
    /// As the operator gave it, secrets included, without defaults.
    pub config: Map<String, Value>,
    /// None: never activated, so nobody was asked yet.
    pub grants: Option<Permissions>,
    /// Where it was installed from.
    pub source: Option<String>,
    /// Why it is not as wanted.
    pub error: Option<String>,
    pub installed_at: Option<SystemTime>,
    pub updated_at: Option<SystemTime>,
    pub activated_at: Option<SystemTime>,
    /// While it is enabled.
    pub plugin: Option<Arc<Plugin>>,
    /// What it printed, in all its processes.
    pub journal: Arc<Journal>,
}

/// What an operator sees of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// There, and not wanted to run.
    Installed,
    Is(PluginState),
}

impl Observed {
    pub const ALL: [Self; 6] = [
        Self::Installed,
        Self::Is(PluginState::Starting),
        Self::Is(PluginState::Active),
        Self::Is(PluginState::Degraded),
        Self::Is(PluginState::Broken),
        Self::Is(PluginState::Stopped),
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Is(state) => state.as_str(),
        }
    }
}

impl Inventory {
    pub fn find(&self, name: &str) -> Option<&Installed> {
        self.plugins.iter().find(|plugin| *plugin.name == *name)
    }
}

impl Installed {
    /// What lies in the folder is what counts from now on.
    pub(super) fn accept(&mut self, package: &Package) {
        self.version = package.manifest.version.to_string();
        self.digest = package.digest.to_string();
        self.priority = package.manifest.priority;
        self.manifest = Some(Arc::new(package.manifest.clone()));
        self.error = None;
    }

    /// It is enabled, and nobody ever granted it anything: its row in the database was lost.
    pub(super) fn is_lost(&self) -> bool {
        self.origin == Origin::Stored && self.enabled && self.grants.is_none()
    }

    /// What the chain is sorted by, before the name.
    pub fn rank(&self) -> i64 {
        self.position.unwrap_or(i64::from(self.priority))
    }

    /// What it asks for and was not granted, in words. What stands in the configuration is granted by that.
    pub fn not_granted(&self) -> Vec<String> {
        self.manifest.as_ref().map(|manifest| self.lacks(&manifest.permissions)).unwrap_or_default()
    }

    /// What of `asked` was not granted to it, in words.
    pub(super) fn lacks(&self, asked: &Permissions) -> Vec<String> {
        match (self.origin, &self.grants) {
            (Origin::Stored, Some(grants)) => asked.added(grants),
            (Origin::Stored, None) => asked.words(),
            (Origin::Managed, _) => Vec::new(),
        }
    }

    /// What its manifest asks for that this version does not do.
    pub fn notices(&self, chain_budget: Duration) -> Vec<String> {
        self.manifest.as_ref().map(|manifest| manifest.notices(chain_budget)).unwrap_or_default()
    }

    pub fn observed(&self) -> Observed {
        self.status().map_or(Observed::Installed, |status| Observed::Is(status.state))
    }

    pub fn status(&self) -> Option<PluginStatus> {
        self.plugin.as_ref().map(|plugin| plugin.status())
    }
}
