//! The parent of one plugin: `hookway __launch DIR PROGRAM [ARG…]`, with the gateway's control socket as stdin.
//!
//! It starts the program in a group of its own and waits. When the program ends, when the gateway says so, or when
//! the gateway is gone, it ends everything the program started: the group at once, and whatever left the group,
//! because an orphan below a subreaper becomes its child. Then it ends the way the program did, so that its status
//! is the program's. It never reads or writes the plugin's socket, and it has one thread.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::{ExitCode, abort};
use std::time::{Duration, Instant};

use libc::c_int;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group, pidfd_open,
    set_child_subreaper, setpgid, wait, waitpid,
};

use super::child::Program;
use super::control;
use crate::limits;

const CANNOT_RUN: u8 = 127;

/// Starts the program named by `args` (what follows `__launch`) and stays until nothing of it is left.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match start(args.into_iter()) {
        Ok(Started::Warden(warden)) => end_like(warden.watch()),
        Ok(Started::Failed(error)) | Err(error) => {
            eprintln!("hookway: {error}");
            ExitCode::from(CANNOT_RUN)
        }
    }
}

enum Started {
    /// This is the warden.
    Warden(Warden),
    /// This is its child, and it could not become the program.
    Failed(String),
}

struct Warden {
    /// The plugin's program, which leads the group. Reaped only once the group was killed: until then the kernel
    /// keeps its number, and a signal to the group reaches no stranger.
    leader: Pid,
    /// Readable when a child has ended.
    children: OwnedFd,
}

fn start(mut args: impl Iterator<Item = OsString>) -> Result<Started, String> {
    let usage = "usage: hookway __launch DIR PROGRAM [ARG…]";
    let (Some(dir), Some(path)) = (args.next(), args.next()) else { return Err(usage.to_owned()) };
    let program = Program { dir, path, args: args.collect() };
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("{what}: {error}")
    };
    let (_, link) = control::receive(stdin(), &mut [0]).map_err(failed("cannot read the control socket"))?;
    let link = link.ok_or("the gateway is gone")?;
    let this = getpid();
    set_child_subreaper(Some(this)).map_err(|error| format!("cannot become a subreaper: {error}"))?;
    let children = ended_children().map_err(failed("cannot watch for the end of a process"))?;
    // SAFETY: This process has one thread, so the child may go on as if it had started here.
    match unsafe { libc::fork() } {
        -1 => Err(failed("cannot fork")(io::Error::last_os_error())),
        0 => {
            // The program's descriptors are closed by number, this one with them.
            std::mem::forget(children);
            Ok(Started::Failed(program.run(link, this)))
        }
        child => {
            let leader = Pid::from_raw(child).expect("a child has a positive pid");
            // Its own attempt may have come first, and then it may be the program already.
            let _ = setpgid(Some(leader), Some(leader));
            drop(link);
            let children = stand_aside(children);
            // If the gateway is gone, that shows when it is waited for.
            let told = pidfd_open(leader, PidfdFlags::NONBLOCK)
                .map_err(io::Error::from)
                .and_then(|pidfd| control::send(stdin(), &child.to_ne_bytes(), pidfd.as_fd()));
            drop(told);
            Ok(Started::Warden(Warden { leader, children }))
        }
    }
}

impl Warden {
    /// Waits for a reason to end the plugin, ends it, and returns its status.
    fn watch(self) -> Option<WaitStatus> {
        let mut order = [0];
        loop {
            let [control, child] = wait_for([stdin(), self.children.as_fd()], None);
            if child && self.reap() {
                break;
            }
            if control {
                match control::receive(stdin(), &mut order) {
                    Ok((1, _)) if order[0] == control::TERMINATE => self.signal(Signal::TERM),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(_) | Err(_) => break,
                }
            }
        }
        self.end()
    }

    /// The leader may have gone into another group, so it is signalled as well as its group.
    fn signal(&self, signal: Signal) {
        let _ = kill_process(self.leader, signal);
        let _ = kill_process_group(self.leader, signal);
    }

    /// Reaps orphans that ended. Whether the leader has ended, which stays unreaped.
    fn reap(&self) -> bool {
        drain(&self.children);
        while let Some(ended) = next_ended() {
            if ended == self.leader {
                return true;
            }
            let _ = waitpid(Some(ended), WaitOptions::NOHANG);
        }
        false
    }

