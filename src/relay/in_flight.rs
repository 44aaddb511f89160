//! How many requests are being served, and a way to wait until none is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::fault::{Fault, Kind};

/// A bounded count. Entering costs one atomic step; only a drain watches it fall.
#[derive(Debug)]
pub struct InFlight {
    count: AtomicU64,
    draining: AtomicBool,
    idle: watch::Sender<()>,
    cut: watch::Sender<bool>,
}

/// One request being served.
pub(super) struct Held<'a>(&'a InFlight);

impl Default for InFlight {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            idle: watch::Sender::new(()),
            cut: watch::Sender::new(false),
        }
    }
}

impl InFlight {
    pub(super) fn enter(&self, max: u64) -> Result<Held<'_>, Fault> {
        let held = Held(self);
        let before = self.count.fetch_add(1, Ordering::SeqCst);
        if self.draining.load(Ordering::SeqCst) {
            let message = "The gateway is shutting down.";
            return Err(Fault::new(Kind::Draining, message).retry_after(Duration::from_secs(1)));
        }
        if before >= max {
            let message = "The gateway is serving as many requests as it may; try again shortly.";
            let fault = Fault::new(Kind::Overloaded, message).retry_after(Duration::from_secs(1));
            return Err(fault.detail(format!("{max} requests in flight")));
        }
        Ok(held)
    }

    /// The time to finish is over: every request still being served ends with this fault.
    pub fn cut_all(&self) {
        self.cut.send_replace(true);
    }

    pub(super) async fn cut(&self) -> Fault {
        let mut cut = self.cut.subscribe();
        // An error says that the sender is gone, and it lives in `self`.
        let _ = cut.wait_for(|cut| *cut).await;
        Fault::new(Kind::Draining, "The gateway shut down before the answer was complete.")
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// From now on new requests are refused.
    pub fn refuse_new(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Ends when no request is being served. Only after [`Self::refuse_new`].
    pub async fn idle(&self) {
        let mut idle = self.idle.subscribe();
        while self.count() > 0 {
            if idle.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let last = self.0.count.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.0.draining.load(Ordering::SeqCst) {
            self.0.idle.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_and_a_place_is_given_back() {
        let in_flight = InFlight::default();
        let first = in_flight.enter(2).ok();
        let _second = in_flight.enter(2).ok();
        assert_eq!(in_flight.enter(2).err().map(|fault| fault.kind), Some(Kind::Overloaded));
        drop(first);
        assert!(in_flight.enter(2).is_ok());
        assert_eq!(in_flight.count(), 1);
    }

    #[tokio::test]
    async fn a_drain_refuses_new_requests_and_waits_for_the_last() {
        let in_flight = InFlight::default();
        let held = in_flight.enter(9).ok();
        in_flight.refuse_new();
        assert_eq!(in_flight.enter(9).err().map(|fault| fault.kind), Some(Kind::Draining));
        let ((), ()) = tokio::join!(in_flight.idle(), async { drop(held) });
        assert_eq!(in_flight.count(), 0);
    }
}
