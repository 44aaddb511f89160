//! What one hook call did to a request, told to its author.

use std::fmt::{self, Write};
use std::time::Duration;

use http::StatusCode;
use json_patch::{Patch, PatchOperation};
use serde_json::{Map, Value, json};

use super::super::say::Failure;
use crate::chain::{Answer, AnswerBody, Draft, ErrorRuling, Member};
use crate::chat::answer::error_body;
use crate::fault::Fault;
use crate::hook::{HeaderChanges, HookName, OnFailure, Policy};
use crate::metrics::HookOutcome;
use crate::plugin::Plugin;

/// A call and what came of it.
pub(super) struct Effect {
    plugin: String,
    version: String,
    hook: HookName,
    /// None: the hook was not called, for its `when` does not take the request.
    call: Option<Call>,
    /// The body before the call.
    before: Value,
    /// What is different in it now.
    body: Patch,
    headers: HeaderChanges,
    model: Option<String>,
    upstream: Option<String>,
    metadata: Map<String, Value>,
    ruling: Answered,
}

struct Call {
    outcome: HookOutcome,
    took: Duration,
}

/// What the ruling is beyond letting the request go on.
enum Answered {
    No,
    Client {
        status: StatusCode,
        headers: HeaderChanges,
        body: Value,
    },
    Retry(Duration),
    /// No verdict. The client reads `fault` if `policy` is closed.
    Failed {
        fault: Box<Fault>,
        policy: Policy,
    },
}

impl Effect {
    pub(super) fn new(
        member: &Member<Plugin>,
        hook: HookName,
        on_failure: Option<OnFailure>,
        before: &[u8],
        draft: Draft,
        ruling: ErrorRuling,
    ) -> Self {
        let [before, after] = [before, &draft.body[..]].map(parsed);
        let call = draft.runs.first().map(|run| Call { outcome: run.outcome, took: run.took });
        let policy = call.as_ref().and_then(|call| Some(on_failure?.policy(call.outcome.cause()?)));
        let model = |body: &Value| body.get("model").and_then(Value::as_str).map(str::to_owned);
        Self {
            plugin: member.name.to_string(),
            version: member.version.to_string(),
            hook,
            call,
            body: json_patch::diff(&before, &after),
            headers: draft.headers,
            model: draft.model.filter(|now| model(&before).as_ref() != Some(now)),
            before,
            upstream: draft.upstream,
            metadata: draft.metadata,
            ruling: match ruling {
                ErrorRuling::Continue | ErrorRuling::Fallback => Answered::No,
                ErrorRuling::Answer(answer) => answered(answer),
                ErrorRuling::Retry(delay) => Answered::Retry(delay),
                ErrorRuling::Refuse(fault) => {
                    Answered::Failed { fault: Box::new(fault), policy: policy.unwrap_or(Policy::Closed) }
                }
            },
        }
    }

    /// Whether there was one; the rest was told before.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let name = &self.plugin;
        match (&self.call, &self.ruling) {
            (None, _) => {
                let hook = self.hook;
                let message = format!(
                    "{name} was not asked: the manifest's 'when' of {hook} does not take this request"
                );
                Err(Failure::new("not_called", message))
            }
            (Some(_), Answered::Failed { .. }) => {
                Err(Failure::new("no_verdict", format!("{name} gave no verdict")))
            }
            (Some(_), _) => Ok(()),
        }
    }

    pub(super) fn json(&self, output: &[Value]) -> Value {
        let Self { plugin, version, hook, call, before: _, body, headers, model, upstream, metadata, ruling } =
            self;
        let mut json = json!({
            "plugin": plugin,
            "version": version,
            "hook": hook,
            "outcome": call.as_ref().map(|call| call.outcome.as_str()),
            "tookUs": call.as_ref().map(|call| u64::try_from(call.took.as_micros()).unwrap_or(u64::MAX)),
            "body": body,
            "headers": headers_json(headers),
            "route": { "model": model, "upstream": upstream },
            "metadata": metadata,
            "output": output,
        });
        match ruling {
            Answered::No => {}
            Answered::Client { status, headers, body } => {
                json["answer"] =
                    json!({ "status": status.as_u16(), "headers": headers_json(headers), "body": body });
            }
            Answered::Retry(delay) => json["delayMs"] = json!(delay.as_secs_f64() * 1e3),
            Answered::Failed { fault, policy } => {
                json["failure"] =
                    json!({ "detail": fault.detail, "onFailure": policy, "status": fault.status().as_u16() });
            }
        }
        json
    }
}

