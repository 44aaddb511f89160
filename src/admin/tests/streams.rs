//! What is told as it happens, and the end of the listener.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tower::ServiceExt;

use super::{Stage, with_token};
use crate::admin::serve;
use crate::limits;
use crate::record::Happening;

/// A reader of the live stream.
struct Reader(BodyDataStream);

impl Reader {
    async fn of(stage: &Stage, query: &str) -> Self {
        let request = with_token("GET", &format!("/api/events{query}")).body(Body::empty()).unwrap();
        let answer = stage.routes.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()[CONTENT_TYPE], "text/event-stream");
        Self(answer.into_body().into_data_stream())
    }

    /// The next event's name, id and data; None at the end.
    async fn next(&mut self) -> Option<(String, Option<String>, Value)> {
        let event = String::from_utf8(self.0.next().await?.unwrap().to_vec()).unwrap();
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let data = serde_json::from_str(&field("data: ").unwrap()).unwrap();
        Some((field("event: ").unwrap(), field("id: "), data))
    }
}

fn chain(generation: u64) -> Happening {
    Happening::Chain { generation, changes: vec!["plugin 'redact' activated".to_owned()] }
}

fn plugin(reason: Option<&str>) -> Happening {
    Happening::Plugin { plugin: "redact".into(), state: "degraded", reason: reason.map(str::to_owned) }
}

#[tokio::test]
async fn what_happens_is_told_as_it_happens() {
    let stage = Stage::new().await;
    let mut reader = Reader::of(&stage, "").await;
    stage.live.publish(|| chain(4));
    stage.live.publish(|| plugin(Some("exited\nwith status 1")));
    let (name, id, data) = reader.next().await.unwrap();
    assert_eq!((name.as_str(), id.as_deref()), ("chain", Some("1")));
    assert_eq!((&data["generation"], &data["changes"]), (&json!(4), &json!(["plugin 'redact' activated"])));
    let (name, id, data) = reader.next().await.unwrap();
    assert_eq!((name.as_str(), id.as_deref()), ("plugin", Some("2")));
    assert_eq!((&data["state"], &data["reason"]), (&json!("degraded"), &json!("exited\nwith status 1")));
}

#[tokio::test]
async fn a_reader_gets_only_the_kinds_it_asks_for() {
    let stage = Stage::new().await;
    let mut reader = Reader::of(&stage, "?kinds=plugin,request").await;
    stage.live.publish(|| chain(4));
    stage.live.publish(|| plugin(None));
    assert_eq!(reader.next().await.unwrap().0, "plugin");
}

#[tokio::test]
async fn a_slow_reader_is_told_what_it_missed_and_reads_on() {
    let stage = Stage::new().await;
    let mut reader = Reader::of(&stage, "").await;
    let told = limits::LIVE_EVENTS as u64 + 3;
    for generation in 1..=told {
        stage.live.publish(|| chain(generation));
    }
    let (name, id, data) = reader.next().await.unwrap();
    let missed = data["missed"].as_u64().unwrap();
    assert_eq!((name.as_str(), id), ("lagged", None));
    assert_eq!(reader.next().await.unwrap().2["generation"], json!(missed + 1));
}

#[tokio::test]
async fn there_are_so_many_places_and_one_that_is_left_is_free_again() {
    let stage = Stage::new().await;
    let mut readers = Vec::new();
    for _ in 0..limits::EVENT_STREAMS_MAX {
        readers.push(Reader::of(&stage, "").await);
    }
    let (status, body) = stage.json("GET", "/api/events", "").await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("too_many_streams")));
    readers.pop();
    readers.push(Reader::of(&stage, "").await);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_gets_a_comment_now_and_then() {
    let stage = Stage::new().await;
    let mut reader = Reader::of(&stage, "").await;
    let comment =
        tokio::time::timeout(limits::EVENT_KEEP_ALIVE + Duration::from_secs(1), reader.0.next()).await;
    assert_eq!(&comment.unwrap().unwrap().unwrap()[..], b":\n\n");
}

#[tokio::test]
async fn the_listener_ends_with_its_streams_and_clients_that_stay() {
    let stage = Stage::new().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, stage.routes.clone(), stage.gateway.clone(), async {
        let _ = stopped.await;
    }));
    let mut idle = tokio::net::TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    until(&mut idle, "ok").await;
    let mut reader = tokio::net::TcpStream::connect(address).await.unwrap();
    let request =
        "GET /api/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer let-me-in-to-this-one\r\n\r\n";
    reader.write_all(request.as_bytes()).await.unwrap();
    until(&mut reader, "\r\n\r\n").await;
    stop.send(()).unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "the stream came to its end: {rest:?}");
    serving.await.unwrap().unwrap();
}

async fn until(client: &mut tokio::net::TcpStream, end: &str) {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0);
    }
}
