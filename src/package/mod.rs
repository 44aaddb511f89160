//! A plugin on disk: a folder with a `plugin.json` and a program. Here it is read, checked and summed up;
//! nothing here runs it.
//!
//! Whoever is given a folder, whether by configuration, scan, command or call, has it judged by [`load`] alone.

use std::io;
use std::path::{Path, PathBuf};

pub use self::config_schema::{ConfigProblem, ConfigSchema};
pub use self::digest::Digest;
pub use self::manifest::{Manifest, ProcessLimits};
pub use self::permissions::{Access, Exec, Files, Network, Permissions};
pub use self::program::{Program, ProgramNotFound, Search};
pub use self::scan::{Found, scan};
pub use self::schema::manifest_schema;
use self::tree::{Fault, Tree};
use crate::document::Document;
pub use crate::document::Errors;
use crate::files;
use crate::limits;

mod config_schema;
mod digest;
mod hooks;
mod integrity;
mod manifest;
mod notices;
mod permissions;
mod program;
mod scan;
mod schema;
pub mod staging;
mod tree;

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
    pub program: Program,
    /// As its author wrote it.
    pub manifest_text: String,
    /// Of everything in the folder that can change what the plugin does.
    pub digest: Digest,
}

/// Reads the plugin in `dir`. Blocks: every file of the folder is read once, for the digest.
pub fn load(dir: &Path) -> Result<Package, Errors> {
    load_as(dir, dir)
}

/// Reads the plugin in `dir` and tells its problems as those of `shown`, which it is a copy of.
fn load_as(dir: &Path, shown: &Path) -> Result<Package, Errors> {
    let shown_name = shown.display().to_string();
    let of_dir = |text: String| Errors::of_file(&shown_name, text);
    let real = dir.canonicalize().map_err(|error| of_dir(format!("is no plugin folder: {error}")))?;
    if !real.is_dir() {
        return Err(of_dir("is no plugin folder: it is a file".to_owned()));
    }
    let tree = Tree::read(&real).map_err(|faults| told(&shown_name, &faults));
    let manifest = read_manifest(&real, &shown.join(MANIFEST_FILE));
    let (tree, (manifest, program, manifest_text)) = both(tree, manifest)?;
    let digest = digest::of_tree(&real, &tree).map_err(|error| of_dir(error.to_string()))?;
    Ok(Package { dir: real, manifest, program, manifest_text, digest })
}

fn told(dir: &str, faults: &[Fault]) -> Errors {
    let mut errors = faults.iter().map(|fault| Errors::of_file(dir, fault.to_string()));
    let first = errors.next().unwrap_or_else(|| Errors::of_file(dir, "is no plugin folder"));
    errors.fold(first, |mut all, more| {
        all.append(more);
        all
    })
}

/// Both, or all that is wrong with either.
fn both<A, B>(a: Result<A, Errors>, b: Result<B, Errors>) -> Result<(A, B), Errors> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(errors), Ok(_)) | (Ok(_), Err(errors)) => Err(errors),
        (Err(mut errors), Err(more)) => {
            errors.append(more);
            Err(errors)
        }
    }
}

/// The manifest, the program it names, and its text.
fn read_manifest(dir: &Path, shown: &Path) -> Result<(Manifest, Program, String), Errors> {
    let file_name = shown.display().to_string();
    let text = manifest_text(dir)
        .map_err(|error| Errors::of_file(&file_name, format!("cannot be read: {error}")))?;
    let (manifest, program) = Document::read_json(&file_name, &text, |root| {
        let (manifest, program) = (manifest::read(root), program::read(root, dir));
        integrity::read(root, dir, program.as_ref());
        // Only of a folder: what was accepted once stays readable.
        if let Some(manifest) = &manifest {
            notices::refuse_filters_not_called(root, manifest);
        }
        manifest.zip(program)
    })?;
    Ok((manifest, program, text))
}

fn manifest_text(dir: &Path) -> io::Result<String> {
    // What it says is told to whoever asks, so it may be no other file of this machine.
    let path = dir.join(MANIFEST_FILE).canonicalize()?;
    if !path.starts_with(dir) {
        return Err(io::Error::other("it is a link that leaves the folder; put the file itself there"));
    }
    files::text(&path, limits::MANIFEST_BYTES_MAX)
}
