//! The process itself, with its socket as stdin: each lie is the lie that was asked for, and honesty works.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use bytes::BytesMut;
use hookway_wire::{
    CallMeta, Decoder, ErrorMeta, FRAME_BYTES_MAX, Frame, FrameError, FrameType, Head, Hello, PROTOCOL,
    VerdictMeta,
};
use serde_json::{Value, json};

struct Gateway {
    stream: UnixStream,
    bytes: BytesMut,
    child: Child,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    fn start(config: Value) -> Self {
        let (stream, theirs) = UnixStream::pair().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_hookway-misbehaving"))
            .env("HOOKWAY_FD", "0")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut gateway = Self { stream, bytes: BytesMut::new(), child };
        let hello = Hello {
            protocols: vec![PROTOCOL],
            gateway: "test".into(),
            plugin: "misbehaving".into(),
            instance: 0,
            generation: 1,
            max_frame: FRAME_BYTES_MAX,
            max_in_flight: 4,
            max_verdict_bytes: 200_000,
            credit: 1 << 18,
            config: config.as_object().unwrap().clone(),
            hooks: vec!["onRequest".into()],
        };
        gateway.send(Head::link(FrameType::Hello), &hello, b"");
        gateway
    }

    fn ready(config: Value) -> Self {
        let mut gateway = Self::start(config);
        assert_eq!(gateway.receive().unwrap().unwrap().kind, FrameType::Ready);
        gateway
    }

    fn send(&mut self, head: Head, meta: &impl serde::Serialize, body: &[u8]) {
        let mut out = BytesMut::new();
        head.write_json(&mut out, meta, body.len()).unwrap();
        out.extend_from_slice(body);
        self.stream.write_all(&out).unwrap();
    }

    fn call(&mut self, id: u32, misbehave: &str) {
        let headers = [("x-misbehave".to_owned(), misbehave.to_owned())].into();
        let meta = CallMeta { hook: "onRequest".into(), generation: 7, headers, ..CallMeta::default() };
        self.send(Head::of(FrameType::Call, id).code(1).end(), &meta, b"{}");
    }

    /// The next frame, or `None` when the process hung up, in the middle of a frame or not.
    fn receive(&mut self) -> Result<Option<Frame>, FrameError> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(frame) = Decoder::new(FRAME_BYTES_MAX).next(&mut self.bytes)? {
                return Ok(Some(frame));
            }
            match self.stream.read(&mut chunk).unwrap_or(0) {
                0 => return Ok(None),
                len => self.bytes.extend_from_slice(&chunk[..len]),
            }
        }
    }

    fn verdict(&mut self) -> VerdictMeta {
        self.receive().unwrap().unwrap().parse().unwrap()
    }
}

#[test]
fn frames_that_lie_are_the_lies_that_were_asked_for() {
    let kind = FrameType::Result;
    let cases = [
        ("oversized_frame", FrameError::TooLong { kind, len: 2 << 20, max: 1 << 20 }),
        ("meta_len_lie", FrameError::MetaLen { kind, len: 10, meta_len: 20 }),
        ("unknown_type", FrameError::UnknownType { number: 15 }),
        ("unknown_flag", FrameError::UnknownFlags { kind, flags: 9 }),
        ("garbage", FrameError::UnknownType { number: 255 }),
    ];
    for (mode, error) in cases {
        let mut gateway = Gateway::ready(json!({}));
        gateway.call(1, mode);
        assert_eq!(gateway.receive(), Err(error), "{mode}");
    }
}

#[test]
fn verdicts_that_lie_are_whole_frames() {
    let mut gateway = Gateway::ready(json!({"stamp": "red", "verdict": {"action": "replace"}, "body": "{}"}));
    gateway.call(1, "ok");
    assert!(gateway.receive().unwrap().unwrap().flags.is_unchanged());
    gateway.call(2, "never_answer");
    gateway.call(3, "late=1");
    assert_eq!(gateway.receive().unwrap().unwrap().id, 3);
    gateway.call(4, "stamp");
    let stamps = gateway.verdict().headers.set;
    assert_eq!((&stamps["x-generation"][..], &stamps["x-generation-call"][..]), ("red", "7"));
    gateway.call(5, "echo_verdict");
    assert_eq!(&gateway.receive().unwrap().unwrap().body[..], b"{}");
    gateway.call(6, "error_frame");
    assert_eq!(gateway.receive().unwrap().unwrap().parse::<ErrorMeta>().unwrap().message, "told to fail");
    gateway.call(7, "unknown_action");
    assert!(gateway.receive().unwrap().unwrap().parse::<VerdictMeta>().is_err());
    gateway.call(8, "huge_verdict");
    let mut bytes = 0;
    while bytes < 200_001 {
        bytes += gateway.receive().unwrap().unwrap().body.len();
    }
    assert_eq!(bytes, 200_001);
}

#[test]
fn exits_happen_when_they_were_asked_for() {
    let mut gateway = Gateway::start(json!({"mode": "exit_at_start"}));
    assert_eq!(gateway.receive(), Ok(None));
    for mode in ["exit_mid_call", "half_frame_then_exit", "crash_after_n"] {
        let mut gateway = Gateway::ready(json!({}));
        gateway.call(1, mode);
        assert_eq!(gateway.receive(), Ok(None), "{mode}");
    }
    let mut gateway = Gateway::start(json!({"mode": "refuse_at_start"}));
    assert_eq!(gateway.receive().unwrap().unwrap().kind, FrameType::Error);
    assert_eq!(gateway.receive(), Ok(None));
}
