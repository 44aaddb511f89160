//! Server-sent events, cut from a stream of chunks (WHATWG HTML, 9.2).
//!
//! The splitter never changes, adds or drops a byte: its pieces and the remainder are the input. An event that
//! lies within one chunk is a slice of it; only one that spans chunks is joined. Where the cuts of the chunks
//! lie does not change where the pieces end.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2};

use crate::limits;

/// Cuts chunks into pieces. A piece is one event with the blank line that ends it, or a comment line or blank
/// line between events: those go on at once, for a heartbeat held back until the next event would be none.
#[derive(Debug)]
pub struct Splitter {
    /// The beginning of a piece that started in earlier chunks.
    held: BytesMut,
    chunk: Bytes,
    /// How much of `chunk` was looked at.
    scanned: usize,
    state: State,
    event_bytes_max: usize,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new(limits::SSE_EVENT_BYTES_MAX)
    }
}

/// An event longer than the gateway holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {max} bytes")]
pub struct EventTooLarge {
    pub max: usize,
}

/// Where in a piece the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the start of a piece.
    Start,
    /// In a line; `event` is false for a comment that stands alone.
    Line { event: bool },
    /// After a CR, before knowing whether an LF belongs to it.
    LineCr { event: bool },
    /// At the start of a later line of an event. `after_cr`: the line before ended in a lone CR.
    NextLine { after_cr: bool },
    /// The blank line began with a CR; an LF may belong to it.
    BlankCr,
}

impl Splitter {
    pub fn new(event_bytes_max: usize) -> Self {
        Self { held: BytesMut::new(), chunk: Bytes::new(), scanned: 0, state: State::Start, event_bytes_max }
    }

    /// Takes the next chunk. Call [`Self::next_piece`] until it has none before the next `push`: what is left of
    /// an earlier chunk is copied.
    pub fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            self.chunk = [&self.chunk[..], &chunk[..]].concat().into();
        }
    }

    /// The next whole piece, or `None` until more is pushed.
    pub fn next_piece(&mut self) -> Result<Option<Bytes>, EventTooLarge> {
        if self.scan() {
            self.check(self.scanned)?;
            return Ok(Some(self.cut(self.scanned)));
        }
        self.hold().map(|()| None)
    }

    /// All whole pieces there are, as one. For a stream nobody wants to see event by event.
    pub fn next_pieces(&mut self) -> Result<Option<Bytes>, EventTooLarge> {
        let mut end = None;
        while self.scan() {
            self.check(self.scanned - end.unwrap_or(0))?;
            end = Some(self.scanned);
        }
        let pieces = end.map(|end| self.cut(end));
        self.hold().map(|()| pieces)
    }

    /// What came after the last whole piece: empty, unless the stream was cut inside an event.
    pub fn remainder(mut self) -> Bytes {
        if self.held.is_empty() {
            return self.chunk;
        }
        self.held.extend_from_slice(&self.chunk);
        self.held.freeze()
    }

    /// Looks on from `scanned`; true when the piece there ends, with `scanned` behind its last byte.
    fn scan(&mut self) -> bool {
        while let Some(&byte) = self.chunk.get(self.scanned) {
            let ends = match self.state {
                State::Start => self.start(byte),
                State::Line { event } => self.line(event),
                State::LineCr { event } => {
                    let crlf = byte == b'\n';
                    self.scanned += usize::from(crlf);
                    self.state = State::NextLine { after_cr: !crlf };
                    !event
                }
                State::NextLine { after_cr } => self.next_line(byte, after_cr),
                State::BlankCr => {
                    self.scanned += usize::from(byte == b'\n');
                    true
                }
            };
            if ends {
                self.state = State::Start;
                return true;
            }
        }
        false
    }

    fn start(&mut self, byte: u8) -> bool {
        match byte {
            b'\n' | b'\r' => self.next_line(byte, false),
            _ => {
                self.state = State::Line { event: byte != b':' };
                false
            }
        }
    }

    fn line(&mut self, event: bool) -> bool {
        let rest = &self.chunk[self.scanned..];
        let Some(at) = memchr2(b'\n', b'\r', rest) else {
            self.scanned = self.chunk.len();
            return false;
        };
        let cr = rest[at] == b'\r';
        self.scanned += at + 1;
        self.state = if cr { State::LineCr { event } } else { State::NextLine { after_cr: false } };
        !cr && !event
    }

    fn next_line(&mut self, byte: u8, after_cr: bool) -> bool {
        match byte {
            b'\n' => self.scanned += 1,
            b'\r' => {
                self.scanned += 1;
                // After a lone CR this one ends the event at once: in a stream of CRs there is no LF to wait
                // for, and one that comes all the same is a blank line of its own.
                if !after_cr {
                    self.state = State::BlankCr;
                    return false;
                }
            }
            _ => {
                self.state = State::Line { event: true };
                return false;
            }
        }
        true
    }

    /// The held bytes and the first `end` of the chunk.
    fn cut(&mut self, end: usize) -> Bytes {
        let piece = self.chunk.split_to(end);
        self.scanned -= end;
        if self.held.is_empty() {
            return piece;
        }
        self.held.extend_from_slice(&piece);
        self.held.split().freeze()
    }

    fn hold(&mut self) -> Result<(), EventTooLarge> {
        self.check(self.chunk.len())?;
        self.held.extend_from_slice(&self.chunk);
        self.chunk = Bytes::new();
        self.scanned = 0;
        Ok(())
    }

    fn check(&self, more: usize) -> Result<(), EventTooLarge> {
        let max = self.event_bytes_max;
        if self.held.len() + more > max { Err(EventTooLarge { max }) } else { Ok(()) }
    }
}

