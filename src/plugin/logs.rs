//! What a plugin prints. Its pipes are always drained, so it never waits for the gateway; what is kept is
//! bounded in lines, bytes and rate, and what is not kept is counted.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::last_words::LastWords;
use super::{Observer, PluginEvent};
use crate::limits;
use crate::text;

/// Room for what says that a line was cut.
const CUT_MARK: usize = 64;

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Stdout,
    Stderr,
    /// A LOG frame with its level.
    Log(hookway_wire::LogLevel),
    /// The gateway, about the plugin.
    Gateway,
}

impl Source {
    const ALL: [Self; 7] = [
        Self::Stdout,
        Self::Stderr,
        Self::Log(hookway_wire::LogLevel::Debug),
        Self::Log(hookway_wire::LogLevel::Info),
        Self::Log(hookway_wire::LogLevel::Warn),
        Self::Log(hookway_wire::LogLevel::Error),
        Self::Gateway,
    ];

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == word)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Log(hookway_wire::LogLevel::Debug) => "debug",
            Self::Log(hookway_wire::LogLevel::Info) => "info",
            Self::Log(hookway_wire::LogLevel::Warn) => "warn",
            Self::Log(hookway_wire::LogLevel::Error) => "error",
            Self::Gateway => "gateway",
        }
    }
}

/// One kept line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Rises from line to line, over restarts and replacements of the plugin and of the gateway too.
    pub number: u64,
    pub at: SystemTime,
    pub source: Source,
    pub text: String,
}

/// The recent output of a plugin, over all its processes: those of one handle, and those of the handles that follow it.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Ring>);

/// What the processes of one handle print, on its way into the plugin's journal.
pub(super) struct Logs {
    plugin: String,
    journal: Arc<Journal>,
    /// Of stderr, whether or not its lines are kept.
    last_words: Mutex<LastWords>,
    /// Is told of each line that is kept.
    observer: Arc<dyn Observer>,
}

#[derive(Debug)]
struct Ring {
    lines: VecDeque<LogLine>,
    bytes: usize,
    /// Lines that may still be kept in this second.
    left: u32,
    second: Instant,
    dropped: u64,
    last_number: u64,
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            lines: VecDeque::new(),
            bytes: 0,
            left: limits::PLUGIN_LOG_LINES_PER_SECOND,
            second: Instant::now(),
            dropped: 0,
            // Lines are counted from the time: no ring comes so far that the next one would not begin beyond it.
            last_number: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros),
        }
    }
}

impl Journal {
    /// The oldest `count` lines with a number beyond `after`.
    pub fn lines(&self, after: u64, count: usize) -> Vec<LogLine> {
        let ring = self.lock();
        let first = ring.lines.partition_point(|line| line.number <= after);
        ring.lines.range(first..).take(count).cloned().collect()
    }

    /// A journal that goes on after these lines, in the order of their numbers.
    pub fn after(lines: Vec<LogLine>) -> Self {
        let mut ring = Ring::default();
        for line in lines.into_iter().filter(|line| line.text.len() <= limits::PLUGIN_LOG_LINE_BYTES * 2) {
            ring.last_number = ring.last_number.max(line.number);
            ring.push(line);
        }
        Self(Mutex::new(ring))
    }

    /// The number of the newest line, 0 without one.
    pub fn newest(&self) -> u64 {
        self.lock().lines.back().map_or(0, |line| line.number)
    }

    /// Lines that were not kept because there were too many.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Logs {
    pub(super) fn new(plugin: String, observer: Arc<dyn Observer>) -> Self {
        Self { plugin, journal: observer.journal(), last_words: Mutex::default(), observer }
    }

