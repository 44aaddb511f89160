//! What an operator does with the plugins of a running gateway, command by command.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::harness::{Gateway, PATIENCE, Plan, Request, TOKEN, within};
use super::{hookway_in, stderr, stdout};

/// A gateway that looks for plugins in the folder `plugins` beside its configuration.
async fn gateway() -> Gateway {
    Plan::new("[plugins]\ndirs = [\"plugins\"]\n").file("plugins/README", "").start().await
}

fn command(gateway: &Gateway, token: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookway"));
    command.current_dir(gateway.folder()).env_clear().env("HOME", gateway.folder());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOOKWAY_ADMIN_URL", format!("http://{}", gateway.admin)).env("HOOKWAY_ADMIN_TOKEN", token);
    command.arg("plugin");
    command
}

/// How `hookway plugin …` ends. It blocks, and the harness goes on reading beside it.
fn asked(gateway: &Gateway, arguments: &[&str]) -> Output {
    command(gateway, TOKEN).args(arguments).output().expect("the program was just built")
}

/// What it says when it does what it was asked for.
fn done(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = asked(gateway, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}\n{}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

fn json_of(gateway: &Gateway, arguments: &[&str]) -> Value {
    serde_json::from_str(&done(gateway, &[arguments, &["--json"]].concat())).unwrap()
}

/// What it says when it does not.
fn refused(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = asked(gateway, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}\n{}{}", stdout(&output), stderr(&output));
    assert!(output.stdout.is_empty());
    stderr(&output)
}

fn scaffold(gateway: &Gateway, name: &str, lang: &str, parent: &str) {
    let made = hookway_in(gateway.folder(), &["plugin", "new", name, "--lang", lang, "--in", parent]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
}

/// Writes another manifest with some words of it changed.
fn rewritten(folder: &Path, changes: &[(&str, &str)]) {
    let path = folder.join("plugin.json");
    let text = fs::read_to_string(&path).unwrap();
    let text = changes.iter().fold(text, |text, (old, new)| text.replacen(old, new, 1));
    fs::write(path, text).unwrap();
}

/// What the built-in upstream was told, through the chain.
async fn said(gateway: &Gateway) -> String {
    let body = json!({"model": "echo", "messages": [{"role": "user", "content": "It is swordfish."}]});
    let answer = gateway.ask(&Request::chat(body.to_string())).await;
    answer.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_lives_its_whole_life_by_commands() {
    let gateway = gateway().await;
    assert!(done(&gateway, &["list"]).starts_with("no plugins; "));
    scaffold(&gateway, "mask", "python", "plugins");
    assert_eq!(done(&gateway, &["scan"]), "added: mask\n");
    let listed = done(&gateway, &["list"]);
    let row: Vec<&str> = listed.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["mask", "0.1.0", "installed", "no", "100", "onRequest"]);
    assert_eq!(said(&gateway).await, "It is swordfish.");

    let told = refused(&gateway, &["activate", "mask"]);
    assert!(told.contains("see the whole body (onRequest)") && told.contains("--grant"), "{told}");
    let told = done(&gateway, &["activate", "mask", "--grant"]);
    assert!(told.contains("\nactive now (configuration generation ") && told.contains("mask"), "{told}");
    assert_eq!(said(&gateway).await, "It is ***.");
    assert!(done(&gateway, &["activate", "mask"]).starts_with("nothing changed ("));
    assert_eq!(json_of(&gateway, &["list", "--status", "active"])["plugins"][0]["name"], "mask");

    done(&gateway, &["config", "mask", "replacement=[x]"]);
    assert_eq!(said(&gateway).await, "It is [x].");
    let config: Value = serde_json::from_str(&done(&gateway, &["config", "mask"])).unwrap();
    assert_eq!(config, json!({"replacement": "[x]", "word": "swordfish"}));
    let told = refused(&gateway, &["config", "mask", "word=5"]);
    assert!(told.contains("/word"), "{told}");
    done(&gateway, &["config", "mask", "--unset", "replacement"]);
    assert_eq!(said(&gateway).await, "It is ***.");

    // By their names `late` comes first, and what it looks for is not there yet.
    scaffold(&gateway, "late", "node", "elsewhere");
    let told = done(&gateway, &["install", "elsewhere/late", "--activate", "--grant"]);
    assert!(told.starts_with("plugin 'late' 0.1.0 installed\nplugin 'late' activated\n"), "{told}");
    done(&gateway, &["config", "late", "word=***", "replacement=late"]);
    assert_eq!(said(&gateway).await, "It is ***.");
    done(&gateway, &["order", "mask", "late"]);
    assert_eq!(said(&gateway).await, "It is late.");
    let chain = done(&gateway, &["order"]);
    let names: Vec<&str> = chain.lines().skip(2).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["mask", "late"], "{chain}");

    assert!(done(&gateway, &["logs", "mask"]).contains("gateway  started as process"));
    assert!(done(&gateway, &["show", "late"]).contains("observed.state"));
    let before = json_of(&gateway, &["show", "mask"])["observed"]["pid"].clone();
    done(&gateway, &["restart", "mask"]);
    assert_ne!(json_of(&gateway, &["show", "mask"])["observed"]["pid"], before);

    done(&gateway, &["deactivate", "mask"]);
    assert_eq!(said(&gateway).await, "It is swordfish.");
    done(&gateway, &["uninstall", "mask"]);
    assert!(refused(&gateway, &["show", "mask"]).contains("mask"));
    assert!(!done(&gateway, &["list"]).contains("mask"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_keeps_the_config_and_waits_for_what_it_asks_for() {
    let gateway = gateway().await;
    scaffold(&gateway, "mask", "python", "one");
    done(&gateway, &["install", "one/mask", "--activate", "--grant"]);
    done(&gateway, &["config", "mask", "replacement=gone"]);
    scaffold(&gateway, "mask", "python", "two");
    let two = gateway.folder().join("two/mask");
    rewritten(
        &two,
        &[("0.1.0", "0.2.0"), ("\"hooks\"", "\"permissions\": { \"env\": [\"TZ\"] },\n  \"hooks\"")],
    );

    let told = refused(&gateway, &["install", "two/mask"]);
    assert!(told.contains("Repeat the command with --grant") && told.contains("TZ"), "{told}");
    let output = asked(&gateway, &["install", "two/mask", "--json"]);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["code"], "not_granted");
    assert_eq!(json_of(&gateway, &["show", "mask"])["version"], "0.1.0");

    let told = done(&gateway, &["install", "two/mask", "--grant"]);
    assert!(told.starts_with("plugin 'mask' 0.2.0 in place of 0.1.0\n"), "{told}");
    assert_eq!(said(&gateway).await, "It is gone.");
}

/// Runs a command on a terminal of its own and types `answer`; how it ends, and what the terminal shows.
fn at_a_terminal(gateway: &Gateway, arguments: &[&str], answer: &str) -> (i32, String) {
    let program = "import os, pty, sys\nshown = b''\npid, terminal = pty.fork()\n\
                   if pid == 0: os.execv(sys.argv[2], sys.argv[2:])\n\
                   answer = sys.argv[1].encode()\n\
                   while True:\n    \
                       try: part = os.read(terminal, 4096)\n    \
                       except OSError: break\n    \
                       if not part: break\n    \
                       shown += part\n    \
                       if answer and b'[y/N]' in shown: os.write(terminal, answer + b'\\n'); answer = b''\n\
                   sys.stdout.buffer.write(shown)\n\
                   sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n";
    let hookway = command(gateway, TOKEN);
    let mut command = Command::new("python3");
    command.args(["-c", program, answer]).arg(hookway.get_program()).args(hookway.get_args()).args(arguments);
    command.current_dir(gateway.folder()).env_clear();
    command.envs(hookway.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    (output.status.code().unwrap(), stdout(&output))
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_terminal_a_person_is_asked_before_a_plugin_gets_what_it_asks_for() {
    let gateway = gateway().await;
    scaffold(&gateway, "mask", "python", "one");
    done(&gateway, &["install", "one/mask"]);
    let (code, shown) = at_a_terminal(&gateway, &["activate", "mask"], "no");
    assert!(code == 1 && shown.contains("see the whole body (onRequest)"), "{code}: {shown}");
    assert_eq!(json_of(&gateway, &["show", "mask"])["wanted"]["enabled"], false);
    let (code, shown) = at_a_terminal(&gateway, &["activate", "mask"], "y");
    assert!(code == 0 && shown.contains("plugin 'mask' activated"), "{code}: {shown}");
    assert_eq!(said(&gateway).await, "It is ***.");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_plugin_is_installed_again_by_force() {
    let gateway = gateway().await;
    scaffold(&gateway, "mask", "python", "one");
    done(&gateway, &["install", "one/mask", "--activate", "--grant"]);
    rewritten(&gateway.folder().join("one/mask"), &[("Puts a replacement", "Sets a replacement")]);
    let told = refused(&gateway, &["install", "one/mask"]);
    assert!(told.contains("Increase \"version\" in plugin.json"), "{told}");
    assert!(told.contains("hookway plugin install --force"), "{told}");
    let told = done(&gateway, &["install", "one/mask", "--force"]);
    assert!(told.starts_with("plugin 'mask' 0.1.0 with other files\n"), "{told}");
    assert!(json_of(&gateway, &["show", "mask"])["description"].as_str().unwrap().starts_with("Sets"));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_plugin_are_told_newest_first() {
    let gateway = gateway().await;
    scaffold(&gateway, "mask", "python", "one");
    done(&gateway, &["install", "one/mask", "--activate", "--grant"]);
    assert!(done(&gateway, &["executions", "mask"]).starts_with("no calls are recorded"));
    said(&gateway).await;
    said(&gateway).await;
    // They are written beside the requests, a moment later.
    let recorded = async {
        while json_of(&gateway, &["executions", "mask"])["executions"].as_array().unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    within("both calls", recorded).await;
    let told = done(&gateway, &["executions", "mask", "--limit", "1"]);
    let rows: Vec<&str> = told.lines().collect();
    assert!(rows[0].starts_with("ID ") && rows[1].contains("onRequest  patch"), "{told}");
    let next = rows[2].strip_prefix("older ones: --before ").unwrap();
    assert!(done(&gateway, &["executions", "mask", "--before", next]).contains("onRequest  patch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_told_which_token_it_was() {
    let gateway = gateway().await;
    let output = command(&gateway, "a-wrong-admin-token").arg("list").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(told.contains("does not know the admin token of the variable HOOKWAY_ADMIN_TOKEN"), "{told}");

    gateway.write("own.toml", "[admin]\ntoken_file = \"secret\"\n");
    gateway.write("secret", "another-admin-token\n");
    let mut command = command(&gateway, "");
    command.env_remove("HOOKWAY_ADMIN_TOKEN").args(["list", "-c", "own.toml"]);
    let told = stderr(&command.output().unwrap());
    assert!(told.contains("secret; use the config"), "{told}");
}

#[test]
fn a_gateway_that_does_not_run_is_told_with_its_address_and_how_to_start_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("h.toml"), "[admin]\naddress = \"127.0.0.1:1\"\ntoken_file = \"t\"\n")
        .unwrap();
    fs::write(folder.path().join("t"), "the-admin-token-of-t").unwrap();
    let output = hookway_in(folder.path(), &["plugin", "list", "-c", "h.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(told.starts_with("no gateway answers at http://127.0.0.1:1 (the address of h.toml)"), "{told}");
    assert!(told.contains("start one with 'hookway serve -c h.toml'"), "{told}");

    let output = hookway_in(folder.path(), &["plugin", "list", "-c", "h.toml", "--json"]);
    assert!(output.stdout.is_empty());
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["code"], "unreachable");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_line_names_the_config_file() {
    let gateway = gateway().await;
    let serving = gateway.log.message("serving").await;
    let path = gateway.folder().canonicalize().unwrap().join("hookway.toml");
    assert_eq!(serving["config"], path.to_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_find_the_gateway_by_a_config_whose_upstreams_they_cannot_read() {
    let gateway = gateway().await;
    let admin = gateway.admin;
    gateway.write(
        "cli.toml",
        &format!(
            "[admin]\naddress = \"{admin}\"\ntoken_file = \"token\"\n[limits]\nbody_size = \"huge\"\n[[upstream]]\nname = \"openai\"\n\
             base_url = \"nonsense\"\napi_key = {{ env = \"NOT_IN_THIS_SHELL\" }}\n[[route]]\nmodel = \"*\"\nupstreams = [\"gone\"]\n[novel]\nkey = 1\n"
        ),
    );
    gateway.write("token", TOKEN);
    for arguments in [
        &["plugin", "list", "-c", "cli.toml"][..],
        &["-c", "cli.toml", "plugin", "list"],
        &["plugin", "--config", "cli.toml", "list"],
    ] {
        let output = hookway_in(gateway.folder(), arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        assert!(stdout(&output).starts_with("no plugins"), "{}", stdout(&output));
    }
    gateway.write("cli.toml", "[admin]\nadress = \"x\"\naddress = \"nowhere\"\n");
    let output = hookway_in(gateway.folder(), &["plugin", "list", "-c", "cli.toml"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).starts_with("cli.toml:3:11: address \"nowhere\""), "{}", stderr(&output));
}

#[test]
fn without_a_token_nothing_is_made_up() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("h.toml"), "[state]\ndir = \"state\"\n").unwrap();
    let output = hookway_in(folder.path(), &["plugin", "list", "-c", "h.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("there is no admin token: "), "{}", stderr(&output));
    assert!(!folder.path().join("state").exists());
}

#[test]
fn what_cannot_be_asked_is_bad_usage() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["activate", "../etc"][..],
        &["activate"],
        &["config", "p", "word"],
        &["list", "--url", "https://127.0.0.1"],
        &["install", "gone", "--url", "http://127.0.0.1:1"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hookway"));
        command.current_dir(folder.path()).env_clear().env("HOME", folder.path());
        let output = command
            .env("HOOKWAY_ADMIN_TOKEN", "an-admin-token-0123")
            .arg("plugin")
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?} {}", stderr(&output));
    }
}

/// `plugin logs -f`, ended with the test.
struct Follower(Child);

impl Follower {
    fn start(gateway: &Gateway) -> (Self, BufReader<std::process::ChildStdout>) {
        let mut child =
            command(gateway, TOKEN).args(["logs", "talker", "-f"]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        (Self(child), lines)
    }

    async fn ended(mut self) -> Option<i32> {
        let waited = tokio::task::spawn_blocking(move || self.0.wait().unwrap().code());
        tokio::time::timeout(PATIENCE, waited).await.expect("it ends").unwrap()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn line_with(lines: &mut impl BufRead, wanted: &str) {
    let mut line = String::new();
    while !line.contains(wanted) {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the log ended before {wanted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_goes_on_until_nobody_wants_it() {
    let gateway = gateway().await;
    scaffold(&gateway, "talker", "python", "one");
    let program = "import hookway\nplugin = hookway.Plugin()\n\n@plugin.on_request\ndef talk(call):\n    print('asked', len(call.body))\n    return call.proceed()\n\nplugin.run()\n";
    gateway.write("one/talker/main.py", program);
    done(&gateway, &["install", "one/talker", "--activate", "--grant"]);

    let (follower, mut lines) = Follower::start(&gateway);
    line_with(&mut lines, "started as process");
    said(&gateway).await;
    line_with(&mut lines, "asked");
    kill_process(Pid::from_child(&follower.0), Signal::INT).unwrap();
    assert_eq!(follower.ended().await, Some(0));

    let (follower, mut lines) = Follower::start(&gateway);
    line_with(&mut lines, "started as process");
    drop(lines);
    // It learns so with its next line.
    said(&gateway).await;
    assert_eq!(follower.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_completes_the_names_of_the_gateways_plugins() {
    let gateway = gateway().await;
    for name in ["mask", "mark"] {
        scaffold(&gateway, name, "python", "own");
    }
    done(&gateway, &["install", "own"]);
    assert_eq!(done(&gateway, &["list", "--names"]), "mark\nmask\n");
    let script = stdout(&hookway_in(gateway.folder(), &["completions", "bash"]));
    gateway.write("completions.bash", &script);
    gateway.write("cli.toml", &format!("[admin]\naddress = \"{}\"\n", gateway.admin));
    let complete = |words: &str| {
        let line = format!(
            "source completions.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _hookway hookway \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let programs = Path::new(env!("CARGO_BIN_EXE_hookway")).parent().unwrap().display().to_string();
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", &line]).current_dir(gateway.folder()).env_clear();
        let path = std::env::var("PATH").unwrap();
        bash.env("PATH", format!("{programs}:{path}")).env("HOME", gateway.folder());
        bash.env("HOOKWAY_ADMIN_TOKEN", TOKEN);
        let words = stdout(&bash.output().unwrap());
        words.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete("hookway -c cli.toml plugin activate ma"), ["mark", "mask"]);
    assert!(complete("hookway -c cli.toml plugin logs ''").contains(&"mask".to_owned()));
    assert_eq!(complete("hookway plugin run --hook onE"), ["onError"]);
    assert_eq!(complete("hookway -c cli.toml plugin new ma"), [""]);
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = hookway_in(Path::new("/"), &["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains("deactivate"), "{shell}");
    }
}
