//! How many requests are being served, and a way to wait until none is.
//!
//! A request has a place among those in flight once its body is whole. While its body is on its way it is counted
//! with the bodies, so that clients that send slowly cannot keep others out.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::config::Limits;
use crate::fault::{Fault, Kind};

/// Bounded counts. Each step costs one atomic operation; only a drain watches them fall.
#[derive(Debug)]
pub struct InFlight {
    serving: AtomicU64,
    bodies: AtomicU64,
    places: AtomicU64,
    draining: AtomicBool,
    idle: watch::Sender<()>,
    cut: watch::Sender<bool>,
}

/// One request being served.
pub(super) struct Held<'a> {
    of: &'a InFlight,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Only its head is here.
    Head,
    /// Its body is on its way.
    Body,
    /// It has a place.
    Whole,
}

impl Default for InFlight {
    fn default() -> Self {
        Self {
            serving: AtomicU64::new(0),
            bodies: AtomicU64::new(0),
            places: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            idle: watch::Sender::new(()),
            cut: watch::Sender::new(false),
        }
    }
}

impl InFlight {
    pub(super) fn enter(&self) -> Result<Held<'_>, Fault> {
        let held = Held { of: self, stage: Stage::Head };
        self.serving.fetch_add(1, Ordering::SeqCst);
        if self.draining.load(Ordering::SeqCst) {
            let message = "The gateway is shutting down.";
            return Err(Fault::new(Kind::Draining, message).retry_after(Duration::from_secs(1)));
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

    /// All requests being served, whatever is here of them.
    pub fn count(&self) -> u64 {
        self.serving.load(Ordering::SeqCst)
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

    const fn counter(&self, stage: Stage) -> Option<&AtomicU64> {
        match stage {
            Stage::Head => None,
            Stage::Body => Some(&self.bodies),
            Stage::Whole => Some(&self.places),
        }
    }
}

impl Held<'_> {
    /// The body is on its way. Refused at once when there would be no place for the request.
    pub(super) fn await_body(&mut self, limits: &Limits) -> Result<(), Fault> {
        let places = self.of.places.load(Ordering::SeqCst);
        if places >= limits.requests_in_flight {
            return Err(overloaded(format!("{places} requests in flight")));
        }
        self.step(Stage::Body, limits.bodies_in_flight, "request bodies on their way")
    }

    /// The request is whole.
    pub(super) fn take_place(&mut self, limits: &Limits) -> Result<(), Fault> {
        self.step(Stage::Whole, limits.requests_in_flight, "requests in flight")
    }

    /// The request is whole and its answer under way: it keeps a place even if there is none.
    pub(super) fn keep_place(&mut self) {
        self.step(Stage::Whole, u64::MAX, "").expect("there is no bound");
    }

    fn step(&mut self, to: Stage, max: u64, what: &str) -> Result<(), Fault> {
        if self.stage == to {
            return Ok(());
        }
        if let Some(counter) = self.of.counter(to)
            && counter.fetch_add(1, Ordering::SeqCst) >= max
        {
            counter.fetch_sub(1, Ordering::SeqCst);
            return Err(overloaded(format!("{max} {what}")));
        }
        self.leave();
        self.stage = to;
        Ok(())
    }

    fn leave(&self) {
        if let Some(counter) = self.of.counter(self.stage) {
            counter.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn overloaded(detail: String) -> Fault {
    let message = "The gateway is serving as many requests as it may; try again shortly.";
    Fault::new(Kind::Overloaded, message).retry_after(Duration::from_secs(1)).detail(detail)
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.leave();
        let last = self.of.serving.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.of.draining.load(Ordering::SeqCst) {
            self.of.idle.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};

    fn limits(requests_in_flight: u64, bodies_in_flight: u64) -> Limits {
        let home = Environment::from([("HOME".to_owned(), "/tmp".to_owned())]);
        Limits { requests_in_flight, bodies_in_flight, ..Config::built_in(&home).unwrap().limits }
    }

    fn refused(step: Result<(), Fault>) -> Option<Kind> {
        step.err().map(|fault| fault.kind)
    }

    #[test]
    fn the_bound_holds_and_a_place_is_given_back() {
        let (in_flight, limits) = (InFlight::default(), limits(2, 9));
        let enter = || in_flight.enter().ok().unwrap();
        let (mut first, mut second, mut third) = (enter(), enter(), enter());
        first.take_place(&limits).unwrap();
        second.take_place(&limits).unwrap();
        assert_eq!(refused(third.take_place(&limits)), Some(Kind::Overloaded));
        assert_eq!(refused(third.await_body(&limits)), Some(Kind::Overloaded), "no body is read in vain");
        drop(first);
        third.take_place(&limits).unwrap();
        assert_eq!(in_flight.count(), 2);
    }

    #[test]
    fn bodies_on_their_way_take_no_place() {
        let (in_flight, limits) = (InFlight::default(), limits(1, 2));
        let enter = || in_flight.enter().ok().unwrap();
        let (mut one, mut other, mut third) = (enter(), enter(), enter());
        one.await_body(&limits).unwrap();
        other.await_body(&limits).unwrap();
        assert_eq!(refused(third.await_body(&limits)), Some(Kind::Overloaded));
        third.take_place(&limits).unwrap();
        assert_eq!(refused(one.take_place(&limits)), Some(Kind::Overloaded));
        other.keep_place();
        drop((third, one, other));
        let mut last = enter();
        last.await_body(&limits).unwrap();
        last.take_place(&limits).unwrap();
    }

    #[tokio::test]
    async fn a_drain_refuses_new_requests_and_waits_for_the_last() {
        let in_flight = InFlight::default();
        let held = in_flight.enter().ok();
        in_flight.refuse_new();
        assert_eq!(in_flight.enter().err().map(|fault| fault.kind), Some(Kind::Draining));
        let ((), ()) = tokio::join!(in_flight.idle(), async { drop(held) });
        assert_eq!(in_flight.count(), 0);
    }
}