    /// Keeps a line, or counts it as dropped. A line that is kept goes to the gateway's own log too.
    pub(super) fn line(&self, source: Source, text: String) {
        // What a plugin says is shown on terminals.
        let text = text::cut(&text::plain(&text), limits::PLUGIN_LOG_LINE_BYTES + CUT_MARK).into_owned();
        let Some(kept) = self.keep(source, &text, Instant::now()) else { return };
        self.observer.observe(&self.plugin, &PluginEvent::Printed(kept));
        let plugin = &self.plugin;
        // As a field the text is quoted: a line break in it begins no line of the log.
        match source {
            Source::Log(hookway_wire::LogLevel::Debug) => {
                tracing::debug!(target: "hookway::plugin", plugin, text, "plugin.log");
            }
            Source::Stdout | Source::Log(hookway_wire::LogLevel::Info) => {
                tracing::info!(target: "hookway::plugin", plugin, text, "plugin.log");
            }
            Source::Stderr | Source::Log(hookway_wire::LogLevel::Warn) => {
                tracing::warn!(target: "hookway::plugin", plugin, text, "plugin.log");
            }
            Source::Log(hookway_wire::LogLevel::Error) => {
                tracing::error!(target: "hookway::plugin", plugin, text, "plugin.log");
            }
            // Whoever writes about a plugin logs it where it happens.
            Source::Gateway => {}
        }
    }

    pub(super) fn lines(&self, after: u64, count: usize) -> Vec<LogLine> {
        self.journal.lines(after, count)
    }

    /// Why the process that has just ended did so, as its stderr tells.
    pub(super) fn take_last_words(&self) -> String {
        self.last_words().take()
    }

    /// The line as it is kept, if it is.
    fn keep(&self, source: Source, text: &str, now: Instant) -> Option<LogLine> {
        if source == Source::Stderr {
            self.last_words().hear(text);
        }
        self.journal.lock().keep(source, text, now)
    }

    fn last_words(&self) -> std::sync::MutexGuard<'_, LastWords> {
        self.last_words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn keep(&mut self, source: Source, text: &str, now: Instant) -> Option<LogLine> {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.left) = (now, limits::PLUGIN_LOG_LINES_PER_SECOND);
        }
        // The gateway's own words about a plugin are few, and the ones that matter after a flood.
        if source != Source::Gateway {
            let Some(left) = self.left.checked_sub(1) else {
                self.dropped += 1;
                return None;
            };
            self.left = left;
        }
        self.last_number += 1;
        let line = LogLine { number: self.last_number, at: SystemTime::now(), source, text: text.to_owned() };
        self.push(line.clone());
        Some(line)
    }

    /// The oldest lines go when there are too many.
    fn push(&mut self, line: LogLine) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.lines.len() > limits::PLUGIN_LOG_LINES || self.bytes > limits::PLUGIN_LOG_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.text.len();
        }
    }
}

fn micros(since: Duration) -> u64 {
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Cuts a stream of bytes into lines of bounded length.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
    /// Bytes of this line that were not kept.
    cut: usize,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(String)) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ends) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                Some(_) | None => (piece, false),
            };
            let kept = text.len().min(limits::PLUGIN_LOG_LINE_BYTES - self.line.len());
            self.line.extend_from_slice(&text[..kept]);
            self.cut += text.len() - kept;
            if ends {
                take(self.take());
            }
        }
    }

    fn finish(&mut self, mut take: impl FnMut(String)) {
        if !self.line.is_empty() {
            take(self.take());
        }
    }

    fn take(&mut self) -> String {
        let mut text = String::from_utf8_lossy(self.line.trim_ascii_end()).into_owned();
        if self.cut > 0 {
            text.push_str(&format!(" … ({} bytes cut)", self.cut));
        }
        self.line.clear();
        self.cut = 0;
        text
    }
}

