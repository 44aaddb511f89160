//! What operators see of requests: the access log, the metrics, readiness; and what nobody sees.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::assert_refused;
use crate::harness::{Answer, Gateway, HELLO, Plan, Request, STREAM, TOKEN, Upstream, Wire};

#[tokio::test]
async fn every_answer_has_a_request_id_of_its_own() {
    let gateway = Gateway::start("").await;
    let mut client = gateway.connect().await;
    let mut ids = HashSet::new();
    for request in
        [Request::chat(HELLO), Request::get("/v1/models"), Request::get("/nowhere"), Request::chat("{")]
    {
        for _ in 0..3 {
            let answer = client.ask(&request).await;
            assert!(ids.insert(answer.get("x-hookway-request-id").unwrap().to_owned()));
        }
    }
}

#[tokio::test]
async fn a_request_leaves_one_line_that_says_what_happened() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let request =
        Request::chat(HELLO).field("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let answer = gateway.ask(&request).await;
    let line = gateway.access(&answer).await;
    let expected = json!({
        "level": "INFO",
        "target": "hookway::access",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "method": "POST",
        "path": "/v1/chat/completions",
        "endpoint": "chat.completions",
        "model": "m",
        "upstream": "up",
        "attempts": 1,
        "status": 200,
        "outcome": "ok",
        "stream": false,
        "bytes_in": HELLO.len(),
        "bytes_out": answer.body.len(),
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "generation": 1,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&line[key], value, "{key} of {line}");
    }
    let micros = |key: &str| line[key].as_u64().unwrap_or_else(|| panic!("{key} is missing in {line}"));
    assert!(
        micros("overhead_us") <= micros("first_byte_us") && micros("first_byte_us") <= micros("total_us"),
        "{line}"
    );
    assert!(line["client"].as_str().unwrap().starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn the_line_of_a_stream_counts_its_tokens() {
    let last =
        r#"{"id":"c","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#;
    let text = format!("data: {last}\n\ndata: [DONE]\n\n");
    let upstream = Upstream::answering(Answer::stream_head().chunk(&text).last_chunk()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let line = gateway.access(&gateway.ask(&Request::chat(STREAM)).await).await;
    assert_eq!(
        (&line["stream"], &line["prompt_tokens"], &line["completion_tokens"]),
        (&json!(true), &json!(9), &json!(2))
    );
    assert_eq!(gateway.metric("hookway_tokens_total", &[("model", "m")]).await, 11.0);
}

#[tokio::test]
async fn no_log_line_tells_a_secret() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let dead = Upstream::by_hand().await.address;
    let config = format!(
        "[log]\nformat = \"json\"\nlevel = \"debug\"\n{}[[upstream]]\nname = \"dead\"\nbase_url = \"http://{dead}/v1\"\napi_key = {{ env = \"UP_KEY\" }}\n[[route]]\nmodel = \"n\"\nupstreams = [\"dead\"]\nretry = {{ attempts = 1 }}\n",
        upstream.entry("up", "api_key = { env = \"UP_KEY\" }"),
    );
    let gateway = Plan::new(&config).env("UP_KEY", "sk-secret-own").start().await;
    let secretive = |request: Request| {
        request
            .field("authorization", "Bearer sk-secret-client")
            .field("x-api-key", "sk-secret-other")
            .field("x-hookway-trace", TOKEN)
            .field("cookie", "secret-cookie")
    };
    let body = |model: &str| {
        format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"secret words"}}]}}"#)
    };
    for request in [
        Request::chat(body("m")),
        Request::chat(body("n")),
        Request::chat("{\"secret words"),
        Request::get("/v1/files?key=sk-secret-query"),
        Request::get("/nowhere?key=sk-secret-query"),
    ] {
        let answer = gateway.ask(&secretive(request)).await;
        gateway.access(&answer).await;
    }
    let mut bad = gateway.connect().await;
    bad.send(
        "GET /v1/files?key=sk-secret-query HTTP/1.1\r\nauthorization: Bearer sk-secret-client\r\nbad\r\n\r\n",
    )
    .await;
    assert_refused(&bad.answer().await, 400, "bad_request");
    gateway.admin("GET", "/api/status").await;
    let log = gateway.log.text();
    for secret in ["secret", TOKEN] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
    let shown =
        gateway.admin("GET", "/metrics").await.text() + &gateway.admin("GET", "/api/status").await.text();
    assert!(!shown.contains("sk-secret"), "{shown}");
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let upstream = Upstream::scripted(|request| match request.text().as_str() {
        text if text.contains("\"bad\"") => Answer::json(400, "{}"),
        text if text.contains("\"broken\"") => Answer::json(500, "{}"),
        _ => Answer::hello(),
    })
    .await;
    let route =
        "[[route]]\nmodel = \"*\"\nupstreams = [\"up\"]\nretry = { attempts = 2, backoff = \"1ms\" }\n";
    let gateway = Gateway::start(&[&upstream.entry("up", ""), route].concat()).await;
    for model in ["good", "good", "bad", "broken"] {
        gateway.access(&gateway.ask(&Request::chat(format!(r#"{{"model":"{model}"}}"#))).await).await;
    }
    gateway.access(&gateway.ask(&Request::get("/nowhere")).await).await;
    gateway.access(&gateway.ask(&Request::get("/healthz")).await).await;
    let requests = async |labels: &[(&str, &str)]| gateway.metric("hookway_requests_total", labels).await;
    let chat = ("endpoint", "chat.completions");
    assert_eq!(requests(&[chat, ("route", "*"), ("status", "200"), ("outcome", "ok")]).await, 2.0);
    assert_eq!(requests(&[chat, ("status", "400"), ("outcome", "upstream_refused")]).await, 1.0);
    assert_eq!(requests(&[chat, ("status", "500"), ("outcome", "upstream_error")]).await, 1.0);
    assert_eq!(requests(&[("status", "404")]).await, 1.0);
    assert_eq!(requests(&[]).await, 6.0);
    let attempts = async |outcome| {
        gateway.metric("hookway_upstream_attempts_total", &[("upstream", "up"), ("outcome", outcome)]).await
    };
    assert_eq!((attempts("ok").await, attempts("refused").await, attempts("5xx").await), (2.0, 1.0, 2.0));
    for histogram in ["request_duration_seconds", "time_to_first_byte_seconds", "gateway_overhead_seconds"] {
        let count = async |endpoint| {
            gateway.metric(&format!("hookway_{histogram}_count"), &[("endpoint", endpoint)]).await
        };
        let counts = (count("chat.completions").await, count("unknown").await, count("health").await);
        assert_eq!(counts, (4.0, 1.0, 1.0), "{histogram}");
    }
    assert_eq!(gateway.metric("hookway_upstream_duration_seconds_count", &[("upstream", "up")]).await, 5.0);
    assert_eq!(gateway.metric("hookway_tokens_total", &[("direction", "input")]).await, 6.0);
    assert_eq!(gateway.metric("hookway_build_info", &[]).await, 1.0);
    assert_eq!(gateway.metric("hookway_chain_generation", &[]).await, 1.0);
}

#[tokio::test]
async fn the_control_listener_asks_everybody_for_the_token() {
    let gateway = Gateway::start("").await;
    let ask = async |path: &str, token: Option<&str>| {
        let mut request = Request::get(path).without("host").field("host", "localhost");
        if let Some(token) = token {
            request = request.field("authorization", &format!("Bearer {token}"));
        }
        Wire::open(gateway.admin).await.ask(&request).await
    };
    for path in ["/metrics", "/readyz", "/api/status", "/api/chain", "/api/reload", "/nowhere"] {
        for token in [None, Some(""), Some("wrong"), Some("harness-tokem")] {
            let answer = ask(path, token).await;
            assert_eq!(
                (answer.status(), &answer.json()["error"]["code"]),
                (401, &json!("unauthorized")),
                "{path}"
            );
        }
    }
    assert_eq!(ask("/healthz", None).await.status(), 200);
    let ready = ask("/readyz", Some(TOKEN)).await;
    assert_eq!((ready.status(), &ready.json()["ready"]), (200, &Value::Bool(true)));
    for path in ["/metrics", "/api/status", "/api/chain"] {
        assert_eq!(ask(path, Some(TOKEN)).await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn requests_beyond_the_bound_are_told_to_come_back() {
    let mut upstream = Upstream::by_hand().await;
    let config = format!("[limits]\nrequests_in_flight = 1\n{}", upstream.entry("up", ""));
    let gateway = Gateway::start(&config).await;
    let mut first = gateway.connect().await;
    first.send(Request::chat(HELLO).bytes()).await;
    let mut call = upstream.call().await;
    call.body().await;
    let mut second = gateway.connect().await;
    let refused = second.ask(&Request::chat(HELLO)).await;
    assert_refused(&refused, 503, "overloaded");
    assert_eq!(refused.get("retry-after"), Some("1"));
    call.answer(Answer::hello()).await;
    let answer = first.answer().await;
    assert_eq!(answer.status(), 200);
    gateway.access(&answer).await;
    second.send(Request::chat(HELLO).bytes()).await;
    call.wire.head().await;
    call.answer(Answer::hello()).await;
    assert_eq!(second.answer().await.status(), 200, "the place is free, and the connection is the same");
}
