//! `hookway check`: everything that is wrong with a config and the plugins it names, at once.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::refuse;
use super::say::told_to;
use crate::config::{self, Config, Environment, Errors, PluginEntry};
use crate::package::{self, Package, Search};

pub(super) fn run(path: Option<&Path>, environment: &Environment) -> ExitCode {
    match check(path, environment, &Search::of_this_process()) {
        Ok(summary) => {
            told_to(io::stdout(), format_args!("{summary}"));
            ExitCode::SUCCESS
        }
        Err(errors) => refuse(&errors),
    }
}

/// The summary of a config that holds, or all that is wrong: with the file, and with the folder of each plugin.
fn check(path: Option<&Path>, environment: &Environment, search: &Search) -> Result<String, Errors> {
    let (config, entries) = match path {
        Some(path) => config::load_with_plugins(path, environment),
        None => (Config::built_in(environment), Vec::new()),
    };
    let name = path.map_or_else(|| "built-in config".to_owned(), |path| path.display().to_string());
    let (packages, broken): (Vec<_>, Vec<_>) =
        entries.iter().map(|entry| plugin(entry, &name, search)).partition(Result::is_ok);
    let mut errors = broken.into_iter().filter_map(Result::err);
    match (config, errors.next()) {
        (Ok(config), None) => {
            let packages: Vec<Package> = packages.into_iter().flatten().collect();
            Ok(summary(&name, &config, &packages))
        }
        (Ok(_), Some(first)) => Err(joined(first, errors)),
        (Err(config), first) => Err(joined(config, first.into_iter().chain(errors))),
    }
}

fn joined(mut first: Errors, others: impl Iterator<Item = Errors>) -> Errors {
    others.for_each(|other| first.append(other));
    first
}

/// Whether the plugin of an entry could be started. Faults of its folder are told where the config names it.
fn plugin(entry: &PluginEntry, config_name: &str, search: &Search) -> Result<Package, Errors> {
    let here = |text: String| Errors::at(config_name, entry.at, text);
    let package = package::load(&seen_from_here(&entry.path))
        .map_err(|errors| errors.led_to_by(config_name, entry.at))?;
    let name = &package.manifest.name;
    if *name != entry.name {
        return Err(here(format!(
            "path holds the plugin {name:?}; write it as the name, not {:?}",
            entry.name
        )));
    }
    let resolved = package.program.resolve(&package.dir, search);
    resolved.map_err(|error| here(format!("the plugin {name:?} cannot be started: {error}")))?;
    package.manifest.config_schema.check(&entry.config).map_err(|problems| {
        let mut told = problems.iter().map(|problem| here(format!("config of {name:?}: {problem}")));
        let first =
            told.next().unwrap_or_else(|| here(format!("config of {name:?} does not fit its schema")));
        joined(first, told)
    })?;
    Ok(package)
}

/// Shorter to read and to click: a path below the working directory is told as one.
fn seen_from_here(path: &Path) -> PathBuf {
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    let below = here.ok().and_then(|here| Some(path.strip_prefix(here).ok()?.to_owned()));
    below.filter(|below| !below.as_os_str().is_empty()).unwrap_or_else(|| path.to_owned())
}

