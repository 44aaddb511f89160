//! What operators change, and what they are told of it. What becomes of requests meanwhile is looked at elsewhere.

use serde_json::json;

use crate::harness::Gateway;
use crate::plugins::{Folder, start};
use crate::{get, managed, refused};

fn extra(version: &str) -> Folder {
    let schema = json!({"type": "object", "properties": {"depth": {"type": "integer"}}, "additionalProperties": false});
    Folder::misbehaving("extra").manifest(json!({ "version": version, "configSchema": schema }))
}

/// Puts the plugin in a folder that nobody scans.
fn put(gateway: &Gateway, folder: &str, plugin: &Folder) -> String {
    for (path, text) in plugin.files_in(folder) {
        gateway.write(&path, &text);
    }
    gateway.folder().join(folder).join("extra").to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_new_plugin_is_created_another_version_is_an_upgrade_and_the_same_again_a_conflict() {
    let gateway = managed().await;
    let path = put(&gateway, "one", &extra("1.0.0"));
    let created = gateway.admin_json("POST", "/api/plugins", &json!({ "path": path })).await;
    assert_eq!((created.status(), created.get("location")), (201, Some("/api/plugins/extra")));
    let plugin = &created.json()["plugins"][0];
    assert_eq!((&plugin["replaced"], &plugin["observed"]["state"]), (&json!(null), &json!("installed")));

    let again = gateway.admin_json("POST", "/api/plugins", &json!({ "path": path })).await;
    assert_eq!(refused(&again), (409, "wrong_state".to_owned()));

    let path = put(&gateway, "two", &extra("1.1.0"));
    let upgraded = gateway.admin_json("POST", "/api/plugins", &json!({ "path": path })).await;
    assert_eq!((upgraded.status(), upgraded.get("location")), (200, None));
    assert_eq!(upgraded.json()["plugins"][0]["replaced"], "1.0.0");
    assert_eq!(get(&gateway, "/api/plugins/extra").await["version"], "1.1.0");

    let gone = gateway.admin("DELETE", "/api/plugins/extra").await;
    assert_eq!((gone.status(), &gone.json()["changed"]), (200, &json!(true)));
    assert_eq!(refused(&gateway.admin("DELETE", "/api/plugins/extra").await), (404, "not_found".to_owned()));
}

#[tokio::test]
async fn a_change_answers_with_its_report_and_the_plugin_and_a_second_time_with_nothing_to_do() {
    let gateway = managed().await;
    let path = put(&gateway, "one", &extra("1.0.0"));
    gateway.admin_json("POST", "/api/plugins", &json!({ "path": path })).await;
    for (change, state) in [("activate", "active"), ("deactivate", "installed")] {
        let path = format!("/api/plugins/extra/{change}");
        let body = if change == "activate" { json!({ "grant": true }) } else { json!({}) };
        let done = gateway.admin_json("POST", &path, &body).await;
        let report = done.json();
        assert_eq!((done.status(), &report["changed"]), (200, &json!(true)), "{report}");
        assert_eq!(report["plugin"]["observed"]["state"], state);
        let again = gateway.admin("POST", &path).await.json();
        assert_eq!((&again["changed"], &again["changes"]), (&json!(false), &json!([])));
        assert_eq!(again["generation"], report["generation"]);
    }
    let restart = gateway.admin("POST", "/api/plugins/extra/restart").await;
    assert_eq!(refused(&restart), (409, "wrong_state".to_owned()));
}

#[tokio::test]
async fn a_wrong_config_is_told_by_pointers_into_the_body_and_changes_nothing() {
    let gateway = managed().await;
    let path = put(&gateway, "one", &extra("1.0.0"));
    gateway.admin_json("POST", "/api/plugins", &json!({ "path": path })).await;
    let wrong = json!({"config": {"depth": "three"}});
    let answer = gateway.admin_json("PUT", "/api/plugins/extra/config", &wrong).await;
    assert_eq!(refused(&answer), (422, "invalid_config".to_owned()));
    let problems = &answer.json()["error"]["details"]["problems"];
    assert_eq!(problems[0]["pointer"], "/config/depth", "{problems}");
    assert_eq!(get(&gateway, "/api/plugins/extra/config").await["config"], json!({}));
}

#[tokio::test]
async fn what_stands_in_the_configuration_is_restarted_here_and_changed_there() {
    let gateway = managed().await;
    for (method, what, body) in [
        ("POST", "/activate", json!({})),
        ("POST", "/deactivate", json!({})),
        ("PUT", "/config", json!({"config": {}})),
        ("DELETE", "", json!({})),
    ] {
        let answer = gateway.admin_json(method, &format!("/api/plugins/patches{what}"), &body).await;
        assert_eq!(refused(&answer), (409, "managed".to_owned()), "{method} {what}");
    }
    let before = get(&gateway, "/api/plugins/patches").await["observed"]["pid"].clone();
    assert_eq!(gateway.admin("POST", "/api/plugins/patches/restart").await.status(), 200);
    assert_ne!(get(&gateway, "/api/plugins/patches").await["observed"]["pid"], before);
}

#[tokio::test]
async fn every_change_leaves_a_line_that_says_who_asked_read_page_by_page() {
    let gateway = start("", &[]).await;
    let path = put(&gateway, "one", &extra("1.0.0"));
    gateway.admin_json("POST", "/api/plugins", &json!({ "path": path })).await;
    gateway.admin_json("POST", "/api/plugins/extra/activate", &json!({ "grant": true })).await;
    gateway.admin("POST", "/api/plugins/extra/deactivate").await;
    let first = get(&gateway, "/api/audit?limit=2").await;
    let rows = first["audit"].as_array().unwrap();
    let actions: Vec<_> = rows.iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["deactivate", "activate"]);
    assert_eq!((&rows[0]["who"], &rows[0]["plugin"]), (&json!("api"), &json!("extra")));
    let next = first["next"].as_i64().expect("there is another page");
    let last = get(&gateway, &format!("/api/audit?limit=2&before={next}")).await;
    assert_eq!((&last["audit"][0]["action"], &last["next"]), (&json!("install"), &json!(null)));
}
