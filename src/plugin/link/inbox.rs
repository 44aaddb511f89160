//! Bytes from the socket, cut into frames where they lie. Holds one read's worth of memory; a larger frame
//! makes it grow, and it shrinks back when that frame is gone.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use hookway_wire::{FRAME_BYTES_MAX, FrameError, HEADER_BYTES, Header};
use tokio::io::unix::AsyncFd;

use crate::limits;

/// One frame, borrowed from the buffer until the next one is asked for.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    pub header: Header,
    pub meta: &'a [u8],
    pub body: &'a [u8],
}

/// `buffer[start..end]` came in and is not cut yet.
#[derive(Debug)]
pub(super) struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; limits::LINK_READ_BYTES], start: 0, end: 0 }
    }

    /// The next whole frame, or `None` if bytes of it are missing.
    pub(super) fn next(&mut self) -> Result<Option<Incoming<'_>>, FrameError> {
        let waiting = &self.buffer[self.start..self.end];
        let Some((header, rest)) = waiting.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let header = Header::decode(header, FRAME_BYTES_MAX)?;
        let Some(payload) = rest.get(..header.len as usize) else { return Ok(None) };
        self.start += HEADER_BYTES + payload.len();
        let (meta, body) = payload.split_at(header.meta_len as usize);
        Ok(Some(Incoming { header, meta, body }))
    }

    /// Reads once, however much there is; 0 is the end of the stream. Cancel-safe: bytes are taken from the
    /// socket only when the future completes.
    pub(super) async fn fill(&mut self, socket: &AsyncFd<Arc<UnixStream>>) -> io::Result<usize> {
        loop {
            let mut ready = socket.readable().await?;
            let space = self.space();
            match (&**ready.get_inner()).read(space) {
                Ok(read) => {
                    // A short read emptied the socket. Asking again would cost a system call to learn that.
                    if read < space.len() && read > 0 {
                        ready.clear_ready();
                    }
                    self.end += read;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Room behind the bytes in hand, at least for the rest of the frame they begin.
    fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > limits::LINK_READ_BYTES {
                self.buffer = vec![0; limits::LINK_READ_BYTES];
            }
            return &mut self.buffer;
        }
        let wanted = match self.buffer[self.start..self.end].first_chunk::<4>() {
            Some(len) => HEADER_BYTES + (u32::from_le_bytes(*len) as usize).min(FRAME_BYTES_MAX),
            None => HEADER_BYTES,
        };
        if self.buffer.len() - self.start < wanted {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.buffer.len() < wanted {
                self.buffer.resize(wanted, 0);
            }
        }
        &mut self.buffer[self.end..]
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use hookway_wire::{BODY_PART_BYTES, FrameType, Head};

    use super::*;

    /// Feeds `wire` in reads of at most `step` bytes and returns the frames' (meta, body) lengths.
    fn cut(inbox: &mut Inbox, wire: &[u8], step: usize) -> Vec<(usize, usize)> {
        let (mut frames, mut rest) = (Vec::new(), wire);
        while !rest.is_empty() {
            let space = inbox.space();
            let read = step.min(space.len()).min(rest.len());
            assert!(read > 0, "there is always room");
            space[..read].copy_from_slice(&rest[..read]);
            inbox.end += read;
            rest = &rest[read..];
            while let Some(frame) = inbox.next().unwrap() {
                assert!(frame.meta.iter().all(|&byte| byte == b'm'));
                assert!(frame.body.iter().all(|&byte| byte == b'b'));
                frames.push((frame.meta.len(), frame.body.len()));
            }
        }
        frames
    }

    #[test]
    fn frames_come_out_whole_however_they_were_read() {
        let sizes = [(0, 0), (3, 5), (0, BODY_PART_BYTES), (700_000, BODY_PART_BYTES), (1, 0), (0, 0)];
        let mut wire = BytesMut::new();
        for (meta, body) in sizes {
            Head::of(FrameType::Result, 1).write(&mut wire, &vec![b'm'; meta], &vec![b'b'; body]);
        }
        for step in [1, 7, 16, 17, 1000, 65_536, 10_000_000] {
            let mut inbox = Inbox::new();
            assert_eq!(cut(&mut inbox, &wire, step), sizes, "in steps of {step}");
            inbox.space();
            assert_eq!(inbox.buffer.len(), limits::LINK_READ_BYTES, "a large frame's memory is given back");
        }
    }
}
