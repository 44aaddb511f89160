//! The one actor that changes what is published.
//!
//! It takes one command at a time, and each runs the same way: the next state is built beside the old one, plugins
//! that are new in it are started and have to become ready, the database takes the change, and one swap publishes it.
//! What fails anywhere is dropped whole, and the answer names the plugin and the step. The actor knows no request
//! and no admin JSON; who only wants to see what is there reads the [`Inventory`] and waits for nobody.

mod actor;
mod build;
mod change;
mod config_file;
mod ending;
mod error;
mod install;
mod inventory;
mod journals;
mod observe;
mod order;
mod recovery;
mod reload;
mod removal;
mod report;
mod resolve;
mod row;
mod scan;
mod source;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch};

use crate::chain::Published;
use crate::config::Config;
use crate::limits;
use crate::plugin::Plugin;
use crate::store::{Note, NoteOutcome};

pub use build::Ground;
pub use config_file::{ConfigFile, RefusedConfig};
pub use error::LifecycleError;
pub use inventory::{Installed, Inventory, Observed, Origin};
pub use report::{InstallReport, InstalledPlugin, Readiness, Refused, Report, ScanReport, readiness};
pub use source::Source;

use actor::Actor;
use removal::Removal;

/// Who asked for a change, for the audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Api,
    Cli,
    Mcp,
    Signal,
    /// The configuration file changed.
    File,
    /// Nobody: it follows from something that was asked for earlier.
    Gateway,
}

impl By {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Cli => "cli",
            Self::Mcp => "mcp",
            Self::Signal => "signal",
            Self::File => "file change",
            Self::Gateway => "gateway",
        }
    }

    /// What the audit keeps of a change. `detail` holds no secret.
    fn note(self, action: &str, plugin: Option<&str>, detail: Value) -> Note {
        Note {
            who: self.as_str().to_owned(),
            action: action.to_owned(),
            plugin: plugin.map(str::to_owned),
            detail,
            outcome: NoteOutcome::Done,
        }
    }
}

/// What an operator allows an installation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstallOptions {
    /// What the plugin asks for is granted.
    pub grant: bool,
    /// Other files of the installed version take its place.
    pub force: bool,
}

/// Where a command's answer goes.
type Reply<T> = oneshot::Sender<Result<T, LifecycleError>>;

/// What the actor does next.
enum Command {
    Reload {
        by: By,
        reply: Reply<Report>,
    },
    Scan {
        by: By,
        reply: Reply<ScanReport>,
    },
    Install {
        path: PathBuf,
        options: InstallOptions,
        by: By,
        reply: Reply<InstallReport>,
    },
    Activate {
        plugin: String,
        grant: bool,
        by: By,
        reply: Reply<Report>,
    },
    Deactivate {
        plugin: String,
        by: By,
        reply: Reply<Report>,
    },
    Uninstall {
        plugin: String,
        by: By,
        reply: Reply<Report>,
    },
    Restart {
        plugin: String,
        by: By,
        reply: Reply<Report>,
    },
    Configure {
        plugin: String,
        config: Map<String, Value>,
        by: By,
        reply: Reply<Report>,
    },
    Reorder {
        first: Vec<String>,
        by: By,
        reply: Reply<Report>,
    },
    /// Nothing runs any more from files that are to go.
    RemoveFiles {
        removal: Removal,
    },
}

/// The way to the actor. A command that was accepted is carried out, whether or not its caller waits for the answer.
#[derive(Clone)]
pub struct Lifecycle {
    commands: mpsc::Sender<Command>,
    /// True: the actor ends, whatever waits in its queue.
    ending: Arc<watch::Sender<bool>>,
    inventory: watch::Receiver<Arc<Inventory>>,
}

impl Lifecycle {
    /// Builds and publishes the first generation, then starts the actor on the current runtime.
    ///
    /// A plugin that does not become ready does not hold up the rest: its `onFailure` verdict applies until it
    /// does. The same goes for an installed one whose files are not what they were. A folder that the configuration
    /// names and that holds no valid manifest is an error, for nobody could say which hooks it has.
    pub async fn start(
        source: Source,
        config: Config,
        ground: Ground,
    ) -> Result<(Self, Arc<Published<Plugin>>), LifecycleError> {
        let (commands, queue) = mpsc::channel(limits::LIFECYCLE_EVENTS);
        let (ending, ends) = watch::channel(false);
        let actor = Actor::new(source, config, ground, commands.downgrade(), ends).await?;
        let (published, inventory) = (actor.published(), actor.inventory());
        tokio::spawn(actor.run(queue));
        Ok((Self { commands, ending: Arc::new(ending), inventory }, published))
    }