fn summary(name: &str, config: &Config, packages: &[Package]) -> String {
    let upstreams: Vec<&str> = config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    let mut text = format!("ok: {name}\n  upstreams: {}", upstreams.join(", "));
    for route in &config.routes {
        let names: Vec<&str> = route.upstreams.iter().map(|index| upstreams[*index]).collect();
        text += &format!("\n  route {}: {}", route.pattern, names.join(", "));
    }
    for (package, entry) in packages.iter().zip(&config.plugin_entries) {
        let manifest = &package.manifest;
        let hooks: Vec<&str> = manifest.hooks.keys().map(|hook| hook.as_str()).collect();
        let off = if entry.enabled { "" } else { " (switched off)" };
        text += &format!("\n  plugin {} {}: {}{off}", manifest.name, manifest.version, hooks.join(", "));
        for notice in manifest.notices(config.plugins.chain_budget) {
            text += &format!("\n    notice: {notice}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const MANIFEST: &str =
        r#"{ "name": "mask", "version": "1.0.0", "main": "main.py", "hooks": { "onRequest": true } }"#;

    /// A config with the plugin `mask` beside it, and a search path that knows python3.
    fn checked(config: &str, manifest: &str) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("mask")).unwrap();
        fs::write(root.join("mask/plugin.json"), manifest).unwrap();
        fs::write(root.join("mask/main.py"), "").unwrap();
        fs::copy("/bin/true", root.join("python3")).unwrap();
        fs::write(root.join("hookway.toml"), config).unwrap();
        let environment = Environment::from([("HOME".to_owned(), "/home/ann".to_owned())]);
        let search = Search { beside: None, path: vec![root.clone()] };
        let here = format!("{}/", root.display());
        check(Some(&root.join("hookway.toml")), &environment, &search)
            .map(|summary| summary.replace(&here, ""))
            .map_err(|errors| errors.to_string().replace(&here, ""))
    }

    #[test]
    fn a_config_that_holds_is_summed_up() {
        let config = "[[plugin]]\nname = \"mask\"\npath = \"mask\"\nenabled = false\n[[route]]\nmodel = \"*\"\nupstreams = [\"echo\"]";
        let expected = "ok: hookway.toml\n  upstreams: echo\n  route *: echo\n  plugin mask 1.0.0: onRequest (switched off)";
        assert_eq!(checked(config, MANIFEST).as_deref(), Ok(expected));
    }

    #[test]
    fn faults_of_the_config_and_of_every_plugin_are_told_together() {
        let config = "lisen = 1\n[[plugin]]\nname = \"mask\"\npath = \"mask\"\n[[plugin]]\nname = \"gone\"\npath = \"gone\"";
        let manifest = MANIFEST.replace("1.0.0", "one");
        let told = checked(config, &manifest).unwrap_err();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[0], "hookway.toml:1:1: unknown key \"lisen\"; did you mean \"listen\"?");
        assert!(lines[1].starts_with("mask/plugin.json:1:30: version \"one\" is no version"), "{told}");
        assert!(lines[2].starts_with("hookway.toml:7:8: gone: is no plugin folder: "), "{told}");
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn a_plugin_under_another_name_or_without_its_program_is_told_where_the_config_names_it() {
        let config = "[[plugin]]\nname = \"masks\"\npath = \"mask\"";
        assert_eq!(
            checked(config, MANIFEST).unwrap_err(),
            "hookway.toml:3:8: path holds the plugin \"mask\"; write it as the name, not \"masks\""
        );
        let manifest = MANIFEST.replace("\"main\": \"main.py\"", "\"command\": [\"masker\"]");
        let told = checked("[[plugin]]\nname = \"mask\"\npath = \"mask\"", &manifest).unwrap_err();
        assert!(
            told.starts_with(
                "hookway.toml:3:8: the plugin \"mask\" cannot be started: there is no program \"masker\" in "
            ),
            "{told}"
        );
    }

    #[test]
    fn a_config_that_the_plugin_does_not_take_is_told_in_full() {
        let manifest = MANIFEST
            .replace("{ \"name\"", "{ \"configSchema\": { \"mark\": { \"type\": \"string\" } }, \"name\"");
        let config = "[[plugin]]\nname = \"mask\"\npath = \"mask\"\nconfig = { mark = 1, marks = 2 }";
        assert_eq!(
            checked(config, &manifest).unwrap_err(),
            "hookway.toml:3:8: config of \"mask\": /mark is a number; write a string\n\
             hookway.toml:3:8: config of \"mask\": /marks is not known; did you mean \"mark\"?"
        );
    }

    #[test]
    fn without_a_file_the_built_in_config_is_checked() {
        let environment = Environment::from([("HOME".to_owned(), "/home/ann".to_owned())]);
        let summary = check(None, &environment, &Search::default()).unwrap();
        assert_eq!(summary, "ok: built-in config\n  upstreams: echo");
    }
}
