//! What the gateway has to know of a request body before anything else happens to it.
//!
//! One pass over the bytes, no tree. A body that passes is exactly one JSON object in valid UTF-8, and what it
//! says about `model` and `stream` can be read in one way only: where parsers disagree (a key given twice, or in
//! another case), the request is refused, so that no plugin judges another request than the upstream answers.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::hook::Endpoint;

/// The facts of a request body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peek<'a> {
    pub model: Option<Cow<'a, str>>,
    pub stream: bool,
    /// `stream_options.include_usage`: the client wants a last chunk with the usage.
    pub include_usage: bool,
}

/// Why a request body is refused. The text is for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeekError {
    #[error("The request body is empty; a JSON object was expected.")]
    Empty,
    #[error("The request body is not valid UTF-8 (byte {at}).")]
    NotUtf8 { at: usize },
    #[error("The request body is not valid JSON: {what}.")]
    NotJson { what: String },
    #[error("The request body must be a JSON object.")]
    NotAnObject,
    #[error("The key '{key}' is given more than once.")]
    Duplicate { key: &'static str },
    #[error("The key '{key}' must be written in lower case.")]
    Case { key: &'static str },
    #[error("'{key}' must be {expected}.")]
    WrongType { key: &'static str, expected: &'static str },
}

impl PeekError {
    /// OpenAI's `error.param`.
    pub fn param(&self) -> Option<&'static str> {
        match self {
            Self::Duplicate { key } | Self::Case { key } | Self::WrongType { key, .. } => Some(key),
            Self::Empty | Self::NotUtf8 { .. } | Self::NotJson { .. } | Self::NotAnObject => None,
        }
    }
}

/// Validates the whole of `body` and reads its facts.
pub fn peek(_endpoint: Endpoint, body: &[u8]) -> Result<Peek<'_>, PeekError> {
    // The standard library's check goes through text outside ASCII byte by byte, which took ten times as long.
    let text =
        simdutf8::compat::from_utf8(body).map_err(|error| PeekError::NotUtf8 { at: error.valid_up_to() })?;
    match text.trim_start_matches([' ', '\t', '\r', '\n']).as_bytes().first() {
        None => return Err(PeekError::Empty),
        Some(b'{') => {}
        Some(b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => return Err(PeekError::NotAnObject),
        Some(_) => {}
    }
    let mut top = Top::default();
    let mut parser = serde_json::Deserializer::from_str(text);
    let parsed = (&mut top).deserialize(&mut parser).and_then(|()| parser.end());
    if let Some(refused) = top.refused {
        return Err(refused);
    }
    parsed.map_err(|error| PeekError::NotJson { what: error.to_string() })?;
    Ok(top.peek)
}

/// Keys whose second appearance is refused: first-wins and last-wins parsers would see two different requests.
const ONCE: [&str; 7] = ["model", "stream", "stream_options", "messages", "tools", "input", "prompt"];

#[derive(Default)]
struct Top<'a> {
    peek: Peek<'a>,
    seen: u8,
    /// The first fault that is no fault of the JSON. serde's own errors carry text only.
    refused: Option<PeekError>,
}

