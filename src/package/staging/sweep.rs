//! Removing what is no longer installed. A folder is first moved to where no plugin is looked for, so that none is
//! ever seen half gone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::rand::{GetRandomFlags, getrandom};

use super::{STAGING, copy};
use crate::package::Package;

/// The folder an installed package lies in. Two packages share it only if they are the same.
pub(super) fn folder_name(package: &Package) -> String {
    format!("{}@{}-{}", package.manifest.name, package.manifest.version, package.digest.short())
}

/// Whether a name is one that [`folder_name`] gives. Folders that people put there are not called so.
fn is_installed(name: &str) -> bool {
    let Some((plugin, rest)) = name.split_once('@') else { return false };
    let Some((version, digest)) = rest.rsplit_once('-') else { return false };
    !plugin.is_empty()
        && version.parse::<semver::Version>().is_ok()
        && digest.len() == 8
        && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Run at start, before anything is installed: removes what was being installed when the gateway last ended, and the
/// installed folders that are not to be kept. Returns those. A folder that was never installed stays.
pub fn sweep(plugins_dir: &Path, keep: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let plugins_dir = match plugins_dir.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found?,
    };
    let keep: Vec<PathBuf> = keep.iter().filter_map(|folder| folder.canonicalize().ok()).collect();
    let mut removed = Vec::new();
    for entry in fs::read_dir(&plugins_dir)? {
        let entry = entry?;
        let is_installed = entry.file_name().to_str().is_some_and(is_installed);
        if is_installed && entry.file_type()?.is_dir() && !keep.contains(&entry.path()) {
            remove(&plugins_dir, &entry.path())?;
            removed.push(entry.path());
        }
    }
    match fs::remove_dir_all(plugins_dir.join(STAGING)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(removed),
    }
}

/// Moves the whole folder out of the way if there are installed plugins in it, and returns where it is then. `suffix`
/// becomes part of its name, with a number if that is taken.
pub fn set_aside(plugins_dir: &Path, suffix: &str) -> io::Result<Option<PathBuf>> {
    let entries = match fs::read_dir(plugins_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>()?;
    if !names.iter().any(|name| name.to_str().is_some_and(is_installed)) {
        return Ok(None);
    }
    let numbered = (2..).map(|number| plugins_dir.with_extension(format!("{suffix}-{number}")));
    let mut places = std::iter::once(plugins_dir.with_extension(suffix)).chain(numbered);
    let Some(aside) = places.find(|place| !place.exists()) else { return Ok(None) };
    fs::rename(plugins_dir, &aside)?;
    Ok(Some(aside))
}

/// Whether an installation made `folder`: it lies right in `plugins_dir`, has a name only installed folders have, and
/// is no link. Nothing else is ever removed. It may be gone already.
pub fn is_own(plugins_dir: &Path, folder: &Path) -> bool {
    let is_here = match (plugins_dir.canonicalize(), folder.parent().map(Path::canonicalize)) {
        (Ok(here), Some(Ok(parent))) => here == parent,
        (Ok(_) | Err(_), Some(_) | None) => false,
    };
    let is_named = folder.file_name().and_then(|name| name.to_str()).is_some_and(is_installed);
    let is_folder = match folder.symlink_metadata() {
        Ok(metadata) => metadata.is_dir(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    is_here && is_named && is_folder
}

/// Removes an installed plugin's folder. One that is gone already is no error; one that no installation made is an
/// error, and stays.
pub fn remove(plugins_dir: &Path, folder: &Path) -> io::Result<()> {
    if !is_own(plugins_dir, folder) {
        let text = format!("{} was not made by an installation", folder.display());
        return Err(io::Error::other(text));
    }
    fs::create_dir_all(plugins_dir.join(STAGING))?;
    let aside = nowhere_yet(plugins_dir)?;
    match fs::rename(folder, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    copy::keep(plugins_dir)?;
    fs::remove_dir_all(aside)
}

/// A path that nobody else will take.
pub(super) fn nowhere_yet(plugins_dir: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    getrandom(&mut random[..], GetRandomFlags::empty())?;
    Ok(plugins_dir.join(STAGING).join(format!("{:016x}", u64::from_ne_bytes(random))))
}
