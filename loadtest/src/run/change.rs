//! What is done to a gateway while it is under load, from a quarter of the time to three quarters.
//!
//! Runs on a thread beside the generator, knows the gateway by its process and its config file only, and tells
//! afterwards what it did when.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use crate::measure::process::descendants;
use crate::peer::hookway::Gateway;
use crate::scenario::Change;

/// The gateway a change is done to.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) pid: u32,
    pub(crate) gateway: &'a Gateway,
}

/// What was done, and when since the start of the load.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) from: Duration,
    pub(crate) until: Duration,
    pub(crate) what: &'static str,
    pub(crate) times: u64,
}

/// Works until the load of `duration` is through with its third quarter, or until `over` is dropped.
pub(crate) fn carry_out(
    change: Change,
    subject: Option<Subject<'_>>,
    duration: Duration,
    over: &Receiver<()>,
) -> anyhow::Result<Done> {
    let start = Instant::now();
    let mut done = Done { from: duration / 4, until: duration * 3 / 4, what: word(change), times: 0 };
    let Some(every) = period(change) else { return Ok(done) };
    let subject = subject.context("a change needs the gateway as its peer")?;
    if is_over(over, done.from) {
        return Ok(done);
    }
    while start.elapsed() < done.until {
        done.times += act(change, subject, done.times)?;
        if is_over(over, every) {
            break;
        }
    }
    if let Change::Hang { .. } = change {
        signal_plugins(subject.pid, Signal::CONT)?;
    }
    Ok(done)
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Reload { .. } => "reloads",
        Change::Kill { .. } => "plugins killed",
        Change::Hang { .. } => "plugins stopped",
        Change::Upstream { .. } => "changes (the upstream follows its script)",
    }
}

fn period(change: Change) -> Option<Duration> {
    match change {
        Change::Reload { every_ms, .. } | Change::Kill { every_ms, .. } | Change::Hang { every_ms, .. } => {
            Some(Duration::from_millis(every_ms))
        }
        Change::Upstream { .. } => None,
    }
}

/// How often it was done now.
fn act(change: Change, subject: Subject<'_>, before: u64) -> anyhow::Result<u64> {
    match change {
        Change::Reload { .. } => {
            subject.gateway.write_config(before + 1)?;
            let pid = i32::try_from(subject.pid)
                .ok()
                .and_then(Pid::from_raw)
                .context("the gateway's process id")?;
            kill_process(pid, Signal::HUP).context("asking the gateway to reload")?;
            Ok(1)
        }
        Change::Kill { .. } => signal_plugins(subject.pid, Signal::KILL),
        Change::Hang { .. } => signal_plugins(subject.pid, Signal::STOP),
        Change::Upstream { .. } => Ok(0),
    }
}

/// Every child of the gateway is a plugin. One that ended since it was listed is passed over.
fn signal_plugins(gateway: u32, signal: Signal) -> anyhow::Result<u64> {
    let plugins = descendants(gateway)?.into_iter().filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    Ok(plugins.filter(|&pid| kill_process(pid, signal).is_ok()).count() as u64)
}

/// Waits, and says if the load ended meanwhile.
fn is_over(over: &Receiver<()>, wait: Duration) -> bool {
    !matches!(over.recv_timeout(wait), Err(RecvTimeoutError::Timeout))
}
