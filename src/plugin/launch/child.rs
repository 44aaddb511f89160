//! Inside the child of a warden, before the plugin's program: descriptors, signals, and then the program.
//!
//! Runs alone in its process, starts no thread, and ends by becoming the program.

use std::convert::Infallible;
use std::ffi::{OsString, c_int};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// Where the plugin finds its socket; `HOOKWAY_FD` says so too.
const SOCKET_FD: c_int = 3;

/// The program a child becomes.
pub(super) struct Program {
    pub(super) dir: OsString,
    pub(super) path: OsString,
    pub(super) args: Vec<OsString>,
}

impl Program {
    /// Becomes the program, with `link` as its socket. Returns only if that failed.
    pub(super) fn run(self, link: OwnedFd, warden: Pid) -> String {
        let Err(error) = self.exec(link, warden);
        error
    }

    fn exec(self, link: OwnedFd, warden: Pid) -> Result<Infallible, String> {
        lead_a_group().map_err(|error| format!("cannot make a process group: {error}"))?;
        die_with(warden)?;
        descriptors(link).map_err(|error| format!("cannot arrange file descriptors: {error}"))?;
        signals();
        stand_back();
        rustix::thread::set_no_new_privs(true)
            .map_err(|error| format!("cannot set no_new_privs: {error}"))?;
        let Self { dir, path, args } = self;
        std::env::set_current_dir(&dir)
            .map_err(|error| format!("cannot enter {}: {error}", dir.display()))?;
        let error = Command::new(&path).args(args).env("HOOKWAY_FD", SOCKET_FD.to_string()).exec();
        Err(format!("cannot run {}: {error}", path.display()))
    }
}

/// The warden asks for the same: whichever of the two comes first, the group is there before the program.
fn lead_a_group() -> io::Result<()> {
    Ok(rustix::process::setpgid(None, None)?)
}

/// Lets the kernel kill this process when its warden dies, also across the exec.
fn die_with(warden: Pid) -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("cannot ask for the parent's death signal: {error}"))?;
    // It may have died before it was asked for; then this process already has another parent.
    if getppid() == Some(warden) { Ok(()) } else { Err("its warden is gone".to_owned()) }
}

/// Leaves `/dev/null` as stdin, the two log pipes, the socket as descriptor 3, and nothing else open.
fn descriptors(link: OwnedFd) -> io::Result<()> {
    let null = File::open("/dev/null")?;
    // SAFETY: Plain system calls on numbers, without memory. The objects that own `link` and `null` are forgotten
    // below, and no other object of this process owns a descriptor above 2 that is used again.
    unsafe {
        let null_fd =
            if null.as_raw_fd() == SOCKET_FD { check(libc::dup(SOCKET_FD))? } else { null.as_raw_fd() };
        if link.as_raw_fd() == SOCKET_FD {
            check(libc::fcntl(SOCKET_FD, libc::F_SETFD, 0))?;
        } else {
            check(libc::dup2(link.as_raw_fd(), SOCKET_FD))?;
        }
        check(libc::dup2(null_fd, libc::STDIN_FILENO))?;
        check(libc::syscall(libc::SYS_close_range, SOCKET_FD + 1, u32::MAX, 0))?;
    }
    std::mem::forget((null, link));
    Ok(())
}

/// Ignored signals survive an exec: the runtime ignores SIGPIPE, the gateway SIGXFSZ, `nohup` SIGHUP. The program
/// gets the defaults, and none is blocked.
fn signals() {
    // SAFETY: No handler is installed, only defaults; signals that cannot be changed answer with an error,
    // which is as good. The set is initialised by `sigemptyset` before it is read.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Woken on a core where the gateway has work in hand, a plugin waits until that is done, instead of taking the
/// core at once: then it finds several calls together, and so does the gateway their answers. On an idle core it
/// starts as soon as ever. What an operator chose (`chrt`, `CPUSchedulingPolicy=`) is left alone, and a refusal
/// costs speed alone.
fn stand_back() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: Plain system calls on this process; the parameters are read during the call.
    unsafe {
        if libc::sched_getscheduler(0) == libc::SCHED_OTHER {
            libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters);
        }
    }
}

fn check<T: Into<i64> + Copy>(result: T) -> io::Result<T> {
    if result.into() < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
