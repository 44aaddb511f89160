//! `hookway plugin new`: a folder with a plugin that works, to be changed into one's own. Never over another's files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::super::say::{Failure, Reader};

const SCHEMA: &str = include_str!("../../../plugins/plugin.schema.json");
const MANIFEST: &str = include_str!("../../../plugins/templates/any/plugin.json");
const README: &str = include_str!("../../../plugins/templates/any/README.md");
const SAMPLE: &str = include_str!("../../../plugins/templates/any/sample.json");
const PYTHON: &str = include_str!("../../../plugins/templates/python/main.py");
const NODE: &str = include_str!("../../../plugins/templates/node/main.mjs");
const NODE_SDK: &str = include_str!("../../../plugins/templates/node/hookway.mjs");
const RUST: &str = include_str!("../../../plugins/sdk/rust/examples/replace.rs");
const RUST_CARGO: &str = include_str!("../../../plugins/templates/any/Cargo.toml.txt");
const RUST_BUILD: &str = include_str!("../../../plugins/templates/any/README.rust.txt");

/// Of a manifest's name.
const NAME_CHARACTERS_MAX: usize = 100;
/// Where the SDK lies in a checkout of Hookway.
const RUST_SDK: &str = "plugins/sdk/rust";

#[derive(Args, Debug)]
pub(super) struct New {
    /// Lower-case letters, digits and dashes.
    #[arg(value_parser = name)]
    name: String,
    #[arg(long, value_name = "LANGUAGE")]
    lang: Language,
    /// Where the folder is made; it is called like the plugin.
    #[arg(long = "in", value_name = "DIR")]
    parent: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Language {
    Python,
    Node,
    Rust,
}

fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > NAME_CHARACTERS_MAX || !text.chars().all(fits) || text.starts_with('-')
    {
        return Err("write it of lower-case letters, digits and dashes, at most 100".to_owned());
    }
    Ok(text.to_owned())
}

impl New {
    pub(super) fn run(self, reader: Reader) -> Result<(), Failure> {
        let folder = self.parent.clone().unwrap_or_default().join(&self.name);
        let sdk = match self.lang {
            Language::Rust => checkout().unwrap_or_else(|| Path::new("../hookway").join(RUST_SDK)),
            Language::Python | Language::Node => PathBuf::new(),
        };
        let files = files(&self.name, self.lang, &sdk);
        write(&folder, &files).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Failure::new("exists", format!("{} is there already; nothing was written", folder.display()))
            }
            _ => Failure::new("failed", format!("{}: {error}", folder.display())),
        })?;
        let paths: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
        let json = json!({ "plugin": self.name, "directory": folder, "files": paths });
        reader.say(&json, || self.next_steps(&folder));
        Ok(())
    }

    fn next_steps(&self, folder: &Path) -> String {
        let dir = folder.display();
        let build = match self.lang {
            Language::Rust => {
                format!("\n  (cd {dir} && cargo install --path . --root . --no-track --force)")
            }
            Language::Python | Language::Node => String::new(),
        };
        format!(
            "made {dir}; next:{build}\n  hookway plugin check {dir}\n  hookway plugin run {dir} --request {dir}/sample.json"
        )
    }
}

/// What the folder holds: paths and contents.
fn files(name: &str, lang: Language, sdk: &Path) -> Vec<(&'static str, String)> {
    let bin = format!("bin/{name}");
    let (source, main, build) = match lang {
        Language::Python => ("main.py", "main.py", ""),
        Language::Node => ("main.mjs", "main.mjs", ""),
        Language::Rust => ("src/main.rs", &*bin, RUST_BUILD),
    };
    let filled = |text: &str| {
        let words = [("{{name}}", name), ("{{main}}", main), ("{{source}}", source), ("{{build}}", build)];
        words.into_iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
    };
    let mut files = vec![
        ("plugin.json", filled(MANIFEST)),
        ("plugin.schema.json", SCHEMA.to_owned()),
        ("README.md", filled(README)),
        ("sample.json", SAMPLE.to_owned()),
    ];
    match lang {
        Language::Python => files.push(("main.py", PYTHON.to_owned())),
        Language::Node => {
            files.extend([("main.mjs", NODE.to_owned()), ("hookway.mjs", NODE_SDK.to_owned())]);
        }
        Language::Rust => {
            // A TOML string is written as a JSON one where it holds no control characters, and paths rarely do.
            let sdk = Value::from(sdk.to_string_lossy()).to_string();
            files.push(("Cargo.toml", filled(RUST_CARGO).replace("{{sdk}}", &sdk)));
            files.push(("src/main.rs", RUST.to_owned()));
            files.push((".gitignore", "/target\n/bin\n".to_owned()));
        }
    }
    files
}

/// The SDK of the checkout this program was built in, or that it is called from.
fn checkout() -> Option<PathBuf> {
    let starts = [std::env::current_exe().ok(), std::env::current_dir().ok()];
    let found = |start: &PathBuf| {
        let sdk = |folder: &Path| Some(folder.join(RUST_SDK)).filter(|sdk| sdk.join("Cargo.toml").is_file());
        start.ancestors().find_map(sdk)
    };
    starts.iter().flatten().find_map(found)
}

/// The folder must not be there yet.
fn write(folder: &Path, files: &[(&str, String)]) -> io::Result<()> {
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    fs::create_dir(folder)?;
    for (path, text) in files {
        let file = folder.join(path);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(file, text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_plugin_is_one_the_gateway_takes() {
        let root = tempfile::tempdir().unwrap();
        for (lang, name) in [(Language::Python, "a-py"), (Language::Node, "a-js"), (Language::Rust, "a-rs")] {
            let folder = root.path().join(name);
            write(&folder, &files(name, lang, Path::new("/hookway/plugins/sdk/rust"))).unwrap();
            if let Language::Rust = lang {
                fs::create_dir(folder.join("bin")).unwrap();
                fs::copy("/bin/true", folder.join("bin").join(name)).unwrap();
            }
            let package = crate::package::load(&folder).unwrap();
            assert_eq!(package.manifest.name, name);
            let left: Vec<String> = files(name, lang, Path::new("/x"))
                .into_iter()
                .filter(|(_, text)| text.contains("{{"))
                .map(|(path, _)| path.to_owned())
                .collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }

    #[test]
    fn nothing_is_written_over() {
        let root = tempfile::tempdir().unwrap();
        let error = write(root.path(), &[("plugin.json", String::new())]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
