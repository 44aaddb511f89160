//! What lies in a plugin folder. Each thing is looked at, no file is opened and no link is followed out of it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirEntry, FileType};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::limits;

/// Every file and link by its path relative to the folder, in the order of the paths. Bounded, all names are text,
/// and no link leads out.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) members: BTreeMap<PathBuf, Member>,
}

#[derive(Debug)]
pub(super) enum Member {
    File { is_executable: bool },
    Link { target: OsString },
}

/// Why a folder is no plugin's.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{path:?} cannot be read: {error}")]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{path:?} is {what}; a plugin folder has files, folders and links alone: take it out")]
    Strange { path: PathBuf, what: &'static str },
    #[error("{path:?} has a name that is not UTF-8; rename it")]
    NoText { path: PathBuf },
    #[error("{path:?} is a link that leaves the folder, to {target:?}; put what it leads to there itself")]
    Leaves { path: PathBuf, target: OsString },
    #[error("{path:?} is a link that leads nowhere, to {target:?}; take it out")]
    Nowhere { path: PathBuf, target: OsString },
    #[error("{path:?} has {bytes} bytes; a file of a plugin has at most {}", limits::PACKAGE_FILE_BYTES_MAX)]
    FileTooLarge { path: PathBuf, bytes: u64 },
    #[error(
        "{path:?} is too deep; a plugin has at most {} folders within folders",
        limits::PACKAGE_DEPTH_MAX
    )]
    TooDeep { path: PathBuf },
    #[error("has more than {} files; a plugin has at most so many", limits::PACKAGE_FILES_MAX)]
    TooManyFiles,
    #[error("has more than {} bytes of files; a plugin has at most so many", limits::PACKAGE_BYTES_MAX)]
    TooLarge,
}

impl Tree {
    /// `root` is absolute and free of links.
    pub(super) fn read(root: &Path) -> Result<Self, Vec<Fault>> {
        let mut walk = Walk {
            root,
            members: BTreeMap::new(),
            folders: vec![PathBuf::new()],
            seen: 0,
            bytes: 0,
            faults: Vec::new(),
        };
        while let Some(folder) = walk.folders.pop() {
            if let Err(fault) = walk.folder(&folder) {
                walk.faults.push(fault);
            }
            if walk.has_seen_enough() {
                break;
            }
        }
        if walk.faults.is_empty() { Ok(Self { members: walk.members }) } else { Err(walk.faults) }
    }
}

struct Walk<'r> {
    root: &'r Path,
    members: BTreeMap<PathBuf, Member>,
    /// Still to be looked into.
    folders: Vec<PathBuf>,
    seen: usize,
    bytes: u64,
    faults: Vec<Fault>,
}

impl Walk<'_> {
    /// A folder over one of its bounds is not looked at further: there may be no end to it.
    fn has_seen_enough(&self) -> bool {
        self.faults.len() >= limits::PACKAGE_PROBLEMS_TOLD
            || matches!(self.faults.last(), Some(Fault::TooManyFiles | Fault::TooLarge))
    }

    fn folder(&mut self, folder: &Path) -> Result<(), Fault> {
        let unreadable = |error| Fault::Unreadable { path: folder.to_owned(), error };
        for entry in fs::read_dir(self.root.join(folder)).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            self.seen += 1;
            if self.seen > limits::PACKAGE_FILES_MAX {
                return Err(Fault::TooManyFiles);
            }
            let path = folder.join(entry.file_name());
            if let Err(fault) = self.entry(path, &entry) {
                self.faults.push(fault);
                if self.has_seen_enough() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: PathBuf, entry: &DirEntry) -> Result<(), Fault> {
        let unreadable = |error| Fault::Unreadable { path: path.clone(), error };
        if path.to_str().is_none() {
            return Err(Fault::NoText { path });
        }
        let metadata = entry.metadata().map_err(unreadable)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            return self.descend(path);
        }
        let member = if kind.is_symlink() {
            self.link(&path)?
        } else if kind.is_file() {
            self.count(&path, metadata.len())?;
            Member::File { is_executable: metadata.permissions().mode() & 0o111 != 0 }
        } else {
            return Err(Fault::Strange { path, what: what(kind) });
        };
        self.members.insert(path, member);
        Ok(())
    }

    fn descend(&mut self, path: PathBuf) -> Result<(), Fault> {
        if path.components().count() > limits::PACKAGE_DEPTH_MAX {
            return Err(Fault::TooDeep { path });
        }
        self.folders.extend((!is_by_product(&path)).then_some(path));
        Ok(())
    }

    fn count(&mut self, path: &Path, bytes: u64) -> Result<(), Fault> {
        if bytes > limits::PACKAGE_FILE_BYTES_MAX {
            return Err(Fault::FileTooLarge { path: path.to_owned(), bytes });
        }
        self.bytes += bytes;
        if self.bytes > limits::PACKAGE_BYTES_MAX { Err(Fault::TooLarge) } else { Ok(()) }
    }

    /// The kernel says where a link leads: its text alone does not, when there are links on the way.
    fn link(&self, path: &Path) -> Result<Member, Fault> {
        let place = self.root.join(path);
        let unreadable = |error| Fault::Unreadable { path: path.to_owned(), error };
        let target = fs::read_link(&place).map_err(unreadable)?.into_os_string();
        match place.canonicalize() {
            // An absolute target leads elsewhere once the folder is.
            Ok(real) if real.starts_with(self.root) && !Path::new(&target).is_absolute() => {
                Ok(Member::Link { target })
            }
            Ok(_) => Err(Fault::Leaves { path: path.to_owned(), target }),
            Err(_) => Err(Fault::Nowhere { path: path.to_owned(), target }),
        }
    }
}

