//! Chains of fakes: what each hook is told, in which order, and what comes of its verdict.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use super::*;
use crate::config::{Config, Environment};
use crate::fault::Kind;
use crate::hook::{
    Action, ApiError, BodyNeed, Call, Cause, ClientId, Endpoint, HeaderChanges, Hook, HookFailure, HookName,
    HookSpec, Mutates, OnFailure, Phase, Policy, RouteChange, UpstreamCause, UpstreamFailure, Verdict, When,
};
use crate::metrics::Metrics;
use crate::route::Routes;

type Answer = Result<Verdict, HookFailure>;

/// Answers what it was told to, in turn, and remembers what it was asked.
#[derive(Default)]
struct Fake {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<Value>>,
    bodies: Mutex<Vec<Option<Bytes>>>,
    cut_short: Mutex<Vec<bool>>,
    meets: Option<Arc<Barrier>>,
    silent: bool,
}

impl Hook for Fake {
    async fn call(&self, call: Call<'_>) -> Answer {
        self.asked.lock().unwrap().push(serde_json::to_value(&call).unwrap());
        self.bodies.lock().unwrap().push(call.body.clone());
        self.cut_short.lock().unwrap().push(call.cut_short);
        if let Some(barrier) = &self.meets {
            barrier.wait().await;
        }
        if self.silent {
            tokio::time::sleep(call.budget).await;
            return Err(HookFailure::new(Cause::Timeout, "silent"));
        }
        self.answers.lock().unwrap().pop_front().unwrap_or_else(|| Ok(Verdict::default()))
    }
}

fn fake(answers: impl IntoIterator<Item = Answer>) -> Fake {
    Fake { answers: Mutex::new(answers.into_iter().collect()), ..Fake::default() }
}

fn does(action: Action) -> Answer {
    Ok(Verdict { action, ..Verdict::default() })
}

fn spec(name: HookName) -> HookSpec {
    HookSpec {
        name,
        headers: vec![HeaderName::from_static("x-team")],
        body: BodyNeed::Full,
        mutates: Mutates::anything(),
        when: When::default(),
        timeout: Duration::from_millis(250),
        on_failure: OnFailure::always(Policy::Closed),
        body_bytes_max: usize::MAX,
        idempotent: false,
    }
}

fn observer(name: HookName) -> HookSpec {
    HookSpec { mutates: Mutates { body: vec![], headers: false, route: false }, ..spec(name) }
}

fn generation(members: Vec<(&str, i64, HookSpec, Fake)>) -> Generation<Fake> {
    let home = Environment::from([("HOME".to_owned(), "/tmp".to_owned())]);
    let config = Config::built_in(&home).unwrap();
    let metrics = Metrics::new();
    let mut members: Vec<Member<Fake>> = members
        .into_iter()
        .map(|(name, priority, spec, hook)| Member {
            name: name.into(),
            version: "1.0.0".into(),
            priority,
            hooks: vec![MemberHook::new(spec.clone(), metrics.hook(name, spec.name)).unwrap()],
            hook: Arc::new(hook),
        })
        .collect();
    sort(&mut members);
    Generation {
        number: 7,
        routes: Routes::new(&config),
        upstreams: Vec::new(),
        config: Arc::new(config),
        members,
        since: SystemTime::now(),
    }
}

const BODY: &str = r#"{"model":"gpt-4o","messages":[]}"#;

fn draft() -> Draft {
    Draft::new(Endpoint::ChatCompletions, Bytes::from_static(BODY.as_bytes())).unwrap()
}

async fn run(generation: &Generation<Fake>, draft: &mut Draft) -> Ruling {
    let mut headers = HeaderMap::new();
    headers.insert("x-team", HeaderValue::from_static("red"));
    headers.insert("authorization", HeaderValue::from_static("Bearer secret"));
    on_request(generation, &facts(&headers), draft).await
}

fn facts(headers: &HeaderMap) -> Facts<'_> {
    Facts {
        request_id: "r1",
        generation: 7,
        endpoint: Endpoint::ChatCompletions,
        method: "POST",
        path: "/v1/chat/completions",
        headers,
        key_id: None,
        client: ClientId::default(),
    }
}

