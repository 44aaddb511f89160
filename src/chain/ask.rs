//! One hook call for one member: whether it applies, what it is told, how its end is written down.

use std::borrow::Cow;
use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderName};
use serde_json::value::RawValue;

use super::draft::Draft;
use super::generation::{Member, MemberHook};
use crate::hash::fnv1a;
use crate::hook::{
    BodyNeed, Call, Cause, ClientId, Endpoint, Hook, HookFailure, HookSpec, Policy, UpstreamFailure, Verdict,
    When,
};
use crate::metrics::{HookCall, HookOutcome};
use crate::record::HookRun;

/// What is true of a request from its first byte to its last.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub request_id: &'a str,
    pub generation: u64,
    pub endpoint: Endpoint,
    pub method: &'a str,
    pub path: &'a str,
    pub headers: &'a HeaderMap,
    /// Tells one API key from another without telling the key.
    pub key_id: Option<&'a str>,
    pub client: ClientId,
}

impl Facts<'_> {
    pub(super) fn apply_to(&self, when: &When, model: Option<&str>) -> bool {
        when.endpoints.contains(&self.endpoint)
            && when.models.as_ref().is_none_or(|globs| model.is_some_and(|model| globs.is_match(model)))
            && when.header.as_ref().is_none_or(|(name, wanted)| {
                let mut values = self.headers.get_all(name).iter();
                values.any(|value| wanted.as_ref().is_none_or(|wanted| wanted == value))
            })
            && (when.sample >= 1.0 || share(self.request_id) < when.sample)
    }
}

/// A request id's place between 0 and 1, so that every plugin samples the same requests.
fn share(request_id: &str) -> f64 {
    let hash = fnv1a(request_id.as_bytes());
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 32 bits")]
    let share = (hash >> 32) as f64 / f64::from(u32::MAX);
    share
}

/// A member's hook that is about to be called.
pub(super) struct Ask<'a, H> {
    pub(super) member: &'a Member<H>,
    pub(super) hook: &'a MemberHook,
}

impl<H> Clone for Ask<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H> Copy for Ask<'_, H> {}

impl<'a, H: Hook> Ask<'a, H> {
    pub(super) fn spec(&self) -> &'a HookSpec {
        &self.hook.spec
    }

    /// Calls the hook. `left` is what the chain may still wait for hooks.
    pub(super) async fn call(
        self,
        facts: &Facts<'_>,
        draft: &Draft,
        failure: Option<&UpstreamFailure>,
        left: Duration,
    ) -> Called<'a, H> {
        let measured = self.hook.metrics.call();
        let result = self.verdict(facts, draft, failure, left).await;
        Called { ask: self, result, measured }
    }

    async fn verdict(
        self,
        facts: &Facts<'_>,
        draft: &Draft,
        failure: Option<&UpstreamFailure>,
        left: Duration,
    ) -> Result<Verdict, HookFailure> {
        let budget = self.spec().timeout.min(left);
        if budget.is_zero() {
            let detail = "the hooks before it spent [plugins] chain_budget, so it was not asked";
            return Err(HookFailure::new(Cause::Timeout, detail));
        }
        let full = self.spec().body == BodyNeed::Full;
        if full && draft.body.len() > self.spec().body_bytes_max {
            let detail =
                format!("the body has {} bytes, it takes {}", draft.body.len(), self.spec().body_bytes_max);
            return Err(HookFailure::new(Cause::Oversize, detail));
        }
        let headers = granted(&self.spec().headers, facts.headers, draft);
        let pointers = match self.spec().body {
            BodyNeed::Pointers(_) => draft.room.work(draft.body.len(), || self.pointers(draft)).await?,
            BodyNeed::None | BodyNeed::Full => Vec::new(),
        };
        let call = Call {
            hook: self.spec().name,
            request_id: facts.request_id,
            generation: facts.generation,
            endpoint: facts.endpoint,
            method: facts.method,
            path: facts.path,
            model: draft.model.as_deref(),
            stream: draft.stream,
            key_id: facts.key_id,
            headers: &headers,
            pointers: &pointers,
            metadata: &draft.metadata,
            body_bytes: draft.body.len(),
            failure,
            body: full.then(|| draft.body.clone()),
            budget,
            cut_short: budget < self.spec().timeout,
            client: facts.client,
        };
        let cut_short = call.cut_short;
        let result = self.member.hook.call(call).await;
        result.map_err(|failure| if cut_short { self.cut_short(failure, budget) } else { failure })
    }

    /// Says that it was the chain's budget that ended the call, and not the hook's own timeout.
    fn cut_short(&self, failure: HookFailure, budget: Duration) -> HookFailure {
        if failure.cause != Cause::Timeout {
            return failure;
        }
        let (left, own) = (budget.as_millis(), self.spec().timeout.as_millis());
        let detail = format!(
            "no answer within {left} ms, all that was left of [plugins] chain_budget; its own timeoutMs is {own}"
        );
        HookFailure::new(Cause::Timeout, detail)
    }

    fn pointers<'d>(self, draft: &'d Draft) -> Result<Vec<(&'d str, &'d RawValue)>, HookFailure>
    where
        'a: 'd,
    {
        let malformed =
            |error| HookFailure::new(Cause::Malformed, format!("the body cannot be read: {error}"));
        self.hook.pointers.extract(&draft.body).map_err(malformed)
    }
}

