//! The words of a hook: which hooks there are, what a call says, what a verdict may answer.
//!
//! Everything here is plain vocabulary. How a call travels to a plugin is `plugin`'s secret, in which
//! order hooks run is `chain`'s, and what a verdict does to a request is `relay`'s.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Every hook of the protocol. The manifest, the wire, the metrics and the docs take their names from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HookName {
    OnRequest,
    OnResponse,
    OnStreamEvent,
    OnError,
    OnComplete,
    OnInstall,
    OnActivate,
    OnDeactivate,
    OnUninstall,
    OnConfigChange,
}

impl HookName {
    pub const ALL: [Self; 10] = [
        Self::OnRequest,
        Self::OnResponse,
        Self::OnStreamEvent,
        Self::OnError,
        Self::OnComplete,
        Self::OnInstall,
        Self::OnActivate,
        Self::OnDeactivate,
        Self::OnUninstall,
        Self::OnConfigChange,
    ];

    /// The hooks this version of the gateway calls. A manifest may name the others; they are not yet called.
    pub const CALLED: [Self; 2] = [Self::OnRequest, Self::OnError];

    /// The name in a manifest and in a call's meta.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnRequest => "onRequest",
            Self::OnResponse => "onResponse",
            Self::OnStreamEvent => "onStreamEvent",
            Self::OnError => "onError",
            Self::OnComplete => "onComplete",
            Self::OnInstall => "onInstall",
            Self::OnActivate => "onActivate",
            Self::OnDeactivate => "onDeactivate",
            Self::OnUninstall => "onUninstall",
            Self::OnConfigChange => "onConfigChange",
        }
    }

    /// The `code` of a CALL frame: 1 for `onRequest`, counting up in the order of [`HookName::ALL`].
    pub const fn number(self) -> u16 {
        self as u16 + 1
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.as_str() == name)
    }

    /// What a failed call means unless the manifest says otherwise: policy hooks fail closed, observers open.
    pub const fn default_policy(self) -> Policy {
        match self {
            Self::OnRequest | Self::OnResponse | Self::OnStreamEvent => Policy::Closed,
            Self::OnError
            | Self::OnComplete
            | Self::OnInstall
            | Self::OnActivate
            | Self::OnDeactivate
            | Self::OnUninstall
            | Self::OnConfigChange => Policy::Open,
        }
    }
}

impl fmt::Display for HookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The endpoints hooks can apply to. Everything else under `/v1` passes through untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Endpoint {
    #[serde(rename = "chat.completions")]
    ChatCompletions,
    #[serde(rename = "completions")]
    Completions,
    #[serde(rename = "embeddings")]
    Embeddings,
    #[serde(rename = "responses")]
    Responses,
    #[serde(rename = "messages")]
    Messages,
}

impl Endpoint {
    pub const ALL: [Self; 5] =
        [Self::ChatCompletions, Self::Completions, Self::Embeddings, Self::Responses, Self::Messages];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat.completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Responses => "responses",
            Self::Messages => "messages",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.as_str() == name)
    }
}

/// What the gateway does with a request when a hook call gave no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Go on with the body as it was before this plugin.
    Open,
    /// Answer the client with an error that names the plugin and the cause.
    Closed,
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
    /// The sandbox ended the process.
    Sandbox,
}

impl Cause {
    pub const ALL: [Self; 10] = [
        Self::Timeout,
        Self::Unavailable,
        Self::Overloaded,
        Self::Broken,
        Self::Error,
        Self::Malformed,
        Self::Protocol,
        Self::TooLarge,
        Self::Oversize,
        Self::Sandbox,
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
            Self::Sandbox => "sandbox",
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

/// What a plugin decided.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    pub action: Action,
    pub headers: HeaderChanges,
    pub route: Option<RouteChange>,
    pub metadata: Map<String, Value>,
}

/// The one thing a verdict does to the request.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Action {
    #[default]
    Continue,
    /// RFC 7396.
    MergePatch(Value),
    /// RFC 6902.
    JsonPatch(json_patch::Patch),
    Replace(Bytes),
    /// An answer from the plugin in the upstream's place.
    Respond {
        status: StatusCode,
        body: Bytes,
    },
    /// An error in OpenAI's form.
    Reject {
        status: StatusCode,
        error: ApiError,
    },
    /// `onError` only: the same upstream again after `delay`, with the patch applied.
    Retry {
        delay: Duration,
        patch: Option<Value>,
    },
    /// `onError` only: go on with the verdict's `route`.
    Fallback,
}

/// OpenAI's error object, as a plugin writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    pub message: String,
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
}

/// Header changes. On a verdict that lets the request go on they touch the upstream request, else the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    pub set: Vec<(HeaderName, HeaderValue)>,
    pub remove: Vec<HeaderName>,
}

impl HeaderChanges {
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}

/// Where a verdict wants the request to go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteChange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
}

/// A call that ended without a verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", cause.as_str())]
pub struct HookFailure {
    pub cause: Cause,
    /// For the operator. Never sent to a client.
    pub detail: String,
}

impl HookFailure {
    pub fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into() }
    }
}

/// Something that can be asked for a verdict: a plugin's link, or a fake in a test.
pub trait Hook: Send + Sync + 'static {
    /// Always ends: with a verdict, or with the reason why there is none, at the latest when
    /// `call.budget` is spent. Dropping the future cancels the call.
    fn call(&self, call: Call<'_>) -> impl Future<Output = Result<Verdict, HookFailure>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_of_hooks_round_trip() {
        for (index, hook) in HookName::ALL.into_iter().enumerate() {
            assert_eq!(HookName::parse(hook.as_str()), Some(hook));
            assert_eq!(usize::from(hook.number()), index + 1);
        }
        assert_eq!(HookName::parse("beforeRequest"), None);
    }

    #[test]
    fn a_policy_for_one_cause_leaves_the_others_at_the_default() {
        let on_failure = OnFailure::always(Policy::Closed).with(Cause::Timeout, Policy::Open);
        for cause in Cause::ALL {
            let expected = if cause == Cause::Timeout { Policy::Open } else { Policy::Closed };
            assert_eq!(on_failure.policy(cause), expected);
            assert_eq!(Cause::parse(cause.as_str()), Some(cause));
        }
    }

    #[test]
    fn a_call_says_only_what_there_is_to_say() {
        let metadata = Map::new();
        let call = Call {
            hook: HookName::OnRequest,
            request_id: "r1",
            generation: 3,
            endpoint: Endpoint::ChatCompletions,
            method: "POST",
            path: "/v1/chat/completions",
            model: Some("gpt-4o"),
            stream: false,
            key_id: None,
            headers: &[("x-team", "red".into())],
            pointers: &[],
            metadata: &metadata,
            body_bytes: 12,
            failure: None,
            body: None,
            budget: Duration::from_millis(250),
            cut_short: false,
        };
        assert_eq!(
            serde_json::to_string(&call).expect("a call is plain data"),
            r#"{"hook":"onRequest","requestId":"r1","generation":3,"endpoint":"chat.completions","method":"POST","path":"/v1/chat/completions","model":"gpt-4o","stream":false,"headers":{"x-team":"red"},"bodyBytes":12,"budgetMs":250}"#
        );
    }
}
