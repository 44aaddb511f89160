//! Routes no hook applies to: as they are, streamed both ways, whatever their size.

use crate::harness::{Answer, Gateway, HELLO, Request, Upstream, within};

#[tokio::test]
async fn an_upload_larger_than_any_limit_streams_through_bounded_memory() {
    const SIZE: usize = 96 << 20;
    let mut upstream = Upstream::by_hand().await;
    let gateway =
        Gateway::start(&format!("[limits]\nbody_size = \"1MiB\"\n{}", upstream.entry("up", ""))).await;
    let before = gateway.memory_peak();
    let mut client = gateway.connect().await;
    let request = Request::new("POST", "/v1/files").field("content-type", "multipart/form-data; boundary=x");
    client.send(request.field("content-length", &SIZE.to_string()).head_bytes()).await;
    let sending = tokio::spawn(async move {
        let part = vec![b'u'; 1 << 20];
        for _ in 0..SIZE / part.len() {
            client.send(&part).await;
        }
        client
    });
    let mut call = upstream.call().await;
    assert_eq!(call.head.content_length(), Some(SIZE));
    assert_eq!(call.head.get("content-type"), Some("multipart/form-data; boundary=x"));
    for _ in 0..SIZE >> 20 {
        let part = call.wire.exactly(1 << 20).await.unwrap();
        assert!(part.iter().all(|byte| *byte == b'u'));
        call.wire.raw.clear();
    }
    call.answer(Answer::json(200, r#"{"id":"file-1"}"#)).await;
    let answer = within("the upload", sending).await.unwrap().answer().await;
    assert_eq!((answer.status(), answer.text()), (200, r#"{"id":"file-1"}"#.to_owned()));
    let grown = gateway.memory_peak() - before;
    assert!(grown < 16 << 20, "{grown} bytes more for an upload of {SIZE}");
}

#[tokio::test]
async fn an_upload_is_sent_on_while_it_still_comes() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    client.send(Request::new("POST", "/v1/files").field("transfer-encoding", "chunked").head_bytes()).await;
    client.send_chunk("first").await;
    let mut call = upstream.call().await;
    assert!(call.head.is_chunked());
    assert_eq!(call.wire.chunk().await.unwrap().unwrap(), b"first");
    client.send_chunk("second").await;
    assert_eq!(call.wire.chunk().await.unwrap().unwrap(), b"second");
    client.send("0\r\n\r\n").await;
    assert_eq!(call.wire.chunk().await, Ok(None));
    call.answer(Answer::json(200, "{}")).await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn an_answer_comes_part_by_part_as_it_is_made() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    client.send(Request::get("/v1/files/f/content").bytes()).await;
    let mut call = upstream.call().await;
    call.answer(Answer::head(200, &[("content-type", "audio/mpeg"), ("transfer-encoding", "chunked")])).await;
    let head = client.head().await;
    assert_eq!((head.status(), head.get("content-type")), (200, Some("audio/mpeg")));
    for part in ["one", "two", "three"] {
        call.wire.send_chunk(part).await;
        assert_eq!(client.chunk().await.unwrap().unwrap(), part.as_bytes());
    }
    call.wire.send("0\r\n\r\n").await;
    assert_eq!(client.chunk().await, Ok(None));
}

#[tokio::test]
async fn an_answer_of_told_length_is_not_held_back_until_it_is_whole() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    for request in [Request::get("/v1/files/f/content"), Request::chat(HELLO)] {
        let mut client = gateway.connect().await;
        client.send(request.bytes()).await;
        let mut call = upstream.call().await;
        call.body().await;
        call.answer(Answer::head(200, &[("content-length", "8"), ("connection", "close")])).await;
        assert_eq!(client.head().await.content_length(), Some(8));
        for part in ["slow", "ness"] {
            call.wire.send(part).await;
            assert_eq!(client.exactly(4).await.unwrap(), part.as_bytes());
        }
    }
}

#[tokio::test]
async fn a_large_download_waits_for_its_reader() {
    const SIZE: usize = 64 << 20;
    let mut upstream = Upstream::by_hand().await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let before = gateway.memory_peak();
    let mut client = gateway.connect().await;
    client.send(Request::get("/v1/files/f/content").bytes()).await;
    let mut call = upstream.call().await;
    let sending = tokio::spawn(async move {
        call.answer(Answer::head(200, &[("content-length", &SIZE.to_string())])).await;
        for _ in 0..SIZE >> 20 {
            call.wire.send(vec![b'd'; 1 << 20]).await;
        }
    });
    assert_eq!(client.head().await.content_length(), Some(SIZE));
    for _ in 0..SIZE >> 20 {
        client.exactly(1 << 20).await.unwrap();
        client.raw.clear();
    }
    within("the download", sending).await.unwrap();
    let grown = gateway.memory_peak() - before;
    assert!(grown < 16 << 20, "{grown} bytes more for a download of {SIZE}");
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_still_uploads() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    client.send(Request::new("POST", "/v1/files").field("content-length", "10000000").head_bytes()).await;
    client.send("begin").await;
    let mut call = upstream.call().await;
    call.answer(Answer::json(413, r#"{"error":{"message":"too big"}}"#)).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.json()["error"]["message"].as_str()), (413, Some("too big")));
}

#[tokio::test]
async fn a_web_socket_is_a_tunnel_once_the_upstream_agrees() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    let request = Request::get("/v1/realtime?model=m")
        .field("connection", "Upgrade")
        .field("upgrade", "websocket")
        .field("sec-websocket-version", "13")
        .field("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .field("sec-websocket-protocol", "realtime");
    client.send(request.bytes()).await;
    let mut call = upstream.call().await;
    assert_eq!(call.head.line, "GET /v1/realtime?model=m HTTP/1.1");
    assert_eq!(call.head.get("upgrade"), Some("websocket"));
    assert!(call.head.get("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    assert_eq!(call.head.get("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    call.answer(Answer::head(
        101,
        &[
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("x-hookway-plugin", "forged"),
        ],
    ))
    .await;
    let head = client.head().await;
    assert_eq!((head.status(), head.get("upgrade")), (101, Some("websocket")));
    assert_eq!(head.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(!head.is_chunked() && head.get("x-hookway-plugin").is_none());
    for turn in ["a", "bb", "ccc"] {
        client.send(turn).await;
        assert_eq!(call.wire.exactly(turn.len()).await.unwrap(), turn.as_bytes());
        call.wire.send(turn).await;
        assert_eq!(client.exactly(turn.len()).await.unwrap(), turn.as_bytes());
    }
    call.wire.send("bye").await;
    drop(call);
    assert_eq!(client.until_end().await.0, b"bye");
}

#[tokio::test]
async fn a_web_socket_ends_at_the_upstream_when_its_client_leaves() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    let upgrade = Request::get("/v1/realtime").field("connection", "upgrade").field("upgrade", "websocket");
    client.send(upgrade.bytes()).await;
    let mut call = upstream.call().await;
    call.answer(Answer::head(101, &[("connection", "upgrade"), ("upgrade", "websocket")])).await;
    assert_eq!(client.head().await.status(), 101);
    client.send("last").await;
    drop(client);
    assert_eq!(call.wire.exactly(4).await.unwrap(), b"last");
    call.ended().await;
}

#[tokio::test]
async fn a_web_socket_may_be_silent_longer_than_a_body() {
    let mut upstream = Upstream::by_hand().await;
    let config = format!("[limits]\nbody_timeout = \"300ms\"\n{}", upstream.entry("up", ""));
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.connect().await;
    let upgrade = Request::get("/v1/realtime").field("connection", "upgrade").field("upgrade", "websocket");
    client.send(upgrade.bytes()).await;
    let mut call = upstream.call().await;
    call.answer(Answer::head(101, &[("connection", "upgrade"), ("upgrade", "websocket")])).await;
    assert_eq!(client.head().await.status(), 101);
    for _ in 0..2 {
        // Another client's body takes that long.
        let slow = Request::chat("{").field("content-length", "2");
        assert_eq!(gateway.ask(&slow).await.status(), 408);
    }
    client.send("late").await;
    assert_eq!(call.wire.exactly(4).await.unwrap(), b"late");
    call.wire.send("fine").await;
    assert_eq!(client.exactly(4).await.unwrap(), b"fine");
}

#[tokio::test]
async fn no_other_protocol_is_tunnelled() {
    let upstream = Upstream::answering(Answer::json(200, "{}")).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let upgrade = Request::get("/v1/files").field("connection", "Upgrade, HTTP2-Settings");
    let upgrade = upgrade.field("upgrade", "h2c").field("http2-settings", "AAMAAABkAAQAAP__");
    assert_eq!(gateway.ask(&upgrade).await.status(), 200);
    assert_eq!(upstream.only().head.names(), ["host"]);
}

#[tokio::test]
async fn an_upgrade_the_upstream_declines_is_an_answer_like_any_other() {
    let upstream = Upstream::answering(Answer::json(426, "{}")).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    let upgrade = Request::get("/v1/realtime").field("connection", "upgrade").field("upgrade", "websocket");
    assert_eq!(client.ask(&upgrade).await.status(), 426);
    assert_eq!(client.ask(&Request::get("/healthz")).await.status(), 200);
}
