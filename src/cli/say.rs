//! What a command says, and with which code it ends.
//!
//! What was asked for goes to standard output; everything else, errors included, to standard error. With `--json`
//! both are for programs: standard output has JSON alone, and an error is one line of it. A stream that is closed by
//! now has nobody left to tell, so a failed write ends nothing.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

/// Bad usage or config, as `sysexits.h` has it.
pub(super) const USAGE: u8 = 64;
const FAILED: u8 = 1;

/// For whom a command's words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Person,
    Program,
}

/// Why a command came to nothing. What was changed before it is said in the message.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    /// For programs.
    code: String,
    /// For people: what is wrong and what to do.
    message: String,
    /// Facts for programs; null if there are none.
    details: Box<Value>,
    exit: u8,
}

impl Failure {
    pub(super) fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), details: Box::default(), exit: FAILED }
    }

    /// The command line, or a file it names, is wrong.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { exit: USAGE, ..Self::new("usage", message) }
    }

    /// For programs: what kind of failure it is.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// Facts for programs; null if there are none.
    pub(super) fn facts(&self) -> &Value {
        &self.details
    }

    #[must_use]
    pub(super) fn details(mut self, details: Value) -> Self {
        *self.details = details;
        self
    }

    /// It came after something that was done and stays so.
    #[must_use]
    pub(super) fn after(mut self, done: &str) -> Self {
        self.message = format!("{done}, and then: {}", self.message);
        self
    }
}

impl From<crate::document::Errors> for Failure {
    fn from(errors: crate::document::Errors) -> Self {
        let told: Vec<String> = errors.problems().iter().map(ToString::to_string).collect();
        let failure = Self { code: "invalid".to_owned(), ..Self::usage(errors.to_string()) };
        failure.details(json!({ "errors": told }))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Reader {
    pub(super) const fn of(json: bool) -> Self {
        if json { Self::Program } else { Self::Person }
    }

    /// Ends a command: says what it came to, if it did not say so itself.
    pub(super) fn end(self, result: Result<(), Failure>) -> ExitCode {
        let Err(failure) = result else { return ExitCode::SUCCESS };
        match self {
            Self::Person => told_to(io::stderr(), format_args!("{failure}")),
            Self::Program => {
                let Failure { code, message, details, exit: _ } = &failure;
                let error = json!({ "error": { "code": code, "message": message, "details": details } });
                told_to(io::stderr(), format_args!("{error}"));
            }
        }
        ExitCode::from(failure.exit)
    }

    /// Says what was asked for: as JSON, or in the words `person` makes of it.
    pub(super) fn say(self, json: &Value, person: impl FnOnce() -> String) {
        match self {
            Self::Person => told_to(io::stdout(), format_args!("{}", person())),
            Self::Program => told_to(io::stdout(), format_args!("{json}")),
        }
    }
}

/// A line to a stream that may be closed by now: then there is nobody to tell.
pub(super) fn told_to(mut stream: impl Write, line: fmt::Arguments<'_>) {
    let _ = writeln!(stream, "{line}");
}
