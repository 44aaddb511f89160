//! The values labels can have. All are enums: no label ever carries a caller, a key or a request id.

use crate::fault::Kind;
use crate::hook::{Action, Cause, Endpoint, UpstreamCause};

/// An enum whose variants are label values.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

labels! {
    /// What a request asked for.
    Asked {
        ChatCompletions = "chat.completions",
        Completions = "completions",
        Embeddings = "embeddings",
        Responses = "responses",
        Messages = "messages",
        Models = "models",
        /// Anything else under `/v1`, passed through.
        Other = "other",
        /// `GET /healthz`.
        Health = "health",
        /// Nothing the gateway serves, or refused before that was known.
        Unknown = "unknown",
    }
}

impl From<Endpoint> for Asked {
    fn from(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::ChatCompletions => Self::ChatCompletions,
            Endpoint::Completions => Self::Completions,
            Endpoint::Embeddings => Self::Embeddings,
            Endpoint::Responses => Self::Responses,
            Endpoint::Messages => Self::Messages,
        }
    }
}

labels! {
    /// How a request ended, seen from the gateway.
    Outcome {
        /// An upstream's answer, whole.
        Ok = "ok",
        /// A plugin answered in the upstream's place.
        HookResponded = "hook_responded",
        /// A plugin refused it.
        HookRejected = "hook_rejected",
        /// A plugin gave no verdict and its policy is closed.
        HookFailed = "hook_failed",
        /// No attempt at an upstream succeeded, or its answer was cut.
        UpstreamError = "upstream_error",
        /// The upstream's own refusal (4xx), passed on.
        UpstreamRefused = "upstream_refused",
        /// The client's request cannot be taken as it is.
        ClientError = "client_error",
        /// The client left before its answer was whole.
        ClientGone = "client_gone",
        /// Too many requests in flight, or shutting down.
        Refused = "refused",
        /// A bug of the gateway.
        Internal = "internal",
    }
}

impl From<Kind> for Outcome {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Hook(_) => Self::HookFailed,
            Kind::Upstream(_) => Self::UpstreamError,
            Kind::Overloaded | Kind::Draining => Self::Refused,
            Kind::Internal => Self::Internal,
            Kind::BadRequest
            | Kind::HeaderTooLarge
            | Kind::BodyTooLarge
            | Kind::RequestTimeout
            | Kind::NotFound
            | Kind::MethodNotAllowed
            | Kind::UnsupportedMediaType => Self::ClientError,
        }
    }
}

labels! {
    /// Why a plugin process is started anew.
    RestartReason {
        /// It exited or was killed.
        Exited = "exited",
        /// It broke the protocol.
        Protocol = "protocol",
        /// It no longer answered pings.
        Unresponsive = "unresponsive",
        /// It never became ready.
        Handshake = "handshake",
        /// Somebody asked for it.
        Operator = "operator",
    }
}

labels! {
    /// Of a plugin or an upstream; the gauge shows its position in this list.
    BreakerState {
        Closed = "closed",
        HalfOpen = "half_open",
        Open = "open",
    }
}

labels! {
    /// How far a plugin process is confined; the gauge shows its position in this list.
    SandboxLevel {
        /// Its own process, environment and descriptors.
        Process = "process",
    }
}

labels! {
    ReloadOutcome {
        Applied = "applied",
        /// The new configuration says the same.
        Unchanged = "unchanged",
        /// The old generation stays.
        Refused = "refused",
    }
}

labels! {
    /// Of tokens, seen from the model.
    Direction {
        Input = "input",
        Output = "output",
    }
}

/// How a hook call ended: the verdict's action, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookOutcome {
    Continue,
    Patch,
    Replace,
    Respond,
    Reject,
    Retry,
    Fallback,
    /// The request ended before the plugin answered.
    Cancelled,
    Failed(Cause),
}

