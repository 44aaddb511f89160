//! What became of the configuration file, for operators: refused or in force, and what it took away.

use std::path::PathBuf;
use std::time::SystemTime;

use super::error::LifecycleError;
use super::report::Report;

/// What the last reloads of the configuration came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFile {
    /// None: the built-in configuration.
    pub path: Option<PathBuf>,
    /// What is on the disk was refused, and what was read before serves on.
    pub refused: Option<RefusedConfig>,
    /// Plugins that the last reload took out of the chain.
    pub taken_away: Vec<String>,
    /// The last reload took away every upstream: the built-in echo answers.
    pub(super) only_echo: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedConfig {
    pub at: SystemTime,
    /// Each with its place, where it has one.
    pub errors: Vec<String>,
}

impl ConfigFile {
    /// A refused reload leaves in force what the one before it did.
    pub(super) fn read(&mut self, result: &Result<Report, LifecycleError>) {
        match result {
            Ok(report) => {
                self.refused = None;
                self.taken_away.clone_from(&report.taken_away);
            }
            Err(LifecycleError::ShuttingDown) => {}
            Err(LifecycleError::Invalid { errors }) => {
                self.refused = Some(RefusedConfig { at: SystemTime::now(), errors: errors.clone() });
            }
            Err(error) => {
                self.refused = Some(RefusedConfig { at: SystemTime::now(), errors: vec![error.to_string()] });
            }
        }
    }

    /// What of it an operator has to know, in sentences.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        let refused = self.refused.as_ref().map(|refused| {
            let path = self.path.as_ref().map_or_else(String::new, |path| format!(" {}", path.display()));
            let first = refused.errors.first().map_or("", String::as_str);
            let more = match refused.errors.len() {
                0 | 1 => String::new(),
                many => format!(" (and {} more errors)", many - 1),
            };
            format!("the configuration file{path} was refused, and the one before it serves: {first}{more}")
        });
        let plugins = self.taken_away.join(", ");
        let taken = (!plugins.is_empty()).then(|| {
            format!("the last reload took plugins out of the chain: {plugins}; another reload ends this note")
        });
        let echo = "the last reload left no upstream but the built-in echo; another reload ends this note";
        refused.into_iter().chain(taken).chain(self.only_echo.then(|| echo.to_owned()))
    }
}
