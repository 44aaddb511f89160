//! The plugins of this repository, loaded from their folders and started through the real launcher: each does what
//! its manifest says, over the gateway's own link.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookway::hook::{
    Action, Call, ClientId, Endpoint, Hook, HookName, Phase, RouteChange, UpstreamCause, UpstreamFailure,
    Verdict,
};
use hookway::package::{self, Search};
use hookway::plugin::launch::Launcher;
use hookway::plugin::{Plugin, PluginSpec};
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins")
}

async fn start(name: &str, config: Value) -> Arc<Plugin> {
    let gateway = PathBuf::from(env!("CARGO_BIN_EXE_hookway"));
    let package = package::load(&plugins().join(name)).unwrap();
    let search = Search { beside: Some(gateway.parent().unwrap().to_owned()), ..Search::of_this_process() };
    let sdk = plugins().join("sdk/python");
    let path = std::env::var("PATH").unwrap();
    let spec = PluginSpec {
        name: name.to_owned(),
        version: package.manifest.version.to_string(),
        argv: package.program.resolve(&package.dir, &search).unwrap(),
        dir: package.dir,
        env: [("PYTHONPATH", sdk.to_str().unwrap()), ("PYTHONDONTWRITEBYTECODE", "1"), ("PATH", &path)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        config: config.as_object().unwrap().clone(),
        hooks: package.manifest.hooks.into_keys().collect(),
        generation: 1,
        max_in_flight: 8,
        start_timeout: Duration::from_secs(5),
    };
    let (data, control) = (Handle::current(), Handle::current());
    let plugin =
        Plugin::start(spec, Launcher::start(gateway).unwrap(), data, &control, Arc::new(|_: &str, _: &_| ()));
    plugin.ready().await.unwrap();
    plugin
}

async fn ask(plugin: &Plugin, hook: HookName, body: Value, failure: Option<&UpstreamFailure>) -> Verdict {
    let body = Bytes::from(body.to_string());
    let call = Call {
        hook,
        request_id: "r1",
        generation: 1,
        endpoint: Endpoint::ChatCompletions,
        method: "POST",
        path: "/v1/chat/completions",
        model: Some("gpt-4o"),
        stream: false,
        key_id: None,
        headers: &[],
        pointers: &[],
        metadata: &Map::new(),
        body_bytes: body.len(),
        failure,
        body: Some(body),
        budget: Duration::from_secs(20),
        cut_short: false,
        client: ClientId::default(),
    };
    plugin.call(call).await.unwrap()
}

fn prompt(text: &str) -> Value {
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]})
}

/// What a JSON patch puts in the place of the first message.
fn patched(verdict: Verdict) -> String {
    let Action::JsonPatch(patch) = verdict.action else { panic!("no JSON patch: {:?}", verdict.action) };
    let operations = serde_json::to_value(patch).unwrap();
    assert_eq!(operations[0]["path"], "/messages/0/content");
    operations[0]["value"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn redact_masks_prompts_of_any_size_and_lets_the_others_pass_untouched() {
    let redact = start("redact", json!({"replacement": "[gone]"})).await;
    let ask = |text: String| ask(&redact, HookName::OnRequest, prompt(&text), None);
    assert_eq!(ask("hello".to_owned()).await, Verdict::default());
    assert_eq!(patched(ask("mail ada@example.com".to_owned()).await), "mail [gone]");
    let filler = "lorem ipsum ".repeat(400_000);
    assert_eq!(patched(ask(format!("{filler}+49 30 1234567")).await), format!("{filler}[gone]"));
}

#[tokio::test]
async fn guard_refuses_what_matches() {
    let guard = start("guard", json!({"patterns": ["(?i)bomb"], "status": 403})).await;
    let ask = |text: &str| ask(&guard, HookName::OnRequest, prompt(text), None);
    assert_eq!(ask("hello").await, Verdict::default());
    let Action::Reject { status, error } = ask("A BOMB").await.action else { panic!("it must be refused") };
    assert_eq!((status.as_u16(), error.code.as_deref()), (403, Some("prompt_refused")));
}

#[tokio::test]
async fn rescue_answers_or_falls_back_when_no_attempt_is_left() {
    let mut failure = UpstreamFailure {
        cause: UpstreamCause::RateLimited,
        phase: Phase::FirstByte,
        upstream: "openai".to_owned(),
        attempt: 2,
        status: Some(429),
        elapsed_ms: 812,
        bytes_sent: 0,
        will_retry: false,
        message: "openai answered 429".to_owned(),
        error_body: None,
    };
    let answers = start("rescue", json!({"message": "Back soon."})).await;
    let verdict = ask(&answers, HookName::OnError, Value::Null, Some(&failure)).await;
    let Action::Respond { status, body } = verdict.action else { panic!("it must be answered") };
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status.as_u16(), &answer["choices"][0]["message"]["content"]), (200, &json!("Back soon.")));

    let moves = start("rescue", json!({"action": "fallback", "upstream": "backup"})).await;
    let verdict = ask(&moves, HookName::OnError, Value::Null, Some(&failure)).await;
    let route = RouteChange { model: None, upstream: Some("backup".to_owned()) };
    assert_eq!((verdict.action, verdict.route), (Action::Fallback, Some(route)));

    failure.will_retry = true;
    assert_eq!(ask(&answers, HookName::OnError, Value::Null, Some(&failure)).await, Verdict::default());
}
