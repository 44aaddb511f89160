//! `hooks` of a manifest: what each hook wants to see, may change, and how long it may take.

use std::collections::BTreeMap;
use std::time::Duration;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use http::{HeaderName, HeaderValue};

use crate::document::{
    Node, Section, Value, Wrong, boolean, fraction, integer, nearest, one_of, parsed, size, suggestion,
};
use crate::hook::{BodyNeed, Cause, Endpoint, HookName, HookSpec, Mutates, OnFailure, Policy, When};
use crate::limits;

/// A cause that `onFailure` may name and this version does not know: the kernel ended a confined process.
pub(super) const FUTURE_CAUSE: &str = "sandbox";

/// Hooks of OmniRoute that have no counterpart here. They are taken and never called.
pub(super) const FOREIGN_HOOKS: [&str; 2] = ["onPluginMessage", "onRender"];

pub(super) fn read(section: &mut Section<'_, '_>) -> BTreeMap<HookName, HookSpec> {
    let hooks = HookName::ALL.into_iter().filter_map(|name| Some((name, hook(section, name)?))).collect();
    for foreign in FOREIGN_HOOKS {
        section.get(foreign, boolean);
    }
    hooks
}

fn hook(section: &mut Section<'_, '_>, name: HookName) -> Option<HookSpec> {
    const FORMS: &str = "true, or like { \"body\": \"full\" }";
    match section.node(name.as_str())?.value {
        Value::Boolean(false) => None,
        Value::Boolean(true) => Some(HookSpec { body: BodyNeed::Full, ..defaults(name) }),
        Value::Table(_) => section.optional_table(name.as_str(), FORMS, |hook| spec(hook, name)),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Foreign(_) | Value::List(_) => {
            section.problem(name.as_str(), format!("{name} is no declaration of a hook; write {FORMS}"));
            None
        }
    }
}

/// What a hook is that says nothing about itself: it sees no body and no header, and may change anything.
fn defaults(name: HookName) -> HookSpec {
    HookSpec {
        name,
        headers: Vec::new(),
        body: BodyNeed::None,
        mutates: Mutates::anything(),
        when: When::default(),
        timeout: match name {
            HookName::OnStreamEvent => limits::STREAM_HOOK_TIMEOUT,
            HookName::OnRequest
            | HookName::OnResponse
            | HookName::OnError
            | HookName::OnComplete
            | HookName::OnInstall
            | HookName::OnActivate
            | HookName::OnDeactivate
            | HookName::OnUninstall
            | HookName::OnConfigChange => limits::HOOK_TIMEOUT,
        },
        on_failure: OnFailure::always(name.default_policy()),
        // The gateway's own bound on bodies holds anyway.
        body_bytes_max: usize::MAX,
        idempotent: false,
    }
}

fn spec(section: &mut Section<'_, '_>, name: HookName) -> HookSpec {
    let default = match mode(section, name) {
        Some(Mode::Observe) => HookSpec {
            mutates: Mutates { body: Vec::new(), headers: false, route: false },
            on_failure: OnFailure::always(Policy::Open),
            ..defaults(name)
        },
        Some(Mode::Transform) | None => defaults(name),
    };
    HookSpec {
        name,
        headers: section.list("headers", parsed(header_name)).unwrap_or_default(),
        body: body(section),
        mutates: section.list("mutates", parsed(mutation)).map_or(default.mutates, mutates),
        when: section.optional_table("when", "{ \"model\": \"gpt-*\" }", when).unwrap_or_default(),
        timeout: section.get("timeoutMs", timeout).unwrap_or(default.timeout),
        on_failure: on_failure(section, default.on_failure),
        body_bytes_max: section.get("maxBody", size(1..=1 << 40)).map_or(default.body_bytes_max, bytes),
        idempotent: section.get("idempotent", boolean).unwrap_or(false),
    }
}

/// The words of `mode`.
pub(super) const MODES: [(&str, Mode); 2] = [("observe", Mode::Observe), ("transform", Mode::Transform)];

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mode {
    Observe,
    Transform,
}

/// Only events of a stream are watched without being waited for; elsewhere that is what `mutates: []` says.
fn mode(section: &mut Section<'_, '_>, name: HookName) -> Option<Mode> {
    let mode = section.get("mode", one_of(&MODES))?;
    match name {
        HookName::OnStreamEvent => Some(mode),
        HookName::OnRequest
        | HookName::OnResponse
        | HookName::OnError
        | HookName::OnComplete
        | HookName::OnInstall
        | HookName::OnActivate
        | HookName::OnDeactivate
        | HookName::OnUninstall
        | HookName::OnConfigChange => {
            section.problem("mode", "mode is for onStreamEvent; a hook that only looks says \"mutates\": []");
            None
        }
    }
}

/// The words of `body`.
pub(super) const BODIES: [(&str, Body); 3] =
    [("none", Body::None), ("pointers", Body::Pointers), ("full", Body::Full)];

#[derive(Clone, Copy)]
pub(super) enum Body {
    None,
    Pointers,
    Full,
}

