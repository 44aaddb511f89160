//! The one strict reading of JSON. What passes is read the same by every reader.
//!
//! One pass over the text, without a tree: RFC 8259, and on top of it what readers differ in. A key twice in an
//! object, a known key in another case, half of a surrogate pair, deep nesting and the keys by which `serde_json`
//! smuggles values through `serde` are refused at any depth, with the place. Numbers of any size pass. Of an object
//! with many keys the hashes are kept, of all others nothing: the memory is bounded by [`limits::JSON_KEYS_MAX`].

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};

use super::refusal::{Refusal, What};
use super::shape::{Fact, Kind, Shape};
use super::text::{BadText, Text};
use crate::limits;

/// What the gateway needs of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peek<'a> {
    pub model: Option<Cow<'a, str>>,
    pub stream: bool,
    /// `stream_options.include_usage`: the client wants a last chunk with the usage.
    pub include_usage: bool,
}

/// Reads the one value that `json` is.
pub(super) fn read<'a>(json: &'a str, shape: &'static Shape) -> Result<Peek<'a>, Refusal> {
    let mut reader = Reader { json, at: 0, many: 0, peek: Peek::default() };
    reader.document(shape).map_err(|refusal| *refusal)?;
    Ok(reader.peek)
}

/// `serde_json` hands numbers and raw values through `serde` as objects with these keys, and takes an object of the
/// client's with such a key for one.
const PRIVATE_KEYS: &str = "$serde_json::private::";
/// Keys of an object that are compared one by one. Most objects have fewer.
const FEW_KEYS: usize = 16;

type Read<T = ()> = Result<T, Box<Refusal>>;

struct Reader<'a> {
    json: &'a str,
    at: usize,
    /// Hashes kept for the objects that are open.
    many: usize,
    peek: Peek<'a>,
}

impl<'a> Reader<'a> {
    fn document(&mut self, shape: &'static Shape) -> Read {
        self.space();
        self.value(shape, 0)?;
        self.space();
        if self.at < self.json.len() { Err(self.not_json("nothing more")) } else { Ok(()) }
    }

    /// Reads a value that lies in `depth` arrays and objects.
    fn value(&mut self, shape: &'static Shape, depth: usize) -> Read {
        let kind = match self.byte() {
            Some(b'"') => Kind::Text,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') => Kind::Null,
            Some(_) | None => return Err(self.not_json("a value")),
        };
        if !shape.kinds.has(kind) {
            return Err(refused(self.at, What::WrongType { expected: shape.kinds }));
        }
        let start = self.at;
        match kind {
            Kind::Text => {
                let text = self.text()?;
                if shape.fact == Some(Fact::Model) {
                    self.peek.model = Some(model(text, start)?);
                }
            }
            Kind::Object | Kind::Array if depth == limits::JSON_DEPTH_MAX => {
                return Err(refused(start, What::TooDeep));
            }
            Kind::Object => self.object(shape, depth + 1)?,
            Kind::Array => self.array(shape.items(), depth + 1)?,
            Kind::Number => self.number()?,
            Kind::Bool if self.literal("true") => self.is_true(shape.fact),
            Kind::Bool if self.literal("false") => {}
            Kind::Null if self.literal("null") => {}
            Kind::Bool | Kind::Null => return Err(self.not_json("a value")),
        }
        Ok(())
    }

    // Apart, so that a value that is no object needs no room for keys.
    #[inline(never)]
    fn object(&mut self, shape: &'static Shape, depth: usize) -> Read {
        self.at += 1;
        self.space();
        if self.take(b'}') {
            return Ok(());
        }
        let mut keys = Keys::default();
        loop {
            let at = self.at;
            if self.byte() != Some(b'"') {
                return Err(self.not_json("a key in double quotes"));
            }
            let key = self.text()?;
            let before = keys.counted();
            let child = check(key, at, &mut keys, shape)?;
            self.many += keys.counted() - before;
            if self.many > limits::JSON_KEYS_MAX {
                return Err(refused(at, What::TooManyKeys));
            }
            self.space();
            if !self.take(b':') {
                return Err(self.not_json("':'"));
            }
            self.space();
            self.value(child, depth).map_err(|refusal| refusal.below_key(&key.unescaped()))?;
            self.space();
            if self.take(b'}') {
                break;
            }
            if !self.take(b',') {
                return Err(self.not_json("',' or '}'"));
            }
            self.space();
        }
        self.many -= keys.counted();
        Ok(())
    }

