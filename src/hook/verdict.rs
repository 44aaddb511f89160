//! What a plugin may answer.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