impl HookOutcome {
    const PLAIN: [Self; 8] = [
        Self::Continue,
        Self::Patch,
        Self::Replace,
        Self::Respond,
        Self::Reject,
        Self::Retry,
        Self::Fallback,
        Self::Cancelled,
    ];
    pub(super) const COUNT: usize = Self::PLAIN.len() + Cause::ALL.len();

    /// Every outcome, at its own `index`.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::PLAIN.into_iter().chain(Cause::ALL.into_iter().map(Self::Failed))
    }

    /// Why there was no verdict.
    pub const fn cause(self) -> Option<Cause> {
        match self {
            Self::Failed(cause) => Some(cause),
            Self::Continue
            | Self::Patch
            | Self::Replace
            | Self::Respond
            | Self::Reject
            | Self::Retry
            | Self::Fallback
            | Self::Cancelled => None,
        }
    }

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Continue => 0,
            Self::Patch => 1,
            Self::Replace => 2,
            Self::Respond => 3,
            Self::Reject => 4,
            Self::Retry => 5,
            Self::Fallback => 6,
            Self::Cancelled => 7,
            Self::Failed(cause) => Self::PLAIN.len() + cause as usize,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Patch => "patch",
            Self::Replace => "replace",
            Self::Respond => "respond",
            Self::Reject => "reject",
            Self::Retry => "retry",
            Self::Fallback => "fallback",
            Self::Cancelled => "cancelled",
            Self::Failed(cause) => cause.as_str(),
        }
    }
}

impl From<&Action> for HookOutcome {
    fn from(action: &Action) -> Self {
        match action {
            Action::Continue => Self::Continue,
            Action::MergePatch(_) | Action::JsonPatch(_) => Self::Patch,
            Action::Replace(_) => Self::Replace,
            Action::Respond { .. } => Self::Respond,
            Action::Reject { .. } => Self::Reject,
            Action::Retry { .. } => Self::Retry,
            Action::Fallback => Self::Fallback,
        }
    }
}

/// How an attempt at an upstream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptOutcome {
    Ok,
    /// A status from 400 on that blames the request.
    Refused,
    /// The client left first.
    Cancelled,
    Failed(UpstreamCause),
}

impl AttemptOutcome {
    const PLAIN: [Self; 3] = [Self::Ok, Self::Refused, Self::Cancelled];
    pub(super) const COUNT: usize = Self::PLAIN.len() + UpstreamCause::ALL.len();

    /// Every outcome, at its own `index`.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::PLAIN.into_iter().chain(UpstreamCause::ALL.into_iter().map(Self::Failed))
    }

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::Refused => 1,
            Self::Cancelled => 2,
            Self::Failed(cause) => Self::PLAIN.len() + cause as usize,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Failed(cause) => cause.as_str(),
        }
    }
}

/// What is dropped rather than waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Recent calls that were not written to the database.
    Execution,
    /// Lines of the log.
    LogLine,
}

impl Lost {
    pub(super) const ALL: [Self; 2] = [Self::Execution, Self::LogLine];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Execution => "execution",
            Self::LogLine => "log_line",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_own_index_and_word() {
        let hook: Vec<_> = HookOutcome::all().collect();
        assert_eq!(
            hook.iter().map(|o| o.index()).collect::<Vec<_>>(),
            (0..HookOutcome::COUNT).collect::<Vec<_>>()
        );
        let attempt: Vec<_> = AttemptOutcome::all().collect();
        assert_eq!(
            attempt.iter().map(|o| o.index()).collect::<Vec<_>>(),
            (0..AttemptOutcome::COUNT).collect::<Vec<_>>()
        );
        let words: std::collections::HashSet<_> = hook.iter().map(|o| o.as_str()).collect();
        assert_eq!(words.len(), HookOutcome::COUNT);
    }

    #[test]
    fn an_endpoint_keeps_its_name_as_a_label() {
        for endpoint in Endpoint::ALL {
            assert_eq!(Asked::from(endpoint).as_str(), endpoint.as_str());
        }
    }
}
