//! The calls under way on a link: which id waits for what, and whether a frame that came in fits.
//!
//! No I/O. Ids count up from 1 and are never used twice, so "was it ever given" is one comparison.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use hookway_wire::{ErrorCode, FrameType};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::LinkEnd;
use super::inbox::Incoming;
use crate::hook::{Cause, HookFailure};
use crate::limits;

/// What a plugin answered: nothing changed, or a verdict to be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Unchanged,
    Verdict { meta: Bytes, body: Bytes },
}

pub(super) type Answer = Result<Reply, HookFailure>;

/// One call that waits for its answer.
#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Answer>,
    /// Meta, and the body so far, of a RESULT whose last part has not come.
    partial: Option<(Bytes, BytesMut)>,
    /// Its body does not fit in one frame.
    uploads: bool,
}

/// What the link has to do after a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    /// The plugin need not go on with this id.
    Cancel(u32),
    /// The rest of the body, if any is left, is not wanted any more.
    StopUpload(u32),
}

#[derive(Debug, Default)]
pub(super) struct Calls {
    last: u32,
    waiting: HashMap<u32, Waiting>,
    /// A call was made, and nothing about any call has come back since.
    unanswered: bool,
    ended: bool,
}

/// A call that has its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub id: u32,
    /// No other call waits for its answer.
    pub alone: bool,
}

/// Why no id was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoId {
    Ended,
    /// All 2³² are used.
    Exhausted,
}

impl Calls {
    pub(super) fn begin(&mut self, answer: oneshot::Sender<Answer>, uploads: bool) -> Result<Begun, NoId> {
        if self.ended {
            return Err(NoId::Ended);
        }
        self.last = self.last.checked_add(1).ok_or(NoId::Exhausted)?;
        self.unanswered = true;
        let alone = self.waiting.is_empty();
        self.waiting.insert(self.last, Waiting { answer, partial: None, uploads });
        Ok(Begun { id: self.last, alone })
    }

    /// Nobody waits for this one any more. Whether its answer was still to come.
    pub(super) fn forget(&mut self, id: u32) -> bool {
        self.waiting.remove(&id).is_some()
    }

    /// Nothing is expected of the plugin. A call that ended at its deadline was still one it should have answered.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.unanswered
    }

    /// Ends every call under way, and every later one.
    pub(super) fn end(&mut self, end: &LinkEnd) {
        self.ended = true;
        for (_, waiting) in self.waiting.drain() {
            let _ = waiting.answer.send(Err(end.failure()));
        }
    }

    /// Takes a DATA, RESULT or ERROR frame of a call. The error is a breach of the protocol.
    pub(super) fn take(&mut self, frame: &Incoming<'_>) -> Result<Effect, String> {
        self.check_given(frame)?;
        self.unanswered = false;
        let id = frame.header.id;
        let Some(waiting) = self.waiting.get_mut(&id) else { return Ok(Effect::None) };
        match (frame.header.kind, &mut waiting.partial) {
            (FrameType::Error, _) => return Ok(self.answer(id, Err(plugin_error(frame)))),
            (FrameType::Result, None) if frame.header.flags.is_unchanged() => {
                return Ok(self.answer(id, Ok(Reply::Unchanged)));
            }
            (FrameType::Result, partial @ None) => {
                *partial = Some((Bytes::copy_from_slice(frame.meta), BytesMut::from(frame.body)));
            }
            (FrameType::Data, Some((meta, body))) => {
                if meta.len() + body.len() + frame.body.len() > limits::VERDICT_BYTES_MAX {
                    return Ok(self.too_large(id));
                }
                body.extend_from_slice(frame.body);
            }
            (FrameType::Result, Some(_)) => return Err(format!("a second RESULT for call {id}")),
            (FrameType::Data, None) => return Err(format!("DATA before the RESULT of call {id}")),
            (kind, _) => return Err(format!("a {kind} frame for call {id}")),
        }
        if !frame.header.flags.is_end() {
            return Ok(Effect::None);
        }
        let (meta, body) = waiting.partial.take().expect("only a RESULT or what follows one comes here");
        Ok(self.answer(id, Ok(Reply::Verdict { meta, body: body.freeze() })))
    }

    /// An id that was never given is a breach; one that is done is not, its frame is only late.
    pub(super) fn check_given(&self, frame: &Incoming<'_>) -> Result<(), String> {
        let (id, kind) = (frame.header.id, frame.header.kind);
        if id <= self.last {
            Ok(())
        } else {
            Err(format!("a {kind} frame for call {id}, which was never made"))
        }
    }

    fn answer(&mut self, id: u32, answer: Answer) -> Effect {
        let Some(waiting) = self.waiting.remove(&id) else { return Effect::None };
        // The caller may have given up this instant. Then the answer is late like any other.
        let _ = waiting.answer.send(answer);
        if waiting.uploads { Effect::StopUpload(id) } else { Effect::None }
    }

    fn too_large(&mut self, id: u32) -> Effect {
        let detail = format!("the verdict is larger than {} bytes", limits::VERDICT_BYTES_MAX);
        self.answer(id, Err(HookFailure::new(Cause::TooLarge, detail)));
        Effect::Cancel(id)
    }
}

