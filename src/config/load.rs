//! From a file, a text or nothing to a checked [`Config`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::place::Place;
use super::{Config, Control, Environment, Errors, PluginEntry, plugin, route, server, upstream};
use crate::document::{Document, Section};
use crate::files;
use crate::limits;

/// What errors call the config without a file.
const BUILT_IN: &str = "built-in config";

/// The environment of this process, without the variables that are no text.
pub fn environment_of_this_process() -> Environment {
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).collect()
}

/// Reads the config file at `path`. Errors name it as it is given.
pub fn load(path: &Path, environment: &Environment) -> Result<Config, Errors> {
    load_with_plugins(path, environment).0
}

/// As [`load`], and whatever comes of it, the `[[plugin]]` entries that could be read: a check that tells all
/// errors at once looks into their folders too.
pub fn load_with_plugins(
    path: &Path,
    environment: &Environment,
) -> (Result<Config, Errors>, Vec<PluginEntry>) {
    match ConfigText::read(path) {
        Ok(text) => text.parse_with_plugins(environment),
        Err(errors) => (Err(errors), Vec::new()),
    }
}

/// A config file as it was read.
pub struct ConfigText {
    file_name: String,
    text: String,
    /// What relative paths start from: absolute and free of links.
    base_dir: PathBuf,
}

impl ConfigText {
    pub fn read(path: &Path) -> Result<Self, Errors> {
        let file_name = path.display().to_string();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let read =
            files::text(path, limits::CONFIG_BYTES_MAX).and_then(|text| Ok((text, folder.canonicalize()?)));
        match read {
            Ok((text, base_dir)) => Ok(Self { file_name, text, base_dir }),
            Err(error) => Err(Errors::of_file(file_name, format!("cannot be read: {error}"))),
        }
    }

    /// Nothing in it says anything: it has no lines, or comments alone.
    pub fn is_empty(&self) -> bool {
        self.text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#'))
    }

    /// What it says about the way to the gateway that runs by it. The rest of the text is not looked at.
    fn control(&self, environment: &Environment) -> Result<Control, Errors> {
        let Self { file_name, text, base_dir } = self;
        let place = Place { base_dir, environment };
        Document::read_toml(file_name, text, |root| server::control(root, &place))
    }

    pub fn parse(&self, environment: &Environment) -> Result<Config, Errors> {
        self.parse_with_plugins(environment).0
    }

    fn parse_with_plugins(&self, environment: &Environment) -> (Result<Config, Errors>, Vec<PluginEntry>) {
        let Self { file_name, text, base_dir } = self;
        read(text, file_name, &Place { base_dir, environment })
    }
}

/// What the config file at `path`, or the built-in config, says about the way to the gateway that runs by it: a command
/// needs no secret of an upstream for that, and outlives mistakes elsewhere in the file.
pub fn load_control(path: Option<&Path>, environment: &Environment) -> Result<Control, Errors> {
    match path {
        Some(path) => ConfigText::read(path)?.control(environment),
        None => {
            let (file_name, base_dir) = (BUILT_IN.to_owned(), PathBuf::from("/"));
            ConfigText { file_name, text: String::new(), base_dir }.control(environment)
        }
    }
}

/// Reads the text of a config file. `base_dir`, absolute and free of links, is what relative paths start from.
///
/// Everything comes from the arguments but the files the text names: certificates and keys are read, because a
/// config that names a missing one is wrong.
pub fn parse(
    text: &str,
    file_name: &str,
    base_dir: &Path,
    environment: &Environment,
) -> Result<Config, Errors> {
    read(text, file_name, &Place { base_dir, environment }).0
}

fn read(text: &str, file_name: &str, place: &Place<'_>) -> (Result<Config, Errors>, Vec<PluginEntry>) {
    let mut entries = Vec::new();
    let config = Document::read_toml(file_name, text, |root| {
        entries = plugin::all(root, place);
        config(root, place, entries.clone())
    });
    (config, entries)
}

impl Config {
    /// What runs without a config file: the echo upstream and every default.
    pub fn built_in(environment: &Environment) -> Result<Self, Errors> {
        parse("", BUILT_IN, Path::new("/"), environment)
    }
}

/// Every section is read before the first missing value ends it, so that all errors are found.
fn config(root: &mut Section<'_, '_>, place: &Place<'_>, plugin_entries: Vec<PluginEntry>) -> Option<Config> {
    let state_dir = root.table("state", |state| server::state_dir(state, place));
    let listen = root.table("listen", |listen| server::listen(listen, place, state_dir.as_deref()));
    let data_address = listen.as_ref().map(|listen| listen.address);
    let admin = root.table("admin", |admin| server::admin(admin, place, data_address));
    let plugins = root.table("plugins", |plugins| server::plugins(plugins, place, state_dir.as_deref()));
    let limits = root.table("limits", server::limits);
    let shutdown_grace = root.table("shutdown", server::shutdown_grace);
    let log = root.table("log", server::log);
    let watch = root.table("reload", server::watch);
    let (upstreams, names) = upstream::all(root, place);
    let routes = route::all(root, &names);
    Some(Config {
        listen: listen?,
        admin: admin?,
        state_dir: state_dir?,
        plugins: plugins?,
        limits,
        shutdown_grace,
        log,
        watch,
        upstreams,
        routes,
        plugin_entries,
    })
}
