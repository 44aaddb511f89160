//! Copying a plugin folder that somebody else may be changing meanwhile.
//!
//! Every file is opened step by step from the folder down, and no step is a link: what was a plain file when it was
//! looked at cannot become one of the gateway's own. The copy has the modes of the original, without what lets others
//! write to it or makes a program run as its owner.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat, syncfs};

use super::{StageError, failed};
use crate::limits;
use crate::package::tree::{Member, Tree};
use crate::package::{Errors, told};

/// What is kept of a mode.
const KEPT: u32 = 0o755;
/// What the gateway needs of its own files and folders.
const OWN_FILE: u32 = 0o600;
const OWN_FOLDER: u32 = 0o700;

/// Copies what belongs to the plugin in `source` to `place`, which is not there yet, and brings it to disk.
pub(super) fn folder(source: &Path, place: &Path) -> Result<(), StageError> {
    let shown = source.display().to_string();
    let unreadable = |path: &Path, error: io::Error| {
        StageError::Invalid(Errors::of_file(&shown, format!("{path:?} cannot be read: {error}")))
    };
    let real = source.canonicalize().map_err(|error| unreadable(Path::new(""), error))?;
    let tree = Tree::read(&real).map_err(|faults| told(&shown, &faults))?;
    let root = open(CWD, &real, OFlags::DIRECTORY).map_err(|error| unreadable(Path::new(""), error))?;
    let mut bytes_left = limits::PACKAGE_BYTES_MAX;
    make_folder(&real, place).map_err(|error| failed("made", place, error))?;
    for (path, member) in &tree.members {
        let copy = place.join(path);
        let unwritten = |error| failed("written", &copy, error);
        make_folders(&real, place, path).map_err(unwritten)?;
        match member {
            Member::Link { target } => symlink(target, &copy).map_err(unwritten)?,
            Member::File { .. } => {
                let (original, mode) = open_below(&root, path).map_err(|error| unreadable(path, error))?;
                let written = file(original, &copy, mode & KEPT | OWN_FILE, bytes_left).map_err(unwritten)?;
                bytes_left = bytes_left
                    .checked_sub(written)
                    .ok_or_else(|| unreadable(path, io::Error::other("it grows while it is read")))?;
            }
        }
    }
    keep(place).map_err(|error| failed("brought to disk", place, error))
}

/// Returns once everything written to the folder's file system is on the disk: one wait instead of one for each file.
pub(super) fn keep(folder: &Path) -> io::Result<()> {
    Ok(syncfs(File::open(folder)?)?)
}

/// The bytes written, which are more than `bytes_left` by one at most.
fn file(original: File, copy: &Path, mode: u32, bytes_left: u64) -> io::Result<u64> {
    let mut copy = File::options().write(true).create_new(true).open(copy)?;
    copy.set_permissions(fs::Permissions::from_mode(mode))?;
    io::copy(&mut original.take(bytes_left + 1), &mut copy)
}

fn make_folder(original: &Path, copy: &Path) -> io::Result<()> {
    let mode = original.metadata()?.permissions().mode() & KEPT | OWN_FOLDER;
    DirBuilder::new().mode(OWN_FOLDER).create(copy)?;
    fs::set_permissions(copy, fs::Permissions::from_mode(mode))
}

/// The folders above `path`, which is relative to both.
fn make_folders(original: &Path, place: &Path, path: &Path) -> io::Result<()> {
    let above: Vec<&Path> = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()).collect();
    for folder in above.into_iter().rev() {
        let copy = place.join(folder);
        if !copy.is_dir() {
            make_folder(&original.join(folder), &copy)?;
        }
    }
    Ok(())
}

/// The file and its mode.
fn open_below(root: &OwnedFd, path: &Path) -> io::Result<(File, u32)> {
    let mut folder = root.try_clone()?;
    for step in path.parent().into_iter().flat_map(Path::components) {
        folder = open(&folder, step.as_ref(), OFlags::DIRECTORY)?;
    }
    let name = path.file_name().map(PathBuf::from).unwrap_or_default();
    // What has become a pipe is not waited for.
    let file = File::from(open(&folder, &name, OFlags::NONBLOCK)?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file any more"));
    }
    Ok((file, metadata.permissions().mode()))
}

fn open(folder: impl AsFd, name: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(openat(folder, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_has_become_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("plugin/lib")).unwrap();
        fs::create_dir(at("own")).unwrap();
        fs::write(at("own/secret"), "").unwrap();
        fs::write(at("plugin/lib/part"), "").unwrap();
        symlink("../own", at("plugin/out")).unwrap();
        symlink("../../own/secret", at("plugin/lib/secret")).unwrap();
        let root = open(CWD, &at("plugin"), OFlags::DIRECTORY).unwrap();
        assert!(open_below(&root, Path::new("lib/part")).is_ok());
        for path in ["out/secret", "lib/secret", "lib"] {
            assert!(open_below(&root, Path::new(path)).is_err(), "{path}");
        }
    }
}
