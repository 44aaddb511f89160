//! Upstream attempts, until one brings an answer, an error hook speaks, or the retry rule is spent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde_json::value::RawValue;

use super::client::{Client, End};
use super::downstream::Downstream;
use super::plan::{self, Next, Progress};
use super::{Request, path_and_query};
use crate::chain::{self, Answer, Draft, ErrorRuling, Facts};
use crate::hook::{Hook, HookName, Phase, UpstreamCause, UpstreamFailure};
use crate::limits;
use crate::route::{self, Target};
use crate::upstream::{AttemptError, Exchange, Length, Outgoing, RequestRules, Upstream};

/// How the attempts of a request ended.
pub(super) enum Outcome {
    /// An upstream answered; its head is read, its body follows.
    Answered(Exchange),
    /// No attempt is left. What the last one brought goes to the client.
    Failed(Box<Failed>),
    /// An error hook answered in the upstream's place.
    Plugin(Answer),
}

/// A failed attempt.
pub(super) struct Failed {
    pub(super) cause: UpstreamCause,
    pub(super) upstream: Arc<str>,
    pub(super) kind: FailedKind,
    /// The gateway made more than one attempt, so the client's own retries would only multiply them.
    pub(super) retries_spent: bool,
}

pub(super) enum FailedKind {
    /// No answer at all.
    Silent(AttemptError),
    /// An error answer, with the part of its body that was read already.
    Status { exchange: Exchange, body: Bytes, whole: bool },
}

/// Makes attempts for the draft until the request can be answered. Ends early when the client leaves.
pub(super) async fn run<H: Hook, D: Downstream>(
    request: &mut Request<'_, H>,
    client: &mut Client<'_, D>,
    facts: &Facts<'_>,
    suffix: &str,
    draft: &mut Draft,
) -> Result<Outcome, End> {
    let lease = request.lease.clone();
    let path_and_query = path_and_query(request.head, suffix);
    let error_hooks = lease.has_hook(HookName::OnError, facts.endpoint);
    let mut target = pick(&lease, draft);
    let mut progress = Progress::default();
    loop {
        let upstream = &lease.upstreams[target.upstreams[progress.upstream]];
        progress.here += 1;
        progress.total += 1;
        request.attempting(upstream, &target.route);
        let outgoing = Outgoing {
            method: &request.head.method,
            path_and_query: &path_and_query,
            model: draft.model.as_deref(),
            alternative: progress.upstream + 1 < target.upstreams.len(),
            headers: &request.head.headers,
            rules: RequestRules {
                changes: &draft.headers,
                identity: true,
                upgrade: false,
                credentials: true,
            },
            length: Length::Bytes(draft.body.len() as u64),
        };
        let began = Instant::now();
        let sent = tokio::select! {
            biased;
            sent = upstream.send(outgoing, &draft.body) => sent,
            gone = client.down.gone() => return Err(gone.into()),
        };
        request.waited += began.elapsed();
        let mut failed = match judge(upstream, sent, progress) {
            Ok(exchange) => return Ok(Outcome::Answered(exchange)),
            Err(failed) => failed,
        };
        let mut next =
            plan::next(&target.retry, target.upstreams.len(), progress, failed.cause, failed.retry_after());
        if !request.may_attempt() {
            next = Next::GiveUp;
        }
        if error_hooks {
            failed.read_body().await;
            let told = failed.describe(request.started.elapsed(), progress, next != Next::GiveUp);
            let ruling = tokio::select! {
                biased;
                ruling = chain::on_error(&lease, facts, draft, &told) => ruling,
                gone = client.down.gone() => return Err(gone.into()),
            };
            let may_go_on = progress.total < limits::ATTEMPTS_MAX && request.may_attempt();
            match ruling {
                ErrorRuling::Continue => {}
                ErrorRuling::Answer(answer) => return Ok(Outcome::Plugin(answer)),
                ErrorRuling::Refuse(fault) => return Err(fault.into()),
                ErrorRuling::Retry(delay) if may_go_on => next = Next::Again(delay),
                ErrorRuling::Fallback if may_go_on => {
                    target = pick(&lease, draft);
                    progress = Progress { total: progress.total, ..Progress::default() };
                    continue;
                }
                ErrorRuling::Retry(_) | ErrorRuling::Fallback => next = Next::GiveUp,
            }
        }
        match next {
            Next::GiveUp => return Ok(Outcome::Failed(failed)),
            Next::Onward => {
                progress = Progress { upstream: progress.upstream + 1, here: 0, total: progress.total };
            }
            Next::Again(pause) => {
                tokio::select! {
                    () = rest(pause, failed) => {}
                    gone = client.down.gone() => return Err(gone.into()),
                }
                request.waited += pause;
            }
        }
    }
}

