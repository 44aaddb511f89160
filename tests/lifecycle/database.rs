//! A database that refuses, is damaged, or has lost what was in it. No guard is lost by it, and nothing acts before it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::api::{
    DIRS, activate, chain, configure, done, install, plugin, put, refused, scan, stamp, stamps, start, tell,
};
use crate::harness::{Gateway, HELLO, Message, Request};

/// Another process that holds the database, until it is dropped.
struct Holder(Child);

impl Holder {
    fn of(database: &Path) -> Self {
        let program = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                       c.execute('BEGIN IMMEDIATE')\nprint('held', flush=True)\nsys.stdin.read()\n";
        let mut child = Command::new("python3")
            .args(["-c", program])
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Its standard input ends, and so does it.
        if let Some(mut stdin) = self.0.stdin.take() {
            let _ = stdin.flush();
        }
        let _ = self.0.wait();
    }
}

fn execute(database: &Path, sql: &str) {
    let program =
        "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\nc.executescript(sys.argv[2])\nc.commit()\n";
    assert!(Command::new("python3").args(["-c", program]).arg(database).arg(sql).status().unwrap().success());
}

#[tokio::test]
async fn a_config_that_the_database_refuses_never_reaches_the_plugin() {
    let gateway = start().await;
    put(&gateway, "plugins", &stamps("live", "1.0.0").hook("onConfigChange", json!({ "headers": [] })));
    scan(&gateway).await;
    done(activate(&gateway, "live").await);
    done(configure(&gateway, "live", &json!({ "stamp": 1 })).await);
    let held = Holder::of(&gateway.folder().join("state/hookway.db"));
    let config = json!({ "stamp": 2 });
    let mut refusal = std::pin::pin!(configure(&gateway, "live", &config));
    let answer: Message = loop {
        tokio::select! {
            answer = &mut refusal => break answer,
            stamp = stamp(&gateway, "live") => assert_eq!(stamp, Some(1), "it acts before the database does"),
        }
    };
    assert_eq!(refused(&answer), (503, "store_unavailable".to_owned()));
    drop(held);
    assert_eq!(stamp(&gateway, "live").await, Some(1));
    done(configure(&gateway, "live", &config).await);
    assert_eq!(stamp(&gateway, "live").await, Some(2));
}

#[tokio::test]
async fn a_stored_config_that_no_process_takes_is_told_and_shown() {
    let gateway = start().await;
    put(&gateway, "plugins", &stamps("live", "1.0.0").hook("onConfigChange", json!({ "headers": [] })));
    scan(&gateway).await;
    done(activate(&gateway, "live").await);
    done(configure(&gateway, "live", &json!({ "stamp": 1, "mode": "restart_on_configure" })).await);
    // The running process refuses it, and a new one ends at its start.
    let answer = configure(&gateway, "live", &json!({ "stamp": 2, "mode": "exit_at_start" })).await;
    assert_eq!(refused(&answer), (422, "not_in_force".to_owned()));
    assert!(answer.text().contains("is stored"), "{answer:?}");
    let shown = plugin(&gateway, "live").await;
    assert!(shown["error"].as_str().unwrap().contains("does not run with its config"), "{shown}");
    let config = done(gateway.admin("GET", "/api/plugins/live/config").await)["config"].clone();
    assert_eq!(config["stamp"], 2);
    done(configure(&gateway, "live", &json!({ "stamp": 3, "mode": "stamp" })).await);
    assert_eq!(stamp(&gateway, "live").await, Some(3));
    assert_eq!(plugin(&gateway, "live").await["error"], json!(null));
}

/// A gateway with an installed and active plugin, ended; and its database.
async fn ended_with_a_guard() -> (Gateway, std::path::PathBuf) {
    let mut gateway = crate::plugins::start(DIRS, &[]).await;
    put(&gateway, "next", &stamps("kept", "1.0.0"));
    done(install(&gateway, "next", false).await);
    done(activate(&gateway, "kept").await);
    done(configure(&gateway, "kept", &json!({ "stamp": 4 })).await);
    gateway.signal(Signal::TERM);
    gateway.exited().await;
    let database = gateway.folder().join("state/hookway.db");
    (gateway, database)
}

async fn blocked(gateway: &Gateway) {
    for path in ["/v1/chat/completions", "/v1/embeddings"] {
        let answer = gateway.ask(&Request::post(path, HELLO)).await;
        assert_eq!((answer.status(), answer.get("x-hookway-plugin")), (503, Some("kept")), "{answer:?}");
    }
    let notes = done(gateway.admin("GET", "/readyz").await)["notes"].to_string();
    assert!(notes.contains("plugin 'kept' is broken") && notes.contains("database"), "{notes}");
}