fn answered(answer: Answer) -> Answered {
    let Answer { plugin: _, status, headers, body } = answer;
    let body = match body {
        AnswerBody::Raw(bytes) => parsed(&bytes),
        AnswerBody::Error(error) => parsed(&error_body(&error)),
    };
    Answered::Client { status, headers, body }
}

/// Bytes that are no JSON are shown as text.
fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(bytes)))
}

fn headers_json(headers: &HeaderChanges) -> Value {
    let set: Map<String, Value> = headers
        .set
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let remove: Vec<&str> = headers.remove.iter().map(http::HeaderName::as_str).collect();
    json!({ "set": set, "remove": remove })
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugin, version, hook, .. } = self;
        let Some(call) = &self.call else { return write!(f, "{plugin} {version} {hook}: not called") };
        let (outcome, took) = (call.outcome.as_str(), call.took.as_secs_f64() * 1e3);
        write!(f, "{plugin} {version} {hook}: {outcome} in {took:.1} ms")?;
        match &self.ruling {
            Answered::No => {}
            Answered::Retry(delay) => write!(f, "\nagain after {} ms", delay.as_millis())?,
            Answered::Client { status, headers, body } => {
                write!(f, "\nthe client gets {status}")?;
                show_headers(f, headers)?;
                write!(f, "{}", indented(&pretty(body), "  "))?;
            }
            Answered::Failed { fault, policy } => {
                write!(f, "\n  {}", fault.detail)?;
                match policy {
                    Policy::Open => f.write_str("\nonFailure is open: the request goes on as it was")?,
                    Policy::Closed => write!(f, "\nonFailure is closed: the client gets {}", fault.status())?,
                }
            }
        }
        show_body(f, &self.before, &self.body)?;
        if !self.headers.is_empty() {
            f.write_str("\nheaders of the request")?;
            show_headers(f, &self.headers)?;
        }
        for (what, name) in [("model", &self.model), ("upstream", &self.upstream)] {
            if let Some(name) = name {
                write!(f, "\nroute by {what} {name}")?;
            }
        }
        if !self.metadata.is_empty() {
            write!(f, "\nmetadata {}", Value::Object(self.metadata.clone()))?;
        }
        Ok(())
    }
}

fn show_headers(f: &mut fmt::Formatter<'_>, headers: &HeaderChanges) -> fmt::Result {
    for (name, value) in &headers.set {
        write!(f, "\n  + {name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
    }
    headers.remove.iter().try_for_each(|name| write!(f, "\n  - {name}"))
}

/// Each difference with what stood there and what does now.
fn show_body(f: &mut fmt::Formatter<'_>, before: &Value, body: &Patch) -> fmt::Result {
    let mut current = before.clone();
    for operation in &body.0 {
        let (word, new) = match operation {
            PatchOperation::Add(add) => ("add", Some(&add.value)),
            PatchOperation::Replace(replace) => ("replace", Some(&replace.value)),
            PatchOperation::Remove(_) => ("remove", None),
            PatchOperation::Move(_) | PatchOperation::Copy(_) | PatchOperation::Test(_) => {
                unreachable!("a difference is told by adding, replacing and removing")
            }
        };
        let path = operation.path();
        write!(f, "\nbody: {word} {}", if path.is_root() { "all of it" } else { path.as_str() })?;
        let old = current.pointer(path.as_str()).filter(|_| word != "add");
        for (sign, value) in [("-", old), ("+", new)] {
            if let Some(value) = value {
                f.write_str(&indented(&pretty(value), &format!("  {sign} ")))?;
            }
        }
        // Paths in a list count from what the operations before left.
        let applied = json_patch::patch(&mut current, std::slice::from_ref(operation));
        debug_assert!(applied.is_ok(), "a difference applies to what it was taken from");
    }
    Ok(())
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

/// Each line on a line of its own, further in.
fn indented(text: &str, by: &str) -> String {
    text.lines().fold(String::new(), |mut lines, line| {
        // A string takes every write.
        let _ = write!(lines, "\n{by}{line}");
        lines
    })
}
