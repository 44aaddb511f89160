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

/// The plugin and its version in the name of its folder, `NAME@VERSION-DIGEST`. Folders that people put there are not called so.
pub fn named(folder: &Path) -> Option<(&str, &str)> {
    let (plugin, rest) = folder.file_name()?.to_str()?.split_once('@')?;
    let (version, digest) = rest.rsplit_once('-')?;
    let holds = !plugin.is_empty()
        && version.parse::<semver::Version>().is_ok()
        && digest.len() == 8
        && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    holds.then_some((plugin, version))
}

/// Run at start, before anything is installed: removes what was being installed when the gateway last ended.
pub fn sweep(plugins_dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(plugins_dir.join(STAGING)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The folders in `plugins_dir` that installations made, absolute and free of links, newest first.
pub fn installed(plugins_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let plugins_dir = match plugins_dir.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found?,
    };
    let mut folders = Vec::new();
    for entry in fs::read_dir(&plugins_dir)? {
        let folder = entry?.path();
        if is_own(&plugins_dir, &folder) {
            folders.push((folder.symlink_metadata()?.modified()?, folder));
        }
    }
    folders.sort();
    Ok(folders.into_iter().rev().map(|(_, folder)| folder).collect())
}

/// Whether an installation made `folder`: it lies right in `plugins_dir`, has a name only installed folders have, and
/// is no link. Nothing else is ever removed. It may be gone already.
pub fn is_own(plugins_dir: &Path, folder: &Path) -> bool {
    let is_here = match (plugins_dir.canonicalize(), folder.parent().map(Path::canonicalize)) {
        (Ok(here), Some(Ok(parent))) => here == parent,
        (Ok(_) | Err(_), Some(_) | None) => false,
    };
    let is_folder = match folder.symlink_metadata() {
        Ok(metadata) => metadata.is_dir(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    is_here && is_folder && named(folder).is_some()
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
