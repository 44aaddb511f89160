//! `onRequest`: what each verdict does to the request, and to its answer.

use serde_json::{Value, json};

use crate::harness::{Answer, Gateway, HELLO, Message, Request, STREAM, Upstream};
use crate::plugins::{Folder, misbehave, start, verdict};

/// A plugin that gives whatever verdict a request asks for, before an upstream that remembers.
async fn obedient() -> (Gateway, Upstream) {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = start(&upstream.entry("up", ""), &[Folder::misbehaving("obeys")]).await;
    (gateway, upstream)
}

/// A plugin with a body to say, and a verdict to say it with.
fn says(verdict: Value, body: &str) -> Folder {
    Folder::misbehaving("says").mode("echo_verdict").config(json!({"verdict": verdict, "body": body}))
}

#[tokio::test]
async fn continue_leaves_the_bytes_as_they_came() {
    let (gateway, upstream) = obedient().await;
    let body = "{ \"model\" : \"m\",\"messages\":[],\n\"seed\":1.0 }";
    let request = Request::chat(body).field("x-misbehave", "ok");
    assert_eq!(gateway.ask(&request).await.status(), 200);
    assert_eq!(upstream.only().text(), body);
}

#[tokio::test]
async fn patches_change_what_they_name_and_nothing_else() {
    let cases = [
        (
            json!({"action": "patch", "patch": {"user": "u1", "seed": null, "messages": []}}),
            r#"{"model":"m","big":123456789012345678901234567890,"messages":[],"user":"u1"}"#,
        ),
        (
            json!({"action": "patch", "jsonPatch": [
                {"op": "test", "path": "/model", "value": "m"},
                {"op": "replace", "path": "/messages/0/content", "value": "hi"},
                {"op": "remove", "path": "/seed"},
                {"op": "add", "path": "/n", "value": 2.5},
            ]}),
            r#"{"model":"m","big":123456789012345678901234567890,"messages":[{"role":"user","content":"hi"}],"n":2.5}"#,
        ),
    ];
    let body = r#"{"model":"m","big":123456789012345678901234567890,"seed":1.0,"messages":[{"role":"user","content":"hello"}]}"#;
    for (said, expected) in cases {
        let (gateway, upstream) = obedient().await;
        let request = verdict(&said).body(body);
        assert_eq!(gateway.ask(&request).await.status(), 200);
        assert_eq!(sorted(&upstream.only().text()), sorted(expected));
        assert!(upstream.only().text().contains("123456789012345678901234567890"));
        let length = upstream.only().body.len().to_string();
        assert_eq!(upstream.only().head.get("content-length"), Some(length.as_str()));
    }
}

fn sorted(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn a_replaced_body_goes_upstream_as_the_plugin_wrote_it() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let body = "{\"model\" : \"other\", \"messages\":[ ] }";
    let gateway = start(&upstream.entry("up", ""), &[says(json!({"action": "replace"}), body)]).await;
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(upstream.only().text(), body);
    assert_eq!(gateway.access(&answer).await["model"], "other");
}

#[tokio::test]
async fn a_body_replaced_by_none_is_malformed() {
    for body in ["", "[]", "no json", r#"{"model":3}"#] {
        let upstream = Upstream::answering(Answer::hello()).await;
        let gateway = start(&upstream.entry("up", ""), &[says(json!({"action": "replace"}), body)]).await;
        assert_malformed(&gateway.ask(&Request::chat(HELLO)).await);
        assert_eq!(upstream.received().len(), 0);
    }
}

#[track_caller]
fn assert_malformed(answer: &Message) {
    assert_eq!((answer.status(), answer.get("x-hookway-cause")), (502, Some("malformed")), "{answer:?}");
}

#[tokio::test]
async fn headers_are_set_and_removed_on_the_way_upstream() {
    let (gateway, upstream) = obedient().await;
    let changes = json!({"set": {"X-Team": "red", "x-new": "1"}, "remove": ["X-Secret"]});
    let request = verdict(&json!({"action": "continue", "headers": changes}));
    let request = request.field("x-team", "blue").field("x-secret", "s").field("x-kept", "k");
    assert_eq!(gateway.ask(&request).await.status(), 200);
    let head = upstream.only().head;
    assert_eq!(
        [head.get("x-team"), head.get("x-new"), head.get("x-kept")],
        [Some("red"), Some("1"), Some("k")]
    );
    assert_eq!(head.get("x-secret"), None);
    assert_eq!(upstream.only().text(), HELLO, "the body is still the client's");
}

