//! Several operators at once.

use std::collections::BTreeSet;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::api::{activate, chain, done, install, plugin, put, scan, stamps, start};
use crate::harness::{HELLO, Request, TOKEN, Wire};
use crate::processes::children;

const CALLS: usize = 50;
const PLUGINS: usize = 5;

#[tokio::test]
async fn what_a_manifest_asks_for_in_vain_is_told_where_it_is_installed_activated_and_shown() {
    let gateway = start().await;
    let manifest = json!({ "hooks": { "onRequest": {}, "onComplete": true }, "limits": { "memoryMb": 64 } });
    put(&gateway, "downloads", &stamps("p", "1.0.0").manifest(manifest));
    let notices =
        ["hooks.onComplete: not called by this version", "limits.memoryMb: not enforced by this version"];
    let told = notices.map(|notice| format!("plugin 'p': {notice}"));
    for answer in [install(&gateway, "downloads/p", false).await, activate(&gateway, "p").await] {
        let changes = done(answer)["changes"].clone();
        assert_eq!(changes.as_array().unwrap()[1..], told.clone().map(Value::from), "{changes}");
    }
    let shown = plugin(&gateway, "p").await;
    assert_eq!(shown["notices"], json!(notices));
    let called = |hook: usize| (shown["hooks"][hook]["name"].clone(), shown["hooks"][hook]["called"].clone());
    assert_eq!(
        [called(0), called(1)],
        [("onRequest".into(), true.into()), ("onComplete".into(), false.into())]
    );
    assert_ne!(shown["observed"]["since"], Value::Null);
}

#[tokio::test]
async fn a_change_that_cannot_be_written_is_refused_and_ends_nothing() {
    let gateway = start().await;
    put(&gateway, "downloads", &stamps("p", "1.0.0"));
    let pid = Pid::from_raw(i32::try_from(gateway.pid()).unwrap());
    let limit = |bytes| Rlimit { current: bytes, maximum: None };
    prlimit(pid, Resource::Fsize, limit(Some(4_096))).unwrap();
    let refused = install(&gateway, "downloads/p", false).await;
    assert_ne!(refused.status(), 200, "{refused:?}");
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
    prlimit(pid, Resource::Fsize, limit(None)).unwrap();
    done(install(&gateway, "downloads/p", false).await);
}

/// Whatever order the calls were taken in, each plugin is as the last call about it left it, and what is published is
/// what is wanted.
#[tokio::test]
async fn fifty_calls_at_once_end_in_a_state_that_some_order_explains() {
    let gateway = start().await;
    let names: Vec<String> = (0..PLUGINS).map(|index| format!("p{index}")).collect();
    for name in &names {
        put(&gateway, "plugins", &stamps(name, "1.0.0"));
    }
    scan(&gateway).await;
    let mut calls = JoinSet::new();
    for call in 0..CALLS {
        let name = &names[call % PLUGINS];
        let request = match call / PLUGINS % 5 {
            0 | 3 => Request::post(&format!("/api/plugins/{name}/activate"), r#"{"grant":true}"#),
            1 => Request::post(&format!("/api/plugins/{name}/deactivate"), "{}"),
            2 => {
                let body = json!({ "config": { "stamp": call } }).to_string();
                let request = Request::new("PUT", &format!("/api/plugins/{name}/config"));
                request.field("content-type", "application/json").body(body)
            }
            _ => Request::post(&format!("/api/plugins/{name}/restart"), "{}"),
        };
        let request = request.without("host").field("host", "localhost");
        let request = request.field("authorization", &format!("Bearer {TOKEN}"));
        let admin = gateway.admin;
        calls.spawn(async move { Wire::open(admin).await.ask(&request).await });
    }
    for answer in calls.join_all().await {
        // A restart of a plugin that is off at that moment is refused, and says so.
        let expected = [200, 409];
        assert!(expected.contains(&answer.status()), "{answer:?}");
    }
    let listed = done(gateway.admin("GET", "/api/plugins").await);
    let wanted: BTreeSet<String> = listed["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|plugin| plugin["wanted"]["enabled"] == true)
        .map(|plugin| plugin["name"].as_str().unwrap().to_owned())
        .collect();
    let published: BTreeSet<String> = chain(&gateway).await.into_iter().collect();
    assert_eq!(published, wanted);
    // Killed, the next one comes back with just that.
    let gateway = gateway.killed().await;
    assert_eq!(chain(&gateway).await.into_iter().collect::<BTreeSet<_>>(), wanted);
    assert_eq!(children(&gateway).len(), wanted.len());
}
