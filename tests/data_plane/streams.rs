//! Streamed answers: whole events as they come, and an end that says what it is.

use serde_json::Value;

use crate::assert_refused;
use crate::harness::{Answer, Call, End, Gateway, HELLO, Request, STREAM, Upstream, Wire, event, events};

/// A streaming request whose answer is played by hand.
async fn begin(config: &str) -> (Gateway, Wire, Call, Upstream) {
    let mut upstream = Upstream::by_hand().await;
    let gateway = Gateway::start(&upstream.entry("up", config)).await;
    let mut client = gateway.connect().await;
    client.send(Request::chat(STREAM).bytes()).await;
    let mut call = upstream.call().await;
    call.body().await;
    (gateway, client, call, upstream)
}

/// The error a broken stream ends in, behind `events`.
fn error_behind(text: &str, events: &str) -> Value {
    let last = text.strip_prefix(events).unwrap_or_else(|| panic!("{text:?} begins with all events"));
    let data = last.strip_prefix("data: ").and_then(|data| data.strip_suffix("\n\n"));
    let data = data.unwrap_or_else(|| panic!("{last:?} is one event"));
    let error: Value = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error} in {data}"));
    error["error"].clone()
}

#[tokio::test]
async fn each_event_is_passed_on_as_soon_as_it_is_whole() {
    let (_gateway, mut client, mut call, _upstream) = begin("").await;
    call.answer(Answer::stream_head()).await;
    let head = client.head().await;
    assert_eq!((head.status(), head.get("content-type")), (200, Some("text/event-stream")));
    for text in ["a", "b"] {
        let event = event(text);
        call.wire.send_chunk(&event).await;
        assert_eq!(client.chunk().await.unwrap().unwrap(), event.as_bytes());
    }
    let (first, second) = (event("split"), event("whole"));
    let (begin, end) = first.split_at(20);
    call.wire.send_chunk(begin).await;
    call.wire.send_chunk([end, &second].concat()).await;
    let mut got = Vec::new();
    while got.len() < first.len() + second.len() {
        got.extend(client.chunk().await.unwrap().unwrap());
        assert!(got.ends_with(b"\n\n"), "only whole events go out");
    }
    assert_eq!(String::from_utf8_lossy(&got), [first, second].concat());
    call.answer(Answer::raw("").chunk("data: [DONE]\n\n").last_chunk()).await;
    assert_eq!(client.chunk().await.unwrap().unwrap(), b"data: [DONE]\n\n");
    assert_eq!(client.chunk().await, Ok(None));
}

#[tokio::test]
async fn a_stream_arrives_byte_for_byte_wherever_it_is_cut() {
    let text = [
        ": hb\n",
        &event("gr\u{fc}\u{df}"),
        "event: x\r\nid: 1\r\ndata: {\"a\":1}\r\n\r\n",
        "data: one\ndata: two\n\n",
        "\n: comment\n\n",
        "data: [DONE]\n\n",
    ]
    .concat();
    let bytes = text.clone().into_bytes();
    let upstream = Upstream::scripted(move |request| {
        let size = request.number + 1;
        let answer = bytes.chunks(size).fold(Answer::stream_head(), |answer, part| answer.chunk(part));
        answer.last_chunk()
    })
    .await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    for _ in 0..12 {
        assert_eq!(client.ask(&Request::chat(STREAM)).await.text(), text);
    }
}

#[tokio::test]
async fn a_stream_that_breaks_ends_in_an_error_event() {
    let whole = events(&["a", "b"]).concat();
    let chunked = Answer::stream_head().chunk(&whole);
    let open = Answer::head(200, &[("content-type", "text/event-stream")]).send(whole.as_str());
    let told = Answer::head(200, &[("content-type", "text/event-stream"), ("content-length", "9999")]);
    for broken in [
        chunked.clone().then_close(),
        chunked.clone().then_reset(),
        chunked.clone().send("zz\r\n").then_stall(),
        chunked.clone().chunk("data: {\"half").last_chunk(),
        chunked.chunk("data: half").then_close(),
        open.clone().then_close(),
        open.clone().send("data: half").then_close(),
        told.send(whole.as_str()).then_close(),
    ] {
        let upstream = Upstream::answering(broken.clone()).await;
        let gateway = Gateway::start(&upstream.entry("up", "")).await;
        let answer = gateway.ask(&Request::chat(STREAM)).await;
        assert_eq!(answer.status(), 200);
        let error = error_behind(&answer.text(), &whole);
        assert_eq!(
            (error["code"].as_str(), error["type"].as_str()),
            (Some("upstream_failed"), Some("upstream_error"))
        );
        assert_eq!(gateway.access(&answer).await["outcome"], "upstream_error", "{broken:?}");
        assert_eq!(upstream.received().len(), 1, "nothing is tried again behind the first byte");
    }
}

