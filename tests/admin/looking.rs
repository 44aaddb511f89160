//! What operators see of plugins and requests.

use serde_json::{Value, json};

use crate::harness::{Gateway, HELLO, Request, within};
use crate::plugins::{misbehave, verdict};
use crate::{get, managed, refused};

#[tokio::test]
async fn a_plugin_is_told_with_what_is_wanted_what_is_observed_and_its_counters() {
    let gateway = managed().await;
    gateway.access(&gateway.ask(&verdict(&json!({"action": "patch", "patch": {"user": "u"}}))).await).await;
    gateway.access(&gateway.ask(&misbehave("error_frame")).await).await;
    let plugin = get(&gateway, "/api/plugins/patches").await;
    assert_eq!(get(&gateway, "/api/plugins").await["plugins"], json!([plugin]));
    let expected = json!({
        "name": "patches",
        "version": "1.0.0",
        "description": "Patches.",
        "managed": true,
        "wanted": {"enabled": true, "priority": 100, "position": null},
        "failOpen": {},
        "source": null,
        "error": null,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&plugin[key], value, "{key}");
    }
    let observed = &plugin["observed"];
    assert_eq!((&observed["state"], &observed["breaker"]), (&json!("active"), &json!("closed")));
    assert!(observed["pid"].as_u64().unwrap() > 1);
    let asked = json!([
        "see the header x-misbehave (onRequest)",
        "see the whole body (onRequest)",
        "change the whole body (onRequest)",
        "change headers (onRequest)",
        "choose another model or upstream (onRequest)",
        "see the variable TZ",
    ]);
    assert_eq!(plugin["permissions"]["asked"], asked);
    assert_eq!(plugin["permissions"]["missing"], json!([]));
    assert_eq!(plugin["permissions"]["manifest"]["env"], json!(["TZ"]));
    assert_eq!(plugin["digest"].as_str().unwrap().len(), 64);
    assert!(plugin["directory"].as_str().unwrap().ends_with("plugins/patches"));
    let [hook] = plugin["hooks"].as_array().unwrap().as_slice() else { panic!("{plugin}") };
    assert_eq!((&hook["name"], &hook["calls"]), (&json!("onRequest"), &json!({"patch": 1, "error": 1})));
    assert_eq!((&hook["inFlight"], &hook["onFailure"]["default"]), (&json!(0), &json!("closed")));
    let latency = |share: &str| hook["latencyMicros"][share].as_u64().unwrap();
    assert!(latency("p50") > 0 && latency("p50") <= latency("p99"));
}

#[tokio::test]
async fn plugins_are_listed_by_their_state() {
    let gateway = managed().await;
    let count = async |status: &str| {
        get(&gateway, &format!("/api/plugins?status={status}")).await["plugins"].as_array().unwrap().len()
    };
    assert_eq!((count("active").await, count("broken").await), (1, 0));
    assert_eq!(
        refused(&gateway.admin("GET", "/api/plugins?status=up").await),
        (422, "invalid_request".into())
    );
}

#[tokio::test]
async fn a_config_is_shown_with_its_defaults_and_without_its_secrets() {
    let gateway = managed().await;
    let config = get(&gateway, "/api/plugins/patches/config").await;
    assert_eq!(config["config"], json!({"mode": "ok", "depth": 3, "key": null}));
    assert_eq!(config["configSchema"]["properties"]["depth"]["type"], "integer");
    assert_eq!(config["managed"], true);
    for path in ["/api/plugins", "/api/plugins/patches", "/api/status", "/api/chain", "/api/audit"] {
        assert!(!gateway.admin("GET", path).await.text().contains("hush-hush"), "{path}");
    }
}

