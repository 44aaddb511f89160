//! What is to be sent, in frames. Bodies wait here and leave in parts, one call after the other in turn, so that
//! a small verdict is never stuck behind a large one and the buffer in front of the socket stays small.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use hookway_wire::{
    BODY_PART_BYTES, CreditMeta, ErrorCode, ErrorMeta, Flags, FrameType, Head, MetaError, VerdictAction,
    VerdictMeta,
};
use serde::Serialize;

use crate::Verdict;

/// Body parts are cut while fewer bytes than this wait for the socket.
const BUFFER_BYTES: usize = 4 * BODY_PART_BYTES;
/// Of an error: it has to fit into a frame, and people read it. A longer one is cut.
const MESSAGE_BYTES_MAX: usize = 2_000;

pub(crate) struct Outbox {
    bytes: BytesMut,
    bodies: VecDeque<(u32, Bytes)>,
    frame_bytes_max: usize,
    verdict_bytes_max: usize,
}

impl Outbox {
    pub(crate) fn new(frame_bytes_max: usize, verdict_bytes_max: usize) -> Self {
        Self { bytes: BytesMut::new(), bodies: VecDeque::new(), frame_bytes_max, verdict_bytes_max }
    }

    /// The next bytes for the socket; empty when there is nothing to send.
    pub(crate) fn chunk(&mut self) -> &[u8] {
        while self.bytes.len() < BUFFER_BYTES
            && let Some((id, mut body)) = self.bodies.pop_front()
        {
            let part = body.split_to(body.len().min(BODY_PART_BYTES));
            let head = Head::of(FrameType::Data, id);
            if body.is_empty() {
                head.end().write(&mut self.bytes, &[], &part);
            } else {
                head.write(&mut self.bytes, &[], &part);
                self.bodies.push_back((id, body));
            }
        }
        &self.bytes
    }

    /// That many bytes of the chunk were sent.
    pub(crate) fn sent(&mut self, len: usize) {
        self.bytes.advance(len);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.bodies.is_empty()
    }

    pub(crate) fn bare(&mut self, head: Head) {
        head.write(&mut self.bytes, &[], &[]);
    }

    pub(crate) fn json(&mut self, head: Head, meta: &impl Serialize) {
        head.write_json(&mut self.bytes, meta, 0).expect("metas without a plugin's values are plain data");
    }

    pub(crate) fn credit(&mut self, id: u32, bytes: usize) {
        self.json(Head::of(FrameType::Credit, id), &CreditMeta { bytes: bytes as u64 });
    }

    /// Ends a call, or with id 0 the link.
    pub(crate) fn error(&mut self, id: u32, code: ErrorCode, mut message: String) {
        let fits = |at: &usize| message.is_char_boundary(*at);
        message.truncate((0..=MESSAGE_BYTES_MAX).rev().find(fits).unwrap_or_default());
        self.json(Head::of(FrameType::Error, id).code(code.number()).end(), &ErrorMeta { code, message });
    }

    pub(crate) fn verdict(&mut self, id: u32, verdict: Verdict) {
        let head = Head::of(FrameType::Result, id).end();
        if verdict.is_nothing() {
            return self.bare(Head { flags: head.flags | Flags::UNCHANGED, ..head });
        }
        let start = self.bytes.len();
        let written = self.write_verdict(id, verdict);
        let Err(why) = written else { return };
        self.bytes.truncate(start);
        match why {
            Unsendable::TooLarge { len, max } => {
                self.error(id, ErrorCode::TooLarge, format!("a verdict of {len} bytes, the limit is {max}"));
            }
            Unsendable::Meta(error) => self.error(id, ErrorCode::Error, error.to_string()),
        }
    }

    fn write_verdict(&mut self, id: u32, verdict: Verdict) -> Result<(), Unsendable> {
        let Verdict { mut meta, mut body } = verdict;
        let start = self.bytes.len();
        let head = Head::of(FrameType::Result, id);
        let head = if body.len() <= BODY_PART_BYTES { head.end() } else { head };
        let mut meta_len = head.write_json(&mut self.bytes, &meta, body.len().min(BODY_PART_BYTES))?;
        if meta_len > BODY_PART_BYTES
            && body.is_empty()
            && let Some(patch) = take_patch(&mut meta)
        {
            self.bytes.truncate(start);
            body = serde_json::to_vec(&patch)
                .map_err(|source| MetaError { kind: FrameType::Result, source })?
                .into();
            return self.write_verdict(id, Verdict { meta, body });
        }
        let part = body.split_to(body.len().min(BODY_PART_BYTES));
        meta_len += part.len();
        if meta_len > self.frame_bytes_max {
            return Err(Unsendable::TooLarge { len: meta_len, max: self.frame_bytes_max });
        }
        if meta_len + body.len() > self.verdict_bytes_max {
            return Err(Unsendable::TooLarge { len: meta_len + body.len(), max: self.verdict_bytes_max });
        }
        self.bytes.extend_from_slice(&part);
        if !body.is_empty() {
            self.bodies.push_back((id, body));
        }
        Ok(())
    }

