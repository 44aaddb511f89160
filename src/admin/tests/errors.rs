//! Every refusal has one shape, whoever refuses.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::{Stage, TOKEN, request, with_token};
use crate::admin::ApiError;
use crate::lifecycle::LifecycleError;
use crate::limits;
use crate::package::ConfigProblem;

fn error(code: &str, message: &str, details: Value) -> Value {
    json!({"error": {"code": code, "message": message, "details": details}})
}

#[tokio::test]
async fn unknown_paths_and_methods_have_the_same_shape() {
    let stage = Stage::new().await;
    let expected = error("not_found", "There is no '/api/nothing' here.", Value::Null);
    assert_eq!(stage.json("GET", "/api/nothing", "").await, (404, expected));
    for (method, path, allowed) in [
        ("GET", "/api/reload", "POST"),
        ("POST", "/metrics", "GET,HEAD"),
        ("PUT", "/healthz", "GET,HEAD"),
        ("PATCH", "/api/plugins/redact", "GET,HEAD,DELETE"),
    ] {
        let request = request(method, path).header(AUTHORIZATION, format!("Bearer {TOKEN}"));
        let (status, headers, body) = stage.ask(request.body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        assert_eq!(headers[ALLOW], allowed, "{method} {path}");
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], "method_not_allowed");
    }
}

#[tokio::test]
async fn every_route_of_a_plugin_says_that_there_is_none() {
    let stage = Stage::new().await;
    let expected = error("not_found", "There is no plugin 'ghost'.", json!({"plugin": "ghost"}));
    for (method, path, body) in [
        ("GET", "", ""),
        ("DELETE", "", ""),
        ("POST", "/activate", ""),
        ("POST", "/activate", r#"{"grant": true}"#),
        ("POST", "/deactivate", ""),
        ("POST", "/restart", ""),
        ("GET", "/config", ""),
        ("PUT", "/config", r#"{"config": {}}"#),
        ("GET", "/logs?after=1&limit=1", ""),
        ("GET", "/executions?before=9", ""),
    ] {
        let answer = stage.json(method, &format!("/api/plugins/ghost{path}"), body).await;
        assert_eq!(answer, (404, expected.clone()), "{method} {path}");
    }
    let (status, body) = stage.json("GET", "/api/plugins/%FF", "").await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("not_found")));
}

#[tokio::test]
async fn a_body_that_is_no_json_is_told_where() {
    let stage = Stage::new().await;
    let (status, body) = stage.json("POST", "/api/plugins", "{\n  \"path\": }").await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("bad_json")));
    assert_eq!(body["error"]["details"], json!({"line": 2, "column": 11}));
    let deep = format!("{{\"config\": {}}}", "[".repeat(1_000));
    assert_eq!(stage.json("PUT", "/api/plugins/p/config", &deep).await.0, 400);
}

#[tokio::test]
async fn wrong_fields_are_told_by_json_pointers_and_unknown_ones_by_what_they_look_like() {
    let stage = Stage::new().await;
    for (method, path, body, problems) in [
        (
            "POST",
            "/api/plugins",
            r#"{"pth": "/x", "grant": 1}"#,
            json!([
                {"pointer": "/path", "message": "is missing"},
                {"pointer": "/grant", "message": "has to be true or false"},
                {"pointer": "/pth", "message": "is not known; did you mean \"path\"?"},
            ]),
        ),
        (
            "POST",
            "/api/plugins",
            r#"{"path": "plugins/redact"}"#,
            json!([{"pointer": "/path", "message": "has to be an absolute path"}]),
        ),
        (
            "PUT",
            "/api/chain",
            r#"{"order": ["a", 1]}"#,
            json!([{"pointer": "/order/1", "message": "has to be a text"}]),
        ),
        ("PUT", "/api/chain", "[]", json!([{"pointer": "", "message": "has to be an object"}])),
        ("PUT", "/api/chain", "", json!([{"pointer": "/order", "message": "is missing"}])),
        (
            "POST",
            "/api/plugins/p/activate",
            r#"{"grants": true}"#,
            json!([{"pointer": "/grants", "message": "is not known; did you mean \"grant\"?"}]),
        ),
        (
            "GET",
            "/api/plugins?status=on",
            "",
            json!([{"parameter": "status", "message":
                "has to be one of: installed, starting, active, degraded, broken, stopped"}]),
        ),
        (
            "GET",
            "/api/requests?limit=0&limt=1",
            "",
            json!([
                {"parameter": "limit", "message": "has to be a whole number from 1 to 128"},
                {"parameter": "limt", "message": "is not known; did you mean \"limit\"?"},
            ]),
        ),
        (
            "GET",
            "/api/audit?before=-1",
            "",
            json!([{"parameter": "before", "message": "has to be a whole number from 1 to 9007199254740991"}]),
        ),
        (
            "GET",
            "/api/events?kinds=plugin,logs",
            "",
            json!([{"parameter": "kinds", "message":
                "has to be some of these, separated by commas: request, plugin, log, chain"}]),
        ),
    ] {
        let (status, answer) = stage.json(method, path, body).await;
        assert_eq!((status, &answer["error"]["code"]), (422, &json!("invalid_request")), "{method} {path}");
        assert_eq!(answer["error"]["details"]["problems"], problems, "{method} {path}");
    }
}

