//! The hands of the supervisor: one task per plugin that waits for what happens and does what was decided.
//!
//! It owns the process, the handshake, the link and the pipes, and is done only when all of them are.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Instant;

use hookway_wire::{FrameType, Head};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};

use super::PluginSpec;
use super::launch::{Launcher, Process, Program, Spawned};
use super::link::{self, HandshakeFailure, Link, LinkEnd, Offer, Tasks};
use super::logs::{self, Source};
use super::state::Shared;
use super::supervisor::{Action, DeathKind, Event, Supervisor};
use crate::limits;

/// What the handle asks for. That the handle is gone is said by its end of the channel.
#[derive(Debug)]
pub(super) enum Command {
    Retire { drain: std::time::Duration },
}

type Handshake = JoinHandle<Result<(Arc<Link>, Tasks), HandshakeFailure>>;

/// A process and the two tasks that drain its pipes.
struct Running {
    process: Process,
    pipes: [JoinHandle<io::Result<()>>; 2],
}

/// Of a start that is not over.
#[derive(Clone, Copy)]
struct Progress {
    since: Instant,
    tell_at: Instant,
}

pub(super) struct Actor {
    supervisor: Supervisor,
    spec: PluginSpec,
    launcher: Launcher,
    data: Handle,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    /// The handle is gone: nothing comes over `commands` any more.
    abandoned: bool,
    running: Option<Running>,
    handshake: Option<Handshake>,
    link: Option<(Arc<Link>, Tasks)>,
    /// When the running process was started, and when it is next told that it is not ready yet.
    started: Option<Progress>,
    /// The running process has been ready.
    was_ready: bool,
    /// What ended the process, where its exit status would not tell.
    why: Option<String>,
}

impl Actor {
    pub(super) fn new(
        spec: PluginSpec,
        launcher: Launcher,
        data: Handle,
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        Self {
            supervisor: Supervisor::new(spec.start_timeout),
            spec,
            launcher,
            data,
            shared,
            commands,
            abandoned: false,
            running: None,
            handshake: None,
            link: None,
            started: None,
            was_ready: false,
            why: None,
        }
    }

    /// Runs until the plugin is stopped for good: no process, no link, no task is left.
    pub(super) async fn run(mut self) {
        let mut event = Event::Start;
        loop {
            let mut follows = None;
            for action in self.supervisor.step(event, now()) {
                if action == Action::Finish {
                    return self.shared.finish();
                }
                follows = self.perform(action).await;
            }
            event = match follows {
                Some(event) => event,
                None => self.next().await,
            };
        }
    }

    /// Waits for whatever happens next.
    async fn next(&mut self) -> Event {
        let wake_at = self.supervisor.wake_at();
        let tell_at = self.started.filter(|_| self.handshake.is_some()).map(|started| started.tell_at);
        tokio::select! {
            command = self.commands.recv(), if !self.abandoned => match command {
                Some(Command::Retire { drain }) => Event::Retire { drain },
                None => {
                    self.abandoned = true;
                    Event::Stop
                }
            },
            status = exited(&mut self.running) => self.exited(status).await,
            outcome = finished(&mut self.handshake) => self.shaken(outcome),
            end = ended(&mut self.link) => self.link_ended(end).await,
            () = wake(wake_at) => Event::Wake,
            () = wake(tell_at) => {
                self.tell_progress();
                Event::Wake
            }
        }
    }

