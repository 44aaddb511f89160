//! What happens when code of the gateway panics: it is said at once, it is counted, and it costs one request.
//!
//! The process goes on. [`install`] makes the panic hook, which writes to standard error itself and waits for
//! nothing: the queue of the log may be what is broken. [`caught`] turns a panic inside a future into a value, for
//! the one place that can still answer a client.

use std::any::Any;
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, PanicHookInfo};
use std::sync::Arc;

use futures_util::FutureExt as _;
use serde_json::json;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use crate::config::LogFormat;
use crate::metrics::Metrics;

/// A panic, as an operator reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    /// `file:line:column`, where the hook saw it.
    place: Option<String>,
    message: String,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.as_deref().unwrap_or("an unknown place");
        write!(f, "panicked at {place}: {}", self.message)
    }
}

thread_local! {
    /// The panic hook runs on the thread that panics, before the stack is unwound to [`caught`].
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on a panic of any thread is written to standard error as a log line of this format, and counted.
pub fn install(format: LogFormat, metrics: Arc<Metrics>) {
    std::panic::set_hook(Box::new(move |info| {
        metrics.panicked();
        let line = line(format, info);
        LAST.with_borrow_mut(|last| *last = info.location().map(ToString::to_string));
        // If standard error is gone, no other place is left to say it.
        let _ = io::stderr().write_all(line.as_bytes());
    }));
}

/// Runs `future` to its end, or to its panic. What the future borrowed may be in the middle of a change then: the
/// caller uses no more of it than it must.
pub async fn caught<F: Future>(future: F) -> Result<F::Output, Panicked> {
    AssertUnwindSafe(future)
        .catch_unwind()
        .await
        .map_err(|payload| Panicked { place: LAST.take(), message: message(payload.as_ref()).into_owned() })
}

fn line(format: LogFormat, info: &PanicHookInfo<'_>) -> String {
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let message = message(info.payload());
    let backtrace = std::backtrace::Backtrace::capture();
    let traced = backtrace.status() == std::backtrace::BacktraceStatus::Captured;
    let backtrace = traced.then(|| backtrace.to_string());
    match format {
        LogFormat::Pretty => {
            let backtrace = backtrace.map(|frames| format!("\n{frames}")).unwrap_or_default();
            let now = now();
            format!(
                "{now} ERROR hookway::panics: panic at={place} thread={thread} reason={message:?}{backtrace}\n"
            )
        }
        LogFormat::Json => {
            let line = json!({
                "timestamp": now(), "level": "ERROR", "target": "hookway::panics", "message": "panic",
                "at": place, "thread": thread, "reason": message, "backtrace": backtrace,
            });
            format!("{line}\n")
        }
    }
}

/// The text of `panic!`, which is a literal or was formatted.
fn message(payload: &(dyn Any + Send)) -> Cow<'static, str> {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        return Cow::Borrowed(text);
    }
    payload.downcast_ref::<String>().map_or(Cow::Borrowed("no message"), |text| Cow::Owned(text.clone()))
}

/// The time as the log's own lines have it.
fn now() -> String {
    let mut now = String::new();
    // Writing to a string does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut now));
    now
}
