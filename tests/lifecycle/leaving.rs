//! Plugins and gateways that go while something is still under way.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinSet;

use crate::api::{activate, configure, done, install, plugin, put, scan, stamps, start};
use crate::harness::{Gateway, Request, TOKEN, Wire, within};
use crate::plugins::{Folder, misbehave};

/// A request that a plugin holds until it is let go by its time.
fn held(gateway: &Gateway, ms: u64) -> tokio::task::JoinHandle<u16> {
    let data = gateway.data;
    tokio::spawn(async move { Wire::open(data).await.ask(&misbehave(&format!("late={ms}"))).await.status() })
}

/// The plugin has the request that was just sent.
async fn has_a_call(gateway: &Gateway, name: &str) {
    let calls = async { while plugin(gateway, name).await["hooks"][0]["inFlight"] == 0 {} };
    within("the call reaches the plugin", calls).await;
}

/// Stamps by default, and does what the header `x-misbehave` says.
fn slow(name: &str, version: &str) -> Folder {
    stamps(name, version).hook("onRequest", json!({ "headers": ["x-misbehave"] }))
}

#[tokio::test]
async fn files_stay_as_long_as_any_process_runs_from_them() {
    let gateway = start().await;
    put(&gateway, "one", &slow("back", "1.0.0"));
    put(&gateway, "two", &slow("back", "1.1.0"));
    done(install(&gateway, "one", false).await);
    done(activate(&gateway, "back").await);
    let files = plugin(&gateway, "back").await["directory"].as_str().unwrap().to_owned();
    let first = held(&gateway, 700);
    has_a_call(&gateway, "back").await;
    done(install(&gateway, "two", false).await);
    // The same files again, for another process.
    done(install(&gateway, "one", false).await);
    let second = held(&gateway, 2_000);
    has_a_call(&gateway, "back").await;
    done(configure(&gateway, "back", &json!({ "stamp": 3 })).await);
    done(gateway.admin("DELETE", "/api/plugins/back").await);
    assert_eq!(first.await.unwrap(), 200);
    gateway
        .log
        .nth(3, "all processes but one to end", |line| {
            line["message"] == "plugin stopped" && line["plugin"] == "back"
        })
        .await;
    // The actor has heard of them once it has answered.
    scan(&gateway).await;
    assert!(!second.is_finished());
    assert!(std::fs::exists(format!("{files}/plugin.json")).unwrap(), "a process runs from {files}");
    assert_eq!(second.await.unwrap(), 200);
    gateway.log.nth(2, "both folders to go", |line| line["message"] == "a folder was removed").await;
    assert!(!std::fs::exists(&files).unwrap());
}

#[tokio::test]
async fn an_end_waits_neither_for_a_slow_start_nor_for_what_is_queued_behind_it() {
    let mut gateway = start().await;
    let schema = json!({ "type": "object", "properties": { "mode": { "type": "string", "default": "hang_at_start" } } });
    for index in 0..20 {
        let hangs = Folder::misbehaving(&format!("hangs{index}")).manifest(json!({ "configSchema": schema }));
        put(&gateway, "plugins", &hangs);
    }
    scan(&gateway).await;
    let mut calls = JoinSet::new();
    for index in 0..20 {
        let request = Request::post(&format!("/api/plugins/hangs{index}/activate"), r#"{"grant":true}"#);
        let request = request.without("host").field("host", "localhost");
        let request = request.field("authorization", &format!("Bearer {TOKEN}"));
        let admin = gateway.admin;
        calls.spawn(async move { Wire::open(admin).await.ask(&request).await });
    }
    let is_started = async {
        while crate::processes::children(&gateway).len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    within("the start of one of them", is_started).await;
    let begun = Instant::now();
    gateway.signal(Signal::TERM);
    assert!(gateway.exited().await.success());
    // A handshake may take five seconds.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    for answer in calls.join_all().await {
        assert_eq!(answer.status(), 503, "{answer:?}");
    }
}
