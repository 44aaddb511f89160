//! The admin API of the real program, as operators' programs meet it.
//!
//! Needs the programs of the whole workspace: `cargo build --workspace` puts them beside the gateway.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../chaos/plugins.rs"]
#[expect(dead_code, reason = "no test program uses all of it")]
mod plugins;

mod changing;
mod listening;
mod looking;

use serde_json::{Value, json};

use harness::{Gateway, Message};
use plugins::Folder;

/// A gateway with one managed plugin, which patches what it is asked to.
async fn managed() -> Gateway {
    plugins::start("", &[patches()]).await
}

fn patches() -> Folder {
    let schema = json!({
        "type": "object",
        "properties": {
            "mode": { "type": "string", "default": "ok" },
            "key": { "type": "string", "secret": true },
            "depth": { "type": "integer", "default": 3 },
        },
    });
    Folder::misbehaving("patches")
        .manifest(
            json!({ "configSchema": schema, "description": "Patches.", "permissions": { "env": ["TZ"] } }),
        )
        .config(json!({ "key": "hush-hush" }))
}

async fn get(gateway: &Gateway, path: &str) -> Value {
    let answer = gateway.admin("GET", path).await;
    assert_eq!(answer.status(), 200, "{path}: {answer:?}");
    answer.json()
}

/// Status and code of a call that was refused.
fn refused(answer: &Message) -> (u16, String) {
    let body = answer.json();
    assert!(body["error"]["message"].is_string() && body["error"].get("details").is_some(), "{body}");
    (answer.status(), body["error"]["code"].as_str().unwrap().to_owned())
}
