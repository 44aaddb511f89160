//! An upstream's answer on its way to the client, chunk by chunk, and what is learnt from it in passing.
//!
//! A stream of events is cut into whole events first, so that one that breaks off can still end in an error
//! event. That is also the seam where stream hooks take part.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};

use super::Request;
use super::client::{Client, End};
use super::downstream::Downstream;
use crate::chain::{self, Draft, ErrorRuling, Facts};
use crate::chat::Usage;
use crate::chat::sse::Splitter;
use crate::hook::{Hook, HookName, Phase, UpstreamCause, UpstreamFailure};
use crate::metrics::Outcome;
use crate::upstream::{AttemptError, Exchange, strip_answer};

/// Passes a hooked request's answer on, from its head to its last byte.
pub(super) async fn run<H: Hook, D: Downstream>(
    request: &mut Request<'_, H>,
    client: &mut Client<'_, D>,
    facts: &Facts<'_>,
    draft: &mut Draft,
    exchange: Exchange,
) -> Result<(), End> {
    let (status, answer) = exchange.head();
    let mut headers = answer.clone();
    strip_answer(&mut headers);
    let events = is_event_stream(&headers);
    if events {
        // A stream that breaks off gets longer by an error event.
        headers.remove(CONTENT_LENGTH);
    }
    request.record.outcome = if status.is_client_error() { Outcome::UpstreamRefused } else { Outcome::Ok };
    request.show_trace(client, &draft.runs);
    client.start(status, headers, events).await?;
    let piped = if events {
        stream(request, client, exchange).await
    } else {
        body(request, client, exchange, Bytes::new()).await
    };
    match piped {
        Ok(()) => Ok(()),
        Err(Broken::Client(end)) => Err(end),
        Err(Broken::Upstream(error)) => {
            tell_hooks(request, client, facts, draft, &error).await;
            Err(error.broke_off().into())
        }
    }
}

/// Passes on what is left of an answer whose head is out, behind `first`, the part read already.
pub(super) async fn rest<H: Hook, D: Downstream>(
    request: &mut Request<'_, H>,
    client: &mut Client<'_, D>,
    exchange: Exchange,
    first: Bytes,
) -> Result<(), End> {
    body(request, client, exchange, first).await.map_err(|broken| match broken {
        Broken::Client(end) => end,
        Broken::Upstream(error) => error.broke_off().into(),
    })
}

/// Which side an answer broke off at.
enum Broken {
    Client(End),
    Upstream(AttemptError),
}

impl From<super::ClientError> for Broken {
    fn from(error: super::ClientError) -> Self {
        Self::Client(error.into())
    }
}

async fn body<H: Hook, D: Downstream>(
    request: &mut Request<'_, H>,
    client: &mut Client<'_, D>,
    mut exchange: Exchange,
    first: Bytes,
) -> Result<(), Broken> {
    let mut usage = UsageScan::default();
    let mut next = if first.is_empty() { next_chunk(client, &mut exchange).await? } else { Some(first) };
    while let Some(chunk) = next {
        let last = exchange.is_whole();
        usage.look(&chunk, !last);
        request.record.usage = usage.found;
        if last {
            exchange.release().await;
            return Ok(client.write(chunk, true).await?);
        }
        client.write(chunk, false).await?;
        next = next_chunk(client, &mut exchange).await?;
    }
    exchange.release().await;
    Ok(client.finish().await?)
}

async fn stream<H: Hook, D: Downstream>(
    request: &mut Request<'_, H>,
    client: &mut Client<'_, D>,
    mut exchange: Exchange,
) -> Result<(), Broken> {
    let mut splitter = Splitter::default();
    let mut done = false;
    while let Some(chunk) = next_chunk(client, &mut exchange).await? {
        splitter.push(chunk);
        let pieces = splitter.next_pieces().map_err(|error| broken_off(&mut exchange, error.to_string()))?;
        if let Some(pieces) = pieces {
            if let Some(usage) = Usage::find(&pieces) {
                request.record.usage = Some(usage);
            }
            done |= ends_in_done(&pieces);
            client.write(pieces, false).await?;
        }
    }
    let rest = splitter.remainder();
    if !rest.is_empty() {
        let message = format!("the stream ended inside an event, after {} bytes of it", rest.len());
        return Err(broken_off(&mut exchange, message));
    }
    if !done && exchange.ends_by_close() {
        // Only the closed connection says that this is all, and a cut one looks the same.
        let message = "the connection closed before the stream said [DONE]".to_owned();
        return Err(broken_off(&mut exchange, message));
    }
    exchange.release().await;
    Ok(client.finish().await?)
}