#[tokio::test]
async fn what_frames_a_request_is_out_of_a_plugins_reach() {
    let (gateway, upstream) = obedient().await;
    let set = json!({"content-length": "3", "transfer-encoding": "chunked", "connection": "close", "host": "evil.test"});
    let request =
        verdict(&json!({"action": "continue", "headers": {"set": set, "remove": ["content-type"]}}));
    assert_eq!(gateway.ask(&request).await.status(), 200);
    assert_eq!(upstream.only().text(), HELLO);
    assert_eq!(upstream.only().head.get("transfer-encoding"), None);
    assert_eq!(upstream.only().head.get("host"), Some(upstream.address.to_string().as_str()));
}

#[tokio::test]
async fn respond_answers_in_the_upstreams_place() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let headers = json!({"set": {"x-cache": "hit", "content-type": "text/plain"}});
    let answers = says(json!({"action": "respond", "status": 201, "headers": headers}), "from the plugin");
    let gateway = start(&upstream.entry("up", ""), &[answers]).await;
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    assert_eq!((answer.status(), answer.text().as_str()), (201, "from the plugin"));
    assert_eq!(answer.get("x-cache"), Some("hit"));
    assert_eq!(answer.get("content-type"), Some("text/plain"));
    assert_eq!(answer.get("x-hookway-plugin"), Some("says"));
    assert_eq!(upstream.received().len(), 0);
    assert_eq!(gateway.access(&answer).await["outcome"], "hook_responded");
}

const COMPLETION: &str = r#"{"id":"c9","object":"chat.completion","created":7,"model":"cached","choices":[{"index":0,"message":{"role":"assistant","content":"from the plugin"},"finish_reason":"stop"}],"usage":{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5}}"#;

/// The JSON of each event but the last, which has to be `[DONE]`.
fn events_of(answer: &Message) -> Vec<Value> {
    assert_eq!(answer.status(), 200);
    assert!(answer.get("content-type").unwrap().starts_with("text/event-stream"), "{answer:?}");
    let text = answer.text();
    let mut data: Vec<&str> =
        text.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap()).collect();
    assert_eq!(data.pop(), Some("[DONE]"));
    data.into_iter().map(|json| serde_json::from_str(json).unwrap()).collect()
}

#[tokio::test]
async fn a_respond_to_a_streaming_request_is_a_stream_with_usage_if_asked_for() {
    let gateway = start("", &[says(json!({"action": "respond"}), COMPLETION)]).await;
    let plain = gateway.ask(&Request::chat(HELLO)).await;
    assert_eq!(plain.json(), serde_json::from_str::<Value>(COMPLETION).unwrap());

    let events = events_of(&gateway.ask(&Request::chat(STREAM)).await);
    let text: String =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "from the plugin");
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "stop");
    assert!(events.iter().all(|event| event["object"] == "chat.completion.chunk" && event["id"] == "c9"));
    assert!(events.iter().all(|event| event.get("usage").is_none()), "nobody asked for it");

    let asked =
        STREAM.replace("\"stream\":true", "\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    let events = events_of(&gateway.ask(&Request::chat(asked)).await);
    let last = events.last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(5)));
}

