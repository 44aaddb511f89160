//! What happens, told to whoever listens, and the last requests for whoever asks later.
//!
//! Telling never waits: a listener that is behind loses the oldest events and learns how many. While nobody
//! listens nothing is built, and a request costs a place in a ring.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender};

use super::Record;
use crate::limits;
use crate::plugin::LogLine;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A request ended.
    Request(Arc<Record>),
    /// A plugin is in another state.
    Plugin { plugin: Arc<str>, state: &'static str, reason: Option<String> },
    /// A plugin printed a line.
    Log { plugin: Arc<str>, line: LogLine },
    /// Another generation is published.
    Chain { generation: u64, changes: Vec<String> },
}

/// A happening with its place among all that were told.
#[derive(Debug)]
pub struct Event {
    /// Counts from 1 over the life of the process, without gaps.
    pub id: u64,
    pub at: SystemTime,
    pub happening: Happening,
}

/// What a listener gets next.
#[derive(Clone, Debug)]
pub enum Heard {
    Event(Arc<Event>),
    /// It was too slow: so many events are lost to it.
    Lagged(u64),
}

/// The bus. All clones are one.
#[derive(Clone)]
pub struct Live(Arc<Bus>);

struct Bus {
    told: Sender<Arc<Event>>,
    past: Mutex<Past>,
}

#[derive(Default)]
struct Past {
    /// Newest last.
    requests: VecDeque<Arc<Record>>,
    last_id: u64,
}

/// One listener. Dropped, it listens no more.
pub struct Listener(Receiver<Arc<Event>>);

impl Default for Live {
    fn default() -> Self {
        let (told, _) = broadcast::channel(limits::LIVE_EVENTS);
        Self(Arc::new(Bus { told, past: Mutex::default() }))
    }
}

impl Live {
    /// Tells what `happening` makes. It is not called while nobody listens.
    pub fn publish(&self, happening: impl FnOnce() -> Happening) {
        if self.is_heard() {
            let happening = happening();
            self.tell(&mut self.0.past.lock(), happening);
        }
    }

    /// A request ended. Its record is kept until as many as are kept have come after it.
    pub(super) fn request(&self, record: Record) {
        let mut past = self.0.past.lock();
        // Dropped at the end, after the lock: a record is some dozens of allocations.
        let _gone = past.keep(record);
        if self.is_heard()
            && let Some(kept) = past.requests.back().cloned()
        {
            self.tell(&mut past, Happening::Request(kept));
        }
        drop(past);
    }

    /// What is told from now on.
    pub fn subscribe(&self) -> Listener {
        Listener(self.0.told.subscribe())
    }

    /// The last requests that ended, newest first, `count` at most.
    pub fn recent(&self, count: usize) -> Vec<Arc<Record>> {
        self.0.past.lock().requests.iter().rev().take(count).cloned().collect()
    }

    fn is_heard(&self) -> bool {
        self.0.told.receiver_count() > 0
    }

    /// Under the lock, so that events come in the order of their ids.
    fn tell(&self, past: &mut Past, happening: Happening) {
        past.last_id += 1;
        let event = Event { id: past.last_id, at: SystemTime::now(), happening };
        // An error says that the last listener has just left.
        let _ = self.0.told.send(Arc::new(event));
    }
}

impl Past {
    /// Returns what had to go. A full ring puts the new record where the oldest was, so that it allocates nothing.
    fn keep(&mut self, record: Record) -> Option<Record> {
        if self.requests.len() < limits::RECENT_REQUESTS {
            self.requests.push_back(Arc::new(record));
            return None;
        }
        let mut oldest = self.requests.pop_front()?;
        let gone = match Arc::get_mut(&mut oldest) {
            Some(place) => Some(mem::replace(place, record)),
            // Somebody reads it right now.
            None => {
                oldest = Arc::new(record);
                None
            }
        };
        self.requests.push_back(oldest);
        gone
    }
}

impl Listener {
    /// The next event, or how many are lost. None: the bus is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.0.recv().await {
            Ok(event) => Some(Heard::Event(event)),
            Err(RecvError::Lagged(missed)) => Some(Heard::Lagged(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;

    fn numbered(number: usize) -> Record {
        Record { request_id: number.to_string(), ..record() }
    }

    fn ids(records: &[Arc<Record>]) -> Vec<&str> {
        records.iter().map(|record| record.request_id.as_str()).collect()
    }

    fn chain(generation: u64) -> Happening {
        Happening::Chain { generation, changes: Vec::new() }
    }

    #[tokio::test]
    async fn a_listener_hears_what_happens_from_when_it_came_in_order() {
        let live = Live::default();
        live.publish(|| unreachable!("nobody listens, so nothing is built"));
        live.request(numbered(0));
        let mut listener = live.subscribe();
        live.publish(|| chain(7));
        live.request(numbered(1));
        let Some(Heard::Event(first)) = listener.next().await else { panic!("something was told") };
        assert!(matches!(first.happening, Happening::Chain { generation: 7, .. }));
        let Some(Heard::Event(second)) = listener.next().await else { panic!("something was told") };
        assert!(matches!(&second.happening, Happening::Request(record) if record.request_id == "1"));
        assert_eq!((first.id, second.id), (1, 2));
        drop(live);
        assert!(listener.next().await.is_none());
    }

    #[tokio::test]
    async fn a_slow_listener_learns_what_it_lost_and_holds_up_nobody() {
        let live = Live::default();
        let mut listener = live.subscribe();
        let told = limits::LIVE_EVENTS as u64 + 5;
        for generation in 0..told {
            live.publish(|| chain(generation));
        }
        let Some(Heard::Lagged(missed)) = listener.next().await else { panic!("it is behind") };
        let Some(Heard::Event(next)) = listener.next().await else { panic!("the rest is there") };
        assert_eq!(next.id, missed + 1);
        assert!(missed >= 5 && missed < told);
    }

    #[test]
    fn the_last_requests_are_known_newest_first_and_no_more_of_them() {
        let live = Live::default();
        for number in 0..limits::RECENT_REQUESTS + 3 {
            live.request(numbered(number));
        }
        let newest = (limits::RECENT_REQUESTS + 2).to_string();
        assert_eq!(ids(&live.recent(1)), [newest.as_str()]);
        let all = live.recent(usize::MAX);
        assert_eq!((all.len(), all.last().unwrap().request_id.as_str()), (limits::RECENT_REQUESTS, "3"));
    }

    #[test]
    fn a_record_that_is_being_read_stays_as_it_is() {
        let live = Live::default();
        live.request(numbered(0));
        let read = live.recent(1);
        for number in 1..=limits::RECENT_REQUESTS {
            live.request(numbered(number));
        }
        assert_eq!(ids(&read), ["0"]);
        assert!(!ids(&live.recent(usize::MAX)).contains(&"0"));
    }
}
