//! The plugin that breaks each rule of the protocol when asked to. Tests of the gateway are its only users.
//!
//! What it does is named by a [`Mode`], looked for in this order: the call's header `x-misbehave`, the
//! call's metadata `misbehave`, the config's `mode`, `ok`. Modes that act before there is a config are given as the
//! first argument. Everything here blocks, on purpose: it must not depend on what it tests.

mod act;
mod link;
mod mode;

use std::process::ExitCode;

use mode::{Mode, Start};

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    if argument.as_deref().and_then(Mode::parse) == Some(Mode::Start(Start::Exit)) {
        eprintln!("told to exit at start");
        return ExitCode::from(3);
    }
    match link::serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
