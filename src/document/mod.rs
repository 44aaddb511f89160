//! Files that people write, TOML or JSON: text becomes one tree whose values know where they stand, and a
//! [`Section`] reads that tree key by key.
//!
//! Every problem is kept with its place and told together with the others. A key nobody asks for is a
//! problem too. What the keys mean is the reader's business: `config` and `package`.

use std::fmt;

mod json;
mod kind;
mod node;
mod section;
mod toml;
mod units;

pub use self::kind::{Wrong, boolean, duration, fraction, integer, name, one_of, parsed, size, text};
pub use self::node::{Entry, Node, Value};
pub use self::section::Section;

/// Problems told at once. A file with more is not one that is nearly right.
const PROBLEMS_TOLD: usize = 100;

/// A place in a text, counted from 1; columns are characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: String,
    /// None when the file as a whole is meant, or a value nobody wrote.
    pub at: Option<Position>,
    /// JSON pointer of the value.
    pub pointer: String,
    /// What is wrong and what is allowed.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(Position { line, column }) => write!(f, "{}:{line}:{column}: {}", self.file, self.text),
            None => write!(f, "{}: {}", self.file, self.text),
        }
    }
}

/// Everything that is wrong with one or more files, a line each, in the order of the text. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    problems: Vec<Problem>,
    untold: usize,
}

impl Errors {
    /// A single problem with the file as a whole.
    pub fn of_file(file: impl Into<String>, text: impl Into<String>) -> Self {
        let problem = Problem { file: file.into(), at: None, pointer: String::new(), text: text.into() };
        Self { problems: vec![problem], untold: 0 }
    }

    /// A single problem at a place already known.
    pub fn at(file: impl Into<String>, at: Position, text: impl Into<String>) -> Self {
        let problem = Problem { file: file.into(), at: Some(at), pointer: String::new(), text: text.into() };
        Self { problems: vec![problem], untold: 0 }
    }

    /// Problems with a whole file or folder are told at the place in another file that led there.
    #[must_use]
    pub fn led_to_by(mut self, file: &str, at: Position) -> Self {
        for problem in self.problems.iter_mut().filter(|problem| problem.at.is_none()) {
            problem.text = format!("{}: {}", problem.file, problem.text);
            problem.file = file.to_owned();
            problem.at = Some(at);
        }
        self
    }

    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many there are, those above the number that is told included.
    pub fn count(&self) -> usize {
        self.problems.len() + self.untold
    }

