//! How a plugin's process comes to be. One thread starts them all.
//!
//! A plugin is started by `posix_spawn` of the gateway's own executable as `hookway __launch`, its *warden*
//! ([`run`]). The warden forks in a fresh process, arranges there what must be so before the plugin's program runs,
//! and stays as the program's parent. A closure run between `fork` and `exec` in the gateway would force a real
//! `fork`, whose cost grows with the gateway's memory (16 ms at 128 MiB) and which is not safe beside threads.
//!
//! ```text
//!  gateway ──control socket──► warden ──► program ──► whatever it starts
//!     └──────────link, log pipes───────────┘
//! ```
//!
//! The warden is what remains when the gateway is killed: it sees the end of the control socket and ends the plugin
//! with everything it started. Nothing of the gateway reaches the plugin: its environment is exactly the one given,
//! its descriptors are 0 to 3.

mod child;
mod control;
mod process;
mod warden;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::{mpsc, oneshot};

use crate::limits;

pub(super) use process::Process;
pub use warden::run;

/// The hidden command under which the executable runs [`run`].
pub const COMMAND: &str = "__launch";

/// What to run, all of it absolute and resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// `argv`; the first is the program's absolute path.
    pub argv: Vec<OsString>,
    /// The working directory: the plugin's folder.
    pub dir: PathBuf,
    /// The whole environment, but for `HOOKWAY_FD`.
    pub env: Vec<(String, String)>,
}

/// A warden that was just started, with everything that leads to it and to its plugin.
pub(super) struct Spawned {
    /// The warden.
    pub child: std::process::Child,
    /// Readable once the warden has ended.
    pub pidfd: OwnedFd,
    /// The gateway's end, non-blocking.
    pub control: UnixStream,
    /// The gateway's end, non-blocking. The plugin's death is its end of file.
    pub socket: UnixStream,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

struct Job {
    program: Program,
    reply: oneshot::Sender<io::Result<Spawned>>,
}

/// Starts processes. Clones share the one thread, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct Launcher {
    jobs: mpsc::Sender<Job>,
}

impl Launcher {
    /// `executable` is this program: `/proc/self/exe`, which stays right when the file is replaced by an upgrade.
    pub fn start(executable: PathBuf) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel(limits::SPAWNS_QUEUED);
        std::thread::Builder::new()
            .name("hookway-spawn".to_owned())
            .spawn(move || serve(&executable, queue))?;
        Ok(Self { jobs })
    }

    /// Returns once the warden runs. Whether it then finds the program shows in its exit status: 127 if not.
    pub(super) async fn spawn(&self, program: Program) -> io::Result<Spawned> {
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes has ended");
        self.jobs.send(Job { program, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn serve(executable: &std::path::Path, mut queue: mpsc::Receiver<Job>) {
    while let Some(job) = queue.blocking_recv() {
        let spawned = spawn(executable, &job.program);
        if let Err(Ok(unclaimed)) = job.reply.send(spawned) {
            process::abandon(unclaimed);
        }
    }
}

fn spawn(executable: &std::path::Path, program: &Program) -> io::Result<Spawned> {
    let (ours, theirs) = socket_pair()?;
    let (control, wardens) = UnixStream::pair()?;
    control::send(&control, &[0], theirs.as_fd())?;
    drop(theirs);
    control.set_nonblocking(true)?;
    let mut child = Command::new(executable)
        .arg0("hookway")
        .arg(COMMAND)
        .arg(&program.dir)
        .args(&program.argv)
        .env_clear()
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::from(OwnedFd::from(wardens)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let pid = Pid::from_child(&child);
    match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(pidfd) => {
            let stdout = child.stdout.take().expect("stdout was asked to be a pipe").into();
            let stderr = child.stderr.take().expect("stderr was asked to be a pipe").into();
            Ok(Spawned { child, pidfd, control, socket: ours, stdout, stderr })
        }
        Err(error) => {
            // End of file: the warden ends what it started.
            drop(control);
            let _ = child.wait();
            Err(error.into())
        }
    }
}

/// Both ends close on exec; the plugin's travels over the control socket. Large buffers keep a 64 KiB part of a
/// body from waiting for the reader.
fn socket_pair() -> io::Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    for end in [&ours, &theirs] {
        // Above the system's maximum only root may go; whoever may not gets the maximum.
        if rustix::net::sockopt::set_socket_send_buffer_size_force(end, limits::LINK_SOCKET_BYTES).is_err() {
            rustix::net::sockopt::set_socket_send_buffer_size(end, limits::LINK_SOCKET_BYTES)?;
        }
    }
    ours.set_nonblocking(true)?;
    Ok((ours, theirs))
}
