//! What the API serves under which path, and the merged model lists.

use serde_json::json;

use crate::assert_refused;
use crate::harness::{Answer, Gateway, HELLO, Request, Upstream};

#[tokio::test]
async fn the_api_is_served_with_and_without_v1() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    for prefix in ["/v1", ""] {
        let chat = Request::post(&format!("{prefix}/chat/completions?beta=1&x=%2F"), HELLO);
        assert_eq!(client.ask(&chat).await.status(), 200);
        let files = Request::get(&format!("{prefix}/files/a%20b?after=x"));
        assert_eq!(client.ask(&files).await.status(), 200);
    }
    let asked: Vec<String> = upstream.received().iter().map(|request| request.path().to_owned()).collect();
    let (chat, files) = ("/v1/chat/completions?beta=1&x=%2F", "/v1/files/a%20b?after=x");
    assert_eq!(asked, [chat, files, chat, files]);
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_is_told_in_openais_form() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    for path in
        ["/", "/v1", "/v1/", "/v2/chat/completions", "/metrics", "/api/status", "/admin", "/favicon.ico"]
    {
        assert_refused(&client.ask(&Request::get(path)).await, 404, "not_found");
    }
    for method in ["PUT", "DELETE", "PATCH"] {
        let request = Request { method: method.to_owned(), ..Request::chat(HELLO) };
        let answer = client.ask(&request).await;
        assert_refused(&answer, 405, "method_not_allowed");
        assert!(answer.get("allow").is_some_and(|allow| allow.contains("POST")), "{answer:?}");
    }
    let head = client.ask(&Request::new("HEAD", "/nowhere")).await;
    assert_eq!((head.status(), head.body.len()), (404, 0));
    for path in ["/v1/../admin", "/v1/files/%2e%2e/x", "/v1/./files", "/v1/files/..%2fx"] {
        assert_refused(&client.ask(&Request::get(path)).await, 400, "bad_request");
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn no_spelling_of_a_hooked_path_reaches_the_upstream_as_another_one() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    for path in [
        "/v1/chat/completions%3Fa",
        "/v1/chat/completions%23",
        "/v1/chat/completions%00",
        "/v1/files/..;/chat/completions",
        "/v1/chat/completions;x",
        "/v1/chat%2Fcompletions",
        "/v1/chat%252Fcompletions",
        "/v1/chat%5Ccompletions",
        "/v1//chat/completions",
        "/v1/Chat/completions",
        "/v1/chat/completions%20",
        "/v1/chat/completions.",
        "/v1/v1/chat/completions",
        "/v1/chat%C0%AFcompletions",
        "/v1/%EF%BD%83hat/completions",
        "//chat/completions",
    ] {
        assert_refused(&client.ask(&Request::post(path, HELLO)).await, 400, "bad_request");
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn health_is_told_without_asking_anybody() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let answer = gateway.ask(&Request::get("/healthz")).await;
    assert_eq!((answer.status(), answer.json()), (200, json!({"status": "ok"})));
    let head = gateway.ask(&Request::new("HEAD", "/healthz")).await;
    assert_eq!((head.status(), head.body.len()), (200, 0));
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn without_any_configuration_echo_answers_plain_and_streaming() {
    let gateway = Gateway::start("").await;
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "hello");
    assert!(answer.json()["usage"]["total_tokens"].as_u64().is_some());
    let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hello you"}]}"#;
    let stream = gateway.ask(&Request::chat(body)).await;
    assert!(stream.get("content-type").unwrap().starts_with("text/event-stream"));
    assert!(stream.text().ends_with("data: [DONE]\n\n"), "{}", stream.text());
    let models = gateway.ask(&Request::get("/v1/models")).await;
    assert_eq!(models.json()["data"][0]["id"], "echo");
}

const FIRST: &str = r#"{"object":"list","data":[{"id":"a","owned_by":"one","x":1.0},{"id":"org/name:tag","owned_by":"one"}]}"#;
const SECOND: &str = r#"{"object":"list","data":[{"id":"a","owned_by":"two"},{"id":"b","owned_by":"two"}]}"#;

#[tokio::test]
async fn models_of_all_upstreams_are_one_list() {
    let first = Upstream::answering(Answer::json(200, FIRST)).await;
    let second = Upstream::answering(Answer::json(200, SECOND)).await;
    let broken = Upstream::answering(Answer::json(500, "{}")).await;
    let config = [first.entry("one", ""), broken.entry("broken", ""), second.entry("two", "")].concat();
    let gateway = Gateway::start(&config).await;
    for path in ["/v1/models", "/models"] {
        let models = gateway.ask(&Request::get(path)).await;
        assert_eq!(models.status(), 200, "{models:?}");
        let data = r#"[{"id":"a","owned_by":"one","x":1.0},{"id":"org/name:tag","owned_by":"one"},{"id":"b","owned_by":"two"}]"#;
        assert_eq!(models.text(), format!(r#"{{"object":"list","data":{data}}}"#));
    }
    assert_eq!(first.received()[0].head.line, "GET /v1/models HTTP/1.1");
}

#[tokio::test]
async fn one_model_is_found_by_its_id_slashes_included() {
    let first = Upstream::answering(Answer::json(200, FIRST)).await;
    let second = Upstream::answering(Answer::json(200, SECOND)).await;
    let gateway = Gateway::start(&[first.entry("one", ""), second.entry("two", "")].concat()).await;
    for (path, owner) in [
        ("/v1/models/a", "one"),
        ("/v1/models/b", "two"),
        ("/models/b", "two"),
        ("/v1/models/org/name:tag", "one"),
        ("/v1/models/org%2Fname%3Atag", "one"),
    ] {
        let model = gateway.ask(&Request::get(path)).await;
        assert_eq!((model.status(), &model.json()["owned_by"]), (200, &json!(owner)), "{path}");
    }
}

#[tokio::test]
async fn a_model_no_list_has_is_asked_for_at_the_upstream() {
    let upstream = Upstream::scripted(|request| match request.path() {
        "/v1/models" => Answer::json(200, FIRST),
        "/v1/models/hidden" => Answer::json(200, r#"{"id":"hidden"}"#),
        _ => Answer::json(
            404,
            r#"{"error":{"message":"no","type":"t","param":null,"code":"model_not_found"}}"#,
        ),
    })
    .await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let hidden = gateway.ask(&Request::get("/v1/models/hidden")).await;
    assert_eq!((hidden.status(), hidden.text()), (200, r#"{"id":"hidden"}"#.to_owned()));
    assert_refused(&gateway.ask(&Request::get("/v1/models/none")).await, 404, "model_not_found");
}

#[tokio::test]
async fn no_models_at_all_is_an_error() {
    let broken = Upstream::answering(Answer::json(500, "{}")).await;
    let gateway = Gateway::start(&broken.entry("up", "")).await;
    assert_refused(&gateway.ask(&Request::get("/v1/models")).await, 502, "upstream_failed");
}

#[tokio::test]
async fn a_model_goes_where_the_first_matching_route_says() {
    let (one, two) = (Upstream::answering(Answer::hello()).await, Upstream::answering(Answer::hello()).await);
    let routes = "[[route]]\nmodel = \"gpt-*\"\nupstreams = [\"two\"]\n[[route]]\nmodel = \"gpt-4\"\nupstreams = [\"one\"]\n";
    let gateway = Gateway::start(&[&one.entry("one", ""), &two.entry("two", ""), routes].concat()).await;
    for model in ["gpt-4", "other", "gpt-5/x", "GPT-4"] {
        gateway.ask(&Request::chat(format!(r#"{{"model":"{model}"}}"#))).await;
    }
    let models =
        |upstream: &Upstream| upstream.received().iter().map(|request| request.text()).collect::<Vec<_>>();
    assert_eq!(models(&one), [r#"{"model":"other"}"#, r#"{"model":"GPT-4"}"#]);
    assert_eq!(models(&two), [r#"{"model":"gpt-4"}"#, r#"{"model":"gpt-5/x"}"#]);
}

#[tokio::test]
async fn a_hooked_path_takes_a_prompt_by_post_alone() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    for path in ["/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages", "/v1/chat/completions"]
    {
        for method in ["post", "Post", "PUT", "FOO"] {
            let answer = gateway.ask(&Request::new(method, path).body(HELLO)).await;
            assert_eq!(answer.status(), 405, "{method} {path}");
        }
        let with_body = Request::get(path).field("content-length", &HELLO.len().to_string()).body(HELLO);
        assert_eq!(gateway.ask(&with_body).await.status(), 405, "GET {path} with a body");
        let upgrade = Request::get(path).field("connection", "upgrade").field("upgrade", "websocket");
        assert_eq!(gateway.ask(&upgrade).await.status(), 405, "an upgrade of {path}");
    }
    assert_eq!(gateway.ask(&Request::get("/v1/chat/completions?limit=1")).await.status(), 200);
    assert_eq!(upstream.received().len(), 1, "the list of stored chats");
}

#[tokio::test]
async fn a_body_that_could_be_read_as_another_text_is_refused() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    for (name, value) in [
        ("content-type", "application/json; charset=utf-7"),
        ("content-type", "application/json; charset=\"cp037\""),
        ("content-encoding", "gzip"),
    ] {
        let request = Request::new("POST", "/v1/chat/completions").field(name, value).body(HELLO);
        assert_eq!(gateway.ask(&request).await.status(), 415, "{value}");
    }
    for name in ["content-type", "content-encoding"] {
        let value = if name == "content-type" { "application/json" } else { "identity" };
        let twice = Request::new("POST", "/v1/chat/completions").field(name, value).field(name, value);
        assert_eq!(gateway.ask(&twice.body(HELLO)).await.status(), 415, "{name} twice");
    }
    let utf8 =
        Request::new("POST", "/v1/chat/completions").field("content-type", "application/json; charset=UTF-8");
    assert_eq!(gateway.ask(&utf8.body(HELLO)).await.status(), 200);
    assert_eq!(upstream.received().len(), 1);
}
