//! Whether a plugin that lives but does not deliver is still asked. Pure [`Breaker`], and [`CallBreaker`] around
//! it for the call path: a closed breaker admits by one atomic load, and each outcome takes a short lock.
//!
//! A plugin that does not answer in time is hung, whoever asked. A plugin that answers with an error may just have
//! been asked something it cannot do: one client with bad requests must not close it to all others. So errors
//! count by client, and open the breaker only when nearly all calls of several clients fail.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::hash::mix;
use crate::hook::{Cause, ClientId};
use crate::limits;

/// The state an operator sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// Calls are refused at once.
    Open,
    /// One call at a time goes through to find out.
    HalfOpen,
}

impl BreakerState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// How a call ended, as far as the breaker cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Delivered,
    /// It answered in time, with no verdict that holds. That may be due to the request.
    Erred,
    TimedOut,
    /// Says nothing about the plugin: dropped by the caller, or not asked at all.
    Neutral,
}

impl Outcome {
    fn of(cause: Cause, cut_short: bool) -> Self {
        match cause {
            // It had less time than it was promised.
            Cause::Timeout if cut_short => Self::Neutral,
            Cause::Timeout => Self::TimedOut,
            Cause::Error | Cause::Malformed | Cause::TooLarge => Self::Erred,
            // A lost process is the supervisor's business, and too much load is not cured by refusing more.
            Cause::Unavailable | Cause::Overloaded | Cause::Broken | Cause::Protocol | Cause::Oversize => {
                Self::Neutral
            }
        }
    }
}

/// A set of clients, each one bit by the hash of its id. Two clients may share a bit; then they count as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Clients(u64);

impl Clients {
    fn with(self, client: ClientId) -> Self {
        Self(self.0 | 1 << (mix(client.0) % u64::from(u64::BITS)))
    }

    fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    fn count(self) -> u32 {
        self.0.count_ones()
    }
}

/// Counts of one second.
#[derive(Clone, Copy, Debug)]
struct Second {
    began: Instant,
    calls: u32,
    errors: u32,
    timeouts: u32,
    /// Those that got a verdict.
    served: Clients,
    /// Those that got an error.
    erred: Clients,
}

/// What opened a breaker, and so what a probe has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Complaint {
    /// It did not answer in time. Any answer in time shows that it does again.
    Silent,
    /// It answered nearly everybody with errors. Only a verdict shows that it works again.
    Erring,
}

#[derive(Debug)]
enum State {
    Closed,
    Open { until: Instant, complaint: Complaint },
    HalfOpen { complaint: Complaint, probing: bool },
}

/// The decider: who may call, and what an outcome changes.
#[derive(Debug)]
struct Breaker {
    state: State,
    /// The last [`limits::CALL_BREAKER_WINDOW`], oldest first.
    seconds: VecDeque<Second>,
    /// How long the breaker stays open when it next opens.
    open_for: Duration,
}

impl Breaker {
    fn new() -> Self {
        Self { state: State::Closed, seconds: VecDeque::new(), open_for: limits::CALL_BREAKER_OPEN }
    }

    fn shown(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Whether a call may go ahead now. A breaker whose time is up lets one through, and the next one when that
    /// decided nothing.
    fn admit(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::HalfOpen { probing: true, .. } => false,
            State::Open { until, .. } if now < until => false,
            State::Open { complaint, .. } | State::HalfOpen { complaint, .. } => {
                self.state = State::HalfOpen { complaint, probing: true };
                true
            }
        }
    }

