//! The built-in upstream: answers in OpenAI's format without key or network.
//!
//! It says back what it was told, so that a first request shows what reached the upstream after all plugins.
//! The same request gets the same answer, but for `created`. Pure: a body in, an answer out.

mod chat;
mod embeddings;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::exchange::Exchange;
use super::head::Outgoing;
use super::settlement::Settlement;
use crate::chat::{answer, sse};
use crate::hash::fnv1a;
use crate::hook::ApiError;
use crate::limits;
use crate::metrics::UpstreamMetrics;

/// The one model it lists; it answers for any.
const MODEL: &str = "echo";

/// The whole answer. A stream has one chunk per event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    status: StatusCode,
    content_type: &'static str,
    chunks: Vec<Bytes>,
}

pub(super) fn exchange(request: Outgoing<'_>, body: &Bytes, metrics: Arc<UpstreamMetrics>) -> Exchange {
    let settlement = Settlement::new(metrics, None);
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let answer = answer_to(request.method, request.path_and_query, body, created);
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    if answer.content_type == answer::JSON {
        headers.insert(CONTENT_LENGTH, answer.chunks.iter().map(Bytes::len).sum::<usize>().into());
    }
    Exchange::local(answer.status, headers, answer.chunks, settlement)
}

/// Answers one request; `created` is the time in seconds that the answer carries.
fn answer_to(method: &Method, path_and_query: &str, body: &[u8], created: u64) -> Answer {
    let path = path_and_query.split('?').next().unwrap_or_default();
    let answered = match path {
        "/models" => get(method, json!({"object": "list", "data": [model()]})),
        "/models/echo" => get(method, model()),
        "/chat/completions" => post(method, body, created, chat::answer),
        "/completions" => post(method, body, created, text::answer),
        "/embeddings" => post(method, body, created, embeddings::answer),
        _ => Err(Refusal::not_found(path)),
    };
    answered.unwrap_or_else(Refusal::into_answer)
}

fn model() -> Value {
    json!({"id": MODEL, "object": "model", "created": 0, "owned_by": "hookway"})
}

fn get(method: &Method, body: Value) -> Result<Answer, Refusal> {
    if matches!(*method, Method::GET | Method::HEAD) {
        Ok(Answer::json(&body))
    } else {
        Err(Refusal::method(method))
    }
}

fn post(
    method: &Method,
    body: &[u8],
    created: u64,
    answer: impl FnOnce(&Asked<'_>) -> Result<Answer, Refusal>,
) -> Result<Answer, Refusal> {
    if *method != Method::POST {
        return Err(Refusal::method(method));
    }
    let fields = serde_json::from_slice(body)
        .map_err(|error| Refusal::bad(format!("The request body is not a JSON object: {error}."), None))?;
    answer(&Asked { fields: &fields, bytes: body.len(), seed: fnv1a(body), created })
}

/// A parsed request.
struct Asked<'a> {
    fields: &'a Map<String, Value>,
    /// Of the whole body.
    bytes: usize,
    /// Of the whole body: makes ids that differ, yet are the same for the same request.
    seed: u64,
    created: u64,
}

impl Asked<'_> {
    fn model(&self) -> &str {
        self.fields.get("model").and_then(Value::as_str).unwrap_or(MODEL)
    }

    fn stream(&self) -> bool {
        self.fields.get("stream") == Some(&Value::Bool(true))
    }

    fn include_usage(&self) -> bool {
        self.fields.get("stream_options").and_then(|options| options.get("include_usage"))
            == Some(&Value::Bool(true))
    }

    /// Refuses an answer of `text` bytes in `pieces`, choices or chunks, that is far larger than its request.
    fn affords(&self, text: usize, pieces: usize) -> Result<(), Refusal> {
        /// About what a piece has around its text, but for the model's name.
        const PIECE_BYTES: usize = 256;
        let size = pieces.saturating_mul(PIECE_BYTES + self.model().len()).saturating_add(text);
        if size > self.bytes + limits::ECHO_GROWTH_BYTES_MAX {
            let max = limits::ECHO_GROWTH_BYTES_MAX;
            return Err(Refusal::bad(
                format!("The answer would have over {max} bytes more than the request."),
                None,
            ));
        }
        Ok(())
    }

    /// A count, if given; not a whole number from `min` to `max` is refused.
    fn count(&self, key: &'static str, min: usize, max: usize) -> Result<Option<usize>, Refusal> {
        let value = match self.fields.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value.as_u64().and_then(|value| usize::try_from(value).ok()),
        };
        match value.filter(|value| (min..=max).contains(value)) {
            Some(value) => Ok(Some(value)),
            None => {
                Err(Refusal::bad(format!("'{key}' must be a whole number from {min} to {max}."), Some(key)))
            }
        }
    }
}

