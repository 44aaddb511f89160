//! Calls that bring no verdict: what the client gets, for each way to fail and either policy.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Gateway, HELLO, Message, Request, TOKEN, Upstream, Wire};
use crate::plugins::{Folder, misbehave, start};
use crate::processes::{nth, ready, said};

/// What the misbehaving plugin does, and the cause that gives.
const WAYS: [(&str, &str); 16] = [
    ("never_answer", "timeout"),
    ("unfinished_verdict", "timeout"),
    ("exit_mid_call", "unavailable"),
    ("half_frame_then_exit", "unavailable"),
    ("error_frame", "error"),
    ("garbage", "protocol"),
    ("wrong_id", "protocol"),
    ("oversized_frame", "protocol"),
    ("meta_len_lie", "protocol"),
    ("unknown_type", "protocol"),
    ("unknown_flag", "protocol"),
    ("bad_meta", "malformed"),
    ("unknown_action", "malformed"),
    ("bad_patch", "malformed"),
    ("outside_mutates", "malformed"),
    ("huge_verdict", "too_large"),
];

/// One plugin per way, asked by the request that names it.
fn failing(mode: &str, cause: &str, policy: &str) -> Folder {
    let name = name(mode, policy);
    let mut spec = json!({
        "body": "full",
        "mutates": ["/messages"],
        "onFailure": policy,
        "when": {"header": {"name": "x-for", "value": name}},
    });
    if cause == "timeout" {
        spec["timeoutMs"] = 100.into();
    }
    Folder::misbehaving(&name).hook("onRequest", spec).mode(mode)
}

fn name(mode: &str, policy: &str) -> String {
    format!("{}-{policy}", mode.replace('_', "-"))
}

fn ask_of(plugin: &str) -> Request {
    Request::chat(HELLO).field("x-for", plugin)
}

/// An answer in the name of a plugin that failed and must not be passed over.
#[track_caller]
fn assert_closed(answer: &Message, plugin: &str, cause: &str) {
    let (status, retry_after) = match cause {
        "timeout" => (504, None),
        "unavailable" | "overloaded" | "broken" => (503, Some("1")),
        "error" | "malformed" | "protocol" => (502, None),
        "too_large" | "oversize" => (413, None),
        _ => panic!("{cause} is no cause"),
    };
    assert_eq!(answer.status(), status, "{plugin}: {answer:?}");
    assert_eq!(answer.get("x-hookway-plugin"), Some(plugin), "{answer:?}");
    assert_eq!(answer.get("x-hookway-cause"), Some(cause), "{plugin}: {answer:?}");
    assert_eq!(answer.get("retry-after"), retry_after, "{plugin}: {answer:?}");
    assert_eq!(answer.get("content-type"), Some("application/json"), "{answer:?}");
    let error = &answer.json()["error"];
    assert_eq!((&error["type"], &error["code"]), (&json!("server_error"), &json!("plugin_failed")));
    assert!(error["message"].as_str().unwrap().contains(plugin), "{error}");
}

async fn start_failing(policy: &str, upstream: &Upstream) -> Gateway {
    let plugins: Vec<Folder> = WAYS.iter().map(|(mode, cause)| failing(mode, cause, policy)).collect();
    start(&upstream.entry("up", ""), &plugins).await
}

#[tokio::test]
async fn closed_means_that_the_client_is_told_and_no_upstream_is_asked() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = start_failing("closed", &upstream).await;
    for (mode, cause) in WAYS {
        let (plugin, asked) = (name(mode, "closed"), Instant::now());
        let answer = gateway.ask(&ask_of(&plugin)).await;
        assert!(asked.elapsed() < Duration::from_secs(15), "{mode} took {:?}", asked.elapsed());
        assert_closed(&answer, &plugin, cause);
        let line = gateway.access(&answer).await;
        assert_eq!(line["outcome"], "hook_failed", "{line}");
        assert!(line["hooks"].as_str().unwrap().contains(&format!("={cause}:closed/")), "{line}");
    }
    assert_eq!(upstream.received().len(), 0);
}

#[tokio::test]
async fn a_refusal_shows_what_the_hooks_did_to_those_who_may_see_it() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = start(&upstream.entry("up", ""), &[failing("error_frame", "error", "closed")]).await;
    let answer = gateway.ask(&ask_of(&name("error_frame", "closed")).field("x-hookway-trace", TOKEN)).await;
    assert_closed(&answer, &name("error_frame", "closed"), "error");
    let trace = answer.get("x-hookway-trace").unwrap_or_default();
    assert!(trace.contains("onRequest=error:closed/"), "{trace:?}");
}

