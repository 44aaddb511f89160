//! What a good answer is, and whether the one that came was it. Pure.
//!
//! A benchmark that does not look at its answers measures how fast errors are: every body is read to its last
//! byte, counted, and judged.

use memchr::memmem;
use serde_json::Value;

use super::failure::Failure;
use crate::upstream::answer;
use crate::upstream::script::{Form, Script};

/// The end of a stream, kept to see `[DONE]` or an error event even if it came in several reads; and an error's
/// whole body, which is smaller.
const TAIL_BYTES: usize = 1024;
const DONE: &[u8] = b"data: [DONE]\n\n";
const ERROR_EVENT: &[u8] = b"data: {\"error\"";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) status: u16,
    pub(crate) body: ExpectedBody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpectedBody {
    Length(u64),
    /// Server-sent events, the closing `[DONE]` counted.
    Events(u64),
}

impl Expected {
    /// What the upstream sends when it follows `script` and nothing goes wrong.
    pub(crate) fn of(script: &Script) -> Self {
        let body = match script.form {
            Form::Whole { bytes } => ExpectedBody::Length(answer::body(script.status, bytes).len() as u64),
            Form::Stream { events, .. } => ExpectedBody::Events(u64::from(events)),
        };
        Self { status: script.status, body }
    }
}

/// What the head of an answer said of its outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: u16,
    /// `x-hookway-cause` and `x-hookway-plugin`.
    pub(crate) cause: Option<String>,
    pub(crate) plugin: Option<String>,
}

/// What passed of a body so far.
#[derive(Debug)]
pub(crate) struct Seen {
    expected: Expected,
    pub(crate) bytes: u64,
    pub(crate) events: u64,
    /// The last byte was a line break: another one ends an event.
    after_break: bool,
    keeps_tail: bool,
    tail: Vec<u8>,
}

impl Seen {
    pub(crate) fn new(expected: Expected) -> Self {
        let keeps_tail = matches!(expected.body, ExpectedBody::Events(_));
        Self { expected, bytes: 0, events: 0, after_break: false, keeps_tail, tail: Vec::new() }
    }

    /// The head has come. An error's body is kept to see its code.
    pub(crate) fn begin(&mut self, outcome: &Outcome) {
        self.keeps_tail |= outcome.status != self.expected.status;
    }

    pub(crate) fn take(&mut self, data: &[u8]) {
        let (Some(first), Some(last)) = (data.first(), data.last()) else { return };
        self.bytes += data.len() as u64;
        if let ExpectedBody::Events(_) = self.expected.body {
            let across = u64::from(self.after_break && *first == b'\n');
            self.events += across + memmem::find_iter(data, b"\n\n").count() as u64;
            self.after_break = *last == b'\n' && !data.ends_with(b"\n\n");
        }
        if self.keeps_tail {
            self.keep_tail(data);
        }
    }

    fn keep_tail(&mut self, data: &[u8]) {
        let data = &data[data.len().saturating_sub(TAIL_BYTES)..];
        let excess = (self.tail.len() + data.len()).saturating_sub(TAIL_BYTES);
        self.tail.drain(..excess);
        self.tail.extend_from_slice(data);
    }

    /// Whether a whole body that passed was the one expected.
    pub(crate) fn judge(&self, outcome: Outcome) -> Result<(), Failure> {
        let Outcome { status, cause, plugin } = outcome;
        if status != self.expected.status {
            return Err(Failure::Status { status, cause, plugin, code: error_code(&self.tail) });
        }
        match self.expected.body {
            ExpectedBody::Length(want) if self.bytes == want => Ok(()),
            ExpectedBody::Length(want) => Err(Failure::Length { got: self.bytes, want }),
            ExpectedBody::Events(_) if memmem::find(&self.tail, ERROR_EVENT).is_some() => {
                Err(Failure::StreamError { code: event_error_code(&self.tail) })
            }
            ExpectedBody::Events(_) if !self.tail.ends_with(DONE) => Err(Failure::NoDone),
            ExpectedBody::Events(want) if self.events == want => Ok(()),
            ExpectedBody::Events(want) => Err(Failure::Events { got: self.events, want }),
        }
    }
}

