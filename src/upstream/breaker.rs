//! The breaker of one upstream: decides from outcomes and the time whether it is asked at all.

use std::time::{Duration, Instant};

use crate::config;
use crate::metrics::BreakerState;

/// Closed while attempts succeed; open after a row of failures; then one attempt at a time may try.
#[derive(Debug)]
pub(super) struct Breaker {
    settings: config::Breaker,
    failures: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    OpenUntil(Instant),
    /// One attempt is out, since then. A probe that never reports is forgotten after `open_for`.
    ProbingSince(Instant),
}

impl Breaker {
    pub(super) fn new(settings: config::Breaker) -> Self {
        Self { settings, failures: 0, state: State::Closed }
    }

    /// Whether an attempt may be made now; if not, how long until one may.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        match self.state {
            State::Closed => Ok(()),
            State::OpenUntil(until) if now < until => Err(until - now),
            State::ProbingSince(since) if now < since + self.settings.open_for => {
                Err(since + self.settings.open_for - now)
            }
            State::OpenUntil(_) | State::ProbingSince(_) => {
                self.state = State::ProbingSince(now);
                Ok(())
            }
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::OpenUntil(_) => BreakerState::Open,
            State::ProbingSince(_) => BreakerState::HalfOpen,
        }
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.state = State::Closed;
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let probing = matches!(self.state, State::ProbingSince(_));
        let spent = self.settings.failures > 0 && self.failures >= self.settings.failures;
        if probing || spent {
            self.state = State::OpenUntil(now + self.settings.open_for);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(10);

    fn breaker(failures: u32) -> Breaker {
        Breaker::new(config::Breaker { failures, open_for: OPEN_FOR })
    }

    #[test]
    fn a_row_of_failures_opens_it_and_a_success_between_starts_the_row_anew() {
        let now = Instant::now();
        let mut breaker = breaker(3);
        breaker.failed(now);
        breaker.failed(now);
        breaker.succeeded();
        breaker.failed(now);
        breaker.failed(now);
        assert_eq!(breaker.admit(now), Ok(()));
        breaker.failed(now);
        assert_eq!(breaker.admit(now), Err(OPEN_FOR));
    }

    #[test]
    fn after_the_pause_one_probe_decides() {
        let start = Instant::now();
        let later = start + OPEN_FOR;
        let mut breaker = breaker(1);
        breaker.failed(start);
        assert_eq!(breaker.admit(later), Ok(()), "the probe");
        assert_eq!(breaker.admit(later), Err(OPEN_FOR), "a second one has to wait");
        breaker.failed(later);
        assert_eq!(breaker.admit(later), Err(OPEN_FOR));
        assert_eq!(breaker.admit(later + OPEN_FOR), Ok(()));
        breaker.succeeded();
        assert_eq!(breaker.admit(later + OPEN_FOR), Ok(()));
        assert_eq!(breaker.admit(later + OPEN_FOR), Ok(()));
    }

    #[test]
    fn a_probe_that_never_reports_does_not_lock_the_upstream_out() {
        let start = Instant::now();
        let mut breaker = breaker(1);
        breaker.failed(start);
        assert_eq!(breaker.admit(start + OPEN_FOR), Ok(()));
        assert_eq!(breaker.admit(start + 2 * OPEN_FOR), Ok(()));
    }

    #[test]
    fn zero_failures_switch_it_off() {
        let now = Instant::now();
        let mut breaker = breaker(0);
        for _ in 0..100 {
            breaker.failed(now);
        }
        assert_eq!(breaker.admit(now), Ok(()));
    }
}
