//! The health of one upstream, model by model, and the pass that each attempt settles once.
//!
//! A failing model leaves the others of its upstream alone. A breaker is made by a model's first failure, so a
//! healthy upstream has none. There are at most [`limits::BREAKER_MODELS_MAX`]: past it, those that are closed and
//! quiet are forgotten; if all are in use, further models share one breaker with the requests without a model.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;

use super::breaker::{Breaker, Outcome};
use crate::config;
use crate::limits;
use crate::metrics::{BreakerState, UpstreamMetrics};

/// The key of requests without a model, and of models past the bound.
const SHARED: &str = "";

pub(super) struct Health {
    upstream: String,
    settings: config::Breaker,
    breakers: DashMap<Arc<str>, Breaker>,
    /// The length of `breakers`, which to ask for locks every shard.
    known: AtomicUsize,
    metrics: Arc<UpstreamMetrics>,
    /// Held while the gauge is set, so that the last change is the one that shows.
    showing: Mutex<()>,
}

impl Health {
    pub(super) fn new(upstream: &str, settings: config::Breaker, metrics: Arc<UpstreamMetrics>) -> Arc<Self> {
        // A breaker starts closed, also where an earlier one of this name was open.
        metrics.breaker(BreakerState::Closed);
        Arc::new(Self {
            upstream: upstream.to_owned(),
            settings,
            breakers: DashMap::new(),
            known: AtomicUsize::new(0),
            metrics,
            showing: Mutex::new(()),
        })
    }

    /// A pass for one attempt, or how long until one may be made. See [`Breaker::admit`].
    pub(super) fn admit(
        self: &Arc<Self>,
        model: Option<&str>,
        alternative: bool,
        now: Instant,
    ) -> Result<Pass, Duration> {
        let model = model.unwrap_or(SHARED);
        let step = |breaker: &mut Breaker| breaker.admit(alternative, now);
        let admitted = match self.step(model, step) {
            None if self.is_full() => self.step(SHARED, step),
            admitted => admitted,
        };
        admitted.unwrap_or(Ok(()))?;
        Ok(Pass { health: self.clone(), model: model.into(), admitted: now, settled: false })
    }

    fn answered(&self, model: &str, admitted: Instant, now: Instant) {
        self.step(self.key(model), |breaker| breaker.answered(admitted, now));
    }

    fn settle(&self, model: &str, admitted: Instant, outcome: Outcome, now: Instant) {
        if outcome == Outcome::Failed && self.settings.failures > 0 {
            self.know(model, now);
        }
        self.step(self.key(model), |breaker| breaker.settle(admitted, outcome, now));
    }

    /// Where the outcomes of a model count.
    fn key<'a>(&self, model: &'a str) -> &'a str {
        if self.is_full() && !self.breakers.contains_key(model) { SHARED } else { model }
    }

    /// Makes a breaker for a model that has none, if there is room.
    fn know(&self, model: &str, now: Instant) {
        if self.breakers.contains_key(model) {
            return;
        }
        if self.is_full() {
            self.breakers.retain(|_, breaker| !breaker.is_forgettable(now));
            self.known.store(self.breakers.len(), Ordering::Relaxed);
        }
        let model = if self.is_full() { SHARED } else { model };
        self.breakers.entry(model.into()).or_insert_with(|| {
            self.known.fetch_add(1, Ordering::Relaxed);
            Breaker::new(self.settings, now)
        });
    }

    fn is_full(&self) -> bool {
        self.known.load(Ordering::Relaxed) >= limits::BREAKER_MODELS_MAX
    }

    /// Changes a breaker and tells of it; `None` if there is none, which while nothing fails takes no lock.
    fn step<T>(&self, model: &str, step: impl FnOnce(&mut Breaker) -> T) -> Option<T> {
        if self.known.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let (result, before, after) = {
            let mut breaker = self.breakers.get_mut(model)?;
            let before = breaker.state();
            let result = step(&mut breaker);
            (result, before, breaker.state())
        };
        if before != after {
            self.tell(model, after);
        }
        Some(result)
    }

    fn tell(&self, model: &str, state: BreakerState) {
        let upstream = self.upstream.as_str();
        match state {
            BreakerState::Open => tracing::warn!(upstream, model, "upstream.breaker_opened"),
            BreakerState::HalfOpen => tracing::debug!(upstream, model, "upstream.breaker_probing"),
            BreakerState::Closed => tracing::info!(upstream, model, "upstream.breaker_closed"),
        }
        let _showing = self.showing.lock().unwrap_or_else(PoisonError::into_inner);
        let states = self.breakers.iter().map(|breaker| breaker.state());
        self.metrics.breaker(states.max_by_key(|state| *state as u8).unwrap_or(BreakerState::Closed));
    }
}