/// `error.code` of the error event in the tail of a stream.
fn event_error_code(tail: &[u8]) -> Option<String> {
    let at = memmem::find(tail, ERROR_EVENT)? + b"data: ".len();
    error_code(tail[at..].split(|&byte| byte == b'\n').next()?)
}

/// `error.code` of a body in OpenAI's form.
fn error_code(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    Some(body["error"]["code"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Outcome = Outcome { status: 200, cause: None, plugin: None };
    const STREAM: Expected = Expected { status: 200, body: ExpectedBody::Events(3) };

    fn judged(expected: Expected, outcome: Outcome, pieces: &[&[u8]]) -> Result<(), Failure> {
        let mut seen = Seen::new(expected);
        seen.begin(&outcome);
        pieces.iter().for_each(|piece| seen.take(piece));
        seen.judge(outcome)
    }

    #[test]
    fn a_stream_is_good_wherever_it_is_cut() {
        let stream = b"data: {\"a\":1}\n\ndata: {\"a\":2}\n\ndata: [DONE]\n\n";
        for cut in 0..stream.len() {
            let (head, tail) = stream.split_at(cut);
            assert_eq!(judged(STREAM, OK, &[head, tail]), Ok(()), "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(judged(STREAM, OK, &bytes), Ok(()));
    }

    #[test]
    fn a_stream_that_lost_an_event_or_its_end_is_not() {
        let short = b"data: 1\n\ndata: [DONE]\n\n";
        assert_eq!(judged(STREAM, OK, &[short]), Err(Failure::Events { got: 2, want: 3 }));
        assert_eq!(judged(STREAM, OK, &[b"data: 1\n\ndata: 2\n\ndata: 3\n\n"]), Err(Failure::NoDone));
    }

    #[test]
    fn an_error_event_is_told_with_its_code() {
        let broken = b"data: 1\n\ndata: {\"error\":{\"message\":\"gone\",\"code\":\"cut\"}}\n\n";
        assert_eq!(judged(STREAM, OK, &[broken]), Err(Failure::StreamError { code: Some("cut".into()) }));
    }

    #[test]
    fn a_body_of_another_length_or_status_is_a_failure() {
        let expected = Expected { status: 200, body: ExpectedBody::Length(5) };
        assert_eq!(judged(expected, OK, &[b"he", b"llo"]), Ok(()));
        assert_eq!(judged(expected, OK, &[b"hell"]), Err(Failure::Length { got: 4, want: 5 }));
        let refused = Outcome { status: 503, cause: Some("broken".into()), plugin: Some("p".into()) };
        let told = |code: Option<&str>| Failure::Status {
            status: 503,
            cause: Some("broken".into()),
            plugin: Some("p".into()),
            code: code.map(str::to_owned),
        };
        assert_eq!(judged(expected, refused.clone(), &[b"hello"]), Err(told(None)));
        let body: &[u8] = br#"{"error":{"message":"m","code":"plugin_failed"}}"#;
        assert_eq!(judged(expected, refused, &[&body[..9], &body[9..]]), Err(told(Some("plugin_failed"))));
    }

    #[test]
    fn the_end_of_a_long_stream_is_what_is_kept() {
        let event = b"data: {\"choices\":[]}\n\n";
        let mut pieces = vec![event.as_slice(); 2];
        pieces.push(DONE);
        assert_eq!(judged(STREAM, OK, &pieces), Ok(()));
        let mut seen = Seen::new(STREAM);
        (0..1000).for_each(|_| seen.take(event));
        assert_eq!((seen.tail.len(), seen.events), (TAIL_BYTES, 1000));
    }
}
