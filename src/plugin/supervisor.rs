//! One plugin's life, decided. At most one process at a time; never sees a request.
//!
//! [`Supervisor::step`] takes what happened and the time, and says what to do. It starts no process and sets
//! no timer: its actor does, and comes back with [`Event::Wake`] when [`Supervisor::wake_at`] has come.
//!
//! ```text
//!  Starting ──ready──► Active ──retire──► Active until the drain time ──► Stopping ──► Stopped
//!   ▲   │ failed          │ died, broke the protocol, hung                 SHUTDOWN, TERM, KILL
//!   │   └──► Ending ◄─────┘
//!   │          │ reaped
//!   └─ Waiting ◄┴─► Broken ──probe──► Starting
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits;

/// Why a process ended. The words are those of the restart metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeathKind {
    /// It could not be started at all.
    Launch,
    /// It ran but did not become ready: it refused, or was silent.
    Handshake,
    /// It ended by itself or by a signal of somebody else.
    Exit,
    /// It sent bytes that are no frame of the protocol.
    Protocol,
    /// It was alive but did not answer pings.
    Unhealthy,
}

impl DeathKind {
    pub const ALL: [Self; 5] = [Self::Launch, Self::Handshake, Self::Exit, Self::Protocol, Self::Unhealthy];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Handshake => "handshake",
            Self::Exit => "exit",
            Self::Protocol => "protocol",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Event {
    /// The first thing to happen.
    Start,
    /// The process is there; from now on it has its time to become ready.
    Launched,
    /// The handshake is done.
    Ready,
    /// The plugin closed its end of the link, before or after it was ready.
    Closed,
    /// The link or the handshake failed in another way. The process may still run.
    Failed(DeathKind),
    /// There is no process any more: it has ended and is reaped, or never came to be. `jitter` is within -1 to 1.
    Gone { kind: DeathKind, jitter: f64 },
    /// No new request will use this plugin. Requests that still do have until `drain` is over.
    Retire { drain: Duration },
    /// Nobody uses it any more.
    Stop,
    /// The time that was asked for has come.
    Wake,
}

/// What to do about it, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Spawn,
    /// Let calls through.
    Publish,
    /// Let no call through any more.
    Withdraw,
    /// Tell the plugin: no new calls, and exit.
    Shutdown,
    /// SIGTERM to the group.
    Terminate,
    /// SIGKILL to the group.
    Kill,
    /// The process is gone for this reason; another start follows after the pause.
    Restart {
        kind: DeathKind,
        after: Duration,
    },
    /// The process is gone for this reason, too often. Only probes follow.
    GiveUp {
        kind: DeathKind,
    },
    /// The end of this supervisor.
    Finish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    New,
    /// Its turn to be started has not come yet, which is not its fault.
    Launching,
    Starting {
        until: Instant,
    },
    Active {
        since: Instant,
    },
    /// Unusable and soon gone. `kind` is why, if that is not for its exit status to say.
    Ending {
        kind: Option<DeathKind>,
        kill_at: Option<Instant>,
    },
    /// Between two starts.
    Waiting {
        until: Instant,
    },
    Stopping {
        stage: Stage,
        until: Option<Instant>,
    },
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Shutdown,
    Terminate,
    Kill,
}

/// The decider.
#[derive(Debug)]
pub(super) struct Supervisor {
    start_time: Duration,
    phase: Phase,
    /// Restarts in a row without a healthy time in between.
    attempts: u32,
    crashes: VecDeque<Instant>,
    protocol_errors: VecDeque<Instant>,
    broken: bool,
    /// Retired: when the drain time is over.
    retired_until: Option<Instant>,
}

impl Supervisor {
    /// `start_time` is how long a process may take to become ready.
    pub(super) fn new(start_time: Duration) -> Self {
        Self {
            start_time,
            phase: Phase::New,
            attempts: 0,
            crashes: VecDeque::new(),
            protocol_errors: VecDeque::new(),
            broken: false,
            retired_until: None,
        }
    }

