//! Whole frames: cut from a buffer without copying, written into one without a detour.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Flags, FrameError, FrameType, HEADER_BYTES, Header};

/// One frame. `meta` and `body` share the buffer they were read into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub id: u32,
    pub kind: FrameType,
    pub flags: Flags,
    pub code: u16,
    pub meta: Bytes,
    pub body: Bytes,
}

/// A frame's meta that is not what its type promises.
#[derive(Debug, thiserror::Error)]
#[error("meta of a {kind} frame: {source}")]
pub struct MetaError {
    pub kind: FrameType,
    pub source: serde_json::Error,
}

impl Frame {
    /// The meta as the type that belongs to this frame's kind.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, MetaError> {
        serde_json::from_slice(&self.meta).map_err(|source| MetaError { kind: self.kind, source })
    }

    /// Appends the frame as it goes over the wire.
    pub fn write(&self, out: &mut BytesMut) {
        Head { id: self.id, kind: self.kind, flags: self.flags, code: self.code }
            .write(out, &self.meta, &self.body);
    }
}

/// Cuts frames from a buffer that its owner fills.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    frame_bytes_max: usize,
}

impl Decoder {
    pub const fn new(frame_bytes_max: usize) -> Self {
        Self { frame_bytes_max }
    }

    /// Takes the next whole frame from the front of `buffer`, or `None` if bytes are missing, in which case the
    /// buffer has room for all of them. After an error the stream has no meaning any more.
    pub fn next(&self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(start) = buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let Header { len, id, kind, flags, code, meta_len } = Header::decode(start, self.frame_bytes_max)?;
        let frame_len = HEADER_BYTES + len as usize;
        if buffer.len() < frame_len {
            buffer.reserve(frame_len - buffer.len());
            return Ok(None);
        }
        let mut meta = buffer.split_to(frame_len).freeze().split_off(HEADER_BYTES);
        let body = meta.split_off(meta_len as usize);
        Ok(Some(Frame { id, kind, flags, code, meta, body }))
    }
}

/// What the sender of a frame chooses; the lengths and the BODY flag follow from the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub id: u32,
    pub kind: FrameType,
    pub flags: Flags,
    pub code: u16,
}

impl Head {
    /// A frame of the link itself.
    pub const fn link(kind: FrameType) -> Self {
        Self::of(kind, 0)
    }

    /// A frame of a call.
    pub const fn of(kind: FrameType, id: u32) -> Self {
        Self { id, kind, flags: Flags::NONE, code: 0 }
    }

    /// The last frame of this side of the call.
    #[must_use]
    pub const fn end(self) -> Self {
        Self { flags: Flags::END, ..self }
    }

    #[must_use]
    pub const fn code(self, code: u16) -> Self {
        Self { code, ..self }
    }

    /// The header before `meta_len` bytes of meta and `body_len` bytes of body. Panics on lengths beyond `u32`,
    /// four thousand times the largest frame.
    pub fn header(self, meta_len: usize, body_len: usize) -> Header {
        let len = u32::try_from(meta_len + body_len).expect("frames are far below 4 GiB");
        let body = if body_len > 0 { Flags::BODY } else { Flags::NONE };
        let meta_len = u32::try_from(meta_len).expect("meta is not longer than its frame");
        Header { len, id: self.id, kind: self.kind, flags: self.flags | body, code: self.code, meta_len }
    }

    /// Appends the whole frame.
    pub fn write(self, out: &mut BytesMut, meta: &[u8], body: &[u8]) {
        out.reserve(HEADER_BYTES + meta.len() + body.len());
        out.put_slice(&self.header(meta.len(), body.len()).encode());
        out.put_slice(meta);
        out.put_slice(body);
    }