    fn array(&mut self, items: &'static Shape, depth: usize) -> Read {
        self.at += 1;
        self.space();
        if self.take(b']') {
            return Ok(());
        }
        for index in 0.. {
            self.value(items, depth).map_err(|refusal| refusal.below_index(index))?;
            self.space();
            if self.take(b']') {
                break;
            }
            if !self.take(b',') {
                return Err(self.not_json("',' or ']'"));
            }
            self.space();
        }
        Ok(())
    }

    fn text(&mut self) -> Read<Text<'a>> {
        match Text::read(self.json, self.at) {
            Ok((text, end)) => {
                self.at = end;
                Ok(text)
            }
            Err(bad) => Err(match bad {
                BadText::Unclosed { at } => refused(at, What::NotJson { expected: "'\"'" }),
                BadText::Control { at } => refused(at, What::ControlCharacter),
                BadText::Escape { at } => {
                    refused(at, What::NotJson { expected: "an escape such as \\n or \\u00e9" })
                }
                BadText::LoneSurrogate { at } => refused(at, What::LoneSurrogate),
            }),
        }
    }

    fn number(&mut self) -> Read {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Read {
        let rest = &self.json.as_bytes()[self.at..];
        let digits = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        self.at += digits;
        if digits == 0 { Err(self.not_json("a digit")) } else { Ok(()) }
    }

    fn literal(&mut self, word: &str) -> bool {
        let is_there = self.json.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += if is_there { word.len() } else { 0 };
        is_there
    }

    fn is_true(&mut self, fact: Option<Fact>) {
        match fact {
            Some(Fact::Stream) => self.peek.stream = true,
            Some(Fact::IncludeUsage) => self.peek.include_usage = true,
            Some(Fact::Model) | None => {}
        }
    }

    fn space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.byte() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn byte(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    #[cold]
    fn not_json(&self, expected: &'static str) -> Box<Refusal> {
        refused(self.at, What::NotJson { expected })
    }
}

#[cold]
fn refused(at: usize, what: What) -> Box<Refusal> {
    Box::new(Refusal::new(at, what))
}

fn model<'a>(text: Text<'a>, at: usize) -> Read<Cow<'a, str>> {
    let max = limits::MODEL_BYTES_MAX;
    // An escape has at most six bytes for each byte of the text.
    let model = (text.written() <= 6 * max).then(|| text.unescaped());
    model.filter(|model| model.len() <= max).ok_or_else(|| refused(at, What::TooLong { max }))
}

/// Checks a key against those before it and those its object is known to have. Returns the shape of its value.
fn check<'a>(key: Text<'a>, at: usize, keys: &mut Keys<'a>, shape: &'static Shape) -> Read<&'static Shape> {
    let refuse = |what| refused(at, what).below_key(&key.unescaped());
    if key.starts_with(PRIVATE_KEYS) {
        return Err(refuse(What::PrivateKey));
    }
    if !keys.add(key) {
        return Err(refuse(What::Duplicate));
    }
    if let Some((_, child)) = shape.members().find(|(name, _)| key.is(name)) {
        return Ok(child);
    }
    if let Some((name, _)) = shape.members().find(|(name, _)| is_in_another_case(key, name)) {
        return Err(refuse(What::Case { name }));
    }
    Ok(&super::shape::ANY)
}

/// Whether a parser that matches keys without their case, as Go's does, takes `key` for `name`.
fn is_in_another_case(key: Text<'_>, name: &str) -> bool {
    // The letters outside ASCII whose other case is inside.
    let folded = |c| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        'ı' | 'İ' => 'i',
        c => c.to_ascii_lowercase(),
    };
    key.may_fold() && key.chars().map(folded).eq(name.chars())
}

/// The keys of an object that is open.
enum Keys<'a> {
    /// As they are written, without escapes.
    Few { keys: [&'a str; FEW_KEYS], len: usize },
    /// Their hashes, under a secret of the object's own. Two keys have the same one once in 2^64.
    Many(HashSet<u64>, RandomState),
}

impl Default for Keys<'_> {
    fn default() -> Self {
        Self::Few { keys: [""; FEW_KEYS], len: 0 }
    }
}

