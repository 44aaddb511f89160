//! `hookway mcp`: a bridge between standard input and output and the running gateway's `/mcp`.
//!
//! A JSON-RPC message per line goes out as one POST, and what comes back is written as lines. Nothing is known here of
//! tools: those are the gateway's. What keeps a message from its answer becomes the answer, as a JSON-RPC error, so
//! that a client learns that the gateway is down and needs no new bridge once it is up. Standard output has messages
//! alone.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Here;
use super::api::{Access, Answer, Api};
use super::say::{Failure, told_to};
use crate::limits;

/// JSON-RPC's own codes, and one of those it leaves to servers.
const PARSE_ERROR: i32 = -32700;
const UNREACHABLE: i32 = -32000;

/// Where a request says which version of the protocol it is written in, if it does.
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";

struct Bridge<'a> {
    access: &'a Access,
    here: &'a Here,
    /// What the client and the gateway agreed on.
    version: Mutex<Option<String>>,
    /// Calls under way.
    running: Mutex<usize>,
}

/// Runs until standard input ends and every answer is written.
pub(super) fn run(access: &Access, here: &Here) -> ExitCode {
    let bridge = Bridge { access, here, version: Mutex::default(), running: Mutex::default() };
    thread::scope(|scope| {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if line.trim().is_empty() {
                continue;
            }
            let message: Value = match serde_json::from_str(&line) {
                Ok(message) => message,
                Err(error) => {
                    write(&failed(Value::Null, PARSE_ERROR, &format!("this line is no JSON: {error}")));
                    continue;
                }
            };
            // What follows the first message depends on it, and a client that floods waits for itself.
            let alone = message["method"] == "initialize" || !bridge.enter();
            if alone {
                bridge.pass(&message);
            } else {
                scope.spawn(|| {
                    // Moved in whole: the loop goes on with the next line.
                    let message = message;
                    bridge.pass(&message);
                    *bridge.running() -= 1;
                });
            }
        }
    });
    ExitCode::SUCCESS
}

impl Bridge<'_> {
    /// Whether one more call may run beside the others.
    fn enter(&self) -> bool {
        let mut running = self.running();
        let free = *running < limits::MCP_CALLS;
        *running += usize::from(free);
        free
    }

    fn running(&self) -> MutexGuard<'_, usize> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn version(&self) -> MutexGuard<'_, Option<String>> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a message to the gateway and its answers back.
    fn pass(&self, message: &Value) {
        // Looked up each time: a gateway that starts later has an address and a token then.
        let answered = self.access.open(self.here).and_then(|api| self.ask(&api, message));
        match answered {
            Ok(answers) => {
                for answer in answers {
                    self.agree(message, &answer);
                    write(&answer);
                }
            }
            // A request has an id, and somebody waits for its answer; a notification has none.
            Err(failure) => match message.get("id") {
                Some(id) => write(&failed(id.clone(), UNREACHABLE, &failure.to_string())),
                None => told_to(io::stderr(), format_args!("hookway mcp: {failure}")),
            },
        }
    }

    fn ask(&self, api: &Api, message: &Value) -> Result<Vec<Value>, Failure> {
        let own = message["params"]["_meta"][VERSION_KEY].as_str().map(str::to_owned);
        let version = own.or_else(|| self.version().clone());
        let mut headers = vec![("accept", "application/json, text/event-stream")];
        if let Some(version) = &version {
            headers.push(("mcp-protocol-version", version));
        }
        // What later versions repeat in the header for those between client and server.
        let words = [("mcp-method", &message["method"]), ("mcp-name", &message["params"]["name"])];
        headers.extend(words.iter().filter_map(|(name, word)| Some((*name, word.as_str()?))));
        let body = message.to_string().into_bytes();
        let answer = api.send(Method::POST, "/mcp", &headers, Some(body))?;
        messages(api, &answer)
    }

    /// Notes the version that was agreed on.
    fn agree(&self, message: &Value, answer: &Value) {
        if message["method"] == "initialize"
            && let Some(version) = answer["result"]["protocolVersion"].as_str()
        {
            *self.version() = Some(version.to_owned());
        }
    }
}

/// The JSON-RPC messages of an answer: none, one, or the events of a stream.
fn messages(api: &Api, answer: &Answer) -> Result<Vec<Value>, Failure> {
    let content_type =
        answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if answer.status == StatusCode::ACCEPTED {
        return Ok(Vec::new());
    }
    if answer.status.is_success() && content_type.starts_with("text/event-stream") {
        let text = String::from_utf8_lossy(&answer.body);
        let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
        return Ok(data.filter_map(|data| serde_json::from_str(data).ok()).collect());
    }
    let json: Option<Value> = serde_json::from_slice(&answer.body).ok();
    match json {
        Some(json) if json.get("jsonrpc").is_some() => Ok(vec![json]),
        json => Err(api.refusal(answer, json.as_ref())),
    }
}

fn failed(id: Value, code: i32, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

/// One line per message. If nobody reads any more, the input ends soon.
fn write(message: &Value) {
    let line = format!("{message}\n");
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
}
