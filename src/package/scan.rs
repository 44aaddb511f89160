//! Which plugins lie in the operator's plugin folders. Reads only.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Errors, MANIFEST_FILE, Package, load};
use crate::limits;

/// A folder with a manifest, and whether it is a plugin.
#[derive(Debug)]
pub struct Found {
    pub dir: PathBuf,
    pub result: Result<Package, Errors>,
}

/// The plugins one level below each folder, in the order of the folders and, within one, of the names. A folder
/// that is not there has none. Blocks: every file of every plugin is read once.
pub fn scan(dirs: &[PathBuf]) -> Vec<Found> {
    let mut found = Vec::new();
    for dir in dirs {
        match plugin_folders(dir) {
            Ok(folders) => found.extend(folders.into_iter().map(|dir| Found { result: named(&dir), dir })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let problem =
                    Errors::of_file(dir.display().to_string(), format!("cannot be scanned: {error}"));
                found.push(Found { dir: dir.clone(), result: Err(problem) });
            }
        }
    }
    found
}

/// The plugin in `dir`, whose name is written down and has to lead back to it.
fn named(dir: &Path) -> Result<Package, Errors> {
    match dir.to_str() {
        Some(_) => load(dir),
        None => Err(Errors::of_file(format!("{dir:?}"), "has a name that is not UTF-8; rename it")),
    }
}

/// Folders right below `dir` that have a manifest, by name. Hidden ones are not looked at: that is where what is
/// not yet, or no longer, a plugin lies.
pub(super) fn plugin_folders(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for (seen, entry) in fs::read_dir(dir)?.enumerate() {
        if seen == limits::SCAN_ENTRIES_MAX {
            let text = format!("it has more than {seen} entries; keep only plugins there");
            return Err(io::Error::other(text));
        }
        let entry = entry?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // What the manifest is, or whether it can be read, is told by whoever loads it.
        if !is_hidden && entry.path().join(MANIFEST_FILE).symlink_metadata().is_ok() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::symlink;

    use super::*;

    const MANIFEST: &str = r#"{ "name": "p", "version": "1.0.0", "command": ["p"] }"#;

    fn plugin(dir: &Path, manifest: &str) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join(MANIFEST_FILE), manifest).unwrap();
    }

    fn names(found: &[Found]) -> Vec<(String, bool)> {
        let name = |found: &Found| found.dir.file_name().unwrap().to_str().unwrap().to_owned();
        found.iter().map(|found| (name(found), found.result.is_ok())).collect()
    }

    #[test]
    fn a_scan_finds_plugins_one_level_down_and_tells_which_are_broken() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        plugin(&at("b"), MANIFEST);
        plugin(&at("a"), "{}");
        plugin(&at(".hidden"), MANIFEST);
        plugin(&at("folder/deeper"), MANIFEST);
        fs::write(at("file"), "").unwrap();
        symlink("b", at("link")).unwrap();
        symlink("gone", at("dangling")).unwrap();
        let found = scan(&[at("nowhere"), root.path().to_owned()]);
        let expected = [("a", false), ("b", true), ("link", true)].map(|(name, ok)| (name.to_owned(), ok));
        assert_eq!(names(&found), expected);
    }

    #[test]
    fn a_folder_that_cannot_be_scanned_is_told() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let found = scan(&[file]);
        assert!(found[0].result.as_ref().unwrap_err().to_string().contains("cannot be scanned: "));
    }

    #[test]
    fn a_folder_whose_name_is_no_text_is_no_plugin() {
        let root = tempfile::tempdir().unwrap();
        plugin(&root.path().join(OsString::from_vec(b"caf\xe9".to_vec())), MANIFEST);
        let found = scan(&[root.path().to_owned()]);
        let told = found[0].result.as_ref().unwrap_err().to_string();
        assert!(told.ends_with("caf\\xE9\": has a name that is not UTF-8; rename it"), "{told}");
    }

    #[test]
    fn a_scan_ends_in_a_folder_without_end() {
        let root = tempfile::tempdir().unwrap();
        for index in 0..=limits::SCAN_ENTRIES_MAX {
            fs::write(root.path().join(index.to_string()), "").unwrap();
        }
        let found = scan(&[root.path().to_owned()]);
        assert!(found[0].result.as_ref().unwrap_err().to_string().contains("more than "));
    }
}