#[tokio::test]
async fn requests_are_told_newest_first_and_hold_no_secret() {
    let gateway = managed().await;
    let mut ids = Vec::new();
    for body in [HELLO, r#"{"model":"two","messages":[{"role":"user","content":"secret words"}]}"#] {
        let request = Request::chat(body).field("authorization", "Bearer sk-secret");
        let answer = gateway.ask(&request).await;
        gateway.access(&answer).await;
        ids.push(answer.get("x-hookway-request-id").unwrap().to_owned());
    }
    let text = gateway.admin("GET", "/api/requests").await.text();
    assert!(!text.contains("secret"), "{text}");
    let shown = get(&gateway, "/api/requests").await;
    let requests = shown["requests"].as_array().unwrap();
    let told: Vec<_> = requests.iter().map(|request| request["requestId"].as_str().unwrap()).collect();
    assert_eq!(told, [ids[1].as_str(), ids[0].as_str()]);
    let expected = json!({
        "method": "POST", "path": "/v1/chat/completions", "endpoint": "chat.completions", "model": "two",
        "upstream": "echo", "attempts": 1, "status": 200, "outcome": "ok", "stream": false, "generation": 1,
        "fault": null,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&requests[0][key], value, "{key}");
    }
    let hook = &requests[0]["hooks"][0];
    assert_eq!((&hook["plugin"], &hook["outcome"]), (&json!("patches"), &json!("continue")));
    let newest = get(&gateway, "/api/requests?limit=1").await;
    assert_eq!(newest["requests"], json!([requests[0]]));
}

#[tokio::test]
async fn hook_calls_are_read_page_by_page_newest_first() {
    let gateway = managed().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        let answer = gateway.ask(&misbehave("error_frame")).await;
        gateway.access(&answer).await;
        ids.push(json!(answer.get("x-hookway-request-id").unwrap()));
    }
    ids.reverse();
    let path = "/api/plugins/patches/executions";
    // They are written a moment after their request.
    let written =
        async { while get(&gateway, path).await["executions"].as_array().unwrap().len() < ids.len() {} };
    within("all calls are written", written).await;
    let (mut calls, mut next) = (Vec::new(), Value::Null);
    loop {
        let before = if next.is_null() { String::new() } else { format!("&before={next}") };
        let page = get(&gateway, &format!("{path}?limit=2{before}")).await;
        let read = page["executions"].as_array().unwrap();
        assert!((1..=2).contains(&read.len()), "{page}");
        calls.extend(read.iter().cloned());
        next = page["next"].clone();
        if next.is_null() {
            break;
        }
    }
    assert_eq!(calls.iter().map(|call| call["requestId"].clone()).collect::<Vec<_>>(), ids);
    let call = &calls[0];
    assert_eq!((&call["hook"], &call["outcome"]), (&json!("onRequest"), &json!("error")));
    assert_eq!((&call["cause"], &call["policy"]), (&json!("error"), &json!("closed")));
    assert_eq!((&call["version"], &call["generation"]), (&json!("1.0.0"), &json!(1)));
    assert!(call["error"].is_string(), "{call}");
}

#[tokio::test]
async fn output_is_read_on_line_by_line() {
    let gateway = managed().await;
    gateway.ask(&misbehave("flood_stdout=3")).await;
    gateway.log.nth(3, "three lines", |line| line["message"] == "plugin.log").await;
    let page =
        async |after: u64| get(&gateway, &format!("/api/plugins/patches/logs?limit=2&after={after}")).await;
    let (mut lines, mut after) = (Vec::new(), 0);
    loop {
        let page = page(after).await;
        let read = page["lines"].as_array().unwrap().clone();
        after = page["next"].as_u64().unwrap();
        if read.is_empty() {
            break;
        }
        assert!(read.len() <= 2);
        lines.extend(read);
    }
    let texts: Vec<_> = lines.iter().filter(|line| line["source"] != "gateway").collect();
    assert_eq!(texts.len(), 3, "{lines:?}");
    let numbers: Vec<_> = lines.iter().map(|line| line["number"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next));
}

#[tokio::test]
async fn the_program_serves_the_document_that_is_in_the_repository() {
    let gateway = Gateway::start("").await;
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(golden).unwrap()).unwrap();
    assert!(get(&gateway, "/openapi.json").await == golden);
}
