//! Header fields on their way upstream and back: what belongs to one connection stays there.

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

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
}

/// Fields that belong to one connection (RFC 9110 section 7.6.1), whichever way a message goes.
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    [CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE]
        .contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// Where clients put their key, next to `authorization`.
const KEY_FIELDS: [&str; 2] = ["api-key", "x-api-key"];

pub(super) fn is_credential(name: &HeaderName) -> bool {
    *name == AUTHORIZATION || KEY_FIELDS.contains(&name.as_str())
}

/// Whether a `connection` field of the message names this one.
fn is_nominated(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|option| option.trim().eq_ignore_ascii_case(name.as_str())))
}

/// The client's fields that go upstream, then what hooks set. `host`, length and credentials are not
/// among them: the upstream's settings decide those.
pub(super) fn for_upstream<'a>(
    client: &'a HeaderMap,
    rules: RequestRules<'a>,
    own_key: bool,
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
    let names_options = client.contains_key(CONNECTION);
    let changes = rules.changes;
    let passes = move |name: &HeaderName| {
        let of_connection = is_hop_by_hop(name) || (names_options && is_nominated(client, name));
        let stays = of_connection && !(rules.upgrade && *name == UPGRADE)
            || [HOST, CONTENT_LENGTH, EXPECT].contains(name)
            || (own_key && is_credential(name))
            || (rules.identity && *name == ACCEPT_ENCODING)
            || name.as_str().starts_with(OWN_PREFIX);
        !stays
    };
    let replaced = move |name: &HeaderName| {
        !changes.is_empty()
            && (changes.remove.contains(name) || changes.set.iter().any(|(set, _)| set == name))
    };
    client
        .iter()
        .filter(move |(name, _)| passes(name) && !replaced(name))
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

/// Takes out of an upstream's answer what must not reach the client.
pub fn strip_answer(headers: &mut HeaderMap) {
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

    fn sent(client: &[(&'static str, &'static str)], rules: RequestRules<'_>, own_key: bool) -> Vec<String> {
        for_upstream(&headers(client), rules, own_key).map(|(name, _)| name.to_string()).collect()
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
        let rules = RequestRules { changes: &changes, identity: false, upgrade: false };
        assert_eq!(
            sent(&client, rules, false),
            ["accept-encoding", "authorization", "x-api-key", "content-type"]
        );
        let rules = RequestRules { identity: true, ..rules };
        assert_eq!(sent(&client, rules, true), ["content-type"]);
    }

    #[test]
    fn a_web_socket_is_asked_for_and_nothing_else() {
        let asks = |connection: &'static str, upgrade: &'static str| {
            asks_for_web_socket(&headers(&[("connection", connection), ("upgrade", upgrade)]))
        };
        assert!(asks("keep-alive, Upgrade", "WebSocket"));
        assert!(!asks("keep-alive", "websocket") && !asks("upgrade, http2-settings", "h2c"));
        let changes = HeaderChanges::default();
        let rules = RequestRules { changes: &changes, identity: false, upgrade: true };
        let client = [("connection", "upgrade, x-private"), ("upgrade", "websocket"), ("x-private", "1")];
        assert_eq!(sent(&client, rules, false), ["upgrade", "connection"]);
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
        let rules = RequestRules { changes: &changes, identity: false, upgrade: false };
        let client = [("x-team", "blue"), ("x-debug", "1"), ("accept", "*/*")];
        assert_eq!(sent(&client, rules, false), ["accept", "x-team"]);
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