/// The pause before the same upstream is asked again. Its error answer is read meanwhile, so that the
/// connection can be used for that.
async fn rest(pause: Duration, failed: Box<Failed>) {
    let end = tokio::time::Instant::now() + pause;
    // What did not come in time is let go with its connection.
    let _ = tokio::time::timeout_at(end, failed.discard()).await;
    tokio::time::sleep_until(end).await;
}

/// Where the draft goes: to the upstream a hook named, or by the routes.
fn pick<H>(lease: &chain::Generation<H>, draft: &Draft) -> Target {
    let named = draft.upstream.as_deref().and_then(|name| lease.upstream(name));
    named.map_or_else(|| lease.routes.for_model(draft.model.as_deref()).clone(), route::straight_to)
}

/// Sorts answers from failures.
fn judge(
    upstream: &Upstream,
    sent: Result<Exchange, AttemptError>,
    progress: Progress,
) -> Result<Exchange, Box<Failed>> {
    let (cause, kind) = match sent {
        Err(error) => (error.cause, FailedKind::Silent(error)),
        Ok(exchange) => match exchange.head().0 {
            StatusCode::TOO_MANY_REQUESTS => (UpstreamCause::RateLimited, FailedKind::status(exchange)),
            status if status.is_server_error() => (UpstreamCause::ServerError, FailedKind::status(exchange)),
            _ => return Ok(exchange),
        },
    };
    let retries_spent = progress.total > 1;
    Err(Box::new(Failed { cause, upstream: upstream.name().clone(), kind, retries_spent }))
}

impl FailedKind {
    fn status(exchange: Exchange) -> Self {
        Self::Status { exchange, body: Bytes::new(), whole: false }
    }
}

impl Failed {
    fn retry_after(&self) -> Option<Duration> {
        match &self.kind {
            FailedKind::Silent(error) => error.retry_after,
            FailedKind::Status { exchange, .. } => retry_after(exchange.head().1),
        }
    }

    /// Reads the error body, so far as it is small and comes soon.
    async fn read_body(&mut self) {
        let FailedKind::Status { exchange, body, whole } = &mut self.kind else { return };
        let mut read = BytesMut::new();
        let reading = async {
            while read.len() < limits::ERROR_BODY_BYTES_MAX {
                match exchange.chunk().await {
                    Ok(Some(chunk)) => read.extend_from_slice(&chunk),
                    Ok(None) => return true,
                    Err(_) => return false,
                }
            }
            false
        };
        *whole = tokio::time::timeout(limits::ERROR_BODY_WAIT, reading).await.unwrap_or(false);
        *body = read.freeze();
    }

    /// The failure as error hooks see it.
    fn describe(&self, elapsed: Duration, progress: Progress, will_retry: bool) -> UpstreamFailure {
        let (phase, status, message, error_body) = match &self.kind {
            FailedKind::Silent(error) => (error.phase, None, error.message.clone(), None),
            FailedKind::Status { exchange, body, whole } => {
                let status = exchange.head().0.as_u16();
                let json = whole.then(|| serde_json::from_slice::<Box<RawValue>>(body).ok()).flatten();
                (Phase::FirstByte, Some(status), format!("the upstream answered with status {status}"), json)
            }
        };
        UpstreamFailure {
            cause: self.cause,
            phase,
            upstream: self.upstream.to_string(),
            attempt: progress.total,
            status,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            bytes_sent: 0,
            will_retry,
            message,
            error_body,
        }
    }

    /// Lets an answer go that nobody will see; its connection is kept if the answer is short.
    async fn discard(mut self: Box<Self>) {
        if matches!(&self.kind, FailedKind::Status { whole: false, .. }) {
            self.read_body().await;
        }
        if let FailedKind::Status { exchange, whole: true, .. } = self.kind {
            exchange.release().await;
        }
    }
}

/// `retry-after-ms`, else `retry-after` in seconds or as a date (RFC 9110 section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let positive = |number: f64| Duration::try_from_secs_f64(number).ok();
    if let Some(wait) = text("retry-after-ms").and_then(|ms| ms.parse::<f64>().ok()) {
        return positive(wait / 1000.0);
    }
    let value = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = value.parse::<f64>() {
        return positive(seconds);
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(std::time::SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_upstreams_wish_is_read_in_all_its_forms() {
        let with = |name: &'static str, value: &'static str| {
            retry_after(&HeaderMap::from_iter([(
                http::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )]))
        };
        assert_eq!(with("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(with("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(with("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(with("retry-after", "-1"), None);
        assert_eq!(with("retry-after", "soon"), None);
    }
}
