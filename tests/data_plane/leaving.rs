//! Clients that hang up: what they asked for ends at the upstream too, once they had time to take their answer.

use crate::harness::{Answer, Gateway, HELLO, Request, STREAM, Upstream, event};

async fn outcome_of_the_only_request(gateway: &Gateway) -> String {
    let line = gateway.log.find("an access line", |line| line["target"] == "hookway::access").await;
    line["outcome"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn hanging_up_while_waiting_ends_the_upstream_call() {
    for request in [Request::chat(HELLO), Request::get("/v1/files"), Request::get("/v1/models")] {
        let mut upstream = Upstream::by_hand().await;
        let gateway = Gateway::start(&upstream.entry("up", "")).await;
        let mut client = gateway.connect().await;
        client.send(request.bytes()).await;
        let mut call = upstream.call().await;
        call.body().await;
        drop(client);
        call.ended().await;
        assert_eq!(outcome_of_the_only_request(&gateway).await, "client_gone", "{request:?}");
    }
}

#[tokio::test]
async fn a_reset_while_waiting_ends_the_upstream_call() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    client.send(Request::chat(HELLO).bytes()).await;
    let mut call = upstream.call().await;
    call.body().await;
    client.reset();
    call.ended().await;
}

#[tokio::test]
async fn hanging_up_in_the_middle_of_a_stream_ends_the_upstream_call() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    client.send(Request::chat(STREAM).bytes()).await;
    let mut call = upstream.call().await;
    call.body().await;
    call.answer(Answer::stream_head().chunk(event("a"))).await;
    assert_eq!(client.head().await.status(), 200);
    client.chunk().await.expect("the first event");
    drop(client);
    call.ended().await;
    assert_eq!(outcome_of_the_only_request(&gateway).await, "client_gone");
}

#[tokio::test]
async fn hanging_up_in_the_middle_of_a_download_ends_the_upstream_call() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = Gateway::start(&format!(
        "[log]\nformat=\"json\"\nlevel=\"trace,pingora=trace\"\n{}",
        upstream.entry("up", "")
    ))
    .await;
    let mut client = gateway.connect().await;
    client.send(Request::get("/v1/files/f/content").bytes()).await;
    let mut call = upstream.call().await;
    call.answer(Answer::head(200, &[("content-length", "1000000")]).send("begin")).await;
    assert_eq!(client.head().await.status(), 200);
    drop(client);
    call.ended().await;
}

#[tokio::test]
async fn hanging_up_in_the_middle_of_an_upload_ends_the_upstream_call() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    client.send(Request::new("POST", "/v1/files").field("content-length", "1000000").head_bytes()).await;
    client.send("begin").await;
    let mut call = upstream.call().await;
    assert_eq!(call.wire.exactly(5).await.unwrap(), b"begin");
    drop(client);
    call.ended().await;
    assert_eq!(outcome_of_the_only_request(&gateway).await, "client_gone");
}

#[tokio::test]
async fn hanging_up_in_a_pause_between_attempts_ends_them() {
    let upstream = Upstream::answering(Answer::json(500, "{}")).await;
    let route =
        "[[route]]\nmodel = \"*\"\nupstreams = [\"up\"]\nretry = { attempts = 5, backoff = \"30s\" }\n";
    let gateway = Gateway::start(&[&upstream.entry("up", ""), route].concat()).await;
    let mut client = gateway.connect().await;
    client.send(Request::chat(HELLO).bytes()).await;
    upstream.wait_for(1).await;
    drop(client);
    assert_eq!(outcome_of_the_only_request(&gateway).await, "client_gone");
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up_on() {
    let mut upstream = Upstream::by_hand().await;
    let config = format!("[limits]\nwrite_timeout = \"300ms\"\n{}", upstream.entry("up", ""));
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.connect().await;
    client.send(Request::get("/v1/files/f/content").bytes()).await;
    let mut call = upstream.call().await;
    call.answer(Answer::head(200, &[("content-length", &(64 << 20).to_string())])).await;
    // More than all buffers in between hold.
    while call.wire.try_send(vec![0; 64 << 10]).await.is_ok() {}
    assert_eq!(outcome_of_the_only_request(&gateway).await, "client_gone");
}