    /// Does one thing. What comes of it at once is an event of its own.
    async fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Spawn => return self.spawn().await,
            Action::Publish => self.publish(),
            Action::Withdraw => self.shared.withdraw(self.supervisor.is_broken()),
            Action::Shutdown => {
                if let Some((link, _)) = &self.link {
                    link.tell(Head::link(FrameType::Drain));
                    link.tell(Head::link(FrameType::Shutdown));
                }
            }
            Action::Terminate => {
                self.drop_handshake();
                self.signal(Process::terminate);
            }
            Action::Kill => self.kill(),
            Action::Restart { kind, after } => {
                let reason = self.why.take().unwrap_or_default();
                self.shared.died(kind, reason, Some(after));
            }
            Action::GiveUp { kind } => {
                let reason = self.why.take().unwrap_or_default();
                self.shared.died(kind, reason, None);
            }
            Action::Finish => {}
        }
        None
    }

    /// Waits for its turn and for the warden to be executed, never for the plugin's program.
    async fn spawn(&mut self) -> Option<Event> {
        (self.why, self.was_ready) = (None, false);
        match self.launch().await {
            Ok(()) => Some(Event::Launched),
            Err(error) => {
                self.why = Some(format!("it could not be started: {error}"));
                Some(Event::Gone { kind: DeathKind::Launch, jitter: jitter() })
            }
        }
    }

    async fn launch(&mut self) -> io::Result<()> {
        let PluginSpec { argv, dir, env, .. } = &self.spec;
        let program = Program { argv: argv.clone(), dir: dir.clone(), env: env.clone() };
        let Spawned { child, pidfd, control, socket, stdout, stderr } = self.launcher.spawn(program).await?;
        let mut process = Process::adopt(child, pidfd, control)?;
        let started = timeout(limits::WARDEN_START_WAIT, process.started()).await;
        if let Err(error) = started.unwrap_or_else(|_| Err(io::Error::other("its warden did not start it"))) {
            process.kill();
            let _ = timeout(limits::WARDEN_END_WAIT * 2, process.exited()).await;
            return Err(error);
        }
        self.shared.launched(process.pid(), &self.spec.version, self.spec.generation);
        self.started = Some(Progress { since: now(), tell_at: now() + limits::START_TOLD_AFTER });
        let pipe = |pipe, source| {
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move { logs::drain(pipe, source, &shared.logs).await })
        };
        let pipes = [pipe(stdout, Source::Stdout), pipe(stderr, Source::Stderr)];
        self.running = Some(Running { process, pipes });
        let offer = Offer {
            plugin: self.spec.name.clone(),
            generation: self.spec.generation,
            max_in_flight: self.spec.max_in_flight,
            config: self.shared.config(),
            hooks: self.spec.hooks.clone(),
        };
        self.handshake = Some(self.data.spawn(link::open(socket, offer, Arc::clone(&self.shared.logs))));
        Ok(())
    }

    /// Each time takes twice as long as the one before, so that a start of minutes is a handful of lines.
    fn tell_progress(&mut self) {
        if let Some(Progress { since, tell_at }) = &mut self.started {
            let elapsed = now().saturating_duration_since(*since);
            *tell_at = *since + elapsed * 2;
            self.shared.starting(elapsed, self.spec.start_timeout);
        }
    }

    fn shaken(&mut self, outcome: Result<(Arc<Link>, Tasks), HandshakeFailure>) -> Event {
        self.handshake = None;
        match outcome {
            Ok(linked) => {
                self.link = Some(linked);
                Event::Ready
            }
            Err(failure) => match fault_of_handshake(failure) {
                Some((kind, why)) => self.failed(kind, why),
                None => Event::Closed,
            },
        }
    }

    async fn link_ended(&mut self, end: LinkEnd) -> Event {
        self.join_link().await;
        match fault_of_link(end) {
            Some((kind, why)) => self.failed(kind, why),
            None => Event::Closed,
        }
    }

    fn failed(&mut self, kind: DeathKind, why: String) -> Event {
        self.why = Some(why);
        Event::Failed(kind)
    }

    /// The process is gone and reaped: nothing may wait for it. Why is for the link to say, which may have ended
    /// first, or else for its exit status and last words.
    async fn exited(&mut self, status: io::Result<ExitStatus>) -> Event {
        let mut fault = self.join_handshake().await;
        if let Some((link, _)) = &self.link {
            link.end(LinkEnd::Closed);
            fault = fault_of_link(link.ended().await);
        }
        self.join_link().await;
        if let Some(Running { pipes, .. }) = self.running.take() {
            for mut pipe in pipes {
                // A program that left the process group may hold the pipe open for as long as it likes.
                if timeout(limits::LAST_OUTPUT_WAIT, &mut pipe).await.is_err() {
                    pipe.abort();
                }
            }
        }
        let last_words = self.shared.logs.take_last_words();
        // What the launcher says when it could not become the program.
        let not_run = !self.was_ready && status.as_ref().is_ok_and(|status| status.code() == Some(127));
        let exit = if not_run { DeathKind::Launch } else { DeathKind::Exit };
        let (kind, why) = fault.unwrap_or_else(|| (exit, describe(status, &last_words)));
        self.why.get_or_insert(why);
        Event::Gone { kind, jitter: jitter() }
    }

    /// The last of the handshake of a process that is gone, if it was not over.
    async fn join_handshake(&mut self) -> Option<(DeathKind, String)> {
        let mut handshake = self.handshake.take()?;
        // The socket has ended with the process, unless a program that left the group holds it open.
        match timeout(limits::LAST_OUTPUT_WAIT, &mut handshake).await {
            Ok(Ok(Ok(linked))) => self.link = Some(linked),
            Ok(Ok(Err(failure))) => return fault_of_handshake(failure),
            Ok(Err(_)) => {}
            Err(_) => handshake.abort(),
        }
        None
    }

    fn publish(&mut self) {
        if let (Some((link, _)), Some(running)) = (&self.link, &self.running) {
            self.was_ready = true;
            self.shared.publish(Arc::clone(link), running.process.pid());
        }
    }

    fn kill(&mut self) {
        let late = if self.handshake.is_some() {
            let limit = self.spec.start_timeout.as_millis();
            format!(
                "it was not ready within {limit} ms; a plugin that needs longer says so by startTimeoutMs in plugin.json"
            )
        } else {
            "it closed its socket but kept running".to_owned()
        };
        self.why.get_or_insert(late);
        self.drop_handshake();
        self.signal(Process::kill);
    }

    fn signal(&self, signal: impl Fn(&Process)) {
        if let Some(running) = &self.running {
            signal(&running.process);
        }
    }

    /// With the handshake goes the gateway's end of the socket.
    fn drop_handshake(&mut self) {
        if let Some(handshake) = self.handshake.take() {
            handshake.abort();
        }
    }

    async fn join_link(&mut self) {
        if let Some((_, tasks)) = self.link.take() {
            for task in tasks {
                let _ = task.await;
            }
        }
    }
}