    /// The problems of another file, after these.
    pub fn append(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.untold += other.untold;
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        if self.untold > 0 {
            write!(f, "\nand {} more", self.untold)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// A text being read, and what was found wrong with it so far.
pub struct Document<'t> {
    file: &'t str,
    text: &'t str,
    /// What a table is called in this format.
    table_word: &'static str,
    found: Vec<Found>,
}

struct Found {
    /// Byte offset; None for a value nobody wrote.
    at: Option<usize>,
    pointer: String,
    text: String,
}

impl<'t> Document<'t> {
    /// Reads TOML with `read`, which gets the whole text as a section.
    pub fn read_toml<T>(
        file: &'t str,
        text: &'t str,
        read: impl FnOnce(&mut Section<'_, 't>) -> Option<T>,
    ) -> Result<T, Errors> {
        let mut document = Self { file, text, table_word: "table", found: Vec::new() };
        let root = self::toml::parse(text, &mut document);
        document.finish(root, read)
    }

    /// Reads JSON with `read`, which gets the outermost object as a section.
    pub fn read_json<T>(
        file: &'t str,
        text: &'t str,
        read: impl FnOnce(&mut Section<'_, 't>) -> Option<T>,
    ) -> Result<T, Errors> {
        let mut document = Self { file, text, table_word: "object", found: Vec::new() };
        let root = self::json::parse(text, &mut document);
        document.finish(root, read)
    }

    /// A text that is not well formed has no tree worth reading: its syntax errors are all there is to say.
    fn finish<T>(
        mut self,
        root: Option<Node>,
        read: impl FnOnce(&mut Section<'_, 't>) -> Option<T>,
    ) -> Result<T, Errors> {
        let result = match root {
            Some(root) if self.found.is_empty() => Section::whole(&root, &mut self, read),
            Some(_) | None => None,
        };
        match result {
            Some(result) if self.found.is_empty() => Ok(result),
            Some(_) | None => Err(self.into_errors()),
        }
    }

    fn found(&mut self, at: Option<usize>, pointer: impl Into<String>, text: impl Into<String>) {
        self.found.push(Found { at, pointer: pointer.into(), text: text.into() });
    }

    fn position(&self, offset: usize) -> Position {
        position(self.text, offset)
    }

    fn into_errors(mut self) -> Errors {
        if self.found.is_empty() {
            debug_assert!(false, "a reader gave nothing and said nothing");
            self.found(None, "", "cannot be read");
        }
        self.found.sort_by_key(|found| found.at);
        let untold = self.found.len().saturating_sub(PROBLEMS_TOLD);
        let told = self.found.iter().take(PROBLEMS_TOLD).map(|found| Problem {
            file: self.file.to_owned(),
            at: found.at.map(|offset| self.position(offset)),
            pointer: found.pointer.clone(),
            text: found.text.clone(),
        });
        Errors { problems: told.collect(), untold }
    }
}

fn position(text: &str, offset: usize) -> Position {
    let end = (0..=offset.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let before = &text[..end];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
}

/// The tree of a TOML text, for tests that ask which keys a file has.
#[cfg(test)]
pub(crate) fn tree_of_toml(text: &str) -> Option<Node> {
    let mut document = Document { file: "", text, table_word: "table", found: Vec::new() };
    self::toml::parse(text, &mut document).filter(|_| document.found.is_empty())
}

/// The known word that is most like `word`, if one is like it at all: two slips, one in three letters, or one
/// of the two is the beginning of the other.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let slips_max = (word.chars().count() / 3).max(2);
    known
        .into_iter()
        .filter_map(|known| Some((slips(word, known).filter(|slips| *slips <= slips_max)?, known)))
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, known)| known)
}

/// How far apart two words are; None if nothing of the known one is left, or if the word is none.
fn slips(word: &str, known: &str) -> Option<usize> {
    const BEGINNING_MIN: usize = 3;
    const WORD_BYTES_MAX: usize = 100;
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let (word, known) = (word.to_lowercase(), known.to_lowercase());
    let begins = word.starts_with(&known) || known.starts_with(&word);
    if begins && word.len().min(known.len()) >= BEGINNING_MIN {
        return Some(1);
    }
    let slips = strsim::damerau_levenshtein(&word, &known);
    (slips < known.chars().count()).then_some(slips)
}

/// `did you mean "address"?`, or all there is to choose from.
pub fn suggestion(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(known) => format!("did you mean {known:?}?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = "a = 1\nüü = 2\n";
        assert_eq!(position(text, 0), Position { line: 1, column: 1 });
        assert_eq!(position(text, text.find('=').unwrap()), Position { line: 1, column: 3 });
        assert_eq!(position(text, text.rfind('=').unwrap()), Position { line: 2, column: 4 });
        assert_eq!(position(text, text.len() + 9), Position { line: 3, column: 1 });
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_foreign_word_is_not() {
        let known = ["address", "threads", "tls"];
        assert_eq!(nearest("adress", known), Some("address"));
        assert_eq!(nearest("Thread", known), Some("threads"));
        assert_eq!(nearest("tsl", known), Some("tls"));
        assert_eq!(nearest("addr", known), Some("address"));
        assert_eq!(nearest("threads_max", known), Some("threads"));
        assert_eq!(nearest("timeout", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"tls".repeat(1 << 20), known), None);
        assert_eq!(suggestion("timeout", &known), "known here: address, threads, tls");
    }

    #[test]
    fn problems_are_told_in_the_order_of_the_text_and_not_without_end() {
        let text = "[listen]\n".to_owned() + &(0..150).map(|n| format!("k{n} = 1\n")).collect::<String>();
        let errors = Document::read_toml("f.toml", &text, |root| {
            root.table("listen", |_| ());
            Some(())
        })
        .unwrap_err();
        assert_eq!(errors.count(), 150);
        assert_eq!(errors.problems().len(), PROBLEMS_TOLD);
        assert!(errors.to_string().starts_with("f.toml:2:1: unknown key \"k0\""), "{errors}");
        assert!(errors.to_string().ends_with("\nand 50 more"), "{errors}");
    }
}
