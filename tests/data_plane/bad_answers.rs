//! Upstreams that do not keep to HTTP: what they send beyond an answer reaches nobody.

use crate::assert_refused;
use crate::harness::{Answer, Gateway, HELLO, Request, STREAM, Upstream};

const ONCE: &str = "[[route]]\nmodel = \"*\"\nupstreams = [\"up\"]\nretry = { attempts = 1 }\n";

async fn peers(upstream: Upstream) -> (Upstream, Gateway) {
    let gateway = Gateway::start(&[&upstream.entry("up", ""), ONCE].concat()).await;
    (upstream, gateway)
}

#[tokio::test]
async fn bytes_behind_an_answer_are_not_the_next_one() {
    let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    for first in [
        Answer::json(200, "{}").send(evil),
        Answer::raw(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{{}}{evil}")),
        Answer::raw(format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n{evil}"
        )),
        Answer::raw(format!("HTTP/1.1 204 No Content\r\n\r\n{evil}")),
        Answer::raw(format!("HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nevil{evil}")),
        Answer::raw(format!("HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\n{{}}{evil}")),
    ] {
        let (upstream, gateway) =
            peers(Upstream::in_turn(vec![first.clone(), Answer::json(200, "good")]).await).await;
        let mut client = gateway.connect().await;
        let answer = client.ask(&Request::chat(HELLO)).await;
        assert!(!answer.text().contains("evil"), "{answer:?}");
        for request in [Request::chat(HELLO), Request::get("/v1/files")] {
            assert_eq!(client.ask(&request).await.text(), "good", "{first:?}");
        }
        assert!(upstream.connections() <= 2);
    }
}

#[tokio::test]
async fn an_answer_of_two_lengths_is_read_as_chunks_and_told_as_one() {
    let both =
        "HTTP/1.1 200 OK\r\ncontent-length: 7\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let (_upstream, gateway) = peers(Upstream::answering(Answer::raw(both)).await).await;
    let mut client = gateway.connect().await;
    for request in [Request::chat(HELLO), Request::get("/v1/files"), Request::chat(HELLO)] {
        let answer = client.ask(&request).await;
        assert_eq!((answer.status(), answer.text()), (200, "{}".to_owned()), "{answer:?}");
        assert!(answer.head.is_chunked() != answer.head.content_length().is_some());
    }
}

#[tokio::test]
async fn a_length_that_is_told_twice_reaches_the_client_once() {
    for lengths in ["content-length: 2\r\ncontent-length: 2", "content-length: 2, 2"] {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{lengths}\r\n\r\n{{}}");
        let (_upstream, gateway) = peers(Upstream::answering(Answer::raw(answer)).await).await;
        let mut client = gateway.connect().await;
        for request in [Request::chat(HELLO), Request::get("/v1/files"), Request::chat(HELLO)] {
            let answer = client.ask(&request).await;
            assert_eq!((answer.status(), answer.text()), (200, "{}".to_owned()), "{lengths}");
            assert_eq!(answer.head.all("content-length"), ["2"], "{lengths}");
        }
    }
}

#[tokio::test]
async fn chunks_without_a_size_are_a_break_and_no_whole_answer() {
    for body in ["\r\n{}\r\n0\r\n\r\n", "2\r\n{}\r\n\r\n", "2\n{}\n0\n\n"] {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        let at_once = Answer::raw(format!("{head}{body}"));
        let later = Answer::raw(head).pause(std::time::Duration::from_millis(50)).send(body);
        for answer in [at_once, later] {
            let (_upstream, gateway) = peers(Upstream::answering(answer.then_stall()).await).await;
            for request in [Request::chat(HELLO), Request::get("/v1/files")] {
                let mut client = gateway.connect().await;
                client.send(request.bytes()).await;
                let head = client.head().await;
                let broke = head.status() == 502 || client.body(&head).await.is_err();
                assert!(broke, "{body:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_coding_below_the_chunks_is_an_error_of_the_upstream() {
    for coding in ["gzip", "gzip, chunked"] {
        let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {coding}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n");
        let (_upstream, gateway) = peers(Upstream::answering(Answer::raw(answer).then_close()).await).await;
        for request in [Request::chat(HELLO), Request::get("/v1/files")] {
            assert_refused(&gateway.ask(&request).await, 502, "upstream_failed");
        }
    }
}

#[tokio::test]
async fn an_answer_of_no_sense_is_an_error_of_the_upstream() {
    for answer in [
        Answer::raw("nonsense\r\n\r\n"),
        Answer::raw("HTTP/1.1 banana\r\n\r\n"),
        Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}"),
        Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n{}"),
        Answer::raw("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"),
        Answer::raw(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(2 << 20))),
    ] {
        let (_upstream, gateway) = peers(Upstream::answering(answer.then_close()).await).await;
        for request in [Request::chat(HELLO), Request::get("/v1/files")] {
            assert_refused(&gateway.ask(&request).await, 502, "upstream_failed");
        }
    }
}

#[tokio::test]
async fn a_protocol_nobody_asked_for_is_an_error_of_the_upstream() {
    let switch = Answer::head(101, &[("connection", "upgrade"), ("upgrade", "websocket")]);
    let (_upstream, gateway) = peers(Upstream::answering(switch).await).await;
    for request in [Request::chat(HELLO), Request::get("/v1/files")] {
        assert_refused(&gateway.ask(&request).await, 502, "upstream_failed");
    }
}

#[tokio::test]
async fn an_early_refusal_of_a_large_request_reaches_the_client() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = Gateway::start(&[&upstream.entry("up", ""), ONCE].concat()).await;
    let body = format!(r#"{{"model":"m","x":"{}"}}"#, "y".repeat(16 << 20));
    let mut client = gateway.connect().await;
    let asking = tokio::spawn(async move { client.ask(&Request::chat(body)).await });
    let mut call = upstream.call().await;
    call.answer(Answer::with(413, &[("connection", "close")], "{\"error\":{\"message\":\"too big\"}}")).await;
    drop(call);
    let answer = asking.await.unwrap();
    assert_eq!((answer.status(), answer.json()["error"]["message"].as_str()), (413, Some("too big")));
}

#[tokio::test]
async fn an_event_without_an_end_is_not_held_for_ever() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    client.send(Request::chat(STREAM).bytes()).await;
    let mut call = upstream.call().await;
    call.body().await;
    call.answer(Answer::head(200, &[("content-type", "text/event-stream")])).await;
    call.wire.send("data: ").await;
    while call.wire.try_send(vec![b'x'; 256 << 10]).await.is_ok() {}
    let head = client.head().await;
    let text = client.body(&head).await.unwrap();
    assert!(text.starts_with(b"data: {\"error\":"), "{} bytes", text.len());
    assert!(gateway.memory_peak() < 200 << 20, "{}", gateway.memory_peak());
}
