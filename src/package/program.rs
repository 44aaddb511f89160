//! Which program a plugin is, and where it is found.
//!
//! Nothing a manifest says can start a file outside the plugin's folder by its path. A bare name may: it is
//! looked for where the operator put programs.

use std::ffi::OsString;
use std::io;
use std::iter;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use crate::document::{Section, one_of, parsed, text};

/// What is started. Paths are relative to the plugin's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    Python {
        main: PathBuf,
    },
    Node {
        main: PathBuf,
    },
    /// An executable of the plugin's own.
    Exec {
        main: PathBuf,
    },
    /// A bare name or a path inside the folder, and its arguments. Never empty.
    Command {
        argv: Vec<String>,
    },
}

/// The words of `runtime`.
pub(super) const RUNTIMES: [(&str, Runtime); 3] =
    [("python", Runtime::Python), ("node", Runtime::Node), ("exec", Runtime::Exec)];

/// `runtime`: what starts the entry file.
#[derive(Clone, Copy)]
pub(super) enum Runtime {
    Python,
    Node,
    /// The file itself.
    Exec,
}

/// Where bare names are looked for.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The folder of the gateway's own executable, where plugins built with it lie.
    pub beside: Option<PathBuf>,
    /// The folders of PATH.
    pub path: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no program {name:?} in {}", searched.join(", "))]
pub struct ProgramNotFound {
    pub name: String,
    pub searched: Vec<String>,
}

impl Search {
    /// As this process sees it. A relative folder in PATH would mean another place with each working directory.
    pub fn of_this_process() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self {
            beside: std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_path_buf())),
            path: std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect(),
        }
    }

    fn find(&self, name: &str, beside: bool) -> Result<PathBuf, ProgramNotFound> {
        let beside = self.beside.iter().filter(|_| beside);
        let folders: Vec<&PathBuf> = beside.chain(&self.path).collect();
        let found = folders.iter().map(|folder| folder.join(name)).find(|file| is_executable(file));
        found.ok_or_else(|| ProgramNotFound {
            name: name.to_owned(),
            searched: folders.iter().map(|folder| folder.display().to_string()).collect(),
        })
    }
}

impl Program {
    /// The entry file, which a command does not have.
    pub(super) fn main(&self) -> Option<&Path> {
        match self {
            Self::Python { main } | Self::Node { main } | Self::Exec { main } => Some(main),
            Self::Command { .. } => None,
        }
    }

    /// What to start for the plugin in `dir`, which is absolute: the program's absolute path and its arguments.
    pub fn resolve(&self, dir: &Path, search: &Search) -> Result<Vec<OsString>, ProgramNotFound> {
        Ok(match self {
            Self::Python { main } => vec![search.find("python3", false)?.into(), dir.join(main).into()],
            Self::Node { main } => vec![search.find("node", false)?.into(), dir.join(main).into()],
            Self::Exec { main } => vec![dir.join(main).into()],
            Self::Command { argv } => {
                let (name, args) = argv.split_first().expect("a command is never empty");
                let program = if name.contains('/') { dir.join(name) } else { search.find(name, true)? };
                iter::once(program.into()).chain(args.iter().map(OsString::from)).collect()
            }
        })
    }
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// `main` and `runtime`, or `command`.
pub(super) fn read(root: &mut Section<'_, '_>, dir: &Path) -> Option<Program> {
    let runtime = root.get("runtime", one_of(&RUNTIMES));
    let main = root.get("main", parsed(|text| inside(dir, text)));
    let command = root.list("command", text);
    match (root.has("main"), root.has("command")) {
        (true, true) => {
            root.problem("command", "command and main are both there; leave one of them out");
            None
        }
        (false, true) => {
            if root.has("runtime") {
                root.problem("runtime", "runtime is for main; a command names its own; leave runtime out");
            }
            checked_command(root, dir, command?)
        }
        (true, false) => checked_main(root, dir, main?, runtime),
        (false, false) => default_main(root, dir),
    }
}

/// Takes the keys of [`read`] as they are.
pub(super) fn skip(root: &mut Section<'_, '_>) {
    for key in ["runtime", "main", "command"] {
        root.node(key);
    }
}

fn checked_main(
    root: &mut Section<'_, '_>,
    dir: &Path,
    main: PathBuf,
    runtime: Option<Runtime>,
) -> Option<Program> {
    let extension = main.extension().and_then(|extension| extension.to_str());
    let by_extension = match extension {
        Some("py") => Runtime::Python,
        Some("js" | "mjs" | "cjs") => Runtime::Node,
        Some(_) | None => Runtime::Exec,
    };
    match runtime.unwrap_or(by_extension) {
        Runtime::Python => Some(Program::Python { main }),
        Runtime::Node => Some(Program::Node { main }),
        Runtime::Exec if is_executable(&dir.join(&main)) => Some(Program::Exec { main }),
        Runtime::Exec => {
            let hint = "run chmod +x on it, or write a runtime: \"python\" or \"node\"";
            root.problem("main", format!("main {:?} is not executable; {hint}", main.display().to_string()));
            None
        }
    }
}

/// OmniRoute's default, if that file is there.
fn default_main(root: &mut Section<'_, '_>, dir: &Path) -> Option<Program> {
    match inside(dir, "index.js") {
        Ok(main) => Some(Program::Node { main }),
        Err(_) => {
            root.problem_here("the manifest names no program; write it like \"main\": \"main.py\"");
            None
        }
    }
}

fn checked_command(root: &mut Section<'_, '_>, dir: &Path, argv: Vec<String>) -> Option<Program> {
    let problem = match argv.first().map(String::as_str) {
        None => "names no program; write it like [\"hookway-guard\"]".to_owned(),
        Some("" | "." | "..") => "begins with no program; write it like [\"hookway-guard\"]".to_owned(),
        Some(name) if argv.iter().any(|word| word.contains('\0')) => format!("{name:?} has a zero byte"),
        Some(name) if !name.contains('/') => return Some(Program::Command { argv }),
        Some(name) => match inside(dir, name) {
            Ok(path) if is_executable(&dir.join(&path)) => return Some(Program::Command { argv }),
            Ok(_) => format!("begins with {name:?}, which is not executable; run chmod +x on it"),
            Err(text) => format!("begins with {name:?}, which {text}"),
        },
    };
    root.problem("command", format!("command {problem}"));
    None
}

/// A file in the plugin's folder, by its path relative to it.
fn inside(dir: &Path, text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let steps_down = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if path.is_absolute() {
        return Err("is absolute; write a path relative to the plugin's folder".to_owned());
    }
    if text.is_empty() || text.contains('\0') || !steps_down {
        return Err("is no path inside the plugin's folder; write one without ..".to_owned());
    }
    let real = dir.join(path).canonicalize().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            "is not in the folder; put it there, or write the path of a file that is".to_owned()
        }
        _ => format!("cannot be read: {error}"),
    })?;
    if !real.starts_with(dir) {
        return Err("is a link that leaves the plugin's folder; put the file itself there".to_owned());
    }
    if !real.is_file() {
        return Err("is not a file; write the path of one".to_owned());
    }
    Ok(path.to_owned())
}
