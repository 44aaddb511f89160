//! The frames between the gateway and a plugin, protocol version 1.
//!
//! Bytes to frames and back, and the JSON that travels in them. No I/O, no clock, no memory of earlier
//! frames: whether an id was ever given, or a frame fits the state of its call, is for the two ends to judge.
//! Framing is strict, content can grow: an unknown type or flag is an error, an unknown key of a meta is not.
//!
//! ```text
//!  0        4        8    9    10   12         16          16+meta_len     16+len
//!  ┌────────┬────────┬────┬────┬────┬──────────┬─────────────┬───────────────┐
//!  │ len    │ id     │type│flag│code│ meta_len │ meta (JSON) │ body (raw)    │   little-endian
//!  └────────┴────────┴────┴────┴────┴──────────┴─────────────┴───────────────┘
//! ```
//!
//! A body longer than [`BODY_PART_BYTES`] goes in parts: the first behind the CALL's or RESULT's meta, the others
//! in DATA frames, `END` on the last. A sender may have [`CREDIT_BYTES`] of a call's body on the way before the
//! receiver grants more by CREDIT.

mod codec;
mod frame;
mod meta;

pub use codec::{Decoder, Frame, Head, MetaError};
pub use frame::{Flags, FrameError, FrameType, Header};
pub use meta::{
    ApiError, CallMeta, ConfigureMeta, CreditMeta, ErrorCode, ErrorMeta, Headers, Hello, LogLevel, LogMeta,
    Ready, Route, VerdictAction, VerdictMeta,
};

/// The protocol version these frames are of.
pub const PROTOCOL: u32 = 1;
/// Every frame begins with a header of this size.
pub const HEADER_BYTES: usize = 16;
/// The default of `maxFrame`: bytes behind one header. Room for a body part and a large patch; small enough that
/// a peer's nonsense length cannot make the reader reserve memory that matters.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Body bytes in one frame at most, so that a small call is never stuck behind a large one.
pub const BODY_PART_BYTES: usize = 64 << 10;
/// Body bytes of one call that may be sent before the receiver grants more.
pub const CREDIT_BYTES: usize = 1 << 20;