fn body(section: &mut Section<'_, '_>) -> BodyNeed {
    let body = section.get("body", one_of(&BODIES));
    let pointers = section.list("pointers", parsed(pointer));
    match (body, pointers) {
        (None | Some(Body::Pointers), Some(pointers)) => BodyNeed::Pointers(pointers),
        (Some(Body::Pointers), None) => {
            section.problem("body", "body \"pointers\" needs them; write \"pointers\": [\"/model\"]");
            BodyNeed::None
        }
        (Some(Body::None), Some(_)) => {
            section.problem(
                "pointers",
                "pointers asks for parts of a body, and body is \"none\"; leave one out",
            );
            BodyNeed::None
        }
        (Some(Body::Full), Some(_)) => {
            section.problem(
                "pointers",
                "pointers asks for parts of a body, and body is \"full\"; leave one out",
            );
            BodyNeed::Full
        }
        (Some(Body::Full), None) => BodyNeed::Full,
        (Some(Body::None) | None, None) => BodyNeed::None,
    }
}

/// RFC 6901: empty, or steps that each begin with a slash, with `~` only as `~0` and `~1`.
fn pointer(text: &str) -> Result<String, String> {
    let escapes_hold = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if (text.is_empty() || text.starts_with('/')) && escapes_hold {
        Ok(text.to_owned())
    } else {
        Err("is no JSON pointer; write it like \"/messages/0/content\"".to_owned())
    }
}

/// What `mutates` may name beside JSON pointers.
pub(super) const MUTATIONS: [&str; 2] = ["headers", "route"];

enum Mutation {
    Body(String),
    Headers,
    Route,
}

fn mutation(text: &str) -> Result<Mutation, String> {
    match text {
        "headers" => Ok(Mutation::Headers),
        "route" => Ok(Mutation::Route),
        pointer_or_slip => pointer(pointer_or_slip).map(Mutation::Body).map_err(|_| {
            let hint = nearest(text, MUTATIONS).map(|word| format!("; did you mean {word:?}?"));
            let hint = hint.unwrap_or_default();
            format!("is neither \"headers\", \"route\" nor a JSON pointer like \"/messages\"{hint}")
        }),
    }
}

fn mutates(mutations: Vec<Mutation>) -> Mutates {
    let mut mutates = Mutates { body: Vec::new(), headers: false, route: false };
    for mutation in mutations {
        match mutation {
            Mutation::Body(pointer) => mutates.body.push(pointer),
            Mutation::Headers => mutates.headers = true,
            Mutation::Route => mutates.route = true,
        }
    }
    mutates
}

fn when(section: &mut Section<'_, '_>) -> When {
    let default = When::default();
    let header = section.optional_table("header", "{ \"name\": \"x-team\" }", |header| {
        let name = header.need("name", "\"name\": \"x-team\"", parsed(header_name));
        let value = header.get("value", parsed(header_value));
        Some((name?, value))
    });
    When {
        endpoints: section.list_or_one("endpoint", parsed(endpoint)).unwrap_or(default.endpoints),
        models: section.list_or_one("model", parsed(model)).map(globs),
        header: header.flatten(),
        sample: section.get("sample", fraction(0.0..=1.0)).unwrap_or(default.sample),
    }
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    let known = Endpoint::ALL.map(Endpoint::as_str);
    Endpoint::parse(text).ok_or_else(|| format!("is no endpoint with hooks; {}", suggestion(text, &known)))
}

fn model(text: &str) -> Result<globset::Glob, String> {
    let glob = GlobBuilder::new(text).build();
    glob.map_err(|error| format!("is no pattern: {}; write it like \"gpt-*\"", error.kind()))
}

fn globs(globs: Vec<globset::Glob>) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(glob);
    }
    set.build().unwrap_or_else(|error| unreachable!("each pattern was compiled on its own: {error}"))
}

fn header_name(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::try_from(text)
        .map_err(|_| "is not the name of a header; write it of letters, digits and -".to_owned())?;
    if name.as_str().starts_with("x-hookway-") {
        return Err("is the gateway's own, and may carry its admin token; no plugin sees it".to_owned());
    }
    Ok(name)
}

fn header_value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text)
        .map_err(|_| "has a character no header may have; write visible ASCII and spaces".to_owned())
}

fn timeout(node: &Node) -> Result<Duration, Wrong> {
    let longest = u64::try_from(limits::HOOK_TIMEOUT_MAX.as_millis()).unwrap_or(u64::MAX);
    integer(1..=longest)(node).map(Duration::from_millis)
}

fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

/// The words of `onFailure`.
pub(super) const POLICIES: [(&str, Policy); 2] = [("open", Policy::Open), ("closed", Policy::Closed)];

fn policy(node: &Node) -> Result<Policy, Wrong> {
    one_of(&POLICIES)(node)
}

fn on_failure(section: &mut Section<'_, '_>, default: OnFailure) -> OnFailure {
    const KEY: &str = "onFailure";
    let Some(Node { value: Value::Table(_), .. }) = section.node(KEY) else {
        return section.get(KEY, policy).map_or(default, OnFailure::always);
    };
    let by_cause = section.optional_table(KEY, "{ \"default\": \"closed\" }", |causes| {
        let on_failure = causes.get("default", policy).map_or(default, OnFailure::always);
        causes.get(FUTURE_CAUSE, policy);
        Cause::ALL.into_iter().fold(on_failure, |on_failure, cause| {
            match causes.get(cause.as_str(), policy) {
                Some(policy) => on_failure.with(cause, policy),
                None => on_failure,
            }
        })
    });
    by_cause.unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_own_headers_are_for_no_plugin() {
        assert!(header_name("X-Hookway-Trace").unwrap_err().contains("admin token"));
        assert!(header_name("x-hookwayish").is_ok());
    }
}
