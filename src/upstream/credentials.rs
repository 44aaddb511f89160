//! What of a client's request says who pays: it stays with the gateway where the upstream's settings have a key of
//! their own, and wherever the client did not choose the upstream.
//!
//! Credentials are what official clients of OpenAI, Azure, Anthropic and Google put their key in, and cookies, which
//! are sessions. `openai-organization` and `openai-project` are no secrets, but say which account of a key's owner
//! pays; beside a key of somebody else they are wrong at best.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderName, HeaderValue};

const FIELDS: [&str; 7] = [
    "api-key",
    "ocp-apim-subscription-key",
    "openai-organization",
    "openai-project",
    "x-api-key",
    "x-goog-api-key",
    "x-goog-user-project",
];

/// Names of query parameters, in lower case and with `-` for `_`.
const PARAMETERS: [&str; 9] = [
    "access-token",
    "api-key",
    "apikey",
    "authorization",
    "key",
    "ocp-apim-subscription-key",
    "subscription-key",
    "x-api-key",
    "x-goog-api-key",
];

/// What browsers offer beside `realtime`, because they cannot set a field for a WebSocket.
const PROTOCOLS: [&str; 3] = ["openai-insecure-api-key.", "openai-organization.", "openai-project."];

/// Whether a field carries a credential.
pub(super) fn is_field(name: &HeaderName) -> bool {
    [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name) || FIELDS.contains(&name.as_str())
}

/// A path and query without the query's credentials; everything else stays byte for byte.
pub(super) fn without_parameters(path_and_query: &str) -> Cow<'_, str> {
    let Some((path, query)) = path_and_query.split_once('?') else { return path_and_query.into() };
    if !query.split('&').any(is_parameter) {
        return path_and_query.into();
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_parameter(pair)).collect();
    if kept.is_empty() { path.into() } else { format!("{path}?{}", kept.join("&")).into() }
}

/// Whether a pair of a query is a credential, however its name is written.
fn is_parameter(pair: &str) -> bool {
    let name = pair.split('=').next().unwrap_or_default();
    let name = unescaped(name).to_ascii_lowercase().replace('_', "-");
    PARAMETERS.contains(&name.as_str())
}

/// With `%41` as `A`. What is no ASCII is in no name of a credential.
fn unescaped(name: &str) -> String {
    let mut bytes = name.bytes();
    let mut text = String::with_capacity(name.len());
    while let Some(byte) = bytes.next() {
        let mut rest = bytes.clone();
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let escaped = (byte == b'%').then(|| Some(digit()? * 16 + digit()?)).flatten();
        if escaped.is_some() {
            bytes = rest;
        }
        text.push(escaped.and_then(char::from_u32).unwrap_or(char::from(byte)));
    }
    text
}

/// A `sec-websocket-protocol` without the key in it; `None` if nothing is left.
pub(super) fn without_protocols(value: &HeaderValue) -> Option<Cow<'_, HeaderValue>> {
    let Ok(text) = value.to_str() else { return None };
    let is_credential = |protocol: &&str| PROTOCOLS.iter().any(|prefix| starts_with(protocol, prefix));
    let offered = || text.split(',').map(str::trim);
    if !offered().any(|protocol| is_credential(&protocol)) {
        return Some(Cow::Borrowed(value));
    }
    let kept: Vec<&str> = offered().filter(|protocol| !is_credential(protocol)).collect();
    if kept.is_empty() {
        return None;
    }
    HeaderValue::from_str(&kept.join(", ")).ok().map(Cow::Owned)
}

fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_a_query_go_and_the_rest_stays_byte_for_byte() {
        let table = [
            ("/files", "/files"),
            ("/files?", "/files?"),
            ("/files?limit=2&after=%2fx", "/files?limit=2&after=%2fx"),
            ("/models?key=AIza", "/models"),
            ("/a?x=1&key=s&y=%20", "/a?x=1&y=%20"),
            ("/a?API-Key=s&api_key=s&k%65y=s&monkey=1&key", "/a?monkey=1"),
            ("/a?access_token=s&&b", "/a?&b"),
            ("/a?x=1?key=2", "/a?x=1?key=2"),
        ];
        for (given, expected) in table {
            assert_eq!(without_parameters(given), expected, "{given}");
        }
    }

    #[test]
    fn the_key_of_a_web_socket_goes_and_the_protocol_stays() {
        let left = |value: &'static str| {
            without_protocols(&HeaderValue::from_static(value))
                .map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(left("realtime"), Some("realtime".to_owned()));
        assert_eq!(
            left("realtime, openai-insecure-api-key.sk-1,openai-project.p, openai-beta.realtime-v1"),
            Some("realtime, openai-beta.realtime-v1".to_owned())
        );
        assert_eq!(left("OpenAI-Insecure-API-Key.sk-1"), None);
    }
}
