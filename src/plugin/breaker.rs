//! Whether a plugin that lives but does not deliver is still asked. Pure [`Breaker`], and [`CallBreaker`] around
//! it for the call path, where a closed breaker costs one atomic load.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::hook::Cause;
use crate::limits;

/// The state an operator sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// Calls are refused at once.
    Open,
    /// One call is under way to find out.
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
    Failed,
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
            Cause::Error | Cause::Malformed | Cause::TooLarge => Self::Failed,
            // A lost process is the supervisor's business, and too much load is not cured by refusing more.
            Cause::Unavailable
            | Cause::Overloaded
            | Cause::Broken
            | Cause::Protocol
            | Cause::Oversize
            | Cause::Sandbox => Self::Neutral,
        }
    }
}

/// Counts of one second.
#[derive(Clone, Copy, Debug)]
struct Second {
    began: Instant,
    calls: u32,
    failures: u32,
    timeouts: u32,
}

#[derive(Debug)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen,
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
            State::HalfOpen => BreakerState::HalfOpen,
        }
    }

    /// Whether a call may go ahead now. An open breaker whose time is up lets exactly one through.
    fn admit(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::HalfOpen => false,
            State::Open { until } if now < until => false,
            State::Open { .. } => {
                self.state = State::HalfOpen;
                true
            }
        }
    }

    /// `probe` is the one call a half-open breaker let through; others that end meanwhile are old news.
    fn settle(&mut self, outcome: Outcome, probe: bool, now: Instant) {
        match (&self.state, probe) {
            (State::HalfOpen, true) => match outcome {
                Outcome::Delivered => *self = Self::new(),
                Outcome::Failed | Outcome::TimedOut => self.open(now),
                Outcome::Neutral => self.state = State::Open { until: now },
            },
            (State::Closed, _) => {
                self.count(outcome, now);
                if outcome != Outcome::Delivered && self.tripped() {
                    self.open(now);
                }
            }
            (State::Open { .. } | State::HalfOpen, _) => {}
        }
    }

    fn open(&mut self, now: Instant) {
        self.state = State::Open { until: now + self.open_for };
        self.open_for = (self.open_for * 2).min(limits::CALL_BREAKER_OPEN_MAX);
        self.seconds.clear();
    }

    fn count(&mut self, outcome: Outcome, now: Instant) {
        let (failed, timed_out) = match outcome {
            Outcome::Neutral => return,
            Outcome::Delivered => (0, 0),
            Outcome::Failed => (1, 0),
            Outcome::TimedOut => (1, 1),
        };
        let old =
            |second: &Second| now.saturating_duration_since(second.began) >= limits::CALL_BREAKER_WINDOW;
        while self.seconds.front().is_some_and(old) {
            self.seconds.pop_front();
        }
        let fresh = |second: &Second| now.saturating_duration_since(second.began) < Duration::from_secs(1);
        if !self.seconds.back().is_some_and(fresh) {
            self.seconds.push_back(Second { began: now, calls: 0, failures: 0, timeouts: 0 });
        }
        let second = self.seconds.back_mut().expect("one was just pushed if there was none");
        second.calls += 1;
        second.failures += failed;
        second.timeouts += timed_out;
    }

    fn tripped(&self) -> bool {
        let sum = |part: fn(&Second) -> u32| self.seconds.iter().map(part).sum::<u32>();
        let (calls, failures, timeouts) = (sum(|s| s.calls), sum(|s| s.failures), sum(|s| s.timeouts));
        timeouts >= limits::CALL_BREAKER_TIMEOUTS
            || (calls >= limits::CALL_BREAKER_CALLS_MIN && failures > calls / 2)
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

    /// A pass for one call, or `None` if the plugin is not asked for now.
    pub(super) fn admit(&self) -> Option<Pass<'_>> {
        if self.state() == BreakerState::Closed {
            return Some(Pass { breaker: self, probe: false, settled: false });
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.admit(Instant::now()) {
            return None;
        }
        let probe = inner.shown() == BreakerState::HalfOpen;
        self.show(&inner);
        Some(Pass { breaker: self, probe, settled: false })
    }

    /// A new process starts with a clean record. Whether that closed the breaker.
    pub(super) fn reset(&self) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let was_closed = inner.shown() == BreakerState::Closed;
        *inner = Breaker::new();
        self.show(&inner);
        !was_closed
    }

    /// The state before and after.
    fn settle(&self, outcome: Outcome, probe: bool) -> (BreakerState, BreakerState) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let before = inner.shown();
        inner.settle(outcome, probe, Instant::now());
        self.show(&inner);
        (before, inner.shown())
    }

    fn show(&self, inner: &Breaker) {
        self.shown.store(inner.shown() as u8, Ordering::Relaxed);
    }
}

/// One admitted call. Dropped without an outcome it gives a probe's turn to the next call.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    breaker: &'a CallBreaker,
    probe: bool,
    settled: bool,
}

