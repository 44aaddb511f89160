//! A panic of the gateway's own code costs the request it happens in, and no other.

#[path = "../benches/pipe/mod.rs"]
mod pipe;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hookway::hook::{BodyNeed, Call, Hook, HookFailure, Verdict};

use pipe::{Client, chat_body, generation_of, request};

/// Panics when it is called for the first time.
#[derive(Clone, Default)]
struct BrokenOnce(Arc<AtomicUsize>);

impl Hook for BrokenOnce {
    async fn call(&self, _: Call<'_>) -> Result<Verdict, HookFailure> {
        // A request that panics only after it was suspended has more of itself in the air.
        tokio::task::yield_now().await;
        assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "the hook is broken");
        Ok(Verdict::default())
    }
}

#[tokio::test]
async fn a_panic_is_answered_with_500_and_the_next_request_is_served() {
    let hook = BrokenOnce::default();
    let broken = generation_of(1, &BodyNeed::Full, || hook.clone());
    let asked = request(&chat_body(1 << 10, false));

    let answer = Client::of(broken).ask_once(&asked).await;

    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let error: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&error["error"]["type"], &error["error"]["code"]),
        (&"server_error".into(), &"internal".into())
    );
    assert!(!body.contains("the hook is broken"), "the client reads nothing of the gateway's code: {body}");
    let whole = generation_of(1, &BodyNeed::Full, || hook.clone());
    Client::of(whole).ask(&asked).await;
    assert_eq!(hook.0.load(Ordering::Relaxed), 2);
}
