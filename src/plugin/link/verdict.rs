//! From a RESULT to a [`Verdict`]: every key is checked, and nothing a plugin said is silently dropped.

use std::time::Duration;

use bytes::Bytes;
use hookway_wire::{self as wire, VerdictAction, VerdictMeta};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::chat;
use crate::hook::{Action, ApiError, Cause, HeaderChanges, HookFailure, HookName, RouteChange, Verdict};
use crate::limits;

/// Reads what a plugin answered to `hook`. The error names the key that does not hold.
pub(super) fn read(hook: HookName, meta: &[u8], body: Bytes) -> Result<Verdict, HookFailure> {
    parse(hook, meta, body).map_err(|detail| HookFailure::new(Cause::Malformed, detail))
}

fn parse(hook: HookName, meta: &[u8], body: Bytes) -> Result<Verdict, String> {
    let mut said: VerdictMeta = strictly("the verdict", meta)?;
    if !allowed(hook, said.action) {
        return Err(format!("action: {} is no answer to {hook}", word(said.action)));
    }
    let headers = headers(std::mem::take(&mut said.headers))?;
    let route = said.route.take().map(|wire::Route { model, upstream }| RouteChange { model, upstream });
    let metadata = std::mem::take(&mut said.metadata);
    let (verb, had_body) = (said.action, !body.is_empty());
    let action = action(&mut said, body)?;
    if route.is_some() && matches!(verb, VerdictAction::Respond | VerdictAction::Reject) {
        return Err(format!("route: {} ends the request, there is nothing left to route", word(verb)));
    }
    if route.is_some() && hook == HookName::OnError && verb != VerdictAction::Fallback {
        return Err(format!("route: in onError only fallback goes elsewhere, not {}", word(verb)));
    }
    if verb == VerdictAction::Fallback && route.is_none() {
        return Err("route: fallback needs one to go on with".to_owned());
    }
    unused(&said, had_body)?;
    Ok(Verdict { action, headers, route, metadata })
}

/// Reads JSON that can be read in one way only: a key twice, or one that `serde_json` takes for something else, would
/// make the gateway act on another verdict than the plugin wrote.
fn strictly<T: DeserializeOwned>(subject: &str, json: &[u8]) -> Result<T, String> {
    let bad = |what: String| format!("{subject} does not parse: {what}");
    chat::check(json).map_err(|refusal| bad(refusal.of("it")))?;
    serde_json::from_slice(json).map_err(|error| bad(error.to_string()))
}

/// Which actions answer which hook.
fn allowed(hook: HookName, action: VerdictAction) -> bool {
    use VerdictAction::{Continue, Fallback, Patch, Reject, Replace, Respond, Retry};
    match hook {
        HookName::OnRequest | HookName::OnResponse => match action {
            Continue | Patch | Replace | Respond | Reject => true,
            Retry | Fallback => false,
        },
        HookName::OnError => match action {
            Continue | Respond | Reject | Retry | Fallback => true,
            Patch | Replace => false,
        },
        HookName::OnStreamEvent => matches!(action, Continue | Replace),
        HookName::OnComplete
        | HookName::OnInstall
        | HookName::OnActivate
        | HookName::OnDeactivate
        | HookName::OnUninstall
        | HookName::OnConfigChange => action == Continue,
    }
}

