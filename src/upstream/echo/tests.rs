//! What a client of the echo reads.

use super::*;

fn post(path: &str, body: Value) -> Answer {
    answer_to(&Method::POST, path, body.to_string().as_bytes(), 7)
}

fn body(answer: &Answer) -> Value {
    assert_eq!(answer.content_type, answer::JSON);
    serde_json::from_slice(&answer.chunks.concat()).unwrap()
}

fn chat(fields: Value) -> Value {
    body(&post("/chat/completions", fields))
}

fn user(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

/// The chunks of a stream, `[DONE]` taken off.
fn chunks(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.content_type, answer::SSE);
    let (done, events) = answer.chunks.split_last().unwrap();
    assert_eq!(done, sse::DONE);
    events.iter().map(|event| serde_json::from_slice(&sse::data(event).unwrap()).unwrap()).collect()
}

#[track_caller]
fn refuses(answer: &Answer, status: StatusCode, param: Option<&str>) {
    assert_eq!(answer.status, status);
    let error = &body(answer)["error"];
    assert_eq!(error["param"].as_str(), param, "{error}");
    assert_eq!(error["type"], "invalid_request_error");
    assert!(!error["message"].as_str().unwrap().is_empty());
}

#[test]
fn the_last_user_message_is_said_back_with_its_usage() {
    let answer = chat(json!({"model": "gpt-4o", "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "first"},
        {"role": "user", "content": [
            {"type": "text", "text": "what is"},
            {"type": "image_url", "image_url": {"url": "data:,"}},
            {"type": "input_audio", "input_audio": {}},
        ]},
    ]}));
    assert_eq!(answer["choices"][0]["message"]["content"], "what is\n[image]\n[input_audio]");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["model"], "gpt-4o");
    assert_eq!(answer["created"], 7);
    assert_eq!(answer["usage"], json!({"prompt_tokens": 8, "completion_tokens": 4, "total_tokens": 12}));
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-echo-"));
}

#[test]
fn a_stream_tells_the_same_word_by_word() {
    let request = json!({"messages": user(" Hello,  wide\nworld \n"), "stream": true, "stream_options": {"include_usage": true}});
    let chunks = chunks(&post("/chat/completions", request));
    let contents: Vec<_> =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(contents, ["", " Hello,", "  wide", "\nworld", " \n"]);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let [.., end, usage] = &chunks[..] else { panic!("too few chunks") };
    assert_eq!(end["choices"][0]["finish_reason"], "stop");
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &json!(6)));
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
}

#[test]
fn a_long_stream_stays_a_thousand_chunks_or_so() {
    let text = "word ".repeat(200_000);
    let chunks = chunks(&post("/chat/completions", json!({"messages": user(&text), "stream": true})));
    assert!(chunks.len() < 1010, "{}", chunks.len());
    let told: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(told, text);
}

#[test]
fn max_tokens_cuts_and_n_repeats() {
    for key in ["max_tokens", "max_completion_tokens"] {
        let answer = chat(json!({"messages": user("a b c"), key: 2, "n": 2}));
        assert_eq!(
            answer["choices"][1],
            json!({"index": 1, "message": {"role": "assistant", "content": "a b", "refusal": null}, "logprobs": null, "finish_reason": "length"})
        );
        assert_eq!(answer["usage"]["completion_tokens"], 4);
    }
    assert_eq!(
        chat(json!({"messages": user("a b "), "max_tokens": 2}))["choices"][0]["finish_reason"],
        "stop"
    );
}

fn tools() -> Value {
    let parameters = json!({"type": "object", "required": ["city", "days", "unit"], "properties": {
        "city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["c", "f"]}, "more": {"type": "string"},
    }});
    json!([{"type": "function", "function": {"name": "weather", "parameters": parameters}}, {"type": "function", "function": {"name": "time"}}])
}

fn called(tool_choice: Value, messages: Value) -> Option<String> {
    let answer = chat(json!({"messages": messages, "tools": tools(), "tool_choice": tool_choice}));
    let choice = &answer["choices"][0];
    let name = choice["message"]["tool_calls"][0]["function"]["name"].as_str().map(str::to_owned);
    assert_eq!(choice["finish_reason"], if name.is_some() { "tool_calls" } else { "stop" });
    name
}

#[test]
fn a_tool_is_called_when_it_is_asked_for() {
    let named = json!({"type": "function", "function": {"name": "time"}});
    let called_by = |choice: Value, text: &str| called(choice, user(text));
    assert_eq!(called_by(named, "x").as_deref(), Some("time"));
    assert_eq!(called_by(json!("required"), "x").as_deref(), Some("weather"));
    assert_eq!(called_by(json!("auto"), "Please call `time`.").as_deref(), Some("time"));
    assert_eq!(called_by(Value::Null, "Call weather, now").as_deref(), Some("weather"));
    assert_eq!(called_by(json!("none"), "call time"), None);
    assert_eq!(called_by(json!("auto"), "what time is it?"), None);
}

#[test]
fn a_tool_that_has_answered_is_not_called_again_but_quoted() {
    let messages = json!([{"role": "user", "content": "call time"}, {"role": "assistant", "content": null}, {"role": "tool", "tool_call_id": "x", "content": "noon"}]);
    assert_eq!(called(Value::Null, messages.clone()), None);
    let answer = chat(json!({"messages": messages, "tools": tools()}));
    assert_eq!(answer["choices"][0]["message"]["content"], "noon");
}