    /// Given up on, but for a probe now and then.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// When [`Event::Wake`] is wanted.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let due = match self.phase {
            Phase::New | Phase::Launching | Phase::Active { .. } | Phase::Stopped => None,
            Phase::Starting { until } | Phase::Waiting { until } => Some(until),
            Phase::Ending { kill_at, .. } => kill_at,
            Phase::Stopping { until, .. } => return until,
        };
        [due, self.retired_until].into_iter().flatten().min()
    }

    pub(super) fn step(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Start => self.spawn(),
            Event::Launched => self.launched(now),
            Event::Ready => self.ready(now),
            Event::Closed => self.closed(now),
            Event::Failed(kind) => self.failed(kind, now),
            Event::Gone { kind, jitter } => self.gone(kind, jitter, now),
            Event::Retire { drain } => self.retire(drain, now),
            Event::Stop => self.stop(now),
            Event::Wake => self.wake(now),
        }
    }

    fn spawn(&mut self) -> Vec<Action> {
        self.phase = Phase::Launching;
        vec![Action::Spawn]
    }

    fn launched(&mut self, now: Instant) -> Vec<Action> {
        if self.phase == Phase::Launching {
            self.phase = Phase::Starting { until: now + self.start_time };
        }
        Vec::new()
    }

    fn ready(&mut self, now: Instant) -> Vec<Action> {
        let Phase::Starting { .. } = self.phase else { return Vec::new() };
        self.phase = Phase::Active { since: now };
        self.broken = false;
        vec![Action::Publish]
    }

    /// As a rule the process is exiting this moment, and its status and last words are the better reason.
    fn closed(&mut self, now: Instant) -> Vec<Action> {
        match self.phase {
            Phase::Launching | Phase::Starting { .. } | Phase::Active { .. } => {
                self.forgive_if_healthy(now);
                self.phase = Phase::Ending { kind: None, kill_at: Some(now + limits::EXIT_WAIT) };
                vec![Action::Withdraw]
            }
            Phase::New
            | Phase::Ending { .. }
            | Phase::Waiting { .. }
            | Phase::Stopping { .. }
            | Phase::Stopped => Vec::new(),
        }
    }

    fn failed(&mut self, kind: DeathKind, now: Instant) -> Vec<Action> {
        match self.phase {
            Phase::Launching | Phase::Starting { .. } | Phase::Active { .. } => {
                self.forgive_if_healthy(now);
                self.phase = Phase::Ending { kind: Some(kind), kill_at: None };
                vec![Action::Withdraw, Action::Kill]
            }
            Phase::New
            | Phase::Ending { .. }
            | Phase::Waiting { .. }
            | Phase::Stopping { .. }
            | Phase::Stopped => Vec::new(),
        }
    }

    fn gone(&mut self, kind: DeathKind, jitter: f64, now: Instant) -> Vec<Action> {
        let kind = match self.phase {
            Phase::Stopping { .. } => return self.finish(),
            Phase::Ending { kind: known, .. } => known.unwrap_or(kind),
            Phase::Launching | Phase::Starting { .. } | Phase::Active { .. } => kind,
            Phase::New | Phase::Waiting { .. } | Phase::Stopped => return Vec::new(),
        };
        self.forgive_if_healthy(now);
        if self.retired_until.is_some() {
            return [vec![Action::Withdraw], self.finish()].concat();
        }
        let mut actions = vec![Action::Withdraw];
        if self.gives_up(kind, now) {
            self.broken = true;
            self.phase = Phase::Waiting { until: now + limits::BROKEN_PROBE_PERIOD };
            actions.push(Action::GiveUp { kind });
        } else {
            let after = backoff(self.attempts, jitter);
            self.attempts = self.attempts.saturating_add(1);
            self.phase = Phase::Waiting { until: now + after };
            actions.push(Action::Restart { kind, after });
        }
        actions
    }

    /// A process that worked long enough has shown that a restart helps: the pause starts over.
    fn forgive_if_healthy(&mut self, now: Instant) {
        if let Phase::Active { since } = self.phase
            && now.saturating_duration_since(since) >= limits::RESTART_HEALTHY
        {
            self.attempts = 0;
        }
    }

    /// Counts a death. Whether it is one too many. While broken, any is.
    fn gives_up(&mut self, kind: DeathKind, now: Instant) -> bool {
        let crashes = count(&mut self.crashes, now, limits::CRASH_WINDOW, limits::CRASHES_MAX);
        let breaches = kind == DeathKind::Protocol
            && count(
                &mut self.protocol_errors,
                now,
                limits::PROTOCOL_ERROR_WINDOW,
                limits::PROTOCOL_ERRORS_MAX,
            );
        self.broken || crashes || breaches
    }

    fn retire(&mut self, drain: Duration, now: Instant) -> Vec<Action> {
        match self.phase {
            Phase::Stopping { .. } | Phase::Stopped => Vec::new(),
            // Nothing runs that a request could still want.
            Phase::New | Phase::Waiting { .. } => self.stop(now),
            Phase::Launching | Phase::Starting { .. } | Phase::Active { .. } | Phase::Ending { .. } => {
                if drain.is_zero() {
                    return self.stop(now);
                }
                let until = now + drain;
                self.retired_until = Some(self.retired_until.map_or(until, |earlier| earlier.min(until)));
                Vec::new()
            }
        }
    }

    fn stop(&mut self, now: Instant) -> Vec<Action> {
        self.retired_until = None;
        match self.phase {
            Phase::Stopping { .. } | Phase::Stopped => Vec::new(),
            Phase::New | Phase::Waiting { .. } => self.finish(),
            Phase::Active { .. } => {
                self.phase =
                    Phase::Stopping { stage: Stage::Shutdown, until: Some(now + limits::SHUTDOWN_WAIT) };
                vec![Action::Withdraw, Action::Shutdown]
            }
            // There is no link to say SHUTDOWN over.
            Phase::Launching | Phase::Starting { .. } => {
                [vec![Action::Withdraw], self.terminate(now)].concat()
            }
            Phase::Ending { .. } => self.kill(),
        }
    }

    fn terminate(&mut self, now: Instant) -> Vec<Action> {
        self.phase = Phase::Stopping { stage: Stage::Terminate, until: Some(now + limits::TERM_WAIT) };
        vec![Action::Terminate]
    }

    /// Nothing follows but the end: nobody survives it.
    fn kill(&mut self) -> Vec<Action> {
        self.phase = Phase::Stopping { stage: Stage::Kill, until: None };
        vec![Action::Kill]
    }

    fn finish(&mut self) -> Vec<Action> {
        self.phase = Phase::Stopped;
        vec![Action::Finish]
    }

    fn wake(&mut self, now: Instant) -> Vec<Action> {
        if self.wake_at().is_none_or(|due| now < due) {
            return Vec::new();
        }
        if self.retired_until.is_some_and(|until| now >= until) {
            return self.stop(now);
        }
        match self.phase {
            Phase::Starting { .. } => self.failed(DeathKind::Handshake, now),
            Phase::Waiting { .. } => self.spawn(),
            Phase::Ending { kind, .. } => {
                self.phase = Phase::Ending { kind, kill_at: None };
                vec![Action::Kill]
            }
            Phase::Stopping { stage: Stage::Shutdown, .. } => self.terminate(now),
            Phase::Stopping { stage: Stage::Terminate | Stage::Kill, .. } => self.kill(),
            Phase::New | Phase::Launching | Phase::Active { .. } | Phase::Stopped => Vec::new(),
        }
    }
}

