//! Manifests that hold and manifests that do not, with their exact error text.

mod files;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use expect_test::{Expect, expect};
use http::HeaderName;
use proptest::prelude::*;

use super::{MANIFEST_FILE, Manifest, Program, Search, load};
use crate::hook::{BodyNeed, Cause, Endpoint, HookName, Mutates, Policy};
use crate::limits;

/// A plugin folder with a few files that manifests here name, among them links that leave it.
fn folder(manifest: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("bin")).unwrap();
    for file in ["main.py", "main.mjs", "bin/tool", "notes.txt"] {
        fs::write(path(file), "").unwrap();
    }
    fs::set_permissions(path("bin/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("main.py", path("link.py")).unwrap();
    fs::write(path(MANIFEST_FILE), manifest).unwrap();
    folder
}

fn manifest(text: &str) -> Manifest {
    let manifest = load(folder(text).path()).unwrap().manifest;
    let without_folder = Manifest::parse(text).unwrap();
    assert_eq!((&without_folder.name, &without_folder.version), (&manifest.name, &manifest.version));
    manifest
}

fn program(text: &str) -> Program {
    load(folder(text).path()).unwrap().program
}

/// A manifest that holds but for `members`.
fn with(members: &str) -> String {
    format!("{{\n\"name\": \"p\", \"version\": \"1.0.0\", \"main\": \"main.py\",\n{members}\n}}")
}

fn refused(text: &str, expected: Expect) {
    let folder = folder(text);
    let errors = load(folder.path()).unwrap_err().to_string();
    expected.assert_eq(&errors.replace(&format!("{}/", folder.path().display()), ""));
}

#[test]
fn a_manifest_in_full_is_read_in_full() {
    let manifest = manifest(
        r#"{
        "$schema": "https://example.com/plugin.schema.json",
        "name": "redact-2", "version": "1.2.3-rc.1", "protocol": 1,
        "description": "d", "author": "a", "license": "MIT", "homepage": "https://example.com", "tags": ["t"],
        "main": "main.py", "runtime": "python",
        "hooks": {
            "onRequest": {
                "headers": ["X-Team", "user-agent"],
                "body": "pointers", "pointers": ["/model", "/messages/0/content", "/a~1b"],
                "mutates": ["/messages", "headers", "route"],
                "when": { "model": ["gpt-*", "o?"], "endpoint": "embeddings",
                          "header": { "name": "x-team", "value": "red" }, "sample": 0.25 },
                "timeoutMs": 1500, "onFailure": { "default": "open", "timeout": "closed", "too_large": "closed" },
                "idempotent": true, "maxBody": "1MiB"
            },
            "onError": true,
            "onResponse": false,
            "onStreamEvent": { "mode": "observe" }
        },
        "priority": -10,
        "permissions": { "env": ["TZ", "API_KEY"], "fs": { "read": ["/etc/ssl", "data"], "write": [] },
                         "network": ["tcp:443"], "exec": false },
        "limits": { "memoryMb": 128, "maxInFlight": 8, "instances": 2 },
        "configSchema": { "type": "object", "properties": { "z": { "default": 1.50 }, "a": {} } },
        "startTimeoutMs": 60000,
        "enabledByDefault": true
    }"#,
    );
    assert_eq!(manifest.start_timeout, Duration::from_secs(60));
    assert_eq!((manifest.name.as_str(), manifest.version.to_string().as_str()), ("redact-2", "1.2.3-rc.1"));
    assert_eq!((manifest.priority, manifest.enabled_by_default), (-10, true));
    let mut permissions = serde_json::to_value(&manifest.permissions).unwrap();
    let hooks = permissions["hooks"].take();
    assert_eq!(
        permissions,
        serde_json::json!({
            "env": ["API_KEY", "TZ"], "fs": { "read": ["/etc/ssl", "data"], "write": [] },
            "network": ["tcp:443"], "exec": false, "hooks": null
        })
    );
    // What its hooks see and change is asked for too.
    assert_eq!(hooks["onRequest"]["headers"], serde_json::json!(["user-agent", "x-team"]));
    let limits = &manifest.limits;
    assert_eq!((limits.memory_mb, limits.max_in_flight, limits.instances), (Some(128), 8, 2));
    assert_eq!(
        manifest.config_schema.json().to_string(),
        r#"{"type":"object","properties":{"z":{"default":1.50},"a":{}}}"#
    );
    let names: Vec<_> = manifest.hooks.keys().copied().collect();
    assert_eq!(names, [HookName::OnRequest, HookName::OnStreamEvent, HookName::OnError]);

    let hook = &manifest.hooks[&HookName::OnRequest];
    assert_eq!(hook.headers, [HeaderName::from_static("x-team"), HeaderName::from_static("user-agent")]);
    let pointers = ["/model", "/messages/0/content", "/a~1b"].map(str::to_owned).to_vec();
    assert_eq!(hook.body, BodyNeed::Pointers(pointers));
    let mutates = Mutates { body: vec!["/messages".to_owned()], headers: true, route: true };
    assert_eq!(hook.mutates, mutates);
    assert_eq!(hook.when.endpoints, [Endpoint::Embeddings]);
    let models = hook.when.models.as_ref().unwrap();
    assert!(models.is_match("gpt-4o") && models.is_match("o3") && !models.is_match("llama"));
    let (name, value) = hook.when.header.as_ref().unwrap();
    assert_eq!((name.as_str(), value.as_ref().unwrap().as_bytes()), ("x-team", &b"red"[..]));
    assert_eq!((hook.when.sample, hook.timeout), (0.25, Duration::from_millis(1500)));
    assert_eq!(hook.on_failure.policy(Cause::Error), Policy::Open);
    assert_eq!(hook.on_failure.policy(Cause::TooLarge), Policy::Closed);
    assert_eq!((hook.body_bytes_max, hook.idempotent), (1 << 20, true));

    let observer = &manifest.hooks[&HookName::OnStreamEvent];
    assert!(observer.mutates.is_nothing());
    assert_eq!(observer.on_failure.policy(Cause::Timeout), Policy::Open);
    assert_eq!(observer.timeout, limits::STREAM_HOOK_TIMEOUT);
}

