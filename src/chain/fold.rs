//! What a verdict does to a draft. A verdict applies whole or not at all.

use serde_json::{Map, Value};

use super::draft::Draft;
use super::rewrite::{Rewritten, rewritten};
use crate::hook::{Cause, HeaderChanges, HookFailure, Mutates, RouteChange, Verdict};
use crate::limits;

/// Folds a verdict that lets the request go on into the draft.
///
/// The action of a `respond`, `reject` or `fallback` is the caller's; of those only the rest (metadata, route)
/// is folded here. Of a `retry` the delay is.
pub(super) async fn fold(draft: &mut Draft, mutates: &Mutates, verdict: Verdict) -> Result<(), HookFailure> {
    if !verdict.headers.is_empty() && !mutates.headers {
        return Err(malformed("it changes headers, and its manifest's 'mutates' does not name them"));
    }
    if verdict.route.is_some() && !mutates.route {
        return Err(malformed("it changes the route, and its manifest's 'mutates' does not name it"));
    }
    let rewritten = rewritten(draft, mutates, &verdict).await?;
    let Verdict { headers, route, metadata, .. } = verdict;
    let metadata = merged(&draft.metadata, metadata)?;
    // That was the last that can fail. From here on the verdict holds.
    if let Some(Rewritten { body, head }) = rewritten {
        draft.body = body;
        (draft.model, draft.stream, draft.include_usage) = (head.model, head.stream, head.include_usage);
    }
    if let Some(RouteChange { model, upstream }) = route
        && (model.is_some() || upstream.is_some())
    {
        draft.upstream = upstream;
    }
    change_headers(&mut draft.headers, headers);
    if let Some(metadata) = metadata {
        draft.metadata = metadata;
    }
    Ok(())
}

fn change_headers(known: &mut HeaderChanges, changes: HeaderChanges) {
    for name in changes.remove {
        known.set.retain(|(set, _)| *set != name);
        if !known.remove.contains(&name) {
            known.remove.push(name);
        }
    }
    for (name, value) in changes.set {
        known.set.retain(|(set, _)| *set != name);
        known.set.push((name, value));
    }
}

/// The request's bag with a verdict's metadata over it; `None` if the verdict has none.
fn merged(
    bag: &Map<String, Value>,
    metadata: Map<String, Value>,
) -> Result<Option<Map<String, Value>>, HookFailure> {
    if metadata.is_empty() {
        return Ok(None);
    }
    let mut merged = bag.clone();
    merged.extend(metadata);
    let size = serde_json::to_vec(&merged).map_or(usize::MAX, |json| json.len());
    if size > limits::METADATA_BYTES_MAX {
        let max = limits::METADATA_BYTES_MAX;
        return Err(malformed(&format!(
            "with its metadata the request has {size} bytes, the limit is {max}"
        )));
    }
    Ok(Some(merged))
}