impl<'de> DeserializeSeed<'de> for &mut Top<'de> {
    type Value = ();
    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Top<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            let Some(once) = ONCE.iter().position(|name| *name == key) else {
                if let Some(key) = ONCE.into_iter().find(|name| is_in_another_case(&key, name)) {
                    return Err(self.refuse(PeekError::Case { key }));
                }
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if self.seen & 1 << once != 0 {
                return Err(self.refuse(PeekError::Duplicate { key: ONCE[once] }));
            }
            self.seen |= 1 << once;
            match ONCE[once] {
                "model" => {
                    let raw = map.next_value::<&RawValue>()?;
                    let model = text_of(raw).ok_or_else(|| self.refuse(MODEL_TYPE))?;
                    self.peek.model = Some(model);
                }
                "stream" => {
                    self.peek.stream = match map.next_value::<&RawValue>()?.get() {
                        "true" => true,
                        "false" | "null" => false,
                        _ => return Err(self.refuse(STREAM_TYPE)),
                    };
                }
                "stream_options" => {
                    // Another shape of it is the upstream's to refuse: it changes nothing here.
                    let options = serde_json::from_str::<StreamOptions>(map.next_value::<&RawValue>()?.get());
                    self.peek.include_usage = options.is_ok_and(|options| options.include_usage);
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Whether a parser that matches keys without their case, as Go's does, takes `key` for `name`.
fn is_in_another_case(key: &str, name: &str) -> bool {
    // The two letters outside ASCII whose lower case is inside.
    let folded = |c| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key.chars().map(folded).eq(name.chars())
}

const MODEL_TYPE: PeekError = PeekError::WrongType { key: "model", expected: "a string" };
const STREAM_TYPE: PeekError = PeekError::WrongType { key: "stream", expected: "true, false or null" };

impl Top<'_> {
    fn refuse<E: de::Error>(&mut self, error: PeekError) -> E {
        self.refused = Some(error);
        E::custom("refused")
    }
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Key<'_>>(raw.get()).ok().map(|Key(text)| text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peek(body: &[u8]) -> Result<Peek<'_>, PeekError> {
        super::peek(Endpoint::ChatCompletions, body)
    }

    #[track_caller]
    fn refuses(body: &str, text: &str) {
        assert_eq!(peek(body.as_bytes()).expect_err(body).to_string(), text, "{body}");
    }

    #[test]
    fn model_and_stream_are_read_wherever_they_stand() {
        let body = br#" {"messages":[{"role":"user","content":"\"model\""}],"stream":true,"x":{"model":1},"model":"gpt-4o"}
"#;
        let expected = Peek { model: Some("gpt-4o".into()), stream: true, include_usage: false };
        assert_eq!(peek(body), Ok(expected));
        assert_eq!(peek(b"{}"), Ok(Peek::default()));
        assert_eq!(peek(br#"{"stream":null,"stream":false}"#).unwrap_err().param(), Some("stream"));
        assert!(!peek(br#"{"stream":null}"#).unwrap().stream);
    }

    #[test]
    fn a_plain_model_is_borrowed_and_an_escaped_one_is_read() {
        assert!(matches!(peek(br#"{"model":"a"}"#).unwrap().model, Some(Cow::Borrowed("a"))));
        assert_eq!(peek(br#"{"mod\u0065l":"\u0061\"\ud83d\ude00"}"#).unwrap().model.unwrap(), "a\"😀");
    }

    #[test]
    fn usage_is_wanted_only_when_said_plainly() {
        let wanted = |options: &str| {
            peek(format!(r#"{{"stream_options":{options}}}"#).as_bytes()).unwrap().include_usage
        };
        assert!(wanted(r#"{"a":[1],"include_usage":true}"#));
        for options in ["{}", "null", r#"{"include_usage":false}"#, r#"{"include_usage":1}"#, "[]", "7"] {
            assert!(!wanted(options), "{options}");
        }
    }

    #[test]
    fn what_is_no_single_object_is_refused() {
        refuses("", "The request body is empty; a JSON object was expected.");
        refuses(" \n", "The request body is empty; a JSON object was expected.");
        for body in ["[]", "\"x\"", "7", "-7", "null", "true"] {
            refuses(body, "The request body must be a JSON object.");
        }
        refuses("{} {}", "The request body is not valid JSON: trailing characters at line 1 column 4.");
        refuses(
            "{\"a\":1",
            "The request body is not valid JSON: EOF while parsing an object at line 1 column 6.",
        );
        for body in [
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":01}",
            "{\"a\":\"\n\"}",
            "{a:1}",
            "<p>",
            r#"{"a":"\x"}"#,
        ] {
            assert!(matches!(peek(body.as_bytes()), Err(PeekError::NotJson { .. })), "{body}");
        }
        assert_eq!(peek(b"{\"a\":\"\xff\"}"), Err(PeekError::NotUtf8 { at: 6 }));
    }

    #[test]
    fn a_key_that_parsers_would_read_differently_is_refused() {
        for key in ONCE {
            let value = if key == "stream" { "true" } else { "\"x\"" };
            let body = format!(r#"{{"{key}":{value},"a":0,"a":0,"{key}":{value}}}"#);
            refuses(&body, &format!("The key '{key}' is given more than once."));
        }
        refuses(r#"{"model":"a","\u006dodel":"b"}"#, "The key 'model' is given more than once.");
    }

    #[test]
    fn a_key_that_some_parsers_read_without_its_case_is_refused() {
        for key in ["Messages", "MESSAGES", "me\u{17f}sages", "messageS"] {
            refuses(
                &format!(r#"{{"messages":[],"{key}":[1]}}"#),
                "The key 'messages' must be written in lower case.",
            );
        }
        assert_eq!(peek(br#"{"Model":"a"}"#).unwrap_err().param(), Some("model"));
        assert!(peek(br#"{"Messages ":1,"models":2,"User":3}"#).is_ok());
    }

    #[test]
    fn another_type_is_refused_with_the_key_and_what_it_must_be() {
        for value in ["null", "7", "[\"a\"]", "{}", "true"] {
            refuses(&format!(r#"{{"model":{value}}}"#), "'model' must be a string.");
        }
        for value in ["\"true\"", "1", "[]"] {
            refuses(&format!(r#"{{"stream":{value}}}"#), "'stream' must be true, false or null.");
        }
    }

    /// JSON-like text: mostly almost valid.
    fn nearly_json() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"model\"",
            "\"stream\"",
            "\"a\"",
            "\"\\u00e9\"",
            "\"\\",
            "true",
            "null",
            "-1.5e3",
            "01",
            " ",
            "\n",
            "é",
        ]);
        prop_oneof![
            prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat()),
            ("\"[a-z\\\\]{0,3}\"", "[0-9tfn\\[\\]{}\",:\\\\ ]{0,8}")
                .prop_map(|(key, value)| format!("{{{key}:{value}}}")),
        ]
    }

    proptest! {
        #[test]
        fn what_passes_is_one_object_as_serde_json_reads_it(text in nearly_json()) {
            let tree = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text);
            match peek(text.as_bytes()) {
                Ok(peek) => {
                    let tree = tree.expect("what passes is an object");
                    prop_assert_eq!(peek.model.as_deref(), tree.get("model").and_then(|model| model.as_str()));
                    prop_assert_eq!(peek.stream, tree.get("stream").is_some_and(|stream| stream == true));
                }
                Err(PeekError::Duplicate { .. } | PeekError::Case { .. } | PeekError::WrongType { .. }) => {}
                Err(_) => prop_assert!(tree.is_err(), "{}", text),
            }
        }

        #[test]
        fn no_bytes_are_too_strange(body in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = peek(&body);
        }
    }
}
