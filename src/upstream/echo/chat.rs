//! `/chat/completions`: the last user message said back, or a tool called when one is asked for.

use serde_json::{Value, json};

use super::{Answer, Asked, PARTS_MAX, Refusal, parts, tokens, truncate, usage};

/// OpenAI's own bound on `n`.
const CHOICES_MAX: usize = 128;

pub(super) fn answer(asked: &Asked<'_>) -> Result<Answer, Refusal> {
    let messages = match asked.fields.get("messages") {
        Some(Value::Array(messages)) if !messages.is_empty() => messages,
        Some(Value::Array(_)) => return Err(bad("'messages' must not be empty.", "messages")),
        Some(_) => return Err(bad("'messages' must be an array.", "messages")),
        None => return Err(bad("'messages' is required.", "messages")),
    };
    let max = match asked.count("max_completion_tokens", 1, usize::MAX)? {
        Some(max) => Some(max),
        None => asked.count("max_tokens", 1, usize::MAX)?,
    };
    let choices = asked.count("n", 1, CHOICES_MAX)?.unwrap_or(1);
    let told = told(messages);
    let reply = match tool(asked, messages, &told)? {
        Some(call) => Reply::Call(call),
        None => {
            let (text, cut) = truncate(&told, max);
            Reply::Text { text: text.to_owned(), cut }
        }
    };
    let pieces = if asked.stream() { reply.tokens().min(PARTS_MAX) + 3 } else { 1 };
    asked.affords(reply.len().saturating_mul(choices), pieces.saturating_mul(choices))?;
    let prompt = messages.iter().map(|message| tokens(&text(message)).count()).sum();
    let usage = usage(prompt, reply.tokens() * choices);
    Ok(if asked.stream() {
        Answer::stream(reply.chunks(asked, choices, &usage))
    } else {
        Answer::json(&reply.completion(asked, choices, usage))
    })
}

fn bad(message: &str, param: &'static str) -> Refusal {
    Refusal::bad(message.to_owned(), Some(param))
}

/// What is said back: the last message if it is the user's or a tool's, else the user's last one.
fn told(messages: &[Value]) -> String {
    let by_user = |message: &&Value| matches!(role(message), "user" | "tool");
    messages.iter().rfind(by_user).or(messages.last()).map(text).unwrap_or_default()
}

fn role(message: &Value) -> &str {
    message.get("role").and_then(Value::as_str).unwrap_or_default()
}

/// A message's text; parts that are none are named, like `[image]`.
fn text(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().map(part).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

fn part(part: &Value) -> String {
    let kind = part.get("type").and_then(Value::as_str).unwrap_or("part");
    match part.get("text").and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => format!("[{}]", kind.trim_end_matches("_url")),
    }
}

/// A call of a tool.
struct Call {
    name: String,
    arguments: String,
}

/// The tool to call: the one `tool_choice` names, the first if it is `required`, or one the user asks for by
/// `call NAME`. Never a second time when a tool has just answered, unless `tool_choice` insists.
fn tool(asked: &Asked<'_>, messages: &[Value], told: &str) -> Result<Option<Call>, Refusal> {
    let Some(Value::Array(tools)) = asked.fields.get("tools") else { return Ok(None) };
    let functions = || tools.iter().filter_map(|tool| tool.get("function"));
    let named = |name: &str| functions().find(|function| function_name(function) == name);
    let chosen = match asked.fields.get("tool_choice") {
        Some(Value::String(choice)) if choice == "none" => None,
        Some(Value::String(choice)) if choice == "required" => functions().next(),
        Some(Value::Object(choice)) => {
            let name = choice.get("function").map(function_name).unwrap_or_default();
            Some(named(name).ok_or_else(|| {
                bad("'tool_choice' names a function that is not in 'tools'.", "tool_choice")
            })?)
        }
        _ if messages.last().is_some_and(|message| role(message) == "tool") => None,
        _ => functions().find(|function| asks_for(told, function_name(function))),
    };
    let Some(function) = chosen else { return Ok(None) };
    asked.affords(required(function).len().saturating_mul(told.len()), 0)?;
    let arguments = arguments(function, told).to_string();
    Ok(Some(Call { name: function_name(function).to_owned(), arguments }))
}