#[tokio::test]
async fn a_damaged_or_emptied_database_lets_nothing_pass_until_an_operator_decides() {
    let empty: fn(&Path) = |database| {
        fs::write(database, "").unwrap();
        let _ = fs::remove_file(database.with_extension("db-wal"));
    };
    let damages: [fn(&Path); 4] = [
        |database| fs::write(database, "no database any more").unwrap(),
        |database| fs::remove_file(database).unwrap(),
        empty,
        |database| execute(database, "DELETE FROM plugins"),
    ];
    for (round, damage) in damages.into_iter().enumerate() {
        let (gateway, database) = ended_with_a_guard().await;
        damage(&database);
        let gateway = gateway.restart_ended().await;
        gateway.log.message("installed plugins are missing in the database; nothing passes until each is activated or uninstalled").await;
        blocked(&gateway).await;
        // It stays so, whatever else happens.
        let gateway = gateway.restart().await;
        blocked(&gateway).await;
        done(gateway.admin("POST", "/api/reload").await);
        blocked(&gateway).await;
        if round % 2 == 0 {
            assert_eq!(refused(&tell(&gateway, "kept", "activate").await), (409, "not_granted".to_owned()));
            done(activate(&gateway, "kept").await);
            assert_eq!(chain(&gateway).await, ["kept"]);
        } else {
            done(gateway.admin("DELETE", "/api/plugins/kept").await);
            assert_eq!(chain(&gateway).await, Vec::<String>::new());
            gateway.log.message("a folder was removed").await;
        }
        assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
    }
}

#[tokio::test]
async fn a_damaged_database_keeps_what_was_found_by_a_scan_closed_too() {
    let mut gateway = start().await;
    put(&gateway, "plugins", &stamps("found", "1.0.0"));
    scan(&gateway).await;
    done(activate(&gateway, "found").await);
    gateway.signal(Signal::TERM);
    gateway.exited().await;
    fs::write(gateway.folder().join("state/hookway.db"), "no database any more").unwrap();
    let gateway = gateway.restart_ended().await;
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    assert_eq!((answer.status(), answer.get("x-hookway-plugin")), (503, Some("found")), "{answer:?}");
    done(activate(&gateway, "found").await);
    assert_eq!(stamp(&gateway, "found").await, Some(0));
}

#[tokio::test]
async fn a_backup_of_a_damaged_database_brings_back_what_was_wanted() {
    let (gateway, database) = ended_with_a_guard().await;
    let whole = fs::read(&database).unwrap();
    fs::write(&database, "no database any more").unwrap();
    let mut gateway = gateway.restart_ended().await;
    blocked(&gateway).await;
    gateway.signal(Signal::TERM);
    gateway.exited().await;
    for suffix in ["db-wal", "db-shm"] {
        let _ = fs::remove_file(database.with_extension(suffix));
    }
    fs::write(&database, whole).unwrap();
    let gateway = gateway.restart_ended().await;
    let kept: Value = plugin(&gateway, "kept").await;
    assert_eq!(kept["observed"]["state"], "active");
    let config = done(gateway.admin("GET", "/api/plugins/kept/config").await)["config"].clone();
    assert_eq!(config["stamp"], 4);
}

#[tokio::test]
async fn a_config_of_a_plugin_without_a_process_is_stored_once_a_process_has_it() {
    let gateway = start().await;
    let live = stamps("live", "1.0.0").hook("onConfigChange", json!({ "headers": [] }));
    put(&gateway, "plugins", &live);
    scan(&gateway).await;
    done(activate(&gateway, "live").await);
    gateway.write("plugins/live/new.py", "# not what was accepted\n");
    let gateway = gateway.restart().await;
    assert_eq!(plugin(&gateway, "live").await["observed"]["state"], "broken");
    let answer = configure(&gateway, "live", &json!({ "stamp": 2 })).await;
    assert_eq!(refused(&answer), (409, "wrong_state".to_owned()));
    let config = done(gateway.admin("GET", "/api/plugins/live/config").await)["config"].clone();
    assert_eq!(config["stamp"], 0, "nothing was changed");
    assert_eq!(scan(&gateway).await["changed"], json!(["live"]));
    done(configure(&gateway, "live", &json!({ "stamp": 2 })).await);
    assert_eq!(stamp(&gateway, "live").await, Some(2));
}
