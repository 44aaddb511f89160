//! Processes that end when they should not, or do not end when they should.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::failing::state;
use crate::harness::{Gateway, HELLO, Message, Request};
use crate::plugins::{Folder, misbehave, start};
use crate::processes::{children, ended, is_alive, kill, nth, ready};

const BROKEN: &str = "plugin broken: its onFailure verdict applies until a probe succeeds";

/// Turns every prompt into "guarded", so that the built-in echo shows whether a request passed it.
fn guarding(name: &str) -> Folder {
    let messages = json!([{"role": "user", "content": "guarded"}]);
    let verdict = json!({"action": "patch", "patch": {"messages": messages}});
    Folder::misbehaving(name).mode("echo_verdict").config(json!({ "verdict": verdict }))
}

/// What answers a client got, and how long it waited.
#[derive(Default)]
struct Seen {
    guarded: u64,
    refused: u64,
    longest: Duration,
}

/// Asks without a pause until told to stop; every answer is the plugin's work or its absence, told.
async fn load(gateway: std::net::SocketAddr, stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    let mut wire = crate::harness::Wire::open(gateway).await;
    while !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let answer = wire.ask(&Request::chat(HELLO)).await;
        seen.longest = seen.longest.max(asked.elapsed());
        if answer.status() == 200 {
            assert!(content(&answer).contains("guarded"), "passed unguarded: {answer:?}");
            seen.guarded += 1;
        } else {
            assert_eq!(answer.status(), 503, "{answer:?}");
            assert_eq!(answer.get("x-hookway-plugin"), Some("guarding"), "{answer:?}");
            assert!(matches!(answer.get("x-hookway-cause"), Some("unavailable" | "broken")), "{answer:?}");
            assert_eq!(answer.get("retry-after"), Some("1"), "{answer:?}");
            seen.refused += 1;
        }
    }
    seen
}

fn content(answer: &Message) -> String {
    answer.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn killed_again_and_again_under_load_a_plugin_lets_nothing_pass_and_is_soon_back() {
    let gateway = start("", &[guarding("guarding")]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        clients.spawn(load(gateway.data, stop.clone()));
    }
    for life in 1..=4 {
        let pid = ready(&gateway.log, "guarding", life).await;
        assert!(content(&gateway.ask(&Request::chat(HELLO)).await).contains("guarded"));
        kill(pid);
        let killed = Instant::now();
        nth(&gateway.log, life + 1, "plugin ready", "guarding").await;
        // 100 ms, 200, 400, 800, and a fifth more by chance. What is beyond belongs to a busy machine.
        let pause = Duration::from_millis(120 << (life - 1));
        assert!(killed.elapsed() < pause + Duration::from_secs(2), "{life}: {:?}", killed.elapsed());
        if life == 1 {
            assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
        }
    }
    kill(ready(&gateway.log, "guarding", 5).await);
    nth(&gateway.log, 1, BROKEN, "guarding").await;
    let after = gateway.ask(&Request::chat(HELLO)).await;
    assert_eq!((after.status(), after.get("x-hookway-cause")), (503, Some("broken")));
    stop.store(true, Ordering::Relaxed);
    let seen = clients.join_all().await;
    let sum = |part: fn(&Seen) -> u64| seen.iter().map(part).sum::<u64>();
    assert!(sum(|seen| seen.guarded) > 0 && sum(|seen| seen.refused) > 0);
    let longest = seen.iter().map(|seen| seen.longest).max();
    assert!(longest < Some(Duration::from_secs(10)), "an answer took {longest:?}");
    assert_eq!(children(&gateway).len(), 0);
}

#[tokio::test]
async fn the_calls_of_a_killed_process_all_end_at_once() {
    let gateway = start("", &[Folder::misbehaving("twin")]).await;
    let pid = ready(&gateway.log, "twin", 1).await;
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let mut client = gateway.connect().await;
        client.send(misbehave("never_answer").bytes()).await;
        waiting.push(client);
    }
    // In flight are the eight, and none of them is answered.
    while gateway.metric("hookway_hook_in_flight", &[("plugin", "twin")]).await < 8.0 {}
    kill(pid);
    let killed = Instant::now();
    for mut client in waiting {
        let answer = client.answer().await;
        assert_eq!(
            (answer.status(), answer.get("x-hookway-cause")),
            (503, Some("unavailable")),
            "{answer:?}"
        );
    }
    assert!(killed.elapsed() < Duration::from_secs(10), "their timeout is 30 s: {:?}", killed.elapsed());
    let dead = nth(&gateway.log, 1, "plugin died", "twin").await;
    assert_eq!((&dead["kind"], &dead["reason"]), (&json!("exit"), &json!("killed by signal 9 (SIGKILL)")));
}

