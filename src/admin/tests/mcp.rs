//! What an assistant reads at `/mcp`.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use serde_json::{Value, json};

use super::{Stage, request, with_token};

/// The `result` of a request, which is answered in JSON.
async fn result(stage: &Stage, method: &str, params: Value) -> Value {
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let asked = with_token("POST", "/mcp")
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, text/event-stream");
    let (status, headers, body) = stage.ask(asked.body(Body::from(message.to_string())).unwrap()).await;
    assert_eq!((status, &headers[CONTENT_TYPE]), (StatusCode::OK, &"application/json".parse().unwrap()));
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert!(answer["error"].is_null(), "{answer}");
    answer["result"].clone()
}

async fn called(stage: &Stage, tool: &str, arguments: Value) -> Value {
    result(stage, "tools/call", json!({"name": tool, "arguments": arguments})).await
}

#[tokio::test]
async fn a_tool_takes_and_answers_what_its_route_does() {
    let stage = Stage::new().await;
    let listed = result(&stage, "tools/list", json!({})).await;
    let tools = listed["tools"].as_array().unwrap();
    assert_eq!(tools.len(), 8);
    for tool in tools {
        for side in ["inputSchema", "outputSchema"] {
            let schema = &tool[side];
            assert_eq!(schema["type"], "object", "{tool}");
            // It stands alone: what it refers to is in it.
            let text = schema.to_string();
            let references = text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap());
            references.for_each(|reference| assert!(schema.pointer(reference).is_some(), "{reference}"));
        }
        assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{tool}");
    }
    let executions = tools.iter().find(|tool| tool["name"] == "plugin_executions").unwrap();
    let input = executions["inputSchema"]["properties"].as_object().unwrap();
    assert!(input.keys().eq(["name", "before", "limit"]), "{input:?}");

    let answer = called(&stage, "plugin_list", json!({})).await;
    assert_eq!((&answer["isError"], &answer["structuredContent"]), (&json!(false), &json!({"plugins": []})));
}

#[tokio::test]
async fn what_fails_is_an_error_of_the_tool_in_the_words_of_the_api() {
    let stage = Stage::new().await;
    for (tool, arguments, told) in [
        ("plugin_activate", json!({"name": "ghost"}), "There is no plugin 'ghost'. (not_found)"),
        ("plugin_activate", json!({"name": "ghost", "grnt": true}), "did you mean \"grant\"?"),
        ("plugin_deactivate", json!({}), "/name is missing"),
        ("plugin_scan", json!({"deep": true}), "/deep is not known"),
    ] {
        let answer = called(&stage, tool, arguments).await;
        assert_eq!(answer["isError"], true, "{answer}");
        let text = answer["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(told), "{text}");
    }
}

#[tokio::test]
async fn an_assistant_without_the_token_is_told_nothing() {
    let stage = Stage::new().await;
    let asked = request("POST", "/mcp").body(Body::from("{}")).unwrap();
    assert_eq!(stage.ask(asked).await.0, StatusCode::UNAUTHORIZED);
}
