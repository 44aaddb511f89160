//! The gateway as a peer: its config, its plugins' folders, and how to change both while it runs.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use serde_json::{Value, json};

use super::{Process, Running, Setting, command, free_address, http};
use crate::scenario::{self, Body, OnFailure, Plugins, Sdk};

/// Of this run's gateways only; they listen on 127.0.0.1 and end with it.
const ADMIN_TOKEN: &str = "loadtest-0123456789";
const RUST_PLUGIN: &str = "hookway-load-plugin";
const PYTHON_PLUGIN: &str = include_str!("../../plugins/probe.py");
/// A gateway with ten Python plugins starts ten interpreters on one core.
const HOOK_TIMEOUT_MS: u64 = 1_000;

pub(crate) struct Gateway {
    admin: SocketAddr,
    config: Config,
    file: PathBuf,
}

struct Config {
    listen: SocketAddr,
    admin: SocketAddr,
    upstream: SocketAddr,
    threads: usize,
    state: PathBuf,
    /// More keys of the upstream.
    upstream_keys: String,
    plugins: Vec<(String, PathBuf)>,
}

pub(super) fn start(peer: &scenario::Peer, setting: &Setting<'_>) -> anyhow::Result<Running> {
    let folder = setting.folder.join(&peer.name);
    std::fs::create_dir_all(&folder)?;
    let plugins = write_plugins(&peer.plugins, &folder)?;
    let config = Config {
        listen: free_address()?,
        admin: free_address()?,
        upstream: setting.upstream,
        threads: setting.threads,
        state: folder.join("state"),
        upstream_keys: peer.upstream.clone(),
        plugins,
    };
    let gateway = Gateway { admin: config.admin, config, file: folder.join("hookway.toml") };
    gateway.write_config(0)?;
    let mut command = command(setting.gateway, setting.cores)?;
    command
        .arg("serve")
        .arg("-c")
        .arg(&gateway.file)
        .env("HOOKWAY_ADMIN_TOKEN", ADMIN_TOKEN)
        .stdout(Stdio::null());
    let mut process = Process::start(&peer.name, &mut command, setting.folder)?;
    let mut last = String::new();
    process
        .wait_for(|| match http::get(gateway.admin, "/readyz", ADMIN_TOKEN) {
            Ok((status, body)) => {
                last = format!("/readyz said {status}: {body}");
                status == 200
            }
            Err(_) => false,
        })
        .with_context(|| last.clone())?;
    Ok(Running {
        name: peer.name.clone(),
        address: gateway.config.listen,
        process: Some(process),
        gateway: Some(gateway),
    })
}

impl Gateway {
    /// Writes the config anew, with another value in every plugin's own.
    pub(crate) fn write_config(&self, stamp: u64) -> anyhow::Result<()> {
        // Renamed into place: the gateway may read at any moment.
        let staged = self.file.with_extension("staged");
        std::fs::write(&staged, self.config.render(stamp))?;
        std::fs::rename(&staged, &self.file).context("replacing the gateway's config")
    }

    /// The number of the published generation.
    pub(crate) fn generation(&self) -> anyhow::Result<u64> {
        let (status, body) = http::get(self.admin, "/api/chain", ADMIN_TOKEN)?;
        anyhow::ensure!(status == 200, "/api/chain said {status}: {body}");
        let chain: Value = serde_json::from_str(&body).with_context(|| format!("/api/chain said {body}"))?;
        chain["generation"].as_u64().with_context(|| format!("no generation in {body}"))
    }
}

impl Config {
    fn render(&self, stamp: u64) -> String {
        let Self { listen, admin, upstream, threads, state, upstream_keys, plugins } = self;
        let mut text = format!(
            "[reload]\nwatch = false\n\
             [listen]\naddress = \"{listen}\"\nthreads = {threads}\n\
             [admin]\naddress = \"{admin}\"\n\
             [state]\ndir = {state:?}\n\
             [plugins]\ndirs = []\nsandbox = \"off\"\n\
             [log]\nlevel = \"warn\"\naccess = false\n\
             [[upstream]]\nname = \"scripted\"\nbase_url = \"http://{upstream}/v1\"\n"
        );
        text.push_str(upstream_keys);
        text.push('\n');
        for (name, path) in plugins {
            write!(
                text,
                "[[plugin]]\nname = \"{name}\"\npath = {path:?}\nenabled = true\nconfig = {{ stamp = {stamp} }}\n"
            )
            .expect("writing to a String cannot fail");
        }
        text
    }
}

