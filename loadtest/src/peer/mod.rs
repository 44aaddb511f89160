//! The programs under test, each a child process on 127.0.0.1 that ends with its `Running`.

mod debian;
pub(crate) mod hookway;
mod http;

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::scenario;
use crate::scenario::PeerKind;

const START_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// What every peer is started with.
pub(crate) struct Setting<'a> {
    pub(crate) upstream: SocketAddr,
    pub(crate) threads: usize,
    pub(crate) cores: &'a [usize],
    /// The gateway's program.
    pub(crate) gateway: &'a Path,
    /// A folder of this run, for configs and logs.
    pub(crate) folder: &'a Path,
}

pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    /// None for `direct`.
    pub(crate) process: Option<Process>,
    /// None unless it is the gateway.
    pub(crate) gateway: Option<hookway::Gateway>,
}

/// Starts a peer and waits until it serves. None if its program is not installed.
pub(crate) fn start(peer: &scenario::Peer, setting: &Setting<'_>) -> anyhow::Result<Option<Running>> {
    let name = peer.name.clone();
    let running = match peer.kind {
        PeerKind::Direct => {
            return Ok(Some(Running { name, address: setting.upstream, process: None, gateway: None }));
        }
        PeerKind::Bare => start_bare(name, setting)?,
        PeerKind::Hookway => hookway::start(peer, setting)?,
        PeerKind::Nginx | PeerKind::Haproxy => match debian::start(peer, setting)? {
            Some(running) => running,
            None => return Ok(None),
        },
    };
    Ok(Some(running))
}

fn start_bare(name: String, setting: &Setting<'_>) -> anyhow::Result<Running> {
    let address = free_address()?;
    let program = std::env::current_exe().context("finding this program")?;
    let arguments = [
        "bare".to_owned(),
        format!("--listen={address}"),
        format!("--upstream={}", setting.upstream),
        format!("--threads={}", setting.threads),
    ];
    let mut process =
        Process::start(&name, command(&program, setting.cores)?.args(arguments), setting.folder)?;
    process.wait_for(|| TcpStream::connect(address).is_ok())?;
    Ok(Running { name, address, process: Some(process), gateway: None })
}

/// The scripted upstream, on the cores of the load.
pub(crate) fn start_upstream(
    script: &str,
    cores: &[usize],
    folder: &Path,
) -> anyhow::Result<(Process, SocketAddr)> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = command(&program, cores)?;
    command.args(["upstream", "--script", script]).stdout(Stdio::piped());
    let mut process = Process::start("upstream", &mut command, folder)?;
    let stdout = process.child.stdout.take().context("the upstream's output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let address =
        line.trim().strip_prefix("listening on ").context("the upstream did not say its address")?;
    Ok((process, address.parse()?))
}

/// A command that runs on these cores and ends with this process, by way of the `on-cores` command.
pub(crate) fn command(program: &Path, cores: &[usize]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("finding this program")?);
    command.arg("on-cores").args(cores.iter().map(|core| format!("--core={core}"))).arg("--").arg(program);
    command.stdin(Stdio::null());
    Ok(command)
}

/// A port that was free a moment ago. The peers take an address and cannot tell which port they got.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?)
}

/// A child process with its output in a file. Killed when dropped, unless it was stopped before.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Standard output and error go to `<folder>/<name>.log`, unless the command says otherwise for the output.
    pub(crate) fn start(name: &str, command: &mut Command, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = std::fs::File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let child = command.stderr(file).spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Polls until it is ready; an error with the end of its log if it ends before or takes too long.
    pub(crate) fn wait_for(&mut self, mut ready: impl FnMut() -> bool) -> anyhow::Result<()> {
        let start = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at its start ({status}):\n{}", self.name, self.last_words());
            }
            if start.elapsed() > START_TIMEOUT {
                bail!("{} is not ready after {START_TIMEOUT:?}:\n{}", self.name, self.last_words());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// Asks it to end and waits; kills it if it does not.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        if !self.is_alive() {
            bail!("{} ended before it was told to:\n{}", self.name, self.last_words());
        }
        self.signal(rustix::process::Signal::TERM)?;
        let start = Instant::now();
        while self.is_alive() {
            if start.elapsed() > STOP_TIMEOUT {
                bail!("{} did not end within {STOP_TIMEOUT:?} of SIGTERM:\n{}", self.name, self.last_words());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
