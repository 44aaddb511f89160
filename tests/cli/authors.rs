//! What the author of a plugin does without a gateway: a new folder, a check, a try-out.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{hookway_in, stderr, stdout};

fn scaffolded(name: &str, lang: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let made = hookway_in(folder.path(), &["plugin", "new", name, "--lang", lang]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    folder
}

/// `plugin run` of `p` in `folder` with `--json`.
fn tried(folder: &Path, arguments: &[&str]) -> (Output, Value) {
    let output = hookway_in(folder, &[&["plugin", "run", "p", "--json"], arguments].concat());
    let told = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, told)
}

fn error(output: &Output) -> Value {
    serde_json::from_slice::<Value>(&output.stderr).unwrap()["error"].take()
}

/// A plugin in Node.js whose handlers are `code`, beside the file that speaks the protocol.
fn in_node(code: &str) -> TempDir {
    let folder = scaffolded("p", "node");
    let program = format!(
        "import {{ Plugin }} from \"./hookway.mjs\";\nconst plugin = new Plugin();\n{code}\nplugin.run();\n"
    );
    fs::write(folder.path().join("p/main.mjs"), program).unwrap();
    let manifest = json!({
        "name": "p", "version": "1.0.0", "main": "main.mjs",
        "hooks": {"onRequest": {"body": "full", "headers": ["x-team"], "timeoutMs": 20_000}, "onError": true},
    });
    fs::write(folder.path().join("p/plugin.json"), manifest.to_string()).unwrap();
    folder
}

fn request(folder: &TempDir, body: &Value) {
    fs::write(folder.path().join("request.json"), body.to_string()).unwrap();
}

#[test]
fn a_new_plugin_passes_its_check_and_shows_what_it_does_in_each_language() {
    for lang in ["python", "node"] {
        let folder = scaffolded("p", lang);
        let checked = hookway_in(folder.path(), &["plugin", "check", "p"]);
        assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
        let told = stdout(&checked);
        let steps: Vec<&str> = told.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(steps, ["manifest", "program", "start", "handshake", "stop", "ok:"], "{told}");

        let run = hookway_in(folder.path(), &["plugin", "run", "p", "--request", "p/sample.json"]);
        let told = stdout(&run);
        assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
        assert!(told.starts_with("p 0.1.0 onRequest: patch in "), "{told}");
        let difference =
            "body: replace /messages/0/content\n  - \"The word is swordfish.\"\n  + \"The word is ***.\"\n";
        assert!(told.contains(difference), "{told}");

        let config = r#"{"word": "The", "replacement": "A"}"#;
        let (_, told) = tried(folder.path(), &["--request", "p/sample.json", "--config", config]);
        let expected =
            json!([{"op": "replace", "path": "/messages/0/content", "value": "A word is swordfish."}]);
        assert_eq!(told["body"], expected, "{told}");
        assert_eq!(told["metadata"], json!({"replaced": 1}));
    }
}

#[test]
fn a_new_rust_plugin_names_the_sdk_and_what_to_build_first() {
    let folder = TempDir::new().unwrap();
    let made = hookway_in(folder.path(), &["plugin", "new", "p", "--lang", "rust"]);
    assert!(stdout(&made).contains("cargo install --path . --root ."), "{}", stdout(&made));
    let cargo = fs::read_to_string(folder.path().join("p/Cargo.toml")).unwrap();
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/sdk/rust");
    assert!(cargo.contains(&format!("hookway-plugin = {{ path = \"{}\" }}", sdk.display())), "{cargo}");
    let checked = hookway_in(folder.path(), &["plugin", "check", "p"]);
    assert_eq!(checked.status.code(), Some(64));
    assert!(stderr(&checked).starts_with("p/plugin.json:7:11: main \"bin/p\""), "{}", stderr(&checked));
}

#[test]
fn a_hook_without_a_handler_is_a_failed_start_that_says_what_to_do() {
    let programs = [("python", "main.py", "@plugin.on_request"), ("node", "main.mjs", "plugin.onRequest(")];
    for (lang, file, handler) in programs {
        let folder = scaffolded("p", lang);
        let path = folder.path().join("p").join(file);
        let program = fs::read_to_string(&path).unwrap();
        assert!(program.contains(handler), "{program}");
        let unused = if lang == "python" { "" } else { "void (" };
        fs::write(&path, program.replace(handler, unused)).unwrap();
        for arguments in [&["check", "p"][..], &["run", "p", "--request", "p/sample.json"]] {
            let output = hookway_in(folder.path(), &[&["plugin"], arguments].concat());
            assert_eq!(output.status.code(), Some(1), "{lang} {arguments:?}: {}", stdout(&output));
            let told = stderr(&output);
            assert!(
                told.contains("plugin.json declares onRequest, but the program does not serve it"),
                "{told}"
            );
            assert!(told.contains("add a handler for onRequest to the program, or take it out of"), "{told}");
        }
    }
}

