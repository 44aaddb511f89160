//! Patches applied to the bytes of a body: a merge patch (RFC 7396) or a JSON patch (RFC 6902).
//!
//! Text is read only where a pointer leads. Everything else is carried over as it stands: number forms, key order
//! and escapes survive. Besides the old and the new text, memory is held for what is touched alone. An object that
//! is touched must not have the touched key twice, because readers differ in which of the two counts.
//!
//! The text has to be one JSON value, read as such before. Whether the result is a request that a client may send
//! is judged by the same gate as a client's body, behind this module.

mod compare;
mod merge;
mod patch;
mod pieces;
mod scan;
#[cfg(test)]
mod tests;

pub(super) use merge::merge;
pub(super) use patch::patch;
use scan::Torn;

use crate::limits;

/// Why a patch does not apply. The text is for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("its patch has {count} operations, the limit is {}", limits::PATCH_OPERATIONS_MAX)]
    Operations { count: usize },
    #[error("operation '/{operation}' failed at path '{path}': {why}")]
    Operation { operation: usize, path: String, why: Why },
    #[error("its merge patch failed: {0}")]
    Merge(Why),
}

/// What is wrong at one place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Why {
    #[error("there is nothing at this place")]
    Missing,
    #[error("there is nothing at the place it takes its value from")]
    MissingSource,
    #[error("the value there is another one")]
    Differs,
    #[error("a value cannot be moved into itself")]
    IntoItself,
    #[error("the body has the key '{key}' twice in one object")]
    Twice { key: String },
    #[error("the patch copies more than {} bytes", limits::PATCH_COPIED_BYTES_MAX)]
    CopiesTooMuch,
    #[error("the patch makes the gateway read the body too often")]
    ReadsTooMuch,
    #[error("the body is not valid JSON")]
    NotJson,
}

impl From<Torn> for Why {
    fn from(Torn: Torn) -> Self {
        Self::NotJson
    }
}

/// How much text a patch may still make the gateway read. Each operation may have to search the same object again.
struct Reading {
    left: usize,
}

impl Reading {
    fn of(body: usize) -> Self {
        Self { left: limits::PATCH_READ_BYTES.saturating_add(body.saturating_mul(4)) }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Why> {
        self.left = self.left.checked_sub(bytes).ok_or(Why::ReadsTooMuch)?;
        Ok(())
    }
}

/// JSON text without the space around it.
fn trimmed(text: &bytes::Bytes) -> bytes::Bytes {
    text.slice_ref(text.trim_ascii())
}

fn written(value: &serde_json::Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("a JSON tree can be written")
}
