//! The admin API in a test's words.

use serde_json::{Value, json};

use crate::harness::{Gateway, HELLO, Message, Request};
use crate::plugins::Folder;

/// What of the configuration every test here has: a folder to scan.
pub(crate) const DIRS: &str = "[plugins]\ndirs = [\"plugins\"]\nchain_budget = \"60s\"\n";

/// A plugin that stamps its config's `stamp` on each request; without one it stamps 0.
pub(crate) fn stamps(name: &str, version: &str) -> Folder {
    let schema = json!({
        "type": "object",
        "properties": {
            "stamp": { "type": "integer", "minimum": 0, "default": 0 },
            "header": { "type": "string", "default": name },
            "mode": { "type": "string", "default": "stamp" },
            "key": { "type": "string", "secret": true },
        },
        "additionalProperties": false,
    });
    Folder::misbehaving(name)
        .hook("onRequest", json!({ "headers": [] }))
        .manifest(json!({ "version": version, "configSchema": schema }))
}

/// A managed plugin at the end of the chain that tells the client what it was told.
pub(crate) fn shows() -> Folder {
    Folder::misbehaving("shows").mode("show_call").priority(1_000).hook("onRequest", json!({ "headers": [] }))
}

/// A gateway whose chain has only [`shows`].
pub(crate) async fn start() -> Gateway {
    crate::plugins::start(DIRS, &[shows()]).await
}

/// Puts a plugin's folder under `folder`.
pub(crate) fn put(gateway: &Gateway, folder: &str, plugin: &Folder) {
    for (path, text) in plugin.files_in(folder) {
        gateway.write(&path, &text);
    }
}

pub(crate) async fn scan(gateway: &Gateway) -> Value {
    done(gateway.admin("POST", "/api/plugins/scan").await)
}

/// `POST /api/plugins/{name}/{what}`
pub(crate) async fn tell(gateway: &Gateway, name: &str, what: &str) -> Message {
    gateway.admin("POST", &format!("/api/plugins/{name}/{what}")).await
}

/// Activates a plugin and grants what it asks for.
pub(crate) async fn activate(gateway: &Gateway, name: &str) -> Message {
    let path = format!("/api/plugins/{name}/activate");
    gateway.admin_json("POST", &path, &json!({ "grant": true })).await
}

pub(crate) async fn install(gateway: &Gateway, folder: &str, grant: bool) -> Message {
    let path = gateway.folder().join(folder);
    gateway.admin_json("POST", "/api/plugins", &json!({ "path": path, "grant": grant })).await
}

pub(crate) async fn configure(gateway: &Gateway, name: &str, config: &Value) -> Message {
    let body = json!({ "config": config });
    gateway.admin_json("PUT", &format!("/api/plugins/{name}/config"), &body).await
}

pub(crate) async fn order(gateway: &Gateway, names: &[&str]) -> Message {
    gateway.admin_json("PUT", "/api/chain", &json!({ "order": names })).await
}

pub(crate) async fn plugin(gateway: &Gateway, name: &str) -> Value {
    done(gateway.admin("GET", &format!("/api/plugins/{name}")).await)
}

/// The names of the published chain, in their order.
pub(crate) async fn chain(gateway: &Gateway) -> Vec<String> {
    let chain = done(gateway.admin("GET", "/api/chain").await);
    let members = chain["members"].as_array().unwrap().iter();
    members.map(|member| member["name"].as_str().unwrap().to_owned()).collect()
}

/// The answer's JSON, of a call that was to succeed.
pub(crate) fn done(answer: Message) -> Value {
    assert!((200..300).contains(&answer.status()), "{answer:?}");
    answer.json()
}

/// Status and code of a call that was refused.
pub(crate) fn refused(answer: &Message) -> (u16, String) {
    (answer.status(), answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}

/// What a request's metadata holds at the end of the chain, and its generation.
pub(crate) async fn seen(gateway: &Gateway) -> (Value, u64) {
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    let meta = answer.json()["meta"].clone();
    (meta["metadata"].clone(), meta["generation"].as_u64().unwrap())
}

/// The stamp of one plugin, if it saw the request. The generations it and the others were told are the same.
pub(crate) async fn stamp(gateway: &Gateway, name: &str) -> Option<u64> {
    let (metadata, generation) = seen(gateway).await;
    let number = |key: &str| metadata[key].as_str().map(|text| text.parse::<u64>().unwrap());
    if let Some(told) = number(&format!("{name}-call")) {
        assert_eq!(told, generation, "two generations in one request: {metadata}");
    }
    number(name)
}
