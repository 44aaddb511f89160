//! A link against a plugin that lives in the test and does exactly what it is told.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use hookway_wire::{
    BODY_PART_BYTES, CREDIT_BYTES, CreditMeta, Decoder, ErrorCode, FRAME_BYTES_MAX, Flags, Frame, FrameType,
    Head, Hello,
};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::*;
use crate::hook::{Action, ClientId, Endpoint};
use crate::limits;
use crate::plugin::logs::Logs;

/// The plugin's side of a link, frame by frame.
struct Fake {
    socket: UnixStream,
    buffer: BytesMut,
}

impl Fake {
    async fn next(&mut self) -> Frame {
        loop {
            let frame = Decoder::new(FRAME_BYTES_MAX).next(&mut self.buffer).unwrap();
            if let Some(frame) = frame {
                return frame;
            }
            let read = self.socket.read_buf(&mut self.buffer).await.unwrap();
            assert!(read > 0, "the gateway closed the link");
        }
    }

    async fn expect(&mut self, kind: FrameType) -> Frame {
        let frame = self.next().await;
        assert_eq!(frame.kind, kind);
        frame
    }

    async fn send(&mut self, head: Head, meta: &Value, body: &[u8]) {
        let mut out = BytesMut::new();
        let meta = if meta.is_null() { String::new() } else { meta.to_string() };
        head.write(&mut out, meta.as_bytes(), body);
        self.socket.write_all(&out).await.unwrap();
    }

    async fn unchanged(&mut self, id: u32) {
        let mut header = Head::of(FrameType::Result, id).end().header(0, 0);
        header.flags = Flags::END | Flags::UNCHANGED;
        self.socket.write_all(&header.encode()).await.unwrap();
    }

    async fn shake(&mut self, ready: &Value) -> Hello {
        let hello = self.expect(FrameType::Hello).await.parse().unwrap();
        self.send(Head::link(FrameType::Ready), ready, b"").await;
        self.expect(FrameType::Ping).await;
        self.send(Head::link(FrameType::Pong), &Value::Null, b"").await;
        hello
    }

    async fn closed(&mut self) {
        while self.socket.read_buf(&mut self.buffer).await.unwrap_or(0) > 0 {}
    }
}

fn offer() -> Offer {
    Offer {
        plugin: "fake".to_owned(),
        generation: 7,
        max_in_flight: 4,
        config: Map::new(),
        hooks: vec![HookName::OnRequest, HookName::OnError],
    }
}

type Opening = JoinHandle<Result<(Arc<Link>, Tasks), HandshakeFailure>>;

/// A handshake under way, and the logs of its plugin.
fn opening() -> (Opening, Fake, Arc<Logs>) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    for end in [&ours, &theirs] {
        end.set_nonblocking(true).unwrap();
    }
    let logs = Arc::new(Logs::new("fake".to_owned(), Arc::new(|_: &str, _: &crate::plugin::PluginEvent| {})));
    let link = tokio::spawn(open(ours, offer(), Arc::clone(&logs)));
    (link, Fake { socket: UnixStream::from_std(theirs).unwrap(), buffer: BytesMut::new() }, logs)
}

async fn linked() -> (Arc<Link>, Fake) {
    let (link, mut fake, _) = opening();
    fake.shake(&json!({"protocol": 1, "hooks": ["onRequest", "onError"]})).await;
    (link.await.unwrap().unwrap().0, fake)
}

/// A call with everything that is not of interest filled in.
fn example(body: Bytes, budget: Duration) -> Call<'static> {
    static METADATA: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    Call {
        hook: HookName::OnRequest,
        request_id: "r1",
        generation: 7,
        endpoint: Endpoint::ChatCompletions,
        method: "POST",
        path: "/v1/chat/completions",
        model: None,
        stream: false,
        key_id: None,
        headers: &[],
        pointers: &[],
        metadata: &METADATA,
        body_bytes: body.len(),
        failure: None,
        body: Some(body),
        budget,
        cut_short: false,
        client: ClientId::default(),
    }
}

