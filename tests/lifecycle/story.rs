//! The life of a plugin, from the folder that is dropped to the folder that is gone, under load.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use crate::api::{
    activate, chain, configure, done, install, order, plugin, put, scan, stamp, stamps, start, tell,
};
use crate::harness::{HELLO, Message, Request, Wire, within};
use crate::processes::{children, ended, ready};

const CLIENTS: usize = 4;
const ARRIVALS_EVERY: Duration = Duration::from_millis(5);

/// Asks without a pause until told to stop, and counts.
async fn closed_loop(gateway: SocketAddr, stop: Arc<AtomicBool>) -> usize {
    let mut wire = Wire::open(gateway).await;
    let mut requests = 0;
    while !stop.load(Ordering::Relaxed) {
        unharmed(&wire.ask(&Request::chat(HELLO)).await);
        requests += 1;
    }
    wire.half_close().await;
    wire.until_end().await;
    requests
}

/// Requests at a constant rate, each on a connection of its own, whatever becomes of those before; counts them.
async fn open_loop(gateway: SocketAddr, stop: Arc<AtomicBool>) -> usize {
    let mut requests = JoinSet::new();
    let mut arrival = tokio::time::interval(ARRIVALS_EVERY);
    while !stop.load(Ordering::Relaxed) {
        arrival.tick().await;
        requests.spawn(async move {
            let mut wire = Wire::open(gateway).await;
            unharmed(&wire.ask(&Request::chat(HELLO)).await);
            wire.half_close().await;
            wire.until_end().await;
        });
    }
    requests.join_all().await.len()
}

/// No request may fail, nor see two generations.
fn unharmed(answer: &Message) {
    assert_eq!(answer.status(), 200, "{answer:?}");
    let meta = &answer.json()["meta"];
    let metadata = meta["metadata"].as_object().into_iter().flatten();
    for (plugin, generation) in metadata.filter(|(key, _)| key.ends_with("-call")) {
        let generation: u64 = generation.as_str().unwrap().parse().unwrap();
        assert_eq!(meta["generation"], generation, "{plugin} saw another generation: {meta}");
    }
}

