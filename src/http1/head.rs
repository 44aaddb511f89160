//! The head of a request: where it ends, what it says, and how the body behind it is framed.

use std::str;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use memchr::{memchr, memrchr};

use super::{Misread, is_token};
use crate::limits;

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// Looks for the end of a head while it arrives. Every byte is looked at once.
#[derive(Clone, Debug, Default)]
pub struct HeadEnd {
    seen: usize,
    /// Where the line begins that is not whole yet.
    line: usize,
    /// Bytes of empty lines in front of the head, which are dropped (RFC 9112 section 2.2).
    dropped: usize,
}

impl HeadEnd {
    /// How long the head is that `read` begins with, once it is whole. An error tells as early as can be that
    /// there is none, or that it has more than `max` bytes.
    pub fn find(&mut self, read: &mut BytesMut, max: usize) -> Result<Option<usize>, Misread> {
        while self.seen == 0 && read.starts_with(b"\r\n") {
            read.advance(2);
            self.dropped += 2;
        }
        if self.dropped > limits::BLANK_LINES_BYTES_MAX {
            return Err(Misread::RequestLine);
        }
        if self.seen == 0 && read.first() != Some(&b'\r') && read.first().is_some_and(|&byte| !is_token(byte))
        {
            return Err(Misread::RequestLine);
        }
        if self.seen == 0 && read.as_ref() == b"\r" {
            return Ok(None);
        }
        while let Some(at) = memchr(b'\n', &read[self.seen..]).map(|at| self.seen + at) {
            let line = &read[self.line..at];
            self.seen = at + 1;
            match line {
                [b'\r'] if self.seen <= max => return Ok(Some(self.seen)),
                [.., b'\r'] => self.line = self.seen,
                _ => return Err(Misread::LineEnd),
            }
        }
        self.seen = read.len();
        if self.seen > max { Err(Misread::HeaderTooLarge { max }) } else { Ok(None) }
    }
}

/// Reads a whole head, its empty last line included.
pub fn parse_request(head: &Bytes) -> Result<(Parts, Framing), Misread> {
    let mut lines = Lines { head, at: 0 };
    let line = lines.next().ok_or(Misread::RequestLine)?;
    let (method, target, version) = request_line(&line)?;
    let headers = fields(lines)?;
    let uri = uri(&method, target)?;
    check_host(&headers, &uri, version)?;
    let framing = framing(&headers, version)?;
    let mut parts = Request::new(()).into_parts().0;
    parts.method = method;
    parts.uri = uri;
    parts.version = version;
    parts.headers = headers;
    Ok((parts, framing))
}

/// The lines of a head up to its empty one, without their ends.
struct Lines<'a> {
    head: &'a Bytes,
    at: usize,
}

impl Iterator for Lines<'_> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let end = self.at + memchr(b'\n', &self.head[self.at..])?;
        let line = self.head.slice(self.at..end.saturating_sub(1).max(self.at));
        self.at = end + 1;
        (!line.is_empty()).then_some(line)
    }
}

fn request_line(line: &Bytes) -> Result<(Method, Bytes, Version), Misread> {
    let first = memchr(b' ', line).ok_or(Misread::RequestLine)?;
    let last = memrchr(b' ', line).filter(|&last| last > first).ok_or(Misread::RequestLine)?;
    let method = Method::from_bytes(&line[..first]).map_err(|_| Misread::RequestLine)?;
    let version = match &line[last + 1..] {
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/1.0" => Version::HTTP_10,
        _ => return Err(Misread::RequestLine),
    };
    Ok((method, line.slice(first + 1..last), version))
}

fn fields(lines: Lines<'_>) -> Result<HeaderMap, Misread> {
    let mut headers = HeaderMap::with_capacity(16);
    for (number, line) in lines.enumerate() {
        if number == limits::HEADER_FIELDS_MAX {
            return Err(Misread::TooManyFields { max: limits::HEADER_FIELDS_MAX });
        }
        let colon = memchr(b':', &line).ok_or(Misread::Field)?;
        let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| Misread::Field)?;
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let start = line[colon + 1..].iter().position(|byte| !is_blank(byte));
        let start = start.map_or(line.len(), |at| colon + 1 + at);
        let end = line[start..].iter().rposition(|byte| !is_blank(byte)).map_or(start, |at| start + at + 1);
        let value = HeaderValue::from_maybe_shared(line.slice(start..end)).map_err(|_| Misread::Field)?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// The target in one of its four forms (RFC 9112 section 3.2).
fn uri(method: &Method, target: Bytes) -> Result<Uri, Misread> {
    if !target.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Misread::Target);
    }
    if target.starts_with(b"/") || target.as_ref() == b"*" {
        let path = PathAndQuery::from_maybe_shared(target).map_err(|_| Misread::Target)?;
        return Ok(Uri::from(path));
    }
    let uri = Uri::from_maybe_shared(target).map_err(|_| Misread::Target)?;
    let is_web = uri.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
    let is_told = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    if is_told && (is_web || *method == Method::CONNECT) { Ok(uri) } else { Err(Misread::Target) }
}

/// RFC 9112 section 3.2.
fn check_host(headers: &HeaderMap, uri: &Uri, version: Version) -> Result<(), Misread> {
    let mut hosts = headers.get_all(HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    let is_one = another.is_none() && (host.is_some() || version == Version::HTTP_10);
    let is_plain =
        host.is_none_or(|host| !host.as_bytes().contains(&b'@') && !host.as_bytes().contains(&b','));
    let is_same = match (host, uri.authority(), uri.scheme()) {
        (Some(host), Some(authority), Some(_)) => authority.as_str().as_bytes() == host.as_bytes(),
        _ => true,
    };
    if is_one && is_plain && is_same { Ok(()) } else { Err(Misread::Host) }
}

/// RFC 9112 section 6.3, without what it leaves to the reader: what can be read in two ways is refused.
fn framing(headers: &HeaderMap, version: Version) -> Result<Framing, Misread> {
    let one = |name| {
        let mut values = headers.get_all(name).iter();
        let first = values.next().map(HeaderValue::as_bytes);
        (first, values.next().is_some())
    };
    let (length, more_lengths) = one(CONTENT_LENGTH);
    let (coding, more_codings) = one(TRANSFER_ENCODING);
    match (coding, length) {
        (None, None) => Ok(Framing::None),
        (None, Some(_)) if more_lengths => Err(Misread::Length),
        (None, Some(length)) => number(length).map(Framing::Length).ok_or(Misread::Length),
        (Some(coding), _) if more_codings || !coding.eq_ignore_ascii_case(b"chunked") => Err(Misread::Coding),
        (Some(_), None) if version == Version::HTTP_11 => Ok(Framing::Chunked),
        (Some(_), None) => Err(Misread::Coding),
        (Some(_), Some(_)) => Err(Misread::TwoLengths),
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let text = str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}
