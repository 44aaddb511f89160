//! Bodies of hooked requests: what leaves as it came, how large it may be, and what is no request at all.

use crate::assert_refused;
use crate::harness::{Answer, Gateway, HELLO, Request, Upstream};

async fn gateway(upstream: &Upstream, more: &str) -> Gateway {
    Gateway::start(&format!("{}\n{}", more, upstream.entry("up", ""))).await
}

#[tokio::test]
async fn an_unchanged_body_reaches_the_upstream_byte_for_byte() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = gateway(&upstream, "").await;
    let body = concat!(
        "\n { \"messages\" : [{\"role\":\"user\",\"content\":\"gr\u{fc}\u{df} \\u00e9\\ud83d\\ude00 \u{1f600}\"}],\t",
        "\"model\":\"m\", \"seed\":1e400, \"top_p\":0.10000000000000000555, \"n\":-0,",
        "\"big\":123456789012345678901234567890, \"extra\":{\"b\":2,\"a\":1,\"A\":2} } \r\n"
    );
    let answer = gateway.ask(&Request::chat(body)).await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    let received = upstream.only();
    assert_eq!(received.text(), body);
    assert_eq!(received.head.line, "POST /v1/chat/completions HTTP/1.1");
    assert_eq!(received.head.content_length(), Some(body.len()));
}

#[tokio::test]
async fn a_chunked_body_arrives_with_its_length() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = gateway(&upstream, "").await;
    let mut client = gateway.connect().await;
    client.send(Request::chat("").field("transfer-encoding", "chunked").head_bytes()).await;
    for part in HELLO.as_bytes().chunks(7) {
        client.send_chunk(part).await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 200);
    let received = upstream.only();
    assert_eq!(received.text(), HELLO);
    assert_eq!(received.head.content_length(), Some(HELLO.len()));
}

#[tokio::test]
async fn a_body_of_fifty_mebibytes_passes_and_one_byte_more_is_refused() {
    const MAX: usize = 50 << 20;
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = gateway(&upstream, "").await;
    let frame = r#"{"model":"m","x":""}"#;
    let body = frame.replace("\"\"}", &format!("\"{}\"}}", "x".repeat(MAX - frame.len())));
    assert_eq!(gateway.ask(&Request::chat(body.as_str())).await.status(), 200);
    assert!(upstream.only().body == body.as_bytes(), "the body was changed");

    let request = Request::chat("").field("content-length", &(MAX + 1).to_string());
    assert_refused(&gateway.ask(&request).await, 413, "body_too_large");
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_refused_while_it_is_sent() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = gateway(&upstream, "[limits]\nbody_size = \"64KiB\"").await;
    let mut client = gateway.connect().await;
    client.send(Request::chat("").field("transfer-encoding", "chunked").head_bytes()).await;
    for _ in 0..5 {
        client.send_chunk([b' '; 16 << 10]).await;
    }
    assert_refused(&client.answer().await, 413, "body_too_large");
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn what_is_no_chat_request_is_refused_before_any_upstream() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = gateway(&upstream, "").await;
    let mut client = gateway.connect().await;
    let table: [(&str, Option<&str>); 21] = [
        ("", None),
        ("   ", None),
        ("[]", None),
        ("\"text\"", None),
        ("{\"model\":\"m\"", None),
        ("{\"model\":\"m\"} {}", None),
        ("{\"model\":\"m\",}", None),
        ("{}", Some("model")),
        ("{\"model\":7}", Some("model")),
        ("{\"model\":\"m\",\"stream\":\"yes\"}", Some("stream")),
        ("{\"model\":\"m\",\"model\":\"n\"}", Some("model")),
        ("{\"model\":\"m\",\"messages\":[],\"m\\u0065ssages\":[1]}", Some("messages")),
        (r#"{"model":"m","messages":"x"}"#, Some("messages")),
        (r#"{"model":"m","messages":[{"role":1,"content":"x"}]}"#, Some("messages[0].role")),
        (r#"{"model":"m","messages":[{"role":"user","content":{}}]}"#, Some("messages[0].content")),
        (r#"{"model":"m","messages":[{"content":"a","content":"b"}]}"#, Some("messages[0].content")),
        (r#"{"model":"m","messages":[{"content":"a","Content":"b"}]}"#, Some("messages[0].Content")),
        (r#"{"model":"m","x":{"a":1,"\u0061":2}}"#, Some("x.a")),
        (r#"{"model":"m","messages":[{"content":"\ud83d"}]}"#, None),
        (r#"{"model":"m","x":{"$serde_json::private::Number":"1"}}"#, Some("x.$serde_json::private::Number")),
        (r#"{"\u0024serde_json::private::RawValue":"[1]"}"#, Some("$serde_json::private::RawValue")),
    ];
    for (body, param) in table {
        let answer = client.ask(&Request::chat(body)).await;
        assert_refused(&answer, 400, "bad_request");
        assert_eq!(answer.json()["error"]["param"].as_str(), param, "{body}");
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    }
    let deep = format!(r#"{{"model":"m","x":{}{}}}"#, "[".repeat(127), "]".repeat(127));
    let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(513));
    for body in [deep, long] {
        assert_refused(&client.ask(&Request::chat(body)).await, 400, "bad_request");
    }
    let not_text = Request::chat(b"{\"model\":\"\xff\"}".as_slice());
    assert_refused(&client.ask(&not_text).await, 400, "bad_request");
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn what_no_reader_of_an_endpoints_dialect_expects_is_refused() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = gateway(&upstream, "").await;
    let mut client = gateway.connect().await;
    for (path, body, param) in [
        ("/v1/completions", r#"{"prompt":{}}"#, "prompt"),
        ("/v1/embeddings", r#"{"input":7}"#, "input"),
        ("/v1/responses", r#"{"input":[{"role":"user","content":7}]}"#, "input[0].content"),
        ("/v1/messages", r#"{"system":7,"messages":[]}"#, "system"),
    ] {
        let answer = client.ask(&Request::post(path, body)).await;
        assert_refused(&answer, 400, "bad_request");
        assert_eq!(answer.json()["error"]["param"], param, "{body}");
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn only_plain_json_is_taken() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = gateway(&upstream, "").await;
    let mut client = gateway.connect().await;
    let typed = |kind: &str| Request::chat(HELLO).without("content-type").field("content-type", kind);
    for kind in ["text/plain", "multipart/form-data; boundary=x", "application/xml", "application/jsonx"] {
        assert_refused(&client.ask(&typed(kind)).await, 415, "unsupported_media_type");
    }
    let packed = Request::chat(HELLO).field("content-encoding", "gzip");
    assert_refused(&client.ask(&packed).await, 415, "unsupported_media_type");
    for kind in
        ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/a+json"]
    {
        assert_eq!(client.ask(&typed(kind)).await.status(), 200, "{kind}");
    }
    assert_eq!(client.ask(&Request::chat(HELLO).without("content-type")).await.status(), 200);
    assert_eq!(upstream.received().len(), 5);
}