/// Reads one pipe to its end. Must run inside a tokio runtime.
pub(super) async fn drain(pipe: OwnedFd, source: Source, logs: &Logs) -> io::Result<()> {
    let mut pipe = pipe::Receiver::from_owned_fd(pipe)?;
    let mut buffer = vec![0; 8 << 10];
    let mut lines = Lines::default();
    loop {
        let read = pipe.read(&mut buffer).await?;
        if read == 0 {
            lines.finish(|line| logs.line(source, line));
            return Ok(());
        }
        lines.feed(&buffer[..read], |line| logs.line(source, line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(reads: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for read in reads {
            lines.feed(read, |line| out.push(line));
        }
        lines.finish(|line| out.push(line));
        out
    }

    #[test]
    fn lines_are_cut_where_they_end_not_where_a_read_does() {
        assert_eq!(split(&[b"one\ntw", b"o\r\n\nthr", b"ee"]), ["one", "two", "", "three"]);
    }

    #[test]
    fn an_endless_line_is_kept_to_its_bound_and_says_so() {
        let long = vec![b'x'; limits::PLUGIN_LOG_LINE_BYTES];
        let lines = split(&[&long, b"yy", b"y\nnext\n"]);
        assert_eq!(lines[0].len(), limits::PLUGIN_LOG_LINE_BYTES + " … (3 bytes cut)".len());
        assert!(lines[0].ends_with("x … (3 bytes cut)"));
        assert_eq!(lines[1], "next");
    }

    #[test]
    fn a_flood_is_dropped_and_counted_but_its_last_words_are_known() {
        let logs = Logs::new("p".to_owned(), Arc::new(|_: &str, _: &PluginEvent| {}));
        let now = Instant::now();
        for line in 0..1_000 {
            logs.keep(Source::Stderr, &format!("line {line}"), now);
        }
        assert_eq!(logs.lines(0, usize::MAX).len(), limits::PLUGIN_LOG_LINES_PER_SECOND as usize);
        assert_eq!(logs.journal.dropped(), 1_000 - u64::from(limits::PLUGIN_LOG_LINES_PER_SECOND));
        assert_eq!(logs.take_last_words(), "line 999");
        assert_eq!(logs.take_last_words(), "");
        assert!(logs.keep(Source::Stdout, "later", now + Duration::from_secs(1)).is_some());
    }

    #[test]
    fn a_line_break_in_what_a_plugin_says_forges_no_line() {
        #[derive(Clone, Default)]
        struct Written(std::sync::Arc<Mutex<Vec<u8>>>);
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
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(log, || {
            let logs = Logs::new("p".to_owned(), Arc::new(|_: &str, _: &PluginEvent| {}));
            logs.line(Source::Log(hookway_wire::LogLevel::Info), "hi\nERROR forged".to_owned());
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(r#"text="hi\nERROR forged""#), "{text}");
    }

    #[test]
    fn what_a_plugin_says_cannot_move_the_cursor_or_grow_without_bound() {
        let logs = Logs::new("p".to_owned(), Arc::new(|_: &str, _: &PluginEvent| {}));
        logs.line(Source::Stdout, "a\u{1b}[2Jb\u{202e}c\rd".to_owned());
        logs.line(Source::Log(hookway_wire::LogLevel::Info), "x".repeat(1 << 20));
        let lines = logs.lines(0, 2);
        assert_eq!(lines[0].text, r"a\u{1b}[2Jb\u{202e}c\u{d}d");
        assert!(lines[1].text.len() < limits::PLUGIN_LOG_LINE_BYTES + 200);
        assert!(lines[1].text.ends_with(" bytes cut)"));
    }

    #[test]
    fn lines_are_read_on_from_where_the_last_read_ended() {
        let logs = Logs::new("p".to_owned(), Arc::new(|_: &str, _: &PluginEvent| {}));
        for line in ["one", "two", "three"] {
            logs.line(Source::Stdout, line.to_owned());
        }
        let texts = |lines: &[LogLine]| lines.iter().map(|line| line.text.clone()).collect::<Vec<_>>();
        let first = logs.lines(0, 2);
        assert_eq!(texts(&first), ["one", "two"]);
        assert_eq!(texts(&logs.lines(first[1].number, 2)), ["three"]);
    }

    #[test]
    fn the_ring_keeps_the_newest_lines_within_both_bounds() {
        let logs = Logs::new("p".to_owned(), Arc::new(|_: &str, _: &PluginEvent| {}));
        let wide = "w".repeat(limits::PLUGIN_LOG_LINE_BYTES);
        for second in 0..20u32 {
            let now = Instant::now() + Duration::from_secs(2) * second;
            for _ in 0..10 {
                logs.keep(Source::Stdout, &wide, now);
            }
        }
        assert_eq!(logs.lines(0, usize::MAX).len(), limits::PLUGIN_LOG_BYTES / limits::PLUGIN_LOG_LINE_BYTES);
    }
}
