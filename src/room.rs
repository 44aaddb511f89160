//! What requests share and one of them could take from all others: memory for bodies, and time on the threads that
//! serve.
//!
//! Memory is counted as it is taken, given back when the last user of a body lets go of it, and never waited for. Work
//! on a large body leaves the thread's other requests to another thread, and only so much of it is done at once.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bytes::Bytes;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;

use crate::limits;

#[derive(Debug)]
pub struct Room {
    /// For the bodies of requests: half of `[limits] buffered`.
    requests: Arc<Share>,
    /// Large bodies that are worked on at once.
    benches: Semaphore,
}

/// Bytes for one kind of body.
#[derive(Debug)]
struct Share {
    held: AtomicU64,
    max: AtomicU64,
}

/// The memory that one body holds. Given back on drop.
#[derive(Debug)]
pub struct Claim {
    share: Arc<Share>,
    bytes: u64,
}

/// The bodies of other requests hold all the memory there is for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("request bodies hold all the memory that [limits] buffered allows")]
pub struct NoRoom;

impl Default for Room {
    fn default() -> Self {
        let share = Share { held: AtomicU64::new(0), max: AtomicU64::new(limits::BUFFERED_BYTES / 2) };
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self { requests: Arc::new(share), benches: Semaphore::new((cores / 2).max(1)) }
    }
}

impl Room {
    /// Sets the bytes for all bodies together. What is held stays held.
    pub fn limit(&self, buffered: u64) {
        // Each request comes by here, and nearly all find what they would write.
        if self.requests.max.load(Ordering::Relaxed) != buffered / 2 {
            self.requests.max.store(buffered / 2, Ordering::Relaxed);
        }
    }

    /// Nothing yet, of the half for request bodies.
    pub fn for_request(&self) -> Claim {
        Claim { share: self.requests.clone(), bytes: 0 }
    }

    /// Bytes that request bodies hold now.
    #[cfg(test)]
    pub(crate) fn held_by_requests(&self) -> u64 {
        self.requests.held.load(Ordering::Relaxed)
    }

    /// Does `job` on a body of `bytes` bytes. A large one has to wait for its turn, and what else this thread would
    /// serve goes on at another one.
    pub async fn work<T>(&self, bytes: usize, job: impl FnOnce() -> T) -> T {
        if bytes < limits::LARGE_BODY_BYTES {
            return job();
        }
        let _bench = self.benches.acquire().await.expect("the semaphore is never closed");
        match Handle::current().runtime_flavor() {
            RuntimeFlavor::MultiThread => tokio::task::block_in_place(job),
            // A runtime of one thread has no other to go on at. The gateway's own have more.
            _ => job(),
        }
    }
}

impl Claim {
    /// Holds memory for `bytes` bytes in all: exactly so much below one step, else whole steps. Gives nothing back.
    pub fn cover(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let bytes = bytes as u64;
        let step = limits::BUFFERED_STEP_BYTES;
        let wanted = if bytes <= step { bytes } else { bytes.next_multiple_of(step) };
        let Some(more) = wanted.checked_sub(self.bytes).filter(|more| *more > 0) else { return Ok(()) };
        let held = self.share.held.fetch_add(more, Ordering::Relaxed) + more;
        if held > self.share.max.load(Ordering::Relaxed) {
            self.share.held.fetch_sub(more, Ordering::Relaxed);
            return Err(NoRoom);
        }
        self.bytes = wanted;
        Ok(())
    }

