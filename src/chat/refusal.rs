//! Why a JSON text is refused, and where.

use std::fmt;

use super::shape::Kinds;
use crate::limits;

/// A refusal. The text is for the one who wrote the JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The byte it is about.
    pub at: usize,
    pub what: What,
    /// The path to the value or key, as OpenAI writes it in `error.param`: `messages[0].content`.
    path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Empty,
    NotUtf8,
    NotJson {
        expected: &'static str,
    },
    ControlCharacter,
    LoneSurrogate,
    TooDeep,
    TooManyKeys,
    NotAnObject,
    PrivateKey,
    Duplicate,
    /// The key is `name`, but for its case.
    Case {
        name: &'static str,
    },
    WrongType {
        expected: Kinds,
    },
    /// A text of more than `max` bytes.
    TooLong {
        max: usize,
    },
}

impl Refusal {
    pub(super) fn new(at: usize, what: What) -> Self {
        Self { at, what, path: String::new() }
    }

    /// OpenAI's `error.param`.
    pub fn param(&self) -> Option<&str> {
        (!self.path.is_empty()).then_some(&*self.path)
    }

    pub(super) fn below_key(mut self: Box<Self>, key: &str) -> Box<Self> {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.below(&format!("{}{dot}", shown(key)));
        self
    }

    pub(super) fn below_index(mut self: Box<Self>, index: usize) -> Box<Self> {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.below(&format!("[{index}]{dot}"));
        self
    }

    fn below(&mut self, step: &str) {
        // What a text that nobody can write by hand leaves out is its outer end.
        if self.has_path() && self.path.len() + step.len() <= limits::JSON_PATH_BYTES_MAX {
            self.path.insert_str(0, step);
        }
    }

    fn has_path(&self) -> bool {
        match self.what {
            What::PrivateKey
            | What::Duplicate
            | What::Case { .. }
            | What::WrongType { .. }
            | What::TooLong { .. } => true,
            What::Empty
            | What::NotUtf8
            | What::NotJson { .. }
            | What::ControlCharacter
            | What::LoneSurrogate
            | What::TooDeep
            | What::TooManyKeys
            | What::NotAnObject => false,
        }
    }

    /// The refusal as a sentence about `subject`: "The request body".
    pub fn of(&self, subject: &str) -> String {
        let Self { at, path, .. } = self;
        match &self.what {
            What::Empty => format!("{subject} is empty; a JSON object was expected."),
            What::NotUtf8 => format!("{subject} is not valid UTF-8 (byte {at})."),
            What::NotJson { expected } => {
                format!("{subject} is not valid JSON: {expected} was expected at byte {at}.")
            }
            What::ControlCharacter => format!(
                "{subject} is not valid JSON: the control character at byte {at} must be written as an escape."
            ),
            What::LoneSurrogate => format!(
                "{subject} has half of a surrogate pair at byte {at}; write both halves, such as \\ud83d\\ude00."
            ),
            What::TooDeep => {
                format!(
                    "{subject} has more than {} levels of arrays and objects (byte {at}).",
                    limits::JSON_DEPTH_MAX
                )
            }
            What::TooManyKeys => {
                format!("{subject} has objects of more than {} keys (byte {at}).", limits::JSON_KEYS_MAX)
            }
            What::NotAnObject => format!("{subject} must be a JSON object."),
            What::PrivateKey => format!("The key '{path}' is not allowed (byte {at})."),
            What::Duplicate => format!("The key '{path}' is given more than once (byte {at})."),
            What::Case { name } => format!("The key '{path}' must be written '{name}' (byte {at})."),
            What::WrongType { expected } if path.is_empty() => format!("{subject} must be {expected}."),
            What::WrongType { expected } => format!("'{path}' must be {expected}."),
            What::TooLong { max } => format!("'{path}' must have at most {max} bytes."),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.of("The request body"))
    }
}

impl std::error::Error for Refusal {}

/// A key as it may stand in a message: its start, without control characters.
fn shown(key: &str) -> String {
    const SHOWN: usize = 64;
    if key.is_empty() {
        return "\"\"".to_owned();
    }
    let escaped = key.escape_debug();
    if key.chars().count() <= SHOWN {
        return escaped.to_string();
    }
    format!("{}…", key.chars().take(SHOWN).collect::<String>().escape_debug())
}
