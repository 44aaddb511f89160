//! One running process and its group. It is reaped exactly once, and its whole group is killed before that:
//! until then the kernel keeps the group's number, so the signal cannot reach a stranger.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::unix::AsyncFd;

use crate::plugin::watched;

/// A child that leads its own process group. Dropping it kills the group.
#[derive(Debug)]
pub(in crate::plugin) struct Process {
    child: Child,
    pidfd: AsyncFd<OwnedFd>,
    reaped: bool,
}

impl Process {
    /// Must run inside a tokio runtime, which then tells when the process ends.
    pub(in crate::plugin) fn adopt(child: Child, pidfd: OwnedFd) -> io::Result<Self> {
        let pidfd = watched::for_reading(pidfd)?;
        Ok(Self { child, pidfd, reaped: false })
    }

    pub(in crate::plugin) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of the process, kills what is left of its group, and reaps it. Cancel-safe.
    pub(in crate::plugin) async fn exited(&mut self) -> io::Result<ExitStatus> {
        self.pidfd.readable().await?.retain_ready();
        if !self.reaped {
            kill_group(self.child.id());
            self.reaped = true;
        }
        // Does not wait: the process has ended, and only its status is left to collect.
        self.child.wait()
    }

    pub(in crate::plugin) fn terminate(&self) {
        signal_group(self.child.id(), Signal::TERM);
    }

    pub(in crate::plugin) fn kill(&self) {
        signal_group(self.child.id(), Signal::KILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
        }
    }
}

pub(super) fn kill_group(leader: u32) {
    signal_group(leader, Signal::KILL);
}

/// Only ever called while `leader` is unreaped. A group that is already empty is no error.
fn signal_group(leader: u32, signal: Signal) {
    let group = i32::try_from(leader).ok().and_then(Pid::from_raw).expect("a child has a positive pid");
    let _ = kill_process_group(group, signal);
}
