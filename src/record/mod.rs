//! The one record a request leaves behind, and where it goes: metrics, access log, database, and whoever looks on.
//!
//! A record names and counts. It never holds a body, a header, a query or a key.

mod live;

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};

use crate::chat::Usage;
use crate::hook::{HookName, Policy};
use crate::limits;
use crate::logging::ACCESS;
use crate::metrics::{Asked, Finished, HookOutcome, InFlight, Metrics, Outcome};
use crate::store::{Execution, Store};
use crate::text;

pub use live::{Event, Happening, Heard, Listener, Live};

/// What there is to say about a request that ended.
#[derive(Clone, Debug)]
pub struct Record {
    pub request_id: String,
    pub traceparent: Option<String>,
    pub client: Option<SocketAddr>,
    pub method: Method,
    /// Without the query, which may carry a key.
    pub path: String,
    pub asked: Asked,
    pub model: Option<String>,
    /// The pattern of the route that matched.
    pub route: Option<Arc<str>>,
    /// The last one that was asked.
    pub upstream: Option<Arc<str>>,
    pub attempts: u32,
    /// None when the client left before any answer.
    pub status: Option<StatusCode>,
    pub outcome: Outcome,
    pub stream: bool,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub usage: Option<Usage>,
    pub times: Times,
    pub generation: u64,
    pub hooks: Vec<HookRun>,
    /// What went wrong, in the operator's words.
    pub fault: Option<String>,
}

/// When things happened to a request.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub received: SystemTime,
    /// From `received` to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// From `received` to the last byte of the answer.
    pub total: Duration,
    /// The part of `total` spent in the gateway and its plugins.
    pub overhead: Duration,
}

/// One hook call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookRun {
    pub plugin: Arc<str>,
    pub version: Arc<str>,
    pub hook: HookName,
    pub outcome: HookOutcome,
    pub took: Duration,
    /// What a call without a verdict meant for the request.
    pub policy: Option<Policy>,
    /// Why there was no verdict.
    pub error: Option<String>,
}

/// Takes records to all who want them.
#[derive(Clone)]
pub struct Recorder {
    metrics: Arc<Metrics>,
    live: Live,
    store: Option<Arc<Store>>,
}

impl Recorder {
    pub fn new(metrics: Arc<Metrics>, live: Live) -> Self {
        Self { metrics, live, store: None }
    }

    /// The same, which notes hook calls in `store` too, as many as it takes.
    #[must_use]
    pub fn noting(self, store: Arc<Store>) -> Self {
        Self { store: Some(store), ..self }
    }

    /// A request begins: it is counted as in flight while what this returns lives.
    pub fn begin(&self) -> InFlight {
        self.metrics.in_flight()
    }

    /// Counts the request, writes its line and tells it to those who look on. Never waits.
    pub fn finished(&self, mut record: Record) {
        record.bound();
        self.metrics.finished(&Finished {
            asked: record.asked,
            route: record.route.as_deref(),
            status: record.status,
            outcome: record.outcome,
            total: record.times.total,
            first_byte: record.times.first_byte,
            overhead: record.times.overhead,
        });
        if let Some(usage) = record.usage {
            let model = record.model.as_deref().unwrap_or("unknown");
            self.metrics.tokens(model, usage.prompt_tokens, usage.completion_tokens);
        }
        record.log();
        if let Some(store) = self.store.as_ref().filter(|_| !record.hooks.is_empty()) {
            let remarkable = record.hooks.iter().any(|run| run.outcome != HookOutcome::Continue);
            store.record(remarkable, record.executions());
        }
        self.live.request(record);
    }
}

impl Record {
    /// Cuts the texts that came from outside: whatever a client or a plugin says, a record stays small.
    fn bound(&mut self) {
        let Self { traceparent, path, model, fault, hooks, .. } = self;
        let errors = hooks.iter_mut().filter_map(|run| run.error.as_mut());
        let texts = [traceparent, model, fault].into_iter().flatten().chain([path]).chain(errors);
        texts.for_each(|text| text::bound(text, limits::RECORD_TEXT_BYTES_MAX));
    }

    fn executions(&self) -> impl ExactSizeIterator<Item = Execution> {
        let at = self.times.received;
        self.hooks.iter().map(move |run| Execution {
            at,
            request_id: self.request_id.as_str().into(),
            plugin: run.plugin.clone(),
            version: run.version.clone(),
            hook: run.hook,
            outcome: run.outcome.as_str(),
            cause: run.outcome.cause(),
            policy: run.policy,
            took: run.took,
            generation: self.generation,
            error: run.error.clone(),
        })
    }

