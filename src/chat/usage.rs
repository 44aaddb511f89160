//! Token counts as upstreams report them, read from the bytes of an answer without parsing it.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;

/// Tokens one request cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Usage {
    /// Chat and completions say `prompt_tokens`, responses and messages say `input_tokens`.
    #[serde(default, alias = "input_tokens")]
    pub prompt_tokens: u64,
    #[serde(default, alias = "output_tokens")]
    pub completion_tokens: u64,
}

const KEY: &[u8] = br#""usage""#;
static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(KEY));

impl Usage {
    /// The last object under a key `usage` in `json`, which may be an event, a whole answer or the end of one.
    ///
    /// Inside a JSON string the quotes of `"usage"` are escaped, so text a model wrote is never taken for it.
    /// Costs one search of the bytes when there is no such key, or only the `"usage":null` of a stream's chunks.
    pub fn find(json: &[u8]) -> Option<Self> {
        FINDER.find_iter(json).filter_map(|at| Self::after_key(&json[at + KEY.len()..])).last()
    }

    fn after_key(rest: &[u8]) -> Option<Self> {
        let value = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        if value.first() != Some(&b'{') {
            return None;
        }
        // What follows the object is the rest of the answer, and not looked at.
        serde_json::Deserializer::from_slice(value).into_iter().next()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(prompt_tokens: u64, completion_tokens: u64) -> Option<Usage> {
        Some(Usage { prompt_tokens, completion_tokens })
    }

    #[test]
    fn the_counts_of_an_answer_are_found_wherever_they_stand() {
        let answer =
            br#"{"usage": {"prompt_tokens":12,"completion_tokens":34,"total_tokens":46},"choices":[]}"#;
        assert_eq!(Usage::find(answer), usage(12, 34));
        assert_eq!(
            Usage::find(b"data: {\"choices\":[],\"usage\" :\n{\"prompt_tokens\":1}}\n\n"),
            usage(1, 0)
        );
        assert_eq!(Usage::find(br#"{"usage":{"input_tokens":5,"output_tokens":6}}"#), usage(5, 6));
    }

    #[test]
    fn the_last_of_several_counts() {
        let stream = br#"data: {"usage":{"prompt_tokens":1}} data: {"usage":null} data: {"usage":{"prompt_tokens":2}}"#;
        assert_eq!(Usage::find(stream), usage(2, 0));
    }

    #[test]
    fn null_cut_and_written_by_a_model_are_no_counts() {
        for json in [
            &br#"{"usage":null}"#[..],
            br#"{"usage":{"prompt_tokens":1"#,
            br#"{"usage":{"prompt_tokens":"many"}}"#,
            br#"{"content":"{\"usage\":{\"prompt_tokens\":1}}"}"#,
            br#"{"content":"usage"}"#,
            br#"{"content":"the \"usage\""}"#,
            br#""usage""#,
            b"",
        ] {
            assert_eq!(Usage::find(json), None, "{}", String::from_utf8_lossy(json));
        }
    }
}