impl Pass<'_> {
    /// Whether that opened or closed the breaker. `cut_short` as in [`crate::hook::Call`].
    pub(super) fn settle<T>(mut self, result: Result<T, Cause>, cut_short: bool) -> Option<BreakerState> {
        self.settled = true;
        let outcome = result.map_or_else(|cause| Outcome::of(cause, cut_short), |_| Outcome::Delivered);
        let (before, after) = self.breaker.settle(outcome, self.probe);
        (before != after).then_some(after)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.settled && self.probe {
            self.breaker.settle(Outcome::Neutral, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(breaker: &mut Breaker, outcome: Outcome, count: u32, now: Instant) {
        for _ in 0..count {
            assert!(breaker.admit(now));
            breaker.settle(outcome, false, now);
        }
    }

    #[test]
    fn the_fifth_timeout_in_ten_seconds_opens() {
        let (mut breaker, start) = (Breaker::new(), Instant::now());
        for second in 0..5 {
            assert_eq!(breaker.shown(), BreakerState::Closed);
            calls(&mut breaker, Outcome::TimedOut, 1, start + Duration::from_secs(second));
        }
        assert_eq!(breaker.shown(), BreakerState::Open);
    }

    #[test]
    fn timeouts_further_apart_do_not_open() {
        let (mut breaker, start) = (Breaker::new(), Instant::now());
        for turn in 0..50 {
            calls(&mut breaker, Outcome::TimedOut, 1, start + Duration::from_millis(2_600) * turn);
            assert_eq!(breaker.shown(), BreakerState::Closed, "at turn {turn}");
        }
    }

    #[test]
    fn more_than_half_of_twenty_calls_failing_opens_and_half_does_not() {
        let now = Instant::now();
        let mut half = Breaker::new();
        calls(&mut half, Outcome::Delivered, 20, now);
        calls(&mut half, Outcome::Failed, 20, now);
        assert_eq!(half.shown(), BreakerState::Closed);
        calls(&mut half, Outcome::Failed, 1, now);
        assert_eq!(half.shown(), BreakerState::Open);

        let mut few = Breaker::new();
        calls(&mut few, Outcome::Failed, 19, now);
        assert_eq!(few.shown(), BreakerState::Closed, "19 calls say nothing yet");
        calls(&mut few, Outcome::Failed, 1, now);
        assert_eq!(few.shown(), BreakerState::Open);
    }

    #[test]
    fn an_open_breaker_lets_one_call_through_when_its_time_is_up() {
        let (mut breaker, start) = (Breaker::new(), Instant::now());
        calls(&mut breaker, Outcome::TimedOut, 5, start);
        assert!(!breaker.admit(start + Duration::from_millis(999)));
        let later = start + Duration::from_secs(1);
        assert!(breaker.admit(later));
        assert!(!breaker.admit(later), "the second has to wait for the first");
        breaker.settle(Outcome::Delivered, true, later);
        assert_eq!(breaker.shown(), BreakerState::Closed);
    }

    #[test]
    fn each_failed_probe_doubles_the_wait_up_to_thirty_seconds() {
        let (mut breaker, mut now) = (Breaker::new(), Instant::now());
        calls(&mut breaker, Outcome::TimedOut, 5, now);
        for wait in [1, 2, 4, 8, 16, 30, 30] {
            assert!(!breaker.admit(now + Duration::from_secs(wait) - Duration::from_millis(1)));
            now += Duration::from_secs(wait);
            assert!(breaker.admit(now));
            breaker.settle(Outcome::Failed, true, now);
        }
    }

    #[test]
    fn a_probe_nobody_waited_for_leaves_its_turn_to_the_next_call() {
        let (mut breaker, start) = (Breaker::new(), Instant::now());
        calls(&mut breaker, Outcome::TimedOut, 5, start);
        let later = start + Duration::from_secs(1);
        assert!(breaker.admit(later));
        breaker.settle(Outcome::Neutral, true, later);
        assert!(breaker.admit(later));
    }

    #[test]
    fn a_call_from_before_the_breaker_opened_decides_nothing() {
        let (mut breaker, start) = (Breaker::new(), Instant::now());
        calls(&mut breaker, Outcome::TimedOut, 5, start);
        breaker.settle(Outcome::Delivered, false, start);
        assert_eq!(breaker.shown(), BreakerState::Open);
        assert!(breaker.admit(start + Duration::from_secs(1)));
        breaker.settle(Outcome::Delivered, false, start);
        assert_eq!(breaker.shown(), BreakerState::HalfOpen);
    }

    #[test]
    fn a_timeout_counts_only_against_who_had_the_whole_time() {
        let breaker = CallBreaker::new();
        let time_out = |cut_short| breaker.admit().unwrap().settle(Err::<(), _>(Cause::Timeout), cut_short);
        for _ in 0..50 {
            assert_eq!(time_out(true), None);
        }
        let moved: Vec<_> = (0..5).filter_map(|_| time_out(false)).collect();
        assert_eq!(moved, [BreakerState::Open]);
    }

    #[test]
    fn load_and_lost_processes_are_not_held_against_a_plugin() {
        let (mut breaker, now) = (Breaker::new(), Instant::now());
        calls(&mut breaker, Outcome::of(Cause::Overloaded, false), 50, now);
        calls(&mut breaker, Outcome::of(Cause::Unavailable, false), 50, now);
        assert_eq!(breaker.shown(), BreakerState::Closed);
    }
}
