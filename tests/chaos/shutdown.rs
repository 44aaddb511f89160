//! The end: requests finish, or are cut and told so; plugins go; a new gateway takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{Answer, Call, Gateway, HELLO, Message, Request, STREAM, Upstream, Wire, event};
use crate::plugins::{Folder, misbehave, plan, start};
use crate::processes::{ended, nth, ready};

/// A gateway with a stream under way: its first event is at the client.
async fn streaming(base: &str) -> (Gateway, Wire, Call, i32) {
    let mut upstream = Upstream::by_hand().await;
    let gateway = start(&format!("{base}{}", upstream.entry("up", "")), &[Folder::misbehaving("twin")]).await;
    let plugin = ready(&gateway.log, "twin", 1).await;
    let mut client = gateway.connect().await;
    client.send(Request::chat(STREAM).bytes()).await;
    let mut call = upstream.call().await;
    call.body().await;
    call.answer(Answer::stream_head().chunk(event("one"))).await;
    assert_eq!(client.head().await.status(), 200);
    assert_eq!(client.chunk().await.unwrap().unwrap(), event("one").as_bytes());
    (gateway, client, call, plugin)
}

/// The error event that ends a cut stream.
async fn error_event(client: &mut Wire) -> Value {
    let chunk = client.chunk().await.unwrap().expect("an event comes before the end");
    let text = String::from_utf8(chunk).unwrap();
    assert_eq!(client.chunk().await, Ok(None), "and then the end");
    serde_json::from_str(text.trim_end().strip_prefix("data: ").unwrap()).unwrap()
}

#[tokio::test]
async fn signals_that_mean_nothing_to_the_gateway_do_not_end_it() {
    let gateway = start("", &[Folder::misbehaving("twin")]).await;
    for signal in
        [Signal::USR1, Signal::USR2, Signal::ALARM, Signal::XFSZ, Signal::VTALARM, Signal::PROF, Signal::IO]
    {
        gateway.signal(signal);
        assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200, "after {signal:?}");
    }
}

#[tokio::test]
async fn a_stream_finishes_while_nothing_new_is_taken_and_then_the_gateway_ends() {
    let (mut gateway, mut client, mut call, plugin) = streaming("").await;
    let mut idle = gateway.connect().await;
    assert_eq!(idle.ask(&Request::get("/healthz")).await.status(), 200);
    gateway.signal(Signal::TERM);
    gateway.log.message("shutting down").await;

    let readiness = gateway.admin("GET", "/readyz").await;
    assert_eq!((readiness.status(), &readiness.json()["ready"]), (503, &json!(false)));
    let refused = idle.ask(&Request::chat(HELLO)).await;
    assert_eq!((refused.status(), refused.get("retry-after")), (503, Some("1")), "{refused:?}");
    assert_eq!(refused.json()["error"]["code"], "draining");
    assert_eq!(refused.get("connection"), Some("close"));
    // Once the listener is gone, whoever connects learns it at once.
    while TcpStream::connect(gateway.data).await.is_ok() {}

    call.answer(Answer::raw("").chunk(event("two")).chunk("data: [DONE]\n\n").last_chunk()).await;
    assert_eq!(client.chunk().await.unwrap().unwrap(), event("two").as_bytes());
    assert_eq!(client.chunk().await.unwrap().unwrap(), b"data: [DONE]\n\n");
    assert_eq!(client.chunk().await, Ok(None));
    assert_eq!(gateway.exited().await.code(), Some(0));
    gateway.log.message("stopped, every request was served to its end").await;
    nth(&gateway.log, 1, "plugin stopped", "twin").await;
    ended(plugin).await;
}