/// A call in a task of its own.
fn ask(
    link: &Arc<Link>,
    body: impl Into<Bytes>,
    budget: Duration,
) -> JoinHandle<Result<Verdict, HookFailure>> {
    let (link, body) = (Arc::clone(link), body.into());
    tokio::spawn(async move { link.call(example(body, budget)).await })
}

const SOON: Duration = Duration::from_secs(2);

async fn cause(call: JoinHandle<Result<Verdict, HookFailure>>) -> Cause {
    call.await.unwrap().unwrap_err().cause
}

#[tokio::test]
async fn a_handshake_tells_the_plugin_everything_and_takes_its_offer() {
    let (link, mut fake, logs) = opening();
    fake.send(
        Head::link(FrameType::Log),
        &json!({"level": "warn", "text": "warming up", "fields": {"n": 1}}),
        b"",
    )
    .await;
    let hello =
        fake.shake(&json!({"protocol": 1, "hooks": ["onError", "onRequest"], "maxInFlight": 2})).await;
    assert_eq!((hello.plugin.as_str(), hello.generation, hello.max_in_flight), ("fake", 7, 4));
    assert_eq!(hello.hooks, ["onRequest", "onError"]);
    let (link, _) = link.await.unwrap().unwrap();
    assert_eq!(link.hooks(), [HookName::OnRequest, HookName::OnError]);
    assert_eq!(link.in_flight.available_permits(), 2);
    assert_eq!(logs.lines(0, 1)[0].text, "warming up n=1");
}

#[tokio::test]
async fn a_hook_the_process_was_not_started_for_has_no_verdict() {
    let (link, _fake) = linked().await;
    let asked = Call { hook: HookName::OnResponse, ..example(Bytes::new(), SOON) };
    assert_eq!(link.call(asked).await.unwrap_err().cause, Cause::Unavailable);
}

