//! Asks a person at a terminal whether a plugin may have what it asks for. A program has to say so beforehand.

use std::io::{self, BufRead, IsTerminal, Write};

use serde_json::Value;

use super::super::say::{Failure, Reader};

/// Does `ask`, which is told whether what is asked for is granted. Refused for want of a grant, it is done once more if
/// the person grants it.
pub(super) fn granting(
    reader: Reader,
    grant: bool,
    ask: impl Fn(bool) -> Result<Value, Failure>,
) -> Result<Value, Failure> {
    match ask(grant) {
        Err(refused) if !grant && refused.code() == "not_granted" && is_there(reader) => {
            if agrees(refused.facts()) {
                ask(true)
            } else {
                Err(Failure::new("not_granted", "not granted; nothing was changed"))
            }
        }
        done => done,
    }
}

fn is_there(reader: Reader) -> bool {
    reader == Reader::Person && io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Anything but a yes is a no, and so is the end of the input.
fn agrees(facts: &Value) -> bool {
    let mut terminal = io::stderr();
    let asked = question(facts);
    if terminal.write_all(asked.as_bytes()).and_then(|()| terminal.flush()).is_err() {
        return false;
    }
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    is_yes(&answer)
}

fn question(facts: &Value) -> String {
    let permissions = facts["permissions"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let lines: String = permissions.map(|permission| format!("  {permission}\n")).collect();
    format!("plugin '{}' asks to:\n{lines}Allow this? [y/N] ", facts["plugin"].as_str().unwrap_or_default())
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        for (answer, expected) in
            [("y\n", true), ("YES\n", true), ("\n", false), ("", false), ("no\n", false), ("yeah\n", false)]
        {
            assert_eq!(is_yes(answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_question_names_everything_that_is_asked_for() {
        let facts =
            json!({"plugin": "p", "permissions": ["see the whole body (onRequest)", "see the variable TZ"]});
        let expected = "plugin 'p' asks to:\n  see the whole body (onRequest)\n  see the variable TZ\nAllow this? [y/N] ";
        assert_eq!(question(&facts), expected);
    }
}
