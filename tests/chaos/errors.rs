//! `onError`: what plugins may do about an upstream that failed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Gateway, HELLO, Request, STREAM, Upstream, event};
use crate::plugins::{Folder, misbehave, start, verdict};
use crate::processes::{ready, said};

const OVERLOADED: &str =
    r#"{"error":{"message":"try later","type":"server_error","param":null,"code":"busy"}}"#;

/// A plugin that only hears of failures, and does what the request says.
fn rescuer(name: &str) -> Folder {
    Folder::misbehaving(name).without_hook("onRequest").hook("onError", json!({"body": "full"}))
}

fn busy() -> Answer {
    Answer::json(503, OVERLOADED)
}

/// An upstream that gives these answers in turn, behind a route that tries once.
async fn behind(answers: Vec<Answer>, plugins: &[Folder]) -> (Gateway, Upstream) {
    let upstream = Upstream::in_turn(answers).await;
    let base = format!("{}{}", upstream.entry("up", ""), route("up", 1));
    (start(&base, plugins).await, upstream)
}

fn route(upstream: &str, attempts: u32) -> String {
    let on = r#"["connect", "timeout", "429", "5xx"]"#;
    format!(
        "[[route]]\nmodel = \"*\"\nupstreams = [\"{upstream}\"]\n\
         retry = {{ attempts = {attempts}, on = {on}, backoff = \"1ms\" }}\n"
    )
}

