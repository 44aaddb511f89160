//! The commands of the real program that need no running gateway: what they print and how they end.

use std::process::{Command, Output};

fn hookway(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookway"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env_clear().env("HOME", "/home/ann");
    command.args(args).output().expect("the program was just built")
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
fn a_missing_config_file_is_named() {
    let output = hookway(&["-c", "config/gone.toml"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).starts_with("config/gone.toml: cannot be read: "), "{}", stderr(&output));
}
