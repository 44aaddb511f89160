//! What can be asked of plugins.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::admin::fields::{Ask, Fields};
use crate::lifecycle::Observed;

/// Which plugins.
pub struct ListPlugins {
    /// Those in this state; None: all.
    pub status: Option<&'static str>,
}

/// A plugin to install.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"path": "/home/me/plugins/translate"})))]
pub struct Install {
    /// A plugin's folder, or one with several plugins in it: an absolute path on the gateway's machine.
    #[schema(value_type = String, pattern = "^/")]
    pub path: PathBuf,
    /// Grants what the plugin asks for: what its hooks see and change, and its `permissions`. Of an upgrade, what it asks
    /// for beyond what the version before was granted.
    #[schema(required = false, default = false)]
    pub grant: bool,
    /// Takes other files of the version that is installed. Config, order and grants stay. A pre-release version, and a
    /// plugin that was never active, need no force.
    #[schema(required = false, default = false)]
    pub force: bool,
}

/// How to activate a plugin.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"grant": true})))]
pub struct Activate {
    /// Grants what the plugin asks for and was not granted before: what its hooks see and change of requests, and its
    /// `permissions`. Without it, a plugin that asks for something is refused with the list of it.
    #[schema(required = false, default = false)]
    pub grant: bool,
}

/// A plugin's config, in place of the one it had.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"config": {"replacement": "***"}})))]
pub struct Configure {
    /// As its `configSchema` has it. A secret that is null keeps its value.
    #[schema(value_type = Object)]
    pub config: Map<String, Value>,
}

impl Ask for ListPlugins {
    fn read(fields: &mut Fields) -> Option<Self> {
        let words = Observed::ALL.map(|observed| (observed.as_str(), observed.as_str()));
        Some(Self { status: fields.word("status", &words) })
    }
}

impl Ask for Install {
    fn read(fields: &mut Fields) -> Option<Self> {
        let (path, grant) = (fields.absolute_path("path"), fields.flag("grant"));
        let force = fields.flag("force");
        Some(Self { path: path?, grant, force })
    }
}

impl Ask for Activate {
    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Self { grant: fields.flag("grant") })
    }
}

impl Ask for Configure {
    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Self { config: fields.object("config")? })
    }
}
