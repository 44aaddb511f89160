//! Which plugins a configuration wants, each resolved to the program that will run.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::config::{Config, Environment, PluginEntry};
use crate::package::{self, Digest, Package, Program, Search};

/// Folders a plugin's program finds system tools in; the gateway's own PATH stays with the gateway.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A plugin the configuration has switched on.
pub(super) struct Wanted {
    pub(super) package: Package,
    pub(super) priority: i32,
    pub(super) identity: Identity,
}

/// Two plugins with the same identity are served by the same process.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) argv: Vec<OsString>,
    pub(super) dir: PathBuf,
    pub(super) env: Vec<(String, String)>,
    pub(super) config: Map<String, Value>,
    digest: Digest,
    /// The program may lie outside the folder, where the digest does not see it change.
    program: Option<(u64, SystemTime)>,
}

/// Reads every plugin folder the configuration names; all problems at once.
pub(super) fn wanted(
    config: &Config,
    environment: &Environment,
    search: &Search,
    sdk: &Path,
) -> Result<Vec<Wanted>, Vec<String>> {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    for entry in config.plugin_entries.iter().filter(|entry| entry.enabled) {
        match read(entry, environment, search, sdk) {
            Ok(wanted) => found.push(wanted),
            Err(mut texts) => problems.append(&mut texts),
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

fn read(
    entry: &PluginEntry,
    environment: &Environment,
    search: &Search,
    sdk: &Path,
) -> Result<Wanted, Vec<String>> {
    let package = package::load(&entry.path)
        .map_err(|errors| errors.to_string().lines().map(str::to_owned).collect::<Vec<_>>())?;
    let manifest = &package.manifest;
    if manifest.name != entry.name {
        let folder = entry.path.display();
        let problem =
            format!("plugin '{}': the folder {folder} holds a plugin named '{}'", entry.name, manifest.name);
        return Err(vec![problem]);
    }
    let argv = manifest
        .program
        .resolve(&package.dir, search)
        .map_err(|error| vec![format!("plugin '{}': {error}", entry.name)])?;
    let stamp = std::fs::metadata(&argv[0]).and_then(|file| Ok((file.len(), file.modified()?))).ok();
    let identity = Identity {
        name: entry.name.clone(),
        argv,
        dir: package.dir.clone(),
        env: env(&manifest.program, &manifest.permissions.env, environment, sdk),
        config: entry.config.clone(),
        digest: package.digest,
        program: stamp,
    };
    Ok(Wanted { priority: entry.priority.unwrap_or(manifest.priority), package, identity })
}

/// A clean environment: what every program needs, what its runtime needs, what its manifest was granted.
fn env(
    program: &Program,
    granted: &BTreeSet<String>,
    environment: &Environment,
    sdk: &Path,
) -> Vec<(String, String)> {
    let mut env = vec![("PATH".to_owned(), PATH.to_owned()), ("LANG".to_owned(), "C.UTF-8".to_owned())];
    if let Program::Python { .. } = program {
        env.push(("PYTHONPATH".to_owned(), sdk.join("python").to_string_lossy().into_owned()));
        env.push(("PYTHONUNBUFFERED".to_owned(), "1".to_owned()));
        // A plugin's folder is read, never written.
        env.push(("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned()));
    }
    for name in granted {
        if let Some(value) = environment.get(name) {
            env.retain(|(known, _)| known != name);
            env.push((name.clone(), value.clone()));
        }
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_gets_what_its_manifest_names_and_nothing_else() {
        let environment = Environment::from([
            ("OPENAI_API_KEY".to_owned(), "sk-secret".to_owned()),
            ("REGION".to_owned(), "eu".to_owned()),
        ]);
        let program = Program::Exec { main: "run".into() };
        let granted = ["REGION".to_owned(), "ABSENT".to_owned()].into();
        let env = env(&program, &granted, &environment, Path::new("/sdk"));
        let names: Vec<&str> = env.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["PATH", "LANG", "REGION"]);
    }
}
