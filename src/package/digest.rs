//! The sum of a plugin folder: equal sums mean that the same plugin would run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::limits;

/// SHA-256 over the paths and contents of a folder.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum NoDigest {
    #[error("{path:?} cannot be read: {error}")]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{path:?} is neither file, folder nor link; a plugin folder has nothing else")]
    Strange { path: PathBuf },
    #[error("more than {} files; a plugin folder has at most so many", limits::PACKAGE_FILES_MAX)]
    TooManyFiles,
    #[error("more than {} bytes of files; a plugin folder has at most so many", limits::PACKAGE_BYTES_MAX)]
    TooLarge,
}

/// One thing in the folder. The letter keeps a file from being taken for a link of the same content.
enum Member {
    File { is_executable: bool },
    Link { target: OsString },
}

pub(super) fn of_folder(root: &Path) -> Result<Digest, NoDigest> {
    let mut sum = Sha256::new();
    let mut bytes_left = limits::PACKAGE_BYTES_MAX;
    for (relative, member) in members(root)? {
        let name = relative.as_os_str().as_bytes();
        match member {
            Member::File { is_executable } => {
                sum.update(if is_executable { b"x" } else { b"f" });
                add(&mut sum, name);
                add_file(&mut sum, root, &relative, &mut bytes_left)?;
            }
            Member::Link { target } => {
                sum.update(b"l");
                add(&mut sum, name);
                add(&mut sum, target.as_bytes());
            }
        }
    }
    Ok(Digest(sum.finalize().into()))
}

/// Length first: no two folders then give the same bytes to sum.
fn add(sum: &mut Sha256, bytes: &[u8]) {
    sum.update((bytes.len() as u64).to_le_bytes());
    sum.update(bytes);
}

/// The length of a file is known once it is read, so here it stands behind the content's own sum.
fn add_file(sum: &mut Sha256, root: &Path, relative: &Path, bytes_left: &mut u64) -> Result<(), NoDigest> {
    let unreadable = |error| NoDigest::Unreadable { path: relative.to_owned(), error };
    let mut file = File::open(root.join(relative)).map_err(unreadable)?.take(*bytes_left + 1);
    let mut content = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut length: u64 = 0;
    loop {
        let read = file.read(&mut buffer).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        length += read as u64;
        content.update(&buffer[..read]);
    }
    *bytes_left = bytes_left.checked_sub(length).ok_or(NoDigest::TooLarge)?;
    sum.update(content.finalize());
    sum.update(length.to_le_bytes());
    Ok(())
}

/// Every file and link below `root` by its relative path, in the order of the paths. Links are not followed.
fn members(root: &Path) -> Result<BTreeMap<PathBuf, Member>, NoDigest> {
    let mut members = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        let unreadable = |error| NoDigest::Unreadable { path: folder.clone(), error };
        for entry in fs::read_dir(root.join(&folder)).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let path = folder.join(entry.file_name());
            seen += 1;
            if seen > limits::PACKAGE_FILES_MAX {
                return Err(NoDigest::TooManyFiles);
            }
            let unreadable = |error| NoDigest::Unreadable { path: path.clone(), error };
            let kind = entry.file_type().map_err(unreadable)?;
            if kind.is_dir() {
                folders.extend((!is_by_product(&path)).then_some(path));
            } else if kind.is_symlink() {
                let target = fs::read_link(entry.path()).map_err(unreadable)?.into_os_string();
                members.insert(path, Member::Link { target });
            } else if kind.is_file() {
                let mode = entry.metadata().map_err(unreadable)?.permissions().mode();
                members.insert(path, Member::File { is_executable: mode & 0o111 != 0 });
            } else {
                return Err(NoDigest::Strange { path });
            }
        }
    }
    Ok(members)
}

/// Folders that tools write while a plugin is built or run, and that are no part of it.
fn is_by_product(path: &Path) -> bool {
    path == Path::new("target")
        || path.ends_with("__pycache__")
        || path.ends_with(".git")
        || path.ends_with("node_modules/.cache")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn sum(files: &[(&str, &str)]) -> Digest {
        of_folder(folder(files).path()).unwrap()
    }

    #[test]
    fn the_sum_depends_on_paths_and_contents_and_on_nothing_else() {
        let sum_of_two = sum(&[("a", "1"), ("b/c", "2")]);
        assert_eq!(sum_of_two, sum(&[("b/c", "2"), ("a", "1")]));
        for other in [
            &[("a", "1"), ("b/c", "3")][..],
            &[("a", "1"), ("b/d", "2")],
            &[("a", "1b/c2")],
            &[("a", "12"), ("b/c", "")],
            &[("a", "1")],
            &[],
        ] {
            assert_ne!(sum_of_two, sum(other), "{other:?}");
        }
    }

    #[test]
    fn what_tools_leave_behind_does_not_change_the_sum() {
        let by_products = [
            ("main.py", "x"),
            ("__pycache__/main.pyc", "1"),
            ("lib/__pycache__/a.pyc", "1"),
            (".git/HEAD", "1"),
            ("target/debug/x", "1"),
            ("node_modules/.cache/x", "1"),
        ];
        assert_eq!(sum(&by_products), sum(&[("main.py", "x")]));
        assert_ne!(sum(&[("main.py", "x"), ("lib/target/x", "1")]), sum(&[("main.py", "x")]));
    }

    #[test]
    fn a_link_is_summed_by_where_it_points_and_never_followed() {
        let one = folder(&[("a", "1")]);
        let without = of_folder(one.path()).unwrap();
        std::os::unix::fs::symlink("/", one.path().join("root")).unwrap();
        let to_root = of_folder(one.path()).unwrap();
        fs::remove_file(one.path().join("root")).unwrap();
        std::os::unix::fs::symlink("/etc", one.path().join("root")).unwrap();
        assert_ne!(without, to_root);
        assert_ne!(to_root, of_folder(one.path()).unwrap());
    }

    #[test]
    fn a_file_that_becomes_executable_changes_the_sum() {
        let one = folder(&[("a", "1")]);
        let before = of_folder(one.path()).unwrap();
        fs::set_permissions(one.path().join("a"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(before, of_folder(one.path()).unwrap());
    }

    #[test]
    fn a_folder_with_too_many_files_or_a_socket_has_no_sum() {
        let one = folder(&[]);
        let _socket = std::os::unix::net::UnixListener::bind(one.path().join("s")).unwrap();
        assert!(matches!(of_folder(one.path()), Err(NoDigest::Strange { .. })));
        let one = folder(&[]);
        for index in 0..=limits::PACKAGE_FILES_MAX {
            File::create(one.path().join(index.to_string())).unwrap();
        }
        assert!(matches!(of_folder(one.path()), Err(NoDigest::TooManyFiles)));
    }
}
