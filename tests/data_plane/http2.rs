//! HTTP/2 in clear text, on both sides.

use bytes::Bytes;
use h2::Reason;

use crate::harness::{self, Gateway, HELLO, Request, STREAM, event, within};
use crate::multiplexed::{Answer, Client, Upstream, post, send, whole};

const CHAT: &str = "/v1/chat/completions";

fn h2c(upstream: &Upstream) -> String {
    let address = upstream.address;
    format!("[[upstream]]\nname = \"up\"\nbase_url = \"http://{address}/v1\"\nhttp2 = \"only\"\n")
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/json");
    let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(body["error"]["code"], code);
}

#[tokio::test]
async fn both_versions_are_spoken_on_one_port() {
    let upstream = harness::Upstream::answering(harness::Answer::hello()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let client = Client::open(gateway.data).await;
    for _ in 0..3 {
        let answer = client.ask(post(CHAT), HELLO).await;
        assert_eq!(
            (answer.status, &answer.headers["content-type"]),
            (200, &"application/json".parse().unwrap())
        );
        assert!(answer.headers.contains_key("x-hookway-request-id"));
        assert!(
            !answer.headers.contains_key("connection") && !answer.headers.contains_key("transfer-encoding")
        );
    }
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
    let received = upstream.received();
    assert!(received.iter().all(|request| request.text() == HELLO));
    let mut names = received[0].head.names();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "content-type", "host"]);
}

