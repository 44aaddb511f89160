//! Where the configuration comes from, and whether it changed since it was read.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::config::{self, Config, Environment, Errors};

/// A config file, or none: then the built-in defaults.
#[derive(Clone, Debug)]
pub struct Source {
    pub path: Option<PathBuf>,
    /// As it was when the gateway started.
    pub environment: Environment,
}

/// What tells one state of the file from another without reading it. `None` while there is no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Watched(Option<(u64, u64, i64, i64)>);

impl Source {
    pub fn load(&self) -> Result<Config, Errors> {
        match &self.path {
            Some(path) => config::load(path, &self.environment),
            None => Config::built_in(&self.environment),
        }
    }

    /// Follows links, as a mounted config map is swapped by one.
    pub(super) fn watched(&self) -> Watched {
        let metadata = self.path.as_ref().and_then(|path| std::fs::metadata(path).ok());
        Watched(metadata.map(|file| (file.ino(), file.size(), file.mtime(), file.mtime_nsec())))
    }

    /// A file that is gone for a moment, while an editor replaces it, has not changed yet.
    pub(super) fn has_changed(&self, since: &Watched) -> bool {
        let now = self.watched();
        now.0.is_some() && now != *since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_changed_and_a_missing_one_has_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hookway.toml");
        std::fs::write(&path, "").unwrap();
        let source = Source { path: Some(path.clone()), environment: Environment::new() };
        let before = source.watched();
        assert!(!source.has_changed(&before));
        std::fs::remove_file(&path).unwrap();
        assert!(!source.has_changed(&before));
        std::fs::write(&path, "# new\n").unwrap();
        assert!(source.has_changed(&before));
    }
}
