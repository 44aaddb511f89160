//! Where the values of JSON text begin and end.
//!
//! The text was read as JSON before. So this module finds where things stand, and does not judge them; text that
//! is no JSON after all is [`Torn`].

use std::borrow::Cow;
use std::ops::Range;

/// The text is not the JSON it was read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Torn;

/// A member of an object, or an item of an array, which has an empty key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// With its quotes.
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
}

impl Entry {
    pub(super) fn start(&self) -> usize {
        if self.key.is_empty() { self.value.start } else { self.key.start }
    }
}

/// The entries of an object (`keyed`) or an array: the text between the brackets, or whole entries of it.
pub(super) struct Entries<'t> {
    text: &'t [u8],
    keyed: bool,
    at: usize,
    first: bool,
}

impl<'t> Entries<'t> {
    pub(super) fn new(text: &'t [u8], keyed: bool) -> Self {
        Self { text, keyed, at: 0, first: true }
    }

    fn read(&mut self) -> Result<Option<Entry>, Torn> {
        self.at = skip_space(self.text, self.at);
        if self.at == self.text.len() {
            return Ok(None);
        }
        if !std::mem::take(&mut self.first) {
            self.pass(b',')?;
        }
        let mut key = self.at..self.at;
        if self.keyed {
            key.end = string_end(self.text, key.start)?;
            self.at = skip_space(self.text, key.end);
            self.pass(b':')?;
        }
        let value = self.at..value_end(self.text, self.at)?;
        self.at = value.end;
        Ok(Some(Entry { key, value }))
    }

    fn pass(&mut self, byte: u8) -> Result<(), Torn> {
        if self.text.get(self.at) != Some(&byte) {
            return Err(Torn);
        }
        self.at = skip_space(self.text, self.at + 1);
        Ok(())
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, Torn>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

fn skip_space(text: &[u8], at: usize) -> usize {
    let rest = &text[at..];
    at + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count()
}

/// Where the value that begins at `at` ends.
fn value_end(text: &[u8], at: usize) -> Result<usize, Torn> {
    match text.get(at) {
        Some(b'"') => string_end(text, at),
        Some(b'{' | b'[') => nest_end(text, at),
        Some(_) => {
            let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n');
            let end = at + text[at..].iter().position(ends).unwrap_or(text.len() - at);
            if end == at { Err(Torn) } else { Ok(end) }
        }
        None => Err(Torn),
    }
}

fn nest_end(text: &[u8], mut at: usize) -> Result<usize, Torn> {
    let mut depth = 0usize;
    loop {
        match text.get(at) {
            Some(b'"') => {
                at = string_end(text, at)?;
                continue;
            }
            Some(b'{' | b'[') => depth += 1,
            Some(b'}' | b']') => depth -= 1,
            Some(_) => {}
            None => return Err(Torn),
        }
        at += 1;
        if depth == 0 {
            return Ok(at);
        }
    }
}

pub(super) fn string_end(text: &[u8], start: usize) -> Result<usize, Torn> {
    if text.get(start) != Some(&b'"') {
        return Err(Torn);
    }
    let mut at = start + 1;
    loop {
        let rest = text.get(at..).ok_or(Torn)?;
        at += rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).ok_or(Torn)?;
        if text[at] == b'"' {
            return Ok(at + 1);
        }
        at += 2;
    }
}

/// The text between the brackets of an object or array, and whether it is an object. `None`: neither.
pub(super) fn inside(text: &[u8]) -> Option<(Range<usize>, bool)> {
    let keyed = match text.first()? {
        b'{' => true,
        b'[' => false,
        _ => return None,
    };
    (text.len() >= 2).then(|| (1..text.len() - 1, keyed))
}

/// What a string says. `quoted` has its quotes.
pub(super) fn said(quoted: &[u8]) -> Result<Cow<'_, str>, Torn> {
    let plain = quoted.get(1..quoted.len().wrapping_sub(1)).ok_or(Torn)?;
    if !plain.contains(&b'\\') {
        return std::str::from_utf8(plain).map(Cow::Borrowed).map_err(|_| Torn);
    }
    serde_json::from_slice(quoted).map(Cow::Owned).map_err(|_| Torn)
}

/// Whether a key, with its quotes, says `name`.
pub(super) fn is_key(quoted: &[u8], name: &str) -> Result<bool, Torn> {
    let plain = quoted.get(1..quoted.len().wrapping_sub(1)).ok_or(Torn)?;
    if plain == name.as_bytes() && !plain.contains(&b'\\') {
        return Ok(true);
    }
    // A key without an escape says what it is written as; one with an escape is longer than what it says.
    if plain.len() <= name.len() || !plain.contains(&b'\\') {
        return Ok(false);
    }
    Ok(said(quoted)? == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str, keyed: bool) -> Result<Vec<(&str, &str)>, Torn> {
        let read = Entries::new(text.as_bytes(), keyed);
        read.map(|entry| entry.map(|entry| (&text[entry.key], &text[entry.value]))).collect()
    }

    #[test]
    fn entries_are_found_whatever_stands_in_strings_and_between_them() {
        assert_eq!(entries("", true), Ok(vec![]));
        assert_eq!(entries(" \n", false), Ok(vec![]));
        assert_eq!(
            entries(r#" "a" : [1, {"]":"}"}] ,"\"b\\":"\\", "" :-1.5e+3 "#, true),
            Ok(vec![("\"a\"", r#"[1, {"]":"}"}]"#), (r#""\"b\\""#, r#""\\""#), ("\"\"", "-1.5e+3")])
        );
        assert_eq!(entries("0,[],null", false), Ok(vec![("", "0"), ("", "[]"), ("", "null")]));
    }

    #[test]
    fn text_that_is_no_json_is_torn_and_no_panic() {
        for text in ["\"", "\"a", "\"a\\", "\"a\":", "\"a\":[", "\"a\" 1", "\"a\":1 2", "a:1", "\"a\":,"] {
            assert_eq!(entries(text, true), Err(Torn), "{text}");
        }
        assert_eq!((inside(b"["), inside(b""), inside(b"7")), (None, None, None));
        assert_eq!(said(b"\""), Err(Torn));
    }

    #[test]
    fn a_key_is_known_however_it_is_written() {
        for key in [r#""a/b""#, r#""a\/b""#, r#""\u0061/\u0062""#] {
            assert_eq!(is_key(key.as_bytes(), "a/b"), Ok(true), "{key}");
        }
        for key in [r#""a""#, r#""a/c""#, r#""a\\b""#, r#""""#] {
            assert_eq!(is_key(key.as_bytes(), "a/b"), Ok(false), "{key}");
        }
        assert_eq!(is_key(br#""a\nb""#, r"a\nb"), Ok(false));
    }
}
