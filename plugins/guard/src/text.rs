//! The text of a chat request, read without building a tree.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Parts of a message that are data, not text: base64 would only cost time and match by accident. Elsewhere these are
/// names that a client chose, of a tool's parameters for one.
const DATA: [&str; 3] = ["image_url", "input_audio", "file"];
/// With `arbitrary_precision` serde_json hands a number over as an object with this key, the digits as text.
const NUMBER: &str = "$serde_json::private::Number";

/// Shows every string of the request but the model to `see`, escapes resolved, until it says `true`. Returns whether it
/// did. Keys and numbers are not shown.
pub(crate) fn any_text(body: &[u8], see: impl FnMut(&str) -> bool) -> Result<bool, serde_json::Error> {
    let mut walk = Walk { see, found: false, in_messages: false };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    Request(&mut walk).deserialize(&mut deserializer)?;
    Ok(walk.found)
}

struct Walk<F> {
    see: F,
    found: bool,
    in_messages: bool,
}

struct Request<'a, F>(&'a mut Walk<F>);

/// A value somewhere in the request.
struct Texts<'a, F>(&'a mut Walk<F>);

impl<'de, F: FnMut(&str) -> bool> DeserializeSeed<'de> for Request<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(&str) -> bool> Visitor<'de> for Request<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a chat request")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            self.0.in_messages = key == Named::Messages;
            if key == Named::Model {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Texts(self.0))?;
            }
        }
        Ok(())
    }
}

impl<'de, F: FnMut(&str) -> bool> DeserializeSeed<'de> for Texts<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(&str) -> bool> Visitor<'de> for Texts<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.found = self.0.found || (self.0.see)(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Texts(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            if key == Named::Number || key == Named::Data && self.0.in_messages {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Texts(self.0))?;
            }
        }
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
}

/// What a key means to the walk.
#[derive(PartialEq)]
enum Named {
    Messages,
    Model,
    Data,
    Number,
    Other,
}

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Named;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Named, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Named;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Named, E> {
        Ok(match key {
            "messages" => Named::Messages,
            "model" => Named::Model,
            NUMBER => Named::Number,
            key if DATA.contains(&key) => Named::Data,
            _ => Named::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(body: &str) -> Vec<String> {
        let mut texts = Vec::new();
        let found = any_text(body.as_bytes(), |text| {
            texts.push(text.to_owned());
            false
        });
        assert!(!found.expect("the body is JSON"));
        texts
    }

    #[test]
    fn every_text_of_the_request_is_seen_with_its_escapes_resolved() {
        let body = r#"{"model":"m","n":1.5,"messages":[
            {"role":"system","content":"a\u0062c","name":"n"},
            {"role":"user","content":[{"type":"text","text":"d"},{"type":"image_url","image_url":{"url":"data:"}},"e"]},
            {"role":"assistant","content":null,"x":-1,"y":true,"tool_calls":[{"function":{"arguments":"{\"e\":1}"}}]}
        ],"user":"u","metadata":{"k":"v"},"tools":[{"function":{"parameters":{"file":{"description":"f"}}}}]}"#;
        let expected = [
            "system",
            "abc",
            "n",
            "user",
            "text",
            "d",
            "image_url",
            "e",
            "assistant",
            r#"{"e":1}"#,
            "u",
            "v",
            "f",
        ];
        assert_eq!(texts(body), expected);
    }

    #[test]
    fn numbers_of_any_size_and_deep_values_are_no_error_and_no_text() {
        let digits = "9".repeat(5_000);
        let deep = format!("{}\"deep\"{}", "[".repeat(126), "]".repeat(126));
        let body =
            format!(r#"{{"messages":[{{"content":"a","n":{digits}}}],"seed":-{digits}e9,"x":{deep}}}"#);
        assert_eq!(texts(&body), ["a", "deep"]);
    }

    #[test]
    fn looking_ends_with_the_first_find() {
        let mut seen = 0;
        let found = any_text(br#"{"messages":["a","b","c"]}"#, |text| {
            seen += 1;
            text == "b"
        });
        assert_eq!((found.expect("the body is JSON"), seen), (true, 2));
    }

    #[test]
    fn what_is_no_request_is_an_error_and_no_pass() {
        for body in [&b""[..], b"[]", b"{\"messages\":", b"\xff"] {
            assert!(any_text(body, |_| false).is_err());
        }
    }
}
