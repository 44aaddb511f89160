//! The commands of the real program: what they print and how they end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../harness/mod.rs"]
mod harness;

mod authors;
mod operators;

use std::path::Path;
use std::process::{Command, Output};

fn hookway(args: &[&str]) -> Output {
    hookway_in(Path::new(env!("CARGO_MANIFEST_DIR")), args)
}

fn hookway_in(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookway"));
    command.current_dir(folder).env_clear().env("HOME", "/home/ann");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(args).output().expect("the program was just built")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_version_is_told() {
    let output = hookway(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout), concat!("hookway ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn wrong_usage_ends_with_64() {
    for args in [&["sevre"][..], &["--port", "1"], &["check", "--upgrade"]] {
        assert_eq!(hookway(args).status.code(), Some(64), "{args:?}");
    }
}

#[test]
fn a_bad_config_ends_check_and_serve_with_64_and_every_error() {
    const FILE: &str = "config/bad/keys.toml";
    let checked = hookway(&["check", "-c", FILE]);
    let served = hookway(&["serve", "-c", FILE]);
    assert_eq!((checked.status.code(), served.status.code()), (Some(64), Some(64)));
    let told = stderr(&checked);
    assert!(
        told.contains("config/bad/keys.toml:3:1: unknown key \"adress\"; did you mean \"address\"?\n"),
        "{told}"
    );
    assert!(told.contains("config/bad/keys.toml:23:1: unknown key \"enable\""), "{told}");
    assert!(checked.stdout.is_empty());
}

#[test]
fn an_admin_token_that_can_be_guessed_ends_serve_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        "[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[state]\ndir = \"state\"\n";
    std::fs::write(folder.path().join("h.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookway"));
    command.current_dir(folder.path()).env_clear().env("HOOKWAY_ADMIN_TOKEN", "hunter2");
    let output = command.args(["-c", "h.toml"]).output().unwrap();
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let expected =
        "hookway: the admin token of HOOKWAY_ADMIN_TOKEN has 7 characters; use at least 16 random ones";
    assert!(told.contains(expected) && !told.contains("hunter2"), "{told}");

    std::fs::write(folder.path().join("t"), "hunter2\n").unwrap();
    let config = config.replace("[state]", "token_file = \"t\"\n[state]");
    std::fs::write(folder.path().join("h.toml"), config).unwrap();
    let output = hookway_in(folder.path(), &["check", "-c", "h.toml"]);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(64), "{told}");
    assert!(told.starts_with("h.toml:5:14: token_file names a file whose token has 7 characters"), "{told}");
}

#[test]
fn a_state_folder_that_cannot_be_used_is_told_with_the_key_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("taken"), "").unwrap();
    for token in [None, Some("an-admin-token-0123")] {
        let config = "[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[state]\ndir = \"taken/state\"\n";
        std::fs::write(folder.path().join("h.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hookway"));
        command.current_dir(folder.path()).env_clear().args(["-c", "h.toml"]);
        let output = command.envs(token.map(|token| ("HOOKWAY_ADMIN_TOKEN", token))).output().unwrap();
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(
            told.contains("taken/state, which [state] dir of the config names, cannot be used: "),
            "{told}"
        );
    }
}

#[test]
fn a_missing_config_file_is_named() {
    let output = hookway(&["-c", "config/gone.toml"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).starts_with("config/gone.toml: cannot be read: "), "{}", stderr(&output));
}
