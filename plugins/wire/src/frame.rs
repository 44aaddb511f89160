//! The 16-byte header: its fields, and every rule that can be checked on it alone.

use std::fmt;
use std::ops::BitOr;

use crate::{BODY_PART_BYTES, HEADER_BYTES};

/// What a frame is for. The arrows of the protocol: `→` gateway to plugin, `←` back, `↔` both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameType {
    /// `→` versions, limits, config, hooks wanted.
    Hello = 1,
    /// `←` accepted version, hooks served.
    Ready = 2,
    /// `→` one hook call, with the first part of its body.
    Call = 3,
    /// `↔` a further part of a body.
    Data = 4,
    /// `←` the verdict, with the first part of its body.
    Result = 5,
    /// `↔` the call, or with id 0 the link, failed.
    Error = 6,
    /// `→` nobody waits for this call any more.
    Cancel = 7,
    /// `↔` more body bytes are allowed on this call.
    Credit = 8,
    /// `→` are you alive.
    Ping = 9,
    /// `←` yes.
    Pong = 10,
    /// `→` a new config, live.
    Configure = 11,
    /// `→` no new calls will come.
    Drain = 12,
    /// `→` exit now.
    Shutdown = 13,
    /// `←` a line for the log.
    Log = 14,
}

/// Which ids a frame type may carry: 0 is the link, everything else a call.
enum Scope {
    Link,
    Call,
    Either,
}

impl FrameType {
    pub const ALL: [Self; 14] = [
        Self::Hello,
        Self::Ready,
        Self::Call,
        Self::Data,
        Self::Result,
        Self::Error,
        Self::Cancel,
        Self::Credit,
        Self::Ping,
        Self::Pong,
        Self::Configure,
        Self::Drain,
        Self::Shutdown,
        Self::Log,
    ];

    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1..=14 => Some(Self::ALL[number as usize - 1]),
            _ => None,
        }
    }

    pub const fn number(self) -> u8 {
        self as u8
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hello => "HELLO",
            Self::Ready => "READY",
            Self::Call => "CALL",
            Self::Data => "DATA",
            Self::Result => "RESULT",
            Self::Error => "ERROR",
            Self::Cancel => "CANCEL",
            Self::Credit => "CREDIT",
            Self::Ping => "PING",
            Self::Pong => "PONG",
            Self::Configure => "CONFIGURE",
            Self::Drain => "DRAIN",
            Self::Shutdown => "SHUTDOWN",
            Self::Log => "LOG",
        }
    }

    /// Whether a plugin may send this type. The gateway treats any other as a protocol error.
    pub const fn is_from_plugin(self) -> bool {
        match self {
            Self::Ready | Self::Data | Self::Result | Self::Error | Self::Credit | Self::Pong | Self::Log => {
                true
            }
            Self::Hello
            | Self::Call
            | Self::Cancel
            | Self::Ping
            | Self::Configure
            | Self::Drain
            | Self::Shutdown => false,
        }
    }

    /// Whether the gateway may send this type.
    pub const fn is_from_gateway(self) -> bool {
        match self {
            Self::Data | Self::Error | Self::Credit => true,
            Self::Ready | Self::Result | Self::Pong | Self::Log => false,
            Self::Hello
            | Self::Call
            | Self::Cancel
            | Self::Ping
            | Self::Configure
            | Self::Drain
            | Self::Shutdown => true,
        }
    }

    /// Whether frames of this type always speak of the link itself, with id 0.
    pub const fn is_of_link(self) -> bool {
        matches!(self.scope(), Scope::Link)
    }

    const fn scope(self) -> Scope {
        match self {
            Self::Hello | Self::Ready | Self::Ping | Self::Pong | Self::Drain | Self::Shutdown => Scope::Link,
            Self::Call | Self::Data | Self::Result | Self::Cancel | Self::Credit | Self::Configure => {
                Scope::Call
            }
            Self::Error | Self::Log => Scope::Either,
        }
    }
}

