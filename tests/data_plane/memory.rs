//! What the bodies of requests take of memory, of places and of time, measured at the real program.

use std::fs;

use crate::assert_refused;
use crate::harness::{Answer, Gateway, HELLO, Plan, Request, Upstream, Wire, within};

const MIB: usize = 1 << 20;

/// A gateway with a plugin that adds a user to each request.
async fn patching(upstream: &Upstream) -> Gateway {
    let plugin = "[[plugin]]\nname = \"patch\"\npath = \"patch\"\n";
    let manifest = r#"{"name":"patch","version":"1.0.0","main":"patch.py",
        "hooks":{"onRequest":{"body":"none","timeoutMs":20000}}}"#;
    let config = format!("[plugins]\nchain_budget = \"60s\"\n{plugin}{}", upstream.entry("up", ""));
    let plan = Plan::new(&config).file("patch/plugin.json", manifest).file(
        "patch/patch.py",
        "import hookway\nplugin = hookway.Plugin()\n\n\n@plugin.on_request\ndef on_request(call):\n    \
         return call.patch({\"user\": \"u\"})\n\n\nplugin.run()\n",
    );
    plan.start().await
}

fn zeros(bytes: usize) -> String {
    format!(r#"{{"model":"m","messages":[],"x":[{}0]}}"#, "0,".repeat(bytes / 2))
}

#[tokio::test]
async fn a_patch_of_a_large_body_takes_a_few_times_its_size() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = patching(&upstream).await;
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
    let (before, body) = (gateway.memory_peak(), zeros(8 * MIB));
    assert_eq!(gateway.ask(&Request::chat(body.as_str())).await.status(), 200);
    let expected = body.replace("0]}", r#"0],"user":"u"}"#);
    assert!(upstream.received()[1].text() == expected, "only the user was added");
    let grown = gateway.memory_peak() - before;
    assert!(grown < 60 << 20, "{} MiB for a patch of 8 MiB", grown >> 20);
}

#[tokio::test]
async fn memory_is_given_back_after_large_bodies() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = patching(&upstream).await;
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
    let (before, body) = (gateway.memory(), zeros(8 * MIB));
    for _ in 0..4 {
        assert_eq!(gateway.ask(&Request::chat(body.as_str())).await.status(), 200);
    }
    within("memory to be given back", async {
        while gateway.memory() > before + (32 << 20) {
            assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
        }
    })
    .await;
}

/// A client whose body the gateway waits for: it announced `announced` bytes and sends `sent` of them.
async fn begun(gateway: &Gateway, announced: usize, sent: usize) -> Wire {
    const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut client = gateway.connect().await;
    let request = Request::chat("").field("content-length", &announced.to_string());
    client.send(request.field("expect", "100-continue").head_bytes()).await;
    assert_eq!(client.exactly(GO_ON.len()).await.unwrap(), GO_ON);
    client.send(vec![b' '; sent]).await;
    client
}

fn address_space(gateway: &Gateway) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmSize:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

#[tokio::test]
async fn an_announced_length_takes_no_memory() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
    let before = address_space(&gateway);
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(begun(&gateway, 50 * MIB, 2).await);
    }
    for client in &mut clients {
        client.send(" ").await;
    }
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
    let grown = address_space(&gateway).saturating_sub(before);
    assert!(grown < 500 * MIB, "{} MiB for 80 bytes", grown / MIB);
}

