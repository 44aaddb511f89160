//! From a file, a text or nothing to a checked [`Config`].

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::place::Place;
use super::{Config, Environment, Errors, PluginEntry, plugin, route, server, upstream};
use crate::document::{Document, Section};
use crate::limits;

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
    let file_name = path.display().to_string();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match bounded_text(path).and_then(|text| Ok((text, folder.canonicalize()?))) {
        Ok((text, base_dir)) => read(&text, &file_name, &Place { base_dir: &base_dir, environment }),
        Err(error) => (Err(Errors::of_file(file_name, format!("cannot be read: {error}"))), Vec::new()),
    }
}

fn bounded_text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(limits::CONFIG_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limits::CONFIG_BYTES_MAX {
        return Err(std::io::Error::other(format!("larger than {} bytes", limits::CONFIG_BYTES_MAX)));
    }
    Ok(text)
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
        parse("", "built-in config", Path::new("/"), environment)
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
