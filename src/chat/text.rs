//! A string of a JSON text: found, checked, and read without its escapes.

use std::borrow::Cow;

/// A string as it stands between its quotes. Its escapes were checked when it was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

/// Why a string is refused, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadText {
    Unclosed { at: usize },
    Control { at: usize },
    Escape { at: usize },
    LoneSurrogate { at: usize },
}

impl<'a> Text<'a> {
    /// Reads the string whose opening quote is the byte `open` of `json`. Returns it and the byte behind it.
    pub(super) fn read(json: &'a str, open: usize) -> Result<(Self, usize), BadText> {
        let bytes = json.as_bytes();
        let (mut at, mut escaped) = (open + 1, false);
        loop {
            at += plain(&bytes[at..]);
            match bytes.get(at) {
                Some(b'"') => return Ok((Self { raw: &json[open + 1..at], escaped }, at + 1)),
                Some(b'\\') => {
                    escaped = true;
                    at = escape(bytes, at)?;
                }
                Some(_) => return Err(BadText::Control { at }),
                None => return Err(BadText::Unclosed { at }),
            }
        }
    }

    /// The string without its escapes.
    pub(super) fn unescaped(self) -> Cow<'a, str> {
        if self.escaped { Cow::Owned(self.chars().collect()) } else { Cow::Borrowed(self.raw) }
    }

    /// The string as it is written, if that is what it says.
    pub(super) fn plain(self) -> Option<&'a str> {
        (!self.escaped).then_some(self.raw)
    }

    /// The bytes it is written in.
    pub(super) fn written(self) -> usize {
        self.raw.len()
    }

    /// Whether a text in small letters of ASCII can be the same one in another case.
    pub(super) fn may_fold(self) -> bool {
        self.escaped || self.raw.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii())
    }

    pub(super) fn is(self, other: &str) -> bool {
        if self.escaped { self.chars().eq(other.chars()) } else { self.raw == other }
    }

    pub(super) fn starts_with(self, prefix: &str) -> bool {
        if !self.escaped {
            return self.raw.starts_with(prefix);
        }
        let mut chars = self.chars();
        prefix.chars().all(|char| chars.next() == Some(char))
    }

    /// The characters the string stands for.
    pub(super) fn chars(self) -> impl Iterator<Item = char> + 'a {
        let mut rest = self.raw.chars();
        std::iter::from_fn(move || {
            let char = rest.next()?;
            if char != '\\' {
                return Some(char);
            }
            Some(match rest.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => {
                    let first = unit(&mut rest);
                    let second = (0xd800..0xdc00).contains(&first).then(|| unit(&mut rest.by_ref().skip(2)));
                    let code =
                        second.map_or(first, |second| 0x1_0000 + ((first & 0x3ff) << 10 | second & 0x3ff));
                    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
                }
                same => same,
            })
        })
    }
}

/// Four hexadecimal digits.
fn unit(chars: &mut impl Iterator<Item = char>) -> u32 {
    chars.take(4).fold(0, |unit, digit| unit << 4 | digit.to_digit(16).unwrap_or(0))
}

/// Checks the escape that begins at `at`. Returns the byte behind it.
fn escape(bytes: &[u8], at: usize) -> Result<usize, BadText> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match hex(bytes, at + 2).ok_or(BadText::Escape { at })? {
            // Half of a pair stands for no character: readers refuse it, drop it or replace it.
            0xd800..0xdc00 => match (bytes.get(at + 6..at + 8), hex(bytes, at + 8)) {
                (Some(br"\u"), Some(0xdc00..0xe000)) => Ok(at + 12),
                _ => Err(BadText::LoneSurrogate { at }),
            },
            0xdc00..0xe000 => Err(BadText::LoneSurrogate { at }),
            _ => Ok(at + 6),
        },
        Some(_) => Err(BadText::Escape { at }),
        None => Err(BadText::Unclosed { at: bytes.len() }),
    }
}

fn hex(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)?
        .iter()
        .try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
}

