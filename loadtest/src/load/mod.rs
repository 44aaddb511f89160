//! The load generator: sends one request over and over at a pace, and checks every answer.
//!
//! One thread and one epoll, so that its own cost is small and known. Bounded in time, in requests and in
//! connections. It opens connections as it needs them, keeps them alive, and never repeats a request.

mod answer;
mod connection;
pub(crate) mod expect;
pub(crate) mod failure;
pub(crate) mod pace;
pub(crate) mod request;
pub(crate) mod tally;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::poller::{Interest, Poller, Ready};
use connection::{Connection, Step};
use expect::Expected;
use failure::Failure;
use pace::{Next, Pace};
use tally::{Request, Tally};

const READ_BYTES: usize = 256 * 1024;

/// One run against one peer.
pub(crate) struct Plan<'a> {
    pub(crate) target: SocketAddr,
    pub(crate) request: &'a [u8],
    pub(crate) expected: Expected,
    pub(crate) pace: Pace,
    /// Requests due before this moment are sent and checked, but not timed. Part of the pace's duration.
    pub(crate) warm_up: Duration,
    pub(crate) connections_max: usize,
    /// From when a request is sent to its last byte.
    pub(crate) timeout: Duration,
    /// Width of a slot of the timeline, if there is to be one.
    pub(crate) slot: Option<Duration>,
}

/// The edges of the time that counts, told as they pass so that others measure the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    Start,
    End,
}

pub(crate) fn run(plan: &Plan<'_>, edge: &mut dyn FnMut(Edge)) -> anyhow::Result<Tally> {
    Generator::new(plan)?.run(edge)
}

struct Generator<'a> {
    plan: &'a Plan<'a>,
    start: Instant,
    poller: Poller,
    /// Indexed by token. A connection that is over leaves its place to the next one.
    connections: Vec<Option<Connection>>,
    places: Vec<usize>,
    idle: Vec<usize>,
    /// Due, but not yet sent for want of a connection.
    waiting: VecDeque<Duration>,
    /// When to give up on which request; in order, for all have the same timeout.
    deadlines: VecDeque<(Duration, usize, u64)>,
    /// The number of the request a connection carries or carried last.
    serials: Vec<u64>,
    scheduled: u64,
    busy: usize,
    tally: Tally,
}

impl<'a> Generator<'a> {
    fn new(plan: &'a Plan<'a>) -> anyhow::Result<Self> {
        Ok(Self {
            plan,
            start: Instant::now(),
            poller: Poller::new()?,
            connections: Vec::new(),
            places: Vec::new(),
            idle: Vec::new(),
            waiting: VecDeque::new(),
            deadlines: VecDeque::new(),
            serials: Vec::new(),
            scheduled: 0,
            busy: 0,
            tally: Tally::new(plan.slot),
        })
    }

    fn run(mut self, edge: &mut dyn FnMut(Edge)) -> anyhow::Result<Tally> {
        let mut ready = Vec::new();
        let mut scratch = vec![0; READ_BYTES];
        let mut edges =
            [(self.plan.warm_up, Edge::Start), (self.plan.pace.duration, Edge::End)].into_iter().peekable();
        loop {
            let now = self.start.elapsed();
            while let Some((_, passed)) = edges.next_if(|(at, _)| *at <= now) {
                edge(passed);
            }
            let next = self.send_due();
            self.give_up_late();
            if next == Next::Done && self.busy == 0 && (edges.peek().is_none() || self.all_sent()) {
                break;
            }
            let wait = self.wait_until(next, edges.peek().map(|(at, _)| *at));
            self.poller.wait(wait, &mut ready).context("waiting for sockets")?;
            for event in &ready {
                self.on_ready(*event, &mut scratch);
            }
        }
        edges.for_each(|(_, left)| edge(left));
        self.tally.window =
            self.plan.pace.duration.min(self.start.elapsed()).saturating_sub(self.plan.warm_up);
        Ok(self.tally)
    }

    fn all_sent(&self) -> bool {
        self.scheduled >= self.plan.pace.requests_max
    }

