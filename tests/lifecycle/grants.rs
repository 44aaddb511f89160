//! What a plugin may do, and who said so.

use serde_json::{Value, json};

use crate::api::{done, install, plugin, put, refused, scan, stamps, start, tell};

fn asking(version: &str, variables: &[&str]) -> crate::plugins::Folder {
    stamps("asks", version).manifest(json!({ "permissions": { "env": variables } }))
}

#[tokio::test]
async fn a_new_permission_waits_for_a_grant_and_the_old_version_serves_meanwhile() {
    let gateway = start().await;
    put(&gateway, "plugins", &asking("1.0.0", &["TZ"]));
    scan(&gateway).await;
    done(tell(&gateway, "asks", "activate").await);
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
    done(tell(&gateway, "asks", "activate").await);
    done(tell(&gateway, "asks", "deactivate").await);
    put(&gateway, "next", &asking("2.0.0", &["REGION"]));
    done(install(&gateway, "next", false).await);
    assert_eq!(refused(&tell(&gateway, "asks", "activate").await), (409, "not_granted".to_owned()));
    let granted = gateway.admin_json("POST", "/api/plugins/asks/activate", &json!({ "grant": true })).await;
    assert_eq!(done(granted)["changed"], true);
}

#[tokio::test]
async fn accepted_files_count_from_the_next_start_on_and_a_grant_is_one() {
    let gateway = start().await;
    put(&gateway, "plugins", &asking("1.0.0", &[]));
    put(&gateway, "plugins", &stamps("other", "1.0.0"));
    scan(&gateway).await;
    done(tell(&gateway, "asks", "activate").await);
    let next = asking("2.0.0", &["REGION"]).manifest(json!({ "priority": 500 }));
    put(&gateway, "plugins", &next.without_hook("onRequest").hook("onError", json!({ "headers": [] })));
    assert_eq!(scan(&gateway).await["changed"], json!(["asks"]));

    // Whatever else changes, the process is asked what it was started for, at the place it then had.
    done(tell(&gateway, "other", "activate").await);
    let member = done(gateway.admin("GET", "/api/chain").await)["members"][0].clone();
    let as_started = json!({ "name": "asks", "version": "1.0.0", "priority": 100, "hooks": ["onRequest"] });
    assert_eq!(member, as_started);

    assert_eq!(refused(&tell(&gateway, "asks", "restart").await), (409, "not_granted".to_owned()));
    assert_eq!(done(tell(&gateway, "asks", "activate").await)["changed"], false);
    let granted = gateway.admin_json("POST", "/api/plugins/asks/activate", &json!({ "grant": true })).await;
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