#[tokio::test]
async fn cookies_that_came_in_crumbs_are_one_field_again() {
    let upstream = harness::Upstream::answering(harness::Answer::hello()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut request = post(CHAT);
    for crumb in ["a=1", "b=2"] {
        request.headers_mut().append("cookie", crumb.parse().unwrap());
    }
    assert_eq!(Client::open(gateway.data).await.ask(request, HELLO).await.status, 200);
    assert_eq!(upstream.only().head.get("cookie"), Some("a=1; b=2"));
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let upstream = harness::Upstream::scripted(|request| harness::Answer::json(200, &request.text())).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let client = Client::open(gateway.data).await;
    let bodies: Vec<String> = (0..50).map(|number| format!(r#"{{"model":"m{number}"}}"#)).collect();
    let asked = bodies.iter().map(|body| client.ask(post(CHAT), body.clone()));
    let answers = futures_util::future::join_all(asked).await;
    for (answer, body) in answers.iter().zip(&bodies) {
        assert_eq!((answer.status, String::from_utf8_lossy(&answer.body).as_ref()), (200, body.as_str()));
    }
}

#[tokio::test]
async fn a_large_body_and_a_large_answer_pass() {
    let upstream = harness::Upstream::scripted(|request| harness::Answer::json(200, &request.text())).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let client = Client::open(gateway.data).await;
    let body = format!(r#"{{"model":"m","x":"{}"}}"#, "y".repeat(5 << 20));
    let answer = client.ask(post(CHAT), body.clone()).await;
    assert!(answer.status == 200 && answer.body == body.as_bytes());
    let answer = client.ask(post("/v1/files"), body.clone()).await;
    assert!(answer.status == 200 && answer.body == body.as_bytes());
}

#[tokio::test]
async fn refusals_are_errors_in_openais_form() {
    let gateway = Gateway::start("[limits]\nbody_size = \"64KiB\"\nbody_timeout = \"1s\"").await;
    let client = Client::open(gateway.data).await;
    assert_refused(&client.ask(post(CHAT), "{").await, 400, "bad_request");
    assert_refused(&client.ask(post("/nowhere"), "{}").await, 404, "not_found");
    assert_refused(&client.ask(post(CHAT), vec![b' '; 100 << 10]).await, 413, "body_too_large");
    let (answer, mut slow) = client.begin(post(CHAT), false).await;
    send(&mut slow, Bytes::from_static(b"{"), false).await;
    let answer = whole(within("an answer", answer).await.expect("an answer")).await.expect("a body");
    assert_refused(&answer, 408, "request_timeout");
    assert_eq!(client.ask(post(CHAT), HELLO).await.status, 200, "the connection lives on");
}

#[tokio::test]
async fn a_stream_arrives_event_by_event() {
    let mut upstream = harness::Upstream::by_hand().await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let client = Client::open(gateway.data).await;
    let (answer, mut body) = client.begin(post(CHAT), false).await;
    send(&mut body, Bytes::from_static(STREAM.as_bytes()), true).await;
    let mut call = upstream.call().await;
    call.body().await;
    call.answer(harness::Answer::stream_head()).await;
    let mut stream = within("an answer", answer).await.expect("an answer").into_body();
    for text in ["a", "b"] {
        call.wire.send_chunk(event(text)).await;
        let part = within("an event", stream.data()).await.expect("more").expect("data");
        assert_eq!(part, event(text));
    }
    drop(call);
    let error = within("an event", stream.data()).await.expect("more").expect("data");
    assert!(error.starts_with(b"data: {\"error\":"), "{error:?}");
}

#[tokio::test]
async fn a_broken_answer_resets_its_stream() {
    let half =
        harness::Answer::head(200, &[("content-type", "text/plain"), ("transfer-encoding", "chunked")]);
    let upstream = harness::Upstream::answering(half.chunk("half").then_close()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let client = Client::open(gateway.data).await;
    let (answer, mut body) = client.begin(post("/v1/files"), false).await;
    send(&mut body, Bytes::from_static(b"{}"), true).await;
    // The reset may overtake the head.
    let error = match within("an answer", answer).await {
        Ok(answer) => whole(answer).await.expect_err("it is cut"),
        Err(error) => error,
    };
    assert!(error.is_reset(), "{error}");
}

#[tokio::test]
async fn a_client_that_resets_its_stream_ends_the_upstream_call() {
    let mut upstream = harness::Upstream::by_hand().await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let client = Client::open(gateway.data).await;
    let (answer, mut body) = client.begin(post(CHAT), false).await;
    send(&mut body, Bytes::from_static(HELLO.as_bytes()), true).await;
    let mut call = upstream.call().await;
    call.body().await;
    body.send_reset(Reason::CANCEL);
    drop(answer);
    call.ended().await;
    let line = gateway.log.find("an access line", |line| line["target"] == "hookway::access").await;
    assert_eq!(line["outcome"], "client_gone");
}

#[tokio::test]
async fn a_client_connection_that_ends_ends_all_its_upstream_calls() {
    let mut upstream = harness::Upstream::by_hand().await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let client = Client::open(gateway.data).await;
    let mut calls = Vec::new();
    let mut pending = Vec::new();
    for _ in 0..3 {
        let (answer, mut body) = client.begin(post(CHAT), false).await;
        send(&mut body, Bytes::from_static(HELLO.as_bytes()), true).await;
        pending.push((answer, body));
        let mut call = upstream.call().await;
        call.body().await;
        calls.push(call);
    }
    drop(pending);
    drop(client);
    for mut call in calls {
        call.ended().await;
    }
}

#[tokio::test]
async fn an_upstream_may_speak_nothing_else() {
    let mut upstream = Upstream::start(None).await;
    let gateway = Gateway::start(&h2c(&upstream)).await;
    for round in 0..3 {
        let mut client = gateway.connect().await;
        client
            .send(Request::chat(HELLO).field("connection", "x-private").field("x-private", "1").bytes())
            .await;
        let mut call = upstream.call().await;
        let head = call.request.uri().clone();
        assert_eq!((head.scheme_str(), head.path()), (Some("http"), "/v1/chat/completions"));
        assert_eq!(head.authority().map(ToString::to_string), Some(upstream.address.to_string()));
        let names: Vec<String> = call.request.headers().keys().map(ToString::to_string).collect();
        assert_eq!(names, ["content-type", "content-length"]);
        assert_eq!(call.body().await, HELLO.as_bytes());
        call.json("{\"ok\":true}").await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.text()), (200, "{\"ok\":true}".to_owned()), "round {round}");
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn requests_to_an_http2_upstream_share_its_connection() {
    let mut upstream = Upstream::start(None).await;
    let gateway = Gateway::start(&h2c(&upstream)).await;
    let mut clients = Vec::new();
    let mut calls = Vec::new();
    for _ in 0..8 {
        let mut client = gateway.connect().await;
        client.send(Request::chat(HELLO).bytes()).await;
        clients.push(client);
        calls.push(upstream.call().await);
    }
    for mut call in calls {
        call.body().await;
        call.json("{}").await;
    }
    for mut client in clients {
        assert_eq!(client.answer().await.status(), 200);
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_large_body_reaches_an_http2_upstream() {
    let mut upstream = Upstream::start(None).await;
    let gateway = Gateway::start(&h2c(&upstream)).await;
    let body = format!(r#"{{"model":"m","x":"{}"}}"#, "y".repeat(3 << 20));
    for request in [Request::chat(body.as_str()), Request::post("/v1/files", body.as_str())] {
        let mut client = gateway.connect().await;
        let bytes = request.bytes();
        let sending = tokio::spawn(async move {
            client.send(bytes).await;
            client
        });
        let mut call = upstream.call().await;
        assert!(call.body().await == body.as_bytes());
        call.json("{}").await;
        assert_eq!(sending.await.expect("it is sent").answer().await.status(), 200);
    }
}

#[tokio::test]
async fn a_stream_of_an_http2_upstream_that_is_reset_ends_in_an_error_event() {
    let mut upstream = Upstream::start(None).await;
    let gateway = Gateway::start(&h2c(&upstream)).await;
    let mut client = gateway.connect().await;
    client.send(Request::chat(STREAM).bytes()).await;
    let mut call = upstream.call().await;
    call.body().await;
    let mut stream = call.start("text/event-stream");
    send(&mut stream, Bytes::from(event("a")), false).await;
    let head = client.head().await;
    assert_eq!(client.chunk().await.unwrap().unwrap(), event("a").as_bytes());
    stream.send_reset(Reason::INTERNAL_ERROR);
    let rest = client.body(&head).await.expect("the stream ends in order");
    assert!(rest.starts_with(b"data: {\"error\":"), "{rest:?}");
}

#[tokio::test]
async fn a_client_that_leaves_resets_its_stream_alone() {
    let mut upstream = Upstream::start(None).await;
    let gateway = Gateway::start(&h2c(&upstream)).await;
    let mut leaving = gateway.connect().await;
    leaving.send(Request::chat(HELLO).bytes()).await;
    let mut left = upstream.call().await;
    let mut staying = gateway.connect().await;
    staying.send(Request::chat(HELLO).bytes()).await;
    let mut call = upstream.call().await;
    left.body().await;
    drop(leaving);
    let reason = within("a reset", std::future::poll_fn(|cx| left.answer.poll_reset(cx))).await;
    assert_eq!(reason.expect("a reset"), Reason::CANCEL);
    call.body().await;
    call.json("{}").await;
    assert_eq!(staying.answer().await.status(), 200);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn an_http2_upstream_that_refuses_a_stream_is_asked_again() {
    let mut upstream = Upstream::start(None).await;
    let route =
        "[[route]]\nmodel = \"*\"\nupstreams = [\"up\"]\nretry = { attempts = 2, backoff = \"1ms\" }\n";
    let gateway = Gateway::start(&[&h2c(&upstream), route].concat()).await;
    let mut client = gateway.connect().await;
    client.send(Request::chat(HELLO).bytes()).await;
    upstream.call().await.answer.send_reset(Reason::REFUSED_STREAM);
    let mut call = upstream.call().await;
    call.body().await;
    call.json("{}").await;
    assert_eq!(client.answer().await.status(), 200);
}

const ONCE: &str = "[[route]]\nmodel = \"*\"\nupstreams = [\"up\"]\nretry = { attempts = 1 }\n";

/// Begins a chat on a client connection of its own.
async fn begin(gateway: &Gateway, body: &str) -> tokio::task::JoinHandle<harness::Message> {
    let mut client = gateway.connect().await;
    let request = Request::chat(body);
    tokio::spawn(async move { client.ask(&request).await })
}

#[tokio::test]
async fn an_upstream_connection_without_room_takes_no_new_request_and_what_waited_goes_elsewhere() {
    const NEIGHBOURS: usize = 5;
    let mut upstream = Upstream::start(None).await;
    let config = [h2c(&upstream).as_str(), "chunk_timeout = \"300ms\"\n", ONCE].concat();
    let gateway = Gateway::start(&config).await;
    let large = format!(r#"{{"model":"m","x":"{}"}}"#, "y".repeat(200 << 10));
    let stuck = begin(&gateway, &large).await;
    // Nothing of them is read, so the connection's window stays shut.
    let mut held = vec![upstream.call().await];
    let mut neighbours = Vec::new();
    for _ in 0..NEIGHBOURS {
        neighbours.push(begin(&gateway, HELLO).await);
        held.push(upstream.call().await);
    }
    assert_eq!(upstream.connections(), 1);
    for _ in 0..NEIGHBOURS {
        let mut call = upstream.call().await;
        assert_eq!(call.body().await, HELLO.as_bytes());
        call.json("{}").await;
    }
    for neighbour in neighbours {
        assert_eq!(neighbour.await.unwrap().status(), 200);
    }
    assert_eq!(stuck.await.unwrap().status(), 504);
    let later = begin(&gateway, HELLO).await;
    let mut call = upstream.call().await;
    assert_eq!(call.body().await, HELLO.as_bytes());
    call.json("{}").await;
    assert_eq!(later.await.unwrap().status(), 200);
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [head.as_slice(), payload].concat()
}

/// One HTTP/2 connection of an upstream that answers its first request, then `batch` of them at once. A request with
/// `bad` in it gets a header that cannot be decoded, which ends the connection for all.
async fn answer_badly(
    mut io: tokio::net::TcpStream,
    batch: usize,
    whole: tokio::sync::mpsc::UnboundedSender<()>,
) -> std::io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    io.read_exact(&mut [0; 24]).await?;
    io.write_all(&frame(SETTINGS, 0, 0, b"")).await?;
    let (mut waiting, mut bad, mut due) = (Vec::new(), None, 1);
    loop {
        let mut head = [0; 9];
        io.read_exact(&mut head).await?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        io.read_exact(&mut payload).await?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        if (head[3], head[4]) == (SETTINGS, 0) {
            io.write_all(&frame(SETTINGS, 1, 0, b"")).await?;
        }
        if head[3] != DATA {
            continue;
        }
        if String::from_utf8_lossy(&payload).contains("bad") {
            bad = Some(stream);
        }
        if head[4] & 1 == 0 {
            continue;
        }
        waiting.push(stream);
        let _ = whole.send(());
        if waiting.len() < due {
            continue;
        }
        due = batch;
        if let Some(bad) = bad {
            io.write_all(&frame(HEADERS, 4, bad, &[0x80])).await?;
        }
        for stream in waiting.drain(..) {
            let answer = [frame(HEADERS, 4, stream, &[0x88]), frame(DATA, 1, stream, b"{}")].concat();
            io.write_all(&answer).await?;
        }
    }
}

#[tokio::test]
async fn an_answer_that_ends_its_connection_does_not_end_the_requests_beside_it() {
    const NEIGHBOURS: usize = 5;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, mut whole) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut batch = NEIGHBOURS + 1;
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(answer_badly(stream, batch, sender.clone()));
            batch = 1;
        }
    });
    let up = format!("[[upstream]]\nname = \"up\"\nbase_url = \"http://{address}/v1\"\nhttp2 = \"only\"\n");
    let gateway = Gateway::start(&[&up, ONCE].concat()).await;
    let mut asked = Vec::new();
    for body in std::iter::once(HELLO).chain([HELLO; NEIGHBOURS]) {
        asked.push(begin(&gateway, body).await);
        within("a whole request", whole.recv()).await.unwrap();
    }
    let bad = begin(&gateway, &HELLO.replace("hello", "bad")).await;
    for (turn, asked) in asked.into_iter().enumerate() {
        assert_eq!(asked.await.unwrap().status(), 200, "request {turn}");
    }
    assert_eq!(bad.await.unwrap().status(), 502);
}