/// The hook calls of a request, as its line in the access log has them.
async fn hooks(gateway: &Gateway, answer: &crate::harness::Message) -> String {
    gateway.access(answer).await["hooks"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn continue_leaves_the_upstreams_own_error() {
    let (gateway, _upstream) = behind(vec![busy()], &[rescuer("rescuer")]).await;
    let answer = gateway.ask(&misbehave("ok")).await;
    assert_eq!((answer.status(), answer.text().as_str()), (503, OVERLOADED));
    assert!(hooks(&gateway, &answer).await.starts_with("rescuer.onError=continue/"));
}

#[tokio::test]
async fn respond_and_reject_speak_in_the_upstreams_place() {
    let (gateway, upstream) = behind(vec![busy()], &[rescuer("rescuer")]).await;
    let answer = gateway.ask(&misbehave("show_call")).await;
    assert_eq!((answer.status(), answer.get("x-hookway-plugin")), (200, Some("rescuer")));
    let reject = json!({"action": "reject", "status": 424, "error": {"message": "down", "code": "down"}});
    let answer = gateway.ask(&verdict(&reject)).await;
    assert_eq!((answer.status(), &answer.json()["error"]["code"]), (424, &json!("down")));
    assert_eq!(upstream.received().len(), 2, "one attempt each");
}

#[tokio::test]
async fn a_plugin_is_told_what_failed() {
    let (gateway, _upstream) = behind(vec![busy()], &[rescuer("rescuer")]).await;
    let told = gateway.ask(&misbehave("show_call")).await.json();
    let meta = &told["meta"];
    assert_eq!(
        (&meta["hook"], &meta["cause"], &meta["phase"]),
        (&json!("onError"), &json!("5xx"), &json!("first_byte"))
    );
    assert_eq!(
        (&meta["upstream"], &meta["attempt"], &meta["status"]),
        (&json!("up"), &json!(1), &json!(503))
    );
    assert_eq!((&meta["willRetry"], &meta["bytesSent"]), (&json!(false), &json!(0)));
    assert_eq!(meta["errorBody"], serde_json::from_str::<Value>(OVERLOADED).unwrap());
    assert_eq!(told["body"], HELLO);
}

#[tokio::test]
async fn a_plugin_is_told_what_was_noted_before_the_upstream_was_asked() {
    let note = json!({"action": "continue", "metadata": {"team": "red"}});
    let notes = Folder::misbehaving("notes").hook("onRequest", json!({"headers": []}));
    let notes = notes.mode("echo_verdict").config(json!({ "verdict": note }));
    let (gateway, _upstream) = behind(vec![busy()], &[notes, rescuer("rescuer")]).await;
    let told = gateway.ask(&misbehave("show_call")).await.json();
    assert_eq!(told["meta"]["metadata"], json!({"team": "red"}));
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_failure_to_connect() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = start(&upstream.entry("up", ""), &[rescuer("rescuer")]).await;
    drop(upstream);
    let told = gateway.ask(&misbehave("show_call")).await.json();
    assert_eq!((&told["meta"]["cause"], &told["meta"]["phase"]), (&json!("connect"), &json!("connect")));
    assert_eq!(told["meta"].get("status"), None);
}

#[tokio::test]
async fn every_failed_attempt_is_shown_and_whether_another_follows() {
    let program = r#"
@plugin.on_error
def tell(call):
    failure = call.failure
    plugin.log("info", f"attempt {failure.attempt} willRetry {failure.willRetry}")
    return call.proceed()
"#;
    let upstream = Upstream::answering(busy()).await;
    let tells = Folder::python("tells", program).hook("onError", json!({}));
    let gateway = start(&format!("{}{}", upstream.entry("up", ""), route("up", 3)), &[tells]).await;
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    assert_eq!((answer.status(), upstream.received().len()), (503, 3));
    for line in ["attempt 1 willRetry True", "attempt 2 willRetry True", "attempt 3 willRetry False"] {
        said(&gateway.log, line).await;
    }
}

#[tokio::test]
async fn retry_asks_the_same_upstream_again_with_the_patch_after_the_delay() {
    let (gateway, upstream) = behind(vec![busy(), Answer::hello()], &[rescuer("rescuer")]).await;
    let asked = Instant::now();
    let headers = json!({"set": {"x-again": "1"}});
    let retry = json!({"action": "retry", "delayMs": 300, "patch": {"max_tokens": 5}, "headers": headers});
    let answer = gateway.ask(&verdict(&retry)).await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert!(asked.elapsed() >= Duration::from_millis(300));
    let [first, second] = &upstream.received()[..] else { panic!("two attempts") };
    assert_eq!((first.text().as_str(), first.head.get("x-again")), (HELLO, None));
    assert_eq!(second.head.get("x-again"), Some("1"));
    let body: Value = serde_json::from_slice(&second.body).unwrap();
    assert_eq!(body["max_tokens"], 5);
    assert_eq!(gateway.access(&answer).await["attempts"], 2);
}

#[tokio::test]
async fn attempts_are_bounded_whatever_a_plugin_wants() {
    let (gateway, upstream) = behind(vec![busy()], &[rescuer("rescuer")]).await;
    let answer = gateway.ask(&verdict(&json!({"action": "retry"}))).await;
    assert_eq!((answer.status(), answer.text().as_str()), (503, OVERLOADED));
    assert_eq!(upstream.received().len(), 10);
    assert_eq!(answer.get("x-should-retry"), Some("false"), "the client's own retries would multiply them");
}

/// Two upstreams: the first fails always, the second is for models that begin with "big".
async fn two_upstreams() -> (Gateway, [Upstream; 2]) {
    let upstreams = [Upstream::answering(busy()).await, Upstream::answering(Answer::hello()).await];
    let base = format!(
        "{}{}[[route]]\nmodel = \"big*\"\nupstreams = [\"good\"]\n",
        upstreams[0].entry("bad", "breaker = { failures = 0 }"),
        upstreams[1].entry("good", "")
    );
    (start(&base, &[rescuer("rescuer")]).await, upstreams)
}

#[tokio::test]
async fn fallback_goes_on_at_another_upstream_with_the_same_body() {
    let (gateway, [_bad, good]) = two_upstreams().await;
    let answer = gateway.ask(&verdict(&json!({"action": "fallback", "route": {"upstream": "good"}}))).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(good.only().text(), HELLO);
    assert_eq!(gateway.access(&answer).await["upstream"], "good");
}

#[tokio::test]
async fn fallback_to_a_model_goes_by_the_routes() {
    let (gateway, [_bad, good]) = two_upstreams().await;
    let answer = gateway.ask(&verdict(&json!({"action": "fallback", "route": {"model": "big-1"}}))).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(good.only().text(), HELLO.replace("\"m\"", "\"big-1\""));
}

#[tokio::test]
async fn a_fallback_that_leads_nowhere_leaves_the_upstreams_own_error() {
    let (gateway, [bad, good]) = two_upstreams().await;
    for route in [json!({"upstream": "nowhere"}), json!({})] {
        let answer = gateway.ask(&verdict(&json!({"action": "fallback", "route": route}))).await;
        assert_eq!(
            (answer.status(), answer.get("x-hookway-cause")),
            (502, Some("malformed")),
            "it fails closed here"
        );
    }
    let back = verdict(&json!({"action": "fallback", "route": {"upstream": "bad"}}));
    assert_eq!(gateway.ask(&back).await.text(), OVERLOADED);
    assert_eq!((bad.received().len(), good.received().len()), (2 + 10, 0), "and is bounded too");
}

#[tokio::test]
async fn error_hooks_run_in_reverse_and_the_first_that_speaks_is_heard() {
    let says = |name: &str, status: u16, priority: i32| {
        let reject = json!({"action": "reject", "status": status, "error": {"message": name}});
        let folder = rescuer(name).mode("echo_verdict").config(json!({ "verdict": reject }));
        folder.hook("onError", json!({"headers": []})).priority(priority)
    };
    let plugins = [says("outer", 481, 1), says("inner", 482, 2), rescuer("innermost").priority(3)];
    let (gateway, _upstream) = behind(vec![busy()], &plugins).await;
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    assert_eq!((answer.status(), answer.get("x-hookway-plugin")), (482, Some("inner")));
    let ran = hooks(&gateway, &answer).await;
    let order: Vec<&str> = ran.split(' ').map(|run| run.split('.').next().unwrap()).collect();
    assert_eq!(order, ["innermost", "inner"]);
}

#[tokio::test]
async fn open_is_the_upstreams_own_error_and_closed_the_plugins() {
    let ways = [
        ("never_answer", "timeout", 504),
        ("exit_mid_call", "unavailable", 503),
        ("garbage", "protocol", 502),
        ("error_frame", "error", 502),
        (r#"echo_verdict={"action":"replace"}"#, "malformed", 502),
        (r#"echo_verdict={"action":"retry","patch":{"model":"other"}}"#, "malformed", 502),
    ];
    for policy in ["open", "closed"] {
        let spec = json!({"onFailure": policy, "timeoutMs": 1_000, "mutates": ["/messages"]});
        let (gateway, upstream) = behind(vec![busy()], &[rescuer("fails").hook("onError", spec)]).await;
        let mut lives = 1;
        for (mode, cause, status) in ways {
            let answer = gateway.ask(&misbehave(mode)).await;
            let ran = hooks(&gateway, &answer).await;
            assert!(ran.starts_with(&format!("fails.onError={cause}:{policy}/")), "{mode}: {ran}");
            if policy == "open" {
                assert_eq!((answer.status(), answer.text().as_str()), (503, OVERLOADED), "{mode}");
            } else {
                assert_eq!((answer.status(), answer.get("x-hookway-cause")), (status, Some(cause)), "{mode}");
            }
            lives += usize::from(matches!(cause, "unavailable" | "protocol"));
            ready(&gateway.log, "fails", lives).await;
        }
        assert_eq!(upstream.received().len(), ways.len());
    }
}

#[tokio::test]
async fn a_plugins_own_failure_and_refusal_are_no_failures_of_an_upstream() {
    let first = Folder::misbehaving("first").priority(1);
    let (gateway, upstream) = behind(vec![Answer::hello()], &[first, rescuer("rescuer")]).await;
    let rejects = json!({"action": "reject", "status": 503, "error": {"message": "no"}}).to_string();
    for mode in ["error_frame".to_owned(), "exit_mid_call".to_owned(), format!("echo_verdict={rejects}")] {
        let answer = gateway.ask(&misbehave(&mode)).await;
        assert_ne!(answer.status(), 200);
        assert!(!hooks(&gateway, &answer).await.contains("onError"), "{mode}");
    }
    assert_eq!(upstream.received().len(), 0);
}

#[tokio::test]
async fn an_answer_the_upstream_means_is_no_failure() {
    let (gateway, _upstream) = behind(vec![Answer::json(404, "{}")], &[rescuer("rescuer")]).await;
    let answer = gateway.ask(&misbehave("show_call")).await;
    assert_eq!((answer.status(), answer.text().as_str()), (404, "{}"));
}

#[tokio::test]
async fn after_the_first_byte_a_plugin_is_told_and_nothing_more() {
    let cut = Answer::stream_head().chunk(event("one")).then_close();
    let (gateway, _upstream) = behind(vec![cut], &[rescuer("rescuer")]).await;
    for mode in ["ok", "echo_verdict={\"action\":\"retry\"}"] {
        let request = misbehave(mode).body(STREAM);
        let answer = gateway.ask(&request).await;
        assert_eq!(answer.status(), 200);
        let text = answer.text();
        let last = text.trim_end().rsplit("data: ").next().unwrap();
        assert!(text.starts_with(&event("one")), "{text}");
        let error: Value = serde_json::from_str(last).unwrap();
        assert_eq!(error["error"]["code"], "upstream_failed", "{text}");
        let ran = hooks(&gateway, &answer).await;
        let expected =
            if mode == "ok" { "rescuer.onError=continue/" } else { "rescuer.onError=malformed:closed/" };
        assert!(ran.starts_with(expected), "{ran}");
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_is_not_retried_for() {
    let (gateway, upstream) = behind(vec![busy(), Answer::hello()], &[rescuer("rescuer")]).await;
    let mut client = gateway.connect().await;
    client.send(verdict(&json!({"action": "retry", "delayMs": 25_000})).bytes()).await;
    upstream.wait_for(1).await;
    drop(client);
    gateway.log.find("the end of the request", |line| line["outcome"] == "client_gone").await;
    assert_eq!(upstream.received().len(), 1);
}
