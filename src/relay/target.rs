//! What a request line asks for. Decided from method and path alone.

use std::borrow::Cow;

use http::Method;

use super::path;
use crate::fault::{Fault, Kind};
use crate::hook::Endpoint;

/// First path segments of OpenAI's API, which are served with and without `/v1` before them.
const API_SEGMENTS: [&str; 26] = [
    "assistants",
    "audio",
    "batches",
    "chat",
    "chatkit",
    "completions",
    "containers",
    "conversations",
    "embeddings",
    "evals",
    "files",
    "fine_tuning",
    "images",
    "messages",
    "models",
    "moderations",
    "organization",
    "projects",
    "rerank",
    "realtime",
    "responses",
    "skills",
    "threads",
    "uploads",
    "vector_stores",
    "videos",
];

/// CONNECT asks for a tunnel to anywhere, TRACE for the request as the upstream got it, its key included.
const SERVED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Answered by the gateway itself.
pub(super) const HEALTH: &str = "/healthz";

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// A JSON request that is read whole, may pass hooks and is routed by its model.
    Hooked(Endpoint),
    Models,
    Model(Cow<'a, str>),
    /// Anything else of the API, as it is.
    PassThrough,
    Health,
}

/// Sorts a request by what it asks for, and tells its path behind `/v1`.
pub(super) fn classify<'a>(method: &Method, path: &'a str) -> Result<(Target<'a>, &'a str), Fault> {
    if matches!(*method, Method::CONNECT | Method::TRACE) {
        return Err(Fault::method_not_allowed(format!("The method {method} is not served."), SERVED));
    }
    if path == HEALTH {
        return if method == Method::GET || method == Method::HEAD {
            Ok((Target::Health, path))
        } else {
            Err(method_not_allowed("/healthz", "GET, HEAD"))
        };
    }
    let versioned = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/'));
    let suffix = versioned.unwrap_or(path);
    let first = suffix.trim_start_matches('/').split('/').next().unwrap_or("");
    let known = if versioned.is_some() { !first.is_empty() } else { API_SEGMENTS.contains(&first) };
    if !known {
        return Err(Fault::new(
            Kind::NotFound,
            format!("Unknown path '{}'. The API is served under /v1.", shorten(path)),
        ));
    }
    if !path::HOOKED.contains(&suffix) {
        path::check(suffix).map_err(|bad| Fault::new(Kind::BadRequest, bad.to_string()))?;
    }
    Ok((of_suffix(method, suffix)?, suffix))
}

fn of_suffix<'a>(method: &Method, suffix: &'a str) -> Result<Target<'a>, Fault> {
    let endpoint = match suffix {
        "/chat/completions" => Endpoint::ChatCompletions,
        "/completions" => Endpoint::Completions,
        "/embeddings" => Endpoint::Embeddings,
        "/responses" => Endpoint::Responses,
        "/messages" => Endpoint::Messages,
        "/models" if method == Method::GET => return Ok(Target::Models),
        _ => {
            let id = suffix.strip_prefix("/models/").filter(|id| !id.is_empty());
            return Ok(match id {
                // Model names contain slashes and colons, which clients encode.
                Some(id) if method == Method::GET => {
                    Target::Model(path::decode(id).unwrap_or(Cow::Borrowed(id)))
                }
                _ => Target::PassThrough,
            });
        }
    };
    match (endpoint, method) {
        (_, &Method::POST) => Ok(Target::Hooked(endpoint)),
        // Stored chat completions are listed by GET.
        (Endpoint::ChatCompletions, &Method::GET) => Ok(Target::PassThrough),
        (Endpoint::ChatCompletions, _) => Err(method_not_allowed("/v1/chat/completions", "GET, POST")),
        // Some servers take `post` for POST, or read the body of any method.
        (Endpoint::Completions | Endpoint::Embeddings | Endpoint::Responses | Endpoint::Messages, _) => {
            Err(method_not_allowed(&format!("/v1{suffix}"), "POST"))
        }
    }
}

fn method_not_allowed(path: &str, allowed: &'static str) -> Fault {
    Fault::method_not_allowed(format!("{path} takes {allowed}."), allowed)
}

/// The start of a text from outside, short enough for an error message.
fn shorten(text: &str) -> &str {
    const SHOWN: usize = 80;
    text.char_indices().nth(SHOWN).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_is_served_with_and_without_its_version() {
        let cases = [
            ("POST", "/v1/chat/completions", Target::Hooked(Endpoint::ChatCompletions), "/chat/completions"),
            ("POST", "/chat/completions", Target::Hooked(Endpoint::ChatCompletions), "/chat/completions"),
            ("POST", "/v1/embeddings", Target::Hooked(Endpoint::Embeddings), "/embeddings"),
            ("GET", "/v1/models", Target::Models, "/models"),
            ("GET", "/models/gpt-4o", Target::Model("gpt-4o".into()), "/models/gpt-4o"),
            ("GET", "/v1/models/meta%2Fllama", Target::Model("meta/llama".into()), "/models/meta%2Fllama"),
            ("DELETE", "/v1/models/ft:x", Target::PassThrough, "/models/ft:x"),
            ("POST", "/v1/files", Target::PassThrough, "/files"),
            ("GET", "/v1/responses/resp_1", Target::PassThrough, "/responses/resp_1"),
            ("POST", "/v1/anything/new", Target::PassThrough, "/anything/new"),
            ("GET", "/healthz", Target::Health, "/healthz"),
        ];
        for (method, path, target, suffix) in cases {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let found = classify(&method, path).unwrap_or_else(|fault| panic!("{path}: {fault:?}"));
            assert_eq!(found, (target, suffix), "{method} {path}");
        }
    }

    #[test]
    fn nothing_else_reaches_an_upstream() {
        let cases = [
            ("GET", "/", Kind::NotFound),
            ("GET", "/favicon.ico", Kind::NotFound),
            ("GET", "/v1", Kind::NotFound),
            ("GET", "/v1/", Kind::NotFound),
            ("POST", "/v1chat/completions", Kind::NotFound),
            ("PUT", "/v1/chat/completions", Kind::MethodNotAllowed),
            ("POST", "/healthz", Kind::MethodNotAllowed),
            ("TRACE", "/v1/files", Kind::MethodNotAllowed),
            ("CONNECT", "", Kind::MethodNotAllowed),
            ("POST", "/v1/chat/completions/", Kind::BadRequest),
            ("GET", "/v1/../admin", Kind::BadRequest),
            ("POST", "/v1/chat/completions%3Fa", Kind::BadRequest),
            ("POST", "//chat/completions", Kind::BadRequest),
            ("POST", "/v1/v1/chat/completions", Kind::BadRequest),
            ("POST", "/V1/chat/completions", Kind::NotFound),
            ("POST", "//v1/chat/completions", Kind::NotFound),
            ("POST", "/v1%2Fchat/completions", Kind::NotFound),
        ];
        for (method, path, kind) in cases {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(classify(&method, path).unwrap_err().kind, kind, "{method} {path}");
        }
    }
}