#[tokio::test]
async fn a_handshake_that_cannot_hold_says_why() {
    let cases = [
        (
            FrameType::Ready,
            json!({"protocol": 2, "hooks": []}),
            "it refused: it speaks protocol 2, the gateway 1",
        ),
        (
            FrameType::Ready,
            json!({"protocol": 1, "hooks": ["onResponse"]}),
            "it serves \"onResponse\", which its manifest does not ask for",
        ),
        (
            FrameType::Ready,
            json!({"protocol": 1, "hooks": ["onRequest", "onError"], "maxInFlight": 0}),
            "it takes no calls at all: maxInFlight is 0",
        ),
        (
            FrameType::Ready,
            json!({"protocol": 1, "hooks": ["onError"]}),
            "plugin.json declares onRequest, but the program does not serve it (READY leaves it out); add a handler \
             for onRequest to the program, or take it out of \"hooks\" in plugin.json",
        ),
        (
            FrameType::Ready,
            json!({"protocol": 1, "hooks": []}),
            "plugin.json declares onRequest and onError, but",
        ),
        (FrameType::Error, json!({"code": "error", "message": "no model file"}), "it refused: no model file"),
        (FrameType::Pong, Value::Null, "a PONG frame where READY was due"),
        (FrameType::Ready, json!({"protocol": 1}), "meta of a READY frame: missing field `hooks`"),
    ];
    for (kind, meta, expected) in cases {
        let (link, mut fake, _) = opening();
        fake.expect(FrameType::Hello).await;
        fake.send(Head::link(kind), &meta, b"").await;
        let error = link.await.unwrap().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[tokio::test]
async fn a_plugin_that_hangs_up_in_the_handshake_is_known_at_once() {
    let (link, fake, _) = opening();
    drop(fake);
    assert_eq!(link.await.unwrap().unwrap_err(), HandshakeFailure::Closed);
}

#[tokio::test]
async fn a_call_reaches_the_plugin_whole_and_its_verdict_comes_back() {
    let (link, mut fake) = linked().await;
    let call = ask(&link, "{\"model\":\"m\"}", SOON);
    let frame = fake.expect(FrameType::Call).await;
    let meta: Value = frame.parse().unwrap();
    assert_eq!(
        (&meta["hook"], &meta["requestId"], &meta["budgetMs"]),
        (&json!("onRequest"), &json!("r1"), &json!(2000))
    );
    assert_eq!(
        (frame.code, frame.flags, &frame.body[..]),
        (1, Flags::END | Flags::BODY, &b"{\"model\":\"m\"}"[..])
    );
    fake.send(Head::of(FrameType::Result, frame.id).end(), &json!({"action": "replace"}), b"{}").await;
    assert_eq!(call.await.unwrap().unwrap().action, Action::Replace(Bytes::from("{}")));

    let second = ask(&link, "", SOON);
    let frame = fake.expect(FrameType::Call).await;
    assert_eq!((frame.id, frame.flags), (2, Flags::END), "an id is not used twice");
    fake.unchanged(frame.id).await;
    assert_eq!(second.await.unwrap(), Ok(Verdict::default()));
}

#[tokio::test]
async fn each_of_many_calls_gets_its_own_answer() {
    let (link, mut fake) = linked().await;
    for _ in 0..50 {
        let calls = ["a", "b", "c", "d"].map(|body| (body, ask(&link, body, SOON)));
        let mut frames = Vec::new();
        for _ in &calls {
            frames.push(fake.expect(FrameType::Call).await);
        }
        for frame in frames.iter().rev() {
            let head = Head::of(FrameType::Result, frame.id).end();
            fake.send(head, &json!({"action": "replace"}), &frame.body).await;
        }
        for (body, call) in calls {
            assert_eq!(call.await.unwrap().unwrap().action, Action::Replace(Bytes::from(body)));
        }
    }
}

#[tokio::test]
async fn a_large_body_goes_in_parts_as_the_plugin_grants_them() {
    let (link, mut fake) = linked().await;
    let body: Bytes = (0..2_000_000u32).map(|byte| byte as u8).collect();
    let call = ask(&link, body.clone(), SOON);
    let first = fake.expect(FrameType::Call).await;
    let (mut got, mut last) = (BytesMut::from(&first.body[..]), first.flags.is_end());
    while !last {
        if got.len() % CREDIT_BYTES == 0 {
            let credit = serde_json::to_value(CreditMeta { bytes: CREDIT_BYTES as u64 }).unwrap();
            fake.send(Head::of(FrameType::Credit, first.id), &credit, b"").await;
        }
        let part = fake.expect(FrameType::Data).await;
        assert_eq!((part.id, part.body.len() <= BODY_PART_BYTES), (first.id, true));
        got.extend_from_slice(&part.body);
        last = part.flags.is_end();
    }
    assert!(got == body);
    fake.unchanged(first.id).await;
    assert_eq!(call.await.unwrap(), Ok(Verdict::default()));
}

#[tokio::test]
async fn a_small_call_passes_a_large_one_that_waits_for_credit() {
    let (link, mut fake) = linked().await;
    let large = ask(&link, vec![0; 4 * CREDIT_BYTES], SOON);
    for _ in 0..CREDIT_BYTES / BODY_PART_BYTES {
        fake.next().await;
    }
    let small = ask(&link, "small", SOON);
    let frame = fake.expect(FrameType::Call).await;
    fake.unchanged(frame.id).await;
    assert_eq!(small.await.unwrap(), Ok(Verdict::default()));
    // Answered before it was read to the end: the rest of the body stays here, and the plugin is told.
    fake.unchanged(1).await;
    assert_eq!(large.await.unwrap(), Ok(Verdict::default()));
    assert_eq!(fake.expect(FrameType::Cancel).await.id, 1);
}

#[tokio::test]
async fn an_answer_in_parts_is_one_verdict() {
    let (link, mut fake) = linked().await;
    let call = ask(&link, "", SOON);
    let id = fake.next().await.id;
    fake.send(Head::of(FrameType::Result, id), &json!({"action": "respond", "status": 201}), &[b'x'; 1000])
        .await;
    for _ in 0..40 {
        fake.send(Head::of(FrameType::Data, id), &Value::Null, &[b'x'; BODY_PART_BYTES]).await;
    }
    fake.send(Head::of(FrameType::Data, id).end(), &Value::Null, b"y").await;
    let Action::Respond { status, body } = call.await.unwrap().unwrap().action else { panic!("a response") };
    assert_eq!((status.as_u16(), body.len()), (201, 1001 + 40 * BODY_PART_BYTES));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_that_came_early_says_whose_budget_was_spent() {
    let (link, _fake) = linked().await;
    let asked = Call { cut_short: true, ..example(Bytes::new(), Duration::from_millis(40)) };
    let failure = link.call(asked).await.unwrap_err();
    assert_eq!(failure.detail, "no answer within 40 ms, which was left of [plugins] chain_budget");
}

#[tokio::test(start_paused = true)]
async fn a_silent_plugin_is_cancelled_at_the_deadline_and_its_late_answer_swallowed() {
    let (link, mut fake) = linked().await;
    let call = ask(&link, "", Duration::from_millis(250));
    let id = fake.expect(FrameType::Call).await.id;
    let before = Instant::now();
    let failure = call.await.unwrap().unwrap_err();
    assert_eq!((failure.cause, failure.detail.as_str()), (Cause::Timeout, "no answer within 250 ms"));
    assert!((250..260).contains(&before.elapsed().as_millis()), "{:?}", before.elapsed());
    assert_eq!(fake.expect(FrameType::Cancel).await.id, id);

    fake.unchanged(id).await;
    let next = ask(&link, "", SOON);
    let id = fake.expect(FrameType::Call).await.id;
    fake.unchanged(id).await;
    assert_eq!(next.await.unwrap(), Ok(Verdict::default()), "the link goes on");
}

#[tokio::test]
async fn a_call_nobody_waits_for_any_more_is_cancelled() {
    let (link, mut fake) = linked().await;
    let call = ask(&link, vec![0; 4 * CREDIT_BYTES], SOON);
    let id = fake.expect(FrameType::Call).await.id;
    call.abort();
    loop {
        let frame = fake.next().await;
        assert_eq!(frame.id, id);
        if frame.kind == FrameType::Cancel {
            break;
        }
    }
    assert_eq!(link.in_flight.available_permits(), 4);
}

#[tokio::test]
async fn when_the_plugin_dies_all_its_calls_end_at_once() {
    let (link, mut fake) = linked().await;
    let calls = [0; 4].map(|_| ask(&link, "", Duration::from_secs(3600)));
    for _ in &calls {
        fake.expect(FrameType::Call).await;
    }
    drop(fake);
    for call in calls {
        assert_eq!(cause(call).await, Cause::Unavailable);
    }
    assert_eq!(link.ended().await, LinkEnd::Closed);
    assert_eq!(cause(ask(&link, "", SOON)).await, Cause::Unavailable);
}

#[tokio::test]
async fn what_is_no_frame_ends_the_link_and_its_calls() {
    let cases: [(Head, &Value, &str); 4] = [
        (
            Head::of(FrameType::Result, 99).end(),
            &json!({}),
            "a RESULT frame for call 99, which was never made",
        ),
        (
            Head::of(FrameType::Credit, 99),
            &json!({"bytes": 1}),
            "a CREDIT frame for call 99, which was never made",
        ),
        (Head::link(FrameType::Ping), &Value::Null, "a PING frame, which only the gateway sends"),
        (
            Head::link(FrameType::Error),
            &json!({"code": "protocol", "message": "what?"}),
            "the plugin gave up the link: what?",
        ),
    ];
    for (head, meta, breach) in cases {
        let (link, mut fake) = linked().await;
        let call = ask(&link, "", Duration::from_secs(3600));
        fake.expect(FrameType::Call).await;
        fake.send(head, meta, b"").await;
        let failure = call.await.unwrap().unwrap_err();
        assert_eq!((failure.cause, failure.detail.as_str()), (Cause::Protocol, breach));
        assert_eq!(link.ended().await, LinkEnd::Protocol(breach.to_owned()));
        fake.closed().await;
    }
}

#[tokio::test]
async fn a_frame_above_the_limit_ends_the_link_before_its_payload_came() {
    let (link, mut fake) = linked().await;
    fake.socket.write_all(&[255, 255, 255, 255, 1, 0, 0, 0, 5, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
    let LinkEnd::Protocol(breach) = link.ended().await else { panic!("a breach") };
    assert_eq!(breach, "RESULT frame of 4294967295 bytes, the limit is 1048576");
}

#[tokio::test(start_paused = true)]
async fn beyond_its_places_a_call_waits_a_quarter_of_its_budget() {
    let (link, mut fake) = linked().await;
    let calls = [0; 4].map(|_| ask(&link, "", Duration::from_secs(3600)));
    for _ in &calls {
        fake.expect(FrameType::Call).await;
    }
    let before = Instant::now();
    assert_eq!(cause(ask(&link, "", Duration::from_millis(1_000))).await, Cause::Overloaded);
    assert!((250..260).contains(&before.elapsed().as_millis()), "{:?}", before.elapsed());

    let patient = ask(&link, "", Duration::from_millis(1_000));
    tokio::task::yield_now().await;
    tokio::time::advance(Duration::from_millis(100)).await;
    fake.unchanged(1).await;
    let frame = fake.expect(FrameType::Call).await;
    let meta: Value = frame.parse().unwrap();
    assert_eq!(meta["budgetMs"], json!(900), "the wait is taken off its budget");
    fake.unchanged(frame.id).await;
    assert_eq!(patient.await.unwrap(), Ok(Verdict::default()));
}

#[tokio::test]
async fn a_plugin_that_does_not_read_can_still_be_heard() {
    let (link, mut fake) = linked().await;
    let calls = [0; 4].map(|_| ask(&link, vec![0; 10 * CREDIT_BYTES], SOON));
    // The default socket buffer holds less than the first parts of four calls.
    while !link.outbox().is_blocked() {
        tokio::task::yield_now().await;
    }
    for id in 1..=4 {
        fake.unchanged(id).await;
    }
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok(Verdict::default()));
    }
}

#[tokio::test]
async fn errors_of_the_plugin_are_its_own_words() {
    let (link, mut fake) = linked().await;
    for (code, expected) in [
        (ErrorCode::Error, Cause::Error),
        (ErrorCode::Overloaded, Cause::Overloaded),
        (ErrorCode::TooLarge, Cause::Oversize),
    ] {
        let call = ask(&link, "", SOON);
        let id = fake.next().await.id;
        let head = Head::of(FrameType::Error, id).code(code.number());
        fake.send(head, &json!({"code": code, "message": "too bad"}), b"").await;
        let failure = call.await.unwrap().unwrap_err();
        assert_eq!((failure.cause, failure.detail.as_str()), (expected, "too bad"));
    }
    let call = ask(&link, "", SOON);
    let id = fake.next().await.id;
    fake.send(Head::of(FrameType::Result, id).end(), &json!({"action": "explode"}), b"").await;
    assert_eq!(cause(call).await, Cause::Malformed);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_answers_no_pings_is_unhealthy_and_one_that_does_is_not() {
    let (link, mut fake) = linked().await;
    let call = ask(&link, "", Duration::from_secs(3600));
    fake.expect(FrameType::Call).await;
    for _ in 0..10 {
        fake.expect(FrameType::Ping).await;
        fake.send(Head::link(FrameType::Pong), &Value::Null, b"").await;
    }
    let since = Instant::now();
    assert_eq!(link.ended().await, LinkEnd::Unhealthy);
    assert!(since.elapsed() <= 4 * limits::LINK_SILENCE, "{:?}", since.elapsed());
    assert_eq!(cause(call).await, Cause::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_hung_plugin_is_found_out_even_if_its_calls_gave_up_long_ago() {
    let (link, mut fake) = linked().await;
    assert_eq!(cause(ask(&link, "", Duration::from_millis(250))).await, Cause::Timeout);
    fake.expect(FrameType::Call).await;
    let since = Instant::now();
    assert_eq!(link.ended().await, LinkEnd::Unhealthy);
    assert!(since.elapsed() <= 4 * limits::LINK_SILENCE, "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_link_that_ends_while_its_socket_is_full_leaves_no_task_behind() {
    let (link, mut fake, _) = opening();
    fake.shake(&json!({"protocol": 1, "hooks": ["onRequest", "onError"]})).await;
    let (link, tasks) = link.await.unwrap().unwrap();
    let calls = [0; 4].map(|_| ask(&link, vec![0; CREDIT_BYTES], SOON));
    while !link.outbox().is_blocked() {
        tokio::task::yield_now().await;
    }
    link.end(LinkEnd::Stopped);
    for task in tasks {
        task.await.unwrap();
    }
    for call in calls {
        assert_eq!(cause(call).await, Cause::Unavailable);
    }
}

#[tokio::test]
async fn calls_beside_others_leave_in_one_write() {
    let (link, mut fake) = linked().await;
    let _alone = ask(&link, "", SOON);
    fake.expect(FrameType::Call).await;
    let mut beside = [0; 3].map(|_| Box::pin(link.call(example(Bytes::new(), SOON))));
    for call in &mut beside {
        assert!(call.now_or_never().is_none());
    }
    assert_eq!(rustix::io::ioctl_fionread(&fake.socket).unwrap(), 0, "others may still join them");
    let [first, ..] = &mut beside;
    assert!(first.now_or_never().is_none());
    for _ in 0..3 {
        fake.expect(FrameType::Call).await;
    }
}

#[tokio::test]
async fn a_flood_leaves_the_thread_to_others() {
    const PART: usize = 64 << 10;
    const PARTS: usize = 384;
    let (link, fake) = linked().await;
    let mut socket = fake.socket.into_std().unwrap();
    socket.set_nonblocking(false).unwrap();
    // So much waits in it that no read empties it, which alone would make the reader pause.
    rustix::net::sockopt::set_socket_send_buffer_size(&socket, limits::LINK_SOCKET_BYTES).unwrap();
    let line = json!({"text": "much to do for few bytes"}).to_string();
    let mut lines = BytesMut::new();
    while lines.len() < PART {
        Head::link(FrameType::Log).write(&mut lines, line.as_bytes(), b"");
    }
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let flood = std::thread::spawn(move || {
        while counted.load(Ordering::Relaxed) < PARTS
            && std::io::Write::write_all(&mut socket, &lines).is_ok()
        {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    while sent.load(Ordering::Relaxed) < PARTS / 12 {
        tokio::task::yield_now().await;
    }
    assert!(sent.load(Ordering::Relaxed) < PARTS, "this task had no turn before the flood was over");
    link.end(LinkEnd::Stopped);
    flood.join().unwrap();
}

#[tokio::test]
async fn a_new_config_is_taken_or_refused() {
    let (link, mut fake) = linked().await;
    let config = Map::from_iter([("level".to_owned(), json!(2))]);
    for accepts in [true, false] {
        let (told, config) = (Arc::clone(&link), config.clone());
        let configure = tokio::spawn(async move { told.configure(config, SOON).await });
        let frame = fake.expect(FrameType::Configure).await;
        assert_eq!(frame.parse::<Value>().unwrap(), json!({"config": {"level": 2}}));
        if accepts {
            fake.unchanged(frame.id).await;
        } else {
            let head = Head::of(FrameType::Error, frame.id).code(ErrorCode::Unsupported.number());
            fake.send(head, &json!({"code": "unsupported", "message": "start me anew"}), b"").await;
        }
        assert_eq!(configure.await.unwrap().is_ok(), accepts);
    }
}