fn what(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
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
    use std::fs::File;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// What is wrong with a folder that `fill` filled.
    fn faults(fill: impl FnOnce(&Path)) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("plugin");
        fs::create_dir(&root).unwrap();
        fill(&root);
        let faults = Tree::read(&root).map(|_| Vec::new()).unwrap_or_else(|faults| faults);
        let mut told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        told.sort();
        told
    }

    #[test]
    fn a_link_may_lead_anywhere_inside_and_nowhere_else() {
        let told = faults(|root| {
            fs::create_dir_all(root.join("a/b")).unwrap();
            File::create(root.join("a/file")).unwrap();
            for (target, link) in
                [("a/file", "inside"), ("../file", "a/b/up"), ("a", "folder"), (".", "itself")]
            {
                symlink(target, root.join(link)).unwrap();
            }
        });
        assert_eq!(told, [""; 0]);
        let told = faults(|root| {
            fs::create_dir_all(root.join("a/b")).unwrap();
            symlink("/etc", root.join("absolute")).unwrap();
            symlink("../../..", root.join("a/up")).unwrap();
            // Its text stays inside; on the way it goes through another link to the top.
            symlink("..", root.join("a/b/top")).unwrap();
            symlink("a/b/top/../..", root.join("winding")).unwrap();
            symlink("loop", root.join("loop")).unwrap();
            symlink("gone", root.join("dangling")).unwrap();
            symlink(root.join("a"), root.join("by-its-whole-path")).unwrap();
        });
        let starts = [
            "\"a/up\" is a link that leaves the folder, to \"../../..\"",
            "\"absolute\" is a link that leaves the folder, to \"/etc\"",
            "\"by-its-whole-path\" is a link that leaves the folder",
            "\"dangling\" is a link that leads nowhere, to \"gone\"",
            "\"loop\" is a link that leads nowhere, to \"loop\"",
            "\"winding\" is a link that leaves the folder",
        ];
        assert_eq!(told.len(), starts.len(), "{told:#?}");
        for (told, start) in told.iter().zip(starts) {
            assert!(told.starts_with(start), "{told}");
        }
    }

    #[test]
    fn what_is_no_file_and_what_has_no_name_is_refused() {
        let told = faults(|root| {
            let _closed = UnixListener::bind(root.join("socket")).unwrap();
            mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
            File::create(root.join(OsString::from_vec(b"caf\xe9".to_vec()))).unwrap();
            fs::hard_link(root.join("socket"), root.join("socket-2")).unwrap();
            File::create(root.join("file")).unwrap();
            fs::hard_link(root.join("file"), root.join("file-2")).unwrap();
        });
        assert_eq!(
            told,
            [
                "\"caf\\xE9\" has a name that is not UTF-8; rename it",
                "\"pipe\" is a pipe; a plugin folder has files, folders and links alone: take it out",
                "\"socket\" is a socket; a plugin folder has files, folders and links alone: take it out",
                "\"socket-2\" is a socket; a plugin folder has files, folders and links alone: take it out",
            ]
        );
    }

    #[test]
    fn a_folder_over_a_bound_is_refused_without_being_read() {
        let file_of = |path: PathBuf, bytes: u64| File::create(path).unwrap().set_len(bytes).unwrap();
        let told = faults(|root| file_of(root.join("huge"), 1 << 40));
        assert_eq!(told, ["\"huge\" has 1099511627776 bytes; a file of a plugin has at most 134217728"]);
        let told = faults(|root| {
            (0..3).for_each(|n| file_of(root.join(n.to_string()), limits::PACKAGE_FILE_BYTES_MAX));
        });
        assert_eq!(told, ["has more than 268435456 bytes of files; a plugin has at most so many"]);
        let told = faults(|root| {
            (0..=limits::PACKAGE_FILES_MAX).for_each(|n| file_of(root.join(n.to_string()), 0));
        });
        assert_eq!(told, ["has more than 10000 files; a plugin has at most so many"]);
        let told = faults(|root| {
            let deep: PathBuf = vec!["d"; limits::PACKAGE_DEPTH_MAX + 2].iter().collect();
            fs::create_dir_all(root.join(deep)).unwrap();
        });
        assert!(told[0].ends_with("is too deep; a plugin has at most 32 folders within folders"), "{told:?}");
        let told = faults(|root| {
            (0..100).for_each(|n| symlink("gone", root.join(n.to_string())).unwrap());
        });
        assert_eq!(told.len(), limits::PACKAGE_PROBLEMS_TOLD);
    }
}
