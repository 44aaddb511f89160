//! The data plane of the real program, from clients that say exactly what they mean to upstreams that do as they
//! are told.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../harness/mod.rs"]
mod harness;

mod authority;
mod bad_answers;
mod bad_http;
mod bodies;
mod connections;
mod crowd;
mod fields;
mod http2;
mod leaving;
mod memory;
mod multiplexed;
mod pass_through;
mod paths;
mod retries;
mod seeing;
mod streams;
mod tls;
mod uploads;

use harness::{End, Message, Wire};
use serde_json::Value;

/// Asserts that `answer` is an error in OpenAI's form, with all its keys, as clients need it.
#[track_caller]
fn assert_refused(answer: &Message, status: u16, code: &str) {
    assert_eq!(answer.status(), status, "{answer:?}");
    assert_eq!(answer.get("content-type"), Some("application/json"), "{answer:?}");
    let body = answer.json();
    let error = body["error"].as_object().unwrap_or_else(|| panic!("no error object in {body}"));
    let keys: Vec<&str> = error.keys().map(String::as_str).collect();
    assert_eq!(keys, ["message", "type", "param", "code"]);
    assert_eq!(error["code"], code, "{body}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    assert!(error["type"].is_string() && matches!(error["param"], Value::Null | Value::String(_)), "{body}");
}

/// Asserts that the gateway closes a connection without another byte.
async fn assert_closed(mut wire: Wire) {
    let (rest, end) = wire.until_end().await;
    assert_eq!((String::from_utf8_lossy(&rest).into_owned(), end), (String::new(), End::Closed));
}
