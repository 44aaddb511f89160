//! Inside the child, before the plugin's program: `hookway __launch GATEWAY_PID DIR PROGRAM [ARG…]`.
//!
//! Runs alone in its process, starts no thread, and ends by becoming the program. If it cannot, it says why on
//! stderr and exits with 127, as a shell does.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString, c_int};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Where the plugin finds its socket; `HOOKWAY_FD` says so too.
const SOCKET_FD: c_int = 3;
const CANNOT_RUN: u8 = 127;

/// Becomes the program named by `args` (what follows `__launch`). Returns only if that failed.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Err(error) = launch(args.into_iter());
    eprintln!("hookway: {error}");
    ExitCode::from(CANNOT_RUN)
}

fn launch(mut args: impl Iterator<Item = OsString>) -> Result<Infallible, String> {
    let usage = "usage: hookway __launch GATEWAY_PID DIR PROGRAM [ARG…]";
    let (Some(gateway), Some(dir), Some(program)) = (args.next(), args.next(), args.next()) else {
        return Err(usage.to_owned());
    };
    die_with(&gateway)?;
    descriptors().map_err(|error| format!("cannot arrange file descriptors: {error}"))?;
    signals();
    stand_back();
    rustix::thread::set_no_new_privs(true).map_err(|error| format!("cannot set no_new_privs: {error}"))?;
    std::env::set_current_dir(&dir).map_err(|error| format!("cannot enter {}: {error}", dir.display()))?;
    let error = Command::new(&program).args(args).env("HOOKWAY_FD", SOCKET_FD.to_string()).exec();
    Err(format!("cannot run {}: {error}", program.display()))
}

/// Lets the kernel kill this process when the gateway dies, also across the exec.
fn die_with(gateway: &OsStr) -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("cannot ask for the parent's death signal: {error}"))?;
    // It may have died before it was asked for; then this process already has another parent.
    let parent = getppid().map(|pid| pid.as_raw_nonzero().get().to_string());
    match parent {
        Some(parent) if gateway == parent.as_str() => Ok(()),
        Some(_) | None => Err("the gateway is gone".to_owned()),
    }
}

/// Leaves `/dev/null` as stdin, the two log pipes, the socket as descriptor 3, and nothing else open.
fn descriptors() -> io::Result<()> {
    let null = File::open("/dev/null")?;
    // SAFETY: Plain system calls on numbers, without memory. No object of this process owns the descriptors 0
    // and 3: it has only `null`, which is closed here by number at the latest, and is then forgotten.
    unsafe {
        let null_fd =
            if null.as_raw_fd() == SOCKET_FD { check(libc::dup(SOCKET_FD))? } else { null.as_raw_fd() };
        check(libc::dup2(libc::STDIN_FILENO, SOCKET_FD))?;
        check(libc::dup2(null_fd, libc::STDIN_FILENO))?;
        check(libc::syscall(libc::SYS_close_range, SOCKET_FD + 1, u32::MAX, 0))?;
    }
    std::mem::forget(null);
    Ok(())
}

/// Ignored signals survive an exec: the runtime ignores SIGPIPE, `nohup` SIGHUP. The program gets the defaults.
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
