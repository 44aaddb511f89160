//! The process itself, with its socket as stdin.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use bytes::BytesMut;
use hookway_wire::{Decoder, FRAME_BYTES_MAX, Frame, FrameType, Head, VerdictMeta};
use serde_json::{Value, json};

struct Gateway {
    stream: UnixStream,
    bytes: BytesMut,
}

impl Gateway {
    fn send(&mut self, head: Head, meta: &Value, body: &str) {
        let mut out = BytesMut::new();
        head.write(&mut out, meta.to_string().as_bytes(), body.as_bytes());
        self.stream.write_all(&out).unwrap();
    }

    fn receive(&mut self) -> Frame {
        let mut chunk = [0; 4096];
        loop {
            if let Some(frame) = Decoder::new(FRAME_BYTES_MAX).next(&mut self.bytes).unwrap() {
                return frame;
            }
            let len = self.stream.read(&mut chunk).unwrap();
            assert!(len > 0, "the guard hung up");
            self.bytes.extend_from_slice(&chunk[..len]);
        }
    }
}

#[test]
fn it_shakes_hands_judges_and_leaves_with_its_gateway() {
    let (stream, theirs) = UnixStream::pair().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_hookway-guard"))
        .env("HOOKWAY_FD", "0")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    let mut gateway = Gateway { stream, bytes: BytesMut::new() };
    let hello = json!({"protocols": [1], "gateway": "test", "plugin": "guard", "hooks": ["onRequest"],
        "config": {"patterns": ["bomb"]}});
    gateway.send(Head::link(FrameType::Hello), &hello, "");
    assert_eq!(gateway.receive().kind, FrameType::Ready);

    let head = |id| Head::of(FrameType::Call, id).code(1).end();
    gateway.send(head(1), &json!({"hook": "onRequest"}), r#"{"messages":[{"content":"hello"}]}"#);
    assert!(gateway.receive().flags.is_unchanged());
    gateway.send(head(2), &json!({"hook": "onRequest"}), r#"{"messages":[{"content":"a \u0062omb"}]}"#);
    let verdict: VerdictMeta = gateway.receive().parse().unwrap();
    assert_eq!(
        (verdict.status, verdict.error.unwrap().code.unwrap().as_str()),
        (Some(400), "prompt_refused")
    );

    drop(gateway);
    assert!(child.wait().unwrap().success());
}
