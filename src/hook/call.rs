//! What a plugin is told.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Endpoint, HookName};

/// Tells one client from another by its network, which a client cannot choose as it can a key. Behind a proxy all
/// clients are one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientId(pub u64);

/// What a plugin is told. Borrowed from the request: building one copies no header, body or metadata.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Call<'a> {
    pub hook: HookName,
    pub request_id: &'a str,
    /// The generation that runs this request.
    pub generation: u64,
    pub endpoint: Endpoint,
    pub method: &'a str,
    pub path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<&'a str>,
    pub stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<&'a str>,
    #[serde(serialize_with = "pairs_as_map", skip_serializing_if = "<[_]>::is_empty")]
    pub headers: &'a [(&'a str, Cow<'a, str>)],
    #[serde(serialize_with = "pairs_as_map", skip_serializing_if = "<[_]>::is_empty")]
    pub pointers: &'a [(&'a str, &'a RawValue)],
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: &'a Map<String, Value>,
    /// Size of the request body, whether or not the plugin sees it.
    pub body_bytes: usize,
    /// Only in `onError`.
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub failure: Option<&'a UpstreamFailure>,
    /// The body, if the hook declared `full`. It travels raw behind the meta.
    #[serde(skip)]
    pub body: Option<Bytes>,
    /// How long the plugin has, from now. The gateway's own timer is what counts.
    #[serde(rename = "budgetMs", serialize_with = "as_millis")]
    pub budget: Duration,
    /// `budget` is less than the hook's own timeout: the hooks before it spent the chain's.
    #[serde(skip)]
    pub cut_short: bool,
    /// Whose request it is. Not told to the plugin.
    #[serde(skip)]
    pub client: ClientId,
}

fn pairs_as_map<S, K, V>(pairs: &[(K, V)], serializer: S) -> Result<S::Ok, S::Error>
where
    S: serde::Serializer,
    K: Serialize,
    V: Serialize,
{
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}

fn as_millis<S: serde::Serializer>(budget: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(budget.as_millis()).unwrap_or(u64::MAX))
}

/// Where in its life an upstream attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Connect,
    Send,
    FirstByte,
    Body,
}

/// Why an upstream attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamCause {
    Connect,
    Tls,
    Timeout,
    /// Status 429.
    #[serde(rename = "429")]
    RateLimited,
    /// Status 500 to 599.
    #[serde(rename = "5xx")]
    ServerError,
    /// The connection ended before the answer did.
    Cut,
    /// The upstream's breaker is open: it was not asked.
    BreakerOpen,
}

impl UpstreamCause {
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::RateLimited,
        Self::ServerError,
        Self::Cut,
        Self::BreakerOpen,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::RateLimited => "429",
            Self::ServerError => "5xx",
            Self::Cut => "cut",
            Self::BreakerOpen => "breaker_open",
        }
    }
}

/// A failed upstream attempt, as `onError` sees it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamFailure {
    pub cause: UpstreamCause,
    pub phase: Phase,
    pub upstream: String,
    /// Counts from 1 over the whole request.
    pub attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Since the request came in.
    pub elapsed_ms: u64,
    /// Bytes of an answer the client already has. Above 0 only `continue` and `abort` are possible.
    pub bytes_sent: u64,
    /// Whether the route's retry rule makes another attempt if every plugin says `continue`.
    pub will_retry: bool,
    /// The operator's words for what went wrong.
    pub message: String,
    /// The upstream's own error body, up to `limits::ERROR_BODY_BYTES_MAX`, when it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_body: Option<Box<RawValue>>,
}