    /// `probe` is the one call a half-open breaker let through; others that end meanwhile are old news.
    fn settle(&mut self, outcome: Outcome, probe: bool, client: ClientId, now: Instant) {
        match (&self.state, probe) {
            (State::HalfOpen { complaint, .. }, true) => match (outcome, complaint) {
                (Outcome::Delivered, _) | (Outcome::Erred, Complaint::Silent) => *self = Self::new(),
                (Outcome::TimedOut, _) => self.open(Complaint::Silent, now),
                // A request that nobody can serve would keep it open: the next call finds out.
                (Outcome::Erred, complaint @ Complaint::Erring) | (Outcome::Neutral, complaint) => {
                    self.state = State::HalfOpen { complaint: *complaint, probing: false };
                }
            },
            (State::Closed, _) => {
                self.count(outcome, client, now);
                if outcome != Outcome::Delivered
                    && let Some(complaint) = self.complaint()
                {
                    self.open(complaint, now);
                }
            }
            (State::Open { .. } | State::HalfOpen { .. }, _) => {}
        }
    }

    fn open(&mut self, complaint: Complaint, now: Instant) {
        self.state = State::Open { until: now + self.open_for, complaint };
        self.open_for = (self.open_for * 2).min(limits::CALL_BREAKER_OPEN_MAX);
        self.seconds.clear();
    }

    fn count(&mut self, outcome: Outcome, client: ClientId, now: Instant) {
        if outcome == Outcome::Neutral {
            return;
        }
        let old =
            |second: &Second| now.saturating_duration_since(second.began) >= limits::CALL_BREAKER_WINDOW;
        while self.seconds.front().is_some_and(old) {
            self.seconds.pop_front();
        }
        let fresh = |second: &Second| now.saturating_duration_since(second.began) < Duration::from_secs(1);
        if !self.seconds.back().is_some_and(fresh) {
            self.seconds.push_back(Second::new(now));
        }
        self.seconds.back_mut().expect("one was just pushed if there was none").add(outcome, client);
    }

    /// What is held against the plugin by now.
    fn complaint(&self) -> Option<Complaint> {
        let mut window = Second::new(Instant::now());
        for second in &self.seconds {
            window.merge(second);
        }
        if window.timeouts >= limits::CALL_BREAKER_TIMEOUTS {
            return Some(Complaint::Silent);
        }
        let unserved = window.erred.without(window.served).count();
        let nearly_all = |part: u32, all: u32| {
            u64::from(part) * 100 >= u64::from(all) * u64::from(limits::CALL_BREAKER_ERRORS_PERCENT)
        };
        let erring = window.calls >= limits::CALL_BREAKER_CALLS_MIN
            && unserved >= limits::CALL_BREAKER_CLIENTS_MIN
            && nearly_all(window.errors + window.timeouts, window.calls)
            && nearly_all(unserved, window.erred.and(window.served).count());
        erring.then_some(Complaint::Erring)
    }
}

impl Second {
    fn new(began: Instant) -> Self {
        Self {
            began,
            calls: 0,
            errors: 0,
            timeouts: 0,
            served: Clients::default(),
            erred: Clients::default(),
        }
    }

    fn add(&mut self, outcome: Outcome, client: ClientId) {
        self.calls += 1;
        match outcome {
            Outcome::Delivered => self.served = self.served.with(client),
            Outcome::Erred => {
                self.errors += 1;
                self.erred = self.erred.with(client);
            }
            Outcome::TimedOut => self.timeouts += 1,
            Outcome::Neutral => self.calls -= 1,
        }
    }

    fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.timeouts += other.timeouts;
        self.served = self.served.and(other.served);
        self.erred = self.erred.and(other.erred);
    }
}

/// A [`Breaker`] shared by all calls of a plugin.
#[derive(Debug)]
pub(super) struct CallBreaker {
    /// `BreakerState` as a number, a copy of the truth behind the lock.
    shown: AtomicU8,
    inner: Mutex<Breaker>,
}

impl CallBreaker {
    pub(super) fn new() -> Self {
        Self { shown: AtomicU8::new(BreakerState::Closed as u8), inner: Mutex::new(Breaker::new()) }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.shown.load(Ordering::Relaxed) {
            0 => BreakerState::Closed,
            1 => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        }
    }

