//! `[[upstream]]`: where requests may go.

use std::time::Duration;

use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Uri, header};

use super::place::Place;
use super::{Breaker, Http2, OpenAiUpstream, Secret, Upstream, UpstreamKind};
use crate::document::{Node, Section, Wrong, boolean, duration, integer, name, one_of, parsed, text};
use crate::limits;
use crate::tls;

const MILLISECOND: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Headers of a connection or of one message: the gateway sets them itself.
const OWN_HEADERS: [HeaderName; 8] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
];

/// The upstreams, and the names of all of them, those with errors included: a route to one is no second error.
pub(super) fn all(root: &mut Section<'_, '_>, place: &Place<'_>) -> (Vec<Upstream>, Vec<String>) {
    let mut names: Vec<String> = Vec::new();
    let mut upstreams = root.tables("upstream", |section| {
        let name = section.need("name", "name = \"openai\"", name);
        if let Some(name) = &name {
            if names.contains(name) {
                section.problem("name", format!("name {name:?} is taken by another upstream; write another"));
            } else {
                names.push(name.clone());
            }
        }
        let kind = kind(section, place);
        Some(Upstream { name: name?, kind: kind? })
    });
    if names.is_empty() {
        names.push("echo".to_owned());
        upstreams.push(Upstream { name: "echo".to_owned(), kind: UpstreamKind::Echo });
    }
    (upstreams, names)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    OpenAi,
    Echo,
}

fn kind(section: &mut Section<'_, '_>, place: &Place<'_>) -> Option<UpstreamKind> {
    let kind = section.get("kind", one_of(&[("openai", Kind::OpenAi), ("echo", Kind::Echo)]));
    match kind.unwrap_or(Kind::OpenAi) {
        Kind::Echo => Some(UpstreamKind::Echo),
        Kind::OpenAi => openai(section, place).map(|upstream| UpstreamKind::OpenAi(Box::new(upstream))),
    }
}

fn openai(section: &mut Section<'_, '_>, place: &Place<'_>) -> Option<OpenAiUpstream> {
    let base =
        section.need("base_url", "base_url = \"https://api.openai.com/v1\"", |node| base_url(&text(node)?));
    let api_key =
        section.optional_table("api_key", "{ env = \"OPENAI_API_KEY\" }", |key| api_key(key, place));
    let headers = section.free_table("headers", "{ x-team = \"platform\" }", set_header);
    if section.has("api_key") && headers.iter().any(|(name, _)| *name == header::AUTHORIZATION) {
        section.problem("headers", "headers sets authorization, and api_key does too; leave one of them out");
    }
    let http2 = one_of(&[("auto", Http2::Auto), ("never", Http2::Never), ("only", Http2::Only)]);
    let http2 = section.get("http2", http2).unwrap_or(Http2::Auto);
    let ca_file = section.get("ca_file", place.pem_file("CERTIFICATE"));
    if let Some(Err(text)) = ca_file.as_deref().map(tls::authorities) {
        section.problem("ca_file", format!("ca_file {text}"));
    }
    let idle_connections = section.get("idle_connections", integer(0..=65_536));
    let resend = section.get("resend", boolean).unwrap_or(true);
    let breaker = section.optional_table("breaker", "{ failures = 10 }", breaker).unwrap_or_default();
    let mut timeout = |key, default| section.get(key, duration(MILLISECOND..=DAY)).unwrap_or(default);
    let connect_timeout = timeout("connect_timeout", limits::CONNECT_TIMEOUT);
    let first_byte_timeout = timeout("first_byte_timeout", limits::FIRST_BYTE_TIMEOUT);
    let chunk_timeout = timeout("chunk_timeout", limits::CHUNK_TIMEOUT);
    let total_timeout = timeout("total_timeout", limits::TOTAL_TIMEOUT);
    let base = base?;
    Some(OpenAiUpstream {
        tls: base.tls,
        host: base.host,
        port: base.port,
        path: base.path,
        api_key: api_key.flatten(),
        headers,
        http2,
        ca_file,
        connect_timeout,
        first_byte_timeout,
        chunk_timeout,
        total_timeout,
        idle_connections: idle_connections.unwrap_or(limits::UPSTREAM_IDLE_CONNECTIONS),
        resend,
        breaker,
    })
}

fn breaker(section: &mut Section<'_, '_>) -> Breaker {
    let default = Breaker::default();
    Breaker {
        failures: section.get("failures", integer(0..=10_000)).unwrap_or(default.failures),
        open_for: section.get("open_for", duration(MILLISECOND..=DAY)).unwrap_or(default.open_for),
    }
}