#[tokio::test]
async fn a_client_that_leaves_has_the_hooks_in_its_record() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = start(&upstream.entry("up", ""), &[Folder::misbehaving("obeys")]).await;
    let mut client = gateway.connect().await;
    client.send(misbehave("ok").bytes()).await;
    let mut call = upstream.call().await;
    call.body().await;
    drop(client);
    call.ended().await;
    let line = gateway.log.find("an access line", |line| line["target"] == "hookway::access").await;
    assert_eq!((&line["outcome"], &line["model"]), (&json!("client_gone"), &json!("m")), "{line}");
    assert!(line["hooks"].as_str().unwrap().starts_with("obeys.onRequest=continue/"), "{line}");
}

#[tokio::test]
async fn open_means_that_the_request_goes_on_as_it_was_before_this_plugin() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = start_failing("open", &upstream).await;
    for (mode, cause) in WAYS {
        let plugin = name(mode, "open");
        let answer = gateway.ask(&ask_of(&plugin)).await;
        assert_eq!(answer.status(), 200, "{mode}: {answer:?}");
        assert_eq!(answer.get("x-hookway-plugin"), None, "{mode}");
        assert_eq!(upstream.received().last().unwrap().text(), HELLO, "{mode}");
        let line = gateway.access(&answer).await;
        assert!(line["hooks"].as_str().unwrap().contains(&format!("={cause}:open/")), "{line}");
        let labels = [("plugin", plugin.as_str()), ("cause", cause)];
        assert_eq!(gateway.metric("hookway_hook_fail_open_total", &labels).await, 1.0, "{mode}");
    }
    assert_eq!(upstream.received().len(), WAYS.len());
}

#[tokio::test]
async fn a_policy_can_be_told_per_cause() {
    let policy =
        json!({"onFailure": {"default": "closed", "error": "open", "malformed": "open"}, "mutates": []});
    let gateway = start("", &[Folder::misbehaving("twin").hook("onRequest", policy)]).await;
    assert_eq!(gateway.ask(&misbehave("error_frame")).await.status(), 200);
    assert_eq!(gateway.ask(&misbehave("outside_mutates")).await.status(), 200);
    assert_closed(&gateway.ask(&misbehave("garbage")).await, "twin", "protocol");
}

#[tokio::test]
async fn a_late_answer_is_swallowed_and_the_next_call_gets_its_own() {
    let policy = json!({"timeoutMs": 1_000});
    let gateway = start("", &[Folder::misbehaving("twin").hook("onRequest", policy)]).await;
    assert_closed(&gateway.ask(&misbehave("late=1300")).await, "twin", "timeout");
    // Is still under way when the late one comes.
    let reject = r#"echo_verdict={"action":"reject","status":418,"error":{"message":"mine"}}"#;
    let (mine, continued) = (misbehave(reject), misbehave("late=500"));
    let (mine, continued) = tokio::join!(gateway.ask(&mine), gateway.ask(&continued));
    assert_eq!((mine.status(), continued.status()), (418, 200));
    assert_eq!(gateway.metric("hookway_plugin_restarts_total", &[("plugin", "twin")]).await, 0.0);
}

#[tokio::test]
async fn whoever_breaks_the_protocol_is_restarted_and_at_the_third_time_given_up() {
    let gateway = start("", &[Folder::misbehaving("twin")]).await;
    for time in 1..=3 {
        ready(&gateway.log, "twin", time).await;
        assert_closed(&gateway.ask(&misbehave("garbage")).await, "twin", "protocol");
        assert_eq!(nth(&gateway.log, time, "plugin died", "twin").await["kind"], "protocol");
    }
    nth(&gateway.log, 1, "plugin broken: its onFailure verdict applies until a probe succeeds", "twin").await;
    assert_closed(&gateway.ask(&misbehave("ok")).await, "twin", "broken");
    assert_eq!(gateway.metric("hookway_plugin_up", &[("plugin", "twin")]).await, 0.0);
}

#[tokio::test]
async fn an_error_of_the_plugin_itself_restarts_nothing() {
    let gateway = start("", &[Folder::misbehaving("twin")]).await;
    let pid = ready(&gateway.log, "twin", 1).await;
    assert_closed(&gateway.ask(&misbehave("error_frame")).await, "twin", "error");
    assert_eq!(gateway.ask(&misbehave("ok")).await.status(), 200);
    assert_eq!(state(&gateway, "twin").await["pid"], pid);
}

/// What `/api/status` says of a plugin.
pub(crate) async fn state(gateway: &Gateway, plugin: &str) -> Value {
    let status = gateway.admin("GET", "/api/status").await.json();
    let plugins = status["plugins"].as_array().unwrap();
    plugins.iter().find(|known| known["name"] == plugin).unwrap().clone()
}

