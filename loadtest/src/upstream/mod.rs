//! The scripted upstream: answers every request as a script says, at a few microseconds of CPU each.
//!
//! One thread, one epoll, answers rendered before the first request. What it does comes from the command line,
//! or per request from an `x-script` header; see [`script`] for the words. Listens on 127.0.0.1 only.

pub(crate) mod answer;
mod connection;
mod request;
pub(crate) mod script;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::Write;
use std::net::TcpListener;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::poller::{Interest, Poller, Ready};
use answer::Answer;
use connection::{Connection, Wants};
use request::Head;
use script::{Down, Script};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to do with a request that brings no `x-script` header.
    #[arg(long, default_value = "")]
    script: Script,
    /// 0 takes a free one; the address is printed either way.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

const LISTENER: u64 = u64::MAX;
const READ_BYTES: usize = 256 * 1024;
/// Scripts kept rendered. A request with one more is answered 400, so that a typo in a loop stays small.
const SCRIPTS_MAX: usize = 256;

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", arguments.port)).context("binding the upstream")?;
    println!("listening on {}", listener.local_addr()?);
    std::io::stdout().flush()?;
    Server::new(listener, arguments.script)?.serve()
}

struct Server {
    listener: TcpListener,
    poller: Poller,
    /// Indexed by the token of the connection; `free` holds the empty places.
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// When a connection's next piece is due. An entry may be stale: the connection knows better.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    answers: Answers,
}

impl Server {
    fn new(listener: TcpListener, script: Script) -> anyhow::Result<Self> {
        listener.set_nonblocking(true)?;
        let poller = Poller::new()?;
        poller.add(&listener, LISTENER, Interest::Read)?;
        let answers = Answers::new(&script);
        Ok(Self {
            listener,
            poller,
            connections: Vec::new(),
            free: Vec::new(),
            due: BinaryHeap::new(),
            answers,
        })
    }

    fn serve(mut self) -> anyhow::Result<()> {
        let mut ready: Vec<Ready> = Vec::new();
        let mut scratch = vec![0; READ_BYTES];
        loop {
            let wait = self.due.peek().map(|Reverse((due, _))| due.saturating_duration_since(Instant::now()));
            self.poller.wait(wait, &mut ready).context("waiting for sockets")?;
            let now = Instant::now();
            for event in &ready {
                if event.token == LISTENER {
                    self.accept()?;
                } else {
                    self.on_ready(*event, now, &mut scratch);
                }
            }
            self.write_due(now);
        }
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        while let Ok((socket, _)) = self.listener.accept() {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let index = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            self.poller.add(&socket, index as u64, Interest::Read)?;
            self.connections[index] = Some(Connection::new(socket));
        }
        Ok(())
    }

    fn on_ready(&mut self, event: Ready, now: Instant, scratch: &mut [u8]) {
        let index = event.token as usize;
        let Some(connection) = self.connections[index].as_mut() else { return };
        let mut choose = |head: &Head| self.answers.choose(head, now);
        let mut wants = Wants::Read;
        if event.writable {
            let back_to_read = self.poller.change(&connection.socket, event.token, Interest::Read);
            wants = back_to_read.map_or(Wants::Close, |()| connection.on_due(now, &mut choose));
        }
        if event.readable && !matches!(wants, Wants::Close | Wants::Reset) {
            wants = connection.on_readable(now, scratch, &mut choose);
        }
        self.follow(index, wants);
    }

    fn write_due(&mut self, now: Instant) {
        while self.due.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            let Some(Reverse((_, index))) = self.due.pop() else { return };
            let Some(connection) = self.connections[index].as_mut() else { continue };
            let wants = connection.on_due(now, &mut |head| self.answers.choose(head, now));
            self.follow(index, wants);
        }
    }

    fn follow(&mut self, index: usize, wants: Wants) {
        let Some(connection) = self.connections[index].as_ref() else { return };
        match wants {
            Wants::Read => {}
            Wants::Until(due) => self.due.push(Reverse((due, index))),
            Wants::Write => {
                if self.poller.change(&connection.socket, index as u64, Interest::ReadWrite).is_err() {
                    self.close(index);
                }
            }
            Wants::Close => self.close(index),
            Wants::Reset => {
                // With no time to linger the kernel answers with RST instead of FIN.
                let linger = Some(Duration::ZERO);
                if let Err(error) = rustix::net::sockopt::set_socket_linger(&connection.socket, linger) {
                    eprintln!("upstream: a connection could not be reset: {error}");
                }
                self.close(index);
            }
        }
    }

    fn close(&mut self, index: usize) {
        self.connections[index] = None;
        self.free.push(index);
    }
}

/// Every answer that was asked for so far, rendered.
struct Answers {
    start: Instant,
    default: Rendered,
    by_script: HashMap<String, Rendered>,
    bad_request: Rc<Answer>,
}

#[derive(Clone)]
struct Rendered {
    script: Script,
    up: Rc<Answer>,
    down: Rc<Answer>,
}

impl Rendered {
    fn new(script: &Script) -> Self {
        let down = match script.flap.map(|flap| flap.as_what) {
            Some(Down::Status(status)) => Answer::refusal(status),
            Some(Down::Reset) | None => Answer::reset(),
        };
        Self { script: script.clone(), up: Rc::new(Answer::render(script)), down: Rc::new(down) }
    }

    fn at(&self, since_start: Duration) -> Rc<Answer> {
        let is_down = self.script.flap.is_some_and(|flap| flap.is_down(since_start));
        Rc::clone(if is_down { &self.down } else { &self.up })
    }
}

impl Answers {
    fn new(script: &Script) -> Self {
        let bad_request = Rc::new(Answer::refusal(400));
        Self { start: Instant::now(), default: Rendered::new(script), by_script: HashMap::new(), bad_request }
    }

    fn choose(&mut self, head: &Head, now: Instant) -> Rc<Answer> {
        let since_start = now.saturating_duration_since(self.start);
        let Some(text) = &head.script else { return self.default.at(since_start) };
        if let Some(rendered) = self.by_script.get(text) {
            return rendered.at(since_start);
        }
        let Ok(script) = text.parse() else { return Rc::clone(&self.bad_request) };
        if self.by_script.len() == SCRIPTS_MAX {
            return Rc::clone(&self.bad_request);
        }
        let rendered = Rendered::new(&script);
        let answer = rendered.at(since_start);
        self.by_script.insert(text.clone(), rendered);
        answer
    }
}

/// A server on a thread of its own, for as long as the test's process lives.
#[cfg(test)]
pub(crate) fn serve_in_background() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    std::thread::spawn(move || Server::new(listener, Script::default())?.serve());
    address
}
