//! What a plugin may answer.

use std::time::Duration;

use bytes::Bytes;
use hookway_wire::{ApiError, Route, VerdictAction, VerdictMeta};
use serde_json::Value;

/// The answer to one call.
///
/// ```
/// use hookway_plugin::Verdict;
/// use serde_json::json;
///
/// Verdict::proceed();
/// Verdict::patch(json!({"temperature": 0})).set_header("x-team", "red");
/// Verdict::proceed().model("gpt-4o-mini").note("tier", "free");
/// Verdict::respond(200, r#"{"object":"chat.completion","choices":[]}"#);
/// Verdict::reject(429, "Slow down.").code("quota_exceeded").set_header("retry-after", "30");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    pub(crate) meta: VerdictMeta,
    pub(crate) body: Bytes,
}

impl Verdict {
    fn new(action: VerdictAction) -> Self {
        Self { meta: VerdictMeta { action, ..VerdictMeta::default() }, body: Bytes::new() }
    }

    /// Let the request go on.
    pub fn proceed() -> Self {
        Self::default()
    }

    /// Let it go on with this merge patch (RFC 7396) applied: values replace, `null` removes, objects merge.
    pub fn patch(patch: Value) -> Self {
        let mut verdict = Self::new(VerdictAction::Patch);
        verdict.meta.patch = Some(patch);
        verdict
    }

    /// Let it go on with this JSON patch (RFC 6902) applied: a list of operations.
    pub fn json_patch(patch: Value) -> Self {
        let mut verdict = Self::new(VerdictAction::Patch);
        verdict.meta.json_patch = Some(patch);
        verdict
    }

    /// Let it go on with this body instead.
    pub fn replace(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::new(VerdictAction::Replace) }
    }

    /// Answer in the upstream's place. JSON unless `content-type` is set; to a client that asked for a stream the
    /// gateway sends a chat completion as one.
    pub fn respond(status: u16, body: impl Into<Bytes>) -> Self {
        let mut verdict = Self { body: body.into(), ..Self::new(VerdictAction::Respond) };
        verdict.meta.status = Some(status);
        verdict
    }

    /// Answer with an error in OpenAI's form.
    pub fn reject(status: u16, message: impl Into<String>) -> Self {
        let mut verdict = Self::new(VerdictAction::Reject);
        verdict.meta.status = Some(status);
        verdict.meta.error = Some(ApiError { message: message.into(), ..ApiError::default() });
        verdict
    }

    /// In `on_error`: try the same upstream again after `delay`. [`Verdict::patched`] changes the request first.
    pub fn retry(delay: Duration) -> Self {
        let mut verdict = Self::new(VerdictAction::Retry);
        verdict.meta.delay_ms = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        verdict
    }

    /// In `on_error`: try elsewhere. [`Verdict::model`] or [`Verdict::upstream`] says where.
    pub fn fallback() -> Self {
        Self::new(VerdictAction::Fallback)
    }

    /// A merge patch for a [`Verdict::retry`].
    #[must_use]
    pub fn patched(mut self, patch: Value) -> Self {
        self.meta.patch = Some(patch);
        self
    }

    /// Sets a header: of the upstream request if it goes on, else of the answer.
    #[must_use]
    pub fn set_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.headers.set.insert(name.into(), value.into());
        self
    }

    #[must_use]
    pub fn remove_header(mut self, name: impl Into<String>) -> Self {
        self.meta.headers.remove.push(name.into());
        self
    }

    /// Routes the request as one for this model.
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.meta.route.get_or_insert_with(Route::default).model = Some(model.into());
        self
    }

    /// Routes the request to this upstream.
    #[must_use]
    pub fn upstream(mut self, upstream: impl Into<String>) -> Self {
        self.meta.route.get_or_insert_with(Route::default).upstream = Some(upstream.into());
        self
    }

    /// Notes something on the request, for plugins after this one and for the record.
    #[must_use]
    pub fn note(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.meta.metadata.insert(key.into(), value.into());
        self
    }

    /// The `code` of a [`Verdict::reject`], for programs to look at.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.error().code = Some(code.into());
        self
    }

    /// The `type` of a [`Verdict::reject`], like `invalid_request_error`.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.error().kind = Some(kind.into());
        self
    }

    /// The `param` of a [`Verdict::reject`]: which part of the request it is about.
    #[must_use]
    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.error().param = Some(param.into());
        self
    }

    fn error(&mut self) -> &mut ApiError {
        self.meta.error.get_or_insert_with(ApiError::default)
    }

    /// The 16-byte answer is enough.
    pub(crate) fn is_nothing(&self) -> bool {
        let VerdictMeta {
            action,
            patch: _,
            json_patch: _,
            status: _,
            headers,
            route,
            metadata,
            error: _,
            delay_ms: _,
        } = &self.meta;
        *action == VerdictAction::Continue && headers.is_empty() && route.is_none() && metadata.is_empty()
    }
}
