//! The chain: who is asked, in which order, about which requests, and what each gets to see.

use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use crate::harness::{Answer, Gateway, HELLO, Request, Upstream};
use crate::plugins::{Folder, plan, start, verdict};

/// Puts its own name into the body's `user`, behind what is there. Says so in the metadata.
fn signs(name: &str, priority: i32) -> Folder {
    let program = format!(
        "@plugin.on_request\ndef sign(call):\n    user = call.json().get('user', '') + {name:?}\n    \
         return call.patch({{'user': user}}, metadata={{{name:?}: user}})\n"
    );
    Folder::python(name, &program).hook("onRequest", json!({"body": "full"})).priority(priority)
}

/// What a plugin at the end of the chain was told: `{meta, bodyBytes, body}`.
fn shows() -> Folder {
    Folder::misbehaving("zz-shows")
        .hook("onRequest", json!({"headers": [], "body": "full"}))
        .priority(1_000)
        .mode("show_call")
}

#[tokio::test]
async fn plugins_run_by_priority_then_name_and_each_sees_what_the_one_before_left() {
    let gateway = start("", &[signs("c", 20), signs("b", 20), shows(), signs("z", 10)]).await;
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    let told = answer.json();
    let body: Value = serde_json::from_str(told["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["user"], "zbc");
    assert_eq!(told["meta"]["metadata"], json!({"z": "z", "b": "zb", "c": "zbc"}));
    let line = gateway.access(&answer).await;
    let order: Vec<&str> =
        line["hooks"].as_str().unwrap().split(' ').map(|run| run.split('.').next().unwrap()).collect();
    assert_eq!(order, ["z", "b", "c", "zz-shows"]);
    let chain = gateway.admin("GET", "/api/chain").await.json();
    let members = chain["members"].as_array().unwrap().iter().map(|member| &member["name"]);
    assert_eq!(members.collect::<Vec<_>>(), ["z", "b", "c", "zz-shows"]);
}

#[tokio::test]
async fn an_operators_priority_comes_before_the_manifests() {
    let entry = |folder: &Folder, priority: i32| format!("{}priority = {priority}\n", folder.entry());
    let (first, last) = (signs("a", 1), signs("b", 2));
    let base = format!("{}{}", entry(&first, 9), entry(&last, 8));
    let mut plan = plan(&base, &[]);
    for (path, text) in [first.files(), last.files(), shows().files()].concat() {
        plan = plan.file(&path, &text);
    }
    let gateway = plan.start().await;
    gateway.rewrite(&crate::plugins::configuration(&base, &[shows()]));
    assert_eq!(gateway.admin("POST", "/api/reload").await.status(), 200);
    let told = gateway.ask(&Request::chat(HELLO)).await.json();
    assert_eq!(told["meta"]["metadata"], json!({"b": "b", "a": "ba"}));
}

#[tokio::test]
async fn an_answer_ends_the_chain() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let plugins = [Folder::misbehaving("answers").priority(1), signs("later", 2)];
    let gateway = start(&upstream.entry("up", ""), &plugins).await;
    let answer = gateway.ask(&verdict(&json!({"action": "reject", "error": {"message": "no"}}))).await;
    assert_eq!(answer.status(), 403);
    assert!(!gateway.access(&answer).await["hooks"].as_str().unwrap().contains("later"));
}

/// Meets another plugin at a named pipe: opening one end waits until the other is opened.
fn meets(name: &str, mode: &str) -> Folder {
    let program = format!(
        "@plugin.on_request\ndef meet(call):\n    open(plugin.config['pipe'], {mode:?}).close()\n    return call.proceed()\n"
    );
    Folder::python(name, &program).hook("onRequest", json!({"mutates": []}))
}

#[tokio::test]
async fn plugins_that_change_nothing_are_asked_at_the_same_time() {
    let pipes = tempfile::tempdir().unwrap();
    let pipe = pipes.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let config = json!({ "pipe": pipe });
    let plugins = [meets("reader", "rb").config(config.clone()), meets("writer", "wb").config(config)];
    let gateway = start("", &plugins).await;
    // Neither could answer while the other was not asked.
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
}

/// Adds to the metadata that it was asked, if `when` says so.
fn notes(name: &str, when: Value) -> Folder {
    let verdict = json!({"action": "continue", "metadata": {name: true}});
    let folder = Folder::misbehaving(name).hook("onRequest", json!({"headers": [], "when": when}));
    folder.mode("echo_verdict").config(json!({ "verdict": verdict }))
}

/// Which plugins were asked about a request.
async fn asked(gateway: &Gateway, request: &Request) -> Vec<String> {
    let told = gateway.ask(request).await.json();
    let metadata = told["meta"]["metadata"].as_object().cloned().unwrap_or_default();
    metadata.keys().cloned().collect()
}

#[tokio::test]
async fn a_plugin_is_asked_only_about_the_requests_it_named() {
    let everywhere = json!({"endpoint": ["chat.completions", "embeddings", "completions"]});
    let plugins = [
        notes("a-model", json!({"model": ["gpt-*", "o?"]})),
        notes("b-header", json!({"header": {"name": "X-Team"}})),
        notes("c-value", json!({"header": {"name": "x-team", "value": "red"}})),
        notes("d-never", json!({"sample": 0})),
        notes("e-always", json!({"sample": 1})),
        notes("f-embeddings", json!({"endpoint": "embeddings"})),
        shows().hook("onRequest", json!({"headers": [], "when": everywhere})),
    ];
    let gateway = start("", &plugins).await;
    let of = |model: &str| Request::chat(HELLO.replace("\"m\"", &format!("{model:?}")));
    assert_eq!(asked(&gateway, &of("m")).await, ["e-always"]);
    assert_eq!(asked(&gateway, &of("gpt-4o")).await, ["a-model", "e-always"]);
    assert_eq!(asked(&gateway, &of("o3")).await, ["a-model", "e-always"]);
    assert_eq!(asked(&gateway, &of("m").field("x-team", "blue")).await, ["b-header", "e-always"]);
    assert_eq!(asked(&gateway, &of("m").field("X-TEAM", "red")).await, ["b-header", "c-value", "e-always"]);
    let embeddings = Request::post("/v1/embeddings", r#"{"model":"gpt-e","input":"x"}"#);
    assert_eq!(asked(&gateway, &embeddings).await, ["f-embeddings"]);
    let completions = Request::post("/v1/completions", r#"{"model":"gpt-i","prompt":"x"}"#);
    assert_eq!(asked(&gateway, &completions).await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_sample_is_a_share_of_the_requests() {
    let gateway = start("", &[notes("half", json!({"sample": 0.5})), shows()]).await;
    let mut taken = 0;
    for _ in 0..100 {
        taken += asked(&gateway, &Request::chat(HELLO)).await.len();
    }
    assert!((20..=80).contains(&taken), "{taken} of 100");
}

#[tokio::test]
async fn an_earlier_plugins_model_decides_who_is_asked_later() {
    let routes = Folder::misbehaving("a-routes").priority(1);
    let gateway = start("", &[routes, notes("b-big", json!({"model": "big"})), shows()]).await;
    let request = verdict(&json!({"action": "continue", "route": {"model": "big"}}));
    assert_eq!(asked(&gateway, &request).await, ["b-big"]);
}

#[tokio::test]
async fn a_plugin_sees_of_a_request_what_its_manifest_asked_for() {
    let spec = json!({"body": "pointers", "pointers": ["/model", "/messages/0/role", "/absent"], "headers": ["x-seen"]});
    let gateway = start("", &[shows().hook("onRequest", spec)]).await;
    let request = Request::chat(HELLO).field("x-seen", "yes").field("x-unseen", "no");
    let told = gateway.ask(&request.field("authorization", "Bearer sk-secret")).await.json();
    assert_eq!(told["bodyBytes"], 0, "of the body itself");
    let meta = &told["meta"];
    assert_eq!(meta["pointers"], json!({"/model": "m", "/messages/0/role": "user"}));
    assert_eq!(meta["headers"], json!({"x-seen": "yes"}));
    assert_eq!((&meta["bodyBytes"], &meta["model"]), (&json!(HELLO.len()), &json!("m")));
    assert_eq!((&meta["method"], &meta["path"]), (&json!("POST"), &json!("/v1/chat/completions")));
    assert!(!told.to_string().contains("sk-secret"));
}

#[tokio::test]
async fn a_plugin_that_asked_for_no_body_gets_none() {
    let gateway = start("", &[shows().hook("onRequest", json!({"headers": []}))]).await;
    let told = gateway.ask(&Request::chat(HELLO)).await.json();
    assert_eq!((&told["bodyBytes"], &told["body"]), (&json!(0), &json!("")));
    assert_eq!(told["meta"].get("headers"), None);
}

#[tokio::test]
async fn headers_are_seen_as_the_plugins_before_left_them() {
    let changes = json!({"set": {"x-seen": "changed"}, "remove": ["x-gone"]});
    let first = Folder::misbehaving("first").priority(1);
    let last = shows().hook("onRequest", json!({"headers": ["x-seen", "x-gone"]}));
    let gateway = start("", &[first, last]).await;
    let request = verdict(&json!({"action": "continue", "headers": changes}));
    let told = gateway.ask(&request.field("x-seen", "client").field("x-gone", "client")).await.json();
    assert_eq!(told["meta"]["headers"], json!({"x-seen": "changed"}));
}

#[tokio::test]
async fn bodies_of_many_parts_arrive_whole() {
    let gateway = start("", &[shows()]).await;
    for size in [65_536, 65_537, 262_144, 1 << 20, 8 << 20] {
        let body = HELLO.replace("hello", &"x".repeat(size - HELLO.len() + 5));
        assert_eq!(body.len(), size);
        let told = gateway.ask(&Request::chat(body.as_str())).await.json();
        assert_eq!(told["bodyBytes"], size);
    }
}

#[tokio::test]
async fn a_chain_has_one_budget() {
    let slow =
        Folder::misbehaving("slow").hook("onRequest", json!({"onFailure": "open"})).mode("never_answer");
    let next = Folder::misbehaving("waits").hook("onRequest", json!({}));
    let gateway = start("[plugins]\nchain_budget = \"300ms\"\n", &[slow, next]).await;
    let asked = Instant::now();
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    assert!(asked.elapsed() < Duration::from_secs(10), "each alone may take 30 s: {:?}", asked.elapsed());
    assert_eq!((answer.status(), answer.get("x-hookway-plugin")), (504, Some("waits")), "{answer:?}");
    let line = gateway.access(&answer).await;
    assert!(line["hooks"].as_str().unwrap().starts_with("slow.onRequest=timeout:open/"), "{line}");
}

#[tokio::test]
async fn endpoints_no_plugin_named_pass_untouched() {
    let upstream = Upstream::answering(Answer::json(200, r#"{"object":"list","data":[]}"#)).await;
    let gateway = start(&upstream.entry("up", ""), &[shows()]).await;
    let body = r#"{"model":"e", "input":["a"] }"#;
    let answer = gateway.ask(&Request::post("/v1/embeddings", body)).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(upstream.only().text(), body);
    assert_eq!(gateway.access(&answer).await.get("hooks"), None);
}
