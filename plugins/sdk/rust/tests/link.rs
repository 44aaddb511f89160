//! A plugin on one end of a socket pair, the gateway's frames on the other.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use hookway_plugin::{Call, Error, Hook, Plugin, ServeError, Verdict, serve_on};
use hookway_wire::{
    CREDIT_BYTES, CallMeta, CreditMeta, Decoder, ErrorMeta, FRAME_BYTES_MAX, Frame, FrameType, Head, Ready,
};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Answers as its config names; by default with what it was sent.
#[derive(Deserialize)]
struct Sample {
    #[serde(default)]
    answer: String,
}

impl Plugin for Sample {
    type Config = Self;
    const HOOKS: &[Hook] = &[Hook::OnRequest, Hook::OnError];
    const VERSION: &str = "1.2.3";

    fn configure(config: Self) -> Result<Self, Error> {
        if config.answer == "refuse" { Err("no such answer".into()) } else { Ok(config) }
    }

    async fn on_request(&self, call: Call) -> Result<Verdict, Error> {
        let verdict = match self.answer.as_str() {
            "continue-unchanged" => Verdict::proceed(),
            "continue" => Verdict::proceed().upstream("backup"),
            "patch" => Verdict::patch(json!({"temperature": 0, "user": null}))
                .set_header("x-a", "1")
                .remove_header("x-b")
                .note("seen", true),
            "json-patch" => Verdict::json_patch(
                json!([{"op": "replace", "path": "/messages/0/content", "value": "Call me on ***"}]),
            ),
            "replace" => Verdict::replace(r#"{"model":"small","messages":[]}"#),
            "respond" => Verdict::respond(200, r#"{"object":"chat.completion","choices":[]}"#)
                .set_header("x-cache", "hit"),
            "reject" => {
                Verdict::reject(400, "Not with me.").code("prompt_refused").kind("invalid_request_error")
            }
            "error" => return Err("boom".into()),
            _ => Verdict::replace(call.body().clone()),
        };
        Ok(verdict)
    }

    async fn on_error(&self, call: Call) -> Result<Verdict, Error> {
        let failure = call.failure().ok_or("a failed attempt is described")?;
        assert_eq!((failure.cause, failure.upstream, failure.attempt), ("429", "openai", 2));
        Ok(match self.answer.as_str() {
            "retry" => Verdict::retry(Duration::from_millis(50)).patched(json!({"max_tokens": 16})),
            _ => Verdict::fallback().model("gpt-4o-mini").upstream("backup"),
        })
    }
}

fn recorded(name: &str) -> Vec<u8> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wire/frames").join(name).with_extension("hex");
    let text = std::fs::read_to_string(path).unwrap();
    let hex: String = text.lines().map(|line| line.split('#').next().unwrap().trim()).collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

struct Gateway {
    stream: UnixStream,
    bytes: BytesMut,
    plugin: JoinHandle<Result<(), ServeError>>,
}

impl Gateway {
    fn start<P: Plugin>() -> Self {
        let (stream, theirs) = UnixStream::pair().unwrap();
        Self {
            stream,
            bytes: BytesMut::new(),
            plugin: tokio::spawn(serve_on::<P>(theirs.into_std().unwrap())),
        }
    }

    async fn ready<P: Plugin>() -> Self {
        let mut gateway = Self::start::<P>();
        assert_eq!(gateway.ask("hello").await, recorded("ready"));
        gateway
    }

    async fn send(&mut self, frame: Frame) {
        let mut bytes = BytesMut::new();
        frame.write(&mut bytes);
        self.stream.write_all(&bytes).await.unwrap();
    }

    async fn ask(&mut self, name: &str) -> Vec<u8> {
        self.stream.write_all(&recorded(name)).await.unwrap();
        let mut answer = BytesMut::new();
        self.receive().await.write(&mut answer);
        answer.to_vec()
    }

    async fn configure(&mut self, answer: &str) -> Frame {
        let meta = json!({"config": {"answer": answer}}).to_string().into();
        self.send(frame(Head::of(FrameType::Configure, 99).end(), meta, &[])).await;
        self.receive().await
    }

    async fn receive(&mut self) -> Frame {
        loop {
            if let Some(frame) = Decoder::new(FRAME_BYTES_MAX).next(&mut self.bytes).unwrap() {
                return frame;
            }
            assert!(self.stream.read_buf(&mut self.bytes).await.unwrap() > 0, "the plugin hung up");
        }
    }

    async fn receive_error(&mut self) -> (u32, ErrorMeta) {
        let frame = self.receive().await;
        assert_eq!(frame.kind, FrameType::Error);
        (frame.id, frame.parse().unwrap())
    }
}

fn frame(head: Head, meta: bytes::Bytes, body: &[u8]) -> Frame {
    let flags = head.header(meta.len(), body.len()).flags;
    Frame {
        id: head.id,
        kind: head.kind,
        flags,
        code: head.code,
        meta,
        body: bytes::Bytes::copy_from_slice(body),
    }
}

fn call(id: u32) -> Frame {
    let meta = serde_json::to_vec(&CallMeta { hook: "onRequest".into(), ..CallMeta::default() }).unwrap();
    frame(Head::of(FrameType::Call, id).code(1).end(), meta.into(), &[])
}

#[tokio::test]
async fn each_verdict_leaves_as_it_was_recorded() {
    let mut gateway = Gateway::ready::<Sample>().await;
    let on_request =
        ["continue-unchanged", "continue", "patch", "json-patch", "replace", "respond", "reject", "error"];
    let asked = on_request.map(|verdict| (verdict, "call")).into_iter();
    for (verdict, call) in asked.chain([("retry", "call-on-error"), ("fallback", "call-on-error")]) {
        assert_eq!(gateway.configure(verdict).await.kind, FrameType::Result);
        assert_eq!(gateway.ask(call).await, recorded(verdict), "{verdict}");
    }
}

#[tokio::test]
async fn link_frames_are_answered_as_recorded() {
    let mut gateway = Gateway::ready::<Sample>().await;
    assert_eq!(gateway.ask("ping").await, recorded("pong"));
    assert_eq!(gateway.ask("configure").await, recorded("configured"));
    gateway.stream.write_all(&recorded("drain")).await.unwrap();
    assert_eq!(gateway.ask("ping").await, recorded("pong"), "draining is not the end");
    gateway.stream.write_all(&recorded("shutdown")).await.unwrap();
    gateway.plugin.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_in_parts_arrives_whole() {
    let mut gateway = Gateway::ready::<Sample>().await;
    gateway.ask("call-in-parts").await;
    let whole = gateway.ask("call").await;
    assert!(whole.ends_with(br#""Call me on 030 1234567"}]}"#));
    assert_eq!(gateway.ask("call-in-parts").await, whole);
}

#[tokio::test]
async fn a_large_body_is_granted_credit_as_it_comes() {
    let mut gateway = Gateway::ready::<Sample>().await;
    let (part, parts) = (vec![b'x'; 64 << 10], 32);
    let head = Head::of(FrameType::Call, 5).code(1);
    let mut credit = CREDIT_BYTES;
    for at in 0..parts {
        while credit < part.len() {
            let granted = gateway.receive().await;
            assert_eq!((granted.kind, granted.id), (FrameType::Credit, 5));
            credit += usize::try_from(granted.parse::<CreditMeta>().unwrap().bytes).unwrap();
        }
        credit -= part.len();
        let head = Head { kind: if at == 0 { head.kind } else { FrameType::Data }, ..head };
        let head = if at == parts - 1 { head.end() } else { head };
        let meta = if at == 0 { call(5).meta } else { bytes::Bytes::new() };
        gateway.send(frame(head, meta, &part)).await;
    }
    let mut got = 0;
    while got < part.len() * parts {
        got += gateway.receive().await.body.len();
    }
    assert_eq!(got, part.len() * parts);
}

#[tokio::test]
async fn a_refused_config_keeps_the_old_one() {
    let mut gateway = Gateway::ready::<Sample>().await;
    gateway.configure("continue-unchanged").await;
    let refused = gateway.configure("refuse").await;
    assert_eq!(refused.parse::<ErrorMeta>().unwrap().message, "config: no such answer");
    assert_eq!(gateway.ask("call").await, recorded("continue-unchanged"));
}

#[tokio::test]
async fn a_plugin_that_cannot_serve_says_why_and_ends() {
    let hello = |change: fn(&mut serde_json::Value)| {
        let mut hello = serde_json::from_slice(&recorded("hello")[16..]).unwrap();
        change(&mut hello);
        frame(Head::link(FrameType::Hello), hello.to_string().into(), &[])
    };
    let cases = [
        (
            hello(|hello| hello["protocols"] = json!([2, 3])),
            "the gateway speaks protocols [2, 3], this plugin 1",
        ),
        (hello(|hello| hello["config"] = json!({"answer": "refuse"})), "config: no such answer"),
        (
            hello(|hello| hello["config"] = json!({"answer": 1})),
            "config: invalid type: number, expected a string",
        ),
        (
            frame(Head::link(FrameType::Ping), bytes::Bytes::new(), &[]),
            "the gateway sent PING where it must not",
        ),
    ];
    for (first, message) in cases {
        let mut gateway = Gateway::start::<Sample>();
        gateway.send(first).await;
        let (id, error) = gateway.receive_error().await;
        assert_eq!((id, error.message.as_str()), (0, message));
        gateway.plugin.await.unwrap().unwrap_err();
    }
}

#[tokio::test]
async fn bytes_that_are_no_frame_end_the_link() {
    for bad in ["bad/unknown-type", "bad/too-long", "result-from-the-gateway"] {
        let mut gateway = Gateway::ready::<Sample>().await;
        let bytes = recorded(if bad.starts_with("bad") { bad } else { "continue-unchanged" });
        gateway.stream.write_all(&bytes).await.unwrap();
        let (id, error) = gateway.receive_error().await;
        assert_eq!((id, error.code), (0, hookway_wire::ErrorCode::Protocol), "{bad}");
        gateway.plugin.await.unwrap().unwrap_err();
    }
}

#[tokio::test]
async fn a_gateway_that_is_gone_ends_the_plugin() {
    let Gateway { stream, plugin, .. } = Gateway::ready::<Sample>().await;
    drop(stream);
    plugin.await.unwrap().unwrap();
}

/// It has no method for one of the two hooks it names, and none of the other is named.
struct Forgetful;

impl Plugin for Forgetful {
    type Config = serde::de::IgnoredAny;
    const HOOKS: &[Hook] = &[Hook::OnRequest];

    fn configure(_: Self::Config) -> Result<Self, Error> {
        Ok(Self)
    }
}

#[tokio::test]
async fn a_hook_without_a_method_lets_nothing_pass() {
    let mut gateway = Gateway::start::<Forgetful>();
    gateway.stream.write_all(&recorded("hello")).await.unwrap();
    let ready: Ready = gateway.receive().await.parse().unwrap();
    assert_eq!(
        ready.hooks,
        ["onRequest"],
        "HELLO asks for onError too, and that is for the gateway to refuse"
    );
    gateway.send(call(1)).await;
    let frame = gateway.receive().await;
    assert_eq!(frame.kind, FrameType::Error);
    let error: ErrorMeta = frame.parse().unwrap();
    assert_eq!(
        error.message,
        "onRequest handler failed: HOOKS names OnRequest, but the plugin has no method on_request"
    );
}

#[tokio::test]
async fn a_key_is_known_by_its_id() {
    let meta: CallMeta =
        serde_json::from_value(json!({"hook": "onRequest", "keyId": "9f86d081884c"})).unwrap();
    assert_eq!(Call::new(meta, "").key_id(), Some("9f86d081884c"));
    assert_eq!(Call::new(CallMeta::default(), "").key_id(), None);
}

static STARTED: Notify = Notify::const_new();
static DROPPED: Notify = Notify::const_new();

/// Its first call never ends; every other one does at once.
struct Patient;

impl Plugin for Patient {
    type Config = serde::de::IgnoredAny;
    const HOOKS: &[Hook] = &[Hook::OnRequest, Hook::OnError];
    const VERSION: &str = "1.2.3";

    fn configure(_: Self::Config) -> Result<Self, Error> {
        Ok(Self)
    }

    async fn on_request(&self, call: Call) -> Result<Verdict, Error> {
        struct Guard;
        impl Drop for Guard {
            fn drop(&mut self) {
                DROPPED.notify_one();
            }
        }
        if call.request_id() == "req-1" {
            let _guard = Guard;
            STARTED.notify_one();
            std::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
        Ok(Verdict::proceed())
    }
}

#[tokio::test]
async fn a_cancelled_call_is_dropped_and_holds_up_no_other() {
    let mut gateway = Gateway::ready::<Patient>().await;
    gateway.stream.write_all(&recorded("call")).await.unwrap();
    STARTED.notified().await;
    gateway.send(call(2)).await;
    assert_eq!(gateway.receive().await.id, 2);
    gateway.stream.write_all(&recorded("cancel")).await.unwrap();
    DROPPED.notified().await;
    assert_eq!(gateway.ask("ping").await, recorded("pong"));
}

#[test]
fn a_question_wakes_the_plugin_once() {
    const QUESTIONS: u64 = 200;
    let (mut gateway, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let parks = Arc::new(AtomicU64::new(0));
    let counted = parks.clone();
    let plugin = std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().on_thread_park(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        runtime.build().unwrap().block_on(serve_on::<Sample>(theirs)).unwrap();
    });
    let mut ask = |question: &str, answer: &str| {
        gateway.write_all(&recorded(question)).unwrap();
        let mut got = vec![0; recorded(answer).len()];
        gateway.read_exact(&mut got).unwrap();
        assert_eq!(got, recorded(answer));
    };
    ask("hello", "ready");
    ask("ping", "pong");
    let before = parks.load(Ordering::Relaxed);
    for _ in 0..QUESTIONS {
        ask("ping", "pong");
    }
    // The wait after the ping before, or the one after the last, may be counted or not yet.
    let waits = parks.load(Ordering::Relaxed) - before;
    assert!((QUESTIONS - 1..=QUESTIONS + 1).contains(&waits), "{waits} waits for {QUESTIONS} questions");
    drop(gateway);
    plugin.join().unwrap();
}
