//! What waits to be written, in which order, and how much of it there may be.
//!
//! Frames leave in the order they were pushed. The rest of a large body is no frame yet: it waits as an
//! [`Upload`], and gives up one part at a time, in turn with the other uploads and behind the frames that are
//! waiting, so a small call is never stuck behind a large one. Writing never blocks: whoever pushes also flushes,
//! and what the socket does not take is left to the writer task.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, Bytes};
use hookway_wire::{BODY_PART_BYTES, CREDIT_BYTES, FrameType, Head};

use crate::limits;

/// Frames handed to the socket in one system call.
const BATCH: usize = 16;
/// Body parts among them: enough that a large body takes few calls, few enough that a small frame pushed
/// meanwhile waits for a quarter of a MiB at most.
const PARTS_PER_BATCH: usize = 4;

/// One frame on its way: header and meta, then the body part.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub head: Bytes,
    pub body: Bytes,
}

impl Outgoing {
    /// A frame without meta or body.
    pub(super) fn bare(head: Head) -> Self {
        Self { head: Bytes::copy_from_slice(&head.header(0, 0).encode()), body: Bytes::new() }
    }

    fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// The part of a call's body that did not go with its CALL frame.
#[derive(Debug)]
pub(super) struct Upload {
    id: u32,
    rest: Bytes,
    credit: usize,
}

impl Upload {
    /// `body` split into what goes with the CALL frame and what follows.
    pub(super) fn split(id: u32, mut body: Bytes) -> (Bytes, Option<Self>) {
        let first = body.split_to(body.len().min(BODY_PART_BYTES));
        let credit = CREDIT_BYTES - first.len();
        let upload = (!body.is_empty()).then_some(Self { id, rest: body, credit });
        (first, upload)
    }

    /// The next DATA frame the credit allows.
    fn next_part(&mut self) -> Outgoing {
        let body = self.rest.split_to(self.rest.len().min(BODY_PART_BYTES).min(self.credit));
        self.credit -= body.len();
        let head = Head::of(FrameType::Data, self.id);
        let head = if self.rest.is_empty() { head.end() } else { head };
        Outgoing { head: Bytes::copy_from_slice(&head.header(0, body.len()).encode()), body }
    }
}

/// What a flush left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Nothing that may be sent now.
    Empty,
    /// More can be written at once.
    More,
    /// The socket takes no more: to be continued by the writer task once it does.
    Full,
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// More than [`limits::LINK_QUEUE_BYTES_MAX`] would wait.
    Full,
    /// The link has ended.
    Closed,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<Outgoing>,
    /// Bytes of `frames`.
    bytes: usize,
    /// Taken in turn from the front.
    uploads: VecDeque<Upload>,
    /// Uploads that wait for credit.
    parked: Vec<Upload>,
    /// The socket was full when last tried, and the writer task waits for it.
    blocked: bool,
    closed: bool,
}

