//! The JSON of each frame type. Keys that are not known are ignored, keys that are not needed are left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{BODY_PART_BYTES, CREDIT_BYTES, FRAME_BYTES_MAX};

/// HELLO: who the gateway is, what it takes, and what this plugin is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// Versions the gateway speaks.
    pub protocols: Vec<u32>,
    /// Name and version, for the log: `hookway/0.1.0`.
    pub gateway: String,
    /// The plugin's name in the gateway.
    pub plugin: String,
    /// Which of the plugin's processes this is, from 0.
    #[serde(default)]
    pub instance: u32,
    /// The generation it was started for. It may serve later ones too.
    #[serde(default)]
    pub generation: u64,
    /// Bytes behind one header that either side may send.
    #[serde(default = "default_max_frame")]
    pub max_frame: usize,
    /// Calls that may be open at once.
    #[serde(default = "default_max_in_flight")]
    pub max_in_flight: usize,
    /// A verdict with its body that the gateway takes.
    #[serde(default = "default_max_verdict_bytes")]
    pub max_verdict_bytes: usize,
    /// Body bytes per call that are sent before CREDIT is waited for.
    #[serde(default = "default_credit")]
    pub credit: usize,
    #[serde(default)]
    pub config: Map<String, Value>,
    /// Hooks the manifest declares and the gateway calls.
    pub hooks: Vec<String>,
}

fn default_max_frame() -> usize {
    FRAME_BYTES_MAX
}

fn default_max_in_flight() -> usize {
    1
}

fn default_max_verdict_bytes() -> usize {
    BODY_PART_BYTES
}

fn default_credit() -> usize {
    CREDIT_BYTES
}

/// READY: the plugin took HELLO's offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    pub protocol: u32,
    /// What the plugin calls itself, for the log.
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub version: String,
    /// Hooks it serves: exactly those of HELLO, in any order.
    pub hooks: Vec<String>,
    /// Calls it works on at once, if fewer than HELLO's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<usize>,
}

/// CALL: a hook of a request, or of its failed upstream attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallMeta {
    pub hook: String,
    #[serde(default)]
    pub request_id: String,
    /// The generation that runs the request.
    #[serde(default)]
    pub generation: u64,
    #[serde(default)]
    pub endpoint: String,
    #[serde(default)]
    pub method: String,
    #[serde(default)]
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default)]
    pub stream: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The headers the manifest declared and the request has, names in lower case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The body's values at the JSON pointers the manifest declared.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub pointers: Map<String, Value>,
    /// What earlier plugins noted on this request.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// Size of the request body, whether or not it follows.
    #[serde(default)]
    pub body_bytes: u64,
    /// Why the attempt failed. This field and those below are of `onError` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// How far the attempt had come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Counts from 1 over the whole request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Since the request came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
    /// Bytes of an answer the client already has; above 0 nothing can be changed any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_sent: Option<u64>,
    /// Whether the gateway tries again by itself if every plugin says `continue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub will_retry: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The upstream's own error, when it was JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_body: Option<Value>,
    /// How long the plugin has, from now. The gateway's timer is what counts.
    #[serde(default)]
    pub budget_ms: u64,
}

/// The `action` of a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerdictAction {
    #[default]
    Continue,
    /// With `patch` or `jsonPatch`; or with neither, and the patch as the raw body: an object is a merge patch
    /// (RFC 7396), an array a JSON patch (RFC 6902). So a patch can be larger than a frame.
    Patch,
    /// The raw body is the new request body.
    Replace,
    /// The raw body is the answer, with `status` and `headers`.
    Respond,
    /// With `error` and `status`.
    Reject,
    /// `onError` only: the same upstream again, after `delayMs`, with `patch` applied.
    Retry,
    /// `onError` only: go on with `route`.
    Fallback,
}

/// RESULT: the verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerdictMeta {
    pub action: VerdictAction,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_patch: Option<Value>,
    /// Of `respond` (default 200) and `reject` (default 403).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub headers: Headers,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
}

/// Header changes of a verdict, `remove` before `set`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headers {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

impl Headers {
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}

/// Where a verdict sends the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
}

/// OpenAI's error object, as a `reject` carries it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
}

/// The `code` of an ERROR frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The sender's own failure.
    Error = 1,
    /// The other side broke the protocol.
    Protocol = 2,
    /// Too much to do.
    Overloaded = 3,
    /// No common protocol version.
    Version = 4,
    Cancelled = 5,
    TooLarge = 6,
    /// A hook or a config that is not accepted; after CONFIGURE: start me anew instead.
    Unsupported = 7,
}

impl ErrorCode {
    pub const ALL: [Self; 7] = [
        Self::Error,
        Self::Protocol,
        Self::Overloaded,
        Self::Version,
        Self::Cancelled,
        Self::TooLarge,
        Self::Unsupported,
    ];

    pub const fn number(self) -> u16 {
        self as u16
    }

    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            1..=7 => Some(Self::ALL[number as usize - 1]),
            _ => None,
        }
    }
}

/// ERROR: what went wrong. `code` says in a word what the header's number says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorMeta {
    pub code: ErrorCode,
    #[serde(default)]
    pub message: String,
}

/// CREDIT: body bytes of this call that may be sent on top of what was allowed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditMeta {
    pub bytes: u64,
}

/// CONFIGURE: the whole new config.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigureMeta {
    #[serde(default)]
    pub config: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

/// LOG: a line of the plugin's for the gateway's log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogMeta {
    #[serde(default)]
    pub level: LogLevel,
    pub text: String,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn error_codes_and_numbers_round_trip() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(code));
        }
        assert_eq!(ErrorCode::from_number(0), None);
        assert_eq!(ErrorCode::from_number(8), None);
    }

    #[test]
    fn a_hello_of_another_gateway_needs_only_what_cannot_be_guessed() {
        let hello: Hello = serde_json::from_value(json!({
            "protocols": [1, 2], "gateway": "other/2", "plugin": "redact", "hooks": ["onRequest"], "new": true,
        }))
        .unwrap();
        assert_eq!((hello.max_frame, hello.credit, hello.max_in_flight), (1 << 20, 1 << 20, 1));
    }

    #[test]
    fn a_failed_attempt_reads_flat_from_a_call() {
        let call: CallMeta = serde_json::from_str(
            r#"{"hook":"onError","requestId":"r1","cause":"429","phase":"first_byte","upstream":"openai","attempt":2,
                "status":429,"elapsedMs":12,"bytesSent":0,"willRetry":false,"message":"busy","errorBody":{"error":1.50},
                "budgetMs":250}"#,
        )
        .unwrap();
        assert_eq!(
            (call.cause.as_deref(), call.attempt, call.will_retry),
            (Some("429"), Some(2), Some(false))
        );
        assert_eq!(call.error_body.unwrap().to_string(), r#"{"error":1.50}"#);
    }

    #[test]
    fn a_verdict_says_only_what_it_changes_and_an_unknown_action_is_refused() {
        let verdict = VerdictMeta {
            patch: Some(json!({"model": "small"})),
            action: VerdictAction::Patch,
            ..Default::default()
        };
        let text = r#"{"action":"patch","patch":{"model":"small"}}"#;
        assert_eq!(serde_json::to_string(&verdict).unwrap(), text);
        assert_eq!(serde_json::from_str::<VerdictMeta>(text).unwrap(), verdict);
        assert!(serde_json::from_str::<VerdictMeta>(r#"{"action":"explode"}"#).is_err());
        assert!(serde_json::from_str::<VerdictMeta>(r#"{"patch":{}}"#).is_err());
    }
}
