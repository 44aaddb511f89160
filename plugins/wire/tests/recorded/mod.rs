//! The protocol in examples: every frame type, every verdict, every rule a frame can break.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use hookway_wire::{
    ApiError, CallMeta, ConfigureMeta, CreditMeta, ErrorCode, ErrorMeta, FRAME_BYTES_MAX, Flags, Frame,
    FrameType, HEADER_BYTES, Head, Headers, Hello, LogLevel, LogMeta, PROTOCOL, Ready, Route, VerdictAction,
    VerdictMeta,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

const BODY: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Call me on 030 1234567"}]}"#;

pub(crate) struct Recorded {
    pub(crate) file: &'static str,
    pub(crate) says: &'static str,
    pub(crate) frames: Vec<Frame>,
}

fn recorded(file: &'static str, says: &'static str, frames: impl Into<Vec<Frame>>) -> Recorded {
    Recorded { file, says, frames: frames.into() }
}

fn frame(head: Head, meta: impl Into<Bytes>, body: &str) -> Frame {
    let (meta, body) = (meta.into(), Bytes::copy_from_slice(body.as_bytes()));
    let header = head.header(meta.len(), body.len());
    Frame { id: header.id, kind: header.kind, flags: header.flags, code: header.code, meta, body }
}

fn json_frame(head: Head, meta: &impl Serialize, body: &str) -> Frame {
    let mut out = BytesMut::new();
    let meta_len = head.write_json(&mut out, meta, body.len()).unwrap();
    frame(head, out.split_off(HEADER_BYTES).split_to(meta_len), body)
}

pub(crate) fn bare(head: Head) -> Frame {
    frame(head, Bytes::new(), "")
}

