//! A configuration file that is being written, cut, emptied, or no file at all. What serves is not lost by it.

use std::fs;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Gateway, HELLO, Request};
use crate::plugins::{Folder, configuration, start};

const WATCH: &str = "[reload]\nwatch = true\n";

/// Lets nothing pass.
fn guard() -> Folder {
    let reject = json!({"action": "reject", "status": 403, "error": {"message": "guarded"}});
    Folder::misbehaving("guard").mode("echo_verdict").config(json!({ "verdict": reject }))
}

async fn status(gateway: &Gateway) -> u16 {
    gateway.ask(&Request::chat(HELLO)).await.status()
}

async fn json_of(gateway: &Gateway, path: &str) -> Value {
    gateway.admin("GET", path).await.json()
}

fn file(gateway: &Gateway) -> std::path::PathBuf {
    gateway.folder().join("hookway.toml")
}

#[tokio::test]
async fn an_emptied_file_is_refused_and_shown_until_it_is_whole_again() {
    let gateway = start(WATCH, &[guard()]).await;
    let whole = fs::read_to_string(file(&gateway)).unwrap();
    assert_eq!(status(&gateway).await, 403);
    for empty in ["", "\n", "# all of it commented out\n\n"] {
        fs::write(file(&gateway), empty).unwrap();
        let refused = gateway.admin("POST", "/api/reload").await;
        assert_eq!(refused.status(), 422, "{refused:?}");
        assert!(refused.text().contains("is empty"), "{refused:?}");
        assert_eq!(status(&gateway).await, 403);
    }
    let notes = json_of(&gateway, "/readyz").await["notes"].to_string();
    assert!(
        notes.contains("hookway.toml") && notes.contains("refused") && notes.contains("is empty"),
        "{notes}"
    );
    let config = json_of(&gateway, "/api/status").await["config"].clone();
    assert!(config["refused"]["errors"][0].as_str().unwrap().contains("is empty"), "{config}");

    fs::write(file(&gateway), whole).unwrap();
    assert_eq!(gateway.admin("POST", "/api/reload").await.status(), 200);
    assert_eq!(json_of(&gateway, "/readyz").await["notes"], json!([]));
    assert_eq!(json_of(&gateway, "/api/status").await["config"]["refused"], json!(null));
}

#[tokio::test]
async fn a_watched_file_that_is_emptied_takes_no_guard_away() {
    let gateway = start(WATCH, &[guard()]).await;
    fs::write(file(&gateway), "").unwrap();
    gateway.log.message("reload refused, nothing changed").await;
    assert_eq!(status(&gateway).await, 403);
    assert_eq!(json_of(&gateway, "/api/chain").await["generation"], 1);
}

/// Whatever part of it is there when it is looked at, it is not read before it was the same for a whole period.
#[tokio::test]
async fn a_file_that_is_being_written_counts_once_it_stays_the_same() {
    let gateway = start(WATCH, &[guard()]).await;
    let whole = fs::read_to_string(file(&gateway)).unwrap();
    let whole = whole.replace("[[plugin]]", "# another\n[[plugin]]").replace("60s", "59s");
    let begun = Instant::now();
    let mut end = 0;
    while begun.elapsed() < Duration::from_millis(3_500) {
        end = (end + 7) % whole.len();
        fs::write(file(&gateway), &whole[..end]).unwrap();
        assert_eq!(status(&gateway).await, 403, "after {end} bytes");
    }
    fs::write(file(&gateway), &whole).unwrap();
    let reloaded = gateway.log.message("reloaded").await;
    assert_eq!((&reloaded["generation"], &reloaded["changes"]), (&json!(2), &json!("[\"plugins changed\"]")));
    let refused = gateway.metric("hookway_chain_reloads_total", &[("outcome", "refused")]).await;
    assert_eq!(refused, 0.0, "a part of it was read");
    assert_eq!(status(&gateway).await, 403);
}

#[tokio::test]
async fn a_reload_that_takes_a_plugin_away_says_so_everywhere() {
    let gateway = start("", &[guard(), Folder::misbehaving("other")]).await;
    gateway.rewrite(&configuration("", &[Folder::misbehaving("other")]));
    let report = gateway.admin("POST", "/api/reload").await.json();
    assert!(report["changes"].to_string().contains("plugin 'guard' removed"), "{report}");
    assert_eq!(report["takenAway"], json!(["guard"]));
    let warned = gateway.log.message("a reload took plugins out of the chain").await;
    assert_eq!((&warned["level"], &warned["plugins"]), (&json!("WARN"), &json!("guard")));
    let notes = json_of(&gateway, "/readyz").await["notes"].to_string();
    assert!(notes.contains("took plugins out of the chain: guard"), "{notes}");
    // Seen and reloaded once more, it is no news.
    assert_eq!(gateway.admin("POST", "/api/reload").await.json()["takenAway"], json!([]));
    assert_eq!(json_of(&gateway, "/readyz").await["notes"], json!([]));
}

#[tokio::test]
async fn a_reload_that_leaves_only_the_echo_says_so() {
    let upstream = crate::harness::Upstream::by_hand().await;
    let gateway = start(&upstream.entry("up", ""), &[]).await;
    gateway.rewrite("[log]\nformat = \"json\"\n");
    assert_eq!(gateway.admin("POST", "/api/reload").await.status(), 200);
    gateway.log.message("a reload left no upstream but the built-in echo").await;
    let notes = json_of(&gateway, "/readyz").await["notes"].to_string();
    assert!(notes.contains("no upstream but the built-in echo"), "{notes}");
    gateway.admin("POST", "/api/reload").await;
    assert_eq!(json_of(&gateway, "/readyz").await["notes"], json!([]));
}

#[tokio::test]
async fn a_pipe_in_place_of_the_file_is_refused_and_holds_nothing_up() {
    let mut gateway = start(WATCH, &[guard()]).await;
    fs::remove_file(file(&gateway)).unwrap();
    mknodat(CWD, file(&gateway), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let refused = gateway.admin("POST", "/api/reload").await;
    assert_eq!(refused.status(), 422, "{refused:?}");
    assert!(refused.text().contains("is not a file"), "{refused:?}");
    assert_eq!(status(&gateway).await, 403);
    gateway.signal(Signal::TERM);
    assert!(gateway.exited().await.success());
}
