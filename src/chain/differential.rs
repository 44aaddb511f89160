//! One request, three readings of it: the gateway's, a plugin's, and the upstream's after a plugin changed something.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::draft::Draft;
use super::fold::fold;
use crate::chat::Pointers;
use crate::chat::generated::{self, is_ambiguous, members, normal};
use crate::hook::{Action, Endpoint, Mutates, RouteChange, Verdict};

/// A body of an endpoint that takes any values at the generated keys.
fn body() -> impl Strategy<Value = String> {
    prop::collection::vec((generated::key(), generated::json()), 0..5).prop_map(|members| {
        let members = members.iter().map(|(key, value)| format!("\"{key}\": {value},"));
        format!("{{{}\"model\":\"m\"}}", members.collect::<String>())
    })
}

fn member(body: &str, wanted: &str) -> Option<String> {
    let mut members = members(body).expect("a body is an object").into_iter();
    members.find(|(key, _)| key == wanted).map(|(_, value)| value)
}

/// The members of a body, in order, without one of them.
fn without(body: &str, left_out: &str) -> Vec<(String, String)> {
    let members = members(body).expect("a body is an object").into_iter();
    members.filter(|(key, _)| key != left_out).map(|(key, value)| (key, normal(&value))).collect()
}

/// The body as the upstream gets it after a verdict.
fn written(draft: &mut Draft, verdict: Verdict) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(fold(draft, &Mutates::anything(), verdict)).expect("the verdict fits any body");
    String::from_utf8(draft.body.to_vec()).expect("a body is text")
}

fn patch(patch: Value) -> Verdict {
    Verdict { action: Action::MergePatch(patch), ..Verdict::default() }
}

proptest! {
    #[test]
    fn a_body_says_the_same_to_the_gateway_a_plugin_and_the_upstream(body in body()) {
        let Ok(mut draft) = Draft::new(Endpoint::Completions, Bytes::from(body.clone())) else {
            prop_assert!(is_ambiguous(&body), "refused although all read it the same");
            return Ok(());
        };
        prop_assert!(!is_ambiguous(&body), "taken although readers differ");
        let seen = Pointers::new(["/a", "/content", "/model"]).unwrap();
        for (pointer, value) in seen.extract(&draft.body).unwrap() {
            prop_assert_eq!(member(&body, &pointer[1..]), Some(value.get().to_owned()), "what a plugin sees");
        }
        let patched = written(&mut draft, patch(json!({"user": "u"})));
        prop_assert_eq!(without(&patched, "user"), without(&body, "user"), "what the upstream sees");
        let route = Some(RouteChange { model: Some("other".to_owned()), upstream: None });
        let routed = written(&mut draft, Verdict { route, ..Verdict::default() });
        prop_assert_eq!(without(&routed, "model"), without(&patched, "model"));
        prop_assert_eq!(member(&routed, "model"), Some("\"other\"".to_owned()));
        prop_assert_eq!(draft.model.as_deref(), Some("other"));
    }
}
