//! The path of a request as an upstream may take it. What could lead to another place than it says is refused.
//!
//! Servers decode a path before or after they cut it, merge slashes, drop parameters, ignore case. A path that one of
//! them takes for a hooked endpoint, and the gateway does not, would reach the endpoint past every plugin.

use std::borrow::Cow;

/// Why a path is refused. The text is for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadPath {
    #[error("In the path '%' must be followed by two hexadecimal digits.")]
    Escape,
    #[error("The path is encoded more than once.")]
    EncodedTwice,
    #[error("The path is not valid UTF-8 when it is decoded.")]
    NotUtf8,
    #[error("The path must not contain control characters, '?', '#', ';' or '\\', encoded or not.")]
    Delimiter,
    #[error("The path must not contain segments of dots only.")]
    Dots,
    #[error("Write this path as /v1{plain}.")]
    Disguised { plain: &'static str },
}

/// Paths whose POST passes the hooks.
pub(super) const HOOKED: [&str; 5] =
    ["/chat/completions", "/completions", "/embeddings", "/responses", "/messages"];

/// Checks the path behind `/v1`, which is none of [`HOOKED`].
pub(super) fn check(suffix: &str) -> Result<(), BadPath> {
    let decoded = decode(suffix)?;
    if decode(&decoded).as_deref().unwrap_or(&decoded) != decoded {
        return Err(BadPath::EncodedTwice);
    }
    if decoded.contains(|c: char| c.is_control() || matches!(c, '?' | '#' | ';' | '\\')) {
        return Err(BadPath::Delimiter);
    }
    let segments: Vec<String> =
        decoded.split('/').filter(|segment| !segment.is_empty()).map(folded).collect();
    if segments.iter().any(String::is_empty) {
        return Err(BadPath::Dots);
    }
    disguised(&segments).map_or(Ok(()), |plain| Err(BadPath::Disguised { plain }))
}

/// Takes the escapes out of a path.
pub(super) fn decode(path: &str) -> Result<Cow<'_, str>, BadPath> {
    if !path.contains('%') {
        return Ok(Cow::Borrowed(path));
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut parts = path.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let (digits, behind) = part.split_at_checked(2).ok_or(BadPath::Escape)?;
        // Not `from_str_radix` alone, which takes a sign.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(BadPath::Escape);
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| BadPath::Escape)?);
        bytes.extend_from_slice(behind.as_bytes());
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| BadPath::NotUtf8)
}

/// A segment as a lenient server compares it: without case, without dots and spaces at its end, and with letters
/// of other widths as the plain ones. Empty, if it says nothing but where to go.
fn folded(segment: &str) -> String {
    let plain = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        '\u{2024}' | '\u{2025}' | '\u{2026}' | '\u{3002}' | '\u{ff61}' => '.',
        'ſ' => 's',
        'ı' | 'İ' => 'i',
        c => c,
    };
    let seen = |c: &char| !matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}');
    let text: String = segment.chars().filter(seen).map(plain).map(|c| c.to_ascii_lowercase()).collect();
    text.trim_end_matches(|c: char| c == '.' || c.is_whitespace()).trim_start().to_owned()
}

/// The hooked endpoint that the segments lead to at some upstream.
fn disguised(segments: &[String]) -> Option<&'static str> {
    let mut rest = segments;
    // An upstream's base may end before its version, and some serve the API under more than one name.
    while let [first, behind @ ..] = rest {
        rest = match (first.as_str(), behind) {
            ("api" | "openai" | "beta", _) => behind,
            ("engines" | "deployments", [_, behind @ ..]) => behind,
            (first, _) if is_version(first) => behind,
            _ => break,
        };
    }
    if let [.., chat, completions] = rest
        && (chat.as_str(), completions.as_str()) == ("chat", "completions")
    {
        return Some("/chat/completions");
    }
    let [only] = rest else { return None };
    HOOKED.into_iter().find(|hooked| hooked[1..] == **only)
}

