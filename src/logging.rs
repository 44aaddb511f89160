//! Where log lines go: standard error, as text or JSON, through a queue.
//!
//! The queue is bounded and lossy: a terminal or collector that stops reading costs lines, never a request.
//! Lines of the `log` crate (Pingora's) take the same way.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io;

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::{Log, LogFormat};
use crate::limits;
use crate::text::{self, deceives};

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
        "log level '{level}' is not a filter: {error}; write for example \"info\" or \"info,hookway::relay=debug\""
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
    let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
    let colours = colored(std::env::var_os("NO_COLOR").as_deref(), is_terminal);
    let plain = move |form| {
        let writer = writer.clone();
        move || Plain { writer: writer.clone(), form }
    };
    match format {
        LogFormat::Pretty => {
            fmt::layer().with_ansi(colours).with_writer(plain(Form::Text { colours })).boxed()
        }
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(plain(Form::Json)).boxed(),
    }
}

/// Writes lines that are bounded and hold no character that could begin another line or deceive a reader. What the
/// formatters leave of such characters depends on the field's type; here it does not.
struct Plain<W> {
    writer: W,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    /// With the formatter's own colours, or without.
    Text {
        colours: bool,
    },
    Json,
}

impl<W: io::Write> io::Write for Plain<W> {
    /// The formatters write a line at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        match self.form {
            Form::Text { colours } => self.writer.write_all(plain_text(&text, colours).as_bytes())?,
            Form::Json => self.writer.write_all(plain_json(&text).as_bytes())?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

fn plain_text(line: &str, colours: bool) -> Cow<'_, str> {
    let hides = |c: char| deceives(c) && c != '\t' && !(colours && c == '\u{1b}');
    let body = line.strip_suffix('\n').unwrap_or(line);
    if !body.contains(hides) && body.len() <= limits::LOG_LINE_BYTES_MAX {
        return Cow::Borrowed(line);
    }
    let mut plain = String::with_capacity(line.len() + 16);
    for c in body.chars() {
        match c {
            '\n' => plain.push_str("\\n"),
            '\r' => plain.push_str("\\r"),
            c if hides(c) => plain.extend(c.escape_unicode()),
            c => plain.push(c),
        }
    }
    let mut plain = text::cut(&plain, limits::LOG_LINE_BYTES_MAX).into_owned();
    plain.push('\n');
    Cow::Owned(plain)
}

/// Shortens the strings of a line of JSON, and escapes in them what JSON itself lets pass.
fn plain_json(line: &str) -> Cow<'_, str> {
    let body = line.strip_suffix('\n').unwrap_or(line);
    if !body.contains(deceives) && body.len() <= limits::LOG_TEXT_BYTES_MAX {
        return Cow::Borrowed(line);
    }
    let mut plain = String::with_capacity(line.len().min(limits::LOG_LINE_BYTES_MAX));
    let (mut begun, mut cut) = (None, 0);
    let mut characters = body.chars();
    while let Some(c) = characters.next() {
        let Some(start) = begun else {
            plain.push(c);
            begun = (c == '"').then_some(plain.len());
            continue;
        };
        if c == '"' {
            if cut > 0 {
                plain.push_str(&format!("… ({cut} bytes cut)"));
            }
            plain.push(c);
            (begun, cut) = (None, 0);
            continue;
        }
        // An escape is kept or cut whole.
        let before = plain.len();
        let mut length = c.len_utf8();
        match c {
            '\\' => {
                plain.push(c);
                let kind = characters.next();
                plain.extend(kind);
                plain.extend(characters.by_ref().take(if kind == Some('u') { 4 } else { 0 }));
                length = plain.len() - before;
            }
            c if deceives(c) => plain.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => plain.push(c),
        }
        if cut > 0 || plain.len() - start > limits::LOG_TEXT_BYTES_MAX {
            plain.truncate(before);
            cut += length;
        }
    }
    plain.push('\n');
    Cow::Owned(plain)
}

/// A terminal gets colors, unless `NO_COLOR` says otherwise (https://no-color.org).
fn colored(no_color: Option<&OsStr>, is_terminal: bool) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty)
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

    const DECEIT: &str = "a\u{2028}b\u{85}c\u{202e}d\u{7f}";

    #[test]
    fn a_line_of_json_stays_json_and_holds_nothing_that_deceives() {
        let said = serde_json::json!({"message": DECEIT, "quote\"": "\\\"\n", "n": 1});
        let line = format!("{said}\n");
        let plain = plain_json(&line);
        assert!(plain.contains(r"a\u2028b\u0085c\u202ed\u007f"), "{plain}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&plain).unwrap(), said);
    }

    #[test]
    fn a_long_text_in_a_line_of_json_is_cut_and_its_neighbours_are_not() {
        let long = "\u{1b}\u{e9}".repeat(100_000);
        let line = format!("{}\n", serde_json::json!({"a": "first", "long": long, "z": "last"}));
        let plain = plain_json(&line);
        let read: serde_json::Value = serde_json::from_str(&plain).unwrap();
        assert!(plain.len() < limits::LOG_TEXT_BYTES_MAX + 200, "{}", plain.len());
        assert_eq!((&read["a"], &read["z"]), (&"first".into(), &"last".into()));
        assert!(read["long"].as_str().unwrap().ends_with(" bytes cut)"));
    }

    #[test]
    fn a_line_of_text_is_one_line_whatever_its_fields_are() {
        let line = format!("INFO said={DECEIT} more\nERROR forged\r\n");
        let plain = plain_text(&line, false);
        assert_eq!(plain, "INFO said=a\\u{2028}b\\u{85}c\\u{202e}d\\u{7f} more\\nERROR forged\\r\n");
        assert!(plain_text("\u{1b}[2mINFO\u{1b}[0m\n", true).contains('\u{1b}'));
        assert!(!plain_text("\u{1b}[2mINFO\u{1b}[0m\n", false).contains('\u{1b}'));
        assert!(plain_text(&"x".repeat(1 << 20), false).len() < limits::LOG_LINE_BYTES_MAX + 100);
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
    fn a_terminal_gets_colors_unless_no_color_is_set_to_something() {
        assert!(colored(None, true) && colored(Some(OsStr::new("")), true));
        assert!(!colored(Some(OsStr::new("1")), true));
        assert!(!colored(None, false));
    }

    #[test]
    fn a_level_that_is_no_filter_is_named() {
        let error = filter(&settings("hookway=loud", true)).unwrap_err().to_string();
        assert!(error.starts_with("log level 'hookway=loud' is not a filter: "), "{error}");
    }
}
