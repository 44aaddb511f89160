//! One HTTP/1.1 answer on its way in: where its body begins and ends, however the reads cut it. Pure.

use super::expect::{Expected, Outcome, Seen};
use super::failure::{Failure, Progress};
use crate::chunked::Chunked;

const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 64;

/// An answer that has come to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) verdict: Result<(), Failure>,
    pub(crate) events: u64,
    /// The connection can carry another request.
    pub(crate) reusable: bool,
}

#[derive(Debug)]
pub(crate) struct Intake {
    head: Vec<u8>,
    /// Known once the head is whole.
    form: Option<Form>,
    seen: Seen,
}

#[derive(Debug)]
struct Form {
    outcome: Outcome,
    framing: Framing,
    reusable: bool,
}

#[derive(Debug)]
enum Framing {
    Length(usize),
    Chunked(Chunked),
    UntilClose,
}

struct NotHttp;

impl Intake {
    pub(crate) fn new(expected: Expected) -> Self {
        Self { head: Vec::new(), form: None, seen: Seen::new(expected) }
    }

    pub(crate) fn progress(&self) -> Progress {
        match self.form {
            None if self.head.is_empty() => Progress::Nothing,
            None => Progress::Head,
            Some(_) => Progress::Body,
        }
    }

    /// The first byte of the body has come: for a stream, of its first event.
    pub(crate) fn has_body(&self) -> bool {
        self.seen.bytes > 0
    }

    /// Takes in what came, and returns the answer once it is whole.
    pub(crate) fn feed(&mut self, input: &[u8]) -> Option<Finished> {
        let mut body_at = 0;
        if self.form.is_none() {
            match self.take_head(input) {
                Ok(Some(bytes)) => body_at = bytes,
                Ok(None) => return None,
                Err(NotHttp) => return Some(self.finish(Err(Failure::NotHttp), false)),
            }
        }
        match self.take_body(&input[body_at..]) {
            Ok(None) => None,
            Ok(Some(used)) => {
                let nothing_follows = body_at + used == input.len();
                Some(self.judge(nothing_follows))
            }
            Err(NotHttp) => Some(self.finish(Err(Failure::NotHttp), false)),
        }
    }

    /// The connection ended, which is the end of the answer only where the head said so.
    pub(crate) fn end(&mut self) -> Finished {
        if self.form.as_ref().is_some_and(|form| matches!(form.framing, Framing::UntilClose)) {
            return self.judge(false);
        }
        self.finish(Err(Failure::Closed { after: self.progress() }), false)
    }

    pub(crate) fn finish(&mut self, verdict: Result<(), Failure>, reusable: bool) -> Finished {
        Finished { verdict, events: self.seen.events, reusable }
    }

    fn judge(&mut self, nothing_follows: bool) -> Finished {
        let Some(form) = self.form.take() else { return self.finish(Err(Failure::NotHttp), false) };
        let verdict = self.seen.judge(form.outcome);
        self.finish(verdict, form.reusable && nothing_follows)
    }

    /// How many bytes of the input ended the head. One that comes in a single read is parsed where it lies.
    fn take_head(&mut self, input: &[u8]) -> Result<Option<usize>, NotHttp> {
        let before = self.head.len();
        if before > 0 {
            self.head.extend_from_slice(input);
        }
        let parsed = parse(if before > 0 { &self.head } else { input })?;
        let Some((form, bytes)) = parsed else {
            if before == 0 {
                self.head.extend_from_slice(input);
            }
            return if self.head.len() > HEAD_BYTES_MAX { Err(NotHttp) } else { Ok(None) };
        };
        self.seen.begin(&form.outcome);
        self.form = Some(form);
        Ok(Some(bytes - before))
    }

    /// How many bytes of the input ended the body, if it has ended.
    fn take_body(&mut self, input: &[u8]) -> Result<Option<usize>, NotHttp> {
        let Some(form) = &mut self.form else { return Ok(None) };
        let seen = &mut self.seen;
        match &mut form.framing {
            Framing::Length(left) => {
                let taken = input.len().min(*left);
                seen.take(&input[..taken]);
                *left -= taken;
                Ok((*left == 0).then_some(taken))
            }
            Framing::Chunked(chunked) => {
                let used = chunked.feed(input, |data| seen.take(data)).map_err(|_| NotHttp)?;
                Ok(chunked.is_done().then_some(used))
            }
            Framing::UntilClose => {
                seen.take(input);
                Ok(None)
            }
        }
    }
}

