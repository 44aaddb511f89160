//! A plugin's config as operators read it: with defaults, and without secrets.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::find;
use crate::admin::{ApiError, Gateway};
use crate::lifecycle::{Installed, Origin};

/// A plugin's config.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "config": {"replacement": "***"}, "managed": false,
    "configSchema": {"type": "object", "properties": {"replacement": {"type": "string", "default": "***"}}}
})))]
pub struct ConfigView {
    /// With the defaults of the schema; secrets that are set are null. Null: its manifest does not hold any more, so
    /// nobody can say what in it is a secret.
    #[schema(value_type = Option<Object>)]
    config: Option<Map<String, Value>>,
    /// JSON Schema (2020-12) of what can be set. Null: its manifest does not hold any more.
    config_schema: Option<Value>,
    /// It stands in the configuration, and is changed there.
    managed: bool,
}

impl ConfigView {
    fn of(plugin: &Installed) -> Self {
        let schema = plugin.manifest.as_deref().map(|manifest| &manifest.config_schema);
        let config = schema.map(|schema| {
            // What was accepted under an older schema may no longer fit; it is shown as it is.
            let effective = schema.check(&plugin.config);
            schema.masked(effective.as_ref().unwrap_or(&plugin.config))
        });
        Self {
            config,
            config_schema: schema.map(|schema| schema.json().clone()),
            managed: plugin.origin == Origin::Managed,
        }
    }
}

impl Gateway {
    pub fn config(&self, name: &str) -> Result<ConfigView, ApiError> {
        find(&self.lifecycle.inventory(), name).map(ConfigView::of)
    }
}