fn api_key(section: &mut Section<'_, '_>, place: &Place<'_>) -> Option<Secret> {
    let from_env = section.get("env", parsed(|variable| variable_value(variable, place)));
    let from_file = section.get("file", place.text_file()).map(|(_, text)| text);
    if section.has("env") == section.has("file") {
        section.problem_here("api_key takes one of env and file; write { env = \"OPENAI_API_KEY\" }");
    }
    let (key, value) = match (from_env, from_file) {
        (Some(value), _) => ("env", value),
        (None, Some(value)) => ("file", value),
        (None, None) => return None,
    };
    match usable_key(&value) {
        Some(secret) => Some(secret),
        None => {
            section.problem(
                key,
                format!("{key} of api_key holds no key: it is empty, or has a character no header may have"),
            );
            None
        }
    }
}

fn variable_value(variable: &str, place: &Place<'_>) -> Result<String, String> {
    place.environment.get(variable).cloned().ok_or_else(|| {
        "is not set; set this environment variable, or leave api_key out to pass on the client's own key"
            .to_owned()
    })
}

/// A key that fits into an `authorization` header, without the newline editors leave at the end of a file.
fn usable_key(value: &str) -> Option<Secret> {
    let value = value.trim();
    let fits = !value.is_empty() && HeaderValue::from_str(value).is_ok();
    fits.then(|| Secret::new(value.to_owned()))
}

fn set_header(name: &str, node: &Node) -> Result<(HeaderName, HeaderValue), Wrong> {
    let value = text(node)?;
    let hidden = |words: &str| Wrong::Hidden(words.to_owned());
    let name = HeaderName::try_from(name);
    let name = name.map_err(|_| hidden("is not the name of a header; write it of letters, digits and -"))?;
    if OWN_HEADERS.contains(&name) {
        return Err(hidden("cannot be set: the gateway sets this header itself; leave it out"));
    }
    let value = HeaderValue::from_str(&value)
        .map_err(|_| hidden("has a character no header may have; write visible ASCII and spaces"))?;
    Ok((name, value))
}

#[derive(Debug, PartialEq)]
struct BaseUrl {
    tls: bool,
    host: String,
    port: u16,
    path: String,
}

/// A user or a query may hold a secret, so a URL with one is refused without being shown.
fn base_url(text: &str) -> Result<BaseUrl, Wrong> {
    const WRITE: &str = "write it like \"https://api.openai.com/v1\"";
    if text.contains(['?', '#', '@']) {
        return Err(Wrong::Hidden(format!("has a user, query or fragment; {WRITE}, and the key as api_key")));
    }
    plain_url(text).map_err(|what| Wrong::Value(format!("{what}; {WRITE}")))
}

fn plain_url(text: &str) -> Result<BaseUrl, &'static str> {
    let uri: Uri = text.parse().map_err(|_| "is not a URL")?;
    let tls = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        Some(scheme) if *scheme == Scheme::HTTP => false,
        Some(_) | None => return Err("is not http:// or https://"),
    };
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = uri.host().unwrap_or_default();
    let port = authority.strip_prefix(host).unwrap_or_default();
    let port = match port.strip_prefix(':') {
        None => {
            if tls {
                443
            } else {
                80
            }
        }
        Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or("has a port outside 1 to 65535")?,
    };
    if host.is_empty() {
        return Err("has no host");
    }
    let path = uri.path().trim_end_matches('/').to_owned();
    Ok(BaseUrl { tls, host: host.to_ascii_lowercase(), port, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_taken_apart() {
        let url = |text: &str| {
            let BaseUrl { tls, host, port, path } = base_url(text)?;
            Ok::<_, Wrong>(format!("{tls} {host} {port} {path}"))
        };
        let table = [
            ("https://api.openai.com/v1", "true api.openai.com 443 /v1"),
            ("https://api.openai.com/v1/", "true api.openai.com 443 /v1"),
            ("http://localhost:11434", "false localhost 11434 "),
            ("http://[::1]:9/openai/v1", "false [::1] 9 /openai/v1"),
            ("HTTP://Example.COM", "false example.com 80 "),
        ];
        for (text, expected) in table {
            assert_eq!(url(text), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_base_url_is_refused() {
        for text in [
            "",
            "api.openai.com",
            "/v1",
            "ftp://x/v1",
            "https://",
            "https://:80/",
            "https://u:p@x/v1",
            "https://x/v1?a=b",
            "https://x/v1#a",
            "https://x:0/",
            "https://x:70000/",
            "https://x:/v1",
            "https://a b/",
        ] {
            assert!(base_url(text).is_err(), "{text}");
        }
    }
}