    /// The body as bytes that hold this claim as long as any part of them is used.
    pub fn bind(self, body: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Bound { body, _claim: self })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.share.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Bound<B> {
    body: B,
    _claim: Claim,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Bound<B> {
    fn as_ref(&self) -> &[u8] {
        self.body.as_ref()
    }
}

/// A body that grows as its parts arrive, by what arrives and never by what was announced.
#[derive(Debug)]
pub struct Growing {
    body: Vec<u8>,
    claim: Claim,
    /// The largest it can get.
    most: usize,
}

impl Growing {
    pub fn new(claim: Claim, most: usize) -> Self {
        Self { body: Vec::new(), claim, most }
    }

    pub fn len(&self) -> usize {
        self.body.len()
    }

    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    pub fn add(&mut self, part: &[u8]) -> Result<(), NoRoom> {
        let needed = self.body.len() + part.len();
        if needed > self.body.capacity() {
            // Doubling keeps copying in proportion. Where there is no room for that, what is needed has to do.
            let doubled = (2 * self.body.capacity()).min(self.most).max(needed);
            let room = [doubled, needed].into_iter().find(|room| self.claim.cover(*room).is_ok());
            self.body.reserve_exact(room.ok_or(NoRoom)? - self.body.len());
        }
        self.body.extend_from_slice(part);
        Ok(())
    }

    pub fn whole(self) -> Bytes {
        self.claim.bind(self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: usize = limits::BUFFERED_STEP_BYTES as usize;

    #[test]
    fn room_is_taken_by_steps_and_given_back_with_the_last_part_of_a_body() {
        let room = Room::default();
        let mut claim = room.for_request();
        claim.cover(10).unwrap();
        assert_eq!(room.held_by_requests(), 10, "a small body counts as what it is");
        claim.cover(STEP + 1).unwrap();
        claim.cover(STEP + 2).unwrap();
        assert_eq!(room.held_by_requests(), 2 * limits::BUFFERED_STEP_BYTES);
        let body = claim.bind(vec![7; STEP + 2]);
        let part = body.slice(3..5);
        drop(body);
        assert_eq!(room.held_by_requests(), 2 * limits::BUFFERED_STEP_BYTES);
        drop(part);
        assert_eq!(room.held_by_requests(), 0);
    }

    #[test]
    fn no_step_is_taken_beyond_the_bound() {
        let room = Room::default();
        room.limit(4 * limits::BUFFERED_STEP_BYTES);
        let (mut one, mut other) = (room.for_request(), room.for_request());
        one.cover(STEP).unwrap();
        assert_eq!(other.cover(STEP + 1), Err(NoRoom));
        other.cover(STEP).unwrap();
        assert_eq!(one.cover(2 * STEP), Err(NoRoom));
        drop(other);
        one.cover(2 * STEP).unwrap();
    }

    #[test]
    fn a_body_grows_by_what_arrives() {
        let room = Room::default();
        let mut body = Growing::new(room.for_request(), 50 << 20);
        body.add(b"{").unwrap();
        assert!(room.held_by_requests() < 100, "what was announced is not held");
        for _ in 0..100 {
            body.add(&[b' '; 40_000]).unwrap();
        }
        assert!((4_000_001..8_200_000).contains(&room.held_by_requests()));
        assert_eq!(body.len(), 4_000_001);
        let whole = body.whole();
        assert_eq!((whole.len(), whole[0], whole[4_000_000]), (4_000_001, b'{', b' '));
    }

    #[test]
    fn a_body_that_cannot_double_takes_what_it_needs() {
        let room = Room::default();
        room.limit(8 * limits::BUFFERED_STEP_BYTES);
        let mut body = Growing::new(room.for_request(), 50 << 20);
        for _ in 0..4 {
            body.add(&vec![0; STEP]).unwrap();
        }
        assert_eq!(body.add(&[0]), Err(NoRoom));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn work_on_a_large_body_leaves_the_thread_to_others() {
        let room = Room::default();
        let (tell, told) = std::sync::mpsc::channel();
        tokio::spawn(async move { tell.send(()).unwrap() });
        // Only another thread can run that task while this one waits.
        let told = tokio::spawn(async move {
            let wait = move || told.recv_timeout(std::time::Duration::from_secs(20)).is_ok();
            room.work(limits::LARGE_BODY_BYTES, wait).await
        });
        assert!(told.await.unwrap());
    }
}
