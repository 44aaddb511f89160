//! The framing of answers over HTTP/1, read strictly beside Pingora's own reading, which takes some broken chunks
//! for the end of a body. Bytes in, a verdict out.

use crate::http1::{Chunked, Misread};

/// The start of a line that is kept: enough for a status line and for a `transfer-encoding` that anything sends.
const LINE_BYTES_KEPT: usize = 256;

/// Where in the answer to one request the next byte stands.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    /// The request was a HEAD, so that its answer has no body.
    to_head: bool,
}

#[derive(Debug)]
enum State {
    Head(Head),
    Chunks(Chunked),
    /// Nothing that could be framed wrongly: counted bytes, or what comes until the connection closes.
    Other,
}

#[derive(Debug, Default)]
struct Head {
    line: Vec<u8>,
    status: Option<u16>,
    chunked: bool,
}

impl Framing {
    pub(super) fn new(to_head: bool) -> Self {
        Self { state: State::Head(Head::default()), to_head }
    }

    /// What was read next. An error comes with the number of bytes before it that are framed well.
    pub(super) fn look(&mut self, read: &[u8]) -> Result<(), (usize, Misread)> {
        let mut bytes = read;
        while !bytes.is_empty() {
            let good = read.len() - bytes.len();
            let at = |misread| (good, misread);
            match &mut self.state {
                State::Other => return Ok(()),
                State::Chunks(chunks) => match chunks.take(bytes).map_err(at)? {
                    Some(span) => bytes = &bytes[span.length..],
                    None => self.state = State::Other,
                },
                State::Head(head) => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let (line, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
                    bytes = rest;
                    let room = LINE_BYTES_KEPT.saturating_sub(head.line.len());
                    head.line.extend_from_slice(&line[..line.len().min(room)]);
                    if end.is_some()
                        && let Some(next) = head.end_line(self.to_head).map_err(at)?
                    {
                        self.state = next;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Head {
    /// A line is whole; tells what follows if it was the last. A coding below the chunks would reach the client as
    /// the body itself, so it is refused.
    fn end_line(&mut self, to_head: bool) -> Result<Option<State>, Misread> {
        let line = std::mem::take(&mut self.line);
        let line = line.trim_ascii();
        let Some(status) = self.status else {
            // Blank lines before an answer are passed over.
            self.status = (!line.is_empty()).then(|| status_of(line));
            return Ok(None);
        };
        if !line.is_empty() {
            let codings = value_of(line, b"transfer-encoding").unwrap_or_default();
            for coding in codings.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if coding.eq_ignore_ascii_case(b"chunked") && !self.chunked {
                    self.chunked = true;
                } else if !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity") {
                    return Err(Misread::Coding);
                }
            }
            return Ok(None);
        }
        Ok(Some(match status {
            101 | 204 | 304 => State::Other,
            100..=199 => State::Head(Self::default()),
            _ if self.chunked && !to_head => State::Chunks(Chunked::new()),
            _ => State::Other,
        }))
    }
}

/// The code of a status line; 0 if there is none, which Pingora refuses.
fn status_of(line: &[u8]) -> u16 {
    let code = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    std::str::from_utf8(code).ok().and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    let value = rest.trim_ascii_start().strip_prefix(b":")?;
    start.eq_ignore_ascii_case(name).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether an answer is framed well, however it is cut.
    #[track_caller]
    fn is_good(answer: &str, to_head: bool) -> bool {
        let mut verdicts = (1..=answer.len()).map(|size| {
            let mut framing = Framing::new(to_head);
            answer.as_bytes().chunks(size).try_for_each(|part| framing.look(part)).is_ok()
        });
        let first = verdicts.next().expect("an answer");
        assert!(verdicts.all(|verdict| verdict == first), "cuts make a difference: {answer:?}");
        first
    }

    fn chunked(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\ncontent-type: a/b\r\nTransfer-Encoding: Chunked\r\n\r\n{body}")
    }

    #[test]
    fn chunks_are_read_as_they_have_to_be_written() {
        for body in [
            "0\r\n\r\n",
            "2\r\n{}\r\n0\r\n\r\n",
            "2;a=b\r\n{}\r\n0\r\nx: y\r\n\r\n",
            "2\r\n{}\r\n0\r\n\r\nmore",
        ] {
            assert!(is_good(&chunked(body), false), "{body:?}");
        }
        for body in
            ["\r\n{}\r\n0\r\n\r\n", "2\n{}\n0\n\n", "2\r\n{}0\r\n\r\n", "-2\r\n", "2\r\n{}\r\n\r\n", "x\r\n"]
        {
            assert!(!is_good(&chunked(body), false), "{body:?}");
        }
    }

    #[test]
    fn what_stands_before_a_broken_chunk_is_good() {
        // The line end behind the data goes with the line that is broken.
        let good = chunked("2\r\n{}");
        let looked = Framing::new(false).look(format!("{good}\r\nzz\r\n").as_bytes());
        assert_eq!(looked, Err((good.len(), Misread::ChunkSize)));
    }

    #[test]
    fn what_is_not_chunked_is_not_judged() {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\r\nx",
            "HTTP/1.0 200 OK\r\n\r\n\r\n0\r\n",
            "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\ntransfer-encoding: chunked\r\n\r\n\r\nabc",
        ] {
            assert!(is_good(answer, false), "{answer:?}");
        }
        assert!(is_good(&chunked("\r\n"), true), "the answer to a HEAD has no body");
    }

    #[test]
    fn a_coding_the_client_would_not_be_told_of_is_refused() {
        for coding in ["gzip", "gzip, chunked", "chunked, chunked", "x"] {
            let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {coding}\r\n\r\n0\r\n\r\n");
            assert!(!is_good(&answer, false), "{coding}");
        }
        assert!(is_good("HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nx", false));
    }

    #[test]
    fn an_informational_answer_is_followed_by_another() {
        let answer = |body: &str| format!("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{}", chunked(body));
        assert!(is_good(&answer("1\r\nx\r\n0\r\n\r\n"), false));
        assert!(!is_good(&answer("\r\nx\r\n0\r\n\r\n"), false));
    }

    #[test]
    fn a_long_field_takes_no_room() {
        let mut framing = Framing::new(false);
        framing.look(b"HTTP/1.1 200 OK\r\nx: ").unwrap();
        for _ in 0..1_000 {
            framing.look(&[b'y'; 1024]).unwrap();
        }
        let State::Head(head) = framing.state else { panic!("the head has not ended") };
        assert_eq!(head.line.len(), LINE_BYTES_KEPT);
    }
}
