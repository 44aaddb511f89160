//! Processes a gateway started, looked at from outside.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::Value;

use crate::harness::{Gateway, Log, PATIENCE};

/// The pid of the `number`th process, from 1, with which this plugin became ready.
pub(crate) async fn ready(log: &Log, plugin: &str, number: usize) -> i32 {
    let line = nth(log, number, "plugin ready", plugin).await;
    i32::try_from(line["pid"].as_i64().unwrap()).unwrap()
}

/// The `number`th line, from 1, with this message about this plugin.
pub(crate) async fn nth(log: &Log, number: usize, message: &str, plugin: &str) -> Value {
    let is_it = |line: &&Value| line["message"] == message && line["plugin"] == plugin;
    let what = format!("number {number} of {message:?} about {plugin}");
    log.nth(number, &what, |line| is_it(&line)).await
}

/// Waits until a plugin has said this.
pub(crate) async fn said(log: &Log, text: &str) {
    log.find(&format!("a plugin saying {text:?}"), |line| line["text"] == text).await;
}

pub(crate) fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

pub(crate) fn is_alive(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Waits for the end of a process, whoever its parent is.
pub(crate) async fn ended(pid: i32) {
    let Ok(pidfd) = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()) else { return };
    let patience = Timespec::try_from(PATIENCE).unwrap();
    let waiting = move || poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience)).unwrap();
    assert_eq!(tokio::task::spawn_blocking(waiting).await.unwrap(), 1, "process {pid} still runs");
}

/// Every plugin of this gateway, and every warden that has none.
pub(crate) fn children(gateway: &Gateway) -> BTreeSet<i32> {
    let wardens = children_of(i32::try_from(gateway.pid()).unwrap());
    let plugins = wardens.into_iter().map(|warden| (warden, children_of(warden)));
    plugins.flat_map(|(warden, plugins)| if plugins.is_empty() { vec![warden] } else { plugins }).collect()
}

fn children_of(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let children = threads.map(|thread| fs::read_to_string(thread?.path().join("children")));
    // A thread may end while they are looked through, and then it has no children.
    let lists: Vec<String> = children.map_while(Result::ok).collect();
    lists.iter().flat_map(|list| list.split_whitespace()).map(|pid| pid.parse().unwrap()).collect()
}