#[tokio::test]
async fn an_idle_gateway_ends_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut gateway = start("[shutdown]\ngrace = \"1h\"\n", &[Folder::misbehaving("twin")]).await;
        let mut idle = gateway.connect().await;
        assert_eq!(idle.ask(&Request::get("/healthz")).await.status(), 200);
        gateway.signal(signal);
        assert_eq!(gateway.exited().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_second_signal_cuts_and_tells() {
    let (mut gateway, mut client, _call, plugin) = streaming("[shutdown]\ngrace = \"1h\"\n").await;
    gateway.signal(Signal::TERM);
    gateway.log.message("shutting down").await;
    gateway.signal(Signal::TERM);
    let event = error_event(&mut client).await;
    assert_eq!(event["error"]["code"], "draining");
    assert_eq!(gateway.exited().await.code(), Some(1));
    assert_eq!(gateway.log.message("cutting requests that did not finish").await["after"], "a second signal");
    gateway.log.message("stopped, requests were cut").await;
    let line = gateway.log.find("its record", |line| line["target"] == "hookway::access").await;
    assert_eq!((&line["outcome"], &line["status"]), (&json!("refused"), &json!(200)));
    ended(plugin).await;
}

#[tokio::test]
async fn the_grace_period_cuts_and_a_request_without_an_answer_gets_a_status() {
    let mut upstream = Upstream::by_hand().await;
    let base = format!("[shutdown]\ngrace = \"200ms\"\n{}", upstream.entry("up", ""));
    let mut gateway = start(&base, &[Folder::misbehaving("twin")]).await;
    let mut waiting = gateway.connect().await;
    waiting.send(Request::chat(HELLO).bytes()).await;
    let _held = upstream.call().await;
    let mut in_hook = gateway.connect().await;
    in_hook.send(misbehave("never_answer").bytes()).await;
    while gateway.metric("hookway_hook_in_flight", &[("plugin", "twin")]).await < 1.0 {}
    gateway.signal(Signal::TERM);
    for client in [&mut waiting, &mut in_hook] {
        let answer = client.answer().await;
        assert_eq!(
            (answer.status(), &answer.json()["error"]["code"]),
            (503, &json!("draining")),
            "{answer:?}"
        );
    }
    assert_eq!(gateway.exited().await.code(), Some(1));
    assert_eq!(
        gateway.log.message("cutting requests that did not finish").await["after"],
        "the grace period"
    );
}

#[tokio::test]
async fn plugins_that_will_not_go_are_ended_and_what_they_started_too() {
    let shows = Folder::misbehaving("shows").hook("onRequest", json!({"headers": []})).mode("show_call");
    let stubborn = Folder::misbehaving("stubborn").mode("ignore_sigterm").priority(1);
    let mut gateway = start("", &[stubborn, shows]).await;
    let pid = ready(&gateway.log, "stubborn", 1).await;
    let child =
        gateway.ask(&misbehave("spawn_child")).await.json()["meta"]["metadata"]["child"].as_i64().unwrap();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.exited().await.code(), Some(0));
    ended(pid).await;
    ended(i32::try_from(child).unwrap()).await;
}

#[tokio::test]
async fn a_plugin_that_was_being_replaced_is_waited_for_too() {
    let stubborn = Folder::misbehaving("stubborn").mode("ignore_sigterm");
    let mut gateway = start("", &[stubborn]).await;
    let pid = ready(&gateway.log, "stubborn", 1).await;
    gateway.rewrite("");
    assert_eq!(gateway.admin("POST", "/api/reload").await.status(), 200);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.exited().await.code(), Some(0));
    nth(&gateway.log, 1, "plugin stopped", "stubborn").await;
    ended(pid).await;
}

const UPGRADABLE: &str =
    "[listen]\naddress = \"127.0.0.1:0\"\nthreads = 2\nupgrade_socket = \"upgrade.sock\"\n";

#[tokio::test]
async fn a_stream_finishes_at_the_old_gateway_while_the_new_one_serves() {
    let (mut old, mut client, mut call, _) = streaming(UPGRADABLE).await;
    let new = old.upgrade().await;
    assert_eq!(new.ask(&Request::get("/healthz")).await.status(), 200);
    call.answer(Answer::raw("").chunk("data: [DONE]\n\n").last_chunk()).await;
    assert_eq!(client.chunk().await.unwrap().unwrap(), b"data: [DONE]\n\n");
    assert_eq!(client.chunk().await, Ok(None));
    assert_eq!(old.exited().await.code(), Some(0));
}

