//! The chunked coding (RFC 9112 section 7.1), byte by byte.
//!
//! ```text
//!  1a ;name=value CR LF   26 bytes CR LF   0 CR LF   name: value CR LF   CR LF
//!  ── ──────────        ─────────────────────────    ─────────────────
//!  line  extension          data, line                  trailer
//! ```
//!
//! Extensions and trailers are read by the same rules as everything else, within a bound, and told apart, so that
//! a reader can leave them out: a recipient may discard both (RFC 9112 sections 7.1.1 and 7.1.2).

use super::{Misread, is_control, is_token};
use crate::limits;

/// Hexadecimal digits of a size: as many as 64 bits have.
const SIZE_DIGITS_MAX: u8 = 16;

/// Where in a chunked body the next byte stands.
#[derive(Clone, Debug)]
pub struct Chunked {
    state: State,
    /// Bytes of extensions and trailers so far.
    extras: usize,
}

/// What a byte of a chunked body is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Sizes and line ends, without which the body cannot be read.
    Line,
    Extension,
    Data,
    Trailer,
}

/// The first bytes of the input, which are all part of the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub part: Part,
    pub length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size {
        digits: u8,
        size: u64,
    },
    /// Blanks behind a size, where nothing but an extension may follow.
    Blank {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

const FIRST: State = State::Size { digits: 0, size: 0 };

impl Chunked {
    pub fn new() -> Self {
        Self { state: FIRST, extras: 0 }
    }

    /// The body is whole: what follows belongs to the next message.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes the first bytes of `input`; `None` if there are none to take.
    pub fn take(&mut self, input: &[u8]) -> Result<Option<Span>, Misread> {
        if let State::Data { left } = self.state {
            return Ok(self.take_data(left, input.len()));
        }
        let mut taken: Option<Span> = None;
        for &byte in input {
            if matches!(self.state, State::Data { .. } | State::Done) {
                break;
            }
            let (next, part) = step(self.state, byte)?;
            if taken.is_some_and(|span| span.part != part) {
                break;
            }
            self.count(part)?;
            self.state = next;
            taken = Some(Span { part, length: taken.map_or(0, |span| span.length) + 1 });
        }
        Ok(taken)
    }

    fn take_data(&mut self, left: u64, available: usize) -> Option<Span> {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(available);
        let left = left - length as u64;
        self.state = if left == 0 { State::DataCr } else { State::Data { left } };
        (length > 0).then_some(Span { part: Part::Data, length })
    }

    fn count(&mut self, part: Part) -> Result<(), Misread> {
        self.extras += usize::from(matches!(part, Part::Extension | Part::Trailer));
        let max = limits::CHUNK_EXTRAS_BYTES_MAX;
        if self.extras > max { Err(Misread::ExtrasTooLarge { max }) } else { Ok(()) }
    }
}

impl Default for Chunked {
    fn default() -> Self {
        Self::new()
    }
}

/// What `byte` is part of, and what may come behind it. Never asked about data.
fn step(state: State, byte: u8) -> Result<(State, Part), Misread> {
    use Part::{Extension, Line, Trailer};
    let is_blank = matches!(byte, b' ' | b'\t');
    Ok(match (state, byte) {
        (State::Size { digits, size }, _) if byte.is_ascii_hexdigit() && digits < SIZE_DIGITS_MAX => {
            (State::Size { digits: digits + 1, size: size << 4 | value_of(byte) }, Line)
        }
        (State::Size { digits: 1.., size } | State::Extension { size }, b'\r') => {
            (State::SizeLf { size }, Line)
        }
        (State::Size { digits: 1.., size } | State::Blank { size }, b';') => {
            (State::Extension { size }, Extension)
        }
        (State::Size { digits: 1.., size } | State::Blank { size }, _) if is_blank => {
            (State::Blank { size }, Extension)
        }
        (State::Size { .. } | State::Blank { .. }, _) => return Err(Misread::ChunkSize),
        (State::Extension { .. }, _) if is_control(byte) => return Err(Misread::ChunkExtension),
        (State::Extension { size }, _) => (State::Extension { size }, Extension),
        (State::SizeLf { size: 0 }, b'\n') => (State::TrailerStart, Line),
        (State::SizeLf { size }, b'\n') => (State::Data { left: size }, Line),
        (State::DataCr, b'\r') => (State::DataLf, Line),
        (State::DataCr, _) => return Err(Misread::ChunkEnd),
        (State::DataLf, b'\n') => (FIRST, Line),
        (State::TrailerStart, b'\r') => (State::EndLf, Line),
        (State::TrailerStart | State::TrailerName, _) if is_token(byte) => (State::TrailerName, Trailer),
        (State::TrailerName, b':') => (State::TrailerValue, Trailer),
        (State::TrailerStart | State::TrailerName, _) => return Err(Misread::Trailer),
        (State::TrailerValue, b'\r') => (State::TrailerLf, Trailer),
        (State::TrailerValue, _) if is_control(byte) => return Err(Misread::Trailer),
        (State::TrailerValue, _) => (State::TrailerValue, Trailer),
        (State::TrailerLf, b'\n') => (State::TrailerStart, Trailer),
        (State::EndLf, b'\n') => (State::Done, Line),
        (State::SizeLf { .. } | State::DataLf | State::TrailerLf | State::EndLf, _) => {
            return Err(Misread::LineEnd);
        }
        (State::Data { .. } | State::Done, _) => unreachable!("neither is read byte by byte"),
    })
}

fn value_of(digit: u8) -> u64 {
    char::from(digit).to_digit(16).map_or(0, u64::from)
}
