//! Decodes the chunked transfer coding (RFC 9112, section 7.1) as its bytes come in, however they are cut.
//!
//! Chunk extensions are skipped and trailers are read over. No byte is copied: data is handed out as it lies
//! in the input.

/// The longest line read over: a size with its extension, or one trailer.
const LINE_BYTES_MAX: usize = 8 * 1024;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BadChunk {
    #[error("a chunk's size is not a hexadecimal number")]
    Size,
    #[error("a chunk does not end with a line break")]
    Break,
    #[error("a line between chunks is longer than {LINE_BYTES_MAX} bytes")]
    Line,
}

#[derive(Debug, Default)]
pub(crate) struct Chunked {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a size line: what was read of it, and whether its digits are over.
    Size {
        value: usize,
        digits: bool,
        over: bool,
        line_bytes: usize,
    },
    Data {
        left: usize,
    },
    /// The line break behind a chunk's data.
    Break,
    /// In a line of the trailer; an empty one ends the message.
    Trailer {
        line_bytes: usize,
    },
    Done,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { value: 0, digits: false, over: false, line_bytes: 0 }
    }
}

impl Chunked {
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes in what came, hands each piece of data on, and returns how many bytes belonged to this message.
    pub(crate) fn feed(&mut self, input: &[u8], mut data: impl FnMut(&[u8])) -> Result<usize, BadChunk> {
        let mut at = 0;
        while at < input.len() && !self.is_done() {
            if let State::Data { left } = self.state {
                let taken = left.min(input.len() - at);
                data(&input[at..at + taken]);
                at += taken;
                self.state = if taken == left { State::Break } else { State::Data { left: left - taken } };
                continue;
            }
            self.state = step(self.state, input[at])?;
            at += 1;
        }
        Ok(at)
    }
}

/// What one byte outside of data does.
fn step(state: State, byte: u8) -> Result<State, BadChunk> {
    match state {
        State::Size { value, digits, over, line_bytes } => in_size(value, digits, over, line_bytes, byte),
        State::Break => match byte {
            b'\r' => Ok(State::Break),
            b'\n' => Ok(State::default()),
            _ => Err(BadChunk::Break),
        },
        State::Trailer { line_bytes } => match byte {
            b'\r' => Ok(State::Trailer { line_bytes }),
            b'\n' if line_bytes == 0 => Ok(State::Done),
            b'\n' => Ok(State::Trailer { line_bytes: 0 }),
            _ if line_bytes == LINE_BYTES_MAX => Err(BadChunk::Line),
            _ => Ok(State::Trailer { line_bytes: line_bytes + 1 }),
        },
        State::Data { .. } | State::Done => Ok(state),
    }
}

fn in_size(value: usize, digits: bool, over: bool, line_bytes: usize, byte: u8) -> Result<State, BadChunk> {
    if line_bytes == LINE_BYTES_MAX {
        return Err(BadChunk::Line);
    }
    let line_bytes = line_bytes + 1;
    let digit = char::from(byte).to_digit(16).filter(|_| !over);
    match (byte, digit) {
        (b'\n', _) if !digits => Err(BadChunk::Size),
        (b'\n', _) if value == 0 => Ok(State::Trailer { line_bytes: 0 }),
        (b'\n', _) => Ok(State::Data { left: value }),
        (_, Some(digit)) => {
            let value = value.checked_mul(16).and_then(|value| value.checked_add(digit as usize));
            Ok(State::Size { value: value.ok_or(BadChunk::Size)?, digits: true, over, line_bytes })
        }
        (b'\r' | b';' | b' ' | b'\t', None) if digits => {
            Ok(State::Size { value, digits, over: true, line_bytes })
        }
        (_, None) if over => Ok(State::Size { value, digits, over, line_bytes }),
        (_, None) => Err(BadChunk::Size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), BadChunk> {
        let (mut chunked, mut body, mut used) = (Chunked::default(), Vec::new(), 0);
        for piece in pieces {
            used += chunked.feed(piece, |data| body.extend_from_slice(data))?;
        }
        Ok((body, used, chunked.is_done()))
    }

    const MESSAGE: &[u8] = b"5;name=\"v\"\r\nhello\r\n1\r\n!\r\n0\r\nx-trailer: 1\r\n\r\n";

    #[test]
    fn a_message_decodes_the_same_wherever_it_is_cut() {
        for cut in 0..=MESSAGE.len() {
            let (head, tail) = MESSAGE.split_at(cut);
            assert_eq!(decode(&[head, tail]), Ok((b"hello!".to_vec(), MESSAGE.len(), true)), "cut at {cut}");
        }
    }

    #[test]
    fn what_follows_the_message_is_not_taken() {
        let two = [MESSAGE, b"HTTP/1.1 200 OK"].concat();
        assert_eq!(decode(&[&two]), Ok((b"hello!".to_vec(), MESSAGE.len(), true)));
    }

    #[test]
    fn a_size_that_is_no_number_is_refused() {
        for bad in [b"\r\n".as_slice(), b"zz\r\n", b"-1\r\n", b"ffffffffffffffffff\r\n"] {
            assert_eq!(decode(&[bad]), Err(BadChunk::Size), "{bad:?}");
        }
    }

    #[test]
    fn data_longer_than_its_size_is_refused() {
        assert_eq!(decode(&[b"1\r\nab\r\n"]), Err(BadChunk::Break));
    }
}
