//! `cargo +nightly fuzz run http1`: where a client's bytes are cut changes neither the requests nor the error that are
//! read from them.
#![no_main]

use bytes::BytesMut;
use hookway::http1::{Body, HeadEnd, Misread, Piece, parse_request};
use libfuzzer_sys::fuzz_target;

const HEAD_BYTES_MAX: usize = 4096;

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (cuts, wire) = input;
    let mut parts = Vec::new();
    let mut rest = &wire[..];
    for cut in cuts {
        let (part, after) = rest.split_at(usize::from(cut).min(rest.len()));
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    assert_eq!(Connection::default().read(&parts), Connection::default().read(&[&wire]));
});

/// What was read of a connection so far.
#[derive(Default)]
struct Connection {
    unread: BytesMut,
    end: HeadEnd,
    body: Option<Body>,
    /// A request's method, target and body, and whether its end was read.
    requests: Vec<(String, String, Vec<u8>, bool)>,
}

impl Connection {
    fn read(mut self, parts: &[&[u8]]) -> (Vec<(String, String, Vec<u8>, bool)>, Option<Misread>) {
        for part in parts {
            self.unread.extend_from_slice(part);
            if let Err(misread) = self.take() {
                return (self.requests, Some(misread));
            }
        }
        (self.requests, None)
    }

    fn take(&mut self) -> Result<(), Misread> {
        loop {
            let whole = if self.body.is_some() { self.take_body()? } else { self.take_head()? };
            if !whole {
                return Ok(());
            }
        }
    }

    fn take_head(&mut self) -> Result<bool, Misread> {
        let Some(length) = self.end.find(&mut self.unread, HEAD_BYTES_MAX)? else { return Ok(false) };
        let (head, framing) = parse_request(&self.unread.split_to(length).freeze())?;
        self.requests.push((head.method.to_string(), head.uri.to_string(), Vec::new(), false));
        (self.end, self.body) = (HeadEnd::default(), Some(Body::new(framing)));
        Ok(true)
    }

    fn take_body(&mut self) -> Result<bool, Misread> {
        let (Some(body), Some((.., data, whole))) = (&mut self.body, self.requests.last_mut()) else {
            return Ok(false);
        };
        match body.take(&mut self.unread)? {
            Piece::Data(part) => data.extend_from_slice(&part),
            Piece::More => return Ok(false),
            Piece::End => (*whole, self.body) = (true, None),
        }
        Ok(true)
    }
}
