//! Reads requests off a connection: the head for what matters here, the body only to be done with it.

use crate::chunked::{BadChunk, Chunked};

/// More head than any peer under test sends.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 64;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BadRequest {
    #[error("not an HTTP/1.1 request head: {0}")]
    Head(httparse::Error),
    #[error("a head longer than {HEAD_BYTES_MAX} bytes")]
    HeadTooLong,
    #[error("a content-length that is no number")]
    Length,
    #[error(transparent)]
    Chunk(#[from] BadChunk),
}

/// What the head of a request says, as far as the upstream cares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// The value of `x-script`, if the request brings its own.
    pub(crate) script: Option<String>,
    pub(crate) expects_continue: bool,
    pub(crate) closes: bool,
}

/// Where in a request a connection is. Bytes go in with [`Intake::feed`], one request at a time comes out.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    head: Vec<u8>,
    body: Body,
}

#[derive(Debug, Default)]
enum Body {
    /// The head is not whole yet.
    #[default]
    Unknown,
    Length(usize),
    Chunked(Chunked),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// More has to come. Says if the client waits for a `100 Continue` first.
    More { send_continue: bool },
    /// The request is whole; so many bytes of the input belonged to it.
    Whole { head: Head, used: usize },
}

impl Intake {
    /// Takes in what came. `current` is the head of the request whose body is being read.
    pub(crate) fn feed(&mut self, input: &[u8], current: &mut Head) -> Result<Taken, BadRequest> {
        let mut used = 0;
        let mut send_continue = false;
        if matches!(self.body, Body::Unknown) {
            let Some((head, body, head_bytes)) = self.take_head(input)? else {
                return Ok(Taken::More { send_continue });
            };
            send_continue = head.expects_continue;
            (*current, self.body, used) = (head, body, head_bytes);
        }
        let (done, taken) = match &mut self.body {
            Body::Length(left) => {
                let taken = (*left).min(input.len() - used);
                *left -= taken;
                (*left == 0, taken)
            }
            Body::Chunked(chunked) => {
                let taken = chunked.feed(&input[used..], |_| {})?;
                (chunked.is_done(), taken)
            }
            Body::Unknown => (false, 0),
        };
        if !done {
            return Ok(Taken::More { send_continue });
        }
        self.body = Body::Unknown;
        Ok(Taken::Whole { head: std::mem::take(current), used: used + taken })
    }

    /// The head, once it is whole, and how many bytes of the input ended it. A head that comes in one piece, as
    /// almost every one does, is parsed where it lies.
    fn take_head(&mut self, input: &[u8]) -> Result<Option<(Head, Body, usize)>, BadRequest> {
        if self.head.is_empty() {
            let Some((head, body, bytes)) = parse(input)? else {
                self.head.extend_from_slice(input);
                return Ok(None);
            };
            return Ok(Some((head, body, bytes)));
        }
        let before = self.head.len();
        self.head.extend_from_slice(input);
        if self.head.len() > HEAD_BYTES_MAX + input.len() {
            return Err(BadRequest::HeadTooLong);
        }
        let Some((head, body, bytes)) = parse(&self.head)? else { return Ok(None) };
        self.head.clear();
        Ok(Some((head, body, bytes - before)))
    }
}

fn parse(input: &[u8]) -> Result<Option<(Head, Body, usize)>, BadRequest> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(bytes) = request.parse(input).map_err(BadRequest::Head)? else {
        return Ok(None);
    };
    let (mut head, mut body) = (Head::default(), Body::Length(0));
    for header in request.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let length = std::str::from_utf8(header.value).ok().and_then(|value| value.trim().parse().ok());
            body = Body::Length(length.ok_or(BadRequest::Length)?);
        } else if is("transfer-encoding") {
            body = Body::Chunked(Chunked::default());
        } else if is("x-script") {
            head.script = Some(String::from_utf8_lossy(header.value).into_owned());
        } else if is("expect") {
            head.expects_continue = true;
        } else if is("connection") {
            head.closes = header.value.eq_ignore_ascii_case(b"close");
        }
    }
    Ok(Some((head, body, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed_all(pieces: &[&[u8]]) -> Vec<(Head, usize)> {
        let (mut intake, mut current, mut whole) = (Intake::default(), Head::default(), Vec::new());
        for piece in pieces {
            if let Taken::Whole { head, used } = intake.feed(piece, &mut current).unwrap() {
                whole.push((head, used));
            }
        }
        whole
    }

    const BY_LENGTH: &[u8] =
        b"POST /v1/chat/completions HTTP/1.1\r\nX-Script: status=500\r\nContent-Length: 5\r\n\r\nhello";
    const BY_CHUNKS: &[u8] = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

    #[test]
    fn a_request_is_whole_when_its_body_is_wherever_it_is_cut() {
        for request in [BY_LENGTH, BY_CHUNKS] {
            for cut in 0..request.len() {
                let (first, second) = request.split_at(cut);
                let whole = feed_all(&[first, second]);
                assert_eq!(whole.len(), 1, "cut at {cut}");
                assert_eq!(whole[0].1, second.len(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn the_script_comes_out_of_the_head() {
        let whole = feed_all(&[BY_LENGTH]);
        assert_eq!(whole[0].0.script.as_deref(), Some("status=500"));
    }

    #[test]
    fn a_second_request_in_the_same_bytes_is_left_where_it_is() {
        let both = [BY_LENGTH, BY_CHUNKS].concat();
        assert_eq!(feed_all(&[&both])[0].1, BY_LENGTH.len());
    }

    #[test]
    fn a_client_that_waits_for_a_continue_is_noticed_once() {
        let mut intake = Intake::default();
        let mut current = Head::default();
        let head = b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n";
        assert_eq!(intake.feed(head, &mut current), Ok(Taken::More { send_continue: true }));
        assert!(matches!(intake.feed(b"x", &mut current), Ok(Taken::Whole { used: 1, .. })));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let mut intake = Intake::default();
        assert!(intake.feed(b"\x16\x03\x01\x02\x00", &mut Head::default()).is_err());
    }
}
