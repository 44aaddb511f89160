//! From a plugin that is wanted to the program that will run.
//!
//! Reads and hashes the plugin's folder, so it blocks: it runs away from the actor's thread.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::error::LifecycleError;
use super::inventory::{Installed, Origin};
use crate::config::Environment;
use crate::package::{self, Digest, Package, Program, Search};

/// Folders a plugin's program finds system tools in; the gateway's own PATH stays with the gateway.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What plugins find beside their own folder.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) search: Search,
    /// Where the SDKs that come with the gateway lie.
    pub(super) sdk: PathBuf,
    /// Of the gateway; plugins get from it what they were granted.
    pub(super) environment: Environment,
}

/// A plugin whose files hold and may run.
pub(super) struct Resolved {
    pub(super) package: Package,
    pub(super) identity: Identity,
}

/// Two plugins with the same identity are served by the same process.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Identity {
    pub(super) name: Arc<str>,
    pub(super) argv: Vec<OsString>,
    pub(super) dir: PathBuf,
    pub(super) env: Vec<(String, String)>,
    /// With defaults.
    pub(super) config: Map<String, Value>,
    digest: Digest,
    /// The program may lie outside the folder, where the digest does not see it change.
    program: Option<(u64, SystemTime)>,
}

/// Holds what lies in the folder against what was accepted.
pub(super) fn resolve(wanted: &Installed, around: &Surroundings) -> Result<Resolved, LifecycleError> {
    let plugin = || wanted.name.to_string();
    let invalid = |problem: String| LifecycleError::Invalid { errors: vec![problem] };
    let package = package::load(&wanted.directory).map_err(LifecycleError::invalid)?;
    let manifest = &package.manifest;
    if manifest.name != *wanted.name {
        let folder = wanted.directory.display();
        return Err(invalid(format!(
            "plugin '{}': the folder {folder} holds a plugin named '{}'",
            wanted.name, manifest.name
        )));
    }
    if wanted.origin == Origin::Stored && package.digest.to_string() != wanted.digest {
        let why = "has other files than were accepted; scan to accept what is there now, or uninstall it and install it again".into();
        return Err(LifecycleError::WrongState { plugin: plugin(), why });
    }
    let permissions = wanted.lacks(&manifest.permissions);
    if !permissions.is_empty() {
        return Err(LifecycleError::NotGranted { plugin: plugin(), permissions });
    }
    let config = manifest
        .config_schema
        .check(&wanted.config)
        .map_err(|problems| LifecycleError::Config { plugin: plugin(), problems })?;
    let argv = package
        .program
        .resolve(&package.dir, &around.search)
        .map_err(|error| invalid(format!("plugin '{}': {error}", wanted.name)))?;
    let stamp = std::fs::metadata(&argv[0]).and_then(|file| Ok((file.len(), file.modified()?))).ok();
    // All of it is granted, by an operator or by the configuration.
    let granted: Vec<&String> = manifest.permissions.env.iter().collect();
    let identity = Identity {
        name: wanted.name.clone(),
        argv,
        dir: package.dir.clone(),
        env: env(&package.program, &granted, around),
        config,
        digest: package.digest,
        program: stamp,
    };
    Ok(Resolved { package, identity })
}

/// A clean environment: what every program needs, what its runtime needs, what it was granted.
fn env(program: &Program, granted: &[&String], around: &Surroundings) -> Vec<(String, String)> {
    let mut env = vec![("PATH".to_owned(), PATH.to_owned()), ("LANG".to_owned(), "C.UTF-8".to_owned())];
    if let Program::Python { .. } = program {
        env.push(("PYTHONPATH".to_owned(), around.sdk.join("python").to_string_lossy().into_owned()));
        env.push(("PYTHONUNBUFFERED".to_owned(), "1".to_owned()));
        // A plugin's folder is read, never written.
        env.push(("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned()));
    }
    for name in granted {
        if let Some(value) = around.environment.get(*name) {
            env.retain(|(known, _)| known != *name);
            env.push(((*name).clone(), value.clone()));
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
        let around =
            Surroundings { search: Search::of_this_process(), sdk: PathBuf::from("/sdk"), environment };
        let env = env(&program, &[&"REGION".to_owned(), &"ABSENT".to_owned()], &around);
        let names: Vec<&str> = env.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["PATH", "LANG", "REGION"]);
    }
}