#[tokio::test]
async fn a_process_that_hangs_but_lives_is_found_out_by_pings() {
    let spec = json!({"timeoutMs": 200});
    let gateway = start("", &[Folder::misbehaving("twin").hook("onRequest", spec)]).await;
    let pid = ready(&gateway.log, "twin", 1).await;
    assert_eq!(gateway.ask(&misbehave("deaf")).await.get("x-hookway-cause"), Some("timeout"));
    assert_eq!(nth(&gateway.log, 1, "plugin died", "twin").await["kind"], "unhealthy");
    assert!(!is_alive(pid));
    ready(&gateway.log, "twin", 2).await;
    assert_eq!(gateway.ask(&misbehave("ok")).await.status(), 200);
    let unresponsive = [("plugin", "twin"), ("reason", "unresponsive")];
    assert_eq!(gateway.metric("hookway_plugin_restarts_total", &unresponsive).await, 1.0);
}

/// A grandchild of the gateway that would outlive its parent, and what it is asked of.
async fn leave_a_child_behind(gateway: &Gateway) -> i32 {
    let answer = gateway.ask(&misbehave("spawn_child")).await;
    i32::try_from(answer.json()["meta"]["metadata"]["child"].as_i64().unwrap()).unwrap()
}

/// A plugin that starts processes on request, and one that tells which.
fn with_children() -> [Folder; 2] {
    let shows = Folder::misbehaving("shows").hook("onRequest", json!({"headers": []})).mode("show_call");
    [Folder::misbehaving("leaves").priority(1), shows]
}

#[tokio::test]
async fn what_a_plugin_started_goes_with_it() {
    let gateway = start("", &with_children()).await;
    let plugin = ready(&gateway.log, "leaves", 1).await;
    let child = leave_a_child_behind(&gateway).await;
    assert!(is_alive(child));
    kill(plugin);
    ended(child).await;
}

#[tokio::test]
async fn when_the_gateway_is_killed_no_plugin_is_left() {
    let stubborn = Folder::misbehaving("stubborn").mode("ignore_sigterm");
    let busy = Folder::misbehaving("busy").hook("onRequest", json!({"body": "none"}));
    let gateway = start("", &[stubborn, busy]).await;
    let stubborn = ready(&gateway.log, "stubborn", 1).await;
    let busy = ready(&gateway.log, "busy", 1).await;
    gateway.signal(Signal::KILL);
    ended(stubborn).await;
    ended(busy).await;
}

#[tokio::test]
async fn when_the_gateway_is_killed_nothing_that_a_plugin_started_is_left() {
    let gateway = start("", &with_children()).await;
    let child = leave_a_child_behind(&gateway).await;
    assert!(is_alive(child));
    gateway.signal(Signal::KILL);
    ended(child).await;
}

#[tokio::test]
async fn a_dead_plugin_costs_only_what_it_was_asked_for() {
    let when = json!({"when": {"model": "guarded-*"}});
    let dead = Folder::misbehaving("dead").hook("onRequest", when).mode("exit_at_start");
    let gateway = start("", &[dead]).await;
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
    let asked = Request::chat(r#"{"model":"guarded-1","messages":[]}"#);
    assert_eq!(gateway.ask(&asked).await.status(), 503);
    assert_eq!(gateway.ask(&Request::get("/v1/models")).await.status(), 200);
    nth(&gateway.log, 1, BROKEN, "dead").await;
    assert_eq!(gateway.ask(&asked).await.get("x-hookway-cause"), Some("broken"));
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
    assert_eq!(state(&gateway, "dead").await["state"], "broken");
}

#[tokio::test]
async fn a_declared_hook_that_the_process_does_not_serve_is_closed_and_not_skipped() {
    let forgets = Folder::misbehaving("forgets").mode("forget_hooks");
    let gateway = start("", &[forgets]).await;
    let failed = gateway.log.message("a plugin did not start").await;
    assert_eq!((&failed["plugin"], &failed["step"]), (&json!("forgets"), &json!("handshake")));
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.starts_with("plugin.json declares onRequest, but the program does not"), "{reason}");
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    assert_eq!((answer.status(), answer.get("x-hookway-plugin")), (503, Some("forgets")));
    assert_ne!(state(&gateway, "forgets").await["state"], "active");
}

#[tokio::test]
async fn the_start_line_says_how_far_plugins_are_confined() {
    let gateway = start("", &[]).await;
    assert_eq!(gateway.log.message("serving").await["sandbox"], "off");
}

#[tokio::test]
async fn readiness_tells_which_plugin_is_not_up_and_why() {
    let dead = Folder::misbehaving("dead").mode("exit_at_start");
    let gateway = start("", &[dead, Folder::misbehaving("fine")]).await;
    nth(&gateway.log, 1, BROKEN, "dead").await;
    let readiness = gateway.admin("GET", "/readyz").await;
    assert_eq!(readiness.status(), 200, "the others are served");
    let notes = readiness.json()["notes"].clone();
    let expected = json!(["plugin 'dead' is broken: exited with status 3: told to exit at start"]);
    assert_eq!(notes, expected);
    let start_failed = gateway.log.message("a plugin did not start").await;
    assert_eq!((&start_failed["plugin"], &start_failed["step"]), (&json!("dead"), &json!("start")));
    assert_ne!(start_failed["reason"], Value::Null);
}
