//! What is refused, with words that say what to do.

use serde_json::{Value, json};

use crate::api::{configure, done, install, order, plugin, put, refused, scan, shows, stamps, start, tell};
use crate::harness::Message;

fn message(answer: &Message) -> String {
    answer.json()["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_unknown_or_not_ours_to_change_is_refused() {
    let gateway = start().await;
    for what in ["activate", "deactivate", "restart"] {
        assert_eq!(refused(&tell(&gateway, "ghost", what).await), (404, "not_found".to_owned()), "{what}");
    }
    for what in ["activate", "deactivate"] {
        let answer = tell(&gateway, "shows", what).await;
        assert_eq!(refused(&answer), (409, "managed".to_owned()), "{what}");
        assert!(message(&answer).contains("stands in the configuration"), "{answer:?}");
    }
    assert_eq!(gateway.admin("DELETE", "/api/plugins/shows").await.status(), 409);
    assert_eq!(configure(&gateway, "shows", &json!({})).await.status(), 409);
    assert_eq!(plugin(&gateway, "shows").await["managed"], true);
    put(&gateway, "next", &shows());
    assert_eq!(refused(&install(&gateway, "next", false).await), (409, "managed".to_owned()));
    // An order that the configuration does not leave room for.
    let answer = order(&gateway, &["ghost"]).await;
    assert_eq!(answer.status(), 422, "{answer:?}");
    assert!(message(&answer).contains("there is no plugin 'ghost'"), "{answer:?}");
}

#[tokio::test]
async fn the_same_version_is_not_installed_twice() {
    let gateway = start().await;
    put(&gateway, "next", &stamps("twice", "1.0.0"));
    done(install(&gateway, "next", false).await);
    let answer = install(&gateway, "next", false).await;
    assert_eq!(refused(&answer), (409, "wrong_state".to_owned()));
    assert!(
        message(&answer).contains("version 1.0.0 of 'twice' is already installed with the same files"),
        "{answer:?}"
    );
    // A folder without a plugin, and one that is not there.
    for folder in ["state", "nowhere"] {
        assert_eq!(install(&gateway, folder, false).await.status(), 422, "{folder}");
    }
}

#[tokio::test]
async fn a_config_that_breaks_its_schema_changes_nothing_and_points_at_the_field() {
    let gateway = start().await;
    put(&gateway, "plugins", &stamps("strict", "1.0.0"));
    scan(&gateway).await;
    let answer = configure(&gateway, "strict", &json!({ "stamp": -1, "stmap": 2 })).await;
    assert_eq!(answer.status(), 422, "{answer:?}");
    let details = answer.json()["error"]["details"].clone();
    let problems = details["problems"].as_array().unwrap();
    let pointers: Vec<&Value> = problems.iter().map(|problem| &problem["pointer"]).collect();
    assert!(pointers.contains(&&json!("/config/stamp")), "{details}");
    assert_eq!(problems.len(), 2, "{details}");
    let config = done(gateway.admin("GET", "/api/plugins/strict/config").await)["config"].clone();
    assert_eq!(config["stamp"], 0);
}

#[tokio::test]
async fn a_parent_of_several_is_taken_whole_or_not_at_all() {
    let gateway = start().await;
    put(&gateway, "many", &stamps("one", "1.0.0"));
    put(&gateway, "many", &stamps("two", "1.0.0").manifest(json!({ "surprise": 1 })));
    let answer = install(&gateway, "many", false).await;
    assert_eq!(answer.status(), 422, "{answer:?}");
    assert!(answer.text().contains("surprise"), "{answer:?}");
    assert_eq!(gateway.admin("GET", "/api/plugins/one").await.status(), 404);
    put(&gateway, "many", &stamps("two", "1.0.0"));
    gateway.write("many/two/plugin.json", &stamps("two", "1.0.0").files_in("x")[0].1);
    done(install(&gateway, "many", false).await);
    for name in ["one", "two"] {
        assert_eq!(plugin(&gateway, name).await["observed"]["state"], "installed");
    }
}
