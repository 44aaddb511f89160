//! The plugin's end of its socket. The runtime watches it for reading alone: watched for writing as well, it would
//! wake the plugin each time the gateway reads an answer, which doubles the wake-ups of every call.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;

use bytes::BytesMut;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(crate) struct Socket(AsyncFd<UnixStream>);

impl Socket {
    /// Must run inside a tokio runtime.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self(watch(stream, Interest::READABLE)?))
    }

    /// Waits for bytes and appends them to `bytes`, as many as it has room for; 0 is the end of the stream.
    /// Cancel-safe: bytes are taken from the socket only when the future completes.
    pub(crate) async fn read(&self, bytes: &mut BytesMut) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            match rustix::io::read(ready.get_inner(), bytes.spare_capacity_mut()) {
                Ok((read, room)) => {
                    // A short read emptied the socket. Asking again would cost a system call to learn that.
                    if !read.is_empty() && !room.is_empty() {
                        ready.clear_ready();
                    }
                    let read = read.len();
                    // SAFETY: These bytes behind the ones in hand were just written.
                    unsafe { bytes.set_len(bytes.len() + read) };
                    return Ok(read);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => ready.clear_ready(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes what fits, without waiting.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_ref().write(bytes)
    }

    /// Waits until a full socket has room again. A second descriptor is watched for that, and only that long.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        let full = watch(self.0.get_ref().try_clone()?, Interest::WRITABLE)?;
        full.writable().await.map(drop)
    }
}

fn watch(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    // SAFETY: The descriptor must stay open and the same until the `AsyncFd` lets go of it. A `UnixStream` never
    // changes its own, and the `AsyncFd` owns it and is never asked for a `&mut`.
    unsafe { AsyncFd::register_with_interest(stream, interest) }.map_err(io::Error::from)
}