#[tokio::test]
async fn a_body_larger_than_the_plugin_takes_is_never_cut() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let takes = |name: &str, policy: &str| {
        let when = json!({"header": {"name": "x-for", "value": name}});
        let spec = json!({"body": "full", "maxBody": 100, "onFailure": policy, "when": when});
        Folder::misbehaving(name).hook("onRequest", spec)
    };
    let gateway = start(&upstream.entry("up", ""), &[takes("strict", "closed"), takes("lax", "open")]).await;
    let body = HELLO.replace("hello", &"x".repeat(100));
    let ask = |plugin: &str| Request::chat(body.as_str()).field("x-for", plugin);
    assert_closed(&gateway.ask(&ask("strict")).await, "strict", "oversize");
    assert_eq!(gateway.ask(&ask("lax")).await.status(), 200);
    assert_eq!(upstream.only().text(), body);
    assert_eq!(gateway.ask(&ask_of("strict")).await.status(), 200, "a small one passes");
    let counted = [("plugin", "lax"), ("cause", "oversize")];
    assert_eq!(gateway.metric("hookway_hook_fail_open_total", &counted).await, 1.0);
}

#[tokio::test]
async fn a_large_body_that_is_never_asked_for_is_a_timeout_and_holds_up_no_other_call() {
    let spec = json!({"body": "full", "timeoutMs": 1_000});
    let gateway = start("", &[Folder::misbehaving("twin").hook("onRequest", spec).mode("no_credit")]).await;
    let large = Request::chat(HELLO.replace("hello", &"x".repeat(3 << 20)));
    let small = Request::chat(HELLO);
    let (large, small) = tokio::join!(gateway.ask(&large), gateway.ask(&small));
    assert_closed(&large, "twin", "timeout");
    assert_eq!(small.status(), 200, "{small:?}");
}

#[tokio::test]
async fn too_many_calls_at_once_are_overload_and_restart_nothing() {
    let spec = json!({"timeoutMs": 1_000});
    let twin =
        Folder::misbehaving("twin").hook("onRequest", spec).manifest(json!({"limits": {"maxInFlight": 1}}));
    let gateway = start("", &[twin]).await;
    let ask = misbehave("never_answer");
    let (one, other) = tokio::join!(gateway.ask(&ask), gateway.ask(&ask));
    let (first, second) = if one.status() == 504 { (one, other) } else { (other, one) };
    assert_closed(&first, "twin", "timeout");
    assert_closed(&second, "twin", "overloaded");
    assert_eq!(gateway.ask(&misbehave("ok")).await.status(), 200, "its place is free again");
    assert_eq!(gateway.metric("hookway_plugin_restarts_total", &[("plugin", "twin")]).await, 0.0);
}

#[tokio::test]
async fn a_plugin_that_keeps_timing_out_is_no_longer_waited_for_until_it_answers_again() {
    let spec = json!({"timeoutMs": 250});
    let gateway = start("", &[Folder::misbehaving("twin").hook("onRequest", spec)]).await;
    for _ in 0..5 {
        assert_closed(&gateway.ask(&misbehave("never_answer")).await, "twin", "timeout");
    }
    let answer = gateway.ask(&misbehave("ok")).await;
    assert_closed(&answer, "twin", "broken");
    let hooks = gateway.access(&answer).await["hooks"].as_str().unwrap().to_owned();
    let micros: u64 = hooks.rsplit_once('/').unwrap().1.trim_end_matches("us").parse().unwrap();
    assert!(micros < 250_000, "nothing was waited for: {hooks}");
    assert_eq!(state(&gateway, "twin").await["state"], "degraded");
    // The breaker lets one call through after a second.
    let began = Instant::now();
    while gateway.ask(&misbehave("ok")).await.status() != 200 {
        assert!(began.elapsed() < Duration::from_secs(15), "the breaker never closes");
    }
    assert_eq!(state(&gateway, "twin").await["state"], "active");
}

#[tokio::test]
async fn errors_for_one_client_close_a_plugin_to_no_other() {
    let gateway = start("", &[Folder::misbehaving("twin")]).await;
    for _ in 0..100 {
        assert_closed(&gateway.ask(&misbehave("error_frame")).await, "twin", "error");
    }
    let other = Wire::open_from([127, 0, 0, 2].into(), gateway.data).await.ask(&misbehave("ok")).await;
    assert_eq!(other.status(), 200, "{other:?}");
    assert_eq!(state(&gateway, "twin").await["state"], "active");
}

