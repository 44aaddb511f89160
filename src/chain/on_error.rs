//! `onError` over a chain, in reverse order: the first plugin that says more than `continue` decides.

use std::time::Duration;

use super::ask::{Ask, Facts};
use super::draft::Draft;
use super::fold::{fold, malformed};
use super::generation::Generation;
use super::on_request::{Answer, take_answer, waited};
use crate::fault::Fault;
use crate::hook::{Action, Hook, HookFailure, HookName, Policy, UpstreamFailure, Verdict};
use crate::limits;

/// What the error hooks decided.
#[derive(Debug)]
pub enum ErrorRuling {
    /// The retry rule goes on, or the client gets the upstream's own error.
    Continue,
    Answer(Answer),
    Refuse(Fault),
    /// The same upstream again.
    Retry(Duration),
    /// The draft now names another model or upstream.
    Fallback,
}

/// Runs the error hooks over a failed attempt. One budget holds for all error hooks of a request, however many of its
/// attempts fail.
///
/// Once the client has bytes of an answer, only `continue` means something; every other verdict is
/// malformed.
pub async fn on_error<H: Hook>(
    generation: &Generation<H>,
    facts: &Facts<'_>,
    draft: &mut Draft,
    failure: &UpstreamFailure,
) -> ErrorRuling {
    let mut left = draft.error_budget.unwrap_or(generation.config.plugins.chain_budget);
    for member in generation.members.iter().rev() {
        let Some(hook) = member.hook(HookName::OnError) else { continue };
        if !facts.apply_to(&hook.spec.when, draft.model.as_deref()) {
            continue;
        }
        let ask = Ask { member, hook };
        let called = waited(ask.call(facts, draft, Some(failure), left), &mut left).await;
        draft.error_budget = Some(left);
        let (result, open) = called.split();
        let decided = match result {
            Ok(verdict) => decide(generation, ask, draft, verdict, failure).await,
            Err(failure) => Err(failure),
        };
        match open.end(draft, decided) {
            Ok(ErrorRuling::Continue) | Err((Policy::Open, _)) => {}
            Ok(ruling) => return ruling,
            Err((Policy::Closed, failure)) => {
                return ErrorRuling::Refuse(Fault::hook(&member.name, failure.cause, failure.detail));
            }
        }
    }
    ErrorRuling::Continue
}

async fn decide<H: Hook>(
    generation: &Generation<H>,
    ask: Ask<'_, H>,
    draft: &mut Draft,
    mut verdict: Verdict,
    failure: &UpstreamFailure,
) -> Result<ErrorRuling, HookFailure> {
    if failure.bytes_sent > 0 && verdict.action != Action::Continue {
        return Err(malformed("the client already has part of the answer, only 'continue' is possible"));
    }
    generation.check_route(verdict.route.as_ref())?;
    if let Some(answer) = take_answer(&ask.member.name, &mut verdict) {
        fold(draft, &ask.spec().mutates, verdict).await?;
        return Ok(ErrorRuling::Answer(answer));
    }
    let ruling = match &verdict.action {
        Action::Retry { delay, .. } => ErrorRuling::Retry((*delay).min(limits::RETRY_DELAY_MAX)),
        Action::Fallback => {
            if verdict.route.as_ref().is_none_or(|route| route.model.is_none() && route.upstream.is_none()) {
                return Err(malformed("a fallback has to name a model or an upstream in 'route'"));
            }
            ErrorRuling::Fallback
        }
        Action::Continue => ErrorRuling::Continue,
        Action::MergePatch(_) | Action::JsonPatch(_) | Action::Replace(_) => {
            return Err(malformed("onError cannot change the body, except with 'retry'"));
        }
        Action::Respond { .. } | Action::Reject { .. } => unreachable!("taken as an answer above"),
    };
    fold(draft, &ask.spec().mutates, verdict).await?;
    Ok(ruling)
}