pub(super) fn malformed(detail: &str) -> HookFailure {
    HookFailure::new(Cause::Malformed, detail)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::hook::{Action, Endpoint, HeaderChanges, json_patch};

    fn draft() -> Draft {
        let body = br#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"seed":1.0}"#;
        Draft::new(Endpoint::ChatCompletions, Bytes::from_static(body)).unwrap()
    }

    fn only(pointers: &[&str]) -> Mutates {
        Mutates { body: pointers.iter().map(|&p| p.to_owned()).collect(), headers: false, route: false }
    }

    fn body_of(draft: Draft) -> String {
        String::from_utf8(draft.body.to_vec()).unwrap()
    }

    fn verdict(action: Action) -> Verdict {
        Verdict { action, ..Verdict::default() }
    }

    #[tokio::test]
    async fn a_merge_patch_changes_what_it_names_and_nothing_else() {
        let mut draft = draft();
        let patch = json!({"messages": [], "model": "gpt-4o-mini"});
        fold(&mut draft, &Mutates::anything(), verdict(Action::MergePatch(patch))).await.unwrap();
        assert_eq!(draft.model.as_deref(), Some("gpt-4o-mini"));
        assert_eq!(body_of(draft), r#"{"model":"gpt-4o-mini","messages":[],"seed":1.0}"#);
    }

    #[tokio::test]
    async fn a_verdict_outside_mutates_is_refused_whole() {
        let patches = [
            Action::MergePatch(json!({"messages": [], "seed": 2})),
            Action::JsonPatch(
                json_patch(json!([
                    {"op": "replace", "path": "/messages/0/content", "value": "x"},
                    {"op": "remove", "path": "/seed"},
                ]))
                .unwrap(),
            ),
            Action::Replace(Bytes::from_static(br#"{"model":"m"}"#)),
        ];
        for action in patches {
            let mut draft = draft();
            let before = body_of(super::tests::draft());
            let failure = fold(&mut draft, &only(&["/messages"]), verdict(action)).await.unwrap_err();
            assert_eq!(failure.cause, Cause::Malformed);
            assert_eq!(body_of(draft), before);
        }
    }

    #[tokio::test]
    async fn a_json_patch_that_fails_midway_changes_nothing() {
        let mut draft = draft();
        let patch = json_patch(json!([
            {"op": "replace", "path": "/seed", "value": 7},
            {"op": "remove", "path": "/not-there"},
        ]))
        .unwrap();
        assert!(fold(&mut draft, &Mutates::anything(), verdict(Action::JsonPatch(patch))).await.is_err());
        assert_eq!(body_of(draft), body_of(super::tests::draft()));
    }

    #[tokio::test]
    async fn a_patch_cannot_make_the_request_something_else() {
        for patch in [
            json!([{"op": "replace", "path": "", "value": [1]}]),
            json!([{"op": "replace", "path": "/model", "value": 3}]),
            json!([{"op": "copy", "from": "/messages", "path": "/stream"}]),
            json!([{"op": "remove", "path": ""}]),
        ] {
            let mut draft = draft();
            let patch = json_patch(patch).unwrap();
            assert!(fold(&mut draft, &Mutates::anything(), verdict(Action::JsonPatch(patch))).await.is_err());
            assert_eq!(body_of(draft), body_of(super::tests::draft()));
        }
    }

    #[tokio::test]
    async fn a_verdict_is_refused_before_any_of_it_applies() {
        let patch = json!({"messages": []});
        let wide = json!({"note": "x".repeat(limits::METADATA_BYTES_MAX)});
        let metadata = wide.as_object().unwrap().clone();
        for action in
            [Action::MergePatch(patch.clone()), Action::Retry { delay: Duration::ZERO, patch: Some(patch) }]
        {
            let mut draft = draft();
            let verdict = Verdict { metadata: metadata.clone(), ..verdict(action) };
            assert!(fold(&mut draft, &Mutates::anything(), verdict).await.is_err());
            assert_eq!(body_of(draft), body_of(super::tests::draft()));
        }
    }

    #[tokio::test]
    async fn the_metadata_of_all_plugins_together_is_bounded() {
        let mut draft = draft();
        let half = |key: &str| {
            let bag = json!({key: "x".repeat(limits::METADATA_BYTES_MAX / 2)});
            Verdict { metadata: bag.as_object().unwrap().clone(), ..Verdict::default() }
        };
        fold(&mut draft, &Mutates::anything(), half("a")).await.unwrap();
        fold(&mut draft, &Mutates::anything(), half("a")).await.unwrap();
        let failure = fold(&mut draft, &Mutates::anything(), half("b")).await.unwrap_err();
        assert!(failure.detail.ends_with("the limit is 65536"), "{failure}");
        assert!(draft.metadata.keys().eq(["a"]));
    }

    #[tokio::test]
    async fn a_plugin_cannot_make_what_a_client_may_not_send() {
        let twice = r#"{"model":"m","messages":[],"model":"n"}"#;
        let deep = format!(r#"{{"model":"a","messages":[],"x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        let raw = r#"{"model":"m","messages":{"$serde_json::private::RawValue":"[]"}}"#;
        let route = Some(RouteChange { model: Some("o3".to_owned()), upstream: None });
        for (action, route) in [
            (Action::MergePatch(json!({"Model": "x"})), None),
            (Action::MergePatch(json!({"stream": "yes"})), None),
            (
                Action::JsonPatch(
                    json_patch(json!([{"op": "add", "path": "/model", "value": null}])).unwrap(),
                ),
                None,
            ),
            (Action::Replace(Bytes::from_static(twice.as_bytes())), None),
            (Action::Replace(Bytes::from_static(twice.as_bytes())), route.clone()),
            (Action::Replace(Bytes::from_static(b"[1]")), route.clone()),
            (Action::Replace(deep.into()), route.clone()),
            (Action::Replace(Bytes::from_static(raw.as_bytes())), route),
            (Action::MergePatch(json!({"messages": "x"})), None),
        ] {
            let mut draft = draft();
            let headers = HeaderChanges { remove: vec![http::header::COOKIE], ..HeaderChanges::default() };
            let verdict = Verdict { route, headers, ..verdict(action) };
            let failure = fold(&mut draft, &Mutates::anything(), verdict).await.unwrap_err();
            assert_eq!(failure.cause, Cause::Malformed, "{failure}");
            assert!(draft.headers.is_empty());
            assert_eq!(draft.model.as_deref(), Some("gpt-4o"));
            assert_eq!(body_of(draft), body_of(super::tests::draft()));
        }
    }

    #[tokio::test]
    async fn a_changed_body_has_the_bounds_of_a_clients() {
        let body = Bytes::from_static(br#"{"model":"m","messages":[]}"#);
        let larger = || verdict(Action::MergePatch(json!({"user": "x".repeat(1_000)})));
        let room = std::sync::Arc::new(crate::room::Room::default());
        let read = Draft::read(&room, Endpoint::ChatCompletions, body, 1_000);
        let mut draft = read.await.unwrap();
        let failure = fold(&mut draft, &Mutates::anything(), larger()).await.unwrap_err();
        assert_eq!(failure.cause, Cause::Malformed);
        assert_eq!(failure.detail, "the changed body has 1037 bytes, the limit is 1000");
        draft.bytes_max = 2_000;
        room.limit(1_000);
        let failure = fold(&mut draft, &Mutates::anything(), larger()).await.unwrap_err();
        assert_eq!(failure.cause, Cause::Overloaded);
        room.limit(4_000);
        fold(&mut draft, &Mutates::anything(), larger()).await.unwrap();
        assert_eq!(room.held_by_requests(), 1_037);
        drop(draft);
        assert_eq!(room.held_by_requests(), 0);
    }

    #[tokio::test]
    async fn a_header_that_is_removed_is_not_what_an_earlier_plugin_set_either() {
        let mut draft = draft();
        let name = http::HeaderName::from_static("x-team");
        let value = http::HeaderValue::from_static("red");
        let set = HeaderChanges { set: vec![(name.clone(), value)], remove: vec![] };
        let remove = HeaderChanges { set: vec![], remove: vec![name.clone()] };
        for headers in [set, remove.clone(), remove] {
            fold(&mut draft, &Mutates::anything(), Verdict { headers, ..Verdict::default() }).await.unwrap();
        }
        assert_eq!(draft.headers, HeaderChanges { set: vec![], remove: vec![name] });
    }

    #[tokio::test]
    async fn a_new_model_in_the_route_goes_into_the_body() {
        let mut draft = draft();
        let route = Some(RouteChange { model: Some("o3".to_owned()), upstream: None });
        fold(&mut draft, &Mutates::anything(), Verdict { route, ..Verdict::default() }).await.unwrap();
        assert_eq!(draft.model.as_deref(), Some("o3"));
        assert!(body_of(draft).starts_with(r#"{"model":"o3","#));
    }
}