    /// A pass for one call of `client`, and whether that moved the breaker; `None` if the plugin is not asked for
    /// now.
    pub(super) fn admit(&self, client: ClientId) -> Option<(Pass<'_>, Moved)> {
        let pass = |probe| Pass { breaker: self, client, probe, settled: false };
        if self.state() == BreakerState::Closed {
            return Some((pass(false), Moved(false)));
        }
        let mut inner = self.lock();
        let before = inner.shown();
        if !inner.admit(Instant::now()) {
            return None;
        }
        let probe = inner.shown() == BreakerState::HalfOpen;
        Some((pass(probe), self.show(&inner, before)))
    }

    /// A new process starts with a clean record.
    pub(super) fn reset(&self) -> Moved {
        let mut inner = self.lock();
        let before = inner.shown();
        *inner = Breaker::new();
        self.show(&inner, before)
    }

    fn settle(&self, outcome: Outcome, probe: bool, client: ClientId) -> Moved {
        let mut inner = self.lock();
        let before = inner.shown();
        inner.settle(outcome, probe, client, Instant::now());
        self.show(&inner, before)
    }

    fn show(&self, inner: &Breaker, before: BreakerState) -> Moved {
        self.shown.store(inner.shown() as u8, Ordering::Relaxed);
        Moved(before != inner.shown())
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the breaker's state is another one than before. The caller tells so.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moved(pub(super) bool);

/// One admitted call. Dropped without an outcome it gives a probe's turn to the next call.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    breaker: &'a CallBreaker,
    client: ClientId,
    probe: bool,
    settled: bool,
}

impl Pass<'_> {
    /// `cut_short` as in [`crate::hook::Call`].
    pub(super) fn settle<T>(mut self, result: Result<T, Cause>, cut_short: bool) -> Moved {
        self.settled = true;
        let outcome = result.map_or_else(|cause| Outcome::of(cause, cut_short), |_| Outcome::Delivered);
        self.breaker.settle(outcome, self.probe, self.client)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.settled && self.probe {
            let Moved(moved) = self.breaker.settle(Outcome::Neutral, true, self.client);
            debug_assert!(!moved, "a probe without an outcome leaves the breaker half open");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids whose bits differ.
    fn client(number: u64) -> ClientId {
        let mut seen = Clients::default();
        let fresh = (0..).map(ClientId).filter(|id| {
            let is_new = seen.with(*id) != seen;
            seen = seen.with(*id);
            is_new
        });
        fresh.take(64).nth(usize::try_from(number).unwrap()).unwrap()
    }

    fn call(breaker: &mut Breaker, outcome: Outcome, client: ClientId, now: Instant) {
        assert!(breaker.admit(now));
        breaker.settle(outcome, false, client, now);
    }

    fn time_out(breaker: &mut Breaker, count: u32, now: Instant) {
        for _ in 0..count {
            call(breaker, Outcome::TimedOut, ClientId(1), now);
        }
    }

    /// A breaker opened by what nearly everybody got.
    fn erring(now: Instant) -> Breaker {
        let mut breaker = Breaker::new();
        for turn in 0..20 {
            call(&mut breaker, Outcome::Erred, client(turn % 5), now);
        }
        assert_eq!(breaker.shown(), BreakerState::Open);
        breaker
    }

    #[test]
    fn the_fifth_timeout_in_ten_seconds_opens() {
        let (mut breaker, start) = (Breaker::new(), Instant::now());
        for second in 0..5 {
            assert_eq!(breaker.shown(), BreakerState::Closed);
            time_out(&mut breaker, 1, start + Duration::from_secs(second));
        }
        assert_eq!(breaker.shown(), BreakerState::Open);
    }

    #[test]
    fn timeouts_further_apart_do_not_open() {
        let (mut breaker, start) = (Breaker::new(), Instant::now());
        for turn in 0..50 {
            time_out(&mut breaker, 1, start + Duration::from_millis(2_600) * turn);
            assert_eq!(breaker.shown(), BreakerState::Closed, "at turn {turn}");
        }
    }

    #[test]
    fn errors_open_only_when_nearly_all_calls_of_several_clients_fail() {
        /// So many clients, with so many calls each that got an error, and that got a verdict.
        struct Group(u64, u32, u32);
        let cases: &[(&str, &[Group], BreakerState)] = &[
            ("one client with bad requests alone", &[Group(1, 10_000, 0)], BreakerState::Closed),
            ("four clients", &[Group(4, 100, 0)], BreakerState::Closed),
            ("five clients, 20 calls", &[Group(5, 4, 0)], BreakerState::Open),
            ("five clients, 15 calls", &[Group(5, 3, 0)], BreakerState::Closed),
            (
                "one floods among four that are served",
                &[Group(1, 10_000, 0), Group(4, 0, 1)],
                BreakerState::Closed,
            ),
            ("five flood, one is served", &[Group(1, 0, 1), Group(5, 1_000, 0)], BreakerState::Closed),
            ("each gets errors and a verdict", &[Group(20, 100, 1)], BreakerState::Closed),
            ("one of twenty is served", &[Group(1, 0, 1), Group(19, 10, 0)], BreakerState::Open),
            ("all are served now and then", &[Group(20, 1, 1)], BreakerState::Closed),
        ];
        for (case, groups, expected) in cases {
            let (mut breaker, now, mut first) = (Breaker::new(), Instant::now(), 0);
            // Those that are served come first, so that the order decides nothing.
            for Group(clients, errors, verdicts) in *groups {
                let all = first..first + clients;
                for (outcome, calls) in [(Outcome::Delivered, *verdicts), (Outcome::Erred, *errors)] {
                    for id in (0..calls).flat_map(|_| all.clone()) {
                        if breaker.admit(now) {
                            breaker.settle(outcome, false, client(id), now);
                        }
                    }
                }
                first += clients;
            }
            assert_eq!(breaker.shown(), *expected, "{case}");
        }
    }

    #[test]
    fn errors_of_clients_long_gone_do_not_count() {
        let (mut breaker, start) = (Breaker::new(), Instant::now());
        for turn in 0..40u32 {
            let at = start + Duration::from_secs(3) * turn;
            for _ in 0..10 {
                call(&mut breaker, Outcome::Erred, client(u64::from(turn)), at);
            }
            assert_eq!(breaker.shown(), BreakerState::Closed, "at turn {turn}: four clients in ten seconds");
        }
    }

    #[test]
    fn an_open_breaker_lets_one_call_through_when_its_time_is_up() {
        let (mut breaker, start) = (Breaker::new(), Instant::now());
        time_out(&mut breaker, 5, start);
        assert!(!breaker.admit(start + Duration::from_millis(999)));
        let later = start + Duration::from_secs(1);
        assert!(breaker.admit(later));
        assert!(!breaker.admit(later), "the second has to wait for the first");
        breaker.settle(Outcome::Delivered, true, ClientId(1), later);
        assert_eq!(breaker.shown(), BreakerState::Closed);
    }

    #[test]
    fn each_probe_that_times_out_doubles_the_wait_up_to_thirty_seconds() {
        let (mut breaker, mut now) = (Breaker::new(), Instant::now());
        time_out(&mut breaker, 5, now);
        for wait in [1, 2, 4, 8, 16, 30, 30] {
            assert!(!breaker.admit(now + Duration::from_secs(wait) - Duration::from_millis(1)));
            now += Duration::from_secs(wait);
            assert!(breaker.admit(now));
            breaker.settle(Outcome::TimedOut, true, ClientId(1), now);
        }
    }

    #[test]
    fn a_probe_that_nothing_came_of_leaves_its_turn_to_the_next_call() {
        let (mut breaker, start) = (Breaker::new(), Instant::now());
        time_out(&mut breaker, 5, start);
        let later = start + Duration::from_secs(1);
        assert!(breaker.admit(later));
        breaker.settle(Outcome::Neutral, true, ClientId(1), later);
        assert_eq!(breaker.shown(), BreakerState::HalfOpen);
        assert!(breaker.admit(later));
        assert!(!breaker.admit(later));
    }

    #[test]
    fn a_silent_plugin_that_answers_with_an_error_is_asked_again() {
        let (mut breaker, start) = (Breaker::new(), Instant::now());
        time_out(&mut breaker, 5, start);
        let later = start + Duration::from_secs(1);
        assert!(breaker.admit(later));
        breaker.settle(Outcome::Erred, true, ClientId(1), later);
        assert_eq!(breaker.shown(), BreakerState::Closed);
    }

    #[test]
    fn a_client_with_bad_requests_keeps_an_erring_plugin_from_no_other() {
        let start = Instant::now();
        let mut breaker = erring(start);
        let later = start + Duration::from_secs(1);
        for _ in 0..100 {
            assert!(breaker.admit(later));
            breaker.settle(Outcome::Erred, true, client(1), later);
            assert_eq!(breaker.shown(), BreakerState::HalfOpen);
        }
        assert!(breaker.admit(later));
        breaker.settle(Outcome::Delivered, true, client(2), later);
        assert_eq!(breaker.shown(), BreakerState::Closed);
    }

    #[test]
    fn a_call_from_before_the_breaker_opened_decides_nothing() {
        let (mut breaker, start) = (Breaker::new(), Instant::now());
        time_out(&mut breaker, 5, start);
        breaker.settle(Outcome::Delivered, false, ClientId(1), start);
        assert_eq!(breaker.shown(), BreakerState::Open);
        assert!(breaker.admit(start + Duration::from_secs(1)));
        breaker.settle(Outcome::Delivered, false, ClientId(1), start);
        assert_eq!(breaker.shown(), BreakerState::HalfOpen);
    }

    #[test]
    fn every_move_is_told_once() {
        let breaker = CallBreaker::new();
        let mut moves = Vec::new();
        let mut see = |Moved(moved): Moved| moves.extend(moved.then(|| breaker.state()));
        for _ in 0..5 {
            let (pass, moved) = breaker.admit(ClientId(1)).unwrap();
            see(moved);
            see(pass.settle(Err::<(), _>(Cause::Timeout), false));
        }
        assert!(breaker.admit(ClientId(1)).is_none());
        breaker.lock().state = State::Open { until: Instant::now(), complaint: Complaint::Silent };
        let (dropped, moved) = breaker.admit(ClientId(1)).unwrap();
        see(moved);
        drop(dropped);
        let (pass, moved) = breaker.admit(ClientId(1)).unwrap();
        see(moved);
        see(pass.settle(Ok(()), false));
        see(breaker.reset());
        assert_eq!(moves, [BreakerState::Open, BreakerState::HalfOpen, BreakerState::Closed]);
    }

    #[test]
    fn a_timeout_counts_only_against_a_plugin_that_had_the_whole_time() {
        let breaker = CallBreaker::new();
        let time_out =
            |cut_short| breaker.admit(ClientId(1)).unwrap().0.settle(Err::<(), _>(Cause::Timeout), cut_short);
        for _ in 0..50 {
            assert_eq!(time_out(true), Moved(false));
        }
        let moved = (0..5).filter(|_| time_out(false) == Moved(true)).count();
        assert_eq!((moved, breaker.state()), (1, BreakerState::Open));
    }

    #[test]
    fn load_and_lost_processes_are_not_held_against_a_plugin() {
        let (mut breaker, now) = (Breaker::new(), Instant::now());
        for cause in [Cause::Overloaded, Cause::Unavailable] {
            for turn in 0..50 {
                call(&mut breaker, Outcome::of(cause, false), client(turn % 20), now);
            }
        }
        assert_eq!(breaker.shown(), BreakerState::Closed);
    }
}
