//! The plugins: what is there, and the changes that can be asked for. Each change is the lifecycle's to make.

mod ask;
mod config;
mod routes;
mod view;

use serde::Serialize;
use utoipa::ToSchema;

pub use ask::{Activate, Configure, Install, ListPlugins};
pub use config::ConfigView;
pub(super) use routes::routes;
pub use view::PluginView;

use super::{ApiError, Gateway};
use crate::lifecycle::{By, InstallOptions, Installed, InstalledPlugin, Inventory, Report, ScanReport};

/// Plugins in chain order.
#[derive(Serialize, ToSchema)]
pub struct PluginList {
    plugins: Vec<PluginView>,
}

/// What a change of one plugin did.
#[derive(Serialize, ToSchema)]
pub struct Change {
    /// The published generation.
    generation: u64,
    /// False: everything was so already.
    changed: bool,
    /// What is different, one sentence each.
    changes: Vec<String>,
    plugin: PluginView,
}

/// What an uninstallation, a reload or a new order did.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "generation": 4, "changed": true, "changes": ["plugin 'redact' uninstalled"], "takenAway": ["redact"]
})))]
pub struct ChangeReport {
    /// The published generation.
    generation: u64,
    /// False: everything was so already.
    changed: bool,
    /// What is different, one sentence each.
    changes: Vec<String>,
    /// Plugins that requests passed before and no longer pass.
    taken_away: Vec<String>,
}

/// What an installation did.
#[derive(Serialize, ToSchema)]
pub struct Installation {
    generation: u64,
    changed: bool,
    changes: Vec<String>,
    plugins: Vec<InstalledView>,
}

/// A plugin that was installed.
#[derive(Serialize, ToSchema)]
pub(super) struct InstalledView {
    /// The version it took the place of. Null: it is new.
    replaced: Option<String>,
    #[serde(flatten)]
    plugin: PluginView,
}

/// What lies in the folders that are scanned, by plugin name.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({
    "added": ["translate"], "changed": [], "vanished": [], "unchanged": ["redact"], "managed": [], "refused": [
        {"path": "/home/me/.hookway/plugins/half", "errors": ["plugin.json:2:3: unknown key \"nmae\"; did you mean \"name\"?"]}
    ]
})))]
pub struct Scan {
    /// New ones, installed now.
    added: Vec<String>,
    /// Their files are not what they were; what is there now is used from the next start on.
    changed: Vec<String>,
    /// Their folders are gone.
    vanished: Vec<String>,
    unchanged: Vec<String>,
    /// They stand in the configuration, which decides about them.
    managed: Vec<String>,
    refused: Vec<RefusedView>,
}

/// A folder that is no plugin this gateway takes.
#[derive(Serialize, ToSchema)]
pub(super) struct RefusedView {
    path: String,
    /// Each with its file, line and column.
    errors: Vec<String>,
}

impl From<Report> for ChangeReport {
    fn from(report: Report) -> Self {
        let Report { generation, changed, changes, taken_away } = report;
        Self { generation, changed, changes, taken_away }
    }
}

impl From<ScanReport> for Scan {
    fn from(report: ScanReport) -> Self {
        let ScanReport { added, changed, vanished, unchanged, managed, refused } = report;
        let refused = refused.into_iter();
        let refused = refused
            .map(|refused| RefusedView { path: refused.path.display().to_string(), errors: refused.errors });
        Self { added, changed, vanished, unchanged, managed, refused: refused.collect() }
    }
}

impl Installation {
    /// The one plugin it brought, if that is new.
    fn single_new(&self) -> Option<&str> {
        match self.plugins.as_slice() {
            [InstalledView { replaced: None, plugin }] => Some(&plugin.name),
            _ => None,
        }
    }

    fn has_new(&self) -> bool {
        self.plugins.iter().any(|installed| installed.replaced.is_none())
    }
}

/// The plugin of that name, or the answer that there is none.
pub(super) fn find<'i>(inventory: &'i Inventory, name: &str) -> Result<&'i Installed, ApiError> {
    inventory.find(name).ok_or_else(|| ApiError::no_plugin(name))
}

impl Gateway {
    /// All plugins, or those in one state.
    pub fn plugins(&self, asked: &ListPlugins) -> PluginList {
        let (inventory, generation) = (self.lifecycle.inventory(), self.published.lease());
        let plugins = inventory.plugins.iter();
        let plugins =
            plugins.filter(|plugin| asked.status.is_none_or(|status| plugin.observed().as_str() == status));
        PluginList { plugins: plugins.map(|plugin| PluginView::of(plugin, &generation)).collect() }
    }

    pub fn plugin(&self, name: &str) -> Result<PluginView, ApiError> {
        let inventory = self.lifecycle.inventory();
        Ok(PluginView::of(find(&inventory, name)?, &self.published.lease()))
    }

    pub async fn scan(&self, by: By) -> Result<Scan, ApiError> {
        Ok(self.lifecycle.scan(by).await?.into())
    }

    pub async fn install(&self, asked: Install, by: By) -> Result<Installation, ApiError> {
        let Install { path, grant, force } = asked;
        let report = self.lifecycle.install(path, InstallOptions { grant, force }, by).await?;
        let installed = |InstalledPlugin { name, replaced, .. }: InstalledPlugin| {
            Ok(InstalledView { replaced, plugin: self.plugin(&name)? })
        };
        let Report { generation, changed, changes, taken_away: _ } = report.report;
        let plugins = report.plugins.into_iter().map(installed).collect::<Result<_, ApiError>>()?;
        Ok(Installation { generation, changed, changes, plugins })
    }

    pub async fn activate(&self, name: &str, asked: &Activate, by: By) -> Result<Change, ApiError> {
        self.changed(name, self.lifecycle.activate(name, asked.grant, by).await?)
    }

    pub async fn deactivate(&self, name: &str, by: By) -> Result<Change, ApiError> {
        self.changed(name, self.lifecycle.deactivate(name, by).await?)
    }

    pub async fn restart(&self, name: &str, by: By) -> Result<Change, ApiError> {
        self.changed(name, self.lifecycle.restart(name, by).await?)
    }

    pub async fn uninstall(&self, name: &str, by: By) -> Result<ChangeReport, ApiError> {
        Ok(self.lifecycle.uninstall(name, by).await?.into())
    }

    pub async fn configure(&self, name: &str, asked: Configure, by: By) -> Result<Change, ApiError> {
        self.changed(name, self.lifecycle.configure(name, asked.config, by).await?)
    }

    fn changed(&self, name: &str, report: Report) -> Result<Change, ApiError> {
        let Report { generation, changed, changes, taken_away: _ } = report;
        Ok(Change { generation, changed, changes, plugin: self.plugin(name)? })
    }
}
