//! The gateway is killed in the middle of a change. The next one has the old state or the new one, and files and rows
//! that agree.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{activate, chain, done, install, plugin, put, scan, seen, stamps, start};
use crate::harness::{Gateway, Request, TOKEN, Wire};

/// How often each change is cut short, each time a little later.
const CUTS: u32 = 12;

/// Sends a change and kills the gateway `after` so long, whether or not it has answered.
async fn cut(gateway: Gateway, request: Request, after: Duration) -> Gateway {
    let request = request.without("host").field("host", "localhost");
    let request = request.field("authorization", &format!("Bearer {TOKEN}"));
    let mut wire = Wire::open(gateway.admin).await;
    wire.send(request.bytes()).await;
    tokio::time::sleep(after).await;
    gateway.killed().await
}

/// Every stored plugin has the folder its row names, and the folder of installed ones holds nothing else.
async fn files_and_rows_agree(gateway: &Gateway) {
    let listed = done(gateway.admin("GET", "/api/plugins").await);
    let rows: Vec<&Value> =
        listed["plugins"].as_array().unwrap().iter().filter(|plugin| plugin["managed"] == false).collect();
    let folders: BTreeSet<String> =
        rows.iter().map(|row| row["directory"].as_str().unwrap().to_owned()).collect();
    for folder in &folders {
        assert!(fs::exists(format!("{folder}/plugin.json")).unwrap(), "{folder} is gone, its row is not");
    }
    let installed = gateway.folder().join("state/installed");
    let there: BTreeSet<String> = match fs::read_dir(&installed) {
        Ok(entries) => entries
            .map(|entry| entry.unwrap().path().display().to_string())
            .filter(|path| !path.ends_with("/.staging"))
            .collect(),
        Err(_) => BTreeSet::new(),
    };
    let orphans: Vec<&String> = there.iter().filter(|path| !folders.contains(*path)).collect();
    assert!(orphans.is_empty(), "{orphans:?} are nobody's");
    // What is published is what is wanted, and it serves.
    let wanted: BTreeSet<String> = rows
        .iter()
        .filter(|row| row["wanted"]["enabled"] == true)
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect();
    let published: BTreeSet<String> =
        chain(gateway).await.into_iter().filter(|name| name != "shows").collect();
    assert_eq!(published, wanted);
    seen(gateway).await;
}

fn to_install(gateway: &Gateway, folder: &str) -> Request {
    let path = gateway.folder().join(folder);
    Request::post("/api/plugins", json!({ "path": path }).to_string())
}

#[tokio::test]
async fn installing_and_upgrading() {
    let mut gateway = start().await;
    for step in 0..CUTS {
        put(&gateway, &format!("v{step}"), &stamps("cut", &format!("1.{step}.0")));
        let request = to_install(&gateway, &format!("v{step}"));
        gateway = cut(gateway, request, Duration::from_millis(u64::from(step * 4))).await;
        files_and_rows_agree(&gateway).await;
        let known = gateway.admin("GET", "/api/plugins/cut").await;
        if known.status() == 200 && known.json()["wanted"]["enabled"] == false {
            done(activate(&gateway, "cut").await);
        }
    }
    // After all of that, one that is not cut short succeeds.
    let before = plugin(&gateway, "cut").await["directory"].clone();
    put(&gateway, "last", &stamps("cut", "2.0.0"));
    done(install(&gateway, "last", false).await);
    // The old files go when the old process did.
    let removed = |line: &Value| line["message"] == "a folder was removed" && line["directory"] == before;
    gateway.log.find("the old folder is removed", removed).await;
    assert_eq!(plugin(&gateway, "cut").await["version"], "2.0.0");
    files_and_rows_agree(&gateway).await;
}

#[tokio::test]
async fn activating_configuring_ordering_and_uninstalling() {
    let mut gateway = start().await;
    for step in 0..CUTS {
        for name in ["a", "b"] {
            put(&gateway, "plugins", &stamps(name, "1.0.0"));
        }
        scan(&gateway).await;
        let put_json = |path: &str, body: Value| {
            Request::new("PUT", path).field("content-type", "application/json").body(body.to_string())
        };
        let requests = [
            Request::post("/api/plugins/a/activate", r#"{"grant":true}"#),
            put_json("/api/plugins/a/config", json!({ "config": { "stamp": step } })),
            put_json("/api/chain", json!({ "order": ["b", "a"] })),
            Request::new("DELETE", "/api/plugins/b").field("content-length", "0"),
        ];
        for request in requests {
            gateway = cut(gateway, request, Duration::from_millis(u64::from(step) * 3)).await;
            files_and_rows_agree(&gateway).await;
        }
    }
}
