//! Answers the gateway writes itself: error bodies, error events, and a whole completion told as a stream.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::sse;
use crate::hook::ApiError;

pub const JSON: &str = "application/json";
pub const SSE: &str = "text/event-stream";

/// OpenAI's error object. Its four keys are always there: clients look for each of them.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error: ErrorFields<'a>,
}

#[derive(Serialize)]
struct ErrorFields<'a> {
    message: &'a str,
    r#type: Option<&'a str>,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

/// `{"error":{"message","type","param","code"}}`
pub fn error_body(error: &ApiError) -> Bytes {
    let fields = ErrorFields {
        message: &error.message,
        r#type: error.kind.as_deref(),
        param: error.param.as_deref(),
        code: error.code.as_deref(),
    };
    serde_json::to_vec(&ErrorBody { error: fields }).expect("strings serialize").into()
}

/// The same as an SSE event: how an answer ends that broke after its first byte.
pub fn error_event(error: &ApiError) -> Bytes {
    sse::event(&error_body(error))
}

/// A whole chat completion as the stream a client of `stream: true` expects, `[DONE]` included.
///
/// `None` for a body that is no chat completion: an error object, plain text, a stream already. What the body
/// leaves out and clients need (`id`, `created`, `model`) is filled in.
pub fn completion_as_sse(body: &[u8], include_usage: bool) -> Option<Bytes> {
    let mut completion: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let Some(Value::Array(choices)) = completion.remove("choices") else { return None };
    let usage = completion.remove("usage").filter(|usage| include_usage && usage.is_object());
    let mut stream = Stream::new(completion, include_usage);
    for (position, choice) in choices.into_iter().enumerate() {
        stream.choice(position, choice)?;
    }
    if let Some(usage) = usage {
        stream.chunk(Value::Array(Vec::new()), usage);
    }
    stream.out.extend_from_slice(sse::DONE);
    Some(stream.out.into())
}

/// The chunks of one completion.
struct Stream {
    /// The fields that every chunk repeats.
    common: Map<String, Value>,
    include_usage: bool,
    out: Vec<u8>,
}

/// The order in which the parts of a message are told; what a message has beyond them comes before its content.
const TOLD_LAST: [&str; 4] = ["content", "refusal", "tool_calls", "function_call"];

impl Stream {
    fn new(mut completion: Map<String, Value>, include_usage: bool) -> Self {
        let mut common = Map::new();
        common.insert("id".into(), completion.remove("id").unwrap_or_else(|| json!("chatcmpl-hookway")));
        common.insert("object".into(), json!("chat.completion.chunk"));
        common.insert("created".into(), completion.remove("created").unwrap_or_else(|| json!(0)));
        common.insert("model".into(), completion.remove("model").unwrap_or_else(|| json!("")));
        completion.remove("object");
        common.extend(completion);
        Self { common, include_usage, out: Vec::new() }
    }

    /// `None` when `choice` is no choice of a chat.
    fn choice(&mut self, position: usize, choice: Value) -> Option<()> {
        let Value::Object(mut choice) = choice else { return None };
        let Some(Value::Object(mut message)) = choice.remove("message") else { return None };
        let index = choice.remove("index").unwrap_or_else(|| json!(position));
        let finish_reason = choice.remove("finish_reason").unwrap_or_else(|| json!("stop"));
        let logprobs = choice.remove("logprobs").unwrap_or(Value::Null);

        let role = message.remove("role").unwrap_or_else(|| json!("assistant"));
        let [content, refusal, tool_calls, function_call] = TOLD_LAST.map(|key| said(message.remove(key)));
        let empty = if content.is_some() { json!("") } else { Value::Null };
        self.delta(&index, json!({"role": role, "content": empty}), Value::Null, Value::Null);

        message.retain(|_, value| !value.is_null());
        if !message.is_empty() {
            self.delta(&index, Value::Object(message), Value::Null, Value::Null);
        }
        if let Some(content) = content {
            self.delta(&index, json!({ "content": content }), logprobs, Value::Null);
        }
        if let Some(refusal) = refusal {
            self.delta(&index, json!({ "refusal": refusal }), Value::Null, Value::Null);
        }
        if let Some(Value::Array(calls)) = tool_calls {
            self.delta(&index, json!({ "tool_calls": numbered(calls) }), Value::Null, Value::Null);
        }
        if let Some(call) = function_call {
            self.delta(&index, json!({ "function_call": call }), Value::Null, Value::Null);
        }
        self.delta(&index, json!({}), Value::Null, finish_reason);
        Some(())
    }

    fn delta(&mut self, index: &Value, delta: Value, logprobs: Value, finish_reason: Value) {
        let choice =
            json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason});
        self.chunk(Value::Array(vec![choice]), Value::Null);
    }

    fn chunk(&mut self, choices: Value, usage: Value) {
        self.common.insert("choices".into(), choices);
        if self.include_usage {
            self.common.insert("usage".into(), usage);
        }
        self.out.extend_from_slice(b"data: ");
        serde_json::to_writer(&mut self.out, &self.common).expect("values serialize into memory");
        self.out.extend_from_slice(b"\n\n");
    }
}

