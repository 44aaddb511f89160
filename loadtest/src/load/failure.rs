//! Why a request failed: what its client could see, and nothing it could not.

use std::fmt;

use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Failure {
    /// Another status than expected. Cause and plugin are those of the gateway's headers, the code is that of the
    /// error in the body.
    Status {
        status: u16,
        cause: Option<String>,
        plugin: Option<String>,
        code: Option<String>,
    },
    /// The stream carried an error event, with this code.
    StreamError {
        code: Option<String>,
    },
    Length {
        got: u64,
        want: u64,
    },
    Events {
        got: u64,
        want: u64,
    },
    /// The stream ended without `[DONE]`.
    NoDone,
    NotHttp,
    /// The connection ended before the answer did.
    Closed {
        after: Progress,
    },
    Timeout {
        after: Progress,
    },
    Connect {
        error: String,
    },
    /// Every connection was busy until the run was over.
    NotSent,
}

/// How much of an answer had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Progress {
    Nothing,
    Head,
    Body,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { status, cause, plugin, code } => {
                write!(f, "status {status}")?;
                let told = [("cause", cause), ("plugin", plugin), ("code", code)];
                told.into_iter().try_for_each(|(name, word)| match word {
                    Some(word) => write!(f, ", {name} {word}"),
                    None => Ok(()),
                })
            }
            Self::StreamError { code } => {
                write!(f, "an error event, code {}", code.as_deref().unwrap_or("none"))
            }
            Self::Length { got, want } => write!(f, "a body of {got} bytes instead of {want}"),
            Self::Events { got, want } => write!(f, "{got} events instead of {want}"),
            Self::NoDone => f.write_str("a stream without [DONE]"),
            Self::NotHttp => f.write_str("not an HTTP/1.1 answer"),
            Self::Closed { after } => write!(f, "closed {after}"),
            Self::Timeout { after } => write!(f, "timed out {after}"),
            Self::Connect { error } => write!(f, "no connection: {error}"),
            Self::NotSent => f.write_str("not sent: every connection was busy"),
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "before the answer",
            Self::Head => "within the head",
            Self::Body => "within the body",
        })
    }
}
