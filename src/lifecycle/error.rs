//! Why a change did not happen. Nothing of it did: the old state serves on.

use crate::document::Errors;
use crate::package::ConfigProblem;
use crate::package::staging::StageError;
use crate::plugin::StartFailure;
use crate::store::StoreError;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LifecycleError {
    #[error("there is no plugin '{plugin}'")]
    Unknown { plugin: String },
    #[error("plugin '{plugin}' stands in the configuration; change it there and reload")]
    Managed { plugin: String },
    /// It exists, and is not in a state in which this can be done.
    #[error("plugin '{plugin}' {why}")]
    WrongState { plugin: String, why: String },
    /// Installed from the same folder's files, or from others that are called the same version.
    #[error(
        "version {version} of '{plugin}' is already installed with {}",
        if *is_same {
            "the same files"
        } else {
            "other files. Increase \"version\" in plugin.json, or run `hookway plugin install --force` (\"force\": true)"
        }
    )]
    AlreadyInstalled { plugin: String, version: String, is_same: bool },
    /// What it asks for in permissions that nobody has granted, in words.
    #[error("plugin '{plugin}' asks for what was not granted: {}", permissions.join(", "))]
    NotGranted { plugin: String, permissions: Vec<String> },
    /// What was asked for is stored, and the running plugin does not follow it.
    #[error("plugin '{plugin}' {why}")]
    NotInForce { plugin: String, why: String },
    /// Files of the configuration or of a package, each problem with its place.
    #[error("{} error(s):\n{}", errors.len(), errors.join("\n"))]
    Invalid { errors: Vec<String> },
    #[error("the config of plugin '{plugin}' has {} error(s): {}", problems.len(), told(problems))]
    Config { plugin: String, problems: Vec<ConfigProblem> },
    #[error("{problem}")]
    Order { problem: String },
    #[error("plugin '{plugin}' failed at {step}: {message}")]
    Failed { plugin: String, step: &'static str, message: String },
    #[error("{message}")]
    Files { message: String },
    #[error("the database: {message}")]
    Store { message: String },
    #[error("the gateway is shutting down")]
    ShuttingDown,
}

impl LifecycleError {
    pub(super) fn invalid(errors: Errors) -> Self {
        Self::Invalid { errors: errors.to_string().lines().map(str::to_owned).collect() }
    }

    pub(super) fn wrong_state(plugin: &str, why: impl Into<String>) -> Self {
        Self::WrongState { plugin: plugin.to_owned(), why: why.into() }
    }

    pub(super) fn failed(plugin: String, failure: StartFailure) -> Self {
        Self::Failed { plugin, step: failure.step(), message: failure.reason }
    }

    /// What is wrong is the plugin itself: its program, its files, or its config.
    pub(super) fn is_of_the_plugin(&self) -> bool {
        match self {
            Self::Failed { .. } | Self::Invalid { .. } | Self::WrongState { .. } | Self::Config { .. } => {
                true
            }
            Self::Unknown { .. }
            | Self::Managed { .. }
            | Self::AlreadyInstalled { .. }
            | Self::NotGranted { .. }
            | Self::NotInForce { .. }
            | Self::Order { .. }
            | Self::Files { .. }
            | Self::Store { .. }
            | Self::ShuttingDown => false,
        }
    }

    /// One error that tells all of `errors`, or none if there are none.
    pub(super) fn all(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => {
                let lines = errors.into_iter().flat_map(|error| match error {
                    Self::Invalid { errors } => errors,
                    other => vec![other.to_string()],
                });
                Err(Self::Invalid { errors: lines.collect() })
            }
        }
    }
}

impl From<StageError> for LifecycleError {
    fn from(error: StageError) -> Self {
        match error {
            StageError::Invalid(errors) => Self::invalid(errors),
            failed @ StageError::Failed { .. } => Self::Files { message: failed.to_string() },
        }
    }
}

impl From<StoreError> for LifecycleError {
    fn from(error: StoreError) -> Self {
        Self::Store { message: error.to_string() }
    }
}

fn told(problems: &[ConfigProblem]) -> String {
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    told.join("; ")
}
