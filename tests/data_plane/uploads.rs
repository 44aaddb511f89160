//! Uploads on pass-through: whatever the cuts of what a client sends, the upstream reads the same body to the same
//! end, and what follows on its connection is the next request.

use bytes::Bytes;

use crate::harness::{Answer, Gateway, Request, Upstream};
use crate::multiplexed::{Client, post, send, whole};

/// An upstream that answers with the body it read.
async fn echoing() -> (Upstream, Gateway) {
    let upstream = Upstream::scripted(|request| Answer::json(200, &request.text())).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    (upstream, gateway)
}

fn upload() -> Request {
    Request::new("POST", "/v1/files").field("transfer-encoding", "chunked")
}

/// Asserts that the upstream read these bodies, all over one connection, and nothing between them.
#[track_caller]
fn assert_received(upstream: &Upstream, bodies: &[&str]) {
    let received = upstream.received();
    let texts: Vec<String> = received.iter().map(crate::harness::Received::text).collect();
    assert_eq!(texts, bodies);
    assert!(received.iter().all(|request| request.head.line == "POST /v1/files HTTP/1.1"), "{received:?}");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_chunk_whose_size_line_is_cut_does_not_end_the_body() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    for (first, rest) in [
        ("5\r\nhello\r\n3", "\r\nabc\r\n0\r\n\r\n"),
        ("5\r\nhello\r\n3\r", "\nabc\r\n0\r\n\r\n"),
        ("5\r\nhello\r\n", "3\r\nabc\r\n0\r\n\r\n"),
        ("5\r\nhello\r", "\n3\r\nabc\r\n0\r\n\r\n"),
        ("5\r\nhello", "\r\n3\r\nabc\r\n0\r\n\r\n"),
        ("5\r\nhello\r\n3\r\nabc\r\n0", "\r\n\r\n"),
        ("5\r\nhello\r\n3\r\nabc\r\n0\r\n", "\r\n"),
    ] {
        let mut client = gateway.connect().await;
        client.send([upload().head_bytes().as_slice(), first.as_bytes()].concat()).await;
        let mut call = upstream.call().await;
        // What came so far is read by the gateway before the rest is sent.
        let mut body = call.wire.chunk().await.unwrap().expect("a chunk");
        client.send(rest).await;
        while let Some(chunk) = call.wire.chunk().await.unwrap() {
            body.extend(chunk);
        }
        assert_eq!(String::from_utf8_lossy(&body), "helloabc", "{first:?}");
        call.answer(Answer::with(200, &[("connection", "close")], "{}")).await;
        assert_eq!(client.answer().await.status(), 200);
    }
}

#[tokio::test]
async fn an_upload_that_comes_byte_by_byte_is_read_as_one_that_comes_at_once() {
    let (upstream, gateway) = echoing().await;
    let mut client = gateway.connect().await;
    let request = [upload().head_bytes().as_slice(), b"5\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n"].concat();
    client.send(&request).await;
    assert_eq!(client.answer().await.text(), "helloabc");
    for byte in &request {
        client.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.answer().await.text(), "helloabc");
    assert_received(&upstream, &["helloabc", "helloabc"]);
}

#[tokio::test]
async fn an_empty_last_frame_of_http2_ends_a_body_once() {
    let (upstream, gateway) = echoing().await;
    let client = Client::open(gateway.data).await;
    for parts in [&["hello", ""][..], &["", "hello", "", ""], &["hello"], &[""]] {
        let (answer, mut stream) = client.begin(post("/v1/files"), false).await;
        for (at, part) in parts.iter().enumerate() {
            stream.send_data(Bytes::from_static(part.as_bytes()), at + 1 == parts.len()).unwrap();
        }
        let answer = whole(answer.await.unwrap()).await.unwrap();
        assert_eq!((answer.status, answer.body), (200, parts.concat().into_bytes()));
    }
    assert_received(&upstream, &["hello", "hello", "hello", ""]);
}

#[tokio::test]
async fn an_upload_over_http2_without_a_length_arrives_whole() {
    let (upstream, gateway) = echoing().await;
    let client = Client::open(gateway.data).await;
    let (answer, mut stream) = client.begin(post("/v1/files"), false).await;
    for _ in 0..200 {
        send(&mut stream, Bytes::from_static(&[b'x'; 1000]), false).await;
    }
    send(&mut stream, Bytes::from_static(b"y"), true).await;
    let answer = whole(answer.await.unwrap()).await.unwrap();
    let body = format!("{}y", "x".repeat(200_000));
    assert!(answer.status == 200 && answer.body == body.as_bytes(), "{} bytes", answer.body.len());
    assert_received(&upstream, &[&body]);
}

