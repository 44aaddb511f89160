//! Puts a replacement where a message says a word; everything else in the request goes on untouched.

use hookway_plugin::{Call, Error, Hook, Plugin, Verdict, serve};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(default)]
struct Replace {
    word: String,
    replacement: String,
}

impl Default for Replace {
    fn default() -> Self {
        Self { word: "swordfish".to_owned(), replacement: "***".to_owned() }
    }
}

impl Plugin for Replace {
    type Config = Self;
    const HOOKS: &[Hook] = &[Hook::OnRequest];
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    fn configure(config: Self) -> Result<Self, Error> {
        if config.word.is_empty() {
            return Err("word must not be empty".into());
        }
        Ok(config)
    }

    async fn on_request(&self, call: Call) -> Result<Verdict, Error> {
        let request: Value = serde_json::from_slice(call.body())?;
        let operations: Vec<Value> = texts(&request["messages"])
            .into_iter()
            .filter(|(_, text)| text.contains(&self.word))
            .map(|(path, text)| {
                json!({ "op": "replace", "path": path, "value": text.replace(&self.word, &self.replacement) })
            })
            .collect();
        Ok(if operations.is_empty() { Verdict::proceed() } else { Verdict::json_patch(operations.into()) })
    }
}

/// The texts of messages and their places. The content of a message is a text, a list of parts, or null.
fn texts(messages: &Value) -> Vec<(String, &str)> {
    let mut texts = Vec::new();
    for (index, message) in messages.as_array().into_iter().flatten().enumerate() {
        let path = format!("/messages/{index}/content");
        let content = &message["content"];
        for (at, part) in content.as_array().into_iter().flatten().enumerate() {
            if let Some(text) = part["text"].as_str() {
                texts.push((format!("{path}/{at}/text"), text));
            }
        }
        if let Some(text) = content.as_str() {
            texts.push((path, text));
        }
    }
    texts
}

fn main() -> std::process::ExitCode {
    serve::<Replace>()
}