fn parse(input: &[u8]) -> Result<Option<(Form, usize)>, NotHttp> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(bytes) = response.parse(input).map_err(|_| NotHttp)? else {
        return Ok(None);
    };
    let status = response.code.ok_or(NotHttp)?;
    let mut form = Form {
        outcome: Outcome { status, ..Outcome::default() },
        framing: Framing::UntilClose,
        reusable: response.version == Some(1),
    };
    for header in response.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let text = || String::from_utf8_lossy(header.value).trim().to_owned();
        if is("content-length") {
            form.framing = Framing::Length(text().parse().map_err(|_| NotHttp)?);
        } else if is("transfer-encoding") {
            form.framing = Framing::Chunked(Chunked::default());
        } else if is("connection") {
            form.reusable &= !header.value.eq_ignore_ascii_case(b"close");
        } else if is("x-hookway-cause") {
            form.outcome.cause = Some(text());
        } else if is("x-hookway-plugin") {
            form.outcome.plugin = Some(text());
        }
    }
    Ok(Some((form, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::expect::ExpectedBody;
    use crate::upstream::answer::Answer;

    /// An answer of the scripted upstream as one run of bytes, and what is expected of it.
    fn scripted(script: &str) -> (Vec<u8>, Expected) {
        let script = script.parse().unwrap();
        let bytes = Answer::render(&script).pieces.into_iter().flat_map(|piece| piece.bytes).collect();
        (bytes, Expected::of(&script))
    }

    #[test]
    fn an_answer_is_whole_at_its_last_byte_wherever_it_is_cut() {
        for script in ["body=300", "events=3,event=200", "status=429,body=100"] {
            let (answer, expected) = scripted(script);
            for cut in 1..answer.len() {
                let mut intake = Intake::new(expected);
                assert_eq!(intake.feed(&answer[..cut]), None, "{script} cut at {cut}");
                let finished = intake.feed(&answer[cut..]).unwrap();
                assert_eq!((finished.verdict, finished.reusable), (Ok(()), true), "{script} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_connection_that_ends_early_is_told_by_how_far_it_came() {
        let (answer, expected) = scripted("body=300");
        for (bytes, after) in [(0, Progress::Nothing), (10, Progress::Head), (250, Progress::Body)] {
            let mut intake = Intake::new(expected);
            if bytes > 0 {
                assert_eq!(intake.feed(&answer[..bytes]), None);
            }
            assert_eq!(intake.end().verdict, Err(Failure::Closed { after }));
        }
    }

    #[test]
    fn the_gateways_own_words_are_read_from_its_headers() {
        let refused = b"HTTP/1.1 504 x\r\nX-Hookway-Cause: timeout\r\nx-hookway-plugin: probe\r\ncontent-length: 2\r\n\r\n{}";
        let mut intake = Intake::new(Expected { status: 200, body: ExpectedBody::Length(2) });
        let finished = intake.feed(refused).unwrap();
        let (cause, plugin) = (Some("timeout".into()), Some("probe".into()));
        let failure = Failure::Status { status: 504, cause, plugin, code: None };
        assert_eq!(finished.verdict, Err(failure));
        assert!(finished.reusable);
    }

    #[test]
    fn a_connection_with_bytes_after_the_answer_is_not_used_again() {
        let (mut answer, expected) = scripted("body=300");
        answer.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        let finished = Intake::new(expected).feed(&answer).unwrap();
        assert_eq!((finished.verdict, finished.reusable), (Ok(()), false));
    }

    #[test]
    fn an_answer_without_a_length_ends_with_its_connection() {
        let mut intake = Intake::new(Expected { status: 200, body: ExpectedBody::Length(5) });
        assert_eq!(intake.feed(b"HTTP/1.1 200 OK\r\n\r\nhello"), None);
        let finished = intake.end();
        assert_eq!((finished.verdict, finished.reusable), (Ok(()), false));
    }

    #[test]
    fn what_is_no_answer_is_told() {
        let mut intake = Intake::new(Expected { status: 200, body: ExpectedBody::Length(5) });
        assert_eq!(intake.feed(b"\x15\x03\x01").unwrap().verdict, Err(Failure::NotHttp));
    }
}
