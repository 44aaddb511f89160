//! Descriptors a tokio runtime watches, for one direction only. A socket that is also watched for writing wakes
//! its task each time the peer reads; that would double the wake-ups of every call.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Owns one descriptor, which stays the same and open for as long as the owner lives.
pub(super) trait Owner: AsRawFd {}
impl Owner for OwnedFd {}
impl Owner for UnixStream {}
impl Owner for Arc<UnixStream> {}

/// Must run inside a tokio runtime.
pub(super) fn for_reading<T: Owner>(owner: T) -> io::Result<AsyncFd<T>> {
    watch(owner, Interest::READABLE)
}

/// Must run inside a tokio runtime.
pub(super) fn for_writing<T: Owner>(owner: T) -> io::Result<AsyncFd<T>> {
    watch(owner, Interest::WRITABLE)
}

fn watch<T: Owner>(owner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: The descriptor must stay open and the same until the `AsyncFd` lets go of it. That is what
    // `Owner` is implemented for, and the `AsyncFd` owns the owner.
    unsafe { AsyncFd::register_with_interest(owner, interest) }.map_err(io::Error::from)
}
