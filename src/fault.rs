//! The one shape of "no": what went wrong, who is to blame, what the client reads and what the operator reads.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

use crate::hook::{ApiError, Cause, UpstreamCause};

/// What went wrong. Closed: metrics and log use [`Kind::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The client's request cannot be taken as it is.
    BadRequest,
    HeaderTooLarge,
    BodyTooLarge,
    RequestTimeout,
    NotFound,
    MethodNotAllowed,
    UnsupportedMediaType,
    /// More requests in flight than configured.
    Overloaded,
    /// Shutting down, or not started yet.
    Draining,
    /// A plugin gave no verdict and its policy is closed.
    Hook(Cause),
    /// No attempt at an upstream succeeded.
    Upstream(UpstreamCause),
    /// A bug of the gateway.
    Internal,
}

/// Who has to act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    Client,
    Gateway,
    Plugin,
    Upstream,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::HeaderTooLarge => "header_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::RequestTimeout => "request_timeout",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
            Self::Hook(_) => "plugin_failed",
            Self::Upstream(_) => "upstream_failed",
            Self::Internal => "internal",
        }
    }

    pub const fn blame(self) -> Blame {
        match self {
            Self::BadRequest
            | Self::HeaderTooLarge
            | Self::BodyTooLarge
            | Self::RequestTimeout
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::UnsupportedMediaType => Blame::Client,
            Self::Overloaded | Self::Draining | Self::Internal => Blame::Gateway,
            Self::Hook(_) => Blame::Plugin,
            Self::Upstream(_) => Blame::Upstream,
        }
    }

    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Overloaded | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Hook(cause) => match cause {
                Cause::Timeout => StatusCode::GATEWAY_TIMEOUT,
                Cause::Unavailable | Cause::Overloaded | Cause::Broken => StatusCode::SERVICE_UNAVAILABLE,
                Cause::Error | Cause::Malformed | Cause::Protocol => StatusCode::BAD_GATEWAY,
                Cause::TooLarge | Cause::Oversize => StatusCode::PAYLOAD_TOO_LARGE,
            },
            Self::Upstream(cause) => match cause {
                UpstreamCause::Timeout => StatusCode::GATEWAY_TIMEOUT,
                UpstreamCause::RateLimited => StatusCode::TOO_MANY_REQUESTS,
                UpstreamCause::BreakerOpen => StatusCode::SERVICE_UNAVAILABLE,
                UpstreamCause::Connect
                | UpstreamCause::Tls
                | UpstreamCause::ServerError
                | UpstreamCause::Cut => StatusCode::BAD_GATEWAY,
            },
        }
    }

    /// OpenAI's `error.type`.
    pub const fn error_type(self) -> &'static str {
        match self.blame() {
            Blame::Client => "invalid_request_error",
            Blame::Gateway | Blame::Plugin => "server_error",
            Blame::Upstream => match self {
                Self::Upstream(UpstreamCause::RateLimited) => "rate_limit_error",
                _ => "upstream_error",
            },
        }
    }
}

/// An answer the gateway gives in its own name.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: Kind,
    /// What the client reads. Names no address, path or plugin output.
    pub message: Cow<'static, str>,
    /// What the operator reads in the log.
    pub detail: Box<str>,
    /// The key of the request it is about, as a path.
    pub param: Option<Cow<'static, str>>,
    pub retry_after: Option<Duration>,
    /// The methods that are, for `allow`.
    pub allow: Option<&'static str>,
    /// The gateway's own retries are spent, so the client is asked not to multiply them.
    pub final_word: bool,
    /// The plugin to blame, for `x-hookway-plugin`.
    pub plugin: Option<Box<str>>,
}

impl Fault {
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            detail: Box::default(),
            param: None,
            retry_after: None,
            allow: None,
            final_word: false,
            plugin: None,
        }
    }

    #[must_use]
    pub fn detail(mut self, detail: impl Into<Box<str>>) -> Self {
        self.detail = detail.into();
        self
    }

    #[must_use]
    pub fn param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// A method that a path does not take (RFC 9110 section 15.5.6).
    pub fn method_not_allowed(message: impl Into<Cow<'static, str>>, allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::new(Kind::MethodNotAllowed, message) }
    }

    /// A closed hook failure, as failure semantics promise it to the client.
    pub fn hook(plugin: &str, cause: Cause, detail: impl Into<Box<str>>) -> Self {
        let why = match cause {
            Cause::Unavailable | Cause::Broken => "is not working".to_owned(),
            Cause::Overloaded
            | Cause::Timeout
            | Cause::Error
            | Cause::Malformed
            | Cause::Protocol
            | Cause::TooLarge
            | Cause::Oversize => format!("gave no decision ({})", cause.as_str()),
        };
        let message = format!("The request was blocked because the gateway's plugin '{plugin}' {why}.");
        let fault =
            Self { plugin: Some(plugin.into()), ..Self::new(Kind::Hook(cause), message) }.detail(detail);
        match cause {
            Cause::Unavailable | Cause::Overloaded | Cause::Broken => {
                fault.retry_after(Duration::from_secs(1))
            }
            Cause::Timeout
            | Cause::Error
            | Cause::Malformed
            | Cause::Protocol
            | Cause::TooLarge
            | Cause::Oversize => fault,
        }
    }

    pub fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// OpenAI's error object for this fault.
    pub fn api_error(&self) -> ApiError {
        ApiError {
            message: self.message.clone().into_owned(),
            kind: Some(self.kind.error_type().to_owned()),
            code: Some(self.kind.as_str().to_owned()),
            param: self.param.clone().map(Cow::into_owned),
        }
    }
}
