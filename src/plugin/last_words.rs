//! What the end of a process is told with: the last line of its standard error that says what happened.
//!
//! Runtimes print more than that. Python and Rust end with the error; Node.js prints it before the stack and a line with
//! its own version.

use std::mem;

#[derive(Debug, Default)]
pub(super) struct LastWords {
    words: String,
    /// Where Node.js says an error is, until it says which.
    place: Option<String>,
}

impl LastWords {
    /// The next line of standard error.
    pub(super) fn hear(&mut self, line: &str) {
        let nothing_yet = self.words.is_empty() && !line.trim().is_empty();
        if nothing_yet || !surrounds_an_error(line) {
            line.trim().clone_into(&mut self.words);
        }
        if let Some(place) = place_of_an_error(line) {
            self.place = Some(place);
        } else if line.split(':').next().is_some_and(|name| name.ends_with("Error"))
            && let Some(place) = self.place.take()
        {
            self.words.push_str(&format!(", in {place}"));
        }
    }

    /// The words of the process that has just ended; what follows is the next one's.
    pub(super) fn take(&mut self) -> String {
        mem::take(self).words
    }
}

/// The file and line that Node.js prints before it prints the source line and the error.
fn place_of_an_error(line: &str) -> Option<String> {
    let path = line.strip_prefix("file://").unwrap_or(line);
    let (_, place) = path.starts_with('/').then(|| path.rsplit_once('/')).flatten()?;
    let (_, number) = place.rsplit_once(':')?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| place.to_owned())
}

/// Whether a line belongs to what runtimes print around an error: the stack below it, the place, the advice.
fn surrounds_an_error(line: &str) -> bool {
    const AROUND: [&str; 6] = [
        "Node.js v",
        "(Use `node ",
        "Require stack:",
        "- /",
        "note: run with `RUST_BACKTRACE",
        "note: Some details are omitted, run with `RUST_BACKTRACE",
    ];
    line.starts_with(char::is_whitespace)
        || !line.contains(char::is_alphanumeric)
        || AROUND.iter().any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_a_runtime_are_its_error_and_not_what_it_prints_around_it() {
        let missing_package = "\
node:internal/modules/esm/resolve:873
  throw new ERR_MODULE_NOT_FOUND(packageName, fileURLToPath(base), null);
        ^

Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'nope' imported from /p/main.mjs
    at packageResolve (node:internal/modules/esm/resolve:873:9)
    at ModuleLoader.resolve (node:internal/modules/esm/loader:283:17) {
  code: 'ERR_MODULE_NOT_FOUND'
}

Node.js v20.20.2";
        let syntax = "file:///p/main.mjs:3\nconst = 5;\n      ^\n\nSyntaxError: Unexpected token '='\n    at x (node:internal/y:1:2)\n\nNode.js v20.20.2";
        let commonjs = "node:internal/modules/cjs/loader:1210\n  throw err;\n  ^\n\nError: Cannot find module 'nope'\nRequire stack:\n- /p/index.js\n    at Function._resolve (node:internal/x:1:1) {\n  requireStack: [ '/p/index.js' ]\n}\n\nNode.js v20.20.2";
        let text_thrown = "node:internal/process/esm_loader:40\n      x(\n      ^\nboom\n(Use `node --trace-uncaught ...` to show where the exception was thrown)\n\nNode.js v20.20.2";
        let python = "Traceback (most recent call last):\n  File \"/p/main.py\", line 1, in <module>\n    import nope\nModuleNotFoundError: No module named 'nope'";
        let rust = "thread 'main' (7) panicked at src/main.rs:4:5:\nboom\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace";
        for (stderr, words) in [
            (
                missing_package,
                "Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'nope' imported from /p/main.mjs",
            ),
            (syntax, "SyntaxError: Unexpected token '=', in main.mjs:3"),
            (commonjs, "Error: Cannot find module 'nope'"),
            (text_thrown, "boom"),
            (python, "ModuleNotFoundError: No module named 'nope'"),
            (rust, "boom"),
            ("an old error\nbye", "bye"),
            ("   indented and alone\n  }", "indented and alone"),
            ("", ""),
        ] {
            let mut last = LastWords::default();
            stderr.lines().for_each(|line| last.hear(line));
            assert_eq!(last.take(), words);
            assert_eq!(last.take(), "");
        }
    }
}
