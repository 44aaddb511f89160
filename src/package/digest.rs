//! The sum of a plugin folder: equal sums mean that the same plugin would run.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::tree::{Member, Tree};
use crate::files;
use crate::limits;

/// SHA-256 over the paths and contents of a folder.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Digest {
    /// Enough to tell one package of a name and version from another, in the name of a folder.
    pub(super) fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// The sum of a folder whose tree this is. A file that has changed meanwhile is summed as it is now.
pub(super) fn of_tree(root: &Path, tree: &Tree) -> io::Result<Digest> {
    let mut sum = Sha256::new();
    let mut bytes_left = limits::PACKAGE_BYTES_MAX;
    for (relative, member) in &tree.members {
        let name = relative.as_os_str().as_bytes();
        match member {
            // The letter keeps a file from being taken for a link of the same content.
            Member::File { is_executable } => {
                sum.update(if *is_executable { b"x" } else { b"f" });
                add(&mut sum, name);
                let path = root.join(relative);
                add_file(&mut sum, &path, &mut bytes_left).map_err(|error| {
                    io::Error::new(error.kind(), format!("{relative:?} cannot be read: {error}"))
                })?;
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
fn add_file(sum: &mut Sha256, path: &Path, bytes_left: &mut u64) -> io::Result<()> {
    let mut file = files::open(path)?.take(*bytes_left + 1);
    let mut content = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut length: u64 = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        length += read as u64;
        content.update(&buffer[..read]);
    }
    *bytes_left =
        bytes_left.checked_sub(length).ok_or_else(|| io::Error::other("it grows while it is read"))?;
    sum.update(content.finalize());
    sum.update(length.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn of_folder(root: &Path) -> Digest {
        let root = root.canonicalize().unwrap();
        of_tree(&root, &Tree::read(&root).unwrap()).unwrap()
    }

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
        of_folder(folder(files).path())
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
        let one = folder(&[("a", "1"), ("b", "1")]);
        let without = of_folder(one.path());
        let with = |target: &str| {
            std::os::unix::fs::symlink(target, one.path().join("link")).unwrap();
            let sum = of_folder(one.path());
            fs::remove_file(one.path().join("link")).unwrap();
            sum
        };
        assert_ne!(without, with("a"));
        assert_ne!(with("a"), with("b"));
        assert_ne!(with("a"), sum(&[("a", "1"), ("b", "1"), ("link", "1")]));
    }

    #[test]
    fn a_file_that_becomes_executable_changes_the_sum() {
        let one = folder(&[("a", "1")]);
        let before = of_folder(one.path());
        fs::set_permissions(one.path().join("a"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(before, of_folder(one.path()));
    }
}
