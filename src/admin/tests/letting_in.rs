//! Who is let in, and who is told nothing.

use axum::body::Body;
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HOST, WWW_AUTHENTICATE};
use axum::http::{Request, StatusCode};
use serde_json::Value;

use super::{Stage, TOKEN, request};

#[tokio::test]
async fn without_the_token_nothing_is_said_but_healthz() {
    let stage = Stage::new().await;
    for (method, path) in
        [("DELETE", "/api/chain"), ("GET", "/api/nothing"), ("GET", "/"), ("GET", "/healthz/")]
    {
        for credentials in [
            None,
            Some("Bearer wrong"),
            Some("Basic let-me-in-to-this-one"),
            Some("let-me-in-to-this-one"),
            Some("Bearer"),
        ] {
            let mut request = request(method, path);
            if let Some(credentials) = credentials {
                request = request.header(AUTHORIZATION, credentials);
            }
            let (status, headers, body) = stage.ask(request.body(Body::empty()).unwrap()).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} {credentials:?}");
            assert_eq!(headers[WWW_AUTHENTICATE], "Bearer");
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["error"]["code"], "unauthorized");
        }
    }
    let (status, _, body) = stage.ask(request("GET", "/healthz").body(Body::empty()).unwrap()).await;
    assert_eq!((status, &body[..]), (StatusCode::OK, &b"ok"[..]));
}

#[tokio::test]
async fn a_page_under_another_name_is_told_nothing() {
    let stage = Stage::new().await;
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
        let (status, _, _) = stage.ask(request.body(Body::empty()).unwrap()).await;
        assert_eq!(status, expected, "{host}");
    }
    // A scraper that knows the token may call the listener as it likes.
    let scraper = Request::get("/metrics")
        .header(HOST, "gateway:8081")
        .header(AUTHORIZATION, "bearer let-me-in-to-this-one");
    let (status, headers, body) = stage.ask(scraper.body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    assert!(headers[CONTENT_TYPE].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    assert!(body.starts_with(b"# HELP "));
}

#[tokio::test]
async fn a_page_of_another_origin_may_not_read_or_ask() {
    let stage = Stage::new().await;
    for method in ["OPTIONS", "GET", "POST"] {
        for token in [None, Some(TOKEN)] {
            let mut request = request(method, "/api/reload")
                .header("origin", "https://evil.example")
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "authorization");
            if let Some(token) = token {
                request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            let (_, headers, _) = stage.ask(request.body(Body::empty()).unwrap()).await;
            let cors = headers.keys().find(|name| name.as_str().starts_with("access-control-"));
            assert_eq!(cors, None, "{method}");
        }
    }
    let preflight = request("OPTIONS", "/api/reload").header(AUTHORIZATION, format!("Bearer {TOKEN}"));
    let (status, headers, _) = stage.ask(preflight.body(Body::empty()).unwrap()).await;
    assert_eq!((status, &headers[ALLOW]), (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap()));
}