    /// Appends header and meta, serialised in place, of a frame whose `body_len` bytes of body the caller sends
    /// right behind. Returns the length of the meta. On an error nothing was appended.
    pub fn write_json(
        self,
        out: &mut BytesMut,
        meta: &impl Serialize,
        body_len: usize,
    ) -> Result<usize, MetaError> {
        let start = out.len();
        out.put_slice(&[0; HEADER_BYTES]);
        if let Err(source) = serde_json::to_writer((&mut *out).writer(), meta) {
            out.truncate(start);
            return Err(MetaError { kind: self.kind, source });
        }
        let meta_len = out.len() - start - HEADER_BYTES;
        out[start..start + HEADER_BYTES].copy_from_slice(&self.header(meta_len, body_len).encode());
        Ok(meta_len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec as any_vec;
    use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
    use serde_json::json;

    use super::*;
    use crate::{BODY_PART_BYTES, FRAME_BYTES_MAX};

    fn wire(frames: &[Frame]) -> BytesMut {
        let mut out = BytesMut::new();
        frames.iter().for_each(|frame| frame.write(&mut out));
        out
    }

    fn call() -> Frame {
        Frame {
            id: 7,
            kind: FrameType::Call,
            flags: Flags::END | Flags::BODY,
            code: 1,
            meta: Bytes::from_static(br#"{"hook":"onRequest"}"#),
            body: Bytes::from_static(b"{}"),
        }
    }

    #[test]
    fn a_frame_cut_at_any_byte_waits_for_the_rest() {
        let whole = wire(&[call()]);
        for cut in 0..whole.len() {
            let mut buffer = BytesMut::from(&whole[..cut]);
            assert_eq!(Decoder::new(1024).next(&mut buffer), Ok(None), "cut at {cut}");
            assert_eq!(buffer, whole[..cut], "a waiting decoder takes nothing");
            buffer.extend_from_slice(&whole[cut..]);
            assert_eq!(Decoder::new(1024).next(&mut buffer), Ok(Some(call())), "cut at {cut}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn a_half_frame_makes_room_for_its_other_half() {
        let whole = wire(&[Frame { body: Bytes::from(vec![b'x'; 60_000]), ..call() }]);
        let mut buffer = BytesMut::from(&whole[..HEADER_BYTES]);
        assert_eq!(Decoder::new(FRAME_BYTES_MAX).next(&mut buffer), Ok(None));
        assert!(buffer.capacity() >= whole.len());
    }

    #[test]
    fn a_frame_above_the_limit_is_refused_by_its_header_alone() {
        let mut buffer = BytesMut::from(&wire(&[call()])[..HEADER_BYTES]);
        let error = Decoder::new(20).next(&mut buffer).expect_err("22 bytes are above 20");
        assert_eq!(error.to_string(), "CALL frame of 22 bytes, the limit is 20");
    }

    #[test]
    fn frames_share_the_buffer_they_came_in() {
        let mut buffer = wire(&[call()]);
        let address = buffer[HEADER_BYTES..].as_ptr();
        let frame = Decoder::new(1024).next(&mut buffer).unwrap().unwrap();
        assert_eq!(frame.meta.as_ptr(), address);
    }

    #[test]
    fn meta_is_written_in_place_and_an_error_takes_it_back() {
        let mut out = BytesMut::from(&b"before"[..]);
        let head = Head::of(FrameType::Result, 9).end();
        assert_eq!(head.write_json(&mut out, &json!({"action": "replace"}), 3).unwrap(), 20);
        out.put_slice(b"new");
        let mut frames = out.split_off(6);
        let frame = Decoder::new(1024).next(&mut frames).unwrap().unwrap();
        assert_eq!((&frame.meta[..], &frame.body[..]), (&br#"{"action":"replace"}"#[..], &b"new"[..]));

        let unwritable = std::collections::BTreeMap::from([((1, 2), "a key must be text")]);
        assert!(head.write_json(&mut out, &unwritable, 0).is_err());
        assert_eq!(out, b"before"[..]);
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        let kind = prop::sample::select(FrameType::ALL.to_vec());
        let body_len = prop_oneof![Just(0), 1..100usize, Just(BODY_PART_BYTES)];
        let body = (any::<u8>(), body_len).prop_map(|(byte, len)| vec![byte; len]);
        (kind, any::<u32>(), any::<bool>(), any::<u16>(), any_vec(any::<u8>(), 0..200), body).prop_map(
            |(kind, id, end, code, meta, body)| {
                let head = if kind.is_of_link() { Head::link(kind) } else { Head::of(kind, id.max(1)) };
                let head = if end { head.end() } else { head };
                let header = head.code(code).header(meta.len(), body.len());
                Frame { id: header.id, kind, flags: header.flags, code, meta: meta.into(), body: body.into() }
            },
        )
    }

    proptest! {
        #[test]
        fn frames_survive_the_wire_however_it_is_cut(
            frames in any_vec(any_frame(), 1..8),
            reads in any_vec(1usize..5_000, 1..50),
        ) {
            let mut wire = wire(&frames);
            let (mut buffer, mut got) = (BytesMut::new(), Vec::new());
            for read in reads.into_iter().chain(std::iter::repeat(100_000)) {
                if wire.is_empty() { break }
                buffer.extend_from_slice(&wire.split_to(read.min(wire.len())));
                while let Some(frame) = Decoder::new(FRAME_BYTES_MAX).next(&mut buffer).unwrap() {
                    got.push(frame);
                }
            }
            proptest::prop_assert_eq!(got, frames);
        }

        #[test]
        fn arbitrary_bytes_are_frames_or_an_error_and_never_a_panic(bytes in any_vec(any::<u8>(), 0..400)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(frame)) = Decoder::new(64).next(&mut buffer) {
                assert!(frame.meta.len() + frame.body.len() <= 64);
            }
        }
    }
}
