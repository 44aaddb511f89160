//! What a caller of the control listener reads.

use axum::body::Body;
use axum::http::header::{ALLOW, AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Request};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tower::ServiceExt;

use super::*;

const TOKEN: &str = "let-me-in";

struct Fake {
    readiness: Readiness,
    reload: Result<Report, LifecycleError>,
}

impl Default for Fake {
    fn default() -> Self {
        let report =
            Report { generation: 4, changed: true, changes: vec!["plugin 'redact' was added".into()] };
        Self { readiness: Readiness { ready: true, notes: Vec::new() }, reload: Ok(report) }
    }
}

impl Control for Fake {
    async fn status(&self) -> Value {
        json!({"version": "0"})
    }

    async fn chain(&self) -> Value {
        json!({"generation": 3})
    }

    fn ready(&self) -> Readiness {
        self.readiness.clone()
    }

    async fn reload(&self) -> Result<Report, LifecycleError> {
        self.reload.clone()
    }
}

fn routes(fake: Fake) -> Router {
    let (token, _) = crate::token::load(Some(TOKEN), None, "/nowhere".as_ref()).unwrap();
    router(Arc::new(fake), Arc::new(Metrics::new()), token, vec!["hookway.internal".to_owned()])
}

async fn ask(fake: Fake, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
    let (head, body) = routes(fake).oneshot(request).await.unwrap().into_parts();
    (head.status, head.headers, axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec())
}

fn request(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header(HOST, "127.0.0.1:8081")
}

async fn with_token(fake: Fake, method: &str, path: &str) -> (StatusCode, Value) {
    let request = request(method, path).header(AUTHORIZATION, format!("Bearer {TOKEN}"));
    let (status, _, body) = ask(fake, request.body(Body::empty()).unwrap()).await;
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn without_the_token_nothing_is_said_but_healthz() {
    for (method, path) in [
        ("GET", "/metrics"),
        ("GET", "/readyz"),
        ("GET", "/api/status"),
        ("GET", "/api/chain"),
        ("POST", "/api/reload"),
        ("DELETE", "/api/chain"),
        ("GET", "/api/nothing"),
        ("GET", "/"),
        ("GET", "/healthz/"),
    ] {
        for credentials in
            [None, Some("Bearer wrong"), Some("Basic let-me-in"), Some("let-me-in"), Some("Bearer")]
        {
            let mut request = request(method, path);
            if let Some(credentials) = credentials {
                request = request.header(AUTHORIZATION, credentials);
            }
            let (status, headers, body) = ask(Fake::default(), request.body(Body::empty()).unwrap()).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} {credentials:?}");
            assert_eq!(headers[WWW_AUTHENTICATE], "Bearer");
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["error"]["code"], "unauthorized");
        }
    }
    let (status, _, body) =
        ask(Fake::default(), request("GET", "/healthz").body(Body::empty()).unwrap()).await;
    assert_eq!((status, &body[..]), (StatusCode::OK, &b"ok"[..]));
}

#[tokio::test]
async fn a_page_under_another_name_is_told_nothing() {
    for (host, expected) in [
        ("evil.example", StatusCode::FORBIDDEN),
        ("127.0.0.1.evil.example:8081", StatusCode::FORBIDDEN),
        ("localhost.evil.example", StatusCode::FORBIDDEN),
        ("not a host", StatusCode::FORBIDDEN),
        ("localhost:8081", StatusCode::UNAUTHORIZED),
        ("[::1]:8081", StatusCode::UNAUTHORIZED),
        ("10.0.0.7", StatusCode::UNAUTHORIZED),
        ("Hookway.Internal:8081", StatusCode::UNAUTHORIZED),
    ] {
        let request = Request::get("/api/status").header(HOST, host);
        let (status, _, _) = ask(Fake::default(), request.body(Body::empty()).unwrap()).await;
        assert_eq!(status, expected, "{host}");
    }
    // A scraper that knows the token may call the listener as it likes.
    let scraper =
        Request::get("/metrics").header(HOST, "gateway:8081").header(AUTHORIZATION, "bearer let-me-in");
    let (status, headers, body) = ask(Fake::default(), scraper.body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    assert!(headers[CONTENT_TYPE].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    assert!(body.starts_with(b"# HELP "));
}

#[tokio::test]
async fn what_runs_is_told_in_its_own_words() {
    assert_eq!(
        with_token(Fake::default(), "GET", "/api/status").await,
        (StatusCode::OK, json!({"version": "0"}))
    );
    assert_eq!(
        with_token(Fake::default(), "GET", "/api/chain").await,
        (StatusCode::OK, json!({"generation": 3}))
    );
}

#[tokio::test]
async fn readiness_is_a_status_and_its_notes() {
    let expected = (StatusCode::OK, json!({"ready": true, "notes": []}));
    assert_eq!(with_token(Fake::default(), "GET", "/readyz").await, expected);
    let readiness = Readiness { ready: false, notes: vec!["shutting down".into()] };
    let fake = Fake { readiness, ..Fake::default() };
    let expected = (StatusCode::SERVICE_UNAVAILABLE, json!({"ready": false, "notes": ["shutting down"]}));
    assert_eq!(with_token(fake, "GET", "/readyz").await, expected);
}

#[tokio::test]
async fn a_reload_says_what_changed_or_why_nothing_did() {
    let expected = json!({"generation": 4, "changed": true, "changes": ["plugin 'redact' was added"]});
    assert_eq!(with_token(Fake::default(), "POST", "/api/reload").await, (StatusCode::OK, expected));

    for (error, status, code, details) in [
        (
            LifecycleError::Invalid { errors: vec!["hookway.toml:1:1: no".into()] },
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_config",
            json!({"errors": ["hookway.toml:1:1: no"]}),
        ),
        (
            LifecycleError::Failed { plugin: "redact".into(), step: "handshake", message: "exited".into() },
            StatusCode::UNPROCESSABLE_ENTITY,
            "plugin_failed",
            json!({"plugin": "redact", "step": "handshake", "message": "exited"}),
        ),
        (LifecycleError::ShuttingDown, StatusCode::CONFLICT, "shutting_down", Value::Null),
    ] {
        let message = format!("Nothing was changed: {error}.");
        let fake = Fake { reload: Err(error), ..Fake::default() };
        let expected = json!({"error": {"code": code, "message": message, "details": details}});
        assert_eq!(with_token(fake, "POST", "/api/reload").await, (status, expected));
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_have_the_same_shape() {
    let (status, body) = with_token(Fake::default(), "GET", "/api/nothing").await;
    let expected = json!({"error": {"code": "not_found", "message": "There is no '/api/nothing' here.", "details": null}});
    assert_eq!((status, body), (StatusCode::NOT_FOUND, expected));
    for (method, path, allowed) in
        [("GET", "/api/reload", "POST"), ("POST", "/metrics", "GET,HEAD"), ("PUT", "/healthz", "GET,HEAD")]
    {
        let request = request(method, path).header(AUTHORIZATION, format!("Bearer {TOKEN}"));
        let (status, headers, body) = ask(Fake::default(), request.body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        assert_eq!(headers[ALLOW], allowed, "{method} {path}");
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], "method_not_allowed");
    }
}

#[tokio::test]
async fn it_serves_until_told_to_stop_even_with_a_client_that_stays() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, routes(Fake::default()), async {
        let _ = stopped.await;
    }));
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok") {
        assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0);
    }
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}