impl<'a> Keys<'a> {
    /// `false` if the key was there.
    fn add(&mut self, key: Text<'a>) -> bool {
        if let Self::Few { keys, len } = self {
            match key.plain() {
                Some(key) if keys[..*len].contains(&key) => return false,
                Some(key) if *len < FEW_KEYS => {
                    keys[*len] = key;
                    *len += 1;
                    return true;
                }
                Some(_) | None => self.grow(),
            }
        }
        match self {
            Self::Few { .. } => false,
            Self::Many(hashes, secret) => hashes.insert(hash(secret, &key.unescaped())),
        }
    }

    #[cold]
    fn grow(&mut self) {
        if let Self::Few { keys, len } = self {
            let secret = RandomState::new();
            let hashes = keys[..*len].iter().map(|key| hash(&secret, key)).collect();
            *self = Self::Many(hashes, secret);
        }
    }

    fn counted(&self) -> usize {
        match self {
            Self::Few { .. } => 0,
            Self::Many(hashes, _) => hashes.len(),
        }
    }
}

fn hash(secret: &RandomState, key: &str) -> u64 {
    let mut hasher = secret.build_hasher();
    hasher.write(key.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;
    use crate::chat::generated::{is_ambiguous, json, normal};
    use crate::chat::shape::ANY;

    /// JSON-like text: mostly almost valid.
    fn nearly_json() -> impl Strategy<Value = String> {
        let pieces = vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"b\"",
            "\"\\u00e9\"",
            "\"\\",
            "\"",
            "\\ud83d",
            "true",
            "nul",
            "null",
            "-1.5e3",
            "01",
            "-",
            "1e",
            " ",
            "\n",
            "\t",
            "\u{1}",
            "é",
            "\u{feff}",
        ];
        prop_oneof![
            prop::collection::vec(prop::sample::select(pieces), 0..12).prop_map(|pieces| pieces.concat()),
            ("\"[a-z\\\\]{0,3}\"", "[0-9tfn\\[\\]{}\",:\\\\ ]{0,8}")
                .prop_map(|(key, value)| format!("{{{key}:{value}}}")),
            // Valid JSON with one byte taken out, doubled or exchanged.
            (json(), any::<prop::sample::Index>(), "[ -~]{0,2}").prop_map(|(json, at, with)| {
                let at = json.char_indices().map(|(at, _)| at).nth(at.index(json.chars().count().max(1)));
                let Some(at) = at else { return json };
                let behind = at + json[at..].chars().next().map_or(0, char::len_utf8);
                format!("{}{with}{}", &json[..at], &json[behind..])
            }),
        ]
    }

    proptest! {
        #[test]
        fn json_is_refused_only_if_readers_differ(json in json()) {
            match read(&json, &ANY) {
                Ok(_) => {
                    prop_assert!(!is_ambiguous(&json));
                    let tree: serde_json::Value = serde_json::from_str(&json).unwrap();
                    prop_assert_eq!(normal(&tree.to_string()), normal(&json), "a tree of it says the same");
                }
                Err(refusal) => {
                    prop_assert!(matches!(refusal.what, What::PrivateKey | What::Duplicate), "{}", refusal);
                    prop_assert!(is_ambiguous(&json), "{}", refusal);
                }
            }
        }

        #[test]
        fn what_is_json_is_what_serde_json_takes_for_it(text in nearly_json()) {
            let known = serde_json::from_str::<&RawValue>(&text);
            match read(&text, &ANY) {
                Ok(_) => prop_assert!(known.is_ok()),
                Err(Refusal { what: What::NotJson { .. } | What::ControlCharacter, .. }) => prop_assert!(known.is_err()),
                Err(Refusal { what: What::LoneSurrogate | What::Duplicate | What::PrivateKey, .. }) => {}
                Err(refusal) => prop_assert!(false, "{}", refusal),
            }
        }

        #[test]
        fn no_text_is_too_strange(text in any::<String>()) {
            let _ = read(&text, &ANY);
        }
    }
}
