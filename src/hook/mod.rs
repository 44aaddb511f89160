//! The words of a hook: which hooks there are, what a call says, what a verdict may answer.
//!
//! Everything here is plain vocabulary. How a call travels to a plugin is `plugin`'s secret, in which
//! order hooks run is `chain`'s, and what a verdict does to a request is `relay`'s.

mod call;
mod patch;
mod spec;
mod verdict;

use std::fmt;
use std::future::Future;

use serde::{Deserialize, Serialize};

pub use call::{Call, ClientId, Phase, UpstreamCause, UpstreamFailure};
pub use patch::json_patch;
pub use spec::{BodyNeed, Cause, HookSpec, Mutates, OnFailure, Policy, When};
pub use verdict::{Action, ApiError, HeaderChanges, RouteChange, Verdict};

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

    /// Whether this version does what a manifest asks for by declaring it. `onConfigChange` is no call: its plugin is
    /// sent CONFIGURE.
    pub fn is_used(self) -> bool {
        Self::CALLED.contains(&self) || self == Self::OnConfigChange
    }

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
    use std::time::Duration;

    use serde_json::Map;

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
            client: ClientId::default(),
        };
        assert_eq!(
            serde_json::to_string(&call).expect("a call is plain data"),
            r#"{"hook":"onRequest","requestId":"r1","generation":3,"endpoint":"chat.completions","method":"POST","path":"/v1/chat/completions","model":"gpt-4o","stream":false,"headers":{"x-team":"red"},"bodyBytes":12,"budgetMs":250}"#
        );
    }
}
