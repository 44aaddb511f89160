//! Installing a plugin: a copy is made beside the installed ones, judged there, and put in place by one rename.
//!
//! An installed folder is called `name@version-digest` and never changes: an upgrade is one more folder. Which of
//! them is in force is the database's to say, so a crash at any moment leaves the old plugin or the new one. What is
//! given is read once: what was judged is what will run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{Errors, MANIFEST_FILE, Package, load, load_as, scan};
use crate::limits;

mod copy;
mod sweep;

#[cfg(test)]
mod tests;

pub use self::sweep::{installed, is_own, named, remove, sweep};

/// In the folder of installed plugins: what is not yet, or no longer, one of them.
const STAGING: &str = ".staging";

/// Why nothing was installed.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// What was given is no plugin.
    #[error(transparent)]
    Invalid(#[from] Errors),
    /// The gateway's own folder cannot be used.
    #[error("{} cannot be {what}: {error}", path.display())]
    Failed { what: &'static str, path: PathBuf, error: io::Error },
}

/// A copy of a plugin that holds, not yet in place. Dropped, it is gone.
#[derive(Debug)]
pub struct Staged {
    package: Package,
    /// Where the copy goes, next to the others.
    target: PathBuf,
}

/// Copies the plugin in `source`, or each of the plugins right below it, into `plugins_dir`. All of them hold, or
/// nothing is staged and everything wrong is told. Never empty. Blocks: every file is copied and brought to disk.
pub fn stage(source: &Path, plugins_dir: &Path) -> Result<Vec<Staged>, StageError> {
    let plugins_dir = prepared(plugins_dir)?;
    let folders = folders(source, &plugins_dir)?;
    let mut staged: Vec<Staged> = Vec::new();
    let mut problems: Vec<Errors> = Vec::new();
    for folder in folders {
        match one(&folder, &plugins_dir) {
            Ok(next) => {
                let name = &next.package.manifest.name;
                if staged.iter().any(|other| other.package.manifest.name == *name) {
                    let text = format!(
                        "is a plugin named {name:?}, and another folder here is too; name them apart"
                    );
                    problems.push(Errors::of_file(folder.display().to_string(), text));
                }
                staged.push(next);
            }
            Err(StageError::Invalid(errors)) => problems.push(errors),
            Err(failed @ StageError::Failed { .. }) => return Err(failed),
        }
    }
    let problems = problems.into_iter().reduce(|mut all, more| {
        all.append(more);
        all
    });
    match problems {
        Some(errors) => Err(errors.into()),
        None => Ok(staged),
    }
}

impl Staged {
    pub fn package(&self) -> &Package {
        &self.package
    }

    /// Where [`Self::commit`] will put it.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Puts it among the installed plugins. What is there already under the same name stays if it is the same, and is
    /// replaced at once if somebody changed it.
    pub fn commit(self) -> Result<Package, StageError> {
        let failed = |error| failed("put in place", &self.target, error);
        match fs::rename(&self.package.dir, &self.target) {
            Ok(()) => {}
            Err(error) if is_taken(&error) => {
                let is_same = load(&self.target).is_ok_and(|there| there.digest == self.package.digest);
                if !is_same {
                    renameat_with(CWD, &self.package.dir, CWD, &self.target, RenameFlags::EXCHANGE)
                        .map_err(|error| failed(error.into()))?;
                }
            }
            Err(error) => return Err(failed(error)),
        }
        let plugins_dir = self.target.parent().unwrap_or(&self.target);
        copy::keep(plugins_dir).map_err(failed)?;
        Ok(Package { dir: self.target.clone(), ..self.package.clone() })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Nothing is there once it was put in place. What cannot be removed now is removed by the next sweep.
        drop(fs::remove_dir_all(&self.package.dir));
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

fn failed(what: &'static str, path: &Path, error: io::Error) -> StageError {
    StageError::Failed { what, path: path.to_owned(), error }
}

/// The folder of installed plugins, absolute and free of links, with a place for what is not yet one.
fn prepared(plugins_dir: &Path) -> Result<PathBuf, StageError> {
    fs::create_dir_all(plugins_dir.join(STAGING)).map_err(|error| failed("made", plugins_dir, error))?;
    plugins_dir.canonicalize().map_err(|error| failed("read", plugins_dir, error))
}

/// The plugin folders meant by what was given.
fn folders(source: &Path, plugins_dir: &Path) -> Result<Vec<PathBuf>, Errors> {
    let wrong = |text: String| Errors::of_file(source.display().to_string(), text);
    let real = source.canonicalize().map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if !real.is_dir() {
        return Err(wrong("is a file; give the folder of a plugin".to_owned()));
    }
    if real.starts_with(plugins_dir) || plugins_dir.starts_with(&real) {
        let text =
            format!("and {} are in one another; a scan finds what is there already", plugins_dir.display());
        return Err(wrong(text));
    }
    if real.join(MANIFEST_FILE).symlink_metadata().is_ok() {
        return Ok(vec![source.to_owned()]);
    }
    let folders = scan::plugin_folders(source).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if folders.is_empty() {
        return Err(wrong(format!("holds no plugin: neither it nor a folder in it has a {MANIFEST_FILE}")));
    }
    if folders.len() > limits::INSTALL_PLUGINS_MAX {
        let most = limits::INSTALL_PLUGINS_MAX;
        return Err(wrong(format!("holds {} plugins; install at most {most} at once", folders.len())));
    }
    let leaves = |folder: &&PathBuf| folder.canonicalize().is_ok_and(|folder| !folder.starts_with(&real));
    match folders.iter().find(leaves) {
        Some(link) => Err(wrong(format!(
            "holds a link that leaves it, {:?}; install that on its own",
            link.display().to_string()
        ))),
        None => Ok(folders),
    }
}

fn one(source: &Path, plugins_dir: &Path) -> Result<Staged, StageError> {
    let place = sweep::nowhere_yet(plugins_dir).map_err(|error| failed("written", plugins_dir, error))?;
    let copied = copy::folder(source, &place).and_then(|()| Ok(load_as(&place, source)?));
    let package = copied.inspect_err(|_| drop(fs::remove_dir_all(&place)))?;
    let target = plugins_dir.join(sweep::folder_name(&package));
    Ok(Staged { package, target })
}
