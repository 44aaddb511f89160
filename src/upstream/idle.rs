//! Connections to an upstream that wait for their next request.
//!
//! Nobody listens to a connection while it waits, so to keep one costs a request no task, no timer and no system
//! call. Whether it still stands is looked at when it is taken; one sweep for all lets go of those that ended or
//! waited too long.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use futures_util::FutureExt;
use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead, ReadBuf};

use crate::limits;

pub(super) struct Idle {
    kept: Mutex<Kept>,
    max: usize,
}

#[derive(Default)]
struct Kept {
    /// The one that waits longest comes first.
    connections: VecDeque<Waiting>,
    swept: bool,
}

struct Waiting {
    to: SocketAddr,
    stream: Stream,
    since: Instant,
}

impl Waiting {
    fn is_good(&mut self, now: Instant) -> bool {
        now.duration_since(self.since) < limits::UPSTREAM_IDLE_TIMEOUT && is_silent(&mut self.stream)
    }
}

impl Idle {
    /// Keeps at most `max` connections.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { kept: Mutex::default(), max })
    }

    /// The connection to `to` that waits the shortest: the least likely to have been closed meanwhile.
    pub(super) fn take(&self, to: SocketAddr) -> Option<Stream> {
        let now = Instant::now();
        loop {
            let mut waiting = {
                let mut kept = self.kept();
                let at = kept.connections.iter().rposition(|waiting| waiting.to == to)?;
                kept.connections.remove(at)?
            };
            if waiting.is_good(now) {
                return Some(waiting.stream);
            }
        }
    }

    /// Keeps a connection whose last answer was read to its end. Beyond the bound the oldest goes.
    pub(super) fn put(self: &Arc<Self>, to: SocketAddr, stream: Stream) {
        if self.max == 0 {
            return;
        }
        let mut kept = self.kept();
        let surplus = if kept.connections.len() < self.max { None } else { kept.connections.pop_front() };
        kept.connections.push_back(Waiting { to, stream, since: Instant::now() });
        let swept = std::mem::replace(&mut kept.swept, true);
        // The close of a connection is a system call.
        drop(kept);
        drop(surplus);
        if !swept {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of what cannot be used again. Tells whether anything is left.
    fn tidy(&self, now: Instant) -> bool {
        let mut kept = self.kept();
        kept.connections.retain_mut(|waiting| waiting.is_good(now));
        kept.swept = !kept.connections.is_empty();
        kept.swept
    }
}

/// Runs while connections wait, and while there is somebody to use them.
async fn sweep(idle: Weak<Idle>) {
    loop {
        tokio::time::sleep(limits::UPSTREAM_IDLE_SWEEP).await;
        match idle.upgrade() {
            Some(idle) if idle.tidy(Instant::now()) => {}
            _ => return,
        }
    }
}

/// Whether nothing came: neither the end of the connection nor bytes that no request asked for.
fn is_silent(stream: &mut Stream) -> bool {
    let mut byte = [0];
    let read = poll_fn(|cx| {
        let mut buf = ReadBuf::new(&mut byte);
        Pin::new(&mut *stream).poll_read(cx, &mut buf)
    });
    // A task that has spent its share would be told that nothing came, whatever did.
    let read = tokio::task::unconstrained(read).now_or_never();
    read.is_none()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn pipe() -> (Stream, tokio::io::DuplexStream) {
        let (near, far) = tokio::io::duplex(64);
        (Box::new(near), far)
    }

    #[tokio::test]
    async fn the_youngest_connection_to_an_address_is_taken_first() {
        let idle = Idle::new(8);
        let (first, mut far_first) = pipe();
        let (second, mut far_second) = pipe();
        idle.put(address(1), first);
        idle.put(address(1), second);
        assert!(idle.take(address(2)).is_none());
        for far in [&mut far_second, &mut far_first] {
            let mut taken = idle.take(address(1)).unwrap();
            taken.write_all(b"x").await.unwrap();
            let mut byte = [0];
            tokio::io::AsyncReadExt::read_exact(far, &mut byte).await.unwrap();
        }
        assert!(idle.take(address(1)).is_none());
    }

    #[tokio::test]
    async fn one_that_ended_or_spoke_is_not_used_again() {
        let idle = Idle::new(8);
        let (ended, far) = pipe();
        let (spoke, mut speaker) = pipe();
        idle.put(address(1), ended);
        idle.put(address(1), spoke);
        drop(far);
        speaker.write_all(b"HTTP/1.1 408").await.unwrap();
        assert!(idle.take(address(1)).is_none());
    }

    #[tokio::test]
    async fn no_more_than_the_bound_are_kept_and_the_oldest_goes() {
        let idle = Idle::new(1);
        let (old, mut far_old) = pipe();
        let (young, _far) = pipe();
        idle.put(address(1), old);
        idle.put(address(2), young);
        assert!(idle.take(address(1)).is_none());
        assert!(idle.take(address(2)).is_some());
        assert!(far_old.write_all(b"x").await.is_err(), "it was closed");
        let none = Idle::new(0);
        none.put(address(1), pipe().0);
        assert!(none.take(address(1)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_sweep_closes_what_ended_and_stops_with_the_last() {
        let idle = Idle::new(8);
        let (ended, far) = pipe();
        idle.put(address(1), ended);
        drop(far);
        assert!(!idle.tidy(Instant::now()));
        let (waits, mut far) = pipe();
        idle.put(address(1), waits);
        assert!(idle.tidy(Instant::now()));
        assert!(!idle.tidy(Instant::now() + limits::UPSTREAM_IDLE_TIMEOUT));
        assert!(far.write_all(b"x").await.is_err(), "it was closed");
    }
}