/// Null and empty text say nothing.
fn said(value: Option<Value>) -> Option<Value> {
    value.filter(|value| !matches!(value, Value::Null) && value.as_str() != Some(""))
}

/// Clients put the deltas of a tool call together by its `index`, which a whole completion does not have.
fn numbered(calls: Vec<Value>) -> Vec<Value> {
    let number = |(index, mut call): (usize, Value)| {
        if let Value::Object(fields) = &mut call {
            fields.insert("index".into(), json!(index));
        }
        call
    };
    calls.into_iter().enumerate().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(stream: &[u8]) -> Vec<String> {
        let mut splitter = sse::Splitter::default();
        splitter.push(Bytes::copy_from_slice(stream));
        let mut found = Vec::new();
        while let Some(piece) = splitter.next_piece().unwrap() {
            found.push(String::from_utf8(sse::data(&piece).unwrap().into_owned()).unwrap());
        }
        assert_eq!(splitter.remainder(), "");
        found
    }

    fn chunks(body: Value, include_usage: bool) -> Vec<Value> {
        let mut data = data(&completion_as_sse(body.to_string().as_bytes(), include_usage).unwrap());
        assert_eq!(data.pop().as_deref(), Some("[DONE]"));
        data.iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect()
    }

    fn choices(body: Value) -> Vec<Value> {
        chunks(body, false).into_iter().map(|mut chunk| chunk["choices"][0].take()).collect()
    }

    #[test]
    fn an_error_has_all_four_keys() {
        let error =
            ApiError { message: "no".into(), kind: Some("server_error".into()), ..ApiError::default() };
        let body = r#"{"error":{"message":"no","type":"server_error","param":null,"code":null}}"#;
        assert_eq!(error_body(&error), body);
        assert_eq!(error_event(&error), format!("data: {body}\n\n"));
    }

    #[test]
    fn a_completion_is_told_as_role_content_and_end() {
        let body = json!({
            "id": "c1", "object": "chat.completion", "created": 7, "model": "m", "system_fingerprint": "f",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi \"you\"\n", "refusal": null}, "logprobs": {"content": []}, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        });
        let common = |choices: Value, usage: Value| json!({"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m", "system_fingerprint": "f", "choices": choices, "usage": usage});
        let delta = |delta: Value, logprobs: Value, finish: Value| {
            common(
                json!([{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}]),
                Value::Null,
            )
        };
        let expected = [
            delta(json!({"role": "assistant", "content": ""}), Value::Null, Value::Null),
            delta(json!({"content": "Hi \"you\"\n"}), json!({"content": []}), Value::Null),
            delta(json!({}), Value::Null, json!("length")),
            common(json!([]), json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})),
        ];
        assert_eq!(chunks(body.clone(), true), expected);
        assert_eq!(chunks(body, false).len(), 3, "no usage unless asked for");
    }

    #[test]
    fn what_a_short_answer_leaves_out_is_filled_in() {
        let told = chunks(json!({"choices": [{"message": {"content": "x"}}]}), true);
        assert_eq!(told.len(), 3, "no usage is made up");
        assert_eq!(told[0]["id"], "chatcmpl-hookway");
        assert_eq!(told[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(told[2]["choices"][0]["finish_reason"], "stop");
    }

    #[test]
    fn tool_calls_refusals_and_unknown_parts_are_told_too() {
        let call =
            |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let told = choices(json!({"choices": [{
            "finish_reason": "tool_calls",
            "message": {"role": "assistant", "content": null, "reasoning_content": "hm", "refusal": "no", "tool_calls": [call("a"), call("b")]},
        }]}));
        let deltas: Vec<_> = told.iter().map(|choice| &choice["delta"]).collect();
        let numbered = |id: &str, index: u64| {
            let mut call = call(id);
            call["index"] = json!(index);
            call
        };
        assert_eq!(
            deltas,
            [
                &json!({"role": "assistant", "content": null}),
                &json!({"reasoning_content": "hm"}),
                &json!({"refusal": "no"}),
                &json!({"tool_calls": [numbered("a", 0), numbered("b", 1)]}),
                &json!({}),
            ]
        );
    }

    #[test]
    fn several_choices_keep_their_indexes() {
        let told = choices(
            json!({"choices": [{"index": 1, "message": {"content": "b"}}, {"message": {"content": "a"}, "index": 0}]}),
        );
        let indexes: Vec<_> = told.iter().map(|choice| choice["index"].as_u64().unwrap()).collect();
        assert_eq!(indexes, [1, 1, 1, 0, 0, 0]);
    }

    #[test]
    fn what_is_no_chat_completion_is_left_alone() {
        for body in [
            "data: {\"choices\":[]}\n\n",
            r#"{"error":{"message":"no"}}"#,
            r#"{"object":"list","data":[]}"#,
            r#"{"choices":[{"text":"a completion of the older kind"}]}"#,
            r#"{"choices":["x"]}"#,
            r#"{"choices":{}}"#,
            "[]",
            "plain",
            "",
        ] {
            assert_eq!(completion_as_sse(body.as_bytes(), true), None, "{body}");
        }
    }
}