fn asked(generation: &Generation<Fake>, name: &str) -> Vec<Value> {
    let member = generation.members.iter().find(|member| &*member.name == name).unwrap();
    member.hook.asked.lock().unwrap().clone()
}

#[tokio::test]
async fn members_run_by_priority_then_name_and_each_sees_what_the_one_before_left() {
    let patch = Ok(Verdict {
        action: Action::MergePatch(json!({"model": "gpt-4o-mini"})),
        headers: HeaderChanges {
            set: vec![(HeaderName::from_static("x-team"), HeaderValue::from_static("blue"))],
            remove: vec![],
        },
        route: None,
        metadata: serde_json::Map::from_iter([("seen".to_owned(), json!(1))]),
    });
    let generation = generation(vec![
        ("zeta", 100, spec(HookName::OnRequest), fake([])),
        ("alpha", 100, spec(HookName::OnRequest), fake([])),
        ("late", 200, spec(HookName::OnRequest), fake([])),
        ("first", 10, spec(HookName::OnRequest), fake([patch])),
    ]);
    let mut draft = draft();
    assert!(matches!(run(&generation, &mut draft).await, Ruling::Proceed));
    let order: Vec<&str> = draft.runs.iter().map(|run| &*run.plugin).collect();
    assert_eq!(order, ["first", "alpha", "zeta", "late"]);
    let call = &asked(&generation, "alpha")[0];
    assert_eq!(call["model"], "gpt-4o-mini");
    assert_eq!(
        call["headers"],
        json!({"x-team": "blue"}),
        "granted headers only, as the plugin before left them"
    );
    assert_eq!(call["metadata"], json!({"seen": 1}));
    assert_eq!(draft.body, &br#"{"model":"gpt-4o-mini","messages":[]}"#[..]);
}

#[tokio::test]
async fn observers_beside_each_other_are_asked_at_the_same_time() {
    let barrier = Arc::new(Barrier::new(2));
    let meeting = || Fake { meets: Some(barrier.clone()), ..Fake::default() };
    let generation = generation(vec![
        ("a", 1, observer(HookName::OnRequest), meeting()),
        ("b", 2, observer(HookName::OnRequest), meeting()),
    ]);
    let ruling = tokio::time::timeout(Duration::from_secs(5), run(&generation, &mut draft())).await;
    assert!(matches!(ruling, Ok(Ruling::Proceed)), "each waits until the other is asked too");
}

#[tokio::test]
async fn of_several_observers_the_first_in_order_decides() {
    let reject = |message: &str| {
        let error = ApiError { message: message.to_owned(), ..ApiError::default() };
        does(Action::Reject { status: StatusCode::FORBIDDEN, error })
    };
    let generation = generation(vec![
        ("a", 1, observer(HookName::OnRequest), fake([])),
        ("b", 2, observer(HookName::OnRequest), fake([reject("second")])),
        ("c", 3, observer(HookName::OnRequest), fake([reject("third")])),
    ]);
    let Ruling::Answer(answer) = run(&generation, &mut draft()).await else { panic!("one refuses") };
    assert_eq!(answer.plugin, "b");
}

#[tokio::test]
async fn an_answer_ends_the_chain() {
    let respond = does(Action::Respond { status: StatusCode::OK, body: Bytes::from_static(b"{}") });
    let generation = generation(vec![
        ("a", 1, spec(HookName::OnRequest), fake([respond])),
        ("b", 2, spec(HookName::OnRequest), fake([])),
    ]);
    assert!(matches!(run(&generation, &mut draft()).await, Ruling::Answer(_)));
    assert!(asked(&generation, "b").is_empty());
}

#[tokio::test]
async fn without_a_verdict_the_policy_for_the_cause_decides() {
    let fails = || fake([Err(HookFailure::new(Cause::Unavailable, "dead"))]);
    let open = HookSpec {
        on_failure: OnFailure::always(Policy::Closed).with(Cause::Unavailable, Policy::Open),
        ..spec(HookName::OnRequest)
    };
    let goes_on = generation(vec![("p", 1, open, fails())]);
    let mut passed = draft();
    assert!(matches!(run(&goes_on, &mut passed).await, Ruling::Proceed));
    assert_eq!(passed.runs[0].policy, Some(Policy::Open));
    let stops = generation(vec![("p", 1, spec(HookName::OnRequest), fails())]);
    let Ruling::Refuse(fault) = run(&stops, &mut draft()).await else { panic!("closed refuses") };
    assert_eq!((fault.kind, fault.plugin.as_deref()), (Kind::Hook(Cause::Unavailable), Some("p")));
}

#[tokio::test]
async fn a_verdict_that_does_not_apply_leaves_the_body_as_it_was() {
    let narrow = HookSpec {
        mutates: Mutates { body: vec!["/messages".to_owned()], headers: false, route: false },
        on_failure: OnFailure::always(Policy::Open),
        ..spec(HookName::OnRequest)
    };
    let generation =
        generation(vec![("p", 1, narrow, fake([does(Action::MergePatch(json!({"model": "other"})))]))]);
    let mut draft = draft();
    assert!(matches!(run(&generation, &mut draft).await, Ruling::Proceed));
    assert_eq!(draft.body, BODY.as_bytes());
    assert_eq!(draft.model.as_deref(), Some("gpt-4o"));
}

#[tokio::test]
async fn a_route_to_an_upstream_nobody_configured_is_malformed() {
    let route = Some(RouteChange { model: None, upstream: Some("nowhere".to_owned()) });
    let verdict = Ok(Verdict { route, ..Verdict::default() });
    let generation = generation(vec![("p", 1, spec(HookName::OnRequest), fake([verdict]))]);
    let Ruling::Refuse(fault) = run(&generation, &mut draft()).await else { panic!("refused") };
    assert_eq!(fault.kind, Kind::Hook(Cause::Malformed));
}

#[tokio::test(start_paused = true)]
async fn the_chain_has_one_budget_and_what_comes_after_it_is_not_asked() {
    let slow = || Fake { silent: true, ..Fake::default() };
    let patient = HookSpec {
        timeout: Duration::from_secs(30),
        on_failure: OnFailure::always(Policy::Open),
        ..spec(HookName::OnRequest)
    };
    let generation = generation(vec![("a", 1, patient.clone(), slow()), ("b", 2, patient, slow())]);
    let began = tokio::time::Instant::now();
    let mut draft = draft();
    assert!(matches!(run(&generation, &mut draft).await, Ruling::Proceed));
    assert_eq!(began.elapsed(), generation.config.plugins.chain_budget);
    assert_eq!(asked(&generation, "a").len(), 1);
    assert!(asked(&generation, "b").is_empty());
    assert_eq!(draft.runs.len(), 2, "the one that was not asked is written down too");
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_gets_less_than_its_own_timeout_is_told_so_to_its_breaker() {
    let open = HookSpec { on_failure: OnFailure::always(Policy::Open), ..spec(HookName::OnRequest) };
    let patient = HookSpec { timeout: Duration::from_secs(30), ..open.clone() };
    let slow = || Fake { silent: true, ..Fake::default() };
    let generation = generation(vec![("a", 1, open, slow()), ("b", 2, patient, slow())]);
    assert!(matches!(run(&generation, &mut draft()).await, Ruling::Proceed));
    let cut_short = |at: usize| generation.members[at].hook.cut_short.lock().unwrap().clone();
    assert_eq!((cut_short(0), cut_short(1)), (vec![false], vec![true]));
}

#[tokio::test]
async fn a_hook_sees_of_the_body_what_it_declared() {
    let none = HookSpec { body: BodyNeed::None, ..spec(HookName::OnRequest) };
    let pointers =
        HookSpec { body: BodyNeed::Pointers(vec!["/model".to_owned()]), ..spec(HookName::OnRequest) };
    let small = HookSpec {
        body_bytes_max: 10,
        on_failure: OnFailure::always(Policy::Open),
        ..spec(HookName::OnRequest)
    };
    let generation = generation(vec![
        ("none", 1, none, fake([])),
        ("pointers", 2, pointers, fake([])),
        ("small", 3, small, fake([])),
    ]);
    let mut draft = draft();
    assert!(matches!(run(&generation, &mut draft).await, Ruling::Proceed));
    let [none, pointers, small] = &generation.members[..] else { panic!("three members") };
    assert_eq!(*none.hook.bodies.lock().unwrap(), [None]);
    assert_eq!(pointers.hook.asked.lock().unwrap()[0]["pointers"], json!({"/model": "gpt-4o"}));
    assert!(small.hook.asked.lock().unwrap().is_empty(), "a body it does not take is never cut for it");
    assert_eq!(draft.runs[2].outcome, crate::metrics::HookOutcome::Failed(Cause::Oversize));
}

fn failure(bytes_sent: u64) -> UpstreamFailure {
    UpstreamFailure {
        cause: UpstreamCause::Connect,
        phase: Phase::Connect,
        upstream: "openai".to_owned(),
        attempt: 1,
        status: None,
        elapsed_ms: 3,
        bytes_sent,
        will_retry: false,
        message: "refused".to_owned(),
        error_body: None,
    }
}

#[tokio::test]
async fn error_hooks_run_in_reverse_and_the_first_that_says_more_than_continue_decides() {
    let open = HookSpec { on_failure: OnFailure::always(Policy::Open), ..spec(HookName::OnError) };
    let retry = does(Action::Retry { delay: Duration::from_millis(5), patch: Some(json!({"seed": 1})) });
    let generation = generation(vec![
        ("outer", 1, open.clone(), fake([])),
        ("middle", 2, open.clone(), fake([retry])),
        ("inner", 3, open, fake([])),
    ]);
    let mut draft = draft();
    let headers = HeaderMap::new();
    let ruling = on_error(&generation, &facts(&headers), &mut draft, &failure(0)).await;
    assert!(matches!(ruling, ErrorRuling::Retry(delay) if delay == Duration::from_millis(5)));
    let order: Vec<&str> = draft.runs.iter().map(|run| &*run.plugin).collect();
    assert_eq!(order, ["inner", "middle"]);
    assert_eq!(asked(&generation, "inner")[0]["cause"], "connect");
    assert_eq!(draft.body, &br#"{"model":"gpt-4o","messages":[],"seed":1}"#[..]);
}

#[tokio::test]
async fn with_bytes_at_the_client_an_error_hook_can_only_be_told() {
    let closed = HookSpec { on_failure: OnFailure::always(Policy::Open), ..spec(HookName::OnError) };
    let generation = generation(vec![(
        "p",
        1,
        closed,
        fake([does(Action::Respond { status: StatusCode::OK, body: Bytes::new() })]),
    )]);
    let headers = HeaderMap::new();
    let ruling = on_error(&generation, &facts(&headers), &mut draft(), &failure(100)).await;
    assert!(matches!(ruling, ErrorRuling::Continue));
}

#[tokio::test(start_paused = true)]
async fn all_error_hooks_of_a_request_have_one_budget() {
    let patient = HookSpec {
        timeout: Duration::from_secs(30),
        on_failure: OnFailure::always(Policy::Open),
        ..spec(HookName::OnError)
    };
    let silent = || Fake { silent: true, ..Fake::default() };
    let generation = generation(vec![("p", 1, patient, silent())]);
    let (mut draft, headers) = (draft(), HeaderMap::new());
    let began = tokio::time::Instant::now();
    for _ in 0..5 {
        on_error(&generation, &facts(&headers), &mut draft, &failure(0)).await;
        // What a request waits for besides its hooks is not theirs.
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    assert_eq!(began.elapsed(), generation.config.plugins.chain_budget + Duration::from_secs(300));
    assert_eq!(asked(&generation, "p").len(), 1);
    let errors: Vec<&str> = draft.runs.iter().filter_map(|run| run.error.as_deref()).collect();
    assert!(errors[0].contains("all that was left of [plugins] chain_budget; its own timeoutMs is 30000"));
    assert!(errors[1..].iter().all(|error| error.contains("spent [plugins] chain_budget")), "{errors:?}");
}
