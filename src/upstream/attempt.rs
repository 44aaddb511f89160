//! How an attempt at an upstream can fail, and what a Pingora error means in those words.

use std::time::Duration;

use pingora_core::{Error, ErrorType};

use crate::fault::{Fault, Kind};
use crate::hook::{Phase, UpstreamCause};

/// An attempt that brought no answer, or not the whole of it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} while {phase:?}: {message}", cause.as_str())]
pub struct AttemptError {
    pub cause: UpstreamCause,
    pub phase: Phase,
    /// For the operator and for `onError`; may name addresses.
    pub message: String,
    /// Set when the breaker refused: how long until an attempt may be made.
    pub retry_after: Option<Duration>,
    /// An HTTP/2 connection ended by an answer that may have been another request's.
    pub(super) broken_by_any: bool,
    /// The gateway lacks what an attempt needs, which says nothing about the upstream.
    pub(super) own_fault: bool,
}

impl AttemptError {
    pub fn new(cause: UpstreamCause, phase: Phase, message: impl Into<String>) -> Self {
        let (broken_by_any, own_fault) = (false, false);
        Self { cause, phase, message: message.into(), retry_after: None, broken_by_any, own_fault }
    }

    /// What the client reads of it. Names no address.
    fn told(&self, upstream: &str) -> String {
        let what = match self.phase {
            Phase::Connect => "could not be reached",
            Phase::Send | Phase::FirstByte => "did not answer",
            Phase::Body => "broke its answer off",
        };
        format!("The upstream '{upstream}' {what} ({}).", self.cause.as_str())
    }

    /// The fault a client is told when no answer of `upstream` was begun.
    pub fn into_fault(self, upstream: &str) -> Fault {
        let mut fault = Fault::new(Kind::Upstream(self.cause), self.told(upstream)).detail(self.to_string());
        fault.retry_after = self.retry_after;
        fault
    }

    /// The fault that ends an answer which was.
    pub fn broke_off(&self) -> Fault {
        Fault::new(Kind::Upstream(self.cause), "The upstream's answer broke off.").detail(self.to_string())
    }

    pub(super) fn breaker_open(wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..Self::new(
                UpstreamCause::BreakerOpen,
                Phase::Connect,
                "its breaker is open after repeated failures",
            )
        }
    }

    pub(super) fn from_pingora(error: &Error, phase: Phase) -> Self {
        Self {
            broken_by_any: *error.etype() == ErrorType::InvalidH2,
            own_fault: *error.etype() == ErrorType::InternalError,
            ..Self::new(classify(error.etype(), phase), phase, error.to_string())
        }
    }
}

fn classify(kind: &ErrorType, phase: Phase) -> UpstreamCause {
    match kind {
        ErrorType::ConnectTimedout
        | ErrorType::ReadTimedout
        | ErrorType::WriteTimedout
        | ErrorType::TLSHandshakeTimedout => UpstreamCause::Timeout,
        ErrorType::TLSWantX509Lookup | ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert => {
            UpstreamCause::Tls
        }
        _ if phase == Phase::Connect => UpstreamCause::Connect,
        _ => UpstreamCause::Cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phase_decides_between_a_failed_connect_and_a_cut() {
        let cases = [
            (ErrorType::ConnectRefused, Phase::Connect, UpstreamCause::Connect),
            (ErrorType::ConnectTimedout, Phase::Connect, UpstreamCause::Timeout),
            (ErrorType::InvalidCert, Phase::Connect, UpstreamCause::Tls),
            (ErrorType::ConnectionClosed, Phase::FirstByte, UpstreamCause::Cut),
            (ErrorType::ReadTimedout, Phase::Body, UpstreamCause::Timeout),
            (ErrorType::H2Error, Phase::Body, UpstreamCause::Cut),
        ];
        for (kind, phase, expected) in cases {
            assert_eq!(classify(&kind, phase), expected, "{kind:?} while {phase:?}");
        }
    }
}
