//! What is no HTTP, or HTTP with an aim: told what is wrong, or closed; never passed on.

use crate::harness::{Answer, Gateway, HELLO, Message, Request, Upstream, Wire};
use crate::{assert_closed, assert_refused};

async fn peers(more: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = Gateway::start(&format!("{more}\n{}", upstream.entry("up", ""))).await;
    (upstream, gateway)
}

/// Sends `bytes`, and reads the answer and the end of the connection.
async fn told(gateway: &Gateway, bytes: impl AsRef<[u8]>) -> Message {
    let mut client = gateway.connect().await;
    client.send(bytes).await;
    let answer = client.answer().await;
    assert_eq!(answer.get("connection"), Some("close"), "{answer:?}");
    let (rest, _) = client.until_end().await;
    assert_eq!(String::from_utf8_lossy(&rest), "");
    answer
}

#[tokio::test]
async fn two_ways_to_tell_a_length_are_refused() {
    let (upstream, gateway) = peers("").await;
    let inner = "GET /v1/files HTTP/1.1\r\nhost: x\r\n\r\n";
    for fields in [
        "content-length: 6\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 6",
        "Content-Length: 6\r\nTransfer-Encoding: chunked",
        "transfer-encoding: chunked\r\nCONTENT-LENGTH : 6",
        "content-length: 6\r\ntransfer-encoding: identity",
        "content-length: 6\r\ntransfer-encoding: gzip, chunked",
        "content-length: 6\r\ntransfer-encoding: xchunked",
        "content-length: 6\r\ncontent-length: 7",
        "content-length: 6, 7",
        "content-length: +6",
        "content-length: -6",
        "content-length: 6a",
        "content-length: 0x6",
        "content-length: 99999999999999999999999",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked, gzip",
        "transfer-encoding: gzip",
        "transfer-encoding : chunked",
        " transfer-encoding: chunked",
        "x: y\r\n transfer-encoding: chunked",
    ] {
        let request =
            format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{fields}\r\n\r\n0\r\n\r\n{inner}");
        let answer = told(&gateway, request).await;
        assert_refused(&answer, 400, "bad_request");
    }
    assert!(upstream.received().is_empty(), "{:?}", upstream.received());
}

#[tokio::test]
async fn equal_lengths_told_twice_are_one_length() {
    let (upstream, gateway) = peers("").await;
    let length = HELLO.len().to_string();
    let request = Request::chat(HELLO).field("content-length", &length).field("content-length", &length);
    let mut client = gateway.connect().await;
    client.send(request.bytes()).await;
    let answer = client.answer().await;
    // RFC 9110 section 8.6 leaves it to the recipient: one value, or a refusal. Never two readings.
    if answer.status() == 200 {
        assert_eq!(upstream.only().head.all("content-length"), [length.as_str()]);
    } else {
        assert_refused(&answer, 400, "bad_request");
    }
}

