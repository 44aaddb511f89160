//! The body of a message, taken from the front of what was read.

use bytes::{Buf, Bytes, BytesMut};

use super::{Chunked, Framing, Misread, Part};

/// How much of a body is still to come.
#[derive(Clone, Debug)]
pub struct Body(State);

#[derive(Clone, Debug)]
enum State {
    Length(u64),
    Chunked(Chunked),
    /// Another protocol: every byte, for as long as any come.
    Raw,
}

/// What a body begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of it, never none.
    Data(Bytes),
    /// The next bytes have not been read yet.
    More,
    End,
}

impl Body {
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::None => State::Length(0),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunked::new()),
        })
    }

    /// From here on the connection speaks another protocol.
    pub fn raw() -> Self {
        Self(State::Raw)
    }

    /// The body was taken to its end.
    pub fn is_done(&self) -> bool {
        match &self.0 {
            State::Length(left) => *left == 0,
            State::Chunked(chunked) => chunked.is_done(),
            State::Raw => false,
        }
    }

    /// Bytes still to come, where the head told how many there are.
    pub fn left(&self) -> Option<u64> {
        match self.0 {
            State::Length(left) => Some(left),
            State::Chunked(_) | State::Raw => None,
        }
    }

    /// Takes the next piece from the front of `read`, without a copy. What follows the body stays.
    pub fn take(&mut self, read: &mut BytesMut) -> Result<Piece, Misread> {
        match &mut self.0 {
            State::Length(0) => Ok(Piece::End),
            State::Length(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *left -= length as u64;
                Ok(data_or_more(read, length))
            }
            State::Raw => {
                let length = read.len();
                Ok(data_or_more(read, length))
            }
            State::Chunked(chunked) => take_chunked(chunked, read),
        }
    }
}

fn take_chunked(chunked: &mut Chunked, read: &mut BytesMut) -> Result<Piece, Misread> {
    while let Some(span) = chunked.take(read)? {
        if span.part == Part::Data {
            return Ok(Piece::Data(read.split_to(span.length).freeze()));
        }
        read.advance(span.length);
    }
    Ok(if chunked.is_done() { Piece::End } else { Piece::More })
}

fn data_or_more(read: &mut BytesMut, length: usize) -> Piece {
    if length == 0 { Piece::More } else { Piece::Data(read.split_to(length).freeze()) }
}