impl Outbox {
    /// Queues a CALL or another frame that an answer is waited for.
    pub(super) fn push(&mut self, frame: Outgoing, upload: Option<Upload>) -> Result<(), Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        if self.bytes + frame.len() > limits::LINK_QUEUE_BYTES_MAX {
            return Err(Refused::Full);
        }
        self.enqueue(frame);
        self.uploads.extend(upload);
        Ok(())
    }

    /// Queues a frame of 16 bytes that must not be lost for lack of room. There is at most one per call, or
    /// one per silent period.
    pub(super) fn push_bare(&mut self, head: Head) {
        if !self.closed {
            self.enqueue(Outgoing::bare(head));
        }
    }

    fn enqueue(&mut self, frame: Outgoing) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// More of a body may go. Credit for a call without an upload is late, and means nothing.
    pub(super) fn grant(&mut self, id: u32, bytes: usize) {
        if let Some(at) = self.parked.iter().position(|upload| upload.id == id) {
            let upload = self.parked.swap_remove(at);
            self.uploads.push_back(upload);
        }
        if let Some(upload) = self.uploads.iter_mut().find(|upload| upload.id == id) {
            upload.credit = upload.credit.saturating_add(bytes);
        }
    }

    /// Forgets the unsent rest of a body. Whether there was one.
    pub(super) fn forget(&mut self, id: u32) -> bool {
        let before = self.uploads.len() + self.parked.len();
        self.uploads.retain(|upload| upload.id != id);
        self.parked.retain(|upload| upload.id != id);
        before != self.uploads.len() + self.parked.len()
    }

    pub(super) fn close(&mut self) {
        *self = Self { closed: true, ..Self::default() };
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    pub(super) fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Writes one batch without blocking.
    pub(super) fn flush(&mut self, mut socket: impl Write) -> io::Result<Flushed> {
        for _ in 0..PARTS_PER_BATCH {
            self.take_part();
        }
        if self.frames.is_empty() {
            return Ok(if self.uploads.is_empty() { Flushed::Empty } else { Flushed::More });
        }
        let mut slices = [IoSlice::new(&[]); 2 * BATCH];
        let mut used = 0;
        for frame in self.frames.iter().take(BATCH) {
            for part in [&frame.head, &frame.body] {
                if !part.is_empty() {
                    slices[used] = IoSlice::new(part);
                    used += 1;
                }
            }
        }
        match socket.write_vectored(&slices[..used]) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                // The plugin may have read between a caller's try and the writer task's: whoever gets bytes
                // through ends the block, or every later caller would leave its frames to a task that sleeps.
                self.blocked = false;
                Ok(self.wrote(written))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked = true;
                Ok(Flushed::Full)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Flushed::More),
            Err(error) => Err(error),
        }
    }

    /// Moves one body part of the next upload in turn behind the waiting frames.
    fn take_part(&mut self) {
        let Some(mut upload) = self.uploads.pop_front() else { return };
        if upload.credit == 0 {
            return self.parked.push(upload);
        }
        let part = upload.next_part();
        self.enqueue(part);
        if !upload.rest.is_empty() {
            self.uploads.push_back(upload);
        }
    }

    fn wrote(&mut self, mut written: usize) -> Flushed {
        self.bytes -= written;
        while let Some(frame) = self.frames.front_mut() {
            let head = written.min(frame.head.len());
            frame.head.advance(head);
            let body = (written - head).min(frame.body.len());
            frame.body.advance(body);
            written -= head + body;
            if frame.len() > 0 {
                break;
            }
            self.frames.pop_front();
        }
        if self.frames.is_empty() && self.uploads.is_empty() { Flushed::Empty } else { Flushed::More }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use hookway_wire::{Decoder, FRAME_BYTES_MAX, Frame};

    use super::*;

    /// A socket that takes so many bytes, then is full.
    struct Pipe {
        taken: BytesMut,
        room: usize,
    }

    impl Write for &mut Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let before = self.taken.len();
            for slice in slices {
                let taken = slice.len().min(self.room);
                self.taken.extend_from_slice(&slice[..taken]);
                self.room -= taken;
            }
            Ok(self.taken.len() - before)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn call(outbox: &mut Outbox, id: u32, body: &Bytes) -> Result<(), Refused> {
        let (first, upload) = Upload::split(id, body.clone());
        let head = Head::of(FrameType::Call, id);
        let head = if upload.is_none() { head.end() } else { head };
        let head = Bytes::copy_from_slice(&head.header(0, first.len()).encode());
        outbox.push(Outgoing { head, body: first }, upload)
    }

    /// Flushes in writes of at most `room` bytes until nothing is left that may go.
    fn drain(outbox: &mut Outbox, room: usize) -> Vec<Frame> {
        let mut pipe = Pipe { taken: BytesMut::new(), room };
        loop {
            match outbox.flush(&mut pipe).unwrap() {
                Flushed::Empty => break,
                Flushed::More => {}
                Flushed::Full => {
                    outbox.unblock();
                    pipe.room = room;
                }
            }
        }
        let decoder = Decoder::new(FRAME_BYTES_MAX);
        std::iter::from_fn(|| decoder.next(&mut pipe.taken).unwrap()).collect()
    }

    fn ids(frames: &[Frame]) -> Vec<u32> {
        frames.iter().map(|frame| frame.id).collect()
    }

    #[test]
    fn large_bodies_share_the_socket_in_turn_and_a_small_call_passes_between() {
        let large = Bytes::from(vec![1; 3 * BODY_PART_BYTES]);
        let mut outbox = Outbox::default();
        call(&mut outbox, 1, &large).unwrap();
        call(&mut outbox, 2, &large).unwrap();
        call(&mut outbox, 3, &Bytes::from_static(b"small")).unwrap();
        let frames = drain(&mut outbox, usize::MAX);
        assert_eq!(ids(&frames), [1, 2, 3, 1, 2, 1, 2]);
        let ends: Vec<bool> = frames.iter().map(|frame| frame.flags.is_end()).collect();
        assert_eq!(ends, [false, false, true, false, false, true, true]);
    }

    #[test]
    fn a_socket_that_takes_little_at_a_time_gets_the_same_bytes() {
        let body: Bytes = (0..200_000u32).map(|byte| byte as u8).collect();
        for room in [1_000, 16, 65_537] {
            let mut outbox = Outbox::default();
            call(&mut outbox, 1, &body).unwrap();
            let frames = drain(&mut outbox, room);
            let sent: Vec<u8> = frames.iter().flat_map(|frame| frame.body.to_vec()).collect();
            assert!(sent == body, "in writes of {room}");
            assert_eq!(outbox.bytes, 0);
        }
    }

    #[test]
    fn a_socket_that_takes_bytes_again_is_not_blocked_any_more() {
        let mut outbox = Outbox::default();
        call(&mut outbox, 1, &Bytes::from_static(b"small")).unwrap();
        let mut pipe = Pipe { taken: BytesMut::new(), room: 0 };
        assert_eq!(outbox.flush(&mut pipe).unwrap(), Flushed::Full);
        assert!(outbox.is_blocked());
        pipe.room = usize::MAX;
        assert_eq!(outbox.flush(&mut pipe).unwrap(), Flushed::Empty);
        assert!(!outbox.is_blocked());
    }

    #[test]
    fn a_body_stops_at_its_credit_and_goes_on_when_more_is_granted() {
        let mut outbox = Outbox::default();
        call(&mut outbox, 1, &Bytes::from(vec![1; CREDIT_BYTES + 100])).unwrap();
        assert_eq!(drain(&mut outbox, usize::MAX).len(), CREDIT_BYTES / BODY_PART_BYTES);
        outbox.grant(1, 60);
        let [more] = &drain(&mut outbox, usize::MAX)[..] else { panic!("one part of 60 bytes") };
        assert_eq!((more.body.len(), more.flags.is_end()), (60, false));
        outbox.grant(1, 1_000);
        let [last] = &drain(&mut outbox, usize::MAX)[..] else { panic!("the last part") };
        assert_eq!((last.body.len(), last.flags.is_end()), (40, true));
    }

    #[test]
    fn beyond_its_bound_the_queue_refuses_calls_but_never_a_cancel() {
        let body = Bytes::from(vec![1; BODY_PART_BYTES]);
        let mut outbox = Outbox::default();
        let mut taken = 0;
        while call(&mut outbox, 1, &body).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, limits::LINK_QUEUE_BYTES_MAX / (BODY_PART_BYTES + 16));
        outbox.push_bare(Head::of(FrameType::Cancel, 1));
        assert_eq!(drain(&mut outbox, usize::MAX).last().unwrap().kind, FrameType::Cancel);
    }

    #[test]
    fn a_forgotten_upload_sends_no_further_part() {
        let mut outbox = Outbox::default();
        call(&mut outbox, 1, &Bytes::from(vec![1; CREDIT_BYTES + 100])).unwrap();
        drain(&mut outbox, usize::MAX);
        assert!(outbox.forget(1));
        outbox.grant(1, 1_000);
        assert!(drain(&mut outbox, usize::MAX).is_empty());
        assert!(!outbox.forget(1));
    }
}