/// What the end of a link says about its process; `None` if its exit status is the one to say it.
fn fault_of_link(end: LinkEnd) -> Option<(DeathKind, String)> {
    match end {
        LinkEnd::Closed | LinkEnd::Stopped => None,
        LinkEnd::Protocol(breach) => Some((DeathKind::Protocol, format!("it broke the protocol: {breach}"))),
        LinkEnd::Unhealthy => Some((DeathKind::Unhealthy, "it no longer answered pings".to_owned())),
        LinkEnd::Exhausted => Some((DeathKind::Exit, "all call ids of its link were used".to_owned())),
    }
}

/// The same of a handshake.
fn fault_of_handshake(failure: HandshakeFailure) -> Option<(DeathKind, String)> {
    match failure {
        HandshakeFailure::Closed => None,
        HandshakeFailure::Refused(_) | HandshakeFailure::Unserved(_) => {
            Some((DeathKind::Handshake, failure.to_string()))
        }
        HandshakeFailure::Protocol(_) => Some((DeathKind::Protocol, failure.to_string())),
    }
}

async fn exited(running: &mut Option<Running>) -> io::Result<ExitStatus> {
    match running {
        Some(running) => running.process.exited().await,
        None => std::future::pending().await,
    }
}

async fn finished(handshake: &mut Option<Handshake>) -> Result<(Arc<Link>, Tasks), HandshakeFailure> {
    match handshake {
        // It is only ever aborted after it was taken from here, or by a runtime that shuts down.
        Some(handshake) => handshake.await.unwrap_or(Err(HandshakeFailure::Closed)),
        None => std::future::pending().await,
    }
}

async fn ended(link: &mut Option<(Arc<Link>, Tasks)>) -> LinkEnd {
    match link {
        Some((link, _)) => link.ended().await,
        None => std::future::pending().await,
    }
}

async fn wake(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Tokio's clock, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// "exited with status 1: ModuleNotFoundError: No module named 'x'"
fn describe(status: io::Result<ExitStatus>, last_words: &str) -> String {
    let ended = match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exited with status {code}"),
            (None, Some(_)) => format!("killed by {}", status.to_string().replace(": ", " ")),
            (None, None) => format!("ended: {status}"),
        },
        Err(error) => format!("ended with unknown status: {error}"),
    };
    if last_words.is_empty() { ended } else { format!("{ended}: {last_words}") }
}

/// From -1 to 1.
fn jitter() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness plugins start together, which is no harm worth failing for.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX) * 2.0 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_is_told_with_its_last_words() {
        assert_eq!(
            describe(Ok(ExitStatus::from_raw(1 << 8)), "ValueError: x"),
            "exited with status 1: ValueError: x"
        );
        assert_eq!(describe(Ok(ExitStatus::from_raw(0)), ""), "exited with status 0");
        assert_eq!(describe(Ok(ExitStatus::from_raw(9)), ""), "killed by signal 9 (SIGKILL)");
    }

    #[test]
    fn jitter_stays_within_its_bounds() {
        for _ in 0..1_000 {
            assert!((-1.0..=1.0).contains(&jitter()));
        }
    }
}