impl Answer {
    fn json(body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("plain values serialize");
        Self { status: StatusCode::OK, content_type: answer::JSON, chunks: vec![body.into()] }
    }

    /// One event per chunk, and `[DONE]`.
    fn stream(chunks: impl IntoIterator<Item = Value>) -> Self {
        let events = chunks.into_iter().map(|chunk| sse::event(chunk.to_string().as_bytes()));
        Self {
            status: StatusCode::OK,
            content_type: answer::SSE,
            chunks: events.chain([Bytes::from_static(sse::DONE)]).collect(),
        }
    }
}

/// Why a request is not answered.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    error: ApiError,
}

impl Refusal {
    fn new(status: StatusCode, message: String, param: Option<&str>, code: Option<&str>) -> Self {
        let error = ApiError {
            message,
            kind: Some("invalid_request_error".to_owned()),
            code: code.map(str::to_owned),
            param: param.map(str::to_owned),
        };
        Self { status, error }
    }

    fn bad(message: String, param: Option<&str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message, param, None)
    }

    fn not_found(path: &str) -> Self {
        match path.strip_prefix("/models/") {
            Some(model) => Self::new(
                StatusCode::NOT_FOUND,
                format!("The model '{model}' does not exist."),
                Some("model"),
                Some("model_not_found"),
            ),
            None => Self::new(
                StatusCode::NOT_FOUND,
                format!("The built-in echo upstream does not serve '{path}'."),
                None,
                Some("unknown_url"),
            ),
        }
    }

    fn method(method: &Method) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not allowed here."), None, None)
    }

    fn into_answer(self) -> Answer {
        let body = answer::error_body(&self.error);
        Answer { status: self.status, content_type: answer::JSON, chunks: vec![body] }
    }
}

/// The echo's tokens: words, each with the white space before it.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let word = rest.find(|c: char| !c.is_whitespace())?;
        let end = rest[word..].find(char::is_whitespace).map_or(rest.len(), |length| word + length);
        let (token, after) = rest.split_at(end);
        rest = after;
        Some(token)
    })
}

/// At most `max` tokens of `text`, and whether that cut it.
fn truncate(text: &str, max: Option<usize>) -> (&str, bool) {
    match max {
        Some(max) if tokens(text).nth(max).is_some() => {
            let kept = tokens(text).take(max).map(str::len).sum();
            (&text[..kept], true)
        }
        Some(_) | None => (text, false),
    }
}

/// The most chunks in which a stream tells one text.
const PARTS_MAX: usize = 1000;

/// The parts in which a stream tells `text`: word by word, or in runs of words where that would be very many.
fn parts(text: &str) -> Vec<&str> {
    let words: Vec<&str> = tokens(text).collect();
    let run = words.len().div_ceil(PARTS_MAX).max(1);
    let mut rest = text;
    let mut parts = Vec::with_capacity(words.len().div_ceil(run) + 1);
    for words in words.chunks(run) {
        let (part, after) = rest.split_at(words.iter().map(|word| word.len()).sum());
        parts.push(part);
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}

fn usage(prompt: usize, completion: usize) -> Value {
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
}
