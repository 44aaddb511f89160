//! What a restart brings back.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::api::{
    DIRS, activate, chain, configure, done, order, plugin, put, scan, shows, stamp, stamps, start,
};
use crate::harness::{HELLO, Request};
use crate::plugins::configuration;
use crate::processes::ready;

#[tokio::test]
async fn chain_order_config_and_grants_come_back() {
    let gateway = start().await;
    for name in ["a", "b", "off"] {
        put(&gateway, "plugins", &stamps(name, "1.0.0"));
    }
    scan(&gateway).await;
    for name in ["a", "b"] {
        done(activate(&gateway, name).await);
    }
    done(configure(&gateway, "b", &json!({ "stamp": 3, "key": "hush" })).await);
    done(order(&gateway, &["b", "a"]).await);
    let gateway = gateway.restart().await;
    assert_eq!(chain(&gateway).await, ["b", "a", "shows"]);
    assert_eq!(stamp(&gateway, "b").await, Some(3));
    assert_eq!(plugin(&gateway, "off").await["observed"]["state"], "installed");
    // Killed, it has lost nothing either.
    let gateway = gateway.killed().await;
    assert_eq!(chain(&gateway).await, ["b", "a", "shows"]);
    assert_eq!(stamp(&gateway, "b").await, Some(3));
}

#[tokio::test]
async fn a_plugin_whose_files_changed_meanwhile_is_broken_and_the_rest_serves() {
    let gateway = start().await;
    // This one fails open, so that requests pass while it is broken.
    let changed = stamps("changed", "1.0.0").hook("onRequest", json!({ "headers": [], "onFailure": "open" }));
    put(&gateway, "plugins", &changed);
    put(&gateway, "plugins", &stamps("whole", "1.0.0"));
    scan(&gateway).await;
    for name in ["changed", "whole"] {
        done(activate(&gateway, name).await);
    }
    gateway.write("plugins/changed/new.py", "# not what was accepted\n");
    let gateway = gateway.restart().await;
    ready(&gateway.log, "whole", 1).await;
    assert_eq!((stamp(&gateway, "whole").await, stamp(&gateway, "changed").await), (Some(0), None));
    let broken = plugin(&gateway, "changed").await;
    assert_eq!(broken["observed"]["state"], "broken");
    assert!(broken["observed"]["reason"].as_str().unwrap().contains("other files"), "{broken}");
    assert!(done(gateway.admin("GET", "/readyz").await)["notes"][0].as_str().unwrap().contains("changed"));

    // A scan accepts what is there now, and an activation tries again.
    assert_eq!(scan(&gateway).await["changed"], json!(["changed"]));
    done(activate(&gateway, "changed").await);
    assert_eq!(stamp(&gateway, "changed").await, Some(0));
}

#[tokio::test]
async fn a_plugin_that_fails_closed_and_no_longer_starts_lets_nothing_pass() {
    let gateway = start().await;
    put(&gateway, "plugins", &stamps("gone", "1.0.0"));
    scan(&gateway).await;
    done(activate(&gateway, "gone").await);
    fs::remove_dir_all(gateway.folder().join("plugins/gone")).unwrap();
    let gateway = gateway.restart().await;
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    assert_eq!((answer.status(), answer.get("x-hookway-plugin")), (503, Some("gone")), "{answer:?}");
    assert_eq!(scan(&gateway).await["vanished"], json!(["gone"]));
    done(gateway.admin("DELETE", "/api/plugins/gone").await);
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
}

#[tokio::test]
async fn what_the_configuration_hid_comes_back_with_its_entry_gone_broken_if_it_changed() {
    let gateway = start().await;
    let hidden = stamps("hidden", "1.0.0").hook("onRequest", json!({ "headers": [], "onFailure": "open" }));
    put(&gateway, "plugins", &hidden);
    scan(&gateway).await;
    done(activate(&gateway, "hidden").await);
    gateway.rewrite(&configuration(DIRS, &[shows(), hidden.clone()]));
    done(gateway.admin("POST", "/api/reload").await);
    assert_eq!(plugin(&gateway, "hidden").await["managed"], true);
    gateway.write("plugins/hidden/new.py", "# not what was accepted\n");
    gateway.rewrite(&configuration(DIRS, &[shows()]));
    done(gateway.admin("POST", "/api/reload").await);
    let back = plugin(&gateway, "hidden").await;
    assert_eq!((&back["managed"], &back["observed"]["state"]), (&json!(false), &json!("broken")));
    assert_eq!(chain(&gateway).await, ["hidden", "shows"]);
    assert_eq!(stamp(&gateway, "hidden").await, None);
}

#[tokio::test]
async fn a_second_gateway_on_the_same_state_folder_is_refused() {
    let gateway = start().await;
    let (status, told) = gateway.beside().await;
    assert!(!status.success() && told.contains("another gateway is running"), "{told}");
    gateway.signal(Signal::TERM);
}
