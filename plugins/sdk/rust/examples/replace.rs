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
        let messages = request["messages"].as_array().into_iter().flatten();
        let operations: Vec<Value> = messages
            .enumerate()
            .filter_map(|(index, message)| Some((index, message["content"].as_str()?)))
            .filter(|(_, content)| content.contains(&self.word))
            .map(|(index, content)| {
                let value = content.replace(&self.word, &self.replacement);
                json!({ "op": "replace", "path": format!("/messages/{index}/content"), "value": value })
            })
            .collect();
        Ok(if operations.is_empty() { Verdict::proceed() } else { Verdict::json_patch(operations.into()) })
    }
}

fn main() -> std::process::ExitCode {
    serve::<Replace>()
}