/// Notes `now`, and says whether that makes `max` within `window`. Remembers no more than that.
fn count(times: &mut VecDeque<Instant>, now: Instant, window: Duration, max: usize) -> bool {
    while times.front().is_some_and(|&time| now.saturating_duration_since(time) >= window)
        || times.len() >= max
    {
        times.pop_front();
    }
    times.push_back(now);
    times.len() >= max
}

/// 100 ms × 2ⁿ up to 30 s, ±20 % so that plugins that died together do not start together.
fn backoff(attempts: u32, jitter: f64) -> Duration {
    let doubled = limits::RESTART_BACKOFF.saturating_mul(2u32.saturating_pow(attempts));
    doubled.min(limits::RESTART_BACKOFF_MAX).mul_f64(1.0 + 0.2 * jitter.clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASH: Event = Event::Gone { kind: DeathKind::Exit, jitter: 0.0 };

    /// A supervisor on a clock that only its test moves.
    struct Life {
        supervisor: Supervisor,
        now: Instant,
    }

    impl Life {
        fn new() -> Self {
            let supervisor = Supervisor::new(limits::START_TIMEOUT);
            let mut life = Self { supervisor, now: Instant::now() };
            assert_eq!(life.on(Event::Start), [Action::Spawn]);
            life.on(Event::Launched);
            life
        }

        fn active() -> Self {
            let mut life = Self::new();
            assert_eq!(life.on(Event::Ready), [Action::Publish]);
            life
        }

        fn on(&mut self, event: Event) -> Vec<Action> {
            self.supervisor.step(event, self.now)
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
        }

        /// Moves to the time that was asked for; how long that was, and what came of it.
        fn wake(&mut self) -> (Duration, Vec<Action>) {
            let due = self.supervisor.wake_at().expect("something is waited for");
            let waited = due.saturating_duration_since(self.now);
            self.now = due;
            let actions = self.on(Event::Wake);
            if actions.contains(&Action::Spawn) {
                self.on(Event::Launched);
            }
            (waited, actions)
        }
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn restart(after: Duration) -> Vec<Action> {
        vec![Action::Withdraw, Action::Restart { kind: DeathKind::Exit, after }]
    }

    #[test]
    fn each_crash_in_a_row_doubles_the_pause_and_the_fifth_is_the_last() {
        let mut life = Life::new();
        for pause in [100, 200, 400, 800] {
            life.on(Event::Ready);
            assert_eq!(life.on(CRASH), restart(millis(pause)));
            assert_eq!(life.wake(), (millis(pause), vec![Action::Spawn]));
        }
        life.on(Event::Ready);
        assert_eq!(life.on(CRASH), [Action::Withdraw, Action::GiveUp { kind: DeathKind::Exit }]);
        assert!(life.supervisor.is_broken());
    }

    #[test]
    fn a_broken_plugin_gets_one_start_every_thirty_seconds_until_it_works() {
        let mut life = Life::new();
        for _ in 0..4 {
            life.on(CRASH);
            life.wake();
        }
        for _ in 0..3 {
            assert_eq!(life.on(CRASH).last(), Some(&Action::GiveUp { kind: DeathKind::Exit }));
            assert_eq!(life.wake(), (Duration::from_secs(30), vec![Action::Spawn]));
            assert!(life.supervisor.is_broken());
        }
        assert_eq!(life.on(Event::Ready), [Action::Publish]);
        assert!(!life.supervisor.is_broken());
    }

    #[test]
    fn crashes_spread_over_more_than_a_minute_never_break_it() {
        let mut life = Life::active();
        for _ in 0..50 {
            life.pass(Duration::from_secs(16));
            assert!(matches!(life.on(CRASH)[..], [Action::Withdraw, Action::Restart { .. }]));
            life.wake();
            life.on(Event::Ready);
        }
    }

    #[test]
    fn a_minute_of_health_resets_the_pause_and_less_does_not() {
        let mut life = Life::active();
        assert_eq!(life.on(CRASH), restart(millis(100)));
        life.wake();
        life.on(Event::Ready);
        life.pass(Duration::from_secs(59));
        assert_eq!(life.on(CRASH), restart(millis(200)));
        life.wake();
        life.on(Event::Ready);
        life.pass(Duration::from_secs(60));
        life.on(Event::Closed);
        assert_eq!(life.on(CRASH), restart(millis(100)));
    }

    #[test]
    fn the_pause_is_capped_and_jittered_by_a_fifth() {
        assert_eq!(backoff(30, 0.0), Duration::from_secs(30));
        assert_eq!(backoff(u32::MAX, 1.0), Duration::from_secs(36));
        assert_eq!(backoff(0, -1.0), millis(80));
        assert_eq!(backoff(0, 5.0), millis(120));
    }

    #[test]
    fn the_third_protocol_error_in_ten_minutes_is_the_last() {
        let mut life = Life::active();
        let give_up = Action::GiveUp { kind: DeathKind::Protocol };
        for turn in 1..=3 {
            life.pass(Duration::from_secs(150));
            let ended = life.on(Event::Failed(DeathKind::Protocol));
            assert_eq!(ended, [Action::Withdraw, Action::Kill], "the link is not to be trusted");
            assert_eq!(life.on(CRASH).contains(&give_up), turn == 3);
            life.wake();
            life.on(Event::Ready);
        }
    }

    #[test]
    fn a_silent_start_is_killed_after_five_seconds() {
        let mut life = Life::new();
        assert_eq!(life.wake(), (Duration::from_secs(5), vec![Action::Withdraw, Action::Kill]));
        let kind = DeathKind::Handshake;
        assert_eq!(life.on(CRASH), [Action::Withdraw, Action::Restart { kind, after: millis(100) }]);
    }

    #[test]
    fn the_time_to_start_begins_when_the_process_is_there() {
        let mut supervisor = Supervisor::new(Duration::from_secs(60));
        let start = Instant::now();
        assert_eq!(supervisor.step(Event::Start, start), [Action::Spawn]);
        assert_eq!(supervisor.wake_at(), None, "its turn may take as long as it does");
        let launched = start + Duration::from_secs(30);
        assert_eq!(supervisor.step(Event::Launched, launched), []);
        assert_eq!(supervisor.wake_at(), Some(launched + Duration::from_secs(60)));
    }

    #[test]
    fn a_process_that_closed_its_socket_may_say_why_before_it_is_killed() {
        let mut life = Life::active();
        assert_eq!(life.on(Event::Closed), [Action::Withdraw]);
        assert_eq!(life.wake(), (limits::EXIT_WAIT, vec![Action::Kill]));
        assert_eq!(life.supervisor.wake_at(), None);
        assert_eq!(life.on(CRASH), restart(millis(100)));
    }

    #[test]
    fn a_plugin_that_will_not_go_is_asked_then_told_then_made() {
        let mut life = Life::active();
        assert_eq!(life.on(Event::Stop), [Action::Withdraw, Action::Shutdown]);
        assert_eq!(life.wake(), (Duration::from_secs(2), vec![Action::Terminate]));
        assert_eq!(life.wake(), (Duration::from_secs(3), vec![Action::Kill]));
        assert_eq!(life.supervisor.wake_at(), None);
        assert_eq!(life.on(CRASH), [Action::Finish]);
    }

    #[test]
    fn a_plugin_that_goes_when_asked_is_not_signalled() {
        let mut life = Life::active();
        life.on(Event::Stop);
        assert_eq!(life.on(Event::Closed), []);
        assert_eq!(life.on(CRASH), [Action::Finish]);
        assert_eq!(life.on(Event::Stop), []);
    }

    #[test]
    fn a_retired_plugin_serves_until_its_drain_time_is_over() {
        let mut life = Life::active();
        assert_eq!(life.on(Event::Retire { drain: Duration::from_secs(600) }), []);
        assert_eq!(life.wake(), (Duration::from_secs(600), vec![Action::Withdraw, Action::Shutdown]));
    }

    #[test]
    fn a_retired_plugin_that_dies_is_not_started_again() {
        let mut life = Life::active();
        life.on(Event::Retire { drain: Duration::from_secs(600) });
        assert_eq!(life.on(CRASH), [Action::Withdraw, Action::Finish]);
    }

    #[test]
    fn retired_again_it_keeps_the_earlier_end_and_without_drain_it_goes_at_once() {
        let mut life = Life::active();
        life.on(Event::Retire { drain: Duration::from_secs(5) });
        life.on(Event::Retire { drain: Duration::from_secs(600) });
        assert_eq!(life.supervisor.wake_at(), Some(life.now + Duration::from_secs(5)));
        assert_eq!(life.on(Event::Retire { drain: Duration::ZERO }), [Action::Withdraw, Action::Shutdown]);
    }

    #[test]
    fn stopped_while_starting_it_is_terminated_and_while_waiting_it_is_done() {
        let mut starting = Life::new();
        assert_eq!(starting.on(Event::Stop), [Action::Withdraw, Action::Terminate]);
        let mut waiting = Life::active();
        waiting.on(CRASH);
        assert_eq!(waiting.on(Event::Stop), [Action::Finish]);
    }

    #[test]
    fn a_wake_before_its_time_does_nothing() {
        let mut life = Life::active();
        life.on(CRASH);
        assert_eq!(life.on(Event::Wake), []);
    }
}
