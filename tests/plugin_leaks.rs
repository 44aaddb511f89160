//! What a hundred plugin lives leave behind in the gateway: nothing. Alone in its process, to be able to count.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hookway::hook::HookName;
use hookway::plugin::launch::Launcher;
use hookway::plugin::{Observer, Plugin, PluginEvent, PluginSpec};
use tokio::runtime::Handle;

struct Nobody;

impl Observer for Nobody {
    fn observe(&self, _: &str, _: &PluginEvent) {}
}

/// `sh` as a plugin that exits before the handshake, in a moment.
fn spec() -> PluginSpec {
    PluginSpec {
        name: "brief".to_owned(),
        version: "1.0.0".to_owned(),
        argv: ["/bin/sh", "-c", "echo gone >&2; exit 7"].map(Into::into).to_vec(),
        dir: "/".into(),
        env: Vec::new(),
        config: serde_json::Map::new(),
        hooks: vec![HookName::OnRequest],
        generation: 1,
        max_in_flight: 1,
        start_timeout: Duration::from_secs(5),
    }
}

async fn live_once(launcher: &Launcher) {
    let (data, control) = (Handle::current(), Handle::current());
    let plugin = Plugin::start(spec(), launcher.clone(), data, &control, Arc::new(Nobody));
    let failure = plugin.ready().await.unwrap_err();
    assert_eq!(failure.to_string(), "start: exited with status 7: gone");
    let stopped = plugin.stopped();
    drop(plugin);
    stopped.await;
}

/// One that serves until it is dropped.
async fn serve_once(launcher: &Launcher, python: &str) {
    let twin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugin_twin.py");
    let spec = PluginSpec { argv: vec![python.into(), "-I".into(), twin.into()], ..spec() };
    let (data, control) = (Handle::current(), Handle::current());
    let plugin = Plugin::start(spec, launcher.clone(), data, &control, Arc::new(Nobody));
    plugin.ready().await.unwrap();
    let stopped = plugin.stopped();
    drop(plugin);
    stopped.await;
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn children() -> String {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default())
        .collect()
}

#[tokio::test]
async fn a_hundred_lives_leave_no_descriptor_and_no_zombie() {
    assert!(Path::new("/proc/self/task").exists(), "this test counts in /proc");
    let launcher = Launcher::start(PathBuf::from(env!("CARGO_BIN_EXE_hookway"))).unwrap();
    let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable, end='')"]).output();
    let python = String::from_utf8(asked.unwrap().stdout).unwrap();
    live_once(&launcher).await;
    serve_once(&launcher, &python).await;
    let before = descriptors();
    for _ in 0..100 {
        live_once(&launcher).await;
    }
    for _ in 0..20 {
        serve_once(&launcher, &python).await;
    }
    assert_eq!(descriptors(), before);
    assert_eq!(children(), "");
}
