//! One running plugin, seen from the gateway: its warden, which is the gateway's child, and the program, which is the
//! warden's. The warden ends everything the program started; the gateway makes sure of the program itself.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, pidfd_send_signal};
use tokio::io::unix::AsyncFd;

use super::{Spawned, control};
use crate::plugin::watched;

/// A plugin and its warden. Dropping it ends both.
#[derive(Debug)]
pub(in crate::plugin) struct Process {
    warden: Child,
    /// Readable once the warden has ended.
    ended: AsyncFd<OwnedFd>,
    /// Its end of file tells the warden to end the plugin.
    control: AsyncFd<UnixStream>,
    /// None: the warden ended before it had a program.
    program: Option<Program>,
    reaped: bool,
}

#[derive(Debug)]
struct Program {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Process {
    /// Must run inside a tokio runtime, which then tells when the process ends.
    pub(in crate::plugin) fn adopt(warden: Child, pidfd: OwnedFd, control: UnixStream) -> io::Result<Self> {
        let ended = watched::for_reading(pidfd)?;
        let control = watched::for_reading(control)?;
        Ok(Self { warden, ended, control, program: None, reaped: false })
    }

    /// Waits until the warden has started the program, or has failed to, which its exit status tells.
    pub(in crate::plugin) async fn started(&mut self) -> io::Result<()> {
        self.program = self.told().await?;
        Ok(())
    }

    async fn told(&self) -> io::Result<Option<Program>> {
        let mut pid = [0; size_of::<i32>()];
        loop {
            let mut ready = self.control.readable().await?;
            match control::receive(self.control.get_ref(), &mut pid) {
                Ok((_, pidfd)) => {
                    let pid = Pid::from_raw(i32::from_ne_bytes(pid));
                    return Ok(pid.zip(pidfd).map(|(pid, pidfd)| Program { pid, pidfd }));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// The program's, by which operators know it.
    pub(in crate::plugin) fn pid(&self) -> u32 {
        self.program
            .as_ref()
            .map_or(self.warden.id(), |program| program.pid.as_raw_nonzero().get().unsigned_abs())
    }

    /// Waits for the end of the program and of everything it started. The status is the program's. Cancel-safe.
    pub(in crate::plugin) async fn exited(&mut self) -> io::Result<ExitStatus> {
        self.ended.readable().await?.retain_ready();
        if !self.reaped {
            // As a rule there is nothing left. A warden that somebody killed could not see to that.
            self.kill_program();
            self.reaped = true;
        }
        // Does not wait: the warden has ended, and only its status is left to collect.
        self.warden.wait()
    }

    pub(in crate::plugin) fn terminate(&self) {
        self.order(control::TERMINATE);
    }

    pub(in crate::plugin) fn kill(&self) {
        self.order(control::KILL);
        if let Some(program) = &self.program {
            let _ = pidfd_send_signal(&program.pidfd, Signal::KILL);
        }
        // The plugin may have stopped it.
        let _ = pidfd_send_signal(self.ended.get_ref(), Signal::CONT);
    }

    fn order(&self, order: u8) {
        // Full or closed: the warden is ending the plugin already, or is gone.
        let _ = rustix::net::send(self.control.get_ref(), &[order], rustix::net::SendFlags::NOSIGNAL);
    }

    fn kill_program(&self) {
        let Some(program) = &self.program else { return };
        // While the program lives, its number is its own and so is its group's.
        if pidfd_send_signal(&program.pidfd, Signal::KILL) != Err(Errno::SRCH) {
            let _ = kill_process_group(program.pid, Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
        }
    }
}

/// Ends a plugin that nobody wants, and waits for that. Blocks.
pub(super) fn abandon(mut spawned: Spawned) {
    // End of file: the warden does the rest.
    drop(spawned.control);
    let _ = spawned.child.wait();
}
