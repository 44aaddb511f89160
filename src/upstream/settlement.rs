//! The one owner of an attempt's outcome: collects what happens, and tells metrics and breaker once, at the end.

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;

use super::attempt::AttemptError;
use super::breaker::Outcome;
use super::health::Pass;
use crate::hook::UpstreamCause;
use crate::metrics::{AttemptOutcome, UpstreamMetrics};

/// "Overloaded", as some upstreams say it instead of 503.
const OVERLOADED: u16 = 529;

/// Told on drop, however the attempt ends.
pub(super) struct Settlement {
    metrics: Arc<UpstreamMetrics>,
    began: Instant,
    counted: AttemptOutcome,
    health: Outcome,
    /// `None` for the built-in upstream, which has no breaker, and once it is settled.
    pass: Option<Pass>,
}

impl Settlement {
    pub(super) fn new(metrics: Arc<UpstreamMetrics>, pass: Option<Pass>) -> Self {
        Self {
            metrics,
            began: Instant::now(),
            counted: AttemptOutcome::Cancelled,
            health: Outcome::Neutral,
            pass,
        }
    }

    /// The attempt failed, or its answer broke off.
    pub(super) fn failed(&mut self, error: AttemptError) -> AttemptError {
        self.counted = AttemptOutcome::Failed(error.cause);
        if !error.own_fault {
            self.health = Outcome::Failed;
        }
        error
    }

    /// The gateway could not write the request: no fault of the upstream.
    pub(super) fn unsendable(&mut self, error: AttemptError) -> AttemptError {
        self.counted = AttemptOutcome::Failed(error.cause);
        error
    }

    /// What was sent is sent again on another connection, and the failure of the first is forgotten.
    pub(super) fn again(&mut self) {
        self.counted = AttemptOutcome::Cancelled;
        self.health = Outcome::Neutral;
    }

    /// The head of an answer is here. A plain 500 is an answer like another: one model's fault, or one request's.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.counted = match status {
            StatusCode::TOO_MANY_REQUESTS => AttemptOutcome::Failed(UpstreamCause::RateLimited),
            status if status.is_server_error() => AttemptOutcome::Failed(UpstreamCause::ServerError),
            status if status.is_client_error() => AttemptOutcome::Refused,
            _ => AttemptOutcome::Ok,
        };
        if is_down(status) {
            self.health = Outcome::Failed;
        } else if status == StatusCode::SWITCHING_PROTOCOLS {
            // How a tunnel ends is its two ends' matter.
            if let Some(pass) = self.pass.take() {
                pass.settle(Outcome::Succeeded);
            }
        } else if let Some(pass) = &self.pass {
            pass.answered();
        }
    }

    /// The answer is whole.
    pub(super) fn whole(&mut self) {
        if self.health == Outcome::Neutral {
            self.health = Outcome::Succeeded;
        }
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        self.metrics.attempted(self.counted, self.began.elapsed());
        if let Some(pass) = self.pass.take() {
            pass.settle(self.health);
        }
    }
}

/// Whether a status says that the upstream, or what stands before it, cannot work.
fn is_down(status: StatusCode) -> bool {
    [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT].contains(&status)
        || status.as_u16() == OVERLOADED
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::health::Health;
    use super::*;
    use crate::config;
    use crate::hook::Phase;
    use crate::metrics::Metrics;

    /// Whether an attempt that goes as `play` says counts as a failure.
    fn counts(play: impl FnOnce(&mut Settlement)) -> bool {
        let metrics = Metrics::new();
        let handle = Arc::new(metrics.upstream("up"));
        let settings = config::Breaker { failures: 1, open_for: Duration::from_secs(3600) };
        let health = Health::new("up", settings, handle.clone());
        let Ok(pass) = health.admit(Some("m"), true, Instant::now()) else { panic!("it is closed") };
        let mut settlement = Settlement::new(handle, Some(pass));
        play(&mut settlement);
        drop(settlement);
        health.admit(Some("m"), true, Instant::now()).is_err()
    }

    fn answered(status: u16, whole: bool) -> bool {
        counts(|settlement| {
            settlement.answered(StatusCode::from_u16(status).unwrap());
            if whole {
                settlement.whole();
            }
        })
    }

    #[test]
    fn only_a_status_of_an_upstream_that_is_down_counts() {
        for status in [200, 301, 400, 401, 404, 408, 429, 500, 501] {
            assert!(!answered(status, true) && !answered(status, false), "{status}");
        }
        for status in [502, 503, 504, 529] {
            assert!(answered(status, true) && answered(status, false), "{status}");
        }
    }

    #[test]
    fn each_failure_of_the_connection_counts_also_behind_a_good_head() {
        for cause in [UpstreamCause::Connect, UpstreamCause::Tls, UpstreamCause::Timeout, UpstreamCause::Cut]
        {
            let error = || AttemptError::new(cause, Phase::Body, "");
            assert!(counts(|settlement| drop(settlement.failed(error()))), "{cause:?}");
            assert!(
                counts(|settlement| {
                    settlement.answered(StatusCode::OK);
                    drop(settlement.failed(error()));
                }),
                "{cause:?}"
            );
        }
    }

    #[test]
    fn a_client_that_leaves_and_a_tunnel_that_breaks_count_for_nothing() {
        assert!(!counts(|_| ()));
        assert!(!counts(|settlement| {
            settlement.answered(StatusCode::SWITCHING_PROTOCOLS);
            drop(settlement.failed(AttemptError::new(UpstreamCause::Cut, Phase::Body, "")));
        }));
    }
}