/// One folder per plugin, numbered in chain order over all groups.
fn write_plugins(groups: &[Plugins], folder: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut written = Vec::new();
    for group in groups {
        for _ in 0..group.count {
            let name = format!("probe-{}", written.len());
            let path = folder.join(&name);
            std::fs::create_dir_all(&path)?;
            let manifest = manifest(&name, written.len(), group);
            std::fs::write(path.join("plugin.json"), serde_json::to_vec_pretty(&manifest)?)?;
            write_program(group.sdk, &path)?;
            written.push((name, path));
        }
    }
    Ok(written)
}

fn manifest(name: &str, position: usize, plugin: &Plugins) -> Value {
    let mut hook = json!({
        "body": match plugin.body {
            Body::None => "none",
            Body::Pointers => "pointers",
            Body::Full => "full",
        },
        "onFailure": match plugin.on_failure {
            OnFailure::Open => "open",
            OnFailure::Closed => "closed",
        },
        "timeoutMs": plugin.timeout_ms.unwrap_or(HOOK_TIMEOUT_MS),
    });
    if plugin.body == Body::Pointers {
        hook["pointers"] = json!(["/model", "/messages/0/role", "/temperature"]);
    }
    if plugin.observe {
        hook["mutates"] = json!([]);
    }
    let (main, runtime) = match plugin.sdk {
        Sdk::Rust => ("probe", "exec"),
        Sdk::Python => ("probe.py", "python"),
    };
    json!({
        "name": name,
        "version": "0.1.0",
        "protocol": 1,
        "main": main,
        "runtime": runtime,
        "priority": 100 + position,
        "hooks": { "onRequest": hook },
    })
}

fn write_program(sdk: Sdk, folder: &Path) -> anyhow::Result<()> {
    match sdk {
        Sdk::Rust => {
            let program = std::env::current_exe()?.with_file_name(RUST_PLUGIN);
            std::fs::copy(&program, folder.join("probe"))
                .with_context(|| format!("copying {}; build it with the load test", program.display()))?;
        }
        Sdk::Python => std::fs::write(folder.join("probe.py"), PYTHON_PLUGIN)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(body: Body) -> Plugins {
        let on_failure = OnFailure::Open;
        Plugins { sdk: Sdk::Rust, count: 1, body, observe: false, on_failure, timeout_ms: None }
    }

    #[test]
    fn a_manifest_declares_what_the_scenario_asks_for() {
        let pointers = manifest("probe-0", 0, &plugin(Body::Pointers));
        assert_eq!(pointers["hooks"]["onRequest"]["pointers"][0], "/model");
        let observer = manifest("probe-3", 3, &Plugins { observe: true, ..plugin(Body::None) });
        assert_eq!(observer["hooks"]["onRequest"]["mutates"], json!([]));
        assert_eq!((observer["priority"].as_u64(), observer["main"].as_str()), (Some(103), Some("probe")));
        let full = manifest("probe-0", 0, &plugin(Body::Full));
        assert_eq!(full["hooks"]["onRequest"].get("mutates"), None);
    }

    #[test]
    fn a_config_is_toml_and_another_stamp_is_all_that_changes() {
        let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let config = Config {
            listen: address,
            admin: address,
            upstream: address,
            threads: 2,
            state: "/tmp/with \"quotes\"".into(),
            upstream_keys: "breaker = { failures = 3 }".to_owned(),
            plugins: vec![("probe-0".into(), "/tmp/p".into()), ("probe-1".into(), "/tmp/q".into())],
        };
        let parsed: toml::Table = toml::from_str(&config.render(7)).unwrap();
        assert_eq!(parsed["plugin"][1]["config"]["stamp"].as_integer(), Some(7));
        assert_eq!(parsed["upstream"][0]["breaker"]["failures"].as_integer(), Some(3));
        assert_eq!(config.render(7).replace("stamp = 7", "stamp = 8"), config.render(8));
    }
}