    /// The call needs no answer any more: what is left of its body stays here.
    pub(crate) fn cancel(&mut self, id: u32) {
        self.bodies.retain(|(each, _)| *each != id);
    }
}

/// A patch that would not fit a frame travels as the body of its verdict.
fn take_patch(meta: &mut VerdictMeta) -> Option<serde_json::Value> {
    match meta.action {
        VerdictAction::Patch => meta.patch.take().or_else(|| meta.json_patch.take()),
        VerdictAction::Continue
        | VerdictAction::Replace
        | VerdictAction::Respond
        | VerdictAction::Reject
        | VerdictAction::Retry
        | VerdictAction::Fallback => None,
    }
}

enum Unsendable {
    TooLarge { len: usize, max: usize },
    Meta(MetaError),
}

impl From<MetaError> for Unsendable {
    fn from(error: MetaError) -> Self {
        Self::Meta(error)
    }
}

#[cfg(test)]
mod tests {
    use hookway_wire::{Decoder, FRAME_BYTES_MAX, Frame};
    use serde_json::{Value, json};

    use super::*;

    fn outbox() -> Outbox {
        Outbox::new(FRAME_BYTES_MAX, 2 << 20)
    }

    fn sent(outbox: &mut Outbox) -> Vec<Frame> {
        let (decoder, mut wire) = (Decoder::new(FRAME_BYTES_MAX), BytesMut::new());
        while !outbox.is_empty() {
            let len = outbox.chunk().len();
            wire.extend_from_slice(outbox.chunk());
            outbox.sent(len);
        }
        std::iter::from_fn(|| decoder.next(&mut wire).unwrap()).collect()
    }

    fn error_of(frame: &Frame) -> ErrorMeta {
        assert_eq!(frame.kind, FrameType::Error);
        let error: ErrorMeta = frame.parse().unwrap();
        assert_eq!(frame.code, error.code.number());
        error
    }

    #[test]
    fn an_error_of_any_length_is_cut_to_what_people_read() {
        let mut outbox = outbox();
        outbox.error(1, ErrorCode::Error, format!("x{}", "\u{e9}".repeat(FRAME_BYTES_MAX)));
        outbox.error(2, ErrorCode::Error, "boom".to_owned());
        let frames = sent(&mut outbox);
        assert_eq!(error_of(&frames[0]).message.len(), MESSAGE_BYTES_MAX - 1, "no character is cut in two");
        assert_eq!(error_of(&frames[1]).message, "boom");
    }

    #[test]
    fn large_bodies_leave_in_parts_and_in_turn() {
        let mut outbox = outbox();
        outbox.verdict(1, Verdict::replace(vec![b'a'; 2 * BODY_PART_BYTES + 1]));
        outbox.verdict(2, Verdict::replace(vec![b'b'; 2 * BODY_PART_BYTES]));
        outbox.verdict(3, Verdict::proceed());
        let order: Vec<_> = sent(&mut outbox)
            .iter()
            .map(|frame| (frame.id, frame.kind, frame.body.len(), frame.flags.is_end()))
            .collect();
        let part = BODY_PART_BYTES;
        assert_eq!(
            order,
            [
                (1, FrameType::Result, part, false),
                (2, FrameType::Result, part, false),
                (3, FrameType::Result, 0, true),
                (1, FrameType::Data, part, false),
                (2, FrameType::Data, part, true),
                (1, FrameType::Data, 1, true),
            ]
        );
    }

    #[test]
    fn a_full_socket_holds_few_bytes_of_a_large_body() {
        let mut outbox = outbox();
        outbox.verdict(1, Verdict::replace(vec![b'a'; 1 << 20]));
        assert!(outbox.chunk().len() < BUFFER_BYTES + 2 * BODY_PART_BYTES);
        outbox.cancel(1);
        let last = sent(&mut outbox).pop().unwrap();
        assert!(!last.flags.is_end(), "a cancelled body just stops");
    }

    #[test]
    fn a_patch_larger_than_a_part_travels_as_body() {
        let mut outbox = outbox();
        let patch = json!({"messages": "x".repeat(3 << 19)});
        outbox.verdict(1, Verdict::patch(patch.clone()).note("masked", 1));
        let frames = sent(&mut outbox);
        assert_eq!(&frames[0].meta[..], br#"{"action":"patch","metadata":{"masked":1}}"#);
        let body: Vec<u8> = frames.iter().flat_map(|frame| frame.body.to_vec()).collect();
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), patch);
    }

    #[test]
    fn a_verdict_beyond_the_limits_is_an_error_that_names_them() {
        let mut outbox = outbox();
        outbox.verdict(1, Verdict::replace(vec![b'a'; 3 << 20]));
        outbox.verdict(2, Verdict::reject(400, "x".repeat(FRAME_BYTES_MAX)));
        let frames = sent(&mut outbox);
        assert_eq!(
            error_of(&frames[0]),
            ErrorMeta {
                code: ErrorCode::TooLarge,
                message: "a verdict of 3145748 bytes, the limit is 2097152".to_owned()
            }
        );
        assert_eq!(error_of(&frames[1]).code, ErrorCode::TooLarge);
        assert_eq!(frames.len(), 2);
    }
}
