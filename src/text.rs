//! Text from outside, fit to be kept and to be read: bounded, and without characters that deceive its reader.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a character may begin a line, move the cursor or turn the order of what is read: controls, line and
/// paragraph separators, and the marks of bidirectional text (Unicode Standard Annex 9).
pub const fn deceives(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

/// The same with such characters written out, as `\u{1b}`; tabs and line breaks stay.
pub fn plain(text: &str) -> Cow<'_, str> {
    let hides = |c: char| deceives(c) && !matches!(c, '\t' | '\n');
    if !text.contains(hides) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hides(c) { plain.extend(c.escape_unicode()) } else { plain.push(c) }
    }
    Cow::Owned(plain)
}

/// At most `max` bytes of a text, behind which stands how much was cut.
pub fn cut(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    let kept = (0..=max).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let mut cut = text[..kept].to_owned();
    write!(cut, "… ({} bytes cut)", text.len() - kept).expect("writing to a string never fails");
    Cow::Owned(cut)
}

/// Cuts a text that is held, and gives back the memory of the rest.
pub fn bound(text: &mut String, max: usize) {
    if text.len() > max {
        *text = cut(text, max).into_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_deceives_is_written_out_and_the_rest_stays() {
        assert_eq!(
            plain("a\u{1b}[31m\u{202e}b\r\u{2028}\u{85}c"),
            r"a\u{1b}[31m\u{202e}b\u{d}\u{2028}\u{85}c"
        );
        assert!(matches!(plain("gr\u{fc}\u{df}e\t\u{1f600}\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut("\u{e9}\u{e9}", 3), "\u{e9}… (2 bytes cut)");
        assert_eq!(cut("abc", 3), "abc");
        let mut text = "x".repeat(1 << 20);
        bound(&mut text, 4);
        assert_eq!(text, "xxxx… (1048572 bytes cut)");
        assert!(text.capacity() < 100);
    }
}
