//! Where a config file stands: what its paths start from and which environment it sees.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::Environment;
use crate::document::{Node, Wrong, parsed};
use crate::files;
use crate::limits;

pub(super) struct Place<'e> {
    pub(super) base_dir: &'e Path,
    pub(super) environment: &'e Environment,
}

impl Place<'_> {
    /// Reads a path: absolute, relative to the config file's folder, or `~/…`.
    pub(super) fn path(&self) -> impl Fn(&Node) -> Result<PathBuf, Wrong> {
        parsed(|text| self.resolve(text))
    }

    pub(super) fn resolve(&self, text: &str) -> Result<PathBuf, String> {
        if text.is_empty() || text.contains('\0') {
            return Err("is not a path; write an absolute one, or one relative to this file".to_owned());
        }
        match text.strip_prefix('~') {
            None => Ok(under(self.base_dir, Path::new(text))),
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                let home = self.environment.get("HOME").filter(|home| Path::new(home).is_absolute());
                let home =
                    home.ok_or("needs the environment variable HOME; set it, or write a whole path")?;
                Ok(under(Path::new(home), Path::new(rest.trim_start_matches('/'))))
            }
            Some(_) => Err("names another user's home; write the whole path".to_owned()),
        }
    }

    /// Reads a path whose file must be there, readable and hold `marker`.
    pub(super) fn pem_file(&self, marker: &'static str) -> impl Fn(&Node) -> Result<PathBuf, Wrong> {
        parsed(move |text| {
            let path = self.resolve(text)?;
            let content = file_text(&path)?;
            if content.contains(marker) {
                Ok(path)
            } else {
                Err(format!("has no {marker} in it; write the path of a PEM file"))
            }
        })
    }

    /// Reads a path whose file must be there, and gives the path and the file's text.
    pub(super) fn text_file(&self) -> impl Fn(&Node) -> Result<(PathBuf, String), Wrong> {
        parsed(|text| {
            let path = self.resolve(text)?;
            let content = file_text(&path)?;
            Ok((path, content))
        })
    }
}

/// `relative` below `base`. Leading `..` are taken off `base`, which has no links, and so mean what they say.
fn under(base: &Path, relative: &Path) -> PathBuf {
    let mut path = base.to_path_buf();
    let mut parts = relative.components().peekable();
    while let Some(part) = parts.next_if(|part| matches!(part, Component::ParentDir | Component::CurDir)) {
        if part == Component::ParentDir {
            path.pop();
        }
    }
    let rest: PathBuf = parts.collect();
    if rest.as_os_str().is_empty() { path } else { path.join(rest) }
}

fn file_text(path: &Path) -> Result<String, String> {
    match files::bytes(path, limits::NAMED_FILE_BYTES_MAX) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Err("is not a file; write the path of one".to_owned())
        }
        Err(error) => Err(format!("cannot be read: {error}; write the path of a file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_start_at_the_config_files_folder_or_at_home() {
        let environment = Environment::from([("HOME".to_owned(), "/home/ann".to_owned())]);
        let place = Place { base_dir: Path::new("/etc/hookway"), environment: &environment };
        let resolved = |text: &str| place.resolve(text).unwrap().display().to_string();
        assert_eq!(resolved("plugins/redact"), "/etc/hookway/plugins/redact");
        assert_eq!(resolved("./plugins/redact"), "/etc/hookway/plugins/redact");
        assert_eq!(resolved("../plugins/redact"), "/etc/plugins/redact");
        assert_eq!(resolved("../../../../x"), "/x");
        assert_eq!(resolved("."), "/etc/hookway");
        assert_eq!(resolved("/srv/x"), "/srv/x");
        assert_eq!(resolved("~"), "/home/ann");
        assert_eq!(resolved("~/.hookway"), "/home/ann/.hookway");
        assert!(place.resolve("~bob/x").is_err());
        assert!(place.resolve("").is_err());
    }

    #[test]
    fn without_a_home_a_home_path_is_an_error() {
        let environment = Environment::new();
        let place = Place { base_dir: Path::new("/"), environment: &environment };
        assert!(place.resolve("~/x").unwrap_err().contains("HOME"));
    }
}
