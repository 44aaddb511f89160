//! The least rate at which a client has to send its body, or to take its answer.
//!
//! Only time spent waiting for the client counts: a model that thinks, or an upstream that takes an upload slowly, is
//! no fault of the client's.

use std::time::Duration;

/// One direction of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Bytes that have to move within each window of waiting; 0: none.
    needed: u64,
    window: Duration,
    waited: Duration,
    moved: u64,
}

impl Pace {
    /// `rate` is in bytes per second.
    pub(super) fn new(rate: u64, window: Duration) -> Self {
        let needed = rate.saturating_mul(window.as_millis().try_into().unwrap_or(u64::MAX)) / 1_000;
        Self { needed, window, waited: Duration::ZERO, moved: 0 }
    }

    /// How long the next wait may last, at most `most`.
    pub(super) fn patience(&self, most: Duration) -> Duration {
        if self.needed == 0 { most } else { most.min(self.window.saturating_sub(self.waited)) }
    }

    /// Bytes moved after a wait. Enough of them begin the next window.
    pub(super) fn moved(&mut self, bytes: usize, waited: Duration) {
        self.waited += waited;
        self.moved += bytes as u64;
        if self.moved >= self.needed {
            (self.waited, self.moved) = (Duration::ZERO, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn enough_bytes_begin_the_next_window_and_too_few_do_not() {
        let mut pace = Pace::new(1_000, 30 * SECOND);
        assert_eq!(pace.patience(60 * SECOND), 30 * SECOND);
        assert_eq!(pace.patience(5 * SECOND), 5 * SECOND);
        pace.moved(29_999, 20 * SECOND);
        assert_eq!(pace.patience(60 * SECOND), 10 * SECOND);
        pace.moved(1, 9 * SECOND);
        assert_eq!(pace.patience(60 * SECOND), 30 * SECOND);
    }

    #[test]
    fn a_byte_now_and_then_gains_no_time() {
        let mut pace = Pace::new(1 << 10, 30 * SECOND);
        pace.moved(1, 29 * SECOND);
        assert_eq!(pace.patience(60 * SECOND), SECOND);
        pace.moved(1, 29 * SECOND);
        assert_eq!(pace.patience(60 * SECOND), Duration::ZERO);
    }

    #[test]
    fn a_slow_producer_is_not_the_clients_fault() {
        let mut pace = Pace::new(1 << 10, 30 * SECOND);
        for _ in 0..10_000 {
            pace.moved(50, Duration::from_micros(100));
        }
        assert!(pace.patience(60 * SECOND) > 29 * SECOND);
    }

    #[test]
    fn without_a_rate_only_the_pause_counts() {
        let mut pace = Pace::new(0, 30 * SECOND);
        pace.moved(1, 900 * SECOND);
        assert_eq!(pace.patience(60 * SECOND), 60 * SECOND);
    }
}
