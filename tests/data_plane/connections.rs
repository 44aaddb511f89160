//! Connections: kept on both sides, shared by requests in a row, and ended when something about them is wrong.

use std::time::Duration;

use crate::harness::{Answer, End, Gateway, HELLO, Request, Upstream, event};
use crate::{assert_closed, assert_refused};

#[tokio::test]
async fn one_connection_on_each_side_serves_many_requests() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    for request in
        [Request::chat(HELLO), Request::get("/v1/files"), Request::get("/v1/models")].iter().cycle().take(9)
    {
        assert_eq!(client.ask(request).await.status(), 200);
    }
    assert_eq!((upstream.received().len(), upstream.connections()), (9, 1));
}

#[tokio::test]
async fn a_streamed_answer_leaves_both_connections_usable() {
    let upstream = Upstream::answering(Answer::stream(&["a", "b"])).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    for _ in 0..3 {
        let answer = client.ask(&Request::chat(crate::harness::STREAM)).await;
        assert!(answer.text().ends_with("data: [DONE]\n\n"));
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_their_order() {
    let upstream = Upstream::scripted(|request| Answer::json(200, &request.text())).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let bodies = ["one", "two", "three"].map(|model| format!(r#"{{"model":"{model}"}}"#));
    let mut client = gateway.connect().await;
    client
        .send(bodies.iter().flat_map(|body| Request::chat(body.as_str()).bytes()).collect::<Vec<u8>>())
        .await;
    for body in bodies {
        assert_eq!(client.answer().await.text(), body);
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_silence() {
    let gateway = Gateway::start("[limits]\nidle_timeout = \"1s\"").await;
    let mut client = gateway.connect().await;
    assert_eq!(client.ask(&Request::get("/healthz")).await.status(), 200);
    assert_closed(client).await;
}

#[tokio::test]
async fn a_client_that_asks_for_it_gets_its_connection_closed() {
    let gateway = Gateway::start("").await;
    let mut client = gateway.connect().await;
    let answer = client.ask(&Request::chat(HELLO).field("connection", "close")).await;
    assert_eq!((answer.status(), answer.get("connection")), (200, Some("close")));
    assert_closed(client).await;
}

#[tokio::test]
async fn an_http_1_0_client_is_served_without_chunks() {
    let upstream = Upstream::answering(Answer::stream(&["a"])).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    let request = String::from_utf8(Request::chat(crate::harness::STREAM).bytes()).unwrap();
    client.send(request.replacen("HTTP/1.1", "HTTP/1.0", 1)).await;
    let head = client.head().await;
    assert_eq!((head.status(), head.is_chunked()), (200, false));
    let (body, end) = client.until_end().await;
    assert!(body.starts_with(b"data: ") && body.ends_with(b"data: [DONE]\n\n"));
    assert_eq!(end, End::Closed);
}

#[tokio::test]
async fn an_upstream_that_closes_after_its_answer_is_connected_to_again() {
    let answer = Answer::with(200, &[("connection", "close")], "{}").then_close();
    let upstream = Upstream::answering(answer).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    for _ in 0..3 {
        let answer = client.ask(&Request::chat(HELLO)).await;
        assert_eq!((answer.status(), answer.get("connection")), (200, Some("keep-alive")), "{answer:?}");
    }
    assert_eq!(upstream.connections(), 3);
}

#[tokio::test]
async fn a_pooled_connection_that_died_unseen_costs_nothing() {
    let upstream = Upstream::scripted(|request| match request.number {
        // Says nothing of its leaving, and is gone when the next request comes.
        0 => Answer::hello().then_close(),
        _ => Answer::hello(),
    })
    .await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    for _ in 0..2 {
        assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
    }
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn a_pooled_connection_that_dies_under_a_request_costs_nothing() {
    let upstream = Upstream::scripted(|request| match request.number {
        1 | 4 => Answer::raw("").then_reset(),
        _ => Answer::hello(),
    })
    .await;
    for request in [Request::chat(HELLO), Request::get("/v1/files")] {
        let gateway = Gateway::start(&upstream.entry("up", "")).await;
        let before = (upstream.connections(), upstream.received().len());
        for _ in 0..2 {
            let answer = gateway.ask(&request).await;
            assert_eq!(answer.status(), 200, "{request:?}");
            assert_eq!(gateway.access(&answer).await["attempts"], 1);
        }
        assert_eq!((upstream.connections() - before.0, upstream.received().len() - before.1), (2, 3));
    }
}

/// A POST that is passed through, in chunks or with a length.
fn upload(body: &str, chunked: bool) -> Request {
    if !chunked {
        return Request::post("/v1/files", body);
    }
    let body = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    Request::post("/v1/files", body).field("transfer-encoding", "chunked")
}

/// An upstream whose first connection is reused for a second request, and then goes as `ending` says.
async fn dies_under_the_second(ending: Answer) -> Upstream {
    Upstream::scripted(move |request| match request.number {
        1 => ending.clone(),
        _ => Answer::hello(),
    })
    .await
}

const ONCE: &str = "[[route]]\nmodel = \"*\"\nupstreams = [\"up\"]\nretry = { attempts = 1 }\n";

#[tokio::test]
async fn an_upload_whose_pooled_connection_had_died_is_sent_again_whole() {
    for chunked in [false, true] {
        let upstream = dies_under_the_second(Answer::raw("").then_reset()).await;
        let gateway = Gateway::start(&upstream.entry("up", "")).await;
        let body = "x".repeat(60 << 10);
        for _ in 0..2 {
            assert_eq!(gateway.ask(&upload(&body, chunked)).await.status(), 200);
        }
        let received = upstream.received();
        assert_eq!((received.len(), upstream.connections()), (3, 2));
        assert!(received.iter().all(|request| request.text() == body), "chunked: {chunked}");
    }
}

#[tokio::test]
async fn nothing_is_sent_again_that_may_have_been_worked_on() {
    let late = Answer::raw("").pause(Duration::from_millis(400)).then_reset();
    let begun = Answer::raw("HTTP/1.1 200").then_reset();
    for ending in [late, begun] {
        for request in [Request::chat(HELLO), upload("{}", false)] {
            let upstream = dies_under_the_second(ending.clone()).await;
            let gateway = Gateway::start(&[&upstream.entry("up", ""), ONCE].concat()).await;
            assert_eq!(gateway.ask(&request).await.status(), 200);
            assert_refused(&gateway.ask(&request).await, 502, "upstream_failed");
            assert_eq!(upstream.received().len(), 2, "{ending:?}");
        }
    }
}

#[tokio::test]
async fn a_new_connection_that_dies_is_no_reason_to_send_again() {
    let upstream = Upstream::answering(Answer::raw("").then_reset()).await;
    let gateway = Gateway::start(&[&upstream.entry("up", ""), ONCE].concat()).await;
    for (turn, request) in [Request::chat(HELLO), upload("{}", true)].iter().enumerate() {
        assert_refused(&gateway.ask(request).await, 502, "upstream_failed");
        assert_eq!(upstream.received().len(), turn + 1);
    }
}

#[tokio::test]
async fn a_body_of_which_too_much_is_gone_is_not_sent_again() {
    let upstream = dies_under_the_second(Answer::raw("").then_reset()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let request = upload(&"x".repeat(65 << 10), false);
    assert_eq!(gateway.ask(&request).await.status(), 200);
    assert_refused(&gateway.ask(&request).await, 502, "upstream_failed");
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn an_upstream_that_wants_nothing_twice_gets_nothing_twice() {
    for request in [Request::chat(HELLO), Request::get("/v1/files"), upload("{}", false)] {
        let upstream = dies_under_the_second(Answer::raw("").then_reset()).await;
        let gateway = Gateway::start(&[&upstream.entry("up", "resend = false"), ONCE].concat()).await;
        assert_eq!(gateway.ask(&request).await.status(), 200);
        assert_refused(&gateway.ask(&request).await, 502, "upstream_failed");
        assert_eq!(upstream.received().len(), 2, "{request:?}");
    }
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_gets_its_answers() {
    let upstream = Upstream::answering(Answer::hello().after(Duration::from_millis(50))).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    client.send([Request::chat(HELLO).bytes(), Request::get("/v1/files").bytes()].concat()).await;
    client.half_close().await;
    assert_eq!(client.answer().await.status(), 200);
    assert_eq!(client.answer().await.status(), 200);
    assert_closed(client).await;
}

#[tokio::test]
async fn a_stream_goes_on_to_a_client_that_only_reads() {
    let pause = Duration::from_millis(200);
    let mut answer = Answer::stream_head();
    for text in ["a", "b", "c", "d", "e"] {
        answer = answer.send("").pause(pause).chunk(event(text));
    }
    let upstream = Upstream::answering(answer.chunk("data: [DONE]\n\n").last_chunk()).await;
    let wait = "[limits]\nhalf_close_wait = \"600ms\"\n";
    let gateway = Gateway::start(&format!("{wait}{}", upstream.entry("up", ""))).await;
    let mut client = gateway.connect().await;
    client.send(Request::chat(crate::harness::STREAM).bytes()).await;
    client.half_close().await;
    assert!(client.answer().await.text().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_client_that_closed_its_side_and_can_be_told_nothing_has_left() {
    let mut upstream = Upstream::by_hand().await;
    let wait = "[limits]\nhalf_close_wait = \"100ms\"\n";
    let gateway = Gateway::start(&format!("{wait}{}", upstream.entry("up", ""))).await;
    let mut client = gateway.connect().await;
    client.send(Request::chat(HELLO).bytes()).await;
    let mut call = upstream.call().await;
    call.body().await;
    client.half_close().await;
    call.ended().await;
    assert_closed(client).await;
}

#[tokio::test]
async fn the_upstreams_date_passes_and_a_missing_one_is_added() {
    const DATE: &str = "Mon, 01 Jan 2001 00:00:00 GMT";
    let dated = Answer::with(200, &[("date", DATE)], "{}");
    let upstream = Upstream::in_turn(vec![dated.clone(), dated, Answer::json(200, "{}")]).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    for request in [Request::get("/v1/files"), Request::chat(HELLO)] {
        assert_eq!(gateway.ask(&request).await.get("date"), Some(DATE));
    }
    let answer = gateway.ask(&Request::get("/v1/files")).await;
    assert!(answer.get("date").is_some_and(|date| date.ends_with(" GMT") && date != DATE), "{answer:?}");
}

#[tokio::test]
async fn an_http_1_0_client_is_never_told_to_go_on() {
    let gateway = Gateway::start("").await;
    let mut client = gateway.connect().await;
    let request = Request::chat(HELLO).field("expect", "100-continue");
    let request = String::from_utf8(request.bytes()).unwrap();
    client.send(request.replacen("HTTP/1.1", "HTTP/1.0", 1)).await;
    assert_eq!(client.head().await.status(), 200);
}

#[tokio::test]
async fn a_refused_request_costs_no_connection_if_its_body_is_small() {
    let gateway = Gateway::start("").await;
    let mut client = gateway.connect().await;
    let body = "x".repeat(60 << 10);
    let request = Request::post("/nowhere", body.as_str());
    client.send(request.head_bytes()).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.get("connection")), (404, Some("keep-alive")));
    client.send(&body).await;
    assert_eq!(client.ask(&Request::get("/healthz")).await.status(), 200);
}

#[tokio::test]
async fn a_request_shorter_than_the_first_words_of_http2_is_answered() {
    let gateway = Gateway::start("").await;
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 404);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed() {
    let gateway = Gateway::start("[limits]\nheader_timeout = \"100ms\"").await;
    assert_closed(gateway.connect().await).await;
    let mut client = gateway.connect().await;
    client.send("PRI * HTTP").await;
    assert_closed(client).await;
}