#[test]
fn arguments_fit_the_tools_schema_and_stream_as_deltas() {
    let request = json!({"messages": user("call weather"), "tools": tools(), "stream": true});
    let chunks = chunks(&post("/chat/completions", request));
    let deltas: Vec<_> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0]).collect();
    assert_eq!(deltas[0]["function"], json!({"name": "weather", "arguments": ""}));
    assert_eq!((&deltas[0]["type"], &deltas[0]["index"]), (&json!("function"), &json!(0)));
    let arguments: Value =
        serde_json::from_str(deltas[1]["function"]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({"city": "call weather", "days": 0, "unit": "c"}));
    assert_eq!(chunks[2]["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn embeddings_are_unit_vectors_of_their_input() {
    let of = |request: Value| body(&post("/embeddings", request));
    let two = of(json!({"model": "m", "input": ["a b", "c"]}));
    let again = of(json!({"model": "m", "input": "c", "dimensions": 8}));
    assert_eq!(two["data"][1]["embedding"], again["data"][0]["embedding"]);
    assert_ne!(two["data"][0]["embedding"], two["data"][1]["embedding"]);
    assert_eq!(two["usage"], json!({"prompt_tokens": 3, "total_tokens": 3}));
    let vector: Vec<f64> = serde_json::from_value(again["data"][0]["embedding"].clone()).unwrap();
    assert_eq!(vector.len(), 8);
    assert!((vector.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-6);

    let encoded = of(json!({"input": "c", "encoding_format": "base64"}))["data"][0]["embedding"].take();
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded.as_str().unwrap())
        .unwrap();
    let decoded: Vec<f64> = bytes.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x).into()).collect();
    assert!(decoded.iter().zip(&vector).all(|(a, b)| (a - b).abs() < 1e-6));
    assert_eq!(
        of(json!({"input": [[1, 2], [3]], "dimensions": 3}))["data"][1]["embedding"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn completions_say_their_prompts_back() {
    let plain = body(&post("/completions", json!({"prompt": ["a b", "c"], "max_tokens": 1})));
    assert_eq!(
        plain["choices"][0],
        json!({"index": 0, "text": "a", "logprobs": null, "finish_reason": "length"})
    );
    assert_eq!(plain["usage"]["total_tokens"], 5);
    let told = chunks(&post("/completions", json!({"prompt": "a b", "stream": true})));
    let texts: Vec<_> = told.iter().map(|chunk| chunk["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["a", " b", ""]);
}

#[test]
fn models_are_listed_and_found() {
    let get = |path| answer_to(&Method::GET, path, b"", 7);
    assert_eq!(body(&get("/models?limit=1"))["data"][0]["id"], "echo");
    assert_eq!(body(&get("/models/echo"))["object"], "model");
    refuses(&get("/models/gpt-4o"), StatusCode::NOT_FOUND, Some("model"));
    refuses(&get("/files"), StatusCode::NOT_FOUND, None);
    refuses(&get("/embeddings"), StatusCode::METHOD_NOT_ALLOWED, None);
    refuses(&post("/models", json!({})), StatusCode::METHOD_NOT_ALLOWED, None);
}

#[test]
fn what_cannot_be_answered_names_its_parameter() {
    let bad = StatusCode::BAD_REQUEST;
    for (path, request, param) in [
        ("/chat/completions", json!({}), Some("messages")),
        ("/chat/completions", json!({"messages": []}), Some("messages")),
        ("/chat/completions", json!({"messages": "x"}), Some("messages")),
        ("/chat/completions", json!({"messages": user("x"), "n": 0}), Some("n")),
        ("/chat/completions", json!({"messages": user("x"), "max_tokens": "9"}), Some("max_tokens")),
        (
            "/chat/completions",
            json!({"messages": user("x"), "tools": tools(), "tool_choice": {"function": {"name": "no"}}}),
            Some("tool_choice"),
        ),
        ("/chat/completions", json!([]), None),
        ("/completions", json!({"prompt": [1, 2]}), Some("prompt")),
        ("/embeddings", json!({"input": []}), Some("input")),
        ("/embeddings", json!({"input": [true]}), Some("input")),
        ("/embeddings", json!({"input": "x", "dimensions": 0}), Some("dimensions")),
        ("/embeddings", json!({"input": "x", "encoding_format": "hex"}), Some("encoding_format")),
    ] {
        refuses(&post(path, request), bad, param);
    }
}

#[test]
fn a_small_request_gets_no_huge_answer() {
    let long = "word ".repeat(20_000);
    let model = "m".repeat(10_000);
    let names: Vec<String> = (0..200).map(|n| format!("p{n}")).collect();
    let properties: Map<String, Value> =
        names.iter().map(|name| (name.clone(), json!({"type": "string"}))).collect();
    let function = json!({"name": "f", "parameters": {"required": names, "properties": properties}});
    for request in [
        json!({"messages": user(&long), "n": 128}),
        json!({"messages": user(&long), "n": 128, "stream": true}),
        json!({"messages": user(&long), "stream": true, "model": model}),
        json!({"messages": user(&long), "tools": [{"function": function}], "tool_choice": "required"}),
    ] {
        refuses(&post("/chat/completions", request), StatusCode::BAD_REQUEST, None);
    }
    for stream in [false, true] {
        let prompts = json!({"prompt": vec![""; 40_000], "stream": stream});
        refuses(&post("/completions", prompts), StatusCode::BAD_REQUEST, None);
    }
    let many = json!({"input": vec!["x"; 2049]});
    refuses(&post("/embeddings", many), StatusCode::BAD_REQUEST, Some("input"));
    let wide = json!({"input": vec!["x"; 100], "dimensions": 4096});
    refuses(&post("/embeddings", wide), StatusCode::BAD_REQUEST, Some("dimensions"));
    assert_eq!(post("/chat/completions", json!({"messages": user(&long), "n": 8})).status, StatusCode::OK);
}
