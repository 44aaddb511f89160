//! Answers that are not simply an upstream's: a plugin's own, and an upstream's error once attempts are spent.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::attempts::{Failed, FailedKind, retry_after};
use super::client::{Client, EVENT_STREAM, End, PLUGIN, SHOULD_RETRY};
use super::downstream::Downstream;
use super::{Request, pump};
use crate::chain::{Answer, AnswerBody, Draft};
use crate::chat::answer::completion_as_sse;
use crate::hook::{HeaderChanges, Hook};
use crate::limits;
use crate::metrics::Outcome;
use crate::upstream::{is_hop_by_hop, strip_answer};

/// Gives the client a plugin's answer. To a client that asked for a stream, a whole completion goes out as
/// events: a JSON body would look to it like a stream without content.
pub(super) async fn give<H: Hook, D: Downstream>(
    request: &mut Request<'_, H>,
    client: &mut Client<'_, D>,
    draft: &Draft,
    answer: Answer,
) -> Result<(), End> {
    let Answer { plugin, status, headers: changes, body } = answer;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    change(&mut headers, changes);
    if let Ok(plugin) = HeaderValue::from_str(&plugin) {
        headers.insert(PLUGIN, plugin);
    }
    request.show_trace(client, &draft.runs);
    match body {
        AnswerBody::Error(mut error) => {
            error.kind.get_or_insert_with(|| error_type(status).to_owned());
            request.record.outcome = Outcome::HookRejected;
            client.answer_error(status, headers, &error).await?;
        }
        AnswerBody::Raw(body) => {
            request.record.outcome = Outcome::HookResponded;
            let events = (draft.stream && status.is_success())
                .then(|| completion_as_sse(&body, draft.include_usage))
                .flatten();
            match events {
                Some(events) => {
                    headers.insert(CONTENT_TYPE, EVENT_STREAM);
                    client.answer(status, headers, events).await?;
                }
                None => client.answer(status, headers, body).await?,
            }
        }
    }
    Ok(())
}

/// OpenAI's `error.type` for a refusal that names none: its own clients show it.
fn error_type(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    }
}

/// Applies a plugin's header changes to an answer. Framing and the gateway's own fields are out of its reach.
fn change(headers: &mut HeaderMap, changes: HeaderChanges) {
    for name in changes.remove {
        headers.remove(name);
    }
    for (name, value) in changes.set.into_iter().filter(|(name, _)| !is_framing(name)) {
        headers.insert(name, value);
    }
}

fn is_framing(name: &HeaderName) -> bool {
    *name == CONTENT_LENGTH || is_hop_by_hop(name) || name.as_str().starts_with("x-hookway-")
}

/// Gives the client what the last attempt brought: the upstream's own error, or one of the gateway's.
pub(super) async fn pass_failure<H: Hook, D: Downstream>(
    request: &mut Request<'_, H>,
    client: &mut Client<'_, D>,
    draft: &Draft,
    failed: Box<Failed>,
) -> Result<(), End> {
    request.show_trace(client, &draft.runs);
    let (exchange, body, whole) = match failed.kind {
        FailedKind::Status { exchange, body, whole } => (exchange, body, whole),
        FailedKind::Silent(error) => {
            let mut fault = error.into_fault(&failed.upstream);
            fault.final_word = failed.retries_spent;
            return Err(fault.into());
        }
    };
    request.record.outcome = Outcome::UpstreamError;
    let (status, answer) = exchange.head();
    let mut headers = answer.clone();
    strip_answer(&mut headers);
    let capped = cap_retry_after(&mut headers);
    if failed.retries_spent || capped {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    if whole {
        exchange.release().await;
        return Ok(client.answer(status, headers, body).await?);
    }
    client.start(status, headers, false).await?;
    pump::rest(request, client, exchange, body).await
}

/// Clients sleep as long as they are told, so a wish beyond the cap becomes the cap; tells whether it did.
fn cap_retry_after(headers: &mut HeaderMap) -> bool {
    let beyond = retry_after(headers).is_some_and(|wait| wait > limits::RETRY_AFTER_MAX);
    if beyond {
        headers.remove("retry-after-ms");
        headers.insert(RETRY_AFTER, HeaderValue::from(limits::RETRY_AFTER_MAX.as_secs()));
    }
    beyond
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_plugin_cannot_set_what_frames_its_answer() {
        let mut headers = HeaderMap::new();
        let set = |name: &'static str| (HeaderName::from_static(name), HeaderValue::from_static("1"));
        let changes = HeaderChanges {
            set: vec![set("content-length"), set("x-hookway-request-id"), set("x-cache")],
            remove: Vec::new(),
        };
        change(&mut headers, changes);
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-cache"]);
    }

    #[test]
    fn a_long_wish_of_the_upstream_is_capped() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("86400"));
        assert!(cap_retry_after(&mut headers));
        assert_eq!(retry_after(&headers), Some(limits::RETRY_AFTER_MAX));
        headers.insert("retry-after-ms", HeaderValue::from_static("20"));
        assert!(!cap_retry_after(&mut headers));
        assert_eq!(retry_after(&headers), Some(Duration::from_millis(20)));
    }
}