#[tokio::test]
async fn a_new_gateway_that_cannot_start_leaves_the_old_one_alone() {
    let old = plan(UPGRADABLE, &[]).start().await;
    old.rewrite("[[plugin]]\nname = \"absent\"\npath = \"nowhere\"\n");
    let (status, told) = old.failed_upgrade().await;
    assert_eq!(status.code(), Some(64), "{told}");
    assert_eq!(old.ask(&Request::chat(HELLO)).await.status(), 200);
}

#[tokio::test]
async fn a_stream_over_http2_finishes_too() {
    let mut upstream = Upstream::by_hand().await;
    let mut gateway = start(&upstream.entry("up", ""), &[]).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{}/v1/chat/completions", gateway.data);
    let request = client.post(url).header("content-type", "application/json").body(STREAM);
    let asking = tokio::spawn(request.send());
    let mut call = upstream.call().await;
    call.body().await;
    call.answer(Answer::stream_head().chunk(event("one"))).await;
    let mut answer = asking.await.unwrap().unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), event("one").as_bytes());
    gateway.signal(Signal::TERM);
    gateway.log.message("shutting down").await;
    call.answer(Answer::raw("").chunk("data: [DONE]\n\n").last_chunk()).await;
    assert_eq!(answer.text().await.unwrap(), "data: [DONE]\n\n");
    assert_eq!(gateway.exited().await.code(), Some(0));
}

/// Asks without a pause until told to stop, on one connection as long as the gateway keeps it.
async fn load(address: std::net::SocketAddr, keep: bool, stop: Arc<AtomicBool>) -> usize {
    let request = if keep { Request::chat(HELLO) } else { Request::chat(HELLO).field("connection", "close") };
    let (mut requests, mut wire) = (0, Wire::open(address).await);
    while !stop.load(Ordering::Relaxed) {
        let answer: Message = wire.ask(&request).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        requests += 1;
        if answer.get("connection") == Some("close") {
            wire = Wire::open(address).await;
        }
    }
    requests
}

#[tokio::test]
async fn a_new_gateway_takes_the_sockets_over_and_no_request_fails() {
    let mut old = plan(UPGRADABLE, &[Folder::misbehaving("twin")]).start().await;
    let plugin = ready(&old.log, "twin", 1).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for keep in [true, true, true, false] {
        clients.spawn(load(old.data, keep, stop.clone()));
    }
    let mut idle = old.connect().await;
    assert_eq!(idle.ask(&Request::chat(HELLO)).await.status(), 200);

    let new = old.upgrade().await;
    assert_eq!((new.data, new.admin), (old.data, old.admin));
    assert_eq!(new.ask(&Request::chat(HELLO)).await.status(), 200);
    assert_eq!(new.admin("GET", "/readyz").await.status(), 200, "the old one no longer answers here");
    assert_eq!(old.exited().await.code(), Some(0));
    assert_eq!(idle.until_end().await.1, crate::harness::End::Closed);
    ended(plugin).await;

    ready(&new.log, "twin", 1).await;
    let answer = new.ask(&Request::chat(HELLO)).await;
    new.access(&answer).await;
    stop.store(true, Ordering::Relaxed);
    let served = clients.join_all().await;
    assert!(served.iter().all(|&requests| requests > 0), "{served:?}");
}

#[tokio::test]
async fn without_anybody_to_take_over_the_gateway_serves_on() {
    let gateway =
        start("[listen]\naddress = \"127.0.0.1:0\"\nupgrade_socket = \"upgrade.sock\"\n", &[]).await;
    gateway.signal(Signal::QUIT);
    gateway.log.message("the sockets were not handed over, serving on").await;
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
    assert_eq!(gateway.admin("GET", "/readyz").await.status(), 200);
}
