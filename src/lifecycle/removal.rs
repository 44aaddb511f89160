//! Folders of installed plugins that nothing wants any more. That one is to go is written down together with the change
//! that made it superfluous, so a gateway that is killed in between finishes the job at its next start. A folder that
//! no installation made is never removed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::actor::{Actor, blocking};
use super::error::LifecycleError;
use super::inventory::Installed;
use super::{By, Command};
use crate::package::staging;
use crate::store::{Change, PluginRow, Store};

/// A folder of an installed plugin that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Removal {
    directory: PathBuf,
}

/// What became of a folder that was to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Gone,
    /// It stays: a plugin that was installed meanwhile lies in it.
    Wanted,
    /// It stays: no installation made it. Earlier versions wrote such removals down.
    Foreign,
}

impl Removal {
    /// The folder of a plugin, if an installation made it. Blocks.
    pub(super) fn of(plugin: &Installed, installed: &Path) -> Option<Self> {
        let directory = plugin.directory.clone();
        staging::is_own(installed, &directory).then_some(Self { directory })
    }

    /// A folder that an installation is about to make.
    pub(super) fn of_target(directory: PathBuf) -> Self {
        Self { directory }
    }

    pub(super) fn is_of(&self, directory: &Path) -> bool {
        self.directory == directory
    }

    /// To be written together with the change that lets the folder go.
    pub(super) fn begin(&self) -> Change {
        Change::BeginRemoval { directory: self.text() }
    }

    /// To be written when it is done, or when a plugin is wanted in the folder.
    pub(super) fn end(&self) -> Change {
        Change::EndRemoval { directory: self.text() }
    }

    /// What cannot be removed is told in the log, and tried again at the next start.
    async fn carry_out(self, store: &Arc<Store>, installed: &Path, is_wanted: bool) {
        let (directory, installed) = (self.directory.clone(), installed.to_owned());
        let removing = move || {
            if is_wanted {
                Ok(Fate::Wanted)
            } else if staging::is_own(&installed, &directory) {
                staging::remove(&installed, &directory).map(|()| Fate::Gone)
            } else {
                Ok(Fate::Foreign)
            }
        };
        let Ok(removed) = tokio::task::spawn_blocking(removing).await else { return };
        let ended = match removed {
            Ok(fate) => {
                let action = if fate == Fate::Gone { "remove files" } else { "keep files" };
                let note = By::Gateway.note(action, None, json!(self.text()));
                let ended = store.apply(vec![self.end()], note).await;
                ended.map(|()| fate).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        let directory = self.directory.display();
        match ended {
            Ok(Fate::Gone) => tracing::info!(%directory, "a folder was removed"),
            Ok(Fate::Wanted) => {
                tracing::info!(%directory, "a folder stays: a plugin in it was installed meanwhile");
            }
            Ok(Fate::Foreign) => tracing::warn!(%directory, "a folder stays: Hookway did not make it"),
            Err(reason) => tracing::error!(%directory, reason, "a folder was not removed"),
        }
    }

    fn text(&self) -> String {
        self.directory.to_string_lossy().into_owned()
    }
}

/// Ends what an earlier gateway began.
pub(super) async fn finish(
    store: &Arc<Store>,
    installed: &Path,
    rows: &[PluginRow],
) -> Result<(), LifecycleError> {
    for directory in store.removals().await? {
        let is_wanted = rows.iter().any(|row| row.installed.directory == directory);
        Removal { directory: PathBuf::from(directory) }.carry_out(store, installed, is_wanted).await;
    }
    Ok(())
}

impl Actor {
    /// The removal of a plugin's folder. `None`: no installation made that folder, so it stays.
    pub(super) async fn removal(&self, plugin: &Installed) -> Result<Option<Removal>, LifecycleError> {
        let (plugin, installed) = (plugin.clone(), self.installed.clone());
        blocking(move || Removal::of(&plugin, &installed)).await
    }

    /// Removes files of the plugin once nothing runs from them any more: a process that was deactivated or replaced
    /// earlier may still have requests.
    pub(super) fn remove_files_after(&mut self, removal: Removal, plugin: &str) {
        self.removals.push(removal.clone());
        let commands = self.commands.clone();
        self.ending.after(plugin, async move {
            // Without a way to the actor it is stopping, and removes everything that is left.
            if let Some(commands) = commands.upgrade() {
                let _ = commands.send(Command::RemoveFiles { removal }).await;
            }
        });
    }

    /// Another plugin may have been installed into the folder meanwhile, or the same one once more, and have processes
    /// of its own that are not done yet.
    pub(super) async fn remove_files(&mut self, removal: Removal) {
        if let Some(index) = self.removals.iter().position(|waiting| *waiting == removal) {
            self.removals.swap_remove(index);
        }
        if self.removals.contains(&removal) {
            return;
        }
        let is_wanted = self.entries.iter().any(|entry| entry.wanted.directory == removal.directory);
        removal.carry_out(&self.ground.store, &self.installed, is_wanted).await;
    }
}
