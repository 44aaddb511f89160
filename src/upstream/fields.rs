//! Header fields on their way upstream and back: what belongs to one connection stays there.

use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::credentials;
use crate::hook::HeaderChanges;

/// The prefix of fields between the client and the gateway alone.
const OWN_PREFIX: &str = "x-hookway-";

/// What `connection` says of a message that asks for, or agrees to, another protocol.
static UPGRADE_OPTION: HeaderValue = HeaderValue::from_static("upgrade");

/// What the rules below need to know of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestRules<'a> {
    pub changes: &'a HeaderChanges,
    /// Ask for an answer the gateway can read: usage, events, an error body.
    pub identity: bool,
    /// Keep `upgrade`, so that a WebSocket handshake reaches the upstream.
    pub upgrade: bool,
    /// The client's credentials may go upstream, unless the upstream's settings have their own.
    pub credentials: bool,
}

/// Fields that belong to one connection (RFC 9110 section 7.6.1), whichever way a message goes.
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    [CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE]
        .contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// Whether a `connection` field of the message names this one.
fn is_nominated(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|option| option.trim().eq_ignore_ascii_case(name.as_str())))
}

/// The client's fields that go upstream, then what hooks set. `host` and length are not among them, for the
/// upstream's settings decide those, and neither are credentials without `credentials`. What the client's
/// `connection` names goes before hooks' changes are applied: a client cannot strip what a hook set.
pub(super) fn for_upstream<'a>(
    client: &'a HeaderMap,
    rules: RequestRules<'a>,
    credentials: bool,
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
    let names_options = client.contains_key(CONNECTION);
    let changes = rules.changes;
    let passes = move |name: &HeaderName| {
        let stays = is_hop_by_hop(name) && !(rules.upgrade && *name == UPGRADE)
            || [HOST, CONTENT_LENGTH, EXPECT].contains(name)
            || (!credentials && credentials::is_field(name))
            || (rules.identity && *name == ACCEPT_ENCODING)
            || name.as_str().starts_with(OWN_PREFIX);
        !stays
    };
    let of_connection = move |name: &HeaderName| {
        names_options && is_nominated(client, name) && !(rules.upgrade && *name == UPGRADE)
    };
    let replaced = move |name: &HeaderName| {
        !changes.is_empty()
            && (changes.remove.contains(name) || changes.set.iter().any(|(set, _)| set == name))
    };
    client
        .iter()
        .filter(move |(name, _)| passes(name) && !of_connection(name) && !replaced(name))
        .chain(changes.set.iter().filter(move |(name, _)| passes(name)).map(|(name, value)| (name, value)))
        .chain(rules.upgrade.then_some((&CONNECTION, &UPGRADE_OPTION)))
}

/// Whether a request asks for a WebSocket. Another protocol is none of the gateway's: in `h2c` a client could
/// speak to the upstream past it.
pub fn asks_for_web_socket(headers: &HeaderMap) -> bool {
    let asks = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    is_nominated(headers, &UPGRADE) && headers.get(UPGRADE).is_some_and(asks)
}

/// The same as [`strip_answer`] for one that agrees to go on in another protocol.
pub fn strip_agreement(headers: &mut HeaderMap) {
    let protocol = headers.get(UPGRADE).cloned();
    strip_answer(headers);
    headers.insert(CONNECTION, UPGRADE_OPTION.clone());
    if let Some(protocol) = protocol {
        headers.insert(UPGRADE, protocol);
    }
}