#[tokio::test]
async fn a_body_of_another_type_or_without_end_is_refused() {
    let stage = Stage::new().await;
    for (kind, status) in [
        (None, 415),
        (Some("text/plain"), 415),
        (Some("application/x-www-form-urlencoded"), 415),
        (Some("application/json; charset=utf-8"), 422),
        (Some("application/merge-patch+json"), 422),
    ] {
        let mut request = with_token("PUT", "/api/chain");
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        let (answered, _, body) = stage.ask(request.body(Body::from("{}")).unwrap()).await;
        assert_eq!(answered.as_u16(), status, "{kind:?}");
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert!(body["error"]["message"].is_string());
    }
    let endless = format!("{{\"order\": [{}]}}", "\"a\",".repeat(limits::ADMIN_BODY_BYTES_MAX / 4));
    let expected = error(
        "too_large",
        "The body is larger than 1048576 bytes.",
        json!({"maxBytes": limits::ADMIN_BODY_BYTES_MAX}),
    );
    assert_eq!(stage.json("PUT", "/api/chain", &endless).await, (413, expected));
}

#[tokio::test]
async fn what_the_lifecycle_refuses_has_a_status_a_code_and_facts() {
    let plugin = || "redact".to_owned();
    let problem = ConfigProblem { pointer: "/replacement".into(), message: "has to be a string".into() };
    let errors = vec!["plugin.json:2:3: unknown key".to_owned()];
    for (refused, status, code, details) in [
        (LifecycleError::Unknown { plugin: plugin() }, 404, "not_found", json!({"plugin": "redact"})),
        (LifecycleError::Managed { plugin: plugin() }, 409, "managed", json!({"plugin": "redact"})),
        (
            LifecycleError::WrongState { plugin: plugin(), why: "is not active".into() },
            409,
            "wrong_state",
            json!({"plugin": "redact", "message": "is not active"}),
        ),
        (
            LifecycleError::AlreadyInstalled { plugin: plugin(), version: "1.0.0".into(), is_same: false },
            409,
            "wrong_state",
            json!({"plugin": "redact", "version": "1.0.0", "sameFiles": false}),
        ),
        (
            LifecycleError::NotGranted { plugin: plugin(), permissions: vec!["read every file".into()] },
            409,
            "not_granted",
            json!({"plugin": "redact", "permissions": ["read every file"]}),
        ),
        (LifecycleError::Invalid { errors: errors.clone() }, 422, "invalid", json!({"errors": errors})),
        (
            LifecycleError::Config { plugin: plugin(), problems: vec![problem] },
            422,
            "invalid_config",
            json!({"plugin": "redact", "problems": [
                {"pointer": "/config/replacement", "message": "has to be a string"},
            ]}),
        ),
        (LifecycleError::Order { problem: "'a' is named twice".into() }, 422, "invalid_order", Value::Null),
        (
            LifecycleError::Failed { plugin: plugin(), step: "handshake", message: "exited".into() },
            422,
            "plugin_failed",
            json!({"plugin": "redact", "step": "handshake", "message": "exited"}),
        ),
        (
            LifecycleError::NotInForce { plugin: plugin(), why: "does not run with it".into() },
            422,
            "not_in_force",
            json!({"plugin": "redact", "message": "does not run with it"}),
        ),
        (LifecycleError::Store { message: "the disk is full".into() }, 503, "store_unavailable", Value::Null),
        (LifecycleError::ShuttingDown, 503, "shutting_down", Value::Null),
    ] {
        let response = ApiError::from(refused).into_response();
        assert_eq!(response.status().as_u16(), status, "{code}");
        assert_eq!(response.headers().contains_key(RETRY_AFTER), status == 503, "{code}");
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["error"]["code"], &body["error"]["details"]), (&json!(code), &details));
    }
    let reload = ApiError::of_reload(LifecycleError::Invalid { errors: vec!["hookway.toml:1:1: no".into()] });
    assert_eq!(reload.code(), "invalid_config");
}

#[tokio::test]
async fn once_the_lifecycle_has_ended_changes_are_refused_and_the_rest_is_told() {
    let stage = Stage::new().await;
    stage.lifecycle.stop().await;
    let (status, body) = stage.json("POST", "/api/reload", "").await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("shutting_down")));
    assert_eq!(stage.json("GET", "/api/plugins", "").await.0, 200);
}