/// The stream's last event in OpenAI's dialect.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// One event with `data` on one line.
pub fn event(data: &[u8]) -> Bytes {
    [b"data: ", data, b"\n\n"].concat().into()
}

/// The lines of `data:` joined by LF; `None` for a piece without any, which a client ignores.
pub fn data(piece: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut lines = fields(piece).filter(|(name, _)| *name == b"data").map(|(_, value)| value);
    let first = lines.next()?;
    let mut data = Cow::Borrowed(first);
    for line in lines {
        data.to_mut().push(b'\n');
        data.to_mut().extend_from_slice(line);
    }
    Some(data)
}

/// The value of `event:`, the last one if there are several.
pub fn name(piece: &[u8]) -> Option<&[u8]> {
    fields(piece).filter(|(name, _)| *name == b"event").last().map(|(_, value)| value)
}

/// Whether this is `data: [DONE]`.
pub fn is_done(piece: &[u8]) -> bool {
    const MARK: &[u8] = b"[DONE]";
    piece.trim_ascii_end().ends_with(MARK) && data(piece).is_some_and(|data| data.trim_ascii() == MARK)
}

fn fields(piece: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let piece = piece.strip_prefix("\u{feff}".as_bytes()).unwrap_or(piece);
    // A CRLF gives an empty line more, which is none of a field.
    piece.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.is_empty()).map(
        |line| match memchr(b':', line) {
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &[][..]),
        },
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The pieces of `chunks` and the remainder.
    fn split<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Bytes>, Bytes) {
        let mut splitter = Splitter::default();
        let mut pieces = Vec::new();
        for chunk in chunks {
            splitter.push(Bytes::copy_from_slice(chunk));
            while let Some(piece) = splitter.next_piece().unwrap() {
                pieces.push(piece);
            }
        }
        (pieces, splitter.remainder())
    }

    #[track_caller]
    fn splits(stream: &str, pieces: &[&str], remainder: &str) {
        let expected = (
            pieces.iter().map(|piece| Bytes::copy_from_slice(piece.as_bytes())).collect(),
            Bytes::copy_from_slice(remainder.as_bytes()),
        );
        assert_eq!(split([stream.as_bytes()]), expected);
        assert_eq!(split(stream.as_bytes().chunks(1)), expected, "byte by byte");
    }

    #[test]
    fn every_kind_of_line_end_ends_an_event() {
        splits("data: a\n\ndata: b\n\n", &["data: a\n\n", "data: b\n\n"], "");
        splits("data: a\r\n\r\ndata: b\r\n\r\n", &["data: a\r\n\r\n", "data: b\r\n\r\n"], "");
        splits("data: a\r\rdata: b\r\r", &["data: a\r\r", "data: b\r\r"], "");
        splits(
            "data: a\n\r\ndata: b\r\n\ndata: c\r\n\rdata: d\n\n",
            &["data: a\n\r\n", "data: b\r\n\n", "data: c\r\n\r", "data: d\n\n"],
            "",
        );
    }

    #[test]
    fn an_event_keeps_all_its_lines() {
        let event = "event: x\nid: 1\n: remark\ndata: a\ndata: b\n\n";
        splits(event, &[event], "");
    }

    #[test]
    fn heartbeats_and_blank_lines_go_on_at_once() {
        splits(": hb\n: hb\r\ndata: a\n\n\n: hb\r", &[": hb\n", ": hb\r\n", "data: a\n\n", "\n"], ": hb\r");
        splits(": hb\rdata: a\r\r\n\r\n", &[": hb\r", "data: a\r\r", "\n", "\r\n"], "");
    }

    #[test]
    fn a_cut_stream_leaves_its_beginning_of_an_event() {
        splits("data: a\n\ndata: b", &["data: a\n\n"], "data: b");
        splits("data: b\n", &[], "data: b\n");
        splits("", &[], "");
    }

    #[test]
    fn an_event_within_one_chunk_is_not_copied() {
        let chunk = Bytes::from_static(b"data: a\n\ndata: b\n\nda");
        let mut splitter = Splitter::default();
        splitter.push(chunk.clone());
        assert_eq!(splitter.next_piece().unwrap().unwrap().as_ptr(), chunk.as_ptr());
        assert_eq!(splitter.next_piece().unwrap().unwrap().as_ptr(), chunk[9..].as_ptr());
        assert_eq!(splitter.next_piece(), Ok(None));
    }

    #[test]
    fn whole_events_can_be_had_together() {
        let mut splitter = Splitter::default();
        splitter.push(Bytes::from_static(b"data: a\n\ndata: b\n\nda"));
        assert_eq!(splitter.next_pieces().unwrap().unwrap(), "data: a\n\ndata: b\n\n");
        assert_eq!(splitter.next_pieces(), Ok(None));
        splitter.push(Bytes::from_static(b"ta: c\n\n: hb\n"));
        assert_eq!(splitter.next_pieces().unwrap().unwrap(), "data: c\n\n: hb\n");
        assert_eq!(splitter.remainder(), "");
    }

    #[test]
    fn an_event_above_the_limit_is_an_error_however_it_comes() {
        let too_large = EventTooLarge { max: 16 };
        let event = b"data: 123456789\n\n";
        for chunk_len in [1, 5, 16, 17] {
            let mut splitter = Splitter::new(16);
            let found = event.chunks(chunk_len).find_map(|chunk| {
                splitter.push(Bytes::copy_from_slice(chunk));
                splitter.next_piece().transpose()
            });
            assert_eq!(found, Some(Err(too_large)), "chunks of {chunk_len}");
        }
        let mut splitter = Splitter::new(16);
        splitter.push(Bytes::from_static(b"data: 12345678\n\ndata: 123456789\n\n"));
        assert_eq!(splitter.next_pieces(), Err(too_large));
    }

    #[test]
    fn data_is_what_a_client_reads() {
        assert_eq!(data(b"data: a\n\n").as_deref(), Some(&b"a"[..]));
        assert_eq!(data(b"data:a\r\ndata:  b\r\ndata\r\n\r\n").as_deref(), Some(&b"a\n b\n"[..]));
        assert_eq!(data("\u{feff}data: a\n\n".as_bytes()).as_deref(), Some(&b"a"[..]));
        assert_eq!(data(b": hb\n"), None);
        assert_eq!(data(b"database: x\n\n"), None);
        assert_eq!(name(b"event: ping\ndata: {}\n\n"), Some(&b"ping"[..]));
        assert_eq!(name(b"data: {}\n\n"), None);
        assert_eq!(data(&event(b"{}")).as_deref(), Some(&b"{}"[..]));
    }

    #[test]
    fn the_end_mark_is_known_in_all_its_spellings() {
        for piece in [DONE, b"data:[DONE]\r\n\r\n", b"id: 7\ndata: [DONE] \n\n"] {
            assert!(is_done(piece));
        }
        for piece in [&b"data: \"[DONE]\"\n\n"[..], b": [DONE]\n", b"event: [DONE]\n\n"] {
            assert!(!is_done(piece));
        }
    }

    proptest! {
        #[test]
        fn pieces_and_remainder_are_the_input_and_cuts_change_nothing(
            parts in prop::collection::vec(prop::sample::select(vec!["\n", "\r", "\r\n", ":", "data: x", "event: e", "\u{feff}", " "]), 0..40),
            cuts in prop::collection::vec(0usize..6, 0..60),
        ) {
            let stream = parts.concat().into_bytes();
            let mut chunks = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts {
                let (chunk, after) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            chunks.push(rest);
            let (pieces, remainder) = split(chunks.iter().copied());
            prop_assert_eq!([pieces.concat(), remainder.to_vec()].concat(), &stream[..]);

            let whole = split([&stream[..]]);
            prop_assert_eq!((&pieces, &remainder), (&whole.0, &whole.1));

            let mut splitter = Splitter::default();
            let mut together = Vec::new();
            for chunk in chunks {
                splitter.push(Bytes::copy_from_slice(chunk));
                together.extend(splitter.next_pieces().unwrap());
            }
            prop_assert_eq!(together.concat(), pieces.concat());
            prop_assert_eq!(splitter.remainder(), remainder);
        }
    }
}
