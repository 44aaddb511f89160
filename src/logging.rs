//! Where log lines go: standard error, as text or JSON, through a queue.
//!
//! The queue is bounded and lossy: a terminal or collector that stops reading costs lines, never a request.
//! Lines of the `log` crate (Pingora's) take the same way.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::{Log, LogFormat};
use crate::limits;

/// Target of the access log: one line per request.
pub const ACCESS: &str = "hookway::access";

/// Keeps the log going. Dropped last, it writes what is still queued.
#[must_use = "dropping it ends the log"]
pub struct Logging {
    lost: ErrorCounter,
    _worker: WorkerGuard,
}

impl Logging {
    /// Counts the lines that found the queue full since the start.
    pub fn lost_lines(&self) -> impl Fn() -> u64 + Send + Sync + use<> {
        let lost = self.lost.clone();
        move || lost.dropped_lines() as u64
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "log level '{level}' is no filter: {error}; write for example \"info\" or \"info,hookway::relay=debug\""
    )]
    Level { level: String, error: ParseError },
    #[error("another log was set up before: {0}")]
    Twice(#[from] TryInitError),
}

/// Sets up the log of the whole process. Once per process.
pub fn init(settings: &Log) -> Result<Logging, LogError> {
    let filter = filter(settings)?;
    let (writer, worker) = NonBlockingBuilder::default()
        .buffered_lines_limit(limits::LOG_LINES_QUEUED)
        .lossy(true)
        .thread_name("log")
        .finish(io::stderr());
    let lost = writer.error_counter();
    tracing_subscriber::registry().with(lines(settings.format, writer).with_filter(filter)).try_init()?;
    Ok(Logging { lost, _worker: worker })
}

/// What is logged: the configured level, but of Pingora's lines only those from `warn` on, for it logs each broken
/// connection; and the access log as switched. A directive of the configuration for one of these targets wins.
fn filter(settings: &Log) -> Result<EnvFilter, LogError> {
    let parse = |directives: &str| {
        let parsed = EnvFilter::builder().parse(directives);
        parsed.map_err(|error| LogError::Level { level: settings.level.clone(), error })
    };
    let configured = parse(&settings.level)?.max_level_hint().unwrap_or(LevelFilter::TRACE);
    let pingora = configured.min(LevelFilter::WARN);
    let access = if settings.access { LevelFilter::INFO } else { LevelFilter::OFF };
    parse(&format!("pingora={pingora},{ACCESS}={access},{}", settings.level))
}

fn lines(format: LogFormat, writer: NonBlocking) -> Box<dyn Layer<Registry> + Send + Sync> {
    match format {
        LogFormat::Pretty => {
            fmt::layer().with_ansi(io::IsTerminal::is_terminal(&io::stderr())).with_writer(writer).boxed()
        }
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

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

    fn settings(level: &str, access: bool) -> Log {
        Log { format: LogFormat::Json, level: level.to_owned(), access }
    }

    /// Which of four lines pass the filter.
    fn passes(settings: &Log) -> Vec<&'static str> {
        let written = Written::default();
        let writer = written.clone();
        let layer = fmt::layer()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .with_filter(filter(settings).unwrap());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(target: ACCESS, "access");
            tracing::info!(target: "hookway::relay", "own");
            tracing::info!(target: "pingora_core::server", "theirs");
            tracing::warn!(target: "pingora_core::server", "broken");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        ["access", "own", "theirs", "broken"]
            .into_iter()
            .filter(|word| text.contains(&format!(": {word}\n")))
            .collect()
    }

    #[test]
    fn the_access_log_has_its_own_switch() {
        assert_eq!(passes(&settings("info", true)), ["access", "own", "broken"]);
        assert_eq!(passes(&settings("info", false)), ["own", "broken"]);
        assert_eq!(passes(&settings("error", true)), ["access"]);
    }

    #[test]
    fn a_directive_of_the_configuration_wins() {
        assert_eq!(passes(&settings("off,pingora=info", true)), ["access", "theirs", "broken"]);
        assert_eq!(passes(&settings("warn,hookway::access=off", true)), ["broken"]);
    }

    #[test]
    fn a_level_that_is_no_filter_is_named() {
        let error = filter(&settings("hookway=loud", true)).unwrap_err().to_string();
        assert!(error.starts_with("log level 'hookway=loud' is no filter: "), "{error}");
    }
}
