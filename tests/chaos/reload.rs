//! Reloads: whole or not at all, and never in the way of a request.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Answer, Gateway, HELLO, Message, Request, Upstream};
use crate::plugins::{Folder, configuration, start};
use crate::processes::{children, ended, is_alive, nth, ready};

/// Answers each request with its config's `stamp`.
fn answers(stamp: u32) -> Folder {
    let body = json!({ "stamp": stamp }).to_string();
    Folder::misbehaving("answers")
        .mode("echo_verdict")
        .config(json!({"verdict": {"action": "respond"}, "body": body}))
}

async fn stamp(gateway: &Gateway) -> Value {
    gateway.ask(&Request::chat(HELLO)).await.json()["stamp"].clone()
}

/// Reloads by the admin API.
async fn reload(gateway: &Gateway, base: &str, plugins: &[Folder]) -> Message {
    for (path, text) in plugins.iter().flat_map(Folder::files) {
        gateway.write(&path, &text);
    }
    gateway.rewrite(&configuration(base, plugins));
    gateway.admin("POST", "/api/reload").await
}

#[tokio::test]
async fn a_reload_starts_what_is_new_keeps_what_is_not_and_ends_what_is_gone() {
    let stays = Folder::misbehaving("stays").priority(1);
    let gateway = start("", &[stays.clone(), answers(1)]).await;
    let [kept, old] = [ready(&gateway.log, "stays", 1).await, ready(&gateway.log, "answers", 1).await];
    assert_eq!(stamp(&gateway).await, 1);
    let report = reload(&gateway, "", &[stays.clone(), answers(2)]).await;
    let expected =
        json!({"generation": 2, "changed": true, "changes": ["plugin 'answers' changed"], "takenAway": []});
    assert_eq!((report.status(), report.json()), (200, expected));
    assert_eq!(stamp(&gateway).await, 2);
    let new = ready(&gateway.log, "answers", 2).await;
    ended(old).await;
    nth(&gateway.log, 1, "plugin stopped", "answers").await;
    assert_eq!(children(&gateway), [kept, new].into());

    let report = reload(&gateway, "", &[stays]).await.json();
    assert_eq!(report["changes"], json!(["plugin 'answers' removed"]));
    ended(new).await;
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
    nth(&gateway.log, 2, "plugin stopped", "answers").await;
    assert_eq!(children(&gateway), [kept].into());
}

#[tokio::test]
async fn a_reload_of_the_same_changes_nothing() {
    let gateway = start("", &[answers(1)]).await;
    let before = ready(&gateway.log, "answers", 1).await;
    let report = reload(&gateway, "", &[answers(1)]).await.json();
    assert_eq!(report, json!({"generation": 1, "changed": false, "changes": [], "takenAway": []}));
    assert_eq!(children(&gateway), [before].into());
}

#[tokio::test]
async fn a_changed_folder_is_a_change_too() {
    let gateway = start("", &[answers(1)]).await;
    let changed = answers(1).manifest(json!({"description": "other"}));
    let report = reload(&gateway, "", &[changed]).await.json();
    assert_eq!(report["changes"], json!(["plugin 'answers' changed on disk"]));
    ready(&gateway.log, "answers", 2).await;
}

/// Waits for the upstream, and is told there whether it failed, by the plugin the request began with.
fn waits(stamp: u32) -> Folder {
    let reject = json!({"action": "reject", "status": 480, "error": {"message": format!("stamp {stamp}")}});
    let folder = Folder::misbehaving("waits").without_hook("onRequest");
    folder
        .hook("onError", json!({"onFailure": "open"}))
        .mode("echo_verdict")
        .config(json!({ "verdict": reject }))
}

#[tokio::test]
async fn a_request_keeps_the_plugins_it_began_with_until_its_last_byte() {
    let mut upstream = Upstream::by_hand().await;
    let base = upstream.entry("up", "");
    let gateway = start(&base, &[waits(1)]).await;
    let old = ready(&gateway.log, "waits", 1).await;
    let mut client = gateway.connect().await;
    client.send(Request::chat(HELLO).bytes()).await;
    let mut held = upstream.call().await;
    assert_eq!(reload(&gateway, &base, &[waits(2)]).await.status(), 200);
    assert!(is_alive(old), "a request still needs it");

    let mut later = gateway.connect().await;
    later.send(Request::chat(HELLO).bytes()).await;
    upstream.call().await.answer(Answer::json(500, "{}")).await;
    assert!(later.answer().await.text().contains("stamp 2"), "new requests get the new one");

    held.answer(Answer::json(500, "{}")).await;
    assert!(client.answer().await.text().contains("stamp 1"));
    ended(old).await;
    assert_eq!(gateway.metric("hookway_chain_generation", &[]).await, 2.0);
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_time_loses_its_old_plugin() {
    let mut upstream = Upstream::by_hand().await;
    let once = "[[route]]\nmodel = \"*\"\nupstreams = [\"up\"]\nretry = { attempts = 1 }\n";
    let base = format!("[plugins]\ndrain = \"1s\"\n{}{once}", upstream.entry("up", ""));
    let gateway = start(&base, &[waits(1)]).await;
    let old = ready(&gateway.log, "waits", 1).await;
    let mut client = gateway.connect().await;
    client.send(Request::chat(HELLO).bytes()).await;
    let mut held = upstream.call().await;
    assert_eq!(reload(&gateway, &base, &[waits(2)]).await.status(), 200);
    ended(old).await;
    nth(&gateway.log, 1, "plugin stopped", "waits").await;
    held.answer(Answer::json(500, "{}")).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text().as_str()), (500, "{}"), "it fails open");
    assert!(gateway.access(&answer).await["hooks"].as_str().unwrap().contains("unavailable:open"));
}

