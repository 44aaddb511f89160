//! The lines a gateway writes, as they come.

use std::io::{BufRead, BufReader};
use std::process::ChildStderr;
use std::sync::Arc;
use std::thread;

use serde_json::Value;
use tokio::sync::watch;

use super::PATIENCE;

/// Everything on standard error. Lines that are no JSON are kept as text.
#[derive(Clone)]
pub struct Log(Arc<watch::Sender<Written>>);

#[derive(Default)]
struct Written {
    lines: Vec<Value>,
    /// The process is gone, and nothing more will come.
    ended: bool,
}

impl Log {
    /// Reads in a thread of its own until the pipe ends.
    pub(super) fn read(from: ChildStderr) -> Self {
        let log = Self(Arc::new(watch::Sender::default()));
        let written = log.0.clone();
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                written.send_modify(|written| written.lines.push(line));
            }
            written.send_modify(|written| written.ended = true);
        });
        log
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<Value> {
        self.0.borrow().lines.clone()
    }

    /// All lines so far, as they were written.
    pub fn text(&self) -> String {
        self.lines().iter().map(|line| format!("{line}\n")).collect()
    }

    /// The first line, written already or to come, that `is_it`.
    pub async fn find(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.nth(1, what, is_it).await
    }

    /// The `number`th line, from 1, written already or to come, that `is_it`.
    pub async fn nth(&self, number: usize, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let mut written = self.0.subscribe();
        let mut found = (0, 0, None);
        let looking = written.wait_for(|written| {
            // Each line is looked at once, however many there are.
            let (seen, count, last) = &mut found;
            for line in &written.lines[*seen..] {
                if *count < number && is_it(line) {
                    *count += 1;
                    *last = Some(line.clone());
                }
            }
            *seen = written.lines.len();
            written.ended || *count == number
        });
        let came = tokio::time::timeout(PATIENCE, looking).await.is_ok();
        match found {
            (_, count, Some(line)) if came && count == number => line,
            _ => panic!("no log line is {what}:\n{}", self.text()),
        }
    }

    /// Waits until the process has closed its standard error, as it does when it ends.
    pub async fn ended(&self) {
        let mut written = self.0.subscribe();
        let ended = tokio::time::timeout(PATIENCE, written.wait_for(|written| written.ended));
        assert!(ended.await.is_ok(), "the gateway did not end:\n{}", self.text());
    }

    /// The first line with this message.
    pub async fn message(&self, message: &str) -> Value {
        self.find(message, |line| line["message"] == message).await
    }

    /// The access log's line of a request.
    pub async fn access(&self, request_id: &str) -> Value {
        self.find(&format!("the access line of {request_id}"), |line| {
            line["target"] == "hookway::access" && line["request_id"] == request_id
        })
        .await
    }
}
