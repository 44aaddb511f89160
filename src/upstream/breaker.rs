//! The breaker of one model at one upstream: decides from outcomes and the time whether an attempt is made. Pure.

use std::time::{Duration, Instant};

use crate::config;
use crate::limits;
use crate::metrics::BreakerState;

/// How an attempt ended, as far as a breaker cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Succeeded,
    Failed,
    /// Says nothing about the upstream: the client left, or the gateway broke off.
    Neutral,
}

/// Closed while attempts succeed; open after a row of failures; then one attempt finds out.
#[derive(Debug)]
pub(super) struct Breaker {
    settings: config::Breaker,
    state: State,
    /// When it last opened. Attempts admitted until then say nothing about what came after.
    opened: Option<Instant>,
    touched: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many failures in a row.
    Closed(u32),
    Open {
        until: Instant,
        last_resort: Instant,
    },
    /// One attempt is out, since then. A probe that does not report is replaced after `open_for`.
    Probing {
        since: Instant,
        last_resort: Instant,
    },
}

impl Breaker {
    pub(super) fn new(settings: config::Breaker, now: Instant) -> Self {
        Self { settings, state: State::Closed(0), opened: None, touched: now }
    }

    /// Whether an attempt may be made now; if not, how long until one may. Without an `alternative` the request
    /// has nowhere else to go: then an open breaker lets one attempt through each
    /// [`limits::BREAKER_LAST_RESORT_PERIOD`], for the upstream's own answer is worth more than a refusal.
    pub(super) fn admit(&mut self, alternative: bool, now: Instant) -> Result<(), Duration> {
        let (until, last_resort) = match &mut self.state {
            State::Closed(_) => return Ok(()),
            State::Open { until, last_resort } => (*until, last_resort),
            State::Probing { since, last_resort } => (*since + self.settings.open_for, last_resort),
        };
        if now >= until {
            let last_resort = now + limits::BREAKER_LAST_RESORT_PERIOD;
            self.state = State::Probing { since: now, last_resort };
            return Ok(());
        }
        if alternative {
            return Err(until - now);
        }
        if now >= *last_resort {
            *last_resort = now + limits::BREAKER_LAST_RESORT_PERIOD;
            return Ok(());
        }
        Err(until.min(*last_resort) - now)
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.state {
            State::Closed(_) => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::Probing { .. } => BreakerState::HalfOpen,
        }
    }

    /// An attempt admitted at `admitted` got the head of a good answer, which may take minutes to end. That
    /// closes an open breaker on trial: one more failure opens it again.
    pub(super) fn answered(&mut self, admitted: Instant, now: Instant) {
        if self.is_old(admitted) || self.state() == BreakerState::Closed {
            return;
        }
        self.state = State::Closed(self.settings.failures.saturating_sub(1));
        self.touched = now;
    }

    /// An attempt admitted at `admitted` ended.
    pub(super) fn settle(&mut self, admitted: Instant, outcome: Outcome, now: Instant) {
        if self.is_old(admitted) {
            return;
        }
        self.touched = now;
        match (self.state, outcome) {
            (_, Outcome::Succeeded) => self.state = State::Closed(0),
            (State::Closed(failures), Outcome::Failed) => {
                let failures = failures.saturating_add(1);
                self.state = State::Closed(failures);
                if failures >= self.settings.failures {
                    self.opened = Some(now);
                    self.open(now, now + limits::BREAKER_LAST_RESORT_PERIOD);
                }
            }
            (State::Open { last_resort, .. } | State::Probing { last_resort, .. }, Outcome::Failed) => {
                self.open(now, last_resort);
            }
            // The probe's turn goes to the next attempt.
            (State::Probing { last_resort, .. }, Outcome::Neutral) => {
                self.state = State::Open { until: now, last_resort };
            }
            (State::Closed(_) | State::Open { .. }, Outcome::Neutral) => {}
        }
    }

    /// Nothing is lost when this breaker is forgotten: it is closed, and its last failure was long ago.
    pub(super) fn is_forgettable(&self, now: Instant) -> bool {
        self.state() == BreakerState::Closed
            && (self.state == State::Closed(0)
                || now.saturating_duration_since(self.touched) >= limits::BREAKER_FORGOTTEN_AFTER)
    }

    fn open(&mut self, now: Instant, last_resort: Instant) {
        self.state = State::Open { until: now + self.settings.open_for, last_resort };
    }

