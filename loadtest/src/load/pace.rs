//! When to send. A pure function of what was sent and how much time has passed.
//!
//! Open: requests are due at a constant rate, whatever becomes of them. A slow answer does not slow the next
//! request down, and its latency counts from when it was due, so that a stall costs every request it delayed.
//! Closed: the next request is due as soon as a connection is free.

use std::time::Duration;

/// How requests arrive, until `duration` has passed or `requests_max` were sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pace {
    pub(crate) arrivals: Arrivals,
    pub(crate) duration: Duration,
    pub(crate) requests_max: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Arrivals {
    Open { per_second: f64 },
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// One is due, and was from this moment on.
    Due(Duration),
    /// None is due before this moment.
    At(Duration),
    Done,
}

impl Pace {
    /// What to do after `sent` requests at `elapsed` since the start.
    pub(crate) fn next(&self, elapsed: Duration, sent: u64) -> Next {
        if sent >= self.requests_max {
            return Next::Done;
        }
        let due = match self.arrivals {
            Arrivals::Open { per_second } => Duration::from_secs_f64(sent as f64 / per_second),
            Arrivals::Closed => elapsed,
        };
        if due >= self.duration {
            return Next::Done;
        }
        if due <= elapsed { Next::Due(due) } else { Next::At(due) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn open(per_second: f64, duration: Duration) -> Pace {
        Pace { arrivals: Arrivals::Open { per_second }, duration, requests_max: u64::MAX }
    }

    #[test]
    fn open_arrivals_keep_their_schedule_however_late_the_sender_is() {
        let pace = open(100.0, Duration::from_secs(1));
        for (elapsed, sent, next) in [
            (Duration::ZERO, 0, Next::Due(Duration::ZERO)),
            (Duration::ZERO, 1, Next::At(10 * MS)),
            (10 * MS, 1, Next::Due(10 * MS)),
            (500 * MS, 1, Next::Due(10 * MS)),
            (500 * MS, 50, Next::Due(500 * MS)),
            (500 * MS, 51, Next::At(510 * MS)),
            (5000 * MS, 99, Next::Due(990 * MS)),
            (5000 * MS, 100, Next::Done),
        ] {
            assert_eq!(pace.next(elapsed, sent), next, "{sent} sent after {elapsed:?}");
        }
    }

    #[test]
    fn an_open_run_sends_rate_times_duration() {
        let pace = open(333.0, 3 * Duration::from_secs(1));
        let sent = (0..).take_while(|&sent| pace.next(Duration::MAX / 2, sent) != Next::Done).count();
        assert_eq!(sent, 999);
    }

    #[test]
    fn closed_arrivals_are_always_due_until_time_is_up() {
        let pace = Pace { arrivals: Arrivals::Closed, duration: 100 * MS, requests_max: u64::MAX };
        assert_eq!(pace.next(30 * MS, 1000), Next::Due(30 * MS));
        assert_eq!(pace.next(100 * MS, 1000), Next::Done);
    }

    #[test]
    fn no_more_requests_are_sent_than_allowed() {
        for arrivals in [Arrivals::Closed, Arrivals::Open { per_second: 1e6 }] {
            let pace = Pace { arrivals, duration: Duration::from_secs(9), requests_max: 5 };
            assert_ne!(pace.next(MS, 4), Next::Done);
            assert_eq!(pace.next(MS, 5), Next::Done);
        }
    }
}
