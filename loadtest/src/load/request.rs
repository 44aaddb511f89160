//! The request every connection sends, rendered once.

use crate::upstream::answer::filler;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    /// Size of the JSON body; grows to the smallest valid chat request if it is less.
    pub(crate) body_bytes: usize,
    pub(crate) stream: bool,
    /// For the scripted upstream, sent on as `x-script` by every peer.
    pub(crate) script: Option<&'a str>,
}

/// A chat completion request as an OpenAI client would send it, head and body.
pub(crate) fn render(wanted: &Wanted<'_>) -> Vec<u8> {
    let body = body(wanted);
    let script = wanted.script.map(|script| format!("x-script: {script}\r\n")).unwrap_or_default();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: OpenAI/Python 2.0\r\n\
         accept: application/json\r\nauthorization: Bearer sk-loadtest\r\ncontent-type: application/json\r\n\
         x-stainless-lang: python\r\n{script}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn body(wanted: &Wanted<'_>) -> String {
    let before = r#"{"model":"gpt-4o-mini","messages":[{"role":"system","content":"Answer shortly."},{"role":"user","content":""#;
    let after = format!(r#""}}],"temperature":0.2,"stream":{}}}"#, wanted.stream);
    let padding = wanted.body_bytes.saturating_sub(before.len() + after.len());
    format!("{before}{}{after}", filler(padding))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_body_size_it_was_asked_for_and_is_json() {
        for body_bytes in [1024, 512 * 1024] {
            let request = render(&Wanted { body_bytes, stream: true, script: Some("body=1") });
            let request = String::from_utf8(request).unwrap();
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("x-script: body=1\r\ncontent-length: {body_bytes}")));
            assert_eq!(body.len(), body_bytes);
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["stream"], true);
        }
    }
}
