//! One connection of the load generator: at most one request on it, sent whole, its answer read to the end.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::answer::{Finished, Intake};
use super::expect::Expected;
use super::failure::Failure;
use super::tally::Request;

/// Both ends are on this machine: a connection that takes longer is refused in all but name.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) struct Connection {
    pub(crate) socket: TcpStream,
    exchange: Option<Exchange>,
}

/// A request under way. Moments count from the start of the run.
struct Exchange {
    scheduled: Duration,
    sent: Duration,
    first_byte: Option<Duration>,
    written: usize,
    /// The request is not out whole, so no other one can follow it.
    broken: bool,
    answer: Intake,
}

/// What a step on a connection led to.
pub(crate) enum Step {
    Reading,
    /// The request is not out yet: the socket's buffer is full.
    Writing,
    /// The request is over; says if the connection can carry another one.
    Over {
        request: Request,
        reusable: bool,
    },
    /// The peer closed it while it was idle.
    Gone,
}

impl Connection {
    pub(crate) fn open(target: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&target, CONNECT_TIMEOUT)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, exchange: None })
    }

    pub(crate) fn send(
        &mut self,
        request: &[u8],
        expected: Expected,
        scheduled: Duration,
        now: Duration,
    ) -> Step {
        let answer = Intake::new(expected);
        self.exchange =
            Some(Exchange { scheduled, sent: now, first_byte: None, written: 0, broken: true, answer });
        self.on_writable(request, now)
    }

    pub(crate) fn on_writable(&mut self, request: &[u8], now: Duration) -> Step {
        let Some(exchange) = &mut self.exchange else { return Step::Reading };
        while exchange.written < request.len() {
            match self.socket.write(&request[exchange.written..]) {
                Ok(bytes) => exchange.written += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Writing,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // An early answer may wait behind the failed write; reading it tells what happened.
                Err(_) => {
                    exchange.broken = true;
                    return self.on_readable(now, &mut [0; 16 * 1024]);
                }
            }
        }
        exchange.broken = false;
        Step::Reading
    }

    pub(crate) fn on_readable(&mut self, now: Duration, scratch: &mut [u8]) -> Step {
        let bytes = match self.socket.read(scratch) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Step::Reading;
            }
            Err(_) => 0,
        };
        let Some(exchange) = &mut self.exchange else { return Step::Gone };
        if bytes == 0 {
            let finished = exchange.answer.end();
            return self.over(finished, now);
        }
        let finished = exchange.answer.feed(&scratch[..bytes]);
        if exchange.first_byte.is_none() && exchange.answer.has_body() {
            exchange.first_byte = Some(now);
        }
        match finished {
            Some(finished) => self.over(finished, now),
            None => Step::Reading,
        }
    }

    /// Its time is over. The connection is of no more use.
    pub(crate) fn give_up(&mut self, now: Duration) -> Step {
        let Some(exchange) = &mut self.exchange else { return Step::Gone };
        let failure = Failure::Timeout { after: exchange.answer.progress() };
        let finished = exchange.answer.finish(Err(failure), false);
        self.over(finished, now)
    }

    fn over(&mut self, finished: Finished, now: Duration) -> Step {
        let Some(exchange) = self.exchange.take() else { return Step::Gone };
        let Exchange { scheduled, sent, first_byte, broken, .. } = exchange;
        let Finished { verdict, events, reusable } = finished;
        Step::Over {
            request: Request { scheduled, sent, first_byte, ended: now, events, verdict },
            reusable: reusable && !broken,
        }
    }
}
