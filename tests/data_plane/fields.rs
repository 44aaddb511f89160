//! Header fields on their way: what passes, what stays, and what the gateway says in its own name.

use crate::assert_refused;
use crate::harness::{Answer, Gateway, HELLO, Plan, Received, Request, TOKEN, Upstream};

async fn sent_upstream(request: Request, more: &str) -> Received {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = Plan::new(&upstream.entry("up", more)).env("UP_KEY", "sk-own").start().await;
    assert_eq!(gateway.ask(&request).await.status(), 200);
    upstream.only()
}

#[tokio::test]
async fn what_belongs_to_the_client_connection_stays_there() {
    let request = Request::chat(HELLO)
        .field("connection", "keep-alive, X-Private")
        .field("x-private", "1")
        .field("keep-alive", "timeout=5")
        .field("proxy-connection", "keep-alive")
        .field("proxy-authorization", "Basic eDp5")
        .field("te", "trailers")
        .field("trailer", "x-sum")
        .field("x-hookway-trace", "guess")
        .field("x-hookway-anything", "1")
        .field("x-kept", "yes")
        .field("openai-organization", "org-1")
        .field("accept-encoding", "gzip, br");
    let received = sent_upstream(request, "").await;
    let mut names = received.head.names();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "content-type", "host", "openai-organization", "x-kept"]);
}

#[tokio::test]
async fn the_host_is_the_upstreams() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    gateway.ask(&Request::chat(HELLO)).await;
    gateway.ask(&Request::get("/v1/files")).await;
    let expected = upstream.address.to_string();
    for request in upstream.received() {
        assert_eq!(request.head.get("host"), Some(expected.as_str()));
    }
}

#[tokio::test]
async fn a_request_to_an_absolute_target_is_served_like_any_other() {
    let received =
        sent_upstream(Request::post("http://gateway.test/v1/chat/completions?a=b", HELLO), "").await;
    assert_eq!(received.path(), "/v1/chat/completions?a=b");
}

#[tokio::test]
async fn the_clients_key_goes_upstream_when_there_is_no_other() {
    let request = Request::chat(HELLO).field("authorization", "Bearer sk-client");
    assert_eq!(sent_upstream(request, "").await.head.get("authorization"), Some("Bearer sk-client"));
}

#[tokio::test]
async fn a_configured_key_takes_the_place_of_the_clients() {
    let request =
        Request::chat(HELLO).field("authorization", "Bearer sk-client").field("x-api-key", "sk-other");
    let received = sent_upstream(request, "api_key = { env = \"UP_KEY\" }").await;
    assert_eq!(received.head.get("authorization"), Some("Bearer sk-own"));
    assert_eq!(received.head.get("x-api-key"), None);
}

#[tokio::test]
async fn beside_a_configured_key_no_credential_of_the_client_goes_upstream() {
    let key = "api_key = { env = \"UP_KEY\" }";
    let credentials = [
        ("authorization", "Bearer secret"),
        ("x-api-key", "secret"),
        ("x-goog-api-key", "secret"),
        ("api-key", "secret"),
        ("cookie", "session=secret"),
        ("openai-organization", "secret"),
        ("openai-project", "secret"),
    ];
    for mut request in [
        Request::chat(HELLO),
        Request::get("/v1/models"),
        Request::get("/v1/files"),
        Request::get("/v1/realtime"),
    ] {
        if request.path == "/v1/realtime" {
            let offered = "realtime, openai-insecure-api-key.secret";
            request = request.field("connection", "upgrade").field("upgrade", "websocket");
            request = request.field("sec-websocket-protocol", offered);
        }
        request.path.push_str("?limit=2&key=secret&api-key=secret");
        for (name, value) in credentials {
            request = request.field(name, value);
        }
        let received = sent_upstream(request, key).await;
        let head = format!("{:?}", received.head);
        assert!(!head.contains("secret"), "{head}");
        assert_eq!(received.head.all("authorization"), ["Bearer sk-own"], "{head}");
        assert_eq!(received.head.get("sec-websocket-protocol").unwrap_or("realtime"), "realtime");
        if !received.path().contains("models") {
            assert!(received.path().ends_with("?limit=2"), "{head}");
        }
    }
}