    /// One line with flat fields. Text from a client is recorded as text, so that its line breaks are escaped.
    fn log(&self) {
        if !tracing::enabled!(target: ACCESS, tracing::Level::INFO) {
            return;
        }
        tracing::info!(
            target: ACCESS,
            request_id = self.request_id,
            traceparent = self.traceparent,
            client = self.client.map(tracing::field::display),
            method = self.method.as_str(),
            path = self.path,
            endpoint = self.asked.as_str(),
            model = self.model,
            route = self.route.as_deref(),
            upstream = self.upstream.as_deref(),
            attempts = self.attempts,
            status = self.status.map(|status| status.as_u16()),
            outcome = self.outcome.as_str(),
            stream = self.stream,
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            prompt_tokens = self.usage.map(|usage| usage.prompt_tokens),
            completion_tokens = self.usage.map(|usage| usage.completion_tokens),
            first_byte_us = self.times.first_byte.map(micros),
            total_us = micros(self.times.total),
            overhead_us = micros(self.times.overhead),
            generation = self.generation,
            hooks = hooks_line(&self.hooks),
            fault = self.fault,
        );
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// `redact.onRequest=patch/132us guard.onRequest=timeout:open/250104us`, in the order they ran.
pub fn hooks_line(hooks: &[HookRun]) -> Option<String> {
    if hooks.is_empty() {
        return None;
    }
    let mut line = String::with_capacity(48 * hooks.len());
    for run in hooks {
        let gap = if line.is_empty() { "" } else { " " };
        let policy = match run.policy {
            None => "",
            Some(Policy::Open) => ":open",
            Some(Policy::Closed) => ":closed",
        };
        let (plugin, hook, outcome) = (&run.plugin, run.hook, run.outcome.as_str());
        write!(line, "{gap}{plugin}.{hook}={outcome}{policy}/{}us", run.took.as_micros())
            .expect("writing to a string never fails");
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use serde_json::Value;
    use tracing_subscriber::fmt;

    use super::*;
    use crate::hook::Cause;

    pub(super) fn record() -> Record {
        let run = |plugin: &str, outcome, policy, micros| HookRun {
            plugin: plugin.into(),
            version: "1.0.0".into(),
            hook: HookName::OnRequest,
            outcome,
            took: Duration::from_micros(micros),
            policy,
            error: None,
        };
        let timeout = HookOutcome::Failed(Cause::Timeout);
        Record {
            request_id: "r1".to_owned(),
            traceparent: None,
            client: Some(([127, 0, 0, 1], 4711).into()),
            method: Method::POST,
            path: "/v1/chat/completions".to_owned(),
            asked: Asked::ChatCompletions,
            model: Some("gpt\n\u{1b}[31m4o".to_owned()),
            route: Some("gpt-*".into()),
            upstream: Some("openai".into()),
            attempts: 2,
            status: Some(StatusCode::OK),
            outcome: Outcome::Ok,
            stream: true,
            bytes_in: 10,
            bytes_out: 20,
            usage: Some(Usage { prompt_tokens: 3, completion_tokens: 4 }),
            times: Times {
                received: SystemTime::UNIX_EPOCH,
                first_byte: Some(Duration::from_millis(2)),
                total: Duration::from_millis(5),
                overhead: Duration::from_micros(70),
            },
            generation: 9,
            hooks: vec![
                run("redact", HookOutcome::Patch, None, 132),
                run("guard", timeout, Some(Policy::Open), 250_104),
            ],
            fault: None,
        }
    }

    /// What the access log writes for `record`.
    fn logged(json: bool, record: &Record) -> String {
        #[derive(Clone, Default)]
        struct Written(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Written {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let written = Written::default();
        let writer = written.clone();
        let lines = fmt::Subscriber::builder().with_ansi(false).with_writer(move || writer.clone());
        let recorder = Recorder::new(Arc::new(Metrics::new()), Live::default());
        let finish = || {
            // Another test, without a subscriber, may be the first to come by and have its lack of interest kept.
            tracing::callsite::rebuild_interest_cache();
            recorder.finished(record.clone());
        };
        if json {
            tracing::subscriber::with_default(lines.json().flatten_event(true).finish(), finish);
        } else {
            tracing::subscriber::with_default(lines.finish(), finish);
        }
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_line_has_flat_fields() {
        let mut line: Value = serde_json::from_str(&logged(true, &record())).unwrap();
        line["timestamp"].take();
        expect_test::expect![[r#"
            {
              "timestamp": null,
              "level": "INFO",
              "request_id": "r1",
              "client": "127.0.0.1:4711",
              "method": "POST",
              "path": "/v1/chat/completions",
              "endpoint": "chat.completions",
              "model": "gpt\n\u001b[31m4o",
              "route": "gpt-*",
              "upstream": "openai",
              "attempts": 2,
              "status": 200,
              "outcome": "ok",
              "stream": true,
              "bytes_in": 10,
              "bytes_out": 20,
              "prompt_tokens": 3,
              "completion_tokens": 4,
              "first_byte_us": 2000,
              "total_us": 5000,
              "overhead_us": 70,
              "generation": 9,
              "hooks": "redact.onRequest=patch/132us guard.onRequest=timeout:open/250104us",
              "target": "hookway::access"
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&line).unwrap());
    }

    #[test]
    fn text_of_a_client_cannot_begin_a_line_of_its_own() {
        let line = logged(false, &record());
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }

    #[test]
    fn every_text_of_a_record_is_bounded() {
        let long = || "x".repeat(4 << 20);
        let mut record = Record {
            traceparent: Some(long()),
            path: long(),
            model: Some(long()),
            fault: Some(long()),
            ..record()
        };
        record.hooks[0].error = Some(long());
        let live = Live::default();
        let recorder = Recorder::new(Arc::new(Metrics::new()), live);
        recorder.finished(record.clone());
        let line = logged(true, &record);
        assert!(line.len() < 8 * limits::RECORD_TEXT_BYTES_MAX, "{}", line.len());
        assert_eq!(line.matches(" bytes cut)").count(), 4);
    }

    #[test]
    fn what_a_request_never_had_is_not_said() {
        let nothing = Record { status: None, usage: None, hooks: Vec::new(), upstream: None, ..record() };
        let line: Value = serde_json::from_str(&logged(true, &nothing)).unwrap();
        for field in ["status", "prompt_tokens", "hooks", "upstream", "traceparent", "fault"] {
            assert_eq!(line.get(field), None, "{field}");
        }
    }

    #[test]
    fn a_request_is_counted_with_its_tokens() {
        let metrics = Arc::new(Metrics::new());
        Recorder::new(metrics.clone(), Live::default()).finished(record());
        let text = metrics.render();
        assert!(text.contains(r#"endpoint="chat.completions",outcome="ok",route="gpt-*",status="200"} 1"#));
        assert!(text.contains(r#"hookway_tokens_total{direction="output""#));
    }
}