/// Takes out of an upstream's answer what must not reach the client. A length that is told twice, which was read
/// as one, is told once (RFC 9110 section 8.6).
pub fn strip_answer(headers: &mut HeaderMap) {
    let told = headers.get_all(CONTENT_LENGTH);
    if told.iter().nth(1).is_some() || told.iter().any(|value| value.as_bytes().contains(&b',')) {
        let first = told.iter().next().and_then(|value| value.to_str().ok());
        let first = first.and_then(|value| value.split(',').next()?.trim().parse::<u64>().ok());
        headers.remove(CONTENT_LENGTH);
        headers.extend(first.map(|length| (CONTENT_LENGTH, HeaderValue::from(length))));
    }
    let names_options = headers.contains_key(CONNECTION);
    let stays = |name: &HeaderName| {
        is_hop_by_hop(name)
            || name.as_str().starts_with(OWN_PREFIX)
            || (names_options && is_nominated(headers, name))
    };
    let stays: Vec<HeaderName> = headers.keys().filter(|name| stays(name)).cloned().collect();
    for name in stays {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn sent(
        client: &[(&'static str, &'static str)],
        rules: RequestRules<'_>,
        credentials: bool,
    ) -> Vec<String> {
        for_upstream(&headers(client), rules, credentials).map(|(name, _)| name.to_string()).collect()
    }

    #[test]
    fn what_belongs_to_the_client_connection_stays_there() {
        let client = [
            ("host", "gateway"),
            ("connection", "keep-alive, X-Private"),
            ("keep-alive", "timeout=5"),
            ("x-private", "1"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("content-length", "3"),
            ("x-hookway-trace", "secret"),
            ("accept-encoding", "gzip"),
            ("authorization", "Bearer client"),
            ("x-api-key", "client"),
            ("content-type", "application/json"),
        ];
        let changes = HeaderChanges::default();
        let rules = RequestRules { changes: &changes, identity: false, upgrade: false, credentials: true };
        assert_eq!(
            sent(&client, rules, true),
            ["accept-encoding", "authorization", "x-api-key", "content-type"]
        );
        let rules = RequestRules { identity: true, ..rules };
        assert_eq!(sent(&client, rules, false), ["content-type"]);
    }

    #[test]
    fn a_web_socket_is_asked_for_and_nothing_else() {
        let asks = |connection: &'static str, upgrade: &'static str| {
            asks_for_web_socket(&headers(&[("connection", connection), ("upgrade", upgrade)]))
        };
        assert!(asks("keep-alive, Upgrade", "WebSocket"));
        assert!(!asks("keep-alive", "websocket") && !asks("upgrade, http2-settings", "h2c"));
        let changes = HeaderChanges::default();
        let rules = RequestRules { changes: &changes, identity: false, upgrade: true, credentials: true };
        let client = [("connection", "upgrade, x-private"), ("upgrade", "websocket"), ("x-private", "1")];
        assert_eq!(sent(&client, rules, true), ["upgrade", "connection"]);
    }

    #[test]
    fn hooks_replace_and_remove_but_cannot_reach_the_framing() {
        let changes = HeaderChanges {
            set: vec![
                (HeaderName::from_static("x-team"), HeaderValue::from_static("red")),
                (CONTENT_LENGTH, HeaderValue::from_static("0")),
            ],
            remove: vec![HeaderName::from_static("x-debug")],
        };
        let rules = RequestRules { changes: &changes, identity: false, upgrade: false, credentials: true };
        let client = [("x-team", "blue"), ("x-debug", "1"), ("accept", "*/*")];
        assert_eq!(sent(&client, rules, true), ["accept", "x-team"]);
        let nominating = [("connection", "x-team, x-debug"), ("x-team", "blue"), ("accept", "*/*")];
        assert_eq!(
            sent(&nominating, rules, true),
            ["accept", "x-team"],
            "what a hook set cannot be stripped"
        );
    }

    #[test]
    fn no_credential_passes_where_none_may() {
        let client = [
            ("authorization", "Bearer client"),
            ("proxy-authorization", "Basic client"),
            ("x-api-key", "client"),
            ("x-goog-api-key", "client"),
            ("api-key", "client"),
            ("ocp-apim-subscription-key", "client"),
            ("cookie", "session=client"),
            ("openai-organization", "org-client"),
            ("openai-project", "proj-client"),
            ("openai-beta", "assistants=v2"),
            ("anthropic-version", "2023-06-01"),
        ];
        let changes = HeaderChanges::default();
        let rules = RequestRules { changes: &changes, identity: false, upgrade: false, credentials: true };
        assert_eq!(sent(&client, rules, false), ["openai-beta", "anthropic-version"]);
        assert_eq!(
            sent(&client, rules, true).len(),
            client.len() - 1,
            "proxy-authorization was for the gateway"
        );
    }

    #[test]
    fn a_length_that_is_told_twice_is_told_once() {
        for told in [["2", "2"].as_slice(), &["2, 2"], &["2,2", "2"], &["2"]] {
            let mut answer = HeaderMap::new();
            for value in told {
                answer.append(CONTENT_LENGTH, HeaderValue::from_static(value));
            }
            strip_answer(&mut answer);
            let left: Vec<_> = answer.get_all(CONTENT_LENGTH).iter().collect();
            assert_eq!(left, ["2"], "{told:?}");
        }
    }

    #[test]
    fn an_answer_keeps_its_own_fields_only() {
        let mut answer = headers(&[
            ("connection", "close, x-internal"),
            ("x-internal", "1"),
            ("x-hookway-plugin", "forged"),
            ("transfer-encoding", "chunked"),
            ("content-type", "application/json"),
            ("x-request-id", "req_1"),
        ]);
        strip_answer(&mut answer);
        let mut names: Vec<_> = answer.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "x-request-id"]);
    }
}