/// Takes out of `said` what belongs to its action.
fn action(said: &mut VerdictMeta, body: Bytes) -> Result<Action, String> {
    match said.action {
        VerdictAction::Continue => Ok(Action::Continue),
        VerdictAction::Patch => patch(said, &body),
        VerdictAction::Replace => Ok(Action::Replace(body)),
        VerdictAction::Respond => Ok(Action::Respond { status: status(said.status.take(), 200)?, body }),
        VerdictAction::Reject => {
            let status = status(said.status.take(), 403)?;
            if !status.is_client_error() && !status.is_server_error() {
                return Err(format!("status: a reject is an error, and {status} is none; write 400 to 599"));
            }
            let wire::ApiError { message, code, kind, param } =
                said.error.take().ok_or("error: a reject needs one, with a message")?;
            Ok(Action::Reject { status, error: ApiError { message, kind, code, param } })
        }
        VerdictAction::Retry => {
            let delay = Duration::from_millis(said.delay_ms.take().unwrap_or(0)).min(limits::RETRY_DELAY_MAX);
            let patch = said.patch.take();
            if patch.as_ref().is_some_and(|patch| !patch.is_object()) {
                return Err("patch: a merge patch of a request body is an object".to_owned());
            }
            Ok(Action::Retry { delay, patch })
        }
        VerdictAction::Fallback => Ok(Action::Fallback),
    }
}

/// One patch of one kind, from the meta or, if neither key is there, from the body.
fn patch(said: &mut VerdictMeta, body: &[u8]) -> Result<Action, String> {
    match (said.patch.take(), said.json_patch.take()) {
        (Some(_), Some(_)) => Err("patch: there is a jsonPatch too, and only one can be meant".to_owned()),
        (Some(merge), None) if body.is_empty() => merge_patch("patch", merge),
        (None, Some(operations)) if body.is_empty() => json_patch("jsonPatch", operations),
        (Some(_), None) | (None, Some(_)) => {
            Err("patch: there is a body too, and only one can be meant".to_owned())
        }
        (None, None) if body.is_empty() => {
            Err("patch: neither patch nor jsonPatch nor a body is there".to_owned())
        }
        (None, None) => {
            let patch: Value = strictly("the patch", body)?;
            if patch.is_array() { json_patch("body", patch) } else { merge_patch("body", patch) }
        }
    }
}

/// RFC 7396 lets any value replace the whole document; the body of a chat request can only be an object.
fn merge_patch(key: &str, patch: Value) -> Result<Action, String> {
    if patch.is_object() {
        Ok(Action::MergePatch(patch))
    } else {
        Err(format!("{key}: a merge patch of a request body is an object"))
    }
}

fn json_patch(key: &str, operations: Value) -> Result<Action, String> {
    crate::hook::json_patch(operations)
        .map(Action::JsonPatch)
        .map_err(|error| format!("{key}: no JSON patch (RFC 6902): {error}"))
}

fn status(said: Option<u16>, default: u16) -> Result<StatusCode, String> {
    let status = said.unwrap_or(default);
    StatusCode::from_u16(status)
        .ok()
        .filter(|_| (200..600).contains(&status))
        .ok_or_else(|| format!("status: {status} is not within 200 to 599"))
}

fn headers(said: wire::Headers) -> Result<HeaderChanges, String> {
    let name = |key: &str, name: &str| {
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{key}: {name:?} is no header name"))
    };
    let set = said.set.iter().map(|(key, value)| {
        let value = HeaderValue::from_str(value)
            .map_err(|_| format!("headers.set: the value of {key:?} is no header value"))?;
        Ok((name("headers.set", key)?, value))
    });
    let remove = said.remove.iter().map(|key| name("headers.remove", key));
    Ok(HeaderChanges { set: set.collect::<Result<_, String>>()?, remove: remove.collect::<Result<_, _>>()? })
}

/// A key that its action does not take would be lost without a word; whoever wrote it meant something.
fn unused(rest: &VerdictMeta, had_body: bool) -> Result<(), String> {
    let action = rest.action;
    let body_is_lost = matches!(
        action,
        VerdictAction::Continue | VerdictAction::Reject | VerdictAction::Retry | VerdictAction::Fallback
    );
    let lost = [
        ("patch", rest.patch.is_some()),
        ("jsonPatch", rest.json_patch.is_some()),
        ("status", rest.status.is_some()),
        ("error", rest.error.is_some()),
        ("delayMs", rest.delay_ms.is_some()),
        ("body", had_body && body_is_lost),
    ];
    match lost.into_iter().find(|(_, lost)| *lost) {
        Some((key, _)) => Err(format!("{key}: the action {} takes none", word(action))),
        None => Ok(()),
    }
}

