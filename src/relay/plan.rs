//! Which attempt comes next. Pure: takes what failed and what was tried, returns what to do.

use std::time::Duration;

use crate::config::{Retry, RetryOn};
use crate::hook::UpstreamCause;
use crate::limits;

/// Where a request stands among its target's upstreams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Index into the target's upstreams.
    pub(super) upstream: usize,
    /// Attempts made at this upstream.
    pub(super) here: u32,
    /// Attempts made in all.
    pub(super) total: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The same upstream, after a pause.
    Again(Duration),
    /// The next upstream, at once.
    Onward,
    GiveUp,
}

/// What the retry rule says after a failed attempt. `retry_after` is the upstream's own wish.
pub(super) fn next(
    rule: &Retry,
    upstreams: usize,
    progress: Progress,
    cause: UpstreamCause,
    retry_after: Option<Duration>,
) -> Next {
    if progress.total >= limits::ATTEMPTS_MAX || !covers(rule, cause) {
        return Next::GiveUp;
    }
    let elsewhere = if progress.upstream + 1 < upstreams { Next::Onward } else { Next::GiveUp };
    let pause = retry_after.unwrap_or_else(|| backoff(rule, progress.here));
    if cause == UpstreamCause::BreakerOpen || progress.here >= rule.attempts || pause > rule.max_backoff {
        return elsewhere;
    }
    Next::Again(pause)
}

fn covers(rule: &Retry, cause: UpstreamCause) -> bool {
    let on = match cause {
        UpstreamCause::Connect | UpstreamCause::Tls | UpstreamCause::Cut => RetryOn::Connect,
        UpstreamCause::Timeout => RetryOn::Timeout,
        UpstreamCause::RateLimited => RetryOn::RateLimited,
        UpstreamCause::ServerError => RetryOn::ServerError,
        // Nothing was sent, so going elsewhere is always right.
        UpstreamCause::BreakerOpen => return true,
    };
    rule.on.contains(&on)
}

/// Doubles with each attempt made here.
fn backoff(rule: &Retry, here: u32) -> Duration {
    let doublings = here.saturating_sub(1).min(16);
    rule.backoff.saturating_mul(1 << doublings).min(rule.max_backoff)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rule() -> Retry {
        Retry {
            attempts: 3,
            on: vec![RetryOn::Connect, RetryOn::ServerError],
            backoff: SECOND,
            max_backoff: 4 * SECOND,
        }
    }

    #[test]
    fn an_upstream_is_tried_with_growing_pauses_then_the_next() {
        let at = |upstream, here| {
            let progress = Progress { upstream, here, total: here };
            next(&rule(), 2, progress, UpstreamCause::ServerError, None)
        };
        assert_eq!(at(0, 1), Next::Again(SECOND));
        assert_eq!(at(0, 2), Next::Again(2 * SECOND));
        assert_eq!(at(0, 3), Next::Onward);
        assert_eq!(at(1, 3), Next::GiveUp);
    }

    #[test]
    fn a_cause_outside_the_rule_is_final() {
        let progress = Progress { upstream: 0, here: 1, total: 1 };
        assert_eq!(next(&rule(), 2, progress, UpstreamCause::RateLimited, None), Next::GiveUp);
        assert_eq!(next(&rule(), 2, progress, UpstreamCause::Timeout, None), Next::GiveUp);
    }

    #[test]
    fn an_upstreams_own_wish_is_respected_up_to_the_cap() {
        let progress = Progress { upstream: 0, here: 1, total: 1 };
        let after = |wait| next(&rule(), 2, progress, UpstreamCause::ServerError, Some(wait));
        assert_eq!(after(3 * SECOND), Next::Again(3 * SECOND));
        assert_eq!(after(60 * SECOND), Next::Onward);
    }

    #[test]
    fn an_open_breaker_is_passed_over_at_once() {
        let progress = Progress { upstream: 0, here: 1, total: 1 };
        assert_eq!(next(&rule(), 2, progress, UpstreamCause::BreakerOpen, None), Next::Onward);
        assert_eq!(next(&rule(), 1, progress, UpstreamCause::BreakerOpen, None), Next::GiveUp);
    }

    #[test]
    fn the_attempts_of_one_request_are_bounded() {
        let rule = Retry { attempts: 1000, ..rule() };
        let progress = Progress { upstream: 0, here: 1, total: limits::ATTEMPTS_MAX };
        assert_eq!(next(&rule, 9, progress, UpstreamCause::ServerError, None), Next::GiveUp);
    }
}