#[tokio::test]
async fn extensions_and_trailers_end_at_the_gateway() {
    let (upstream, gateway) = echoing().await;
    let mut client = gateway.connect().await;
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(7 << 10));
    let huge = format!("5\r\nhello\r\n0\r\nx: {}\r\n\r\n", "t".repeat(12 << 10));
    for body in [
        "5;name=value\r\nhello\r\n0;last\r\n\r\n",
        "5 ; quoted=\"\\\"\"\r\nhello\r\n0\r\n\r\n",
        "0000005\r\nhello\r\n000\r\n\r\n",
        "5\r\nhello\r\n0\r\nx-checksum: 1\r\n\r\n",
        "5\r\nhello\r\n0\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\nhost: other\r\n\r\n",
        &long,
        &huge,
    ] {
        client.send([upload().head_bytes().as_slice(), body.as_bytes()].concat()).await;
        assert_eq!(client.answer().await.text(), "hello", "{body:.40}");
    }
    assert_received(&upstream, &["hello"; 7]);
    assert!(upstream.received().iter().all(|request| request.head.names() == ["host", "transfer-encoding"]));
}

#[tokio::test]
async fn an_upload_that_is_malformed_ends_both_connections() {
    let extensions = format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(20 << 10));
    let trailers = format!("5\r\nhello\r\n0\r\nx: {}\r\n\r\n", "t".repeat(20 << 10));
    for body in [
        "5\r\nhello\r\n\r\nGET /v1/a HTTP/1.1\r\n\r\n",
        "5\r\nhelloGET /v1/a HTTP/1.1\r\n\r\n",
        "5\r\nhello\r\n0\r\nGET /v1/a HTTP/1.1\r\n\r\n",
        "5\r\nhello\r\n0\nGET /v1/a HTTP/1.1\r\n\r\n",
        &extensions,
        &trailers,
    ] {
        let upstream = Upstream::scripted(|request| Answer::json(200, &request.text())).await;
        let gateway = Gateway::start(&upstream.entry("up", "")).await;
        let mut client = gateway.connect().await;
        client.send([upload().head_bytes().as_slice(), body.as_bytes()].concat()).await;
        let answer = client.answer().await;
        crate::assert_refused(&answer, 400, "bad_request");
        assert_eq!(answer.get("connection"), Some("close"));
        crate::assert_closed(client).await;
        // What follows finds a connection with nothing in it.
        let next = Request::post("/v1/files", "next");
        assert_eq!(gateway.ask(&next).await.text(), "next");
        assert_received_only(&upstream, "next");
    }
}

/// Asserts that one request came to its end, over whichever connection.
#[track_caller]
fn assert_received_only(upstream: &Upstream, body: &str) {
    let texts: Vec<String> = upstream.received().iter().map(crate::harness::Received::text).collect();
    assert_eq!(texts, [body]);
}

#[tokio::test]
async fn trailers_of_http2_end_at_the_gateway() {
    let (upstream, gateway) = echoing().await;
    let client = Client::open(gateway.data).await;
    let (answer, mut stream) = client.begin(post("/v1/files"), false).await;
    stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
    let trailers = [("x-checksum", "1"), ("content-length", "3")];
    let trailers = trailers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    stream.send_trailers(http::HeaderMap::from_iter(trailers)).unwrap();
    let answer = whole(answer.await.unwrap()).await.unwrap();
    assert_eq!((answer.status, answer.body), (200, b"hello".to_vec()));
    assert_received(&upstream, &["hello"]);
}

#[tokio::test]
async fn uploads_beside_each_other_arrive_whole_on_connections_they_share() {
    let (upstream, gateway) = echoing().await;
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..8 {
        let data = gateway.data;
        clients.spawn(async move {
            let mut client = crate::harness::Wire::open(data).await;
            for round in 0..12_usize {
                let body: String = format!("{number}.{round} ").repeat(1 + round * 900);
                client.send(upload().head_bytes()).await;
                // Sizes that fit no buffer, so that size lines are cut everywhere.
                for part in body.as_bytes().chunks(1 + round * 997) {
                    client.send_chunk(part).await;
                }
                client.send("0\r\n\r\n").await;
                let answer = client.answer().await;
                assert!(answer.status() == 200 && answer.text() == body, "{number}.{round}: {answer:?}");
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    assert_eq!(upstream.received().len(), 96);
    assert!(upstream.connections() <= 8, "{} connections", upstream.connections());
}
