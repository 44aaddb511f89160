//! What is no longer wanted, and is still used.

use std::fs;

use crate::api::{DIRS, activate, done, install, plugin, put, stamps, tell};
use crate::harness::{Answer, HELLO, Request, Upstream};
use crate::processes::{ended, is_alive, ready};

#[tokio::test]
async fn the_files_of_a_plugin_stay_until_its_last_request_is_over_whenever_it_was_deactivated() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = crate::plugins::start(&format!("{DIRS}{}", upstream.entry("up", "")), &[]).await;
    put(&gateway, "next", &stamps("busy", "1.0.0"));
    done(install(&gateway, "next", false).await);
    let files = plugin(&gateway, "busy").await["directory"].as_str().unwrap().to_owned();
    done(activate(&gateway, "busy").await);
    let pid = ready(&gateway.log, "busy", 1).await;
    let mut client = gateway.connect().await;
    client.send(Request::chat(HELLO).bytes()).await;
    let mut held = upstream.call().await;

    done(tell(&gateway, "busy", "deactivate").await);
    done(gateway.admin("DELETE", "/api/plugins/busy").await);
    assert!(is_alive(pid), "a request still needs it");
    assert!(fs::exists(&files).unwrap(), "it still runs from there");

    held.answer(Answer::json(200, "{}")).await;
    assert_eq!(client.answer().await.status(), 200);
    ended(pid).await;
    gateway.log.message("a folder was removed").await;
    assert!(!fs::exists(&files).unwrap());
}