/// A call that ended, before it is known whether its verdict applies.
pub(super) struct Called<'a, H> {
    pub(super) ask: Ask<'a, H>,
    pub(super) result: Result<Verdict, HookFailure>,
    measured: HookCall<'a>,
}

impl<'a, H: Hook> Called<'a, H> {
    /// The verdict, to be applied, and what has to be told of how that went.
    pub(super) fn split(self) -> (Result<Verdict, HookFailure>, Open<'a, H>) {
        let Self { ask, result, measured } = self;
        let outcome = match &result {
            Ok(verdict) => HookOutcome::from(&verdict.action),
            Err(failure) => HookOutcome::Failed(failure.cause),
        };
        (result, Open { ask, outcome, measured })
    }
}

/// A call whose end is not written down yet.
pub(super) struct Open<'a, H> {
    pub(super) ask: Ask<'a, H>,
    /// What it was if its verdict applies.
    outcome: HookOutcome,
    measured: HookCall<'a>,
}

impl<H: Hook> Open<'_, H> {
    /// Writes the end down. What comes back is what was made of the verdict, or the failure and the policy that
    /// holds for it.
    pub(super) fn end<T>(
        self,
        draft: &mut Draft,
        applied: Result<T, HookFailure>,
    ) -> Result<T, (Policy, HookFailure)> {
        let Self { ask, outcome, measured } = self;
        let (outcome, policy, error, ended) = match applied {
            Ok(value) => (outcome, None, None, Ok(value)),
            Err(failure) => {
                let policy = ask.failed(&failure);
                let error = Some(failure.detail.clone());
                (HookOutcome::Failed(failure.cause), Some(policy), error, Err((policy, failure)))
            }
        };
        let took = measured.end(outcome);
        let Member { name, version, .. } = ask.member;
        draft.runs.push(HookRun {
            plugin: name.clone(),
            version: version.clone(),
            hook: ask.spec().name,
            outcome,
            took,
            policy,
            error,
        });
        ended
    }
}

impl<H: Hook> Ask<'_, H> {
    /// Logs and counts a call without a verdict; tells what it means for the request.
    fn failed(&self, failure: &HookFailure) -> Policy {
        let policy = self.spec().on_failure.policy(failure.cause);
        // That a plugin is down or its breaker open is logged once, when it begins. A line for every request since
        // would say it again at the price of a line.
        if !matches!(failure.cause, Cause::Broken | Cause::Unavailable) {
            tracing::warn!(
                plugin = %self.member.name,
                hook = %self.spec().name,
                cause = failure.cause.as_str(),
                detail = failure.detail,
                ?policy,
                "hook.failed"
            );
        }
        if policy == Policy::Open {
            self.hook.metrics.failed_open(failure.cause);
        }
        policy
    }
}

/// The headers a plugin may see, as the plugins before it left them. It sees all that the upstream will: the
/// values of a repeated header as one list, and in place of bytes that are no UTF-8 the replacement character.
fn granted<'a>(
    names: &'a [HeaderName],
    client: &'a HeaderMap,
    draft: &'a Draft,
) -> Vec<(&'a str, Cow<'a, str>)> {
    let current = |name: &HeaderName| {
        if let Some((_, value)) = draft.headers.set.iter().find(|(set, _)| set == name) {
            return Some(String::from_utf8_lossy(value.as_bytes()));
        }
        let mut kept = client.get_all(name).iter().filter(|_| !draft.headers.remove.contains(name));
        let first = String::from_utf8_lossy(kept.next()?.as_bytes());
        let separator = if name == COOKIE { "; " } else { ", " };
        Some(kept.fold(first, |mut list, value| {
            list.to_mut().push_str(separator);
            list.to_mut().push_str(&String::from_utf8_lossy(value.as_bytes()));
            list
        }))
    };
    names.iter().filter_map(|name| Some((name.as_str(), current(name)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_sees_every_value_of_a_header() {
        let mut client = HeaderMap::new();
        for (name, value) in
            [("x-team", &b"red"[..]), ("x-team", b"blue"), ("cookie", b"a=1"), ("cookie", b"b=\xff")]
        {
            client.append(name, http::HeaderValue::from_bytes(value).unwrap());
        }
        client.append("x-one", http::HeaderValue::from_static("alone"));
        let names = ["x-team", "cookie", "x-one", "x-none"].map(HeaderName::from_static);
        let draft = Draft::new(Endpoint::ChatCompletions, bytes::Bytes::from_static(b"{}")).unwrap();
        let granted = granted(&names, &client, &draft);
        let expected = [("x-team", "red, blue"), ("cookie", "a=1; b=\u{fffd}"), ("x-one", "alone")];
        assert!(granted.iter().map(|(name, value)| (*name, &**value)).eq(expected), "{granted:?}");
        assert!(matches!(granted[2].1, Cow::Borrowed(_)));
    }

    #[test]
    fn a_sample_takes_its_share_of_requests() {
        let taken = (0..10_000).filter(|n| share(&format!("hw-{n:016x}")) < 0.25).count();
        assert!((2_200..2_800).contains(&taken), "{taken} of 10000");
    }
}