/// Waits for the upstream and for a client that leaves, whichever is first.
async fn next_chunk<D: Downstream>(
    client: &mut Client<'_, D>,
    exchange: &mut Exchange,
) -> Result<Option<Bytes>, Broken> {
    tokio::select! {
        biased;
        chunk = exchange.chunk() => chunk.map_err(Broken::Upstream),
        gone = client.down.gone() => Err(gone.into()),
    }
}

fn broken_off(exchange: &mut Exchange, message: String) -> Broken {
    Broken::Upstream(exchange.broken(AttemptError::new(UpstreamCause::Cut, Phase::Body, message)))
}

/// Error hooks see that an answer broke off; with bytes at the client they can no longer change it.
async fn tell_hooks<H: Hook, D: Downstream>(
    request: &mut Request<'_, H>,
    client: &mut Client<'_, D>,
    facts: &Facts<'_>,
    draft: &mut Draft,
    error: &AttemptError,
) {
    if !request.lease.has_hook(HookName::OnError, facts.endpoint) {
        return;
    }
    let failure = UpstreamFailure {
        cause: error.cause,
        phase: error.phase,
        upstream: request.record.upstream.as_deref().unwrap_or_default().to_owned(),
        attempt: request.record.attempts,
        status: client.started.map(|started| started.status.as_u16()),
        elapsed_ms: u64::try_from(request.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        bytes_sent: client.bytes_sent.max(1),
        will_retry: false,
        message: error.message.clone(),
        error_body: None,
    };
    // Nothing a hook says can change an answer the client already has part of.
    drop::<ErrorRuling>(chain::on_error(&request.lease, facts, draft, &failure).await);
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let encoded = headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity");
    !encoded
        && headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}

/// Whether the last events of a stream are here: `[DONE]` stands in the last few bytes.
fn ends_in_done(pieces: &[u8]) -> bool {
    const TAIL: usize = 32;
    let tail = &pieces[pieces.len().saturating_sub(TAIL)..];
    tail.windows(b"[DONE]".len()).any(|window| window == b"[DONE]")
}

/// Looks for the token counts in a body that comes in chunks.
#[derive(Default)]
struct UsageScan {
    found: Option<Usage>,
    /// The end of the chunk before, where a count may have begun.
    tail: Vec<u8>,
}

impl UsageScan {
    /// An object of token counts with its details is shorter than this.
    const SPAN: usize = 1024;

    /// `more`: this chunk is not the last.
    fn look(&mut self, chunk: &[u8], more: bool) {
        if !self.tail.is_empty() {
            self.tail.extend_from_slice(&chunk[..chunk.len().min(Self::SPAN)]);
            self.found = Usage::find(&self.tail).or(self.found);
            self.tail.clear();
        }
        self.found = Usage::find(chunk).or(self.found);
        if more {
            self.tail.extend_from_slice(&chunk[chunk.len().saturating_sub(Self::SPAN)..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_counts_are_found_wherever_the_chunks_are_cut() {
        let body = br#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
        for cut in 1..body.len() {
            let mut scan = UsageScan::default();
            scan.look(&body[..cut], true);
            scan.look(&body[cut..], false);
            let expected = Some(Usage { prompt_tokens: 3, completion_tokens: 4 });
            assert_eq!(scan.found, expected, "cut at {cut}");
        }
    }

    #[test]
    fn only_an_unencoded_stream_of_events_is_cut_into_events() {
        let headers = |kind: &'static str, encoding: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
            if let Some(encoding) = encoding {
                headers.insert(CONTENT_ENCODING, http::HeaderValue::from_static(encoding));
            }
            headers
        };
        assert!(is_event_stream(&headers("text/event-stream; charset=utf-8", None)));
        assert!(!is_event_stream(&headers("text/event-stream", Some("gzip"))));
        assert!(!is_event_stream(&headers("application/json", None)));
    }
}