#[tokio::test]
async fn a_plugin_that_answers_everybody_with_errors_is_asked_one_call_at_a_time_until_it_works() {
    let gateway = start("", &[Folder::misbehaving("twin")]).await;
    let breaker = async || gateway.metric("hookway_plugin_breaker_state", &[("plugin", "twin")]).await;
    for turn in 0..20 {
        let mut client = Wire::open_from([127, 0, 0, 2 + turn % 5].into(), gateway.data).await;
        assert_closed(&client.ask(&misbehave("error_frame")).await, "twin", "error");
    }
    assert_closed(&gateway.ask(&misbehave("ok")).await, "twin", "broken");
    assert_eq!(breaker().await, 2.0);
    let began = Instant::now();
    while gateway.ask(&misbehave("error_frame")).await.get("x-hookway-cause") == Some("broken") {
        assert!(began.elapsed() < Duration::from_secs(15), "no call finds out");
    }
    assert_eq!(breaker().await, 1.0, "half open");
    assert_eq!(gateway.ask(&misbehave("ok")).await.status(), 200);
    assert_eq!(breaker().await, 0.0);
}

#[tokio::test]
async fn what_a_full_socket_cannot_take_is_overload() {
    let spec = json!({"body": "full", "timeoutMs": 2_000});
    let gateway = start("", &[Folder::misbehaving("twin").hook("onRequest", spec)]).await;
    // From here on it reads nothing, and the calls fill what lies between.
    assert_closed(&gateway.ask(&misbehave("deaf")).await, "twin", "timeout");
    let large = Request::chat(HELLO.replace("hello", &"x".repeat(65_000)));
    let crowd = futures_util::future::join_all((0..250).map(|_| gateway.ask(&large))).await;
    let overloaded = |answer: &&Message| answer.get("x-hookway-cause") == Some("overloaded");
    let (refused, waited): (Vec<_>, Vec<_>) = crowd.iter().partition(overloaded);
    assert!(!refused.is_empty() && !waited.is_empty(), "{} and {}", refused.len(), waited.len());
    refused.iter().for_each(|answer| assert_closed(answer, "twin", "overloaded"));
    waited.iter().for_each(|answer| assert!([503, 504].contains(&answer.status()), "{answer:?}"));
}

#[tokio::test]
async fn a_chain_that_fails_open_at_one_plugin_goes_on_with_the_next() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let open = json!({"onFailure": "open"});
    let patch = json!({"action": "patch", "patch": {"user": "second"}});
    let plugins = [
        Folder::misbehaving("first").hook("onRequest", open).mode("error_frame"),
        Folder::misbehaving("second").mode("echo_verdict").config(json!({ "verdict": patch })),
    ];
    let gateway = start(&upstream.entry("up", ""), &plugins).await;
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
    let body: Value = serde_json::from_slice(&upstream.only().body).unwrap();
    assert_eq!(body["user"], "second");
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_its_calls() {
    let program = r#"
import time
@plugin.on_request
def wait(call):
    plugin.log("info", "working")
    while not call.cancelled:
        time.sleep(0.005)
    plugin.log("info", "cancelled")
    return call.proceed()
"#;
    let upstream = Upstream::answering(Answer::hello()).await;
    let waits = Folder::python("waits", program).hook("onRequest", json!({}));
    let gateway = start(&upstream.entry("up", ""), &[waits]).await;
    let mut client = gateway.connect().await;
    client.send(Request::chat(HELLO).bytes()).await;
    said(&gateway.log, "working").await;
    drop(client);
    said(&gateway.log, "cancelled").await;
    let line = gateway.log.find("the end of the request", |line| line["outcome"] == "client_gone").await;
    assert_eq!(line["status"], Value::Null);
    assert_eq!(upstream.received().len(), 0);
}

#[tokio::test]
async fn a_plugin_that_floods_its_stdout_is_answered_for_and_its_lines_are_bounded() {
    let gateway = start("", &[Folder::misbehaving("twin")]).await;
    let asked = Instant::now();
    assert_eq!(gateway.ask(&misbehave("flood_stdout=100000")).await.status(), 200);
    assert_eq!(gateway.ask(&misbehave("ok")).await.status(), 200);
    let seconds = usize::try_from(asked.elapsed().as_secs()).unwrap() + 2;
    let flood = |line: &Value| line["text"].as_str().is_some_and(|text| text.starts_with("xxx"));
    let kept = gateway.log.lines().iter().filter(|line| flood(line)).count();
    assert!((1..=200 * seconds).contains(&kept), "{kept} lines in {seconds} s");
}