fn verdict(meta: VerdictMeta, body: &str) -> [Frame; 1] {
    [json_frame(Head::of(FrameType::Result, 1).end(), &meta, body)]
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn call_meta() -> CallMeta {
    CallMeta {
        hook: "onRequest".into(),
        request_id: "req-1".into(),
        generation: 3,
        endpoint: "chat.completions".into(),
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        model: Some("gpt-4o".into()),
        headers: BTreeMap::from([("x-team".into(), "red".into())]),
        metadata: object(json!({"tier": "free"})),
        body_bytes: BODY.len() as u64,
        budget_ms: 250,
        ..CallMeta::default()
    }
}

pub(crate) fn failed_attempt() -> CallMeta {
    CallMeta {
        hook: "onError".into(),
        cause: Some("429".into()),
        phase: Some("first_byte".into()),
        upstream: Some("openai".into()),
        attempt: Some(2),
        status: Some(429),
        elapsed_ms: Some(812),
        bytes_sent: Some(0),
        will_retry: Some(false),
        message: Some("openai answered 429".into()),
        error_body: Some(json!({"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}})),
        ..call_meta()
    }
}

fn link_frames() -> Vec<Recorded> {
    let hooks = vec!["onRequest".to_owned(), "onError".to_owned()];
    let hello = Hello {
        protocols: vec![PROTOCOL],
        gateway: "hookway/0.1.0".into(),
        plugin: "sample".into(),
        instance: 0,
        generation: 3,
        max_frame: FRAME_BYTES_MAX,
        max_in_flight: 64,
        max_verdict_bytes: 50 << 20,
        credit: 1 << 20,
        config: object(json!({"replacement": "***"})),
        hooks: hooks.clone(),
    };
    let ready = Ready {
        protocol: PROTOCOL,
        name: "sample".into(),
        version: "1.2.3".into(),
        hooks,
        max_in_flight: None,
    };
    let refused =
        ErrorMeta { code: ErrorCode::Version, message: "sample speaks protocol 1, not 2 to 3".into() };
    let configure = ConfigureMeta { config: object(json!({"replacement": "[masked]"})) };
    let log = LogMeta {
        level: LogLevel::Warn,
        text: "pattern 2 matched everything".into(),
        fields: object(json!({"pattern": ".*"})),
    };
    let link = Head::link;
    vec![
        recorded("hello", "the gateway opens the link", [json_frame(link(FrameType::Hello), &hello, "")]),
        recorded("ready", "the plugin takes it", [json_frame(link(FrameType::Ready), &ready, "")]),
        recorded(
            "ready-in-flight",
            "the plugin takes it, two calls at a time",
            [json_frame(link(FrameType::Ready), &Ready { max_in_flight: Some(2), ..ready }, "")],
        ),
        recorded(
            "refused",
            "the plugin does not: no common version",
            [json_frame(link(FrameType::Error).code(ErrorCode::Version.number()), &refused, "")],
        ),
        recorded("ping", "the gateway asks for a sign of life", [bare(link(FrameType::Ping))]),
        recorded("pong", "the plugin gives it", [bare(link(FrameType::Pong))]),
        recorded(
            "configure",
            "a new config, live, under a call id of its own",
            [json_frame(Head::of(FrameType::Configure, 9).end(), &configure, "")],
        ),
        recorded(
            "configured",
            "the plugin took the new config",
            [bare(Head::of(FrameType::Result, 9).end())],
        ),
        recorded("drain", "no new calls will come", [bare(link(FrameType::Drain))]),
        recorded("shutdown", "exit now", [bare(link(FrameType::Shutdown))]),
        recorded("log", "a line for the gateway's log", [json_frame(link(FrameType::Log), &log, "")]),
    ]
}

fn call_frames() -> Vec<Recorded> {
    let (call, data) = (Head::of(FrameType::Call, 1).code(1), Head::of(FrameType::Data, 1));
    let no_body = Head::of(FrameType::Call, 1).code(4).end();
    vec![
        recorded("call", "onRequest, the body whole", [json_frame(call.end(), &call_meta(), BODY)]),
        recorded(
            "call-in-parts",
            "the same call, its body in three parts; real parts are up to 64 KiB",
            [
                json_frame(call, &call_meta(), &BODY[..40]),
                frame(data, Bytes::new(), &BODY[40..70]),
                frame(data.end(), Bytes::new(), &BODY[70..]),
            ],
        ),
        recorded("call-on-error", "onError, no body declared", [json_frame(no_body, &failed_attempt(), "")]),
        recorded("cancel", "nobody waits for call 1 any more", [bare(Head::of(FrameType::Cancel, 1))]),
        recorded(
            "credit",
            "64 KiB more of call 1's body may be sent",
            [json_frame(Head::of(FrameType::Credit, 1), &CreditMeta { bytes: 64 << 10 }, "")],
        ),
        recorded(
            "error",
            "the plugin failed on call 1",
            [json_frame(
                Head::of(FrameType::Error, 1).code(ErrorCode::Error.number()).end(),
                &ErrorMeta { code: ErrorCode::Error, message: "onRequest handler failed: boom".into() },
                "",
            )],
        ),
    ]
}

fn verdict_frames() -> Vec<Recorded> {
    let none = VerdictMeta::default;
    let patch = VerdictMeta {
        action: VerdictAction::Patch,
        patch: Some(json!({"temperature": 0, "user": null})),
        headers: Headers { set: BTreeMap::from([("x-a".into(), "1".into())]), remove: vec!["x-b".into()] },
        metadata: object(json!({"seen": true})),
        ..none()
    };
    let json_patch = VerdictMeta {
        action: VerdictAction::Patch,
        json_patch: Some(
            json!([{"op": "replace", "path": "/messages/0/content", "value": "Call me on ***"}]),
        ),
        ..none()
    };
    let route = |model: Option<&str>, upstream: &str| Route {
        model: model.map(str::to_owned),
        upstream: Some(upstream.to_owned()),
    };
    let error = ApiError {
        message: "Not with me.".into(),
        code: Some("prompt_refused".into()),
        kind: Some("invalid_request_error".into()),
        param: None,
    };
    let mut unchanged = bare(Head::of(FrameType::Result, 1).end());
    unchanged.flags = unchanged.flags | Flags::UNCHANGED;
    vec![
        recorded("continue-unchanged", "go on, nothing changed", [unchanged]),
        recorded(
            "continue",
            "go on, the body as it was, to another upstream",
            verdict(VerdictMeta { route: Some(route(None, "backup")), ..none() }, ""),
        ),
        recorded("patch", "a merge patch (RFC 7396), header changes and a note", verdict(patch, "")),
        recorded("json-patch", "a JSON patch (RFC 6902)", verdict(json_patch, "")),
        recorded(
            "patch-in-body",
            "a merge patch as raw body: the form for patches that may not fit a frame",
            verdict(VerdictMeta { action: VerdictAction::Patch, ..none() }, r#"{"temperature":0}"#),
        ),
        recorded(
            "replace",
            "a new body",
            verdict(
                VerdictMeta { action: VerdictAction::Replace, ..none() },
                r#"{"model":"small","messages":[]}"#,
            ),
        ),
        recorded(
            "respond",
            "an answer from the plugin in the upstream's place",
            verdict(
                VerdictMeta {
                    action: VerdictAction::Respond,
                    status: Some(200),
                    headers: Headers {
                        set: BTreeMap::from([("x-cache".into(), "hit".into())]),
                        remove: vec![],
                    },
                    ..none()
                },
                r#"{"object":"chat.completion","choices":[]}"#,
            ),
        ),
        recorded(
            "reject",
            "an error in OpenAI's form",
            verdict(
                VerdictMeta {
                    action: VerdictAction::Reject,
                    status: Some(400),
                    error: Some(error),
                    ..none()
                },
                "",
            ),
        ),
        recorded(
            "retry",
            "onError: the same upstream again, in 50 ms, with less to say",
            verdict(
                VerdictMeta {
                    action: VerdictAction::Retry,
                    patch: Some(json!({"max_tokens": 16})),
                    delay_ms: Some(50),
                    ..none()
                },
                "",
            ),
        ),
        recorded(
            "fallback",
            "onError: go on elsewhere",
            verdict(
                VerdictMeta {
                    action: VerdictAction::Fallback,
                    route: Some(route(Some("gpt-4o-mini"), "backup")),
                    ..none()
                },
                "",
            ),
        ),
    ]
}

pub(crate) fn all() -> impl Iterator<Item = Recorded> {
    [link_frames(), call_frames(), verdict_frames()].into_iter().flatten()
}

/// Headers that break one rule each, and what the codec says to them.
pub(crate) const BAD: [(&str, [u32; 6], &str); 9] = [
    ("unknown-type", [0, 1, 15, 0, 0, 0], "frame type 15 is not one of 1 to 14"),
    ("unknown-flag", [0, 1, 3, 9, 0, 0], "CALL frame with unknown flags 0x09"),
    ("too-long", [1_048_577, 1, 3, 0, 0, 1_048_577], "CALL frame of 1048577 bytes, the limit is 1048576"),
    ("meta-longer-than-frame", [2, 1, 5, 1, 0, 3], "RESULT frame of 2 bytes claims 3 bytes of meta"),
    ("body-too-long", [65_539, 1, 4, 4, 0, 2], "DATA frame with 65537 bytes of body, the limit is 65536"),
    (
        "body-without-flag",
        [5, 1, 4, 1, 0, 0],
        "DATA frame with 5 bytes of body and flags 0x01: BODY is set when, and only when, bytes follow",
    ),
    (
        "flag-without-body",
        [2, 1, 5, 5, 0, 2],
        "RESULT frame with 0 bytes of body and flags 0x05: BODY is set when, and only when, bytes follow",
    ),
    ("call-on-the-link", [0, 0, 3, 1, 1, 0], "CALL frame with id 0: 0 is the link, everything else a call"),
    (
        "unchanged-with-meta",
        [2, 1, 5, 3, 0, 2],
        "RESULT frame with UNCHANGED, which only an empty last RESULT may carry",
    ),
];