#[test]
fn a_folder_that_is_there_stays_as_it_is() {
    let folder = scaffolded("p", "node");
    fs::write(folder.path().join("p/main.mjs"), "mine").unwrap();
    let again = hookway_in(folder.path(), &["plugin", "new", "p", "--lang", "python"]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(stderr(&again), "p is there already; nothing was written\n");
    assert_eq!(fs::read_to_string(folder.path().join("p/main.mjs")).unwrap(), "mine");
    assert!(!folder.path().join("p/main.py").exists());
}

#[test]
fn a_config_that_breaks_its_schema_says_where() {
    let folder = scaffolded("p", "python");
    let checked =
        hookway_in(folder.path(), &["plugin", "check", "p", "--config", r#"{"word": ""}"#, "--json"]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(checked.stdout.is_empty());
    let told = error(&checked);
    assert_eq!(told["code"], json!("invalid_plugin_config"));
    assert_eq!(told["details"]["problems"][0]["pointer"], json!("/word"), "{told}");
}

#[test]
fn every_verdict_of_a_node_plugin_is_told() {
    let folder = in_node(
        r#"
        plugin.onRequest(async (call) => {
          const verdicts = {
            nothing: () => call.proceed(),
            proceed: () => call.proceed({ headers: { "x-a": "1", "x-team": null }, model: "other", metadata: { team: call.headers["x-team"] } }),
            patch: () => call.patch({ temperature: 0 }),
            replace: () => call.replace({ model: "new", messages: [] }),
            respond: () => call.respond({ object: "chat.completion", choices: [] }, { headers: { "x-from": "p" } }),
            reject: () => call.reject("No.", { status: 418, code: "teapot" }),
            throw: () => { throw new Error("out of ideas"); },
          };
          await new Promise((resolve) => setTimeout(resolve, 1));
          return verdicts[call.json().what]();
        });
        plugin.onError((call) => call.retry({ delayMs: call.failure.status, patch: { seed: 1 } }));
        "#,
    );
    let ask = |what: &str| {
        request(&folder, &json!({"model": "m", "what": what}));
        tried(folder.path(), &["--request", "request.json", "--header", "x-team: red"])
    };
    let (_, told) = ask("nothing");
    assert_eq!((&told["outcome"], &told["body"]), (&json!("continue"), &json!([])));
    let (_, told) = ask("proceed");
    assert_eq!(told["headers"], json!({"set": {"x-a": "1"}, "remove": ["x-team"]}));
    assert_eq!(told["route"], json!({"model": "other", "upstream": null}));
    assert_eq!(told["metadata"], json!({"team": "red"}));
    let (_, told) = ask("patch");
    assert_eq!(told["body"], json!([{"op": "add", "path": "/temperature", "value": 0}]));
    let (_, told) = ask("replace");
    assert_eq!((&told["outcome"], &told["route"]["model"]), (&json!("replace"), &json!("new")));
    let (_, told) = ask("respond");
    let answer = json!({"status": 200, "headers": {"set": {"x-from": "p"}, "remove": []}, "body": {"object": "chat.completion", "choices": []}});
    assert_eq!(told["answer"], answer);
    let (_, told) = ask("reject");
    let error = json!({"error": {"message": "No.", "type": null, "param": null, "code": "teapot"}});
    assert_eq!((&told["answer"]["status"], &told["answer"]["body"]), (&json!(418), &error));
    let (output, told) = ask("throw");
    assert_eq!((output.status.code(), &told["outcome"]), (Some(1), &json!("error")));
    let detail = told["failure"]["detail"].as_str().unwrap();
    assert!(detail.starts_with("onRequest handler threw Error: out of ideas, in main.mjs:"), "{detail}");
    assert_eq!(told["failure"]["onFailure"], "closed");
    let (_, told) =
        tried(folder.path(), &["--request", "request.json", "--hook", "onError", "--cause", "429"]);
    assert_eq!((&told["outcome"], &told["delayMs"]), (&json!("retry"), &json!(429.0)));
    assert_eq!(told["body"], json!([{"op": "add", "path": "/seed", "value": 1}]));
}

#[test]
fn a_mistake_of_a_node_handler_is_told_with_its_name_and_what_to_return() {
    let folder = in_node(
        r#"
        plugin.onRequest(async function mask(call) {
          const answers = {
            undefined: () => undefined,
            true: () => true,
            object: () => ({ model: "small" }),
            array: () => [],
            forgotten: () => { call.reject("No."); },
            option: () => call.proceed({ header: {} }),
            "answer option": () => call.respond({}, { model: "small" }),
            "header value": () => call.proceed({ headers: { "x-n": 3 } }),
            "reject code": () => call.reject("No.", { code: 7 }),
            level: () => plugin.log("warning", "x"),
          };
          return answers[call.json().what]();
        });
        plugin.onError((call) => call.proceed());
        "#,
    );
    let which = "return a verdict, which is one of call.proceed(), call.patch(...), call.replace(...), call.respond(...) or call.reject(...)";
    for (what, expected) in [
        ("undefined", format!("returned undefined: {which}")),
        ("true", format!("returned true: {which}")),
        ("array", format!("returned an array: {which}")),
        ("object", "returned an object: that is no verdict; return call.patch({...}) or call.replace({...}), or call.proceed() to change nothing".to_owned()),
        ("forgotten", "returned undefined: it made a verdict and did not return it; write `return call.reject(...)`".to_owned()),
        ("option", "threw TypeError: call.proceed: unknown option \"header\", in main.mjs:".to_owned()),
        ("answer option", "threw TypeError: call.respond: unknown option \"model\"".to_owned()),
        ("header value", "threw TypeError: headers: \"x-n\" has to be text, or null to remove it, not a number".to_owned()),
        ("reject code", "threw TypeError: call.reject: code has to be text, not a number".to_owned()),
        ("level", "threw TypeError: level \"warning\" is not one of debug, info, warn, error".to_owned()),
    ] {
        request(&folder, &json!({"model": "m", "what": what}));
        let (output, told) = tried(folder.path(), &["--request", "request.json"]);
        assert_eq!((output.status.code(), &told["outcome"]), (Some(1), &json!("error")), "{what}: {told}");
        let detail = told["failure"]["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("onRequest handler mask {expected}")), "{what}: {detail}");
    }
}

#[test]
fn a_new_plugin_reads_the_texts_of_every_form_of_content() {
    let request_body = json!({"model": "m", "messages": [
        {"role": "assistant", "content": null, "tool_calls": []},
        {"role": "assistant"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "swordfish!"}]},
    ]});
    for lang in ["python", "node"] {
        let folder = scaffolded("p", lang);
        request(&folder, &request_body);
        let (output, told) = tried(folder.path(), &["--request", "request.json"]);
        assert_eq!(output.status.code(), Some(0), "{lang}: {}", stderr(&output));
        let expected = json!([{"op": "replace", "path": "/messages/2/content/1/text", "value": "***!"}]);
        assert_eq!(told["body"], expected, "{lang}: {told}");
    }
}

#[test]
fn a_start_that_fails_is_told_by_the_error_and_not_by_what_the_runtime_prints_around_it() {
    for (lang, main, program, told) in [
        (
            "node",
            "main.mjs",
            "import x from \"nope\";",
            "exited with status 1: Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'nope'",
        ),
        (
            "node",
            "main.mjs",
            "\n\nconst = 5;",
            "exited with status 1: SyntaxError: Unexpected token '=', in main.mjs:3",
        ),
        (
            "node",
            "main.mjs",
            "throw new Error(\"no luck\")",
            "exited with status 1: Error: no luck, in main.mjs:1",
        ),
        (
            "python",
            "main.py",
            "import nope",
            "exited with status 1: ModuleNotFoundError: No module named 'nope'",
        ),
    ] {
        let folder = scaffolded("p", lang);
        fs::write(folder.path().join("p").join(main), program).unwrap();
        let checked = hookway_in(folder.path(), &["plugin", "check", "p"]);
        assert_eq!(checked.status.code(), Some(1));
        assert!(stderr(&checked).contains(told), "{}", stderr(&checked));
        assert!(!stderr(&checked).contains("1: Node.js v"), "{}", stderr(&checked));
    }
}

#[test]
fn bodies_of_many_frames_pass_a_node_plugin_both_ways() {
    let folder = in_node(
        r#"plugin.onRequest((call) => {
          const request = call.json();
          return call.replace({ ...request, messages: [...request.messages, { role: "user", content: String(call.body.length) }] });
        });
        plugin.onError(() => {});"#,
    );
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "long ".repeat(1 << 20)}]});
    request(&folder, &body);
    let (output, told) = tried(folder.path(), &["--request", "request.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let added = json!({"role": "user", "content": body.to_string().len().to_string()});
    assert_eq!(told["body"], json!([{"op": "add", "path": "/messages/1", "value": added}]));
}

#[test]
fn a_request_the_hook_is_not_for_is_not_shown_to_it() {
    let folder = scaffolded("p", "node");
    let manifest = fs::read_to_string(folder.path().join("p/plugin.json")).unwrap();
    let narrow = manifest.replace(r#""body": "full","#, r#""body": "full", "when": { "model": "gpt-*" },"#);
    fs::write(folder.path().join("p/plugin.json"), narrow).unwrap();
    let (output, told) = tried(folder.path(), &["--request", "p/sample.json"]);
    assert_eq!((output.status.code(), &told["outcome"]), (Some(1), &Value::Null));
    assert_eq!(error(&output)["code"], "not_called");
}

#[test]
fn what_cannot_be_tried_is_bad_usage() {
    let folder = scaffolded("p", "node");
    for (arguments, told) in [
        (&["--request", "gone.json"][..], "gone.json: "),
        (&["--request", "p/main.mjs"], "p/main.mjs: "),
        (&["--request", "p/sample.json", "--hook", "onError"], "the manifest of p does not declare onError"),
        (&["--request", "p/sample.json", "--hook", "onRequst"], "error: invalid value 'onRequst'"),
        (&["--request", "p/sample.json", "--config", "[]"], "error: invalid value '[]'"),
    ] {
        let output = hookway_in(folder.path(), &[&["plugin", "run", "p"], arguments].concat());
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(stderr(&output).starts_with(told), "{}", stderr(&output));
    }
}
