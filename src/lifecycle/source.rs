//! Where the configuration comes from, and whether it changed since it was read.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use tokio::task::JoinHandle;

use crate::config::{Config, ConfigText, Environment, Errors, diff};

/// A config file, or none: then the built-in defaults.
#[derive(Clone, Debug)]
pub struct Source {
    pub path: Option<PathBuf>,
    /// As it was when the gateway started.
    pub environment: Environment,
}

/// What tells one state of the file from another without reading it. `None` while there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Option<(u64, u64, i64, i64)>);

/// What was seen of the file, look by look.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    /// The state that was read last.
    read: Stamp,
    /// The state at the last look.
    seen: Stamp,
}

impl Source {
    /// What is to take the place of `present`. A file that says nothing would take away all that is configured: it is
    /// refused, for a file that is being written, or that a full disk cut, begins so. So is one that changes while it is
    /// read. Blocks.
    pub(super) fn reload(&self, present: &Config) -> Result<Config, Errors> {
        let Some(path) = &self.path else { return Config::built_in(&self.environment) };
        let before = self.stamp();
        let text = ConfigText::read(path)?;
        let config = text.parse(&self.environment)?;
        let refused = |why: &str| Err(Errors::of_file(path.display().to_string(), why));
        if self.stamp() != before {
            return refused("changed while it was read; reload it again");
        }
        if text.is_empty() && !diff(present, &config).is_empty() {
            return refused(
                "is empty, and would take away all that is configured; write a key into it, or restart the gateway to \
                 run it with the defaults",
            );
        }
        Ok(config)
    }

    /// Follows links, as a mounted config map is swapped by one. Blocks.
    pub(super) fn stamp(&self) -> Stamp {
        let metadata = self.path.as_ref().and_then(|path| std::fs::metadata(path).ok());
        Stamp(metadata.map(|file| (file.ino(), file.size(), file.mtime(), file.mtime_nsec())))
    }
}

impl Watch {
    pub(super) fn new(read: Stamp) -> Self {
        Self { read, seen: read }
    }

    /// Whether the file is to be read: it is another one than was read, and the same as at the last look. One that is
    /// gone for a moment, while an editor replaces it, is not.
    pub(super) fn saw(&mut self, now: Stamp) -> bool {
        let stays = now == self.seen;
        self.seen = now;
        now.0.is_some() && now != self.read && stays
    }
}

/// The look at the file that is under way. Cancel safe: it stays under way. None: there was none, or the runtime ends.
pub(super) async fn looked(look: &mut Option<JoinHandle<Stamp>>) -> Option<Stamp> {
    let stamp = look.as_mut()?.await.ok();
    *look = None;
    stamp
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn source(path: &Path) -> Source {
        let environment = Environment::from([("HOME".to_owned(), "/home/ann".to_owned())]);
        Source { path: Some(path.to_owned()), environment }
    }

    #[test]
    fn a_replaced_file_counts_once_it_stays_the_same_and_a_missing_one_never() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hookway.toml");
        fs::write(&path, "").unwrap();
        let source = source(&path);
        let mut watch = Watch::new(source.stamp());
        assert!(!watch.saw(source.stamp()));
        fs::remove_file(&path).unwrap();
        assert!(!watch.saw(source.stamp()) && !watch.saw(source.stamp()));
        fs::write(&path, "# new\n").unwrap();
        assert!(!watch.saw(source.stamp()), "it may still be written");
        fs::write(&path, "# new, and whole\n").unwrap();
        assert!(!watch.saw(source.stamp()));
        assert!(watch.saw(source.stamp()));
        let mut watch = Watch::new(source.stamp());
        assert!(!watch.saw(source.stamp()));
    }

    #[test]
    fn a_file_that_says_nothing_takes_nothing_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hookway.toml");
        let source = source(&path);
        fs::write(&path, "[[upstream]]\nname = \"e\"\nkind = \"echo\"\n").unwrap();
        let present = source.reload(&Config::built_in(&source.environment).unwrap()).unwrap();
        for empty in ["", "\n \n", "# [[upstream]]\n"] {
            fs::write(&path, empty).unwrap();
            let told = source.reload(&present).unwrap_err().to_string();
            assert!(told.contains("hookway.toml: is empty"), "{told}");
        }
        // Where nothing is configured there is nothing to take away.
        fs::write(&path, "").unwrap();
        let defaults = ConfigText::read(&path).unwrap().parse(&source.environment).unwrap();
        assert_eq!(source.reload(&defaults).unwrap(), defaults);
    }
}
