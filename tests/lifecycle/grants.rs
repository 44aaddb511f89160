//! What a plugin may do, and who said so.

use serde_json::{Value, json};

use crate::api::{activate, done, install, plugin, put, refused, scan, stamps, start, tell};
use crate::harness::{HELLO, Message, Request};

fn asking(version: &str, variables: &[&str]) -> crate::plugins::Folder {
    stamps("asks", version).manifest(json!({ "permissions": { "env": variables } }))
}

/// A plugin with this onRequest hook.
fn looking(version: &str, hook: Value) -> crate::plugins::Folder {
    stamps("asks", version).hook("onRequest", hook)
}

/// One that only watches: it sees nothing of a request and changes nothing.
fn nothing() -> Value {
    json!({ "headers": [], "body": "none", "mutates": [] })
}

fn list(answer: &Message) -> Value {
    answer.json()["error"]["details"]["permissions"].clone()
}

#[tokio::test]
async fn the_first_activation_shows_what_is_asked_and_waits_for_a_grant() {
    let gateway = start().await;
    let hook = json!({ "headers": ["authorization"], "body": "full", "mutates": ["/messages", "headers"] });
    let folder = looking("1.0.0", hook).manifest(json!({ "permissions": { "env": ["TZ"] } }));
    put(&gateway, "plugins", &folder);
    scan(&gateway).await;
    let answer = tell(&gateway, "asks", "activate").await;
    assert_eq!(refused(&answer), (409, "not_granted".to_owned()));
    let asked = json!([
        "see the header authorization (onRequest)",
        "see the whole body (onRequest)",
        "change /messages of the body (onRequest)",
        "change headers (onRequest)",
        "see the variable TZ",
    ]);
    assert_eq!(list(&answer), asked);
    let shown = plugin(&gateway, "asks").await;
    assert_eq!((&shown["permissions"]["missing"], &shown["wanted"]["enabled"]), (&asked, &json!(false)));
    let no = json!({ "grant": false });
    let answer = gateway.admin_json("POST", "/api/plugins/asks/activate", &no).await;
    assert_eq!(refused(&answer), (409, "not_granted".to_owned()));
    done(activate(&gateway, "asks").await);
    let shown = plugin(&gateway, "asks").await;
    assert_eq!((&shown["permissions"]["missing"], &shown["permissions"]["granted"]), (&json!([]), &asked));
    // Granted once, it is not asked again.
    done(tell(&gateway, "asks", "deactivate").await);
    done(tell(&gateway, "asks", "activate").await);
    let gateway = gateway.restart().await;
    assert_eq!(plugin(&gateway, "asks").await["observed"]["state"], "active");
}

#[tokio::test]
async fn a_version_that_sees_or_changes_more_of_requests_waits_for_a_grant() {
    let gateway = start().await;
    put(&gateway, "plugins", &looking("1.0.0", nothing()));
    scan(&gateway).await;
    // What asks for nothing needs no grant.
    done(tell(&gateway, "asks", "activate").await);
    let versions = [
        (json!({ "headers": ["authorization"] }), "see the header authorization (onRequest)"),
        (json!({ "headers": ["cookie"] }), "see the header cookie (onRequest)"),
        (json!({ "headers": ["x-api-key"] }), "see the header x-api-key (onRequest)"),
        (json!({ "body": "full" }), "see the whole body (onRequest)"),
        (json!({ "body": "pointers", "pointers": ["/messages"] }), "see /messages of the body (onRequest)"),
        (json!({ "mutates": ["/messages"] }), "change /messages of the body (onRequest)"),
        (json!({ "mutates": ["headers"] }), "change headers (onRequest)"),
        (json!({ "mutates": ["route"] }), "choose another model or upstream (onRequest)"),
    ];
    for (index, (more, word)) in versions.iter().enumerate() {
        let mut hook = nothing();
        hook.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let folder = format!("v{index}");
        put(&gateway, &folder, &looking(&format!("1.{}.0", index + 1), hook));
        let answer = install(&gateway, &folder, false).await;
        assert_eq!(refused(&answer), (409, "not_granted".to_owned()), "{more}");
        assert!(list(&answer).as_array().unwrap().contains(&json!(word)), "{answer:?}");
        assert_eq!(plugin(&gateway, "asks").await["version"], "1.0.0");
    }
    done(install(&gateway, "v3", true).await);
    assert_eq!(plugin(&gateway, "asks").await["version"], "1.4.0");
    // A part of what was granted is granted.
    done(install(&gateway, "v4", false).await);
}

#[tokio::test]
async fn files_that_ask_for_more_are_not_started_by_a_restart_of_the_gateway() {
    let gateway = start().await;
    put(&gateway, "plugins", &looking("1.0.0", nothing()));
    scan(&gateway).await;
    done(tell(&gateway, "asks", "activate").await);
    let more = json!({ "headers": ["authorization"], "body": "none", "mutates": [] });
    put(&gateway, "plugins", &looking("1.1.0", more));
    assert_eq!(scan(&gateway).await["changed"], json!(["asks"]));
    let gateway = gateway.restart().await;
    // It fails closed, so its place is not skipped either.
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    assert_eq!((answer.status(), answer.get("x-hookway-plugin")), (503, Some("asks")), "{answer:?}");
    let shown = plugin(&gateway, "asks").await;
    assert!(shown["observed"]["reason"].as_str().unwrap().contains("authorization"), "{shown}");
    done(activate(&gateway, "asks").await);
    assert_eq!(plugin(&gateway, "asks").await["observed"]["state"], "active");
}

