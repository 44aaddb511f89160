//! The tools: which there are, what each does, and what a client may expect of it.

use std::sync::Arc;

use rmcp::model::{Tool, ToolAnnotations};
use serde::Serialize;
use serde_json::Value;

use super::schema;
use crate::admin::{Activate, ApiError, Ask, Configure, Fields, Gateway, Install, ListPlugins, RowPage};
use crate::lifecycle::By;

/// Every tool. The documentation and the tests take the names from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToolName {
    List,
    Install,
    Activate,
    Deactivate,
    Uninstall,
    Configure,
    Executions,
    Scan,
}

/// What a call may do to what is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Looks,
    /// Adds, or changes what can be changed back.
    Changes,
    /// Takes away what cannot be had back.
    Destroys,
}

impl ToolName {
    const ALL: [Self; 8] = [
        Self::List,
        Self::Install,
        Self::Activate,
        Self::Deactivate,
        Self::Uninstall,
        Self::Configure,
        Self::Executions,
        Self::Scan,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::List => "plugin_list",
            Self::Install => "plugin_install",
            Self::Activate => "plugin_activate",
            Self::Deactivate => "plugin_deactivate",
            Self::Uninstall => "plugin_uninstall",
            Self::Configure => "plugin_configure",
            Self::Executions => "plugin_executions",
            Self::Scan => "plugin_scan",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.as_str() == name)
    }

    /// The route that does the same: its `operationId`.
    const fn operation(self) -> &'static str {
        match self {
            Self::List => "list_plugins",
            Self::Install => "install_plugin",
            Self::Activate => "activate_plugin",
            Self::Deactivate => "deactivate_plugin",
            Self::Uninstall => "uninstall_plugin",
            Self::Configure => "set_config",
            Self::Executions => "list_executions",
            Self::Scan => "scan_plugins",
        }
    }

    const fn effect(self) -> Effect {
        match self {
            Self::List | Self::Executions => Effect::Looks,
            Self::Install | Self::Activate | Self::Deactivate | Self::Scan => Effect::Changes,
            // A config takes the place of another one, which nobody keeps.
            Self::Uninstall | Self::Configure => Effect::Destroys,
        }
    }

    /// Whether asking twice does no more than asking once.
    const fn idempotent(self) -> bool {
        match self {
            Self::List
            | Self::Activate
            | Self::Deactivate
            | Self::Configure
            | Self::Executions
            | Self::Scan => true,
            // The same version again, and what is gone already, are errors.
            Self::Install | Self::Uninstall => false,
        }
    }

    /// Does what was asked for; the answer is that of the route.
    pub(super) async fn call(self, gateway: &Gateway, arguments: Value) -> Result<Value, ApiError> {
        let by = By::Mcp;
        Ok(match self {
            Self::List => answer(gateway.plugins(&Fields::of_json::<ListPlugins>(arguments)?)),
            Self::Install => answer(gateway.install(Fields::of_json::<Install>(arguments)?, by).await?),
            Self::Activate => {
                let Named { name, asked } = Fields::of_json::<Named<Activate>>(arguments)?;
                answer(gateway.activate(&name, &asked, by).await?)
            }
            Self::Deactivate => {
                let Named { name, asked: Nothing } = Fields::of_json(arguments)?;
                answer(gateway.deactivate(&name, by).await?)
            }
            Self::Uninstall => {
                let Named { name, asked: Nothing } = Fields::of_json(arguments)?;
                answer(gateway.uninstall(&name, by).await?)
            }
            Self::Configure => {
                let Named { name, asked } = Fields::of_json::<Named<Configure>>(arguments)?;
                answer(gateway.configure(&name, asked, by).await?)
            }
            Self::Executions => {
                let Named { name, asked } = Fields::of_json::<Named<RowPage>>(arguments)?;
                answer(gateway.executions(&name, &asked).await?)
            }
            Self::Scan => {
                let Nothing = Fields::of_json(arguments)?;
                answer(gateway.scan(by).await?)
            }
        })
    }
}

fn answer(answer: impl Serialize) -> Value {
    serde_json::to_value(answer).expect("an answer of the API is plain data")
}

/// What a route has in its path, and the rest.
struct Named<T> {
    name: String,
    asked: T,
}

impl<T: Ask> Ask for Named<T> {
    fn read(fields: &mut Fields) -> Option<Self> {
        let (name, asked) = (fields.text("name"), T::read(fields));
        Some(Self { name: name?, asked: asked? })
    }
}

struct Nothing;

impl Ask for Nothing {
    fn read(_fields: &mut Fields) -> Option<Self> {
        Some(Self)
    }
}

/// The tools as clients are told of them, from the OpenAPI document.
pub(super) fn all(document: &Value) -> Arc<[Tool]> {
    ToolName::ALL.into_iter().map(|tool| described(tool, document)).collect()
}

fn described(tool: ToolName, document: &Value) -> Tool {
    let route = schema::Route::of(document, tool.operation());
    let effect = tool.effect();
    let annotations = ToolAnnotations::with_title(route.title())
        .read_only(effect == Effect::Looks)
        .destructive(effect == Effect::Destroys)
        .idempotent(tool.idempotent())
        // Plugins of this gateway, and nothing beyond it.
        .open_world(false);
    Tool::new(tool.as_str(), route.description(), route.input())
        .with_title(route.title())
        .with_raw_output_schema(route.output().into())
        .with_annotations(annotations)
}
