//! `onRequest` over a chain: each plugin sees what the one before left, observers run side by side.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::time::Instant;

use super::ask::{Ask, Called, Facts};
use super::draft::Draft;
use super::fold::fold;
use super::generation::Generation;
use crate::fault::Fault;
use crate::hook::{Action, ApiError, HeaderChanges, Hook, HookFailure, HookName, Policy, Verdict};

/// What the chain decided.
#[derive(Debug)]
pub enum Ruling {
    /// The request, as the draft now is, goes upstream.
    Proceed,
    Answer(Answer),
    /// A plugin gave no verdict and its policy is closed.
    Refuse(Fault),
}

/// A plugin's own answer to the client.
#[derive(Debug)]
pub struct Answer {
    pub plugin: String,
    pub status: http::StatusCode,
    pub headers: HeaderChanges,
    pub body: AnswerBody,
}

#[derive(Debug)]
pub enum AnswerBody {
    Raw(bytes::Bytes),
    Error(ApiError),
}

/// Runs the chain over the draft. All hooks together are waited for as long as the chain's budget.
pub async fn on_request<H: Hook>(generation: &Generation<H>, facts: &Facts<'_>, draft: &mut Draft) -> Ruling {
    let mut left = generation.config.plugins.chain_budget;
    let mut rest = generation.members.as_slice();
    loop {
        let group = next_group(&mut rest, facts, draft);
        let ended = match group.as_slice() {
            [] => return Ruling::Proceed,
            [only] => run_one(generation, *only, facts, draft, &mut left).await,
            observers => run_observers(generation, observers, facts, draft, &mut left).await,
        };
        if let Some(ruling) = ended {
            return ruling;
        }
    }
}

/// The next member that applies, with the observers right behind it if it is one itself.
fn next_group<'a, H: Hook>(
    rest: &mut &'a [super::Member<H>],
    facts: &Facts<'_>,
    draft: &Draft,
) -> Group<'a, H> {
    let mut group = Group::Empty;
    while let [member, behind @ ..] = *rest {
        let applies = member
            .hook(HookName::OnRequest)
            .filter(|hook| facts.apply_to(&hook.spec.when, draft.model.as_deref()));
        if let Some(hook) = applies {
            let observes = hook.spec.mutates.is_nothing();
            if !group.is_empty() && !observes {
                break;
            }
            group.push(Ask { member, hook });
            *rest = behind;
            if !observes {
                break;
            }
        } else {
            *rest = behind;
        }
    }
    group
}

/// Mostly one member, so that one is held without an allocation.
enum Group<'a, H> {
    Empty,
    One([Ask<'a, H>; 1]),
    Many(Vec<Ask<'a, H>>),
}

impl<'a, H> Group<'a, H> {
    fn as_slice(&self) -> &[Ask<'a, H>] {
        match self {
            Self::Empty => &[],
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    fn push(&mut self, ask: Ask<'a, H>) {
        *self = match std::mem::replace(self, Self::Empty) {
            Self::Empty => Self::One([ask]),
            Self::One([first]) => Self::Many(vec![first, ask]),
            Self::Many(mut many) => {
                many.push(ask);
                Self::Many(many)
            }
        };
    }
}

async fn run_one<H: Hook>(
    generation: &Generation<H>,
    ask: Ask<'_, H>,
    facts: &Facts<'_>,
    draft: &mut Draft,
    left: &mut Duration,
) -> Option<Ruling> {
    let called = waited(ask.call(facts, draft, None, *left), left).await;
    conclude(generation, called, draft).await
}

/// Waits for hooks, and takes how long that was from what is left.
pub(super) async fn waited<T>(hooks: impl Future<Output = T>, left: &mut Duration) -> T {
    let began = Instant::now();
    let ended = hooks.await;
    *left = left.saturating_sub(began.elapsed());
    ended
}

/// All at once; their verdicts count in chain order. The first answer ends the chain and cancels the
/// calls behind it.
async fn run_observers<H: Hook>(
    generation: &Generation<H>,
    observers: &[Ask<'_, H>],
    facts: &Facts<'_>,
    draft: &mut Draft,
    left: &mut Duration,
) -> Option<Ruling> {
    let mut ended = Vec::with_capacity(observers.len());
    {
        let (shared, each) = (&*draft, *left);
        let mut calls: FuturesOrdered<_> =
            observers.iter().map(|ask| ask.call(facts, shared, None, each)).collect();
        while let Some(called) = waited(calls.next(), left).await {
            let last = ends_the_chain(&called);
            ended.push(called);
            if last {
                break;
            }
        }
    }
    for called in ended {
        if let Some(ruling) = conclude(generation, called, draft).await {
            return Some(ruling);
        }
    }
    None
}

fn ends_the_chain<H: Hook>(called: &Called<'_, H>) -> bool {
    match &called.result {
        Ok(verdict) => matches!(verdict.action, Action::Respond { .. } | Action::Reject { .. }),
        Err(failure) => called.ask.spec().on_failure.policy(failure.cause) == Policy::Closed,
    }
}

/// Folds a call's end into the draft; `Some` ends the chain.
async fn conclude<H: Hook>(
    generation: &Generation<H>,
    called: Called<'_, H>,
    draft: &mut Draft,
) -> Option<Ruling> {
    let member = called.ask.member;
    let (result, open) = called.split();
    let applied = match result {
        Ok(verdict) => apply(generation, open.ask, draft, verdict).await,
        Err(failure) => Err(failure),
    };
    match open.end(draft, applied) {
        Ok(answer) => answer.map(Ruling::Answer),
        Err((Policy::Open, _)) => None,
        Err((Policy::Closed, failure)) => {
            Some(Ruling::Refuse(Fault::hook(&member.name, failure.cause, failure.detail)))
        }
    }
}

async fn apply<H: Hook>(
    generation: &Generation<H>,
    ask: Ask<'_, H>,
    draft: &mut Draft,
    mut verdict: Verdict,
) -> Result<Option<Answer>, HookFailure> {
    let answer = take_answer(&ask.member.name, &mut verdict);
    generation.check_route(verdict.route.as_ref())?;
    fold(draft, &ask.spec().mutates, verdict).await?;
    Ok(answer)
}

/// Takes a plugin's own answer out of its verdict; header changes then belong to the answer.
pub(super) fn take_answer(plugin: &str, verdict: &mut Verdict) -> Option<Answer> {
    let (status, body) = match std::mem::take(&mut verdict.action) {
        Action::Respond { status, body } => (status, AnswerBody::Raw(body)),
        Action::Reject { status, error } => (status, AnswerBody::Error(error)),
        other => {
            verdict.action = other;
            return None;
        }
    };
    let headers = std::mem::take(&mut verdict.headers);
    Some(Answer { plugin: plugin.to_owned(), status, headers, body })
}