impl fmt::Display for FrameType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The flag byte of a header. Only known bits can be in one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    pub const NONE: Self = Self(0);
    /// The last frame of this side of the call.
    pub const END: Self = Self(1);
    /// A RESULT that says "continue, nothing changed" with its header alone.
    pub const UNCHANGED: Self = Self(2);
    /// Raw bytes follow the meta.
    pub const BODY: Self = Self(4);

    const KNOWN: u8 = Self::END.0 | Self::UNCHANGED.0 | Self::BODY.0;

    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits & !Self::KNOWN == 0 { Some(Self(bits)) } else { None }
    }

    pub const fn bits(self) -> u8 {
        self.0
    }

    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn is_end(self) -> bool {
        self.contains(Self::END)
    }

    pub const fn is_unchanged(self) -> bool {
        self.contains(Self::UNCHANGED)
    }

    pub const fn has_body(self) -> bool {
        self.contains(Self::BODY)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A header as it stands on the wire. One that was decoded kept every rule of [`FrameError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes after the header.
    pub len: u32,
    /// The call, or 0 for the link itself.
    pub id: u32,
    pub kind: FrameType,
    pub flags: Flags,
    /// The hook's number in a CALL, the cause in an ERROR, else 0.
    pub code: u16,
    /// Leading bytes of the payload that are meta; the rest is body.
    pub meta_len: u32,
}

/// Why bytes are no frame. The link they came over cannot be trusted any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame type {number} is not one of 1 to 14")]
    UnknownType { number: u8 },
    #[error("{kind} frame with unknown flags {flags:#04x}")]
    UnknownFlags { kind: FrameType, flags: u8 },
    #[error("{kind} frame of {len} bytes, the limit is {max}")]
    TooLong { kind: FrameType, len: u32, max: usize },
    #[error("{kind} frame of {len} bytes claims {meta_len} bytes of meta")]
    MetaLen { kind: FrameType, len: u32, meta_len: u32 },
    #[error("{kind} frame with {len} bytes of body, the limit is {BODY_PART_BYTES}")]
    BodyTooLong { kind: FrameType, len: u32 },
    #[error(
        "{kind} frame with {len} bytes of body and flags {flags:#04x}: BODY is set when, and only when, bytes follow"
    )]
    BodyFlag { kind: FrameType, len: u32, flags: u8 },
    #[error("{kind} frame with id {id}: 0 is the link, everything else a call")]
    Id { kind: FrameType, id: u32 },
    #[error("{kind} frame with UNCHANGED, which only an empty last RESULT may carry")]
    Unchanged { kind: FrameType },
}

impl Header {
    pub fn body_len(&self) -> u32 {
        self.len - self.meta_len
    }

    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8] = self.kind.number();
        bytes[9] = self.flags.bits();
        bytes[10..12].copy_from_slice(&self.code.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.meta_len.to_le_bytes());
        bytes
    }

    /// Reads a header and holds it against every rule, so that a bad frame is refused before its payload came.
    pub fn decode(bytes: &[u8; HEADER_BYTES], frame_bytes_max: usize) -> Result<Self, FrameError> {
        let [l0, l1, l2, l3, i0, i1, i2, i3, number, bits, c0, c1, m0, m1, m2, m3] = *bytes;
        let kind = FrameType::from_number(number).ok_or(FrameError::UnknownType { number })?;
        let flags = Flags::from_bits(bits).ok_or(FrameError::UnknownFlags { kind, flags: bits })?;
        let header = Self {
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            id: u32::from_le_bytes([i0, i1, i2, i3]),
            kind,
            flags,
            code: u16::from_le_bytes([c0, c1]),
            meta_len: u32::from_le_bytes([m0, m1, m2, m3]),
        };
        header.check(frame_bytes_max)?;
        Ok(header)
    }

    fn check(&self, frame_bytes_max: usize) -> Result<(), FrameError> {
        let Self { len, id, kind, flags, code: _, meta_len } = *self;
        if len as usize > frame_bytes_max {
            return Err(FrameError::TooLong { kind, len, max: frame_bytes_max });
        }
        let body_len = len.checked_sub(meta_len).ok_or(FrameError::MetaLen { kind, len, meta_len })?;
        if body_len as usize > BODY_PART_BYTES {
            return Err(FrameError::BodyTooLong { kind, len: body_len });
        }
        if flags.has_body() != (body_len > 0) {
            return Err(FrameError::BodyFlag { kind, len: body_len, flags: flags.bits() });
        }
        if flags.is_unchanged() && !(kind == FrameType::Result && flags.is_end() && len == 0) {
            return Err(FrameError::Unchanged { kind });
        }
        let id_fits = match kind.scope() {
            Scope::Link => id == 0,
            Scope::Call => id != 0,
            Scope::Either => true,
        };
        if id_fits { Ok(()) } else { Err(FrameError::Id { kind, id }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Header =
        Header { len: 10, id: 7, kind: FrameType::Call, flags: Flags::BODY, code: 1, meta_len: 4 };

    fn decode(header: Header) -> Result<Header, FrameError> {
        Header::decode(&header.encode(), 64)
    }

    #[test]
    fn the_fields_stand_where_the_protocol_says() {
        let header = Header {
            len: 0x0403_0201,
            id: 0x0807_0605,
            kind: FrameType::Error,
            flags: Flags::END | Flags::BODY,
            code: 0x0c0b,
            meta_len: 0x100f_0e0d,
        };
        assert_eq!(header.encode(), [1, 2, 3, 4, 5, 6, 7, 8, 6, 5, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10]);
    }

    #[test]
    fn types_and_numbers_round_trip() {
        for kind in FrameType::ALL {
            assert_eq!(FrameType::from_number(kind.number()), Some(kind));
            assert!(kind.is_from_gateway() || kind.is_from_plugin());
        }
        assert_eq!(FrameType::from_number(0), None);
        assert_eq!(FrameType::from_number(15), None);
    }

    #[test]
    fn each_broken_rule_has_its_own_error() {
        use FrameError::{BodyFlag, BodyTooLong, Id, MetaLen, TooLong, Unchanged};
        let kind = FrameType::Call;
        let cases = [
            (Header { len: 65, ..GOOD }, TooLong { kind, len: 65, max: 64 }),
            (Header { meta_len: 11, ..GOOD }, MetaLen { kind, len: 10, meta_len: 11 }),
            (Header { flags: Flags::NONE, ..GOOD }, BodyFlag { kind, len: 6, flags: 0 }),
            (Header { meta_len: 10, ..GOOD }, BodyFlag { kind, len: 0, flags: 4 }),
            (Header { id: 0, ..GOOD }, Id { kind, id: 0 }),
            (Header { kind: FrameType::Pong, ..GOOD }, Id { kind: FrameType::Pong, id: 7 }),
            (Header { flags: Flags::BODY | Flags::UNCHANGED, ..GOOD }, Unchanged { kind }),
        ];
        assert_eq!(decode(GOOD), Ok(GOOD));
        for (header, error) in cases {
            assert_eq!(decode(header), Err(error));
        }
        let long = Header { len: 65_541, ..GOOD };
        assert_eq!(Header::decode(&long.encode(), 1 << 20), Err(BodyTooLong { kind, len: 65_537 }));
    }

    #[test]
    fn unknown_types_and_flags_are_named() {
        let mut bytes = GOOD.encode();
        bytes[9] = 0x0c;
        assert_eq!(
            Header::decode(&bytes, 64),
            Err(FrameError::UnknownFlags { kind: FrameType::Call, flags: 0x0c })
        );
        bytes[8] = 99;
        assert_eq!(Header::decode(&bytes, 64), Err(FrameError::UnknownType { number: 99 }));
    }

    #[test]
    fn unchanged_is_an_empty_last_result() {
        let unchanged = Header {
            len: 0,
            id: 7,
            kind: FrameType::Result,
            flags: Flags::END | Flags::UNCHANGED,
            code: 0,
            meta_len: 0,
        };
        assert_eq!(decode(unchanged), Ok(unchanged));
        let kind = FrameType::Result;
        for broken in
            [Header { flags: Flags::UNCHANGED, ..unchanged }, Header { len: 2, meta_len: 2, ..unchanged }]
        {
            assert_eq!(decode(broken), Err(FrameError::Unchanged { kind }));
        }
    }
}