/// `v1`, `v1beta`.
fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_has_passes() {
        for path in [
            "/files",
            "/files/a%20b",
            "/files/file-1/content",
            "/models/org%2Fname%3Atag",
            "/models/ft:gpt-4o:org::id",
            "/threads/t/messages",
            "/threads/t/runs",
            "/responses/r/input_items",
            "/messages/count_tokens",
            "/messages/batches",
            "/chat/completions/c-1",
            "/chat/completions/c-1/messages",
            "/fim/completions",
            "/agents/completions",
            "/fine_tuning/jobs/j/events",
            "/anything/new",
            "/collections/%E5%90%8D",
            "/a//b",
            "/100%25",
            "/a.b/v1.2",
            "/.well-known",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn no_spelling_of_a_hooked_endpoint_passes() {
        let chat = [
            "/chat/completions/",
            "//chat/completions",
            "/chat//completions",
            "/chat/%63ompletions",
            "/chat%2Fcompletions",
            "/chat%2fcompletions%2F",
            "/Chat/COMPLETIONS",
            "/chat/completions.",
            "/chat/completions%2E",
            "/chat/completions%20",
            "/%20chat/completions",
            "/chat./completions",
            "/chat%C2%A0/completions",
            "/chat/completion%C5%BF",
            "/%EF%BD%83hat/completions",
            "/chat/com%E2%80%8Bpletions",
            "/chat%EF%BC%8Fcompletions",
            "/v1/chat/completions",
            "/V1/chat/completions",
            "/openai/v1/chat/completions",
            "/openai/deployments/gpt/chat/completions",
            "/beta/chat/completions",
            "/x/y/chat/completions",
        ];
        for path in chat {
            assert_eq!(check(path), Err(BadPath::Disguised { plain: "/chat/completions" }), "{path}");
        }
        for (path, plain) in [
            ("/completions/", "/completions"),
            ("/engines/davinci/completions", "/completions"),
            ("/v1/embeddings", "/embeddings"),
            ("/Responses", "/responses"),
            ("/v1beta/messages", "/messages"),
        ] {
            assert_eq!(check(path), Err(BadPath::Disguised { plain }), "{path}");
        }
    }

    #[test]
    fn what_decodes_to_another_path_is_refused() {
        for (path, bad) in [
            ("/chat/completions%3Fa", BadPath::Delimiter),
            ("/chat/completions%23", BadPath::Delimiter),
            ("/chat/completions%00", BadPath::Delimiter),
            ("/chat/completions%09", BadPath::Delimiter),
            ("/chat/completions%0d%0ax", BadPath::Delimiter),
            ("/chat/completions%7f", BadPath::Delimiter),
            ("/chat/completions%C2%85", BadPath::Delimiter),
            ("/chat/completions;v=1", BadPath::Delimiter),
            ("/chat/completions%3Bv=1", BadPath::Delimiter),
            ("/files/..;/chat/completions", BadPath::Delimiter),
            ("/chat\\completions", BadPath::Delimiter),
            ("/chat%5Ccompletions", BadPath::Delimiter),
            ("/../admin", BadPath::Dots),
            ("/./files", BadPath::Dots),
            ("/files/%2e%2E/x", BadPath::Dots),
            ("/files/..%2Fx", BadPath::Dots),
            ("/files/.%2e/x", BadPath::Dots),
            ("/files/..%20/x", BadPath::Dots),
            ("/files/%20../x", BadPath::Dots),
            ("/files/.../x", BadPath::Dots),
            ("/files/%20/x", BadPath::Dots),
            ("/files/%EF%BC%8E%EF%BC%8E/x", BadPath::Dots),
            ("/files/%E2%80%A5/x", BadPath::Dots),
            ("/chat/%2563ompletions", BadPath::EncodedTwice),
            ("/chat%252Fcompletions", BadPath::EncodedTwice),
            ("/files/%252e%252e/x", BadPath::EncodedTwice),
            ("/files/%25252e", BadPath::EncodedTwice),
            ("/files/%C0%AE%C0%AE/x", BadPath::NotUtf8),
            ("/chat%C0%AFcompletions", BadPath::NotUtf8),
            ("/chat%E0%80%AFcompletions", BadPath::NotUtf8),
            ("/files/%FF", BadPath::NotUtf8),
            ("/chat/completions%", BadPath::Escape),
            ("/chat/completions%2", BadPath::Escape),
            ("/chat/%u0063ompletions", BadPath::Escape),
            ("/chat/%+3ompletions", BadPath::Escape),
            ("/chat/%ééx", BadPath::Escape),
        ] {
            assert_eq!(check(path), Err(bad), "{path}");
        }
    }
}
