//! What a verdict does to a draft. A verdict applies whole or not at all.

use json_patch::PatchOperation;
use serde_json::{Map, Value};

use super::draft::Draft;
use super::patch;
use crate::chat;
use crate::hook::{Action, Cause, HookFailure, Mutates, RouteChange, Verdict};
use crate::limits;

/// Folds a verdict that lets the request go on into the draft.
///
/// The action of a `respond`, `reject` or `fallback` is the caller's; of those only the rest (metadata, route)
/// is folded here. Of a `retry` the delay is.
pub(super) fn fold(draft: &mut Draft, mutates: &Mutates, verdict: Verdict) -> Result<(), HookFailure> {
    let Verdict { action, headers, route, metadata } = verdict;
    if !headers.is_empty() && !mutates.headers {
        return Err(malformed("it changes headers, and its manifest's 'mutates' does not name them"));
    }
    if route.is_some() && !mutates.route {
        return Err(malformed("it changes the route, and its manifest's 'mutates' does not name it"));
    }
    let metadata = merged(&draft.metadata, metadata)?;
    if let Some(RouteChange { model: Some(_), .. }) = route {
        model_fits(draft, &action)?;
    }
    // The last that can fail. From here on the verdict holds.
    match action {
        Action::MergePatch(patch) | Action::Retry { patch: Some(patch), .. } => {
            merge(draft, mutates, &patch)?
        }
        Action::JsonPatch(patch) => apply(draft, mutates, &patch)?,
        Action::Replace(bytes) => replace(draft, mutates, bytes)?,
        Action::Continue
        | Action::Respond { .. }
        | Action::Reject { .. }
        | Action::Retry { patch: None, .. }
        | Action::Fallback => {}
    }
    if let Some(RouteChange { model, upstream }) = route {
        reroute(draft, model, upstream);
    }
    for name in headers.remove {
        draft.headers.set.retain(|(set, _)| *set != name);
        if !draft.headers.remove.contains(&name) {
            draft.headers.remove.push(name);
        }
    }
    for (name, value) in headers.set {
        draft.headers.set.retain(|(set, _)| *set != name);
        draft.headers.set.push((name, value));
    }
    if let Some(metadata) = metadata {
        draft.metadata = metadata;
    }
    Ok(())
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

/// Whether a model can be written into the body, as `action` will leave it: it is read as a tree for that.
fn model_fits(draft: &mut Draft, action: &Action) -> Result<(), HookFailure> {
    let readable = match action {
        Action::Replace(bytes) => serde_json::from_slice(bytes).map(|_: Value| ()),
        _ => draft.body.tree().map(|_| ()),
    };
    readable.map_err(|error| malformed(&format!("the body is too deep for another model: {error}")))
}

/// A model from a verdict's `route` goes into the body too: the upstream has to be asked for it.
fn reroute(draft: &mut Draft, model: Option<String>, upstream: Option<String>) {
    if let Some(model) = model {
        let in_body = draft.body.edit(|tree| -> Result<(), serde_json::Error> {
            if let Value::Object(members) = tree {
                members.insert("model".to_owned(), Value::from(model.as_str()));
            }
            Ok(())
        });
        in_body.expect("the body was read as a tree before");
        draft.model = Some(model);
        draft.upstream = None;
    }
    if upstream.is_some() {
        draft.upstream = upstream;
    }
}

fn merge(draft: &mut Draft, mutates: &Mutates, patch: &Value) -> Result<(), HookFailure> {
    let Value::Object(members) = patch else {
        return Err(malformed("a merge patch has to be an object, or it would replace the whole body"));
    };
    let mut path = String::new();
    for (key, value) in members {
        outside(mutates, &mut path, key, value)?;
    }
    check_head(members.get("model"), members.get("stream"))?;
    edit(draft, |tree| {
        json_patch::merge(tree, patch);
        Ok(())
    })
}

/// Walks a merge patch and fails at the first member that changes something `mutates` does not cover.
fn outside(mutates: &Mutates, path: &mut String, key: &str, value: &Value) -> Result<(), HookFailure> {
    let length = path.len();
    path.push('/');
    path.push_str(&key.replace('~', "~0").replace('/', "~1"));
    let result = match value {
        _ if covers(mutates, path) => Ok(()),
        Value::Object(members) if !members.is_empty() => {
            members.iter().try_for_each(|(key, value)| outside(mutates, path, key, value))
        }
        _ => Err(malformed(&format!("it changes '{path}', which its manifest's 'mutates' does not cover"))),
    };
    path.truncate(length);
    result
}

fn covers(mutates: &Mutates, path: &str) -> bool {
    mutates.body.iter().any(|allowed| {
        path.strip_prefix(allowed.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

fn apply(draft: &mut Draft, mutates: &Mutates, patch: &json_patch::Patch) -> Result<(), HookFailure> {
    let mut touches_head = false;
    for operation in &patch.0 {
        let changed: [Option<String>; 2] = match operation {
            PatchOperation::Test(_) => [None, None],
            PatchOperation::Move(moved) => [Some(moved.from.to_string()), Some(moved.path.to_string())],
            PatchOperation::Add(_)
            | PatchOperation::Remove(_)
            | PatchOperation::Replace(_)
            | PatchOperation::Copy(_) => [Some(operation.path().to_string()), None],
        };
        for path in changed.into_iter().flatten() {
            if !covers(mutates, &path) {
                return Err(malformed(&format!(
                    "it changes '{path}', which its manifest's 'mutates' does not cover"
                )));
            }
            touches_head |= matches!(path.as_str(), "" | "/model" | "/stream");
        }
    }
    edit(draft, |tree| {
        // A patch that fails undoes itself; one whose result is no request is undone here.
        let before = touches_head.then(|| tree.clone());
        patch::apply(tree, patch)?;
        let checked = match &*tree {
            Value::Object(members) => check_head(members.get("model"), members.get("stream")),
            _ => Err(malformed("the patched body is not an object")),
        };
        if let (Err(_), Some(before)) = (&checked, before) {
            *tree = before;
        }
        checked
    })
}

fn replace(draft: &mut Draft, mutates: &Mutates, bytes: bytes::Bytes) -> Result<(), HookFailure> {
    if !covers(mutates, "") {
        return Err(malformed("it replaces the whole body, which its manifest's 'mutates' does not cover"));
    }
    let peek = chat::peek(draft.endpoint, &bytes).map_err(|error| malformed(&error.to_string()))?;
    draft.model = peek.model.as_deref().map(str::to_owned);
    draft.stream = peek.stream;
    draft.include_usage = peek.include_usage;
    draft.body.replace(bytes);
    Ok(())
}

/// `model` and `stream` as a verdict leaves them have to be of their types; absent ones are fine.
fn check_head(model: Option<&Value>, stream: Option<&Value>) -> Result<(), HookFailure> {
    if model.is_some_and(|model| !model.is_string() && !model.is_null()) {
        return Err(malformed("it makes 'model' something else than a string"));
    }
    if stream.is_some_and(|stream| !stream.is_boolean() && !stream.is_null()) {
        return Err(malformed("it makes 'stream' something else than a boolean"));
    }
    Ok(())
}

/// Edits the tree and reads again what the chain keeps beside it.
fn edit(
    draft: &mut Draft,
    change: impl FnOnce(&mut Value) -> Result<(), HookFailure>,
) -> Result<(), HookFailure> {
    struct Broken(HookFailure);
    impl From<serde_json::Error> for Broken {
        fn from(error: serde_json::Error) -> Self {
            Self(malformed(&format!("the body is too deep to be patched: {error}")))
        }
    }
    draft.body.edit(|tree| change(tree).map_err(Broken)).map_err(|Broken(failure)| failure)?;
    if let Ok(tree) = draft.body.tree() {
        let model = tree.get("model").and_then(Value::as_str).map(str::to_owned);
        let stream = tree.get("stream").and_then(Value::as_bool).unwrap_or(false);
        let usage = tree.pointer("/stream_options/include_usage").and_then(Value::as_bool);
        (draft.model, draft.stream, draft.include_usage) = (model, stream, usage.unwrap_or(false));
    }
    Ok(())
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
    use crate::hook::{Endpoint, HeaderChanges};

    fn draft() -> Draft {
        let body = br#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"seed":1.0}"#;
        Draft::new(Endpoint::ChatCompletions, Bytes::from_static(body)).unwrap()
    }

    fn only(pointers: &[&str]) -> Mutates {
        Mutates { body: pointers.iter().map(|&p| p.to_owned()).collect(), headers: false, route: false }
    }

    fn body_of(mut draft: Draft) -> String {
        draft.body.settle();
        String::from_utf8(draft.body.bytes().to_vec()).unwrap()
    }

    fn verdict(action: Action) -> Verdict {
        Verdict { action, ..Verdict::default() }
    }

    #[test]
    fn a_merge_patch_changes_what_it_names_and_nothing_else() {
        let mut draft = draft();
        let patch = json!({"messages": [], "model": "gpt-4o-mini"});
        fold(&mut draft, &Mutates::anything(), verdict(Action::MergePatch(patch))).unwrap();
        assert_eq!(draft.model.as_deref(), Some("gpt-4o-mini"));
        assert_eq!(body_of(draft), r#"{"model":"gpt-4o-mini","messages":[],"seed":1.0}"#);
    }

    #[test]
    fn a_verdict_outside_mutates_is_refused_whole() {
        let patches = [
            Action::MergePatch(json!({"messages": [], "seed": 2})),
            Action::JsonPatch(
                serde_json::from_value(json!([
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
            let failure = fold(&mut draft, &only(&["/messages"]), verdict(action)).unwrap_err();
            assert_eq!(failure.cause, Cause::Malformed);
            assert_eq!(body_of(draft), before);
        }
    }

    #[test]
    fn a_pointer_covers_itself_and_below_but_no_namesake() {
        let mutates = only(&["/metadata"]);
        assert!(covers(&mutates, "/metadata"));
        assert!(covers(&mutates, "/metadata/team"));
        assert!(!covers(&mutates, "/metadata_x"));
        assert!(!covers(&mutates, ""));
    }

    #[test]
    fn a_json_patch_that_fails_midway_changes_nothing() {
        let mut draft = draft();
        let patch = serde_json::from_value(json!([
            {"op": "replace", "path": "/seed", "value": 7},
            {"op": "remove", "path": "/not-there"},
        ]))
        .unwrap();
        assert!(fold(&mut draft, &Mutates::anything(), verdict(Action::JsonPatch(patch))).is_err());
        assert_eq!(body_of(draft), body_of(super::tests::draft()));
    }

    #[test]
    fn a_patch_cannot_make_the_request_something_else() {
        for patch in [
            json!([{"op": "replace", "path": "", "value": [1]}]),
            json!([{"op": "replace", "path": "/model", "value": 3}]),
            json!([{"op": "copy", "from": "/messages", "path": "/stream"}]),
        ] {
            let mut draft = draft();
            let patch = serde_json::from_value(patch).unwrap();
            assert!(fold(&mut draft, &Mutates::anything(), verdict(Action::JsonPatch(patch))).is_err());
            assert_eq!(body_of(draft), body_of(super::tests::draft()));
        }
    }

    #[test]
    fn a_verdict_is_refused_before_any_of_it_applies() {
        let patch = json!({"messages": []});
        let wide = json!({"note": "x".repeat(limits::METADATA_BYTES_MAX)});
        let metadata = wide.as_object().unwrap().clone();
        for action in
            [Action::MergePatch(patch.clone()), Action::Retry { delay: Duration::ZERO, patch: Some(patch) }]
        {
            let mut draft = draft();
            let verdict = Verdict { metadata: metadata.clone(), ..verdict(action) };
            assert!(fold(&mut draft, &Mutates::anything(), verdict).is_err());
            assert_eq!(body_of(draft), body_of(super::tests::draft()));
        }
    }

    #[test]
    fn the_metadata_of_all_plugins_together_is_bounded() {
        let mut draft = draft();
        let half = |key: &str| {
            let bag = json!({key: "x".repeat(limits::METADATA_BYTES_MAX / 2)});
            Verdict { metadata: bag.as_object().unwrap().clone(), ..Verdict::default() }
        };
        fold(&mut draft, &Mutates::anything(), half("a")).unwrap();
        fold(&mut draft, &Mutates::anything(), half("a")).unwrap();
        let failure = fold(&mut draft, &Mutates::anything(), half("b")).unwrap_err();
        assert!(failure.detail.ends_with("the limit is 65536"), "{failure}");
        assert!(draft.metadata.keys().eq(["a"]));
    }

    #[test]
    fn a_replaced_body_has_to_be_one_that_a_client_may_send() {
        let deep = format!(r#"{{"model":"a","x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        for body in [
            &deep,
            r#"{"model":"m","messages":"x"}"#,
            r#"{"model":"m","user":"a","user":"b"}"#,
            r#"{"model":"m","messages":{"$serde_json::private::RawValue":"[]"}}"#,
        ] {
            let mut draft = draft();
            let route = Some(RouteChange { model: Some("o3".to_owned()), upstream: None });
            let replaced = Verdict { route, ..verdict(Action::Replace(Bytes::from(body.to_owned()))) };
            let failure = fold(&mut draft, &Mutates::anything(), replaced).unwrap_err();
            assert_eq!(failure.cause, Cause::Malformed);
            assert_eq!(draft.model.as_deref(), Some("gpt-4o"));
            assert_eq!(body_of(draft), body_of(super::tests::draft()));
        }
    }

    #[test]
    fn a_header_that_is_removed_is_not_what_an_earlier_plugin_set_either() {
        let mut draft = draft();
        let name = http::HeaderName::from_static("x-team");
        let value = http::HeaderValue::from_static("red");
        let set = HeaderChanges { set: vec![(name.clone(), value)], remove: vec![] };
        let remove = HeaderChanges { set: vec![], remove: vec![name.clone()] };
        for headers in [set, remove.clone(), remove] {
            fold(&mut draft, &Mutates::anything(), Verdict { headers, ..Verdict::default() }).unwrap();
        }
        assert_eq!(draft.headers, HeaderChanges { set: vec![], remove: vec![name] });
    }

    #[test]
    fn a_new_model_in_the_route_goes_into_the_body() {
        let mut draft = draft();
        let route = Some(RouteChange { model: Some("o3".to_owned()), upstream: None });
        fold(&mut draft, &Mutates::anything(), Verdict { route, ..Verdict::default() }).unwrap();
        assert_eq!(draft.model.as_deref(), Some("o3"));
        assert!(body_of(draft).starts_with(r#"{"model":"o3","#));
    }
}