#[tokio::test]
async fn a_plugins_life_under_load_fails_no_request_mixes_no_generation_and_leaves_nothing_behind() {
    let gateway = start().await;
    let shown = ready(&gateway.log, "shows", 1).await;
    let descriptors = gateway.descriptors();
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(closed_loop(gateway.data, stop.clone()));
    }
    clients.spawn(open_loop(gateway.data, stop.clone()));

    // Dropped and found, it is there and does nothing yet.
    put(&gateway, "plugins", &stamps("story", "1.0.0"));
    put(&gateway, "plugins", &stamps("other", "1.0.0"));
    assert_eq!(scan(&gateway).await["added"], json!(["other", "story"]));
    assert_eq!(stamp(&gateway, "story").await, None);
    assert_eq!(plugin(&gateway, "story").await["observed"]["state"], "installed");

    // Active, it is seen by the next request; a second time there is nothing to do.
    assert_eq!(done(activate(&gateway, "story").await)["changed"], true);
    assert_eq!(stamp(&gateway, "story").await, Some(0));
    assert_eq!(done(activate(&gateway, "story").await)["changed"], false);
    assert_eq!(plugin(&gateway, "story").await["observed"]["state"], "active");

    // So is its config, live and by a new process.
    done(configure(&gateway, "story", &json!({ "stamp": 7 })).await);
    assert_eq!(stamp(&gateway, "story").await, Some(7));

    // So is the order.
    done(activate(&gateway, "other").await);
    assert_eq!(chain(&gateway).await, ["other", "story", "shows"]);
    done(order(&gateway, &["story", "other"]).await);
    assert_eq!(chain(&gateway).await, ["story", "other", "shows"]);
    done(tell(&gateway, "story", "restart").await);

    done(tell(&gateway, "story", "deactivate").await);
    assert_eq!(stamp(&gateway, "story").await, None);
    assert_eq!(done(tell(&gateway, "story", "deactivate").await)["changed"], false);
    done(activate(&gateway, "story").await);

    // Another version takes its place and keeps what an operator decided.
    put(&gateway, "next", &stamps("story", "1.1.0"));
    done(install(&gateway, "next/story", false).await);
    let upgraded = plugin(&gateway, "story").await;
    assert_eq!((&upgraded["version"], &upgraded["observed"]["state"]), (&json!("1.1.0"), &json!("active")));
    assert_eq!(stamp(&gateway, "story").await, Some(7));
    assert_eq!(chain(&gateway).await, ["story", "other", "shows"]);

    let pids = children(&gateway);
    for name in ["story", "other"] {
        done(gateway.admin("DELETE", &format!("/api/plugins/{name}")).await);
        assert_eq!(gateway.admin("GET", &format!("/api/plugins/{name}")).await.status(), 404);
        assert_eq!(stamp(&gateway, name).await, None);
    }
    stop.store(true, Ordering::Relaxed);
    let requests: usize = clients.join_all().await.into_iter().sum();
    assert!(requests > 0);

    for pid in pids.into_iter().filter(|pid| *pid != shown) {
        ended(pid).await;
    }
    gateway.log.message("a folder was removed").await;
    let left = |folder: &str| {
        let entries = fs::read_dir(gateway.folder().join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(left("plugins"), ["other", "shows", "story"], "what was put there stays there");
    assert_eq!(left("state/installed"), [".staging"]);
    assert_eq!(left("state/installed/.staging"), Vec::<String>::new());
    // A warden ends after its plugin, and the gateway hears of it after that.
    within("nothing but the shown plugin is left", async {
        while children(&gateway) != [shown].into() || gateway.descriptors() != descriptors {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_takes_a_config_while_it_runs_keeps_its_process() {
    let gateway = start().await;
    let live = stamps("live", "1.0.0").hook("onConfigChange", json!({ "headers": [] }));
    put(&gateway, "plugins", &live);
    scan(&gateway).await;
    done(activate(&gateway, "live").await);
    let pid = plugin(&gateway, "live").await["observed"]["pid"].clone();
    done(configure(&gateway, "live", &json!({ "stamp": 5 })).await);
    assert_eq!(stamp(&gateway, "live").await, Some(5));
    assert_eq!(plugin(&gateway, "live").await["observed"]["pid"], pid, "the same process");

    // One that says it wants a new process gets one.
    done(configure(&gateway, "live", &json!({ "stamp": 6, "mode": "restart_on_configure" })).await);
    let pid = plugin(&gateway, "live").await["observed"]["pid"].clone();
    done(configure(&gateway, "live", &json!({ "stamp": 8 })).await);
    assert_eq!(stamp(&gateway, "live").await, Some(8));
    assert_ne!(plugin(&gateway, "live").await["observed"]["pid"], pid, "a new process");
}

#[tokio::test]
async fn an_activation_that_fails_changes_nothing_and_says_at_which_step() {
    let gateway = start().await;
    let hangs =
        stamps("hangs", "1.0.0").manifest(json!({ "command": ["hookway-misbehaving", "exit_at_start"] }));
    put(&gateway, "plugins", &hangs);
    scan(&gateway).await;
    let generation = done(gateway.admin("GET", "/api/chain").await)["generation"].clone();
    let answer = activate(&gateway, "hangs").await;
    let details = &answer.json()["error"]["details"];
    assert_eq!(answer.status(), 422, "{answer:?}");
    assert_eq!((&details["plugin"], &details["step"]), (&json!("hangs"), &json!("start")));
    assert_eq!(done(gateway.admin("GET", "/api/chain").await)["generation"], generation);
    let shown = plugin(&gateway, "hangs").await;
    assert_eq!(shown["wanted"]["enabled"], false);
    assert!(shown["error"].as_str().unwrap().contains("failed at start"), "{shown}");
    // No alarm is left behind, neither now nor once it is uninstalled.
    let series = async || gateway.admin("GET", "/metrics").await.text().matches("plugin=\"hangs\"").count();
    assert_eq!(series().await, 0);
    done(gateway.admin("DELETE", "/api/plugins/hangs").await);
    assert_eq!(series().await, 0);
    assert_eq!(children(&gateway).len(), 1);
}