#[tokio::test]
async fn bodies_beyond_the_budget_are_told_to_come_back_and_the_others_go_on() {
    let mut upstream = Upstream::by_hand().await;
    let limits = "[limits]\nbody_size = \"1MiB\"\nbuffered = \"2MiB\"\n";
    let gateway = Gateway::start(&format!("{limits}{}", upstream.entry("up", "idle_connections = 0"))).await;
    let large = format!("{}{HELLO}", " ".repeat(900 << 10));
    let mut first = gateway.connect().await;
    first.send(Request::chat(large.as_str()).bytes()).await;
    let mut first_call = upstream.call().await;
    first_call.body().await;
    let refused = gateway.ask(&Request::chat(large.as_str())).await;
    assert_refused(&refused, 503, "overloaded");
    assert_eq!(refused.get("retry-after"), Some("1"));
    // A small one still fits.
    let mut small = gateway.connect().await;
    small.send(Request::chat(HELLO).bytes()).await;
    let mut call = upstream.call().await;
    call.body().await;
    call.answer(Answer::hello()).await;
    assert_eq!(small.answer().await.status(), 200);
    first_call.answer(Answer::hello()).await;
    let answer = first.answer().await;
    assert_eq!(answer.status(), 200);
    gateway.access(&answer).await;
    // What the first one held was given back.
    let mut second = gateway.connect().await;
    second.send(Request::chat(large.as_str()).bytes()).await;
    upstream.call().await;
}

#[tokio::test]
async fn a_body_is_let_go_once_its_answer_has_begun() {
    let mut upstream = Upstream::by_hand().await;
    let limits = "[limits]\nbody_size = \"1MiB\"\nbuffered = \"2MiB\"\n";
    let gateway = Gateway::start(&format!("{limits}{}", upstream.entry("up", ""))).await;
    let large = format!("{}{HELLO}", " ".repeat(900 << 10));
    let mut streaming = gateway.connect().await;
    streaming.send(Request::chat(large.as_str()).bytes()).await;
    let mut call = upstream.call().await;
    call.body().await;
    call.answer(Answer::stream_head().chunk("data: {}\n\n")).await;
    assert_eq!(streaming.head().await.status(), 200);
    let mut second = gateway.connect().await;
    second.send(Request::chat(large.as_str()).bytes()).await;
    let mut call = upstream.call().await;
    call.body().await;
    call.answer(Answer::hello()).await;
    assert_eq!(second.answer().await.status(), 200);
}

#[tokio::test]
async fn bodies_that_drip_take_no_place_and_are_cut_at_the_least_rate() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let limits = "[limits]\nrequests_in_flight = 1\nrate_window = \"1s\"\n";
    let gateway = Gateway::start(&format!("{limits}{}", upstream.entry("up", ""))).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(begun(&gateway, 4_000, 1).await);
    }
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200, "no place is taken");
    for mut client in clients {
        assert_refused(&client.answer().await, 408, "request_timeout");
    }
}

#[tokio::test]
async fn bodies_on_their_way_have_a_bound_of_their_own() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let config = format!("[limits]\nbodies_in_flight = 1\n{}", upstream.entry("up", ""));
    let gateway = Gateway::start(&config).await;
    let mut first = begun(&gateway, HELLO.len(), 0).await;
    let refused = gateway.ask(&Request::chat(HELLO)).await;
    assert_refused(&refused, 503, "overloaded");
    first.send(HELLO).await;
    assert_eq!(first.answer().await.status(), 200);
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
}

#[tokio::test]
async fn a_client_that_takes_its_answer_too_slowly_is_let_go() {
    let mut upstream = Upstream::by_hand().await;
    let config = format!("[limits]\nrate_window = \"1s\"\n{}", upstream.entry("up", ""));
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.connect().await;
    client.send(Request::get("/v1/files/f/content").bytes()).await;
    let mut call = upstream.call().await;
    let length = (64 * MIB).to_string();
    let answer = Answer::head(200, &[("content-length", &length)]).send(vec![b'x'; 64 * MIB]);
    let answering = tokio::spawn(async move { call.answer(answer).await });
    let line = gateway.log.find("the end of the answer", |line| line["path"] == "/v1/files/f/content").await;
    assert_eq!(line["outcome"], "client_gone", "{line}");
    answering.abort();
    drop(client);
}

#[tokio::test]
async fn what_a_client_says_takes_little_of_the_log() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let path = format!("/v1/files/{}", "p".repeat(20_000));
    let request = Request::get(&path).field("traceparent", &"t".repeat(20_000));
    let answer = gateway.ask(&request).await;
    let line = gateway.access(&answer).await;
    assert!(line["path"].as_str().unwrap().ends_with(" bytes cut)"), "{line}");
    assert!(line["traceparent"].as_str().unwrap().len() < 1_100, "{line}");
}