    /// Kills what is left until there is no child any more, within [`limits::WARDEN_END_WAIT`]. The leader's status.
    fn end(&self) -> Option<WaitStatus> {
        let mut status = None;
        self.signal(Signal::KILL);
        let until = Instant::now() + limits::WARDEN_END_WAIT;
        loop {
            // The children of one that dies become children of this process, and are in the next list.
            for child in children() {
                let _ = kill_process(child, Signal::KILL);
            }
            drain(&self.children);
            loop {
                match wait(WaitOptions::NOHANG) {
                    Ok(Some((pid, ended))) if pid == self.leader => status = Some(ended),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => return status,
                }
            }
            if Instant::now() >= until {
                return status;
            }
            wait_for([self.children.as_fd()], Some(limits::WARDEN_LOOK_PERIOD));
        }
    }
}

fn stdin() -> BorrowedFd<'static> {
    // SAFETY: Descriptor 0 is the control socket from the first line of the process to its last.
    unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) }
}

/// A descriptor that is readable when a child has ended. All signals are blocked from now on: what is meant for the
/// plugin, or for the whole service, must not end the one that cleans up.
fn ended_children() -> io::Result<OwnedFd> {
    // SAFETY: The sets are initialised before they are read, and the new descriptor is owned by nobody else.
    unsafe {
        let mut signals = MaybeUninit::uninit();
        libc::sigfillset(signals.as_mut_ptr());
        libc::sigprocmask(libc::SIG_BLOCK, signals.as_ptr(), std::ptr::null_mut());
        libc::sigemptyset(signals.as_mut_ptr());
        libc::sigaddset(signals.as_mut_ptr(), libc::SIGCHLD);
        match libc::signalfd(-1, signals.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            descriptor => Ok(OwnedFd::from_raw_fd(descriptor)),
        }
    }
}

/// Holds nothing of the plugin: not its pipes, whose end of file means that it is gone, nor its folder. Nor anything
/// that the gateway was started with. What is left is the control socket, and `children` as descriptor 3.
fn stand_aside(children: OwnedFd) -> OwnedFd {
    const CHILDREN_FD: c_int = 3;
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        // SAFETY: Plain system calls on numbers; the standard streams are not owned by an object.
        unsafe {
            libc::dup2(null.as_raw_fd(), libc::STDOUT_FILENO);
            libc::dup2(null.as_raw_fd(), libc::STDERR_FILENO);
        }
    }
    let _ = std::env::set_current_dir("/");
    let _ = rustix::thread::set_name(c"hookway-warden");
    // SAFETY: The object that owns `children` is forgotten, and the new one owns the only descriptor that is left of
    // those above 2. No other object of this process owns one.
    unsafe {
        if children.as_raw_fd() != CHILDREN_FD {
            libc::dup3(children.as_raw_fd(), CHILDREN_FD, libc::O_CLOEXEC);
        }
        libc::syscall(libc::SYS_close_range, CHILDREN_FD + 1, u32::MAX, 0);
        std::mem::forget(children);
        OwnedFd::from_raw_fd(CHILDREN_FD)
    }
}

/// Which of `descriptors` have something to read, once one has or `timeout` is over.
fn wait_for<const N: usize>(descriptors: [BorrowedFd<'_>; N], timeout: Option<Duration>) -> [bool; N] {
    let mut polled = descriptors.map(|descriptor| libc::pollfd {
        fd: descriptor.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    let millis = timeout.map_or(-1, |timeout| c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX));
    // SAFETY: The array is as long as it says.
    unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, millis) };
    polled.map(|descriptor| descriptor.revents != 0)
}

/// What signals were told is read from the processes themselves.
fn drain(signals: &OwnedFd) {
    let mut told = [0; 16 * size_of::<libc::signalfd_siginfo>()];
    while rustix::io::read(signals, &mut told).is_ok_and(|read| read > 0) {}
}

/// A child that has ended and is not reaped yet.
fn next_ended() -> Option<Pid> {
    let look = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is zeroed, which is a valid value, and `waitid` fills it in if there is such a child.
    let pid = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_ALL, 0, &raw mut info, look);
        info.si_pid()
    };
    Pid::from_raw(pid)
}

/// The living and the unreaped. Empty where the kernel does not list them; the group is killed all the same.
fn children() -> Vec<Pid> {
    let list = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// Ends this process as the program ended, so that the gateway reads the program's status.
fn end_like(status: Option<WaitStatus>) -> ExitCode {
    if let Some(code) = status.and_then(WaitStatus::exit_status) {
        return ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX));
    }
    let signal = status.and_then(WaitStatus::terminating_signal).unwrap_or(libc::SIGKILL);
    // SAFETY: Plain system calls on this process, and the set is initialised before it is read. The program may have
    // left a core; this process has nothing to add.
    unsafe {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
        let mut all = MaybeUninit::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::sigprocmask(libc::SIG_UNBLOCK, all.as_ptr(), std::ptr::null_mut());
    }
    abort()
}