const fn word(action: VerdictAction) -> &'static str {
    match action {
        VerdictAction::Continue => "continue",
        VerdictAction::Patch => "patch",
        VerdictAction::Replace => "replace",
        VerdictAction::Respond => "respond",
        VerdictAction::Reject => "reject",
        VerdictAction::Retry => "retry",
        VerdictAction::Fallback => "fallback",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn on_request(meta: &Value, body: &'static [u8]) -> Result<Verdict, String> {
        parse(HookName::OnRequest, meta.to_string().as_bytes(), Bytes::from_static(body))
    }

    fn on_error(meta: &Value) -> Result<Verdict, String> {
        parse(HookName::OnError, meta.to_string().as_bytes(), Bytes::new())
    }

    #[test]
    fn every_action_reads_as_what_it_says() {
        let action = |verdict: Result<Verdict, String>| verdict.unwrap().action;
        assert_eq!(action(on_request(&json!({"action": "continue"}), b"")), Action::Continue);
        assert_eq!(
            action(on_request(&json!({"action": "patch", "patch": {"model": null}}), b"")),
            Action::MergePatch(json!({"model": null}))
        );
        let operations = r#"[{"op":"remove","path":"/user"}]"#;
        let expected = Action::JsonPatch(serde_json::from_str(operations).unwrap());
        assert_eq!(
            action(on_request(&json!({"action": "patch"}), operations.as_bytes())),
            expected,
            "a patch may travel as the body"
        );
        assert_eq!(
            action(on_request(&json!({"action": "replace"}), b"new")),
            Action::Replace(Bytes::from("new"))
        );
        assert_eq!(
            action(on_request(&json!({"action": "respond"}), b"{}")),
            Action::Respond { status: StatusCode::OK, body: Bytes::from("{}") }
        );
        let error = ApiError { message: "no".to_owned(), ..ApiError::default() };
        assert_eq!(
            action(on_request(&json!({"action": "reject", "error": {"message": "no"}}), b"")),
            Action::Reject { status: StatusCode::FORBIDDEN, error }
        );
        assert_eq!(
            action(on_error(&json!({"action": "retry", "delayMs": 99_000_000, "patch": {"n": 1}}))),
            Action::Retry { delay: limits::RETRY_DELAY_MAX, patch: Some(json!({"n": 1})) }
        );
        assert_eq!(
            action(on_error(&json!({"action": "fallback", "route": {"upstream": "b"}}))),
            Action::Fallback
        );
    }

    #[test]
    fn what_goes_along_with_an_action_is_kept() {
        let verdict = on_request(
            &json!({"action": "continue", "headers": {"set": {"X-Team": "red"}, "remove": ["Cookie"]},
                "route": {"model": "small"}, "metadata": {"seen": 1.50}}),
            b"",
        )
        .unwrap();
        assert_eq!(verdict.headers.set, [("x-team".parse().unwrap(), "red".parse().unwrap())]);
        assert_eq!(verdict.headers.remove, [http::header::COOKIE]);
        assert_eq!(verdict.route, Some(RouteChange { model: Some("small".to_owned()), upstream: None }));
        assert_eq!(Value::Object(verdict.metadata), json!({"seen": 1.50}));
    }

    #[test]
    fn a_verdict_that_can_be_read_in_two_ways_is_none() {
        let read = |meta: &str, body: &'static [u8]| {
            parse(HookName::OnRequest, meta.as_bytes(), Bytes::from_static(body)).expect_err(meta)
        };
        for meta in [
            r#"{"action":"continue","action":"patch","patch":{}}"#,
            r#"{"action":"patch","patch":{"user":"a","\u0075ser":"b"}}"#,
            r#"{"action":"patch","patch":{"messages":{"$serde_json::private::RawValue":"[1]"}}}"#,
            r#"{"action":"patch","jsonPatch":[{"op":"add","path":"/n","value":{"$serde_json::private::Number":"1"}}]}"#,
            r#"{"action":"continue","metadata":{"\u0024serde_json::private::RawValue":"[1]"}}"#,
            r#"{"action":"patch","patch":{"user":"\ud83d"}}"#,
        ] {
            assert!(read(meta, b"").starts_with("the verdict does not parse: "), "{meta}");
        }
        for body in [&br#"{"n":{"$serde_json::private::Number":"1"}}"#[..], br#"{"n":1,"n":2}"#] {
            assert!(read(r#"{"action":"patch"}"#, body).starts_with("the patch does not parse: The key"));
        }
    }

    #[test]
    fn what_does_not_hold_is_named() {
        let cases: &[(Value, &[u8], &str)] = &[
            (json!({"action": "explode"}), b"", "the verdict does not parse: unknown variant `explode`"),
            (json!({"action": "retry"}), b"", "action: retry is no answer to onRequest"),
            (json!({"action": "respond", "status": 199}), b"", "status: 199 is not within 200 to 599"),
            (json!({"action": "respond", "status": 600}), b"", "status: 600 is not within 200 to 599"),
            (
                json!({"action": "continue", "headers": {"set": {"a b": "c"}}}),
                b"",
                "headers.set: \"a b\" is no",
            ),
            (
                json!({"action": "continue", "headers": {"set": {"a": "b\nc"}}}),
                b"",
                "headers.set: the value of",
            ),
            (json!({"action": "continue", "headers": {"remove": [""]}}), b"", "headers.remove: \"\" is no"),
            (json!({"action": "reject"}), b"", "error: a reject needs one"),
            (
                json!({"action": "reject", "status": 200, "error": {"message": "no"}}),
                b"",
                "status: a reject is an error, and 200 OK is none; write 400 to 599",
            ),
            (
                json!({"action": "reject", "status": 204, "error": {"message": "no"}}),
                b"",
                "status: a reject is an error, and 204 No Content is none",
            ),
            (
                json!({"action": "reject", "status": 302, "error": {"message": "no"}}),
                b"",
                "status: a reject is an error, and 302 Found is none",
            ),
            (json!({"action": "patch"}), b"", "patch: neither"),
            (
                json!({"action": "patch", "patch": {}, "jsonPatch": []}),
                b"",
                "patch: there is a jsonPatch too",
            ),
            (json!({"action": "patch", "patch": {}}), b"{}", "patch: there is a body too"),
            (json!({"action": "patch", "patch": "text"}), b"", "patch: a merge patch"),
            (json!({"action": "patch", "jsonPatch": [{"op": "x"}]}), b"", "jsonPatch: no JSON patch"),
            (json!({"action": "patch"}), b"{", "the patch does not parse"),
            (json!({"action": "continue", "patch": {}}), b"", "patch: the action continue takes none"),
            (json!({"action": "continue"}), b"x", "body: the action continue takes none"),
            (json!({"action": "replace", "status": 200}), b"x", "status: the action replace takes none"),
            (json!({"action": "respond", "route": {}}), b"x", "route: respond ends the request"),
        ];
        for (meta, body, expected) in cases {
            let error = on_request(meta, body).unwrap_err();
            assert!(error.starts_with(expected), "{meta} gave: {error}");
        }
        let error = on_error(&json!({"action": "fallback"})).unwrap_err();
        assert!(error.starts_with("route: fallback needs one"), "{error}");
        let error = on_error(&json!({"action": "retry", "route": {"upstream": "b"}})).unwrap_err();
        assert!(error.starts_with("route: in onError only fallback"), "{error}");
        let error = on_error(&json!({"action": "patch", "patch": {}})).unwrap_err();
        assert!(error.starts_with("action: patch is no answer to onError"), "{error}");
    }
}