#[tokio::test]
async fn a_plugin_that_does_not_start_leaves_the_old_generation_and_is_named() {
    let gateway = start("", &[answers(1)]).await;
    let before = ready(&gateway.log, "answers", 1).await;
    let cases = [
        ("exit_at_start", "start", "exited with status 3: told to exit at start"),
        ("refuse_at_start", "handshake", "it refused: told to refuse"),
        ("wrong_protocol", "handshake", "it refused: it speaks protocol 9, the gateway 1"),
        (
            "forget_hooks",
            "handshake",
            "plugin.json declares onRequest, but the program does not serve it (READY leaves it out); add a handler \
             for onRequest to the program, or take it out of \"hooks\" in plugin.json",
        ),
        ("claim_hooks", "handshake", "it serves \"onStreamEvent\", which its manifest does not ask for"),
        (
            "hang_at_start",
            "handshake",
            "it was not ready within 5000 ms; a plugin that needs longer says so by startTimeoutMs in plugin.json",
        ),
    ];
    for (mode, step, reason) in cases {
        let report = reload(&gateway, "", &[answers(2), Folder::misbehaving("new").mode(mode)]).await;
        assert_eq!(report.status(), 422, "{report:?}");
        let error = &report.json()["error"];
        assert_eq!(error["code"], "plugin_failed");
        assert_eq!(error["details"], json!({"plugin": "new", "step": step, "message": reason}), "{mode}");
        assert_eq!(stamp(&gateway).await, 1, "the old generation answers");
    }
    for (round, _) in cases.iter().enumerate() {
        nth(&gateway.log, round + 1, "plugin stopped", "new").await;
        nth(&gateway.log, round + 1, "plugin stopped", "answers").await;
    }
    assert_eq!(children(&gateway), [before].into(), "nothing of the failed ones is left");
    assert_eq!(reload(&gateway, "", &[answers(3)]).await.status(), 200);
    assert_eq!(stamp(&gateway).await, 3);
}

#[tokio::test]
async fn a_program_that_cannot_be_run_is_named() {
    let gateway = start("", &[answers(1)]).await;
    let absent = Folder::misbehaving("absent").manifest(json!({"command": ["no-such-program"]}));
    let report = reload(&gateway, "", &[answers(1), absent]).await;
    assert_eq!((report.status(), &report.json()["error"]["code"]), (422, &json!("invalid_config")));
    let told = report.json()["error"]["details"]["errors"].to_string();
    assert!(told.contains("absent") && told.contains("no-such-program"), "{told}");
    assert_eq!(stamp(&gateway).await, 1);
}

#[tokio::test]
async fn sighup_reloads() {
    let gateway = start("", &[answers(1)]).await;
    gateway.rewrite(&configuration("", &[answers(2)]));
    gateway.signal(Signal::HUP);
    let line = gateway.log.message("reloaded").await;
    assert_eq!(line["generation"], 2);
    assert_eq!(stamp(&gateway).await, 2);
}

#[tokio::test]
async fn a_changed_file_reloads_by_itself_and_an_invalid_one_is_refused_with_all_its_errors() {
    let watch = "[reload]\nwatch = true\n";
    let gateway = start(watch, &[answers(1)]).await;
    gateway.rewrite(&configuration(watch, &[answers(2)]));
    let line = gateway.log.message("reloaded").await;
    assert_eq!((&line["why"], &line["generation"]), (&json!("file change"), &json!(2)));
    assert_eq!(stamp(&gateway).await, 2);

    let wrong = format!("{watch}[limits]\nbody_size = \"many\"\nbodi_timeout = \"1s\"\n");
    gateway.rewrite(&configuration(&wrong, &[answers(3)]));
    let refused = gateway.log.message("reload refused, nothing changed").await;
    let told = refused["error"].as_str().unwrap();
    assert!(told.contains("body_size") && told.contains("bodi_timeout"), "{told}");
    assert_eq!(stamp(&gateway).await, 2);
    let outcomes = ["applied", "refused"].map(|outcome| [("outcome", outcome)]);
    assert_eq!(gateway.metric("hookway_chain_reloads_total", &outcomes[0]).await, 1.0);
    assert_eq!(gateway.metric("hookway_chain_reloads_total", &outcomes[1]).await, 1.0);

    gateway.rewrite(&configuration(watch, &[answers(4)]));
    gateway
        .log
        .find("the third generation", |line| line["generation"] == 3 && line["why"] == "file change")
        .await;
    assert_eq!(stamp(&gateway).await, 4);
}