#[tokio::test]
async fn a_list_of_models_takes_the_clients_key_to_the_first_upstream_alone() {
    let list = || Upstream::answering(Answer::json(200, r#"{"object":"list","data":[]}"#));
    let (first, second) = (list().await, list().await);
    let gateway = Gateway::start(&[first.entry("first", ""), second.entry("second", "")].concat()).await;
    let request = Request::get("/v1/models").field("authorization", "Bearer mine").field("cookie", "a=b");
    assert_eq!(gateway.ask(&request).await.status(), 200);
    assert_eq!(first.only().head.get("authorization"), Some("Bearer mine"));
    assert_eq!((second.only().head.get("authorization"), second.only().head.get("cookie")), (None, None));
}

#[tokio::test]
async fn configured_fields_are_set_on_every_request() {
    let request = Request::chat(HELLO).field("x-team", "client");
    let received = sent_upstream(request, "headers = { x-team = \"platform\", api-key = \"k\" }").await;
    assert_eq!((received.head.get("x-team"), received.head.get("api-key")), (Some("platform"), Some("k")));
}

#[tokio::test]
async fn what_belongs_to_the_upstream_connection_stays_there() {
    let answer = Answer::with(
        200,
        &[
            ("content-type", "application/json"),
            ("connection", "keep-alive, x-internal"),
            ("x-internal", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authenticate", "Basic"),
            ("x-hookway-plugin", "forged"),
            ("x-hookway-trace", "forged"),
            ("x-request-id", "req_1"),
            ("openai-processing-ms", "7"),
        ],
        "{}",
    );
    let upstream = Upstream::answering(answer).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    for request in [Request::chat(HELLO), Request::get("/v1/files")] {
        let answer = gateway.ask(&request).await;
        assert_eq!(
            (answer.get("x-request-id"), answer.get("openai-processing-ms")),
            (Some("req_1"), Some("7"))
        );
        for name in ["x-internal", "keep-alive", "proxy-authenticate", "x-hookway-plugin", "x-hookway-trace"]
        {
            assert_eq!(answer.get(name), None, "{name}");
        }
        assert!(answer.get("x-hookway-request-id").is_some_and(|id| id.len() == 32));
    }
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_go_on_once_its_request_may_be_served() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let request = Request::chat(HELLO).field("expect", "100-continue");
    let mut client = gateway.connect().await;
    for _ in 0..2 {
        client.send(request.head_bytes()).await;
        assert_eq!(client.head().await.status(), 100);
        client.send(HELLO).await;
        assert_eq!(client.answer().await.status(), 200);
    }
    assert_eq!(upstream.received()[0].head.get("expect"), None);
}

#[tokio::test]
async fn a_client_that_waits_is_not_told_to_go_on_for_nothing() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let waiting = |path: &str, kind: &str, length: &str| {
        let request = Request::new("POST", path).field("expect", "100-continue");
        request.field("content-type", kind).field("content-length", length)
    };
    for (request, status, code) in [
        (waiting("/v1/chat/completions", "application/json", "99999999"), 413, "body_too_large"),
        (waiting("/v1/chat/completions", "text/plain", "9"), 415, "unsupported_media_type"),
        (waiting("/nowhere", "application/json", "9"), 404, "not_found"),
    ] {
        let mut client = gateway.connect().await;
        client.send(request.head_bytes()).await;
        assert_refused(&client.answer().await, status, code);
        // The body was never asked for, so where the next request would begin is anybody's guess.
        crate::assert_closed(client).await;
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let upstream = Upstream::scripted(|request| match request.path() {
        "/v1/files/gone" => Answer::head(204, &[]),
        "/v1/files/same" => Answer::head(304, &[("etag", "\"1\""), ("content-length", "700")]),
        _ => Answer::head(200, &[("content-length", "700"), ("content-type", "text/plain")]),
    })
    .await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let mut client = gateway.connect().await;
    let gone = client.ask(&Request::new("DELETE", "/v1/files/gone")).await;
    assert_eq!((gone.status(), gone.get("content-length"), gone.head.is_chunked()), (204, None, false));
    let same = client.ask(&Request::get("/v1/files/same")).await;
    assert_eq!((same.status(), same.get("etag"), same.head.is_chunked()), (304, Some("\"1\""), false));
    let head = client.ask(&Request::new("HEAD", "/v1/files/x")).await;
    assert_eq!(
        (head.status(), head.get("content-length"), head.head.is_chunked()),
        (200, Some("700"), false)
    );
    assert_eq!(client.ask(&Request::get("/healthz")).await.status(), 200, "the connection lives on");
    assert_eq!(upstream.connections(), 1, "and so does the upstream's");
}

#[tokio::test]
async fn a_trace_is_shown_to_holders_of_the_token_alone() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let asked = |token: &str| Request::chat(HELLO).field("x-hookway-trace", token);
    assert_eq!(gateway.ask(&asked("guess")).await.get("x-hookway-trace"), None);
    assert!(gateway.ask(&asked(TOKEN)).await.get("x-hookway-trace").is_some());
    for request in upstream.received() {
        assert_eq!(request.head.get("x-hookway-trace"), None);
    }
}

#[tokio::test]
async fn guesses_at_the_trace_token_are_logged_and_soon_no_token_is_compared() {
    let gateway = Gateway::start("").await;
    let asked = |token: &str| Request::chat(HELLO).field("x-hookway-trace", token);
    assert!(gateway.ask(&asked(TOKEN)).await.get("x-hookway-trace").is_some());
    for guess in 0..10 {
        let answer = gateway.ask(&asked(&format!("guess {guess}"))).await;
        assert_eq!((answer.status(), answer.get("x-hookway-trace")), (200, None));
    }
    let last = gateway.log.find("the last guess", |line| line["tries_left"] == 0).await;
    assert_eq!((&last["message"], &last["level"]), (&"trace.refused".into(), &"WARN".into()));
    assert!(last["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{last}");
    assert_eq!(last["closed_for_s"], 60);
    assert_eq!(gateway.ask(&asked(TOKEN)).await.get("x-hookway-trace"), None, "not even the right one");
    assert!(!gateway.log.text().contains("guess 3") && !gateway.log.text().contains(TOKEN));
}

#[tokio::test]
async fn trace_context_is_passed_on_as_it_came() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = Request::chat(HELLO).field("traceparent", PARENT).field("tracestate", "a=1");
    let received = sent_upstream(request, "").await;
    assert_eq!(
        (received.head.get("traceparent"), received.head.get("tracestate")),
        (Some(PARENT), Some("a=1"))
    );
}