    /// Sends what is due by now, as far as there are connections.
    fn send_due(&mut self) -> Next {
        loop {
            let now = self.start.elapsed();
            let closed = matches!(self.plan.pace.arrivals, pace::Arrivals::Closed);
            if closed && !self.has_room() {
                let end = self.plan.pace.duration;
                return if now < end { Next::At(end) } else { Next::Done };
            }
            match self.plan.pace.next(now, self.scheduled) {
                Next::Due(scheduled) => {
                    self.scheduled += 1;
                    self.waiting.push_back(scheduled);
                    self.send_waiting();
                }
                Next::At(at) => {
                    self.send_waiting();
                    return Next::At(at);
                }
                Next::Done => {
                    self.send_waiting();
                    self.drop_unsent(now);
                    return Next::Done;
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        !self.idle.is_empty() || self.busy < self.plan.connections_max
    }

    fn send_waiting(&mut self) {
        while self.has_room() {
            let Some(scheduled) = self.waiting.pop_front() else { return };
            let index = match self.idle.pop() {
                Some(index) => index,
                None => match self.open() {
                    Ok(index) => index,
                    Err(error) => {
                        let error = error.to_string();
                        self.tally.fail(scheduled, Failure::Connect { error });
                        continue;
                    }
                },
            };
            let now = self.start.elapsed();
            self.busy += 1;
            self.serials[index] += 1;
            self.deadlines.push_back((now + self.plan.timeout, index, self.serials[index]));
            let Some(connection) = self.connections[index].as_mut() else { continue };
            let step = connection.send(self.plan.request, self.plan.expected, scheduled, now);
            self.follow(index, step);
        }
    }

    /// What still waits when the run is over by more than a timeout will not be sent any more.
    fn drop_unsent(&mut self, now: Duration) {
        if now > self.plan.pace.duration + self.plan.timeout {
            for scheduled in std::mem::take(&mut self.waiting) {
                self.tally.fail(scheduled, Failure::NotSent);
            }
        }
    }

    fn open(&mut self) -> anyhow::Result<usize> {
        let connection = Connection::open(self.plan.target)?;
        let index = self.places.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.serials.push(0);
            self.connections.len() - 1
        });
        self.poller.add(&connection.socket, index as u64, Interest::Read)?;
        self.connections[index] = Some(connection);
        Ok(index)
    }

    fn on_ready(&mut self, event: Ready, scratch: &mut [u8]) {
        let index = event.token as usize;
        let now = self.start.elapsed();
        if event.writable {
            let Some(connection) = self.connections[index].as_mut() else { return };
            let step = match self.poller.change(&connection.socket, event.token, Interest::Read) {
                Ok(()) => connection.on_writable(self.plan.request, now),
                Err(_) => connection.give_up(now),
            };
            self.follow(index, step);
        }
        if event.readable {
            let Some(connection) = self.connections[index].as_mut() else { return };
            let step = connection.on_readable(now, scratch);
            self.follow(index, step);
        }
    }

    fn follow(&mut self, index: usize, step: Step) {
        match step {
            Step::Reading => {}
            Step::Writing => {
                let Some(connection) = self.connections[index].as_mut() else { return };
                if self.poller.change(&connection.socket, index as u64, Interest::ReadWrite).is_err() {
                    let step = connection.give_up(self.start.elapsed());
                    self.follow(index, step);
                }
            }
            Step::Over { request, reusable } => {
                self.busy -= 1;
                self.count(request);
                if reusable { self.idle.push(index) } else { self.close(index) }
            }
            Step::Gone => {
                self.idle.retain(|&idle| idle != index);
                self.close(index);
            }
        }
    }

    fn count(&mut self, request: Request) {
        if request.scheduled >= self.plan.warm_up {
            self.tally.count(request);
        } else if let Err(failure) = request.verdict {
            self.tally.fail(request.scheduled, failure);
        }
    }

    fn close(&mut self, index: usize) {
        self.connections[index] = None;
        self.places.push(index);
    }

    fn give_up_late(&mut self) {
        let now = self.start.elapsed();
        while let Some(&(deadline, index, serial)) = self.deadlines.front() {
            if deadline > now {
                return;
            }
            self.deadlines.pop_front();
            if self.serials[index] != serial {
                continue;
            }
            let Some(connection) = self.connections[index].as_mut() else { continue };
            match connection.give_up(now) {
                // It was answered in time and is idle since.
                Step::Gone => {}
                late => self.follow(index, late),
            }
        }
    }

    fn wait_until(&self, next: Next, edge: Option<Duration>) -> Option<Duration> {
        let next = match next {
            Next::At(at) => Some(at),
            Next::Due(_) | Next::Done => None,
        };
        let deadline = self.deadlines.front().map(|(deadline, ..)| *deadline);
        let first = [next, edge, deadline].into_iter().flatten().min()?;
        Some(first.saturating_sub(self.start.elapsed()))
    }
}

#[cfg(test)]
mod tests;
