//! HTTP/1 as RFC 9112 frames it, read strictly: bytes in, heads and bodies out. No I/O and no clock.
//!
//! What two readers may take for different things is refused, never guessed: a line that does not end with CR LF,
//! a length told twice, a chunk without a size. Where the input is cut makes no difference to what is read.

mod body;
mod chunked;
mod head;
#[cfg(test)]
mod tests;

pub use body::{Body, Piece};
pub use chunked::{Chunked, Part, Span};
pub use head::{Framing, HeadEnd, parse_request};

/// Why bytes are no message. The text is for the peer that sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misread {
    #[error("The request header is larger than {max} bytes, the limit of this gateway.")]
    HeaderTooLarge { max: usize },
    #[error("The request header has more than {max} fields.")]
    TooManyFields { max: usize },
    #[error("The first line is not a request line of HTTP/1.")]
    RequestLine,
    #[error("The request target is not valid.")]
    Target,
    #[error("Every line has to end with CR LF.")]
    LineEnd,
    #[error("A header field is malformed.")]
    Field,
    #[error("A request needs one host, and the same in its target.")]
    Host,
    #[error("A content-length has to be told once, as a decimal number.")]
    Length,
    #[error("The transfer-encoding of a request can be chunked, and nothing else.")]
    Coding,
    #[error("A request cannot have both content-length and transfer-encoding.")]
    TwoLengths,
    #[error("A chunk does not begin with its size in hexadecimal digits.")]
    ChunkSize,
    #[error("The extension of a chunk is malformed.")]
    ChunkExtension,
    #[error("A chunk is longer than its size.")]
    ChunkEnd,
    #[error("A trailer field is malformed.")]
    Trailer,
    #[error("Chunk extensions and trailers have more than {max} bytes.")]
    ExtrasTooLarge { max: usize },
}

/// A byte of a token (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A byte that no text of a message may have: it would be a line end to one reader and text to the next.
fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}
