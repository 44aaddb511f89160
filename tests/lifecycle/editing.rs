//! An author who edits a plugin and installs it again, without another version.

use serde_json::json;

use crate::api::{
    activate, chain, configure, done, install, order, plugin, put, refused, stamp, stamps, start,
};
use crate::harness::{Gateway, Message};
use crate::plugins::Folder;

fn edited(version: &str, edit: &str) -> Folder {
    stamps("edited", version).manifest(json!({ "description": edit }))
}

async fn force(gateway: &Gateway, folder: &str) -> Message {
    let path = gateway.folder().join(folder);
    gateway.admin_json("POST", "/api/plugins", &json!({ "path": path, "force": true })).await
}

async fn description(gateway: &Gateway) -> String {
    plugin(gateway, "edited").await["description"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_plugin_that_was_never_active_and_a_pre_release_take_every_edit() {
    let gateway = start().await;
    for edit in ["first", "second"] {
        put(&gateway, edit, &edited("1.0.0", edit));
        done(install(&gateway, edit, false).await);
        assert_eq!(description(&gateway).await, edit);
    }
    put(&gateway, "third", &edited("2.0.0-dev.1", "third"));
    done(install(&gateway, "third", false).await);
    done(activate(&gateway, "edited").await);
    put(&gateway, "fourth", &edited("2.0.0-dev.1", "fourth"));
    let report = done(install(&gateway, "fourth", false).await);
    assert!(
        report["changes"].to_string().contains("plugin 'edited' 2.0.0-dev.1 with other files"),
        "{report}"
    );
    assert_eq!(report["plugins"][0]["replaced"], "2.0.0-dev.1");
    assert_eq!(description(&gateway).await, "fourth");
    assert_eq!(plugin(&gateway, "edited").await["observed"]["state"], "active");
}

#[tokio::test]
async fn an_edit_of_a_version_that_was_active_is_taken_when_it_is_forced_and_keeps_what_was_decided() {
    let gateway = start().await;
    put(&gateway, "first", &edited("1.0.0", "first"));
    put(&gateway, "first", &stamps("other", "1.0.0"));
    done(install(&gateway, "first", false).await);
    for name in ["edited", "other"] {
        done(activate(&gateway, name).await);
    }
    done(configure(&gateway, "edited", &json!({ "stamp": 6 })).await);
    done(order(&gateway, &["other", "edited"]).await);
    put(&gateway, "second", &edited("1.0.0", "second"));
    let answer = install(&gateway, "second", false).await;
    assert_eq!(refused(&answer), (409, "wrong_state".to_owned()));
    let told = answer.text();
    assert!(told.contains("version 1.0.0 of 'edited' is already installed with other files"), "{told}");
    assert!(told.contains("hookway plugin install --force"), "{told}");
    assert_eq!(description(&gateway).await, "first");

    let before = plugin(&gateway, "edited").await;
    done(force(&gateway, "second").await);
    let after = plugin(&gateway, "edited").await;
    assert_eq!((&after["description"], &after["wanted"]), (&json!("second"), &before["wanted"]));
    assert_eq!(after["permissions"]["granted"], before["permissions"]["granted"]);
    assert_ne!(after["observed"]["pid"], before["observed"]["pid"]);
    assert_eq!(stamp(&gateway, "edited").await, Some(6));
    assert_eq!(chain(&gateway).await, ["other", "edited", "shows"]);
    // What was there before goes, and the same files again are nothing to do.
    gateway.log.message("a folder was removed").await;
    assert_eq!(refused(&force(&gateway, "second").await), (409, "wrong_state".to_owned()));
}

#[tokio::test]
async fn an_edit_that_does_not_start_changes_nothing() {
    let gateway = start().await;
    put(&gateway, "first", &edited("1.0.0", "first"));
    done(install(&gateway, "first", false).await);
    done(activate(&gateway, "edited").await);
    let broken =
        edited("1.0.0", "broken").manifest(json!({ "command": ["hookway-misbehaving", "exit_at_start"] }));
    put(&gateway, "second", &broken);
    let before = plugin(&gateway, "edited").await;
    assert_eq!(refused(&force(&gateway, "second").await), (422, "plugin_failed".to_owned()));
    let after = plugin(&gateway, "edited").await;
    for same in ["description", "digest", "directory", "version"] {
        assert_eq!(after[same], before[same]);
    }
    assert_eq!(after["observed"]["pid"], before["observed"]["pid"]);
    assert_eq!(stamp(&gateway, "edited").await, Some(0));
}