/// One admitted attempt. Dropped without an outcome, it leaves a probe's turn to the next.
pub(super) struct Pass {
    health: Arc<Health>,
    model: Arc<str>,
    admitted: Instant,
    settled: bool,
}

impl Pass {
    /// The head of a good answer is here; its end is still to come.
    pub(super) fn answered(&self) {
        self.health.answered(&self.model, self.admitted, Instant::now());
    }

    pub(super) fn settle(mut self, outcome: Outcome) {
        self.settle_once(outcome);
    }

    fn settle_once(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.settled, true) {
            self.health.settle(&self.model, self.admitted, outcome, Instant::now());
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.settle_once(Outcome::Neutral);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn health(failures: u32) -> (Metrics, Arc<Health>) {
        let metrics = Metrics::new();
        let settings = config::Breaker { failures, open_for: Duration::from_secs(3600) };
        let health = Health::new("up", settings, Arc::new(metrics.upstream("up")));
        (metrics, health)
    }

    fn admit(health: &Arc<Health>, model: &str) -> Result<Pass, Duration> {
        health.admit(Some(model), true, Instant::now())
    }

    fn fail(health: &Arc<Health>, model: &str) {
        let Ok(pass) = admit(health, model) else { panic!("{model} is not refused yet") };
        pass.settle(Outcome::Failed);
    }

    #[test]
    fn a_failing_model_leaves_the_others_alone() {
        let (_metrics, health) = health(2);
        fail(&health, "bad");
        fail(&health, "good");
        fail(&health, "bad");
        assert!(admit(&health, "bad").is_err());
        assert!(admit(&health, "good").is_ok());
        assert!(health.admit(None, true, Instant::now()).is_ok(), "requests without a model have their own");
    }

    #[test]
    fn a_healthy_upstream_has_no_breakers() {
        let (_metrics, health) = health(2);
        for number in 0..10 {
            admit(&health, &format!("m{number}")).ok().unwrap().settle(Outcome::Succeeded);
        }
        assert!(health.breakers.is_empty());
    }

    #[test]
    fn zero_failures_switch_it_off() {
        let (_metrics, health) = health(0);
        for _ in 0..100 {
            fail(&health, "m");
        }
        assert!(health.breakers.is_empty());
    }

    #[test]
    fn past_the_bound_models_share_a_breaker_and_memory_stays_bounded() {
        let (_metrics, health) = health(2);
        for number in 0..limits::BREAKER_MODELS_MAX {
            fail(&health, &format!("m{number}"));
        }
        fail(&health, "a");
        fail(&health, "b");
        assert!(admit(&health, "c").is_err(), "the shared breaker opened");
        assert!(health.admit(None, true, Instant::now()).is_err());
        assert!(admit(&health, "m0").is_ok(), "a model with a breaker of its own keeps it");
        assert_eq!(health.breakers.len(), limits::BREAKER_MODELS_MAX + 1);
    }

    #[test]
    fn at_the_bound_breakers_that_say_nothing_any_more_make_room() {
        let (_metrics, health) = health(2);
        for number in 0..limits::BREAKER_MODELS_MAX {
            let model = format!("m{number}");
            fail(&health, &model);
            admit(&health, &model).ok().unwrap().settle(Outcome::Succeeded);
        }
        fail(&health, "new");
        fail(&health, "new");
        assert_eq!((health.breakers.len(), health.known.load(Ordering::Relaxed)), (1, 1));
        assert!(admit(&health, "new").is_err() && admit(&health, "other").is_ok());
    }

    #[test]
    fn a_pass_that_is_dropped_says_nothing() {
        let (_metrics, health) = health(1);
        drop(admit(&health, "m"));
        assert!(admit(&health, "m").is_ok());
        fail(&health, "m");
        assert!(admit(&health, "m").is_err());
    }
}