#[tokio::test]
async fn a_refusing_respond_stays_an_error_also_for_a_stream() {
    let gateway = start("", &[says(json!({"action": "respond", "status": 429}), r#"{"error":{}}"#)]).await;
    let answer = gateway.ask(&Request::chat(STREAM)).await;
    assert_eq!((answer.status(), answer.get("content-type")), (429, Some("application/json")));
}

#[tokio::test]
async fn reject_is_an_error_in_openais_form_with_any_status_and_code() {
    let (gateway, upstream) = obedient().await;
    for (status, expected) in [(None, 403), (Some(400), 400), (Some(418), 418), (Some(503), 503)] {
        let mut said = json!({
            "action": "reject",
            "headers": {"set": {"x-policy": "7"}},
            "error": {"message": "no", "code": "not_here", "type": "policy", "param": "messages"},
        });
        if let Some(status) = status {
            said["status"] = json!(status);
        }
        for request in [verdict(&said), verdict(&said).body(STREAM)] {
            let answer = gateway.ask(&request).await;
            assert_eq!(answer.status(), expected);
            let error = json!({"message": "no", "code": "not_here", "type": "policy", "param": "messages"});
            assert_eq!(answer.json(), json!({ "error": error }));
            assert_eq!(answer.get("x-policy"), Some("7"));
            assert_eq!(answer.get("x-hookway-plugin"), Some("obeys"));
            assert_eq!(answer.get("x-hookway-cause"), None, "it did not fail");
            assert_eq!(gateway.access(&answer).await["outcome"], "hook_rejected");
        }
    }
    assert_eq!(upstream.received().len(), 0);
}

/// Two upstreams, the second for models that begin with "big".
async fn two_upstreams(plugins: &[Folder]) -> (Gateway, [Upstream; 2]) {
    let upstreams = [Upstream::answering(Answer::hello()).await, Upstream::answering(Answer::hello()).await];
    let base = format!(
        "{}{}[[route]]\nmodel = \"big*\"\nupstreams = [\"large\"]\n",
        upstreams[0].entry("small", ""),
        upstreams[1].entry("large", "")
    );
    (start(&base, plugins).await, upstreams)
}

#[tokio::test]
async fn a_routed_model_goes_into_the_body_and_by_the_routes() {
    let (gateway, [small, large]) = two_upstreams(&[Folder::misbehaving("obeys")]).await;
    let request = verdict(&json!({"action": "continue", "route": {"model": "big-1"}}));
    let answer = gateway.ask(&request).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(small.received().len(), 0);
    assert_eq!(large.only().text(), HELLO.replace("\"m\"", "\"big-1\""));
    let line = gateway.access(&answer).await;
    assert_eq!(
        (&line["model"], &line["route"], &line["upstream"]),
        (&json!("big-1"), &json!("big*"), &json!("large"))
    );
}

#[tokio::test]
async fn a_model_changed_by_a_patch_goes_by_the_routes_too() {
    let (gateway, [small, large]) = two_upstreams(&[Folder::misbehaving("obeys")]).await;
    let request = verdict(&json!({"action": "patch", "patch": {"model": "big-2"}}));
    assert_eq!(gateway.ask(&request).await.status(), 200);
    assert_eq!((small.received().len(), large.received().len()), (0, 1));
}

#[tokio::test]
async fn a_routed_upstream_is_asked_whatever_the_routes_say() {
    let (gateway, [small, large]) = two_upstreams(&[Folder::misbehaving("obeys")]).await;
    let request = verdict(&json!({"action": "continue", "route": {"upstream": "large"}}));
    assert_eq!(gateway.ask(&request).await.status(), 200);
    assert_eq!(small.received().len(), 0);
    assert_eq!(large.only().text(), HELLO, "and nothing else is changed");
}

#[tokio::test]
async fn an_upstream_nobody_configured_is_malformed() {
    let (gateway, upstreams) = two_upstreams(&[Folder::misbehaving("obeys")]).await;
    assert_malformed(
        &gateway.ask(&verdict(&json!({"action": "continue", "route": {"upstream": "x"}}))).await,
    );
    assert!(upstreams.iter().all(|upstream| upstream.received().is_empty()));
}

#[tokio::test]
async fn what_the_manifest_does_not_name_is_not_changed() {
    let limited = json!({"body": "full", "mutates": ["/messages", "/metadata"]});
    let upstream = Upstream::answering(Answer::hello()).await;
    let twin = Folder::misbehaving("twin").hook("onRequest", limited);
    let gateway = start(&upstream.entry("up", ""), &[twin]).await;
    let refused = [
        json!({"action": "continue", "headers": {"set": {"x-a": "1"}}}),
        json!({"action": "continue", "headers": {"remove": ["x-a"]}}),
        json!({"action": "continue", "route": {"model": "m2"}}),
        json!({"action": "patch", "patch": {"messages": [], "model": "m2"}}),
        json!({"action": "patch", "jsonPatch": [
            {"op": "replace", "path": "/messages", "value": []}, {"op": "replace", "path": "/model", "value": "m2"}]}),
        json!({"action": "patch", "jsonPatch": [{"op": "move", "from": "/model", "path": "/messages/0/content"}]}),
        json!({"action": "replace"}),
    ];
    for said in refused {
        assert_malformed(&gateway.ask(&verdict(&said)).await);
    }
    let allowed = json!({"action": "patch", "patch": {"messages": [], "metadata": {"team": "red"}}});
    assert_eq!(gateway.ask(&verdict(&allowed)).await.status(), 200);
    assert_eq!(
        sorted(&upstream.only().text()),
        json!({"model": "m", "messages": [], "metadata": {"team": "red"}})
    );
}

#[tokio::test]
async fn a_plugin_that_may_change_nothing_may_still_refuse_and_answer() {
    let watches = Folder::misbehaving("watches").hook("onRequest", json!({"mutates": []}));
    let gateway = start("", &[watches]).await;
    let reject = json!({"action": "reject", "error": {"message": "no"}, "headers": {"set": {"x-a": "1"}}});
    let answer = gateway.ask(&verdict(&reject)).await;
    assert_eq!((answer.status(), answer.get("x-a")), (403, Some("1")));
    assert_malformed(&gateway.ask(&verdict(&json!({"action": "patch", "patch": {"user": "u"}}))).await);
    assert_eq!(gateway.ask(&misbehave("ok")).await.status(), 200);
}

#[tokio::test]
async fn what_readers_could_differ_in_is_refused_before_any_plugin() {
    let (gateway, upstream) = obedient().await;
    let deep = format!(r#"{{"model":"m","x":{}{}}}"#, "[".repeat(127), "]".repeat(127));
    let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(1 << 20));
    for body in [
        deep.as_str(),
        &long,
        r#"{"model":"m","messages":"x"}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"\ud83d"}]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"EVIL","content":"safe"}]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"safe","Content":"EVIL"}]}"#,
        r#"{"model":"m","messages":{"$serde_json::private::RawValue":"[]"}}"#,
    ] {
        // A verdict that would answer in the upstream's place, were the plugin asked.
        let request = verdict(&json!({"action": "respond"})).body(body);
        let answer = gateway.ask(&request).await;
        assert_eq!(
            (answer.status(), &answer.json()["error"]["code"]),
            (400, &json!("bad_request")),
            "{body}"
        );
    }
    assert_eq!(upstream.received().len(), 0);
}

#[tokio::test]
async fn numbers_of_any_size_and_form_pass_digit_for_digit_beside_a_patch() {
    let (gateway, upstream) = obedient().await;
    let digits = "9".repeat(5_000);
    let body = format!(r#"{{"model":"m","messages":[],"seed":{digits},"a":1E400,"b":-0.0e-05,"c":1.50}}"#);
    let request = verdict(&json!({"action": "patch", "patch": {"user": "u"}})).body(body.clone());
    assert_eq!(gateway.ask(&request).await.status(), 200);
    let written = body.replacen('}', r#","user":"u"}"#, 1);
    assert_eq!(upstream.only().text(), written);
}

#[tokio::test]
async fn a_route_never_changes_what_is_no_object() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let route = says(json!({"action": "continue", "route": {"model": "small"}}), "")
        .hook("onRequest", json!({"body": "none", "when": {"endpoint": ["embeddings"]}}));
    let gateway = start(&upstream.entry("up", ""), &[route]).await;
    for name in ["Number", "RawValue"] {
        let body = format!(r#"{{"$serde_json::private::{name}":"1"}}"#);
        assert_eq!(gateway.ask(&Request::post("/v1/embeddings", body)).await.status(), 400);
    }
    assert_eq!(gateway.ask(&Request::post("/v1/embeddings", r#"{"input":"x"}"#)).await.status(), 200);
    assert_eq!(upstream.only().text(), r#"{"input":"x","model":"small"}"#);
}