#[tokio::test]
async fn a_stream_that_ends_with_its_connection_is_whole_if_it_says_done() {
    let text = [event("a").as_str(), "data: [DONE]\n\n"].concat();
    let answer = Answer::head(200, &[("content-type", "text/event-stream")]).send(text.as_str()).then_close();
    let upstream = Upstream::answering(answer).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    for _ in 0..2 {
        assert_eq!(client.ask(&Request::chat(STREAM)).await.text(), text);
    }
}

#[tokio::test]
async fn a_stream_that_stalls_ends_in_an_error_event() {
    let (gateway, mut client, mut call, _upstream) = begin("chunk_timeout = \"300ms\"").await;
    call.answer(Answer::stream_head().chunk(event("a"))).await;
    let head = client.head().await;
    let text = client.body(&head).await.unwrap();
    assert_eq!(error_behind(&String::from_utf8_lossy(&text), &event("a"))["code"], "upstream_failed");
    let id = head.get("x-hookway-request-id").unwrap();
    let fault = gateway.log.access(id).await["fault"].to_string();
    assert!(fault.contains("timeout") && fault.contains("300ms"), "{fault}");
    call.ended().await;
}

#[tokio::test]
async fn an_answer_that_is_no_stream_is_broken_off_so_that_it_cannot_be_taken_for_whole() {
    let half = r#"{"id":"c1","choices":[{"#;
    let json = ("content-type", "application/json");
    let told = Answer::head(200, &[json, ("content-length", "500")]).send(half);
    let chunked = Answer::head(200, &[json, ("transfer-encoding", "chunked")]).chunk(half);
    for broken in
        [told.clone().then_close(), told.then_reset(), chunked.clone().then_close(), chunked.then_reset()]
    {
        let upstream = Upstream::answering(broken.clone()).await;
        let gateway = Gateway::start(&upstream.entry("up", "")).await;
        for request in [Request::chat(HELLO), Request::get("/v1/files/f")] {
            let mut client = gateway.connect().await;
            client.send(request.bytes()).await;
            let head = client.head().await;
            assert_eq!(head.status(), 200);
            let body = client.body_of_answer(&head, false).await;
            assert!(body.is_err(), "{body:?} is taken for whole: {broken:?}");
        }
    }
}

#[tokio::test]
async fn an_http_1_0_client_can_tell_a_broken_answer_too() {
    let answer = Answer::head(200, &[("content-type", "text/plain"), ("transfer-encoding", "chunked")]);
    let upstream = Upstream::answering(answer.chunk("half").then_close()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    client.send("GET /v1/files/f HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 200);
    let (_, end) = client.until_end().await;
    assert_eq!(end, End::Broken);
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_arrives_whole() {
    let text = r#"{"object":"chat.completion"}"#;
    let answer = Answer::head(200, &[("content-type", "application/json")]).send(text).then_close();
    let upstream = Upstream::answering(answer).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    for request in [Request::chat(HELLO), Request::get("/v1/files/f")] {
        assert_eq!(client.ask(&request).await.text(), text);
    }
}

#[tokio::test]
async fn informational_answers_of_the_upstream_are_not_the_answer() {
    let hints = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    let upstream = Upstream::scripted(move |request| {
        let answer = if request.path().ends_with("completions") {
            Answer::stream(&["a"])
        } else {
            Answer::json(200, "{}")
        };
        let mut informed = Answer::raw(hints);
        for step in answer.bytes() {
            informed = informed.send(step);
        }
        informed
    })
    .await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    for request in [Request::chat(STREAM), Request::get("/v1/files"), Request::chat(STREAM)] {
        assert_eq!(client.ask(&request).await.status(), 200);
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn before_the_first_byte_an_error_is_a_status_for_streams_too() {
    let error = r#"{"error":{"message":"no","type":"invalid_request_error","param":null,"code":"bad"}}"#;
    let upstream = Upstream::in_turn(vec![Answer::json(400, error), Answer::raw("").then_close()]).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let refused = gateway.ask(&Request::chat(STREAM)).await;
    assert_eq!((refused.status(), refused.text()), (400, error.to_owned()));
    assert_refused(&gateway.ask(&Request::chat(STREAM)).await, 502, "upstream_failed");
}
