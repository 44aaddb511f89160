//! `[[route]]`: which upstreams a model goes to, and what is tried again.

use std::time::Duration;

use globset::{GlobBuilder, GlobMatcher};

use super::{Retry, RetryOn, Route};
use crate::document::{Node, Section, Value, Wrong, duration, integer, one_of, parsed, suggestion};
use crate::limits;

const MILLISECOND: Duration = Duration::from_millis(1);

pub(super) fn all(root: &mut Section<'_, '_>, upstreams: &[String]) -> Vec<Route> {
    let mut patterns: Vec<String> = Vec::new();
    root.tables("route", |section| {
        let model = section.need("model", "model = \"gpt-*\"", parsed(model));
        if let Some((pattern, _)) = &model {
            if patterns.contains(pattern) {
                let text = format!(
                    "model {pattern:?} has a route above, which is the one that is used; leave this out"
                );
                section.problem("model", text);
            }
            patterns.push(pattern.clone());
        }
        let upstreams = tried(section, upstreams);
        let retry = section.optional_table("retry", "{ attempts = 2 }", retry).unwrap_or_default();
        let (pattern, model) = model?;
        Some(Route { pattern, model, upstreams, retry })
    })
}

fn model(text: &str) -> Result<(String, GlobMatcher), String> {
    let glob = GlobBuilder::new(text).build();
    match glob {
        Ok(glob) if !text.is_empty() => Ok((text.to_owned(), glob.compile_matcher())),
        Ok(_) => Err("is no model; write a name, or a pattern such as \"gpt-*\"".to_owned()),
        Err(error) => Err(format!("is no pattern: {}; write it like \"gpt-*\"", error.kind())),
    }
}

fn tried(section: &mut Section<'_, '_>, names: &[String]) -> Vec<usize> {
    const KEY: &str = "upstreams";
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let index_of = |name: &str| {
        let index = known.iter().position(|known| *known == name);
        index.ok_or_else(|| format!("is no upstream; {}", suggestion(name, &known)))
    };
    let indexes = section.list(KEY, parsed(index_of)).unwrap_or_default();
    match section.node(KEY).map(|node| &node.value) {
        None => section.problem_here("[[route]] has no upstreams; write it like upstreams = [\"openai\"]"),
        Some(Value::List(items)) if items.is_empty() => {
            section.problem(KEY, format!("upstreams is empty; known here: {}", known.join(", ")));
        }
        Some(_) if has_twice(&indexes) => {
            section.problem(
                KEY,
                "upstreams names one upstream twice; to try it more often, set attempts of retry",
            );
        }
        Some(_) => {}
    }
    indexes
}

fn has_twice<T: PartialEq>(items: &[T]) -> bool {
    items.iter().enumerate().any(|(index, item)| items[..index].contains(item))
}

fn retry(section: &mut Section<'_, '_>) -> Retry {
    let default = Retry::default();
    let backoff = duration(MILLISECOND..=limits::RETRY_DELAY_MAX);
    let retry = Retry {
        attempts: section.get("attempts", integer(1..=limits::ATTEMPTS_MAX)).unwrap_or(default.attempts),
        on: section.list("on", retry_on).unwrap_or(default.on),
        backoff: section.get("backoff", &backoff).unwrap_or(default.backoff),
        max_backoff: section.get("max_backoff", &backoff).unwrap_or(default.max_backoff),
    };
    if has_twice(&retry.on) {
        section.problem("on", "on names a cause twice");
    }
    if retry.backoff > retry.max_backoff {
        section.problem("backoff", "backoff is longer than max_backoff; write a shorter one");
    }
    retry
}

fn retry_on(node: &Node) -> Result<RetryOn, Wrong> {
    one_of(&[
        ("connect", RetryOn::Connect),
        ("timeout", RetryOn::Timeout),
        ("429", RetryOn::RateLimited),
        ("5xx", RetryOn::ServerError),
    ])(node)
}