/// How many bytes at the start need no look of their own: no quote, no backslash and no control character.
fn plain(bytes: &[u8]) -> usize {
    // Few words first, for most strings are short; then blocks that the compiler compares as vectors.
    let start = bytes.len().min(32);
    let short = plain_words(&bytes[..start]);
    if short < start {
        return short;
    }
    let (blocks, _) = bytes[start..].as_chunks::<32>();
    let whole =
        blocks.iter().take_while(|block| !block.iter().fold(false, |any, byte| any | ends(*byte))).count();
    let at = start + whole * 32;
    at + plain_words(&bytes[at..bytes.len().min(at + 32)])
}

fn plain_words(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let ends = ends_in(u64::from_le_bytes(*word));
        if ends != 0 {
            return index * 8 + ends.trailing_zeros() as usize / 8;
        }
    }
    let end = rest.iter().position(|byte| ends(*byte));
    end.map_or(bytes.len(), |end| words.len() * 8 + end)
}

fn ends(byte: u8) -> bool {
    (byte < b' ') | (byte == b'"') | (byte == b'\\')
}

/// Eight bytes at once (Mycroft's test for a zero byte): the lowest bit that is set lies in the first byte that
/// ends a run. Bits above it may be wrong.
fn ends_in(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let control = word.wrapping_sub(ONES * b' ' as u64) & !word;
    (control | zero(word ^ (ONES * b'"' as u64)) | zero(word ^ (ONES * b'\\' as u64))) & ONES << 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn read(json: &str) -> Result<String, BadText> {
        Text::read(json, 0).map(|(text, end)| {
            assert_eq!(end, json.len(), "{json}");
            text.unescaped().into_owned()
        })
    }

    #[test]
    fn a_string_is_what_serde_json_reads() {
        for json in [
            r#""""#,
            r#""plain""#,
            r#""a\"\\\/\b\f\n\r\t""#,
            r#""\u0041\u00e9\uffff\ud83d\ude00\uD83D\uDE00!""#,
            r#""Größe 東京 😀 and more than eight bytes of it""#,
            "\"\u{7f}\u{80}\u{2028}\"",
        ] {
            assert_eq!(read(json).unwrap(), serde_json::from_str::<String>(json).unwrap(), "{json}");
        }
    }

    #[test]
    fn what_ends_a_run_is_found_at_each_place() {
        for length in 0..40 {
            let before = "x".repeat(length);
            assert_eq!(read(&format!("\"{before}\"")).unwrap(), before);
            assert_eq!(read(&format!("\"{before}\\n\"")).unwrap(), format!("{before}\n"));
            for control in 0..0x20_u8 {
                let json = format!("\"{before}{}yyyyyyyyy\"", char::from(control));
                assert_eq!(read(&json), Err(BadText::Control { at: length + 1 }));
            }
        }
    }

    #[test]
    fn what_is_no_string_is_refused_where_it_goes_wrong() {
        assert_eq!(read(r#""a"#), Err(BadText::Unclosed { at: 2 }));
        assert_eq!(read(r#""a\"#), Err(BadText::Unclosed { at: 3 }));
        for json in [r#""a\x""#, r#""a\u12g4""#, r#""a\u+123""#, r#""a\u12""#, r#""a\u"#] {
            assert_eq!(read(json), Err(BadText::Escape { at: 2 }), "{json}");
        }
        for half in
            [r"\ud83d", r"\ude00", r"\ud83dx", r"\ud83d\n", r"\ud83d\ud83d", r"\ud83d\u0041", r"\ude00\ud83d"]
        {
            assert_eq!(read(&format!("\"a{half}\"")), Err(BadText::LoneSurrogate { at: 2 }), "{half}");
        }
    }

    #[test]
    fn comparing_sees_through_escapes() {
        let text = |json| Text::read(json, 0).unwrap().0;
        assert!(text(r#""\u0061bc""#).is("abc") && text(r#""abc""#).is("abc"));
        assert!(!text(r#""\u0061bc""#).is("ab") && !text(r#""\u0061b""#).is("abc"));
        assert!(text(r#""\u0061bc""#).starts_with("ab") && !text(r#""\u0061""#).starts_with("ab"));
    }
}
