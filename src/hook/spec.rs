//! What a manifest declares of a hook: what it sees, may change, applies to, and what its failure means.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::{Endpoint, HookName};

/// What the gateway does with a request when a hook call gave no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Go on with the body as it was before this plugin.
    Open,
    /// Answer the client with an error that names the plugin and the cause.
    Closed,
}

impl Policy {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// Why a hook call gave no verdict. The words are those of the `x-hookway-cause` header and the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// No answer before the deadline.
    Timeout,
    /// No process to ask: starting, restarting, or it died during the call.
    Unavailable,
    /// Too many calls in flight, or the socket stayed full.
    Overloaded,
    /// The supervisor gave up on it, or its breaker is open.
    Broken,
    /// The plugin answered with an error of its own.
    Error,
    /// A verdict that does not apply: a bad patch, a field outside `mutates`, an unknown action.
    Malformed,
    /// Bytes that are no frame of the protocol.
    Protocol,
    /// The verdict is larger than the gateway takes.
    TooLarge,
    /// The body is larger than the plugin takes.
    Oversize,
}

impl Cause {
    pub const ALL: [Self; 9] = [
        Self::Timeout,
        Self::Unavailable,
        Self::Overloaded,
        Self::Broken,
        Self::Error,
        Self::Malformed,
        Self::Protocol,
        Self::TooLarge,
        Self::Oversize,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Overloaded => "overloaded",
            Self::Broken => "broken",
            Self::Error => "error",
            Self::Malformed => "malformed",
            Self::Protocol => "protocol",
            Self::TooLarge => "too_large",
            Self::Oversize => "oversize",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == name)
    }
}

/// `onFailure` of a manifest: one policy, or one per cause over a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnFailure {
    default: Policy,
    by_cause: [Option<Policy>; Cause::ALL.len()],
}

impl OnFailure {
    pub const fn always(policy: Policy) -> Self {
        Self { default: policy, by_cause: [None; Cause::ALL.len()] }
    }

    #[must_use]
    pub fn with(mut self, cause: Cause, policy: Policy) -> Self {
        self.by_cause[cause as usize] = Some(policy);
        self
    }

    pub fn policy(&self, cause: Cause) -> Policy {
        self.by_cause[cause as usize].unwrap_or(self.default)
    }
}

/// Which part of the body a hook asked to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyNeed {
    None,
    /// Only the values at these JSON pointers (RFC 6901).
    Pointers(Vec<String>),
    Full,
}

/// Which requests a hook applies to. An empty list or `None` does not narrow.
#[derive(Clone, Debug)]
pub struct When {
    pub endpoints: Vec<Endpoint>,
    pub models: Option<globset::GlobSet>,
    /// A header that must be there, with this value if one is given.
    pub header: Option<(HeaderName, Option<HeaderValue>)>,
    /// The share of requests to call for, from 0 to 1.
    pub sample: f64,
}

impl Default for When {
    fn default() -> Self {
        Self { endpoints: vec![Endpoint::ChatCompletions], models: None, header: None, sample: 1.0 }
    }
}

/// What a hook may change, from the manifest's `mutates`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutates {
    /// JSON pointers of the body at and below which a verdict may change something; `""` is the whole body.
    pub body: Vec<String>,
    pub headers: bool,
    pub route: bool,
}

impl Mutates {
    pub fn anything() -> Self {
        Self { body: vec![String::new()], headers: true, route: true }
    }

    /// A hook that only looks, answers or refuses. Adjacent ones run concurrently.
    pub fn is_nothing(&self) -> bool {
        self.body.is_empty() && !self.headers && !self.route
    }
}

/// One hook as its manifest declared it.
#[derive(Clone, Debug)]
pub struct HookSpec {
    pub name: HookName,
    /// Request headers the plugin gets to see, lower case.
    pub headers: Vec<HeaderName>,
    pub body: BodyNeed,
    pub mutates: Mutates,
    pub when: When,
    pub timeout: Duration,
    pub on_failure: OnFailure,
    /// The largest body the plugin takes; a larger one is `Cause::Oversize`, never cut.
    pub body_bytes_max: usize,
    /// A call may be repeated after bytes of it were delivered.
    pub idempotent: bool,
}