#[tokio::test]
async fn a_body_in_bad_chunks_is_refused() {
    let (upstream, gateway) = peers("").await;
    for chunks in [
        "zz\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}xx0\r\n\r\n",
        "fffffffffffffffff\r\n{}",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "\r\n{}\r\n0\r\n\r\n",
        ";a\r\n{}\r\n0\r\n\r\n",
        "2 \r\n{}\r\n0\r\n\r\n",
        "2\n{}\r\n0\r\n\r\n",
        "2;a\nb\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}\n0\r\n\r\n",
        "2\r\n{}0\r\n\r\n",
        "2\r\n{}\r\n0\r\nGET /v1/files HTTP/1.1\r\nhost: x\r\n\r\n",
        "2\r\n{}\r\n0\r\nx: y\n\r\n",
    ] {
        let mut request = Request::chat("").field("transfer-encoding", "chunked").head_bytes();
        request.extend_from_slice(chunks.as_bytes());
        assert_refused(&told(&gateway, request).await, 400, "bad_request");
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn what_is_no_http_is_told_so() {
    let (upstream, gateway) = peers("").await;
    for bytes in [
        "\u{16}\u{3}\u{1}hello\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /v1/files HTTP/1.1\r\nno colon here\r\n\r\n",
        "GET /v1/files HTTP/1.1\r\nhost: x\r\nbad name: 1\r\n\r\n",
        "GET /v1/files HTTP/1.1\r\nhost: x\r\nx: a\u{0}b\r\n\r\n",
        "GET /v1/files HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET /v1/files HTTP/1.1\r\n\r\n",
        "GET /v1/files HTTP/1.1\nhost: x\n\n",
        "GET /v1/files HTTP/1.1\r\nhost: x\r\nx: a\n\r\n",
        "GET /v1/files HTTP/1.1\r\nhost: x\r\nx: a\rb\r\n\r\n",
        "GET /v1/files#a HTTP/1.1\r\nhost: x\r\n\r\n",
        "\u{16}\u{3}\u{1} without an end of a line",
    ] {
        let answer = told(&gateway, bytes).await;
        assert_refused(&answer, 400, "bad_request");
    }
    assert!(upstream.received().is_empty(), "{:?}", upstream.received());
}

#[tokio::test]
async fn a_header_over_the_limit_is_refused() {
    let (upstream, gateway) = peers("[limits]\nheader_size = \"8KiB\"").await;
    let request = |size: usize| Request::get("/v1/files").field("x-long", &"x".repeat(size)).bytes();
    let mut client = gateway.connect().await;
    client.send(request(9 << 10)).await;
    assert_refused(&client.answer().await, 431, "header_too_large");
    // It counts while it is read: this one never ends.
    let mut endless = request(64 << 10);
    endless.truncate(9 << 10);
    assert_refused(&told(&gateway, endless).await, 431, "header_too_large");
    let many: Vec<u8> =
        (0..300).fold(b"GET /v1/files HTTP/1.1\r\nhost: x\r\n".to_vec(), |mut head, number| {
            head.extend(format!("x-{number}: 1\r\n").bytes());
            head
        });
    let answer = told(&gateway, [many, b"\r\n".to_vec()].concat()).await;
    assert_refused(&answer, 431, "header_too_large");
    let mut client = gateway.connect().await;
    // More than is ever kept of a header, without an end in sight.
    let sent = client.try_send(request(2 << 20)).await;
    if sent.is_ok() {
        assert_refused(&client.answer().await, 431, "header_too_large");
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn a_slow_header_is_told_so_and_closed() {
    let (_upstream, gateway) = peers("[limits]\nheader_timeout = \"300ms\"").await;
    let answer = told(&gateway, "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
    assert_refused(&answer, 408, "request_timeout");
}

#[tokio::test]
async fn a_slow_header_behind_a_served_request_is_told_so_and_closed() {
    let (_upstream, gateway) = peers("[limits]\nheader_timeout = \"300ms\"\nidle_timeout = \"1s\"").await;
    let mut client = gateway.connect().await;
    assert_eq!(client.ask(&Request::chat(HELLO)).await.status(), 200);
    client.send("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
    let (rest, _) = client.until_end().await;
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
}

#[tokio::test]
async fn a_slow_body_is_told_so_and_closed() {
    let (upstream, gateway) = peers("[limits]\nbody_timeout = \"300ms\"").await;
    let mut request = Request::chat("").field("content-length", "100").head_bytes();
    request.extend_from_slice(b"{\"model\":");
    assert_refused(&told(&gateway, request).await, 408, "request_timeout");
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn an_upload_that_is_slow_or_malformed_is_never_whole_at_the_upstream() {
    let mut upstream = Upstream::by_hand().await;
    let config = format!("[limits]\nbody_timeout = \"300ms\"\n{}", upstream.entry("up", ""));
    let gateway = Gateway::start(&config).await;
    let upload = Request::new("POST", "/v1/files");
    let chunked = upload.clone().field("transfer-encoding", "chunked");
    for (request, body, status, code) in [
        (upload.field("content-length", "100"), "half", 408, "request_timeout"),
        (chunked.clone(), "4\r\nhalf\r\n", 408, "request_timeout"),
        (chunked, "4\r\nhalf\r\nzz\r\n", 400, "bad_request"),
    ] {
        let mut client = gateway.connect().await;
        client.send(request.head_bytes()).await;
        let mut call = upstream.call().await;
        client.send(body).await;
        let answer = client.answer().await;
        assert_refused(&answer, status, code);
        assert_eq!(answer.get("connection"), Some("close"));
        assert!(call.wire.body(&call.head).await.is_err());
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_request_reaches_nobody() {
    let (upstream, gateway) = peers("").await;
    let request = Request::chat(HELLO).bytes();
    for cut in [1, 30, request.len() - HELLO.len(), request.len() - 1] {
        let mut client = gateway.connect().await;
        client.send(&request[..cut]).await;
        client.half_close().await;
        client.until_end().await;
    }
    let mut client = gateway.connect().await;
    assert_eq!(client.ask(&Request::chat(HELLO)).await.status(), 200);
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_still_sends_its_body() {
    let (upstream, gateway) = peers("[limits]\nbody_size = \"64KiB\"").await;
    let mut client = gateway.connect().await;
    client.send(Request::chat("").field("content-length", "8388608").head_bytes()).await;
    let part = vec![b' '; 64 << 10];
    for _ in 0..128 {
        if client.try_send(&part).await.is_err() {
            break;
        }
    }
    assert_refused(&client.answer().await, 413, "body_too_large");
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn connect_and_trace_are_refused() {
    let (upstream, gateway) = peers("").await;
    let mut client: Wire = gateway.connect().await;
    client.send("CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n").await;
    let answer = client.answer().await;
    assert!(matches!(answer.status(), 400 | 404 | 405), "{answer:?}");
    let trace = gateway.ask(&Request::new("TRACE", "/v1/files")).await;
    assert_refused(&trace, 405, "method_not_allowed");
    assert!(upstream.received().is_empty());
    let closed = gateway.connect().await;
    drop(closed);
    let mut client = gateway.connect().await;
    client.half_close().await;
    assert_closed(client).await;
}
