//! Who may see what the hooks did to a request: a client on this machine that sends the admin token.
//!
//! The token never counts from another machine, so it has no reason to travel over a network in clear text. A wrong
//! token is logged, and after [`limits::TRACE_TRIES`] of them no token is compared until
//! [`limits::TRACE_TRIES_WINDOW`] is over. So an answer does not tell whether a guess was right.

use std::net::SocketAddr;
use std::time::Instant;

use http::HeaderMap;
use parking_lot::Mutex;

use super::client::TRACE;
use crate::limits;
use crate::token::Token;

pub(super) struct TraceAccess {
    token: Token,
    /// Wrong tokens of clients on this machine.
    wrong: Mutex<Tries>,
    /// Tokens from other machines, which are not compared. Counted so that only some are logged.
    foreign: Mutex<Tries>,
}

impl TraceAccess {
    pub(super) fn new(token: Token) -> Self {
        Self { token, wrong: Mutex::default(), foreign: Mutex::default() }
    }

    /// Whether the trace of this request may be shown to the client that sent it.
    pub(super) fn allows(&self, headers: &HeaderMap, peer: Option<SocketAddr>, now: Instant) -> bool {
        let Some(given) = headers.get(TRACE) else { return false };
        let is_here = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
        let tries = if is_here { &self.wrong } else { &self.foreign };
        let mut tries = tries.lock();
        if !tries.may_try(now) {
            return false;
        }
        if is_here && self.token.matches(given.as_bytes()) {
            return true;
        }
        let left = tries.failed(now);
        drop(tries);
        log_refused(peer, is_here, left);
        false
    }
}

fn log_refused(peer: Option<SocketAddr>, is_here: bool, tries_left: u32) {
    let client = peer.map(|peer| peer.to_string()).unwrap_or_default();
    let reason = if is_here {
        "x-hookway-trace is not the admin token"
    } else {
        "x-hookway-trace counts only from this machine"
    };
    let closed_for_s = (tries_left == 0).then_some(limits::TRACE_TRIES_WINDOW.as_secs());
    tracing::warn!(client, reason, tries_left, closed_for_s, "trace.refused");
}

/// Failures within one window.
#[derive(Debug, Default)]
struct Tries {
    since: Option<Instant>,
    failed: u32,
}

impl Tries {
    fn may_try(&mut self, now: Instant) -> bool {
        if self.since.is_some_and(|since| now.saturating_duration_since(since) >= limits::TRACE_TRIES_WINDOW)
        {
            *self = Self::default();
        }
        self.failed < limits::TRACE_TRIES
    }

    /// Counts a failure; tells how many more may follow in this window.
    fn failed(&mut self, now: Instant) -> u32 {
        self.since.get_or_insert(now);
        self.failed += 1;
        limits::TRACE_TRIES.saturating_sub(self.failed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn access() -> TraceAccess {
        TraceAccess::new(Token::of_test(TOKEN))
    }

    fn with(token: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(TRACE, HeaderValue::from_static(token))])
    }

    fn peer(address: &str) -> Option<SocketAddr> {
        Some(SocketAddr::new(address.parse().unwrap(), 4711))
    }

    #[test]
    fn only_the_token_of_a_client_on_this_machine_shows_a_trace() {
        let (access, now) = (access(), Instant::now());
        for here in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert!(access.allows(&with(TOKEN), peer(here), now), "{here}");
        }
        assert!(!access.allows(&with("another"), peer("127.0.0.1"), now));
        assert!(!access.allows(&HeaderMap::new(), peer("127.0.0.1"), now));
        for elsewhere in ["10.0.0.7", "172.17.0.1", "2001:db8::1", "0.0.0.0"] {
            assert!(!access.allows(&with(TOKEN), peer(elsewhere), now), "{elsewhere}");
        }
        assert!(!access.allows(&with(TOKEN), None, now));
    }

    #[test]
    fn after_some_wrong_tokens_even_the_right_one_shows_nothing_until_the_window_is_over() {
        let (access, now) = (access(), Instant::now());
        for _ in 0..limits::TRACE_TRIES {
            assert!(access.allows(&with(TOKEN), peer("127.0.0.1"), now));
            assert!(!access.allows(&with("guess"), peer("127.0.0.1"), now));
        }
        let soon = now + limits::TRACE_TRIES_WINDOW - Duration::from_millis(1);
        assert!(!access.allows(&with(TOKEN), peer("127.0.0.1"), soon));
        let later = now + limits::TRACE_TRIES_WINDOW;
        assert!(access.allows(&with(TOKEN), peer("127.0.0.1"), later));
    }

    #[test]
    fn other_machines_cannot_take_the_tries_of_this_one() {
        let (access, now) = (access(), Instant::now());
        for _ in 0..10 * limits::TRACE_TRIES {
            assert!(!access.allows(&with("guess"), peer("10.0.0.7"), now));
        }
        assert!(access.allows(&with(TOKEN), peer("127.0.0.1"), now));
    }
}