#[tokio::test]
async fn a_plugin_that_wants_to_be_active_from_the_start_is_if_what_it_asks_for_is_granted() {
    let gateway = start().await;
    let eager = |name: &str| stamps(name, "1.0.0").manifest(json!({ "enabledByDefault": true }));
    put(&gateway, "plugins", &eager("found"));
    scan(&gateway).await;
    put(&gateway, "one", &eager("one"));
    let told = done(install(&gateway, "one", false).await)["changes"].to_string();
    assert!(told.contains("plugin 'one' was not activated: ") && told.contains("not granted"), "{told}");
    put(&gateway, "two", &eager("two"));
    done(install(&gateway, "two", true).await);
    let states =
        ["found", "one", "two"].map(|name| (name, if name == "two" { "active" } else { "installed" }));
    for (name, state) in states {
        assert_eq!(plugin(&gateway, name).await["observed"]["state"], state, "{name}");
    }
    // A grant at the installation is one.
    done(tell(&gateway, "two", "deactivate").await);
    done(tell(&gateway, "two", "activate").await);
}

#[tokio::test]
async fn a_new_permission_waits_for_a_grant_and_the_old_version_serves_meanwhile() {
    let gateway = start().await;
    put(&gateway, "plugins", &asking("1.0.0", &["TZ"]));
    scan(&gateway).await;
    done(activate(&gateway, "asks").await);
    put(&gateway, "next", &asking("2.0.0", &["TZ", "REGION"]));
    let answer = install(&gateway, "next", false).await;
    assert_eq!(refused(&answer), (409, "not_granted".to_owned()));
    assert_eq!(answer.json()["error"]["details"]["permissions"], json!(["see the variable REGION"]));
    assert_eq!(plugin(&gateway, "asks").await["version"], "1.0.0");
    done(install(&gateway, "next", true).await);
    assert_eq!(plugin(&gateway, "asks").await["version"], "2.0.0");

    // Less than before, and then the same again: what was granted once is granted.
    put(&gateway, "less", &asking("3.0.0", &[]));
    done(install(&gateway, "less", false).await);
    put(&gateway, "more", &asking("4.0.0", &["REGION"]));
    done(install(&gateway, "more", false).await);
}

#[tokio::test]
async fn a_plugin_that_is_off_is_upgraded_and_asks_when_it_is_to_start() {
    let gateway = start().await;
    put(&gateway, "plugins", &asking("1.0.0", &["TZ"]));
    scan(&gateway).await;
    done(activate(&gateway, "asks").await);
    done(tell(&gateway, "asks", "deactivate").await);
    put(&gateway, "next", &asking("2.0.0", &["REGION"]));
    done(install(&gateway, "next", false).await);
    assert_eq!(refused(&tell(&gateway, "asks", "activate").await), (409, "not_granted".to_owned()));
    let granted = activate(&gateway, "asks").await;
    assert_eq!(done(granted)["changed"], true);
}

#[tokio::test]
async fn accepted_files_count_from_the_next_start_on_and_a_grant_is_one() {
    let gateway = start().await;
    put(&gateway, "plugins", &asking("1.0.0", &[]));
    put(&gateway, "plugins", &stamps("other", "1.0.0"));
    scan(&gateway).await;
    done(activate(&gateway, "asks").await);
    let next = asking("2.0.0", &["REGION"]).manifest(json!({ "priority": 500 }));
    put(&gateway, "plugins", &next.without_hook("onRequest").hook("onError", json!({ "headers": [] })));
    assert_eq!(scan(&gateway).await["changed"], json!(["asks"]));

    // Whatever else changes, the process is asked what it was started for, at the place it then had.
    done(activate(&gateway, "other").await);
    let member = done(gateway.admin("GET", "/api/chain").await)["members"][0].clone();
    let as_started = json!({ "name": "asks", "version": "1.0.0", "priority": 100, "hooks": ["onRequest"] });
    assert_eq!(member, as_started);

    assert_eq!(refused(&tell(&gateway, "asks", "restart").await), (409, "not_granted".to_owned()));
    assert_eq!(done(tell(&gateway, "asks", "activate").await)["changed"], false);
    let granted = activate(&gateway, "asks").await;
    assert_eq!(done(granted)["changed"], true);
    let member = done(gateway.admin("GET", "/api/chain").await)["members"][1].clone();
    let as_granted = json!({ "name": "asks", "version": "2.0.0", "priority": 500, "hooks": ["onError"] });
    assert_eq!(member, as_granted);
}

#[tokio::test]
async fn a_secret_is_taken_and_never_shown() {
    let gateway = start().await;
    put(&gateway, "plugins", &stamps("keeps", "1.0.0"));
    scan(&gateway).await;
    done(crate::api::configure(&gateway, "keeps", &json!({ "key": "hush-hush", "stamp": 1 })).await);
    let shown = gateway.admin("GET", "/api/plugins/keeps/config").await;
    assert!(!shown.text().contains("hush-hush"), "{shown:?}");
    let mut config: Value = done(shown)["config"].clone();
    // What was shown comes back changed in one place, and the secret is what it was.
    config["stamp"] = json!(2);
    done(crate::api::configure(&gateway, "keeps", &config).await);
    let stored = std::process::Command::new("python3")
        .args(["-c", "import sqlite3,sys; print(sqlite3.connect(sys.argv[1]).execute('select config from plugins').fetchone()[0])"])
        .arg(gateway.folder().join("state/hookway.db"))
        .output()
        .unwrap();
    let stored: Value = serde_json::from_slice(&stored.stdout).unwrap();
    assert_eq!((&stored["key"], &stored["stamp"]), (&json!("hush-hush"), &json!(2)));
    for route in ["/api/plugins", "/api/plugins/keeps", "/api/status"] {
        assert!(!gateway.admin("GET", route).await.text().contains("hush-hush"), "{route}");
    }
    assert!(!gateway.log.text().contains("hush-hush"));
}