    fn is_old(&self, admitted: Instant) -> bool {
        self.opened.is_some_and(|opened| admitted <= opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(10);
    const MILLISECOND: Duration = Duration::from_millis(1);
    const PERIOD: Duration = limits::BREAKER_LAST_RESORT_PERIOD;

    fn breaker(failures: u32, now: Instant) -> Breaker {
        Breaker::new(config::Breaker { failures, open_for: OPEN_FOR }, now)
    }

    fn opened(at: Instant) -> Breaker {
        let mut breaker = breaker(1, at);
        breaker.settle(at, Outcome::Failed, at);
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker
    }

    #[test]
    fn a_row_of_failures_opens_it_and_a_success_between_starts_the_row_anew() {
        let now = Instant::now();
        let mut breaker = breaker(3, now);
        for outcome in [
            Outcome::Failed,
            Outcome::Failed,
            Outcome::Succeeded,
            Outcome::Failed,
            Outcome::Neutral,
            Outcome::Failed,
        ] {
            breaker.settle(now, outcome, now);
            assert_eq!(breaker.admit(true, now), Ok(()));
        }
        breaker.settle(now, Outcome::Failed, now);
        assert_eq!(breaker.admit(true, now), Err(OPEN_FOR));
    }

    #[test]
    fn after_the_pause_one_probe_decides() {
        let start = Instant::now();
        let mut breaker = opened(start);
        let later = start + OPEN_FOR;
        assert_eq!(breaker.admit(true, later - MILLISECOND), Err(MILLISECOND));
        assert_eq!(breaker.admit(true, later), Ok(()), "the probe");
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert_eq!(breaker.admit(true, later), Err(OPEN_FOR), "a second one has to wait");
        breaker.settle(later, Outcome::Failed, later);
        assert_eq!(breaker.admit(true, later), Err(OPEN_FOR));
        let again = later + OPEN_FOR;
        assert_eq!(breaker.admit(true, again), Ok(()));
        breaker.settle(again, Outcome::Succeeded, again);
        for _ in 0..2 {
            assert_eq!(breaker.admit(true, again), Ok(()));
        }
    }

    #[test]
    fn a_probe_that_never_reports_does_not_lock_the_upstream_out() {
        let start = Instant::now();
        let mut breaker = opened(start);
        assert_eq!(breaker.admit(true, start + OPEN_FOR), Ok(()));
        assert_eq!(breaker.admit(true, start + 2 * OPEN_FOR), Ok(()));
    }

    #[test]
    fn a_probe_whose_client_left_gives_its_turn_to_the_next_attempt() {
        let start = Instant::now();
        let mut breaker = opened(start);
        let later = start + OPEN_FOR;
        assert_eq!(breaker.admit(true, later), Ok(()));
        breaker.settle(later, Outcome::Neutral, later);
        assert_eq!(breaker.admit(true, later), Ok(()));
    }

    #[test]
    fn attempts_admitted_before_it_opened_do_not_move_it() {
        let start = Instant::now();
        let before = start - MILLISECOND;
        for outcome in [Outcome::Succeeded, Outcome::Failed, Outcome::Neutral] {
            let mut breaker = opened(start);
            let late = start + 3 * MILLISECOND;
            breaker.answered(before, late);
            breaker.settle(before, outcome, late);
            assert_eq!(breaker.admit(true, late), Err(OPEN_FOR - 3 * MILLISECOND), "{outcome:?}");
            let later = start + OPEN_FOR;
            assert_eq!(breaker.admit(true, later), Ok(()), "{outcome:?}");
            breaker.settle(before, outcome, later);
            assert_eq!(breaker.state(), BreakerState::HalfOpen, "{outcome:?}");
        }
    }

    #[test]
    fn failures_from_before_it_opened_do_not_open_it_again_once_it_is_closed() {
        let start = Instant::now();
        let mut breaker = opened(start);
        let later = start + OPEN_FOR;
        assert_eq!(breaker.admit(true, later), Ok(()));
        breaker.settle(later, Outcome::Succeeded, later);
        breaker.settle(start - MILLISECOND, Outcome::Failed, later);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn without_an_alternative_an_open_one_lets_attempts_through_at_a_bounded_rate() {
        let start = Instant::now();
        let mut breaker = opened(start);
        let mut admitted = 0;
        for millisecond in 0..5_000 {
            let now = start + millisecond * MILLISECOND;
            match breaker.admit(false, now) {
                Ok(()) => {
                    admitted += 1;
                    breaker.settle(now, Outcome::Failed, now);
                }
                Err(wait) => assert!(wait <= PERIOD, "{wait:?}"),
            }
            assert!(breaker.admit(true, now).is_err(), "a request with an alternative takes it");
        }
        assert_eq!(admitted, 5_000 / PERIOD.as_millis() - 1);
    }

    #[test]
    fn an_attempt_of_last_resort_that_succeeds_closes_it() {
        let start = Instant::now();
        let mut breaker = opened(start);
        let now = start + PERIOD;
        assert_eq!(breaker.admit(false, now), Ok(()));
        breaker.settle(now, Outcome::Succeeded, now);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn the_head_of_a_good_answer_closes_it_on_trial() {
        let start = Instant::now();
        let mut breaker = breaker(3, start);
        for _ in 0..3 {
            breaker.settle(start, Outcome::Failed, start);
        }
        let later = start + OPEN_FOR;
        assert_eq!(breaker.admit(true, later), Ok(()));
        breaker.answered(later, later);
        assert_eq!(breaker.admit(true, later), Ok(()), "a long answer holds nobody up");
        breaker.settle(later, Outcome::Failed, later);
        assert_eq!(breaker.admit(true, later), Err(OPEN_FOR), "the answer broke off");
    }

    #[test]
    fn one_that_is_closed_and_quiet_may_be_forgotten() {
        let start = Instant::now();
        assert!(!opened(start).is_forgettable(start + limits::BREAKER_FORGOTTEN_AFTER));
        let mut failed = breaker(2, start);
        failed.settle(start, Outcome::Failed, start);
        assert!(!failed.is_forgettable(start));
        assert!(failed.is_forgettable(start + limits::BREAKER_FORGOTTEN_AFTER));
        failed.settle(start, Outcome::Succeeded, start);
        assert!(failed.is_forgettable(start));
    }
}
