//! The document of the routes: what it says holds of each of them, and it changes only on purpose.

use std::path::Path;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};

use super::{Stage, TOKEN, request};

const GOLDEN: &str = "docs/openapi.json";
const METHODS: [&str; 4] = ["get", "put", "post", "delete"];

async fn document(stage: &Stage) -> Value {
    let (status, document) = stage.json("GET", "/openapi.json", "").await;
    assert_eq!(status, 200);
    document
}

/// Every route of the document: method, path as it is asked for, and what is said of it.
fn routes(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let routes = paths.iter().flat_map(|(path, item)| {
        METHODS.into_iter().filter_map(move |method| {
            let route = item.get(method)?;
            Some((method.to_uppercase(), path.replace("{name}", "ghost"), route.clone()))
        })
    });
    routes.collect()
}

#[tokio::test]
async fn the_document_is_the_golden_one() {
    let document = document(&Stage::new().await).await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    let text = format!("{document:#}\n");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "{GOLDEN} is not what the routes say; UPDATE_GOLDEN=1 writes it anew");
}

#[tokio::test]
async fn every_route_asks_for_the_token_and_answers_with_it_what_it_says() {
    let stage = Stage::new().await;
    let routes = routes(&document(&stage).await);
    assert!(routes.len() > 20, "{}", routes.len());
    for (method, path, route) in routes {
        let open = route["security"] == json!([{}]);
        for token in [None, Some("wrong"), Some("let-me-im-to-this-one"), Some(""), Some(TOKEN)] {
            let mut asked = request(&method, &path).header(CONTENT_TYPE, "application/json");
            if let Some(token) = token {
                asked = asked.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            let lets_in = open || token == Some(TOKEN);
            if path == "/api/events" && lets_in {
                // It has no end; what it tells is looked at elsewhere.
                continue;
            }
            let (status, headers, body) = stage.ask(asked.body(Body::empty()).unwrap()).await;
            if !lets_in {
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} {token:?}");
                continue;
            }
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
            let answer = &route["responses"][status.as_str()];
            assert!(answer.is_object(), "{method} {path} answers {status}, which is not documented");
            assert!(!status.is_server_error(), "{method} {path} answers {status}");
            let kind = headers[CONTENT_TYPE].to_str().unwrap();
            let is_json = serde_json::from_slice::<Value>(&body).is_ok();
            assert_eq!(is_json, kind == "application/json", "{method} {path}");
        }
    }
}

#[tokio::test]
async fn every_route_names_itself_and_every_answer_it_may_get_instead() {
    let document = document(&Stage::new().await).await;
    assert_eq!(document["openapi"], "3.1.0");
    for (method, path, route) in routes(&document) {
        for word in ["operationId", "summary"] {
            assert!(
                route[word].as_str().is_some_and(|word| !word.is_empty()),
                "{method} {path} has no {word}"
            );
        }
        let answers = route["responses"].as_object().unwrap();
        let has = |status: &str| answers.contains_key(status);
        let open = path == "/healthz";
        assert_eq!((has("401"), has("403")), (!open, !open), "{method} {path}");
        let body = route.get("requestBody").is_some();
        assert_eq!((has("400"), has("413"), has("415")), (body, body, body), "{method} {path}");
        assert_eq!(has("404"), path.contains("ghost"), "{method} {path}");
        assert!(method == "GET" || has("503"), "{method} {path}");
        for (status, answer) in answers {
            assert_ne!(answer["description"], "", "{method} {path} {status}");
        }
    }
}

#[tokio::test]
async fn every_schema_that_is_referred_to_is_there() {
    let document = document(&Stage::new().await).await;
    let text = document.to_string();
    let references = text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap());
    let mut seen = 0;
    for reference in references {
        assert!(document.pointer(reference).is_some(), "{reference}");
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}