    /// What is there, as of the last change. Never waits.
    pub fn inventory(&self) -> Arc<Inventory> {
        self.inventory.borrow().clone()
    }

    /// Reads the configuration again and publishes what it says, or changes nothing.
    pub async fn reload(&self, by: By) -> Result<Report, LifecycleError> {
        self.ask(|reply| Command::Reload { by, reply }).await
    }

    /// Looks through the plugin folders of the configuration: adds what is new, accepts what changed, and tells
    /// what is gone. Starts nothing but new plugins that want it and ask for no permission.
    pub async fn scan(&self, by: By) -> Result<ScanReport, LifecycleError> {
        self.ask(|reply| Command::Scan { by, reply }).await
    }

    /// Copies the plugin in `path`, or each of those in its folders, into the state folder. Another version of a known
    /// plugin takes its place and keeps its config, order and grants. So do other files of the same version if `force`
    /// says so, if the version is a pre-release, or if the plugin was never active.
    pub async fn install(
        &self,
        path: PathBuf,
        options: InstallOptions,
        by: By,
    ) -> Result<InstallReport, LifecycleError> {
        self.ask(|reply| Command::Install { path, options, by, reply }).await
    }

    /// Starts the plugin and publishes the chain with it once it is ready. One that is active stays as it is. Without
    /// `grant` one that asks for something is refused with the list.
    pub async fn activate(&self, plugin: &str, grant: bool, by: By) -> Result<Report, LifecycleError> {
        let plugin = plugin.to_owned();
        self.ask(|reply| Command::Activate { plugin, grant, by, reply }).await
    }

    /// Publishes the chain without the plugin and stops it once its calls are over.
    pub async fn deactivate(&self, plugin: &str, by: By) -> Result<Report, LifecycleError> {
        let plugin = plugin.to_owned();
        self.ask(|reply| Command::Deactivate { plugin, by, reply }).await
    }

    /// As [`Self::deactivate`], and removes what an installation made and everything that is known of it. A folder that
    /// no installation made stays.
    pub async fn uninstall(&self, plugin: &str, by: By) -> Result<Report, LifecycleError> {
        let plugin = plugin.to_owned();
        self.ask(|reply| Command::Uninstall { plugin, by, reply }).await
    }

    /// Replaces the process of a plugin by a new one, once that is ready.
    pub async fn restart(&self, plugin: &str, by: By) -> Result<Report, LifecycleError> {
        let plugin = plugin.to_owned();
        self.ask(|reply| Command::Restart { plugin, by, reply }).await
    }

    /// Gives the plugin this config in place of the one it had. A running process that takes it stays.
    pub async fn configure(
        &self,
        plugin: &str,
        config: Map<String, Value>,
        by: By,
    ) -> Result<Report, LifecycleError> {
        let plugin = plugin.to_owned();
        self.ask(|reply| Command::Configure { plugin, config, by, reply }).await
    }

    /// The named plugins come first, in this order; the others follow as they are.
    pub async fn reorder(&self, first: Vec<String>, by: By) -> Result<Report, LifecycleError> {
        self.ask(|reply| Command::Reorder { first, by, reply }).await
    }

    /// Ends all plugins, the retired ones too. Returns when nothing of them is left. What is under way is given up,
    /// and what waits behind it is refused: an end does not wait for plugins that are slow to start.
    pub async fn stop(&self) {
        self.ending.send_replace(true);
        let mut inventory = self.inventory.clone();
        // An error says that the actor is gone.
        while inventory.changed().await.is_ok() {}
    }

    /// Whether commands are still carried out. False once the actor ended, by [`Self::stop`] or by a panic.
    pub fn is_running(&self) -> bool {
        !self.commands.is_closed()
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, LifecycleError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| LifecycleError::ShuttingDown)?;
        answer.await.unwrap_or(Err(LifecycleError::ShuttingDown))
    }
}
