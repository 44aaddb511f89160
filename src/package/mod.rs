//! A plugin on disk: a folder with a `plugin.json` and a program. Here it is read, checked and summed up;
//! nothing here runs it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use self::config_schema::{ConfigProblem, ConfigSchema};
pub use self::digest::Digest;
pub use self::manifest::{Manifest, ProcessLimits};
pub use self::permissions::{Exec, Files, Network, Permissions};
pub use self::program::{Program, ProgramNotFound, Search};
pub use self::scan::{Found, scan};
use crate::document::Document;
pub use crate::document::Errors;
use crate::limits;

mod config_schema;
mod digest;
mod hooks;
mod manifest;
mod permissions;
mod program;
mod scan;

#[cfg(test)]
mod tests;

/// The name of the manifest in a plugin's folder.
pub const MANIFEST_FILE: &str = "plugin.json";

/// A plugin folder whose manifest holds and whose program is there.
#[derive(Clone, Debug)]
pub struct Package {
    /// Absolute and free of links.
    pub dir: PathBuf,
    pub manifest: Manifest,
    /// As its author wrote it.
    pub manifest_text: String,
    /// Of everything in the folder that can change what the plugin does.
    pub digest: Digest,
}

/// Reads the plugin in `dir`. Blocks: every file of the folder is read once, for the digest.
pub fn load(dir: &Path) -> Result<Package, Errors> {
    let dir_name = dir.display().to_string();
    let of_dir = |text: String| Errors::of_file(&dir_name, text);
    let real = dir.canonicalize().map_err(|error| of_dir(format!("is no plugin folder: {error}")))?;
    if !real.is_dir() {
        return Err(of_dir("is no plugin folder: it is a file".to_owned()));
    }
    let file_name = dir.join(MANIFEST_FILE).display().to_string();
    let text = manifest_text(&real.join(MANIFEST_FILE))
        .map_err(|error| Errors::of_file(&file_name, format!("cannot be read: {error}")))?;
    let manifest = Document::read_json(&file_name, &text, |root| manifest::read(root, &real))?;
    let digest = digest::of_folder(&real).map_err(|error| of_dir(error.to_string()))?;
    Ok(Package { dir: real, manifest, manifest_text: text, digest })
}

fn manifest_text(path: &Path) -> std::io::Result<String> {
    let too_large = || std::io::Error::other(format!("larger than {} bytes", limits::MANIFEST_BYTES_MAX));
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    if metadata.len() > limits::MANIFEST_BYTES_MAX {
        return Err(too_large());
    }
    let mut text = String::new();
    File::open(path)?.take(limits::MANIFEST_BYTES_MAX + 1).read_to_string(&mut text)?;
    // It may have grown since.
    if text.len() as u64 > limits::MANIFEST_BYTES_MAX {
        return Err(too_large());
    }
    Ok(text)
}
