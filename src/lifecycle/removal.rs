//! Files that nothing wants any more. That they are to go is written down together with the change that made them
//! superfluous, so a gateway that is killed in between finishes the job at its next start.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::actor::Actor;
use super::error::LifecycleError;
use super::inventory::Installed;
use super::{By, Command};
use crate::package;
use crate::store::{Change, PluginRow, Store};

/// A folder that is to go, if it still holds what was known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Removal {
    directory: PathBuf,
    digest: String,
}

/// What became of a folder that was to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Gone,
    /// It stays, for a plugin that was installed meanwhile lies in it.
    Wanted,
    /// It stays, for its files are not those that were to go.
    Foreign,
}

impl Removal {
    pub(super) fn of(installed: &Installed) -> Self {
        Self { directory: installed.directory.clone(), digest: installed.digest.clone() }
    }

    pub(super) fn is_of(&self, directory: &Path) -> bool {
        self.directory == directory
    }

    /// To be written together with the change that lets the folder go.
    pub(super) fn begin(&self) -> Change {
        Change::BeginRemoval { directory: self.text(), digest: self.digest.clone() }
    }

    /// Blocks nobody; what cannot be removed is told in the log, and tried again at the next start.
    async fn carry_out(self, store: &Arc<Store>, is_wanted: bool) {
        let (directory, digest) = (self.directory.clone(), self.digest.clone());
        let removing = move || if is_wanted { Ok(Fate::Wanted) } else { remove(&directory, &digest) };
        let Ok(removed) = tokio::task::spawn_blocking(removing).await else { return };
        let ended = match removed {
            Ok(fate) => {
                let action = if fate == Fate::Gone { "remove files" } else { "keep files" };
                let note = By::Gateway.note(action, None, json!(self.text()));
                let ended = store.apply(vec![Change::EndRemoval { directory: self.text() }], note).await;
                ended.map(|()| fate).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        let directory = self.directory.display();
        match ended {
            Ok(Fate::Gone) => tracing::info!(%directory, "a folder was removed"),
            Ok(Fate::Wanted) => {
                tracing::info!(%directory, "a folder stays: a plugin in it was installed meanwhile")
            }
            Ok(Fate::Foreign) => {
                tracing::warn!(%directory, "a folder stays: it has other files than were known")
            }
            Err(reason) => tracing::error!(%directory, reason, "a folder was not removed"),
        }
    }

    fn text(&self) -> String {
        self.directory.to_string_lossy().into_owned()
    }
}

/// Ends what an earlier gateway began.
pub(super) async fn finish(store: &Arc<Store>, rows: &[PluginRow]) -> Result<(), LifecycleError> {
    for (directory, digest) in store.removals().await? {
        let is_wanted = rows.iter().any(|row| row.installed.directory == directory);
        Removal { directory: PathBuf::from(directory), digest }.carry_out(store, is_wanted).await;
    }
    Ok(())
}

impl Actor {
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
        removal.carry_out(&self.ground.store, is_wanted).await;
    }
}

/// A link goes, and what it leads to stays. A folder with other files than were known stays too: it is somebody's
/// new one. Any other is hidden in one step first, so that nobody ever sees half of it.
fn remove(directory: &Path, digest: &str) -> io::Result<Fate> {
    let hidden = hidden(directory);
    let mut fate = Fate::Gone;
    match fs::symlink_metadata(directory) {
        Ok(found) if found.is_symlink() => fs::remove_file(directory)?,
        Ok(_) => match package::load(directory) {
            Ok(package) if package.digest.to_string() == digest => fs::rename(directory, &hidden)?,
            Ok(_) | Err(_) => fate = Fate::Foreign,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    match fs::remove_dir_all(&hidden) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(fate),
    }
}

/// Where a folder lies while it is being removed. Scans do not look at hidden ones.
fn hidden(directory: &Path) -> PathBuf {
    let mut name = OsString::from(".removed-");
    name.push(directory.file_name().unwrap_or_default());
    directory.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"{ "name": "p", "version": "1.0.0", "command": ["p"] }"#;

    fn plugin(dir: &Path) -> String {
        fs::create_dir_all(dir.join("deep")).unwrap();
        fs::write(dir.join("deep/file"), "x").unwrap();
        fs::write(dir.join(package::MANIFEST_FILE), MANIFEST).unwrap();
        package::load(dir).unwrap().digest.to_string()
    }

    #[test]
    fn a_folder_that_is_what_it_was_goes_and_a_second_time_there_is_nothing_to_do() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("p");
        let digest = plugin(&dir);
        remove(&dir, &digest).unwrap();
        remove(&dir, &digest).unwrap();
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    }

    #[test]
    fn what_was_half_removed_goes_too() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("p");
        let digest = plugin(&dir);
        fs::rename(&dir, hidden(&dir)).unwrap();
        fs::remove_file(hidden(&dir).join(package::MANIFEST_FILE)).unwrap();
        remove(&dir, &digest).unwrap();
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    }

    #[test]
    fn somebodys_new_folder_stays() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("p");
        let digest = plugin(&dir);
        fs::write(dir.join("new"), "").unwrap();
        assert_eq!(remove(&dir, &digest).unwrap(), Fate::Foreign);
        assert!(dir.join("new").exists());
    }

    #[test]
    fn a_link_goes_and_what_it_leads_to_stays() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("p");
        let digest = plugin(&dir);
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        remove(&link, &digest).unwrap();
        assert!(!link.exists() && dir.exists());
    }
}