/// A plugin's own word for why it has no verdict.
fn plugin_error(frame: &Incoming<'_>) -> HookFailure {
    let cause = match ErrorCode::from_number(frame.header.code) {
        Some(ErrorCode::Overloaded) => Cause::Overloaded,
        Some(ErrorCode::TooLarge) => Cause::Oversize,
        Some(
            ErrorCode::Error
            | ErrorCode::Protocol
            | ErrorCode::Version
            | ErrorCode::Cancelled
            | ErrorCode::Unsupported,
        )
        | None => Cause::Error,
    };
    HookFailure::new(cause, error_text(frame.meta))
}

/// The message of an ERROR frame, whatever else its meta says.
pub(super) fn error_text(meta: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    serde_json::from_slice(meta)
        .map_or_else(|_| "no reason was given".to_owned(), |Message { message }| message)
}

#[cfg(test)]
mod tests {
    use hookway_wire::{Flags, Head, Header};

    use super::*;

    fn frame(header: Header) -> Incoming<'static> {
        Incoming { header, meta: &[], body: &[] }
    }

    fn result(id: u32, flags: Flags) -> Incoming<'static> {
        let mut header = Head::of(FrameType::Result, id).header(0, 0);
        header.flags = flags;
        frame(header)
    }

    fn data(id: u32, body: &[u8], last: bool) -> Incoming<'_> {
        let head = Head::of(FrameType::Data, id);
        let head = if last { head.end() } else { head };
        Incoming { header: head.header(0, body.len()), meta: &[], body }
    }

    fn begin(calls: &mut Calls, uploads: bool) -> (u32, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        (calls.begin(sender, uploads).unwrap().id, receiver)
    }

    #[test]
    fn an_answer_in_parts_is_put_together_in_order() {
        let mut calls = Calls::default();
        let (id, mut answer) = begin(&mut calls, false);
        assert_eq!(calls.take(&result(id, Flags::NONE)), Ok(Effect::None));
        assert_eq!(calls.take(&data(id, b"one ", false)), Ok(Effect::None));
        assert!(answer.try_recv().is_err());
        assert_eq!(calls.take(&data(id, b"two", true)), Ok(Effect::None));
        let Ok(Ok(Reply::Verdict { body, .. })) = answer.try_recv() else { panic!("a verdict") };
        assert_eq!(body, "one two");
    }

    #[test]
    fn frames_that_fit_no_call_are_breaches_and_late_ones_are_not() {
        let mut calls = Calls::default();
        let (id, _answer) = begin(&mut calls, false);
        let unchanged = Flags::END | Flags::UNCHANGED;
        assert_eq!(
            calls.take(&result(id + 1, unchanged)),
            Err("a RESULT frame for call 2, which was never made".to_owned())
        );
        assert_eq!(calls.take(&data(id, b"x", false)), Err("DATA before the RESULT of call 1".to_owned()));
        assert_eq!(calls.take(&result(id, Flags::NONE)), Ok(Effect::None));
        assert_eq!(calls.take(&result(id, Flags::NONE)), Err("a second RESULT for call 1".to_owned()));
        assert!(calls.forget(id));
        assert_eq!(calls.take(&result(id, unchanged)), Ok(Effect::None));
    }

    #[test]
    fn a_verdict_above_the_limit_is_cancelled() {
        let mut calls = Calls::default();
        let (id, mut answer) = begin(&mut calls, false);
        calls.take(&result(id, Flags::NONE)).unwrap();
        let part = vec![0; 60 << 10];
        let effect = std::iter::repeat_with(|| calls.take(&data(id, &part, false)).unwrap())
            .find(|effect| *effect != Effect::None);
        assert_eq!(effect, Some(Effect::Cancel(id)));
        assert_eq!(answer.try_recv().unwrap().unwrap_err().cause, Cause::TooLarge);
    }

    #[test]
    fn an_answer_before_the_whole_question_stops_the_upload() {
        let mut calls = Calls::default();
        let (id, _answer) = begin(&mut calls, true);
        assert_eq!(calls.take(&result(id, Flags::END | Flags::UNCHANGED)), Ok(Effect::StopUpload(id)));
    }

    #[test]
    fn ids_run_out_instead_of_coming_back() {
        let mut calls = Calls { last: u32::MAX - 1, ..Calls::default() };
        assert_eq!(begin(&mut calls, false).0, u32::MAX);
        assert_eq!(calls.begin(oneshot::channel().0, false), Err(NoId::Exhausted));
    }
}