fn function_name(function: &Value) -> &str {
    function.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn asks_for(told: &str, name: &str) -> bool {
    let bare =
        |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').to_owned();
    let words: Vec<String> = told.split_whitespace().map(bare).collect();
    words.windows(2).any(|pair| pair[0].eq_ignore_ascii_case("call") && pair[1] == name)
}

/// The names of the properties that a call has to give.
fn required(function: &Value) -> &[Value] {
    function.pointer("/parameters/required").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Something of the right type for each required property; the text for strings.
fn arguments(function: &Value, told: &str) -> Value {
    let property = |key: &str| function.get("parameters")?.get("properties")?.get(key);
    let names = required(function).iter().filter_map(Value::as_str);
    let filled =
        names.map(|key| (key.to_owned(), property(key).map_or(Value::Null, |schema| sample(schema, told))));
    Value::Object(filled.collect())
}

fn sample(schema: &Value, told: &str) -> Value {
    if let Some(first) = schema.get("enum").and_then(|values| values.get(0)) {
        return first.clone();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => json!(told),
        Some("integer" | "number") => json!(0),
        Some("boolean") => json!(false),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => Value::Null,
    }
}

/// What every choice says.
enum Reply {
    Text { text: String, cut: bool },
    Call(Call),
}

impl Reply {
    fn tokens(&self) -> usize {
        match self {
            Self::Text { text, .. } => tokens(text).count(),
            Self::Call(call) => 1 + tokens(&call.arguments).count(),
        }
    }

    /// Bytes of its text.
    fn len(&self) -> usize {
        match self {
            Self::Text { text, .. } => text.len(),
            Self::Call(call) => call.name.len() + call.arguments.len(),
        }
    }

    fn finish_reason(&self) -> &'static str {
        match self {
            Self::Text { cut: false, .. } => "stop",
            Self::Text { cut: true, .. } => "length",
            Self::Call(_) => "tool_calls",
        }
    }

    fn message(&self, asked: &Asked<'_>) -> Value {
        match self {
            Self::Text { text, .. } => json!({"role": "assistant", "content": text, "refusal": null}),
            Self::Call(call) => json!({
                "role": "assistant", "content": null, "refusal": null,
                "tool_calls": [{
                    "id": call_id(asked), "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }],
            }),
        }
    }

    /// The deltas of one choice, before the one that ends it.
    fn deltas(&self, asked: &Asked<'_>) -> Vec<Value> {
        match self {
            Self::Text { text, .. } => {
                let role = json!({"role": "assistant", "content": "", "refusal": null});
                [role]
                    .into_iter()
                    .chain(parts(text).into_iter().map(|part| json!({ "content": part })))
                    .collect()
            }
            Self::Call(call) => vec![
                json!({
                    "role": "assistant", "content": null,
                    "tool_calls": [{
                        "index": 0, "id": call_id(asked), "type": "function",
                        "function": {"name": call.name, "arguments": ""},
                    }],
                }),
                json!({"tool_calls": [{"index": 0, "function": {"arguments": call.arguments}}]}),
            ],
        }
    }

    fn completion(&self, asked: &Asked<'_>, choices: usize, usage: Value) -> Value {
        let choice = |index| {
            json!({
                "index": index, "message": self.message(asked), "logprobs": null,
                "finish_reason": self.finish_reason(),
            })
        };
        json!({
            "id": id(asked), "object": "chat.completion", "created": asked.created, "model": asked.model(),
            "choices": (0..choices).map(choice).collect::<Vec<_>>(), "usage": usage,
            "system_fingerprint": "fp_echo",
        })
    }

    fn chunks(&self, asked: &Asked<'_>, choices: usize, usage: &Value) -> Vec<Value> {
        let chunk = |choices: Value, usage: &Value| {
            let mut chunk = json!({
                "id": id(asked), "object": "chat.completion.chunk", "created": asked.created,
                "model": asked.model(), "system_fingerprint": "fp_echo", "choices": choices,
            });
            if asked.include_usage() {
                chunk["usage"] = usage.clone();
            }
            chunk
        };
        let mut chunks = Vec::new();
        for index in 0..choices {
            let mut push = |delta: Value, finish_reason: Value| {
                let choice =
                    json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
                chunks.push(chunk(json!([choice]), &Value::Null));
            };
            for delta in self.deltas(asked) {
                push(delta, Value::Null);
            }
            push(json!({}), json!(self.finish_reason()));
        }
        if asked.include_usage() {
            chunks.push(chunk(json!([]), usage));
        }
        chunks
    }
}

fn id(asked: &Asked<'_>) -> String {
    format!("chatcmpl-echo-{:016x}", asked.seed)
}

fn call_id(asked: &Asked<'_>) -> String {
    format!("call_echo_{:016x}", asked.seed)
}