#[test]
fn every_shipped_plugin_is_a_package() {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins");
    for folder in fs::read_dir(plugins).unwrap().map(|entry| entry.unwrap().path()) {
        if folder.join(MANIFEST_FILE).exists() {
            let package = load(&folder).unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(Some(package.manifest.name.as_str()), folder.file_name().unwrap().to_str());
        }
    }
}

#[test]
fn true_is_the_whole_body_and_an_empty_object_is_nothing_but_the_call() {
    let manifest = manifest(&with(r#""hooks": { "onRequest": true, "onError": {} }"#));
    let whole = &manifest.hooks[&HookName::OnRequest];
    assert_eq!(whole.body, BodyNeed::Full);
    assert_eq!(whole.mutates, Mutates::anything());
    assert_eq!(whole.when.endpoints, [Endpoint::ChatCompletions]);
    assert_eq!(whole.timeout, limits::HOOK_TIMEOUT);
    assert_eq!(whole.on_failure.policy(Cause::Timeout), Policy::Closed);
    assert_eq!(whole.body_bytes_max, usize::MAX);
    assert_eq!(manifest.hooks[&HookName::OnError].body, BodyNeed::None);
}

#[test]
fn a_manifest_of_omniroute_loads_as_it_is() {
    let manifest = manifest(
        r#"{
        "name": "welcome-banner", "version": "1.0.0", "description": "d", "author": "a", "license": "MIT",
        "main": "main.mjs", "source": "local", "tags": ["ui"],
        "requires": { "omniroute": ">=3.0.0", "permissions": ["network", "file-read", "env"] },
        "hooks": { "onRequest": true, "onResponse": false, "onError": true, "onPluginMessage": false, "onRender": true },
        "skills": [{ "name": "s", "input": {} }], "enabledByDefault": false,
        "configSchema": { "banner": { "type": "string", "default": "Hi", "description": "text" } },
        "adminPages": [], "dashboardWidgets": [], "integrity": "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    }"#,
    );
    assert_eq!(manifest.hooks.keys().copied().collect::<Vec<_>>(), [HookName::OnRequest, HookName::OnError]);
    assert_eq!(
        manifest.permissions.words(),
        [
            "see the whole body (onRequest)",
            "change the whole body (onRequest)",
            "change headers (onRequest)",
            "choose another model or upstream (onRequest)",
            "see the whole body (onError)",
            "change the whole body (onError)",
            "change headers (onError)",
            "choose another model or upstream (onError)",
            "see the variable HOSTNAME",
            "see the variable PORT",
            "see the variable TMPDIR",
            "see the variable TZ",
            "read every file",
            "use the network without limits",
        ]
    );
}

#[test]
fn the_program_follows_from_main_runtime_and_command() {
    let program = |members: &str| {
        let text = format!("{{ \"name\": \"p\", \"version\": \"1.0.0\", {members} }}");
        super::tests::program(&text)
    };
    let main = PathBuf::from("main.py");
    assert_eq!(program(r#""main": "main.py""#), Program::Python { main: main.clone() });
    assert_eq!(program(r#""main": "link.py""#), Program::Python { main: "link.py".into() });
    assert_eq!(program(r#""main": "main.py", "runtime": "node""#), Program::Node { main });
    assert_eq!(program(r#""main": "bin/tool""#), Program::Exec { main: "bin/tool".into() });
    for argv in [&["guard", "--strict"][..], &["./bin/tool"], &["bin/tool", "/etc/../x"]] {
        let command = serde_json::to_string(argv).unwrap();
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(program(&format!("\"command\": {command}")), Program::Command { argv });
    }
}

#[test]
fn a_program_that_leaves_the_folder_or_is_not_there_is_refused() {
    refused(
        &with(r#""main": "../main.py""#),
        expect![[r#"plugin.json:3:1: the key "main" is written twice"#]],
    );
    let table = [
        (
            r#""main": "../main.py""#,
            expect![[
                r#"plugin.json:2:9: main "../main.py" is no path inside the plugin's folder; write one without .."#
            ]],
        ),
        (
            r#""main": "bin/../../x""#,
            expect![[
                r#"plugin.json:2:9: main "bin/../../x" is no path inside the plugin's folder; write one without .."#
            ]],
        ),
        (
            r#""main": "/bin/sh""#,
            expect![[
                r#"plugin.json:2:9: main "/bin/sh" is absolute; write a path relative to the plugin's folder"#
            ]],
        ),
        (
            r#""main": "bin""#,
            expect![[r#"plugin.json:2:9: main "bin" is not a file; write the path of one"#]],
        ),
        (
            r#""main": "gone.py""#,
            expect![[
                r#"plugin.json:2:9: main "gone.py" is not in the folder; put it there, or write the path of a file that is"#
            ]],
        ),
        (
            r#""main": "notes.txt""#,
            expect![[
                r#"plugin.json:2:9: main "notes.txt" is not executable; run chmod +x on it, or write a runtime: "python" or "node""#
            ]],
        ),
        (
            r#""command": []"#,
            expect![[r#"plugin.json:2:12: command names no program; write it like ["hookway-guard"]"#]],
        ),
        (
            r#""command": ["/bin/sh"]"#,
            expect![[
                r#"plugin.json:2:12: command begins with "/bin/sh", which is absolute; write a path relative to the plugin's folder"#
            ]],
        ),
        (
            r#""command": ["./main.py"]"#,
            expect![[
                r#"plugin.json:2:12: command begins with "./main.py", which is not executable; run chmod +x on it"#
            ]],
        ),
        (
            r#""command": [".."]"#,
            expect![[r#"plugin.json:2:12: command begins with no program; write it like ["hookway-guard"]"#]],
        ),
        (
            r#""command": ["x"], "runtime": "node""#,
            expect![[r#"plugin.json:2:30: runtime is for main; a command names its own; leave runtime out"#]],
        ),
        (
            r#""command": ["x"], "main": "main.py""#,
            expect![[r#"plugin.json:2:12: command and main are both there; leave one of them out"#]],
        ),
        (
            r#""priority": 1"#,
            expect![[r#"plugin.json:1:1: the manifest names no program; write it like "main": "main.py""#]],
        ),
    ];
    for (members, expected) in table {
        let text = format!("{{ \"name\": \"p\", \"version\": \"1.0.0\",\n{members}\n}}");
        refused(&text, expected);
    }
}

#[test]
fn a_program_that_is_a_link_out_of_the_folder_is_refused_twice_over() {
    for (members, program) in
        [(r#""main": "shell""#, "main"), (r#""command": ["./shell"]"#, "command begins with")]
    {
        let folder = folder(&format!("{{ \"name\": \"p\", \"version\": \"1.0.0\", {members} }}"));
        symlink("/bin/sh", folder.path().join("shell")).unwrap();
        let told = load(folder.path()).unwrap_err().to_string();
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[0].contains("\"shell\" is a link that leaves the folder, to \"/bin/sh\""), "{told}");
        assert!(
            lines[1].contains(program) && lines[1].contains("a link that leaves the plugin's folder"),
            "{told}"
        );
    }
}

#[test]
fn everything_wrong_is_told_at_once_with_its_place() {
    refused(
        r#"{
  "name": "Redact!",
  "version": "1.0",
  "protocol": 2,
  "tags": "pii",
  "main": "main.py",
  "runtime": "python3",
  "priorty": 5,
  "hooks": {
    "beforeRequest": true,
    "onRequst": true,
    "onComplete": "yes",
    "onRequest": {
      "headers": ["x team", 1],
      "body": "some",
      "pointer": ["/model"],
      "mutates": ["messages", "header"],
      "when": { "model": "gpt-[", "endpoint": ["chat"], "header": {}, "sample": 2 },
      "timeoutMs": 60000,
      "onFailure": { "default": "close", "timeOut": "open" },
      "mode": "observe",
      "idempotent": 1,
      "maxBody": "1 MB"
    },
    "onResponse": { "body": "pointers" },
    "onError": { "body": "full", "pointers": ["/model~2"], "onFailure": "shut" }
  },
  "permissions": { "env": ["HOOKWAY_ADMIN_TOKEN", "1X"], "fs": { "read": ["../x"] }, "network": "all",
                   "exec": true },
  "limits": { "memoryMb": 1, "maxInFlight": 1000, "instance": 2 },
  "configSchema": [],
  "enabledByDefault": null
}"#,
        expect![[r#"
            plugin.json:2:11: name "Redact!" is not a name; write 1 to 100 of a-z, 0-9 and -
            plugin.json:3:14: version "1.0" is no version (unexpected end of input while parsing minor version number); write it like 1.0.0
            plugin.json:4:15: protocol 2 is not spoken by this gateway; write 1
            plugin.json:5:11: tags is a string; write a list
            plugin.json:7:14: runtime "python3" is not one of "python", "node", "exec"
            plugin.json:8:3: unknown key "priorty"; did you mean "priority"?
            plugin.json:10:5: unknown key "beforeRequest"; known here: onRequest, onResponse, onStreamEvent, onError, onComplete, onInstall, onActivate, onDeactivate, onUninstall, onConfigChange, onPluginMessage, onRender
            plugin.json:11:5: unknown key "onRequst"; did you mean "onRequest"?
            plugin.json:12:19: onComplete is no declaration of a hook; write true, or like { "body": "full" }
            plugin.json:14:19: headers[0] "x team" is not the name of a header; write it of letters, digits and -
            plugin.json:14:29: headers[1] is a number; write a string
            plugin.json:15:15: body "some" is not one of "none", "pointers", "full"
            plugin.json:16:7: unknown key "pointer"; did you mean "pointers"?
            plugin.json:17:19: mutates[0] "messages" is neither "headers", "route" nor a JSON pointer like "/messages"
            plugin.json:17:31: mutates[1] "header" is neither "headers", "route" nor a JSON pointer like "/messages"; did you mean "headers"?
            plugin.json:18:26: model "gpt-[" is no pattern: unclosed character class; missing ']'; write it like "gpt-*"
            plugin.json:18:48: endpoint[0] "chat" is no endpoint with hooks; did you mean "chat.completions"?
            plugin.json:18:67: header has no name; write it like "name": "x-team"
            plugin.json:18:81: sample 2 is out of range; write 0 to 1
            plugin.json:19:20: timeoutMs 60000 is out of range; write 1 to 30000
            plugin.json:20:33: default "close" is not one of "open", "closed"
            plugin.json:20:42: unknown key "timeOut"; did you mean "timeout"?
            plugin.json:21:15: mode is for onStreamEvent; a hook that only looks says "mutates": []
            plugin.json:22:21: idempotent is a number; write true or false
            plugin.json:23:18: maxBody "1 MB" is not a size; write 1MiB (1B to 1024GiB)
            plugin.json:25:29: body "pointers" needs them; write "pointers": ["/model"]
            plugin.json:26:46: pointers asks for parts of a body, and body is "full"; leave one out
            plugin.json:26:47: pointers[0] "/model~2" is no JSON pointer; write it like "/messages/0/content"
            plugin.json:26:73: onFailure "shut" is not one of "open", "closed"
            plugin.json:28:28: env[0] "HOOKWAY_ADMIN_TOKEN" is the gateway's own; leave it out
            plugin.json:28:51: env[1] "1X" is not the name of a variable; write letters, digits and _
            plugin.json:28:75: read[0] "../x" is no path; write one without .., absolute or relative to the plugin's folder
            plugin.json:28:97: network "all" is not "none", "any" or a list of ports like ["tcp:443"]
            plugin.json:29:28: exec is a boolean; write false, or a list of programs
            plugin.json:30:27: memoryMb 1 is out of range; write 16 to 1048576
            plugin.json:30:45: maxInFlight 1000 is out of range; write 1 to 256
            plugin.json:30:51: unknown key "instance"; did you mean "instances"?
            plugin.json:31:19: configSchema is a list; write a JSON Schema, { "type": "object", … }
            plugin.json:32:23: enabledByDefault is null; write true or false"#]],
    );
}

#[test]
fn omniroutes_permissions_are_words_and_nothing_else() {
    refused(
        &with(r#""permissions": ["network", "disk"]"#),
        expect![[
            r#"plugin.json:3:28: permissions[1] "disk" is not one of "network", "file-read", "file-write", "env", "exec""#
        ]],
    );
    refused(
        &with(r#""requires": { "permission": [] }"#),
        expect![[r#"plugin.json:3:15: unknown key "permission"; did you mean "permissions"?"#]],
    );
}

#[test]
fn a_manifest_that_is_no_json_object_is_refused() {
    refused("", expect!["plugin.json:1:1: not JSON: EOF while parsing a value"]);
    refused("[]", expect!["plugin.json:1:1: the file is a list; write an object"]);
    refused("{\n  \"name\": \"p\",\n}", expect!["plugin.json:3:1: not JSON: trailing comma"]);
    refused(
        "{}",
        expect![[r#"
            plugin.json:1:1: the file has no name; write it like "name": "redact"
            plugin.json:1:1: the file has no version; write it like "version": "1.0.0"
            plugin.json:1:1: the manifest names no program; write it like "main": "main.py""#]],
    );
}

#[test]
fn a_folder_without_a_manifest_is_no_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let told = |path: &Path| load(path).unwrap_err().to_string();
    assert!(told(folder.path()).contains("plugin.json: cannot be read: "));
    assert!(told(&folder.path().join("gone")).contains("gone: is no plugin folder: "));
    fs::write(folder.path().join("file"), "").unwrap();
    assert!(told(&folder.path().join("file")).ends_with("it is a file"));
}

#[test]
fn a_changed_file_is_another_package() {
    let folder = folder(&with("\"priority\": 1"));
    let before = load(folder.path()).unwrap();
    assert_eq!(before.digest, load(folder.path()).unwrap().digest);
    fs::write(folder.path().join("main.py"), "print()").unwrap();
    assert_ne!(before.digest, load(folder.path()).unwrap().digest);
    assert_eq!(before.dir, folder.path().canonicalize().unwrap());
}

#[test]
fn bare_programs_are_found_beside_the_gateway_and_then_on_the_path() {
    let programs = tempfile::tempdir().unwrap();
    let place = |name: &str| {
        let (dir, file) = name.split_once('/').unwrap();
        let dir = programs.path().join(dir);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(file), "").unwrap();
        fs::set_permissions(dir.join(file), fs::Permissions::from_mode(0o755)).unwrap();
    };
    for file in ["beside/guard", "path/guard", "path/python3", "beside/python3", "path/tool"] {
        place(file);
    }
    let search = Search {
        beside: Some(programs.path().join("beside")),
        path: vec![programs.path().join("empty"), programs.path().join("path")],
    };
    let dir = Path::new("/plugins/p");
    let command = |argv: &[&str]| Program::Command { argv: argv.iter().map(|word| (*word).into()).collect() };
    let found = |program: Program| program.resolve(dir, &search).unwrap();
    let in_programs = |file: &str| programs.path().join(file).into_os_string();
    assert_eq!(found(command(&["guard", "-v"])), [in_programs("beside/guard"), "-v".into()]);
    assert_eq!(found(command(&["tool"])), [in_programs("path/tool")]);
    assert_eq!(found(command(&["./bin/x"])), ["/plugins/p/./bin/x"]);
    let python = Program::Python { main: "main.py".into() };
    assert_eq!(found(python), [in_programs("path/python3"), "/plugins/p/main.py".into()]);
    let missing = Program::Node { main: "main.js".into() }.resolve(dir, &search).unwrap_err().to_string();
    assert!(missing.starts_with("there is no program \"node\" in "), "{missing}");
    assert!(!missing.contains("beside"), "{missing}");
}

proptest! {
    #[test]
    fn a_damaged_manifest_is_a_package_or_a_list_of_errors(
        at in any::<prop::sample::Index>(),
        length in 0_usize..30,
        replacement in "[ -~]{0,8}",
    ) {
        let mut text = with(r#""hooks": { "onRequest": { "pointers": ["/a"], "when": { "model": "x*" }, "onFailure":
            { "timeout": "open" } } }, "limits": { "instances": 2 }, "permissions": { "network": ["tcp:1"] }"#);
        let start = at.index(text.len());
        let end = (start + length).min(text.len());
        text.replace_range(start..end, &replacement);
        if let Err(errors) = load(folder(&text).path()) {
            prop_assert!(errors.count() > 0);
        }
    }
}
