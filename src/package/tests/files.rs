//! The manifests of `tests/manifests`, the schema for editors, and any JSON at all.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::folder;
use crate::package::{MANIFEST_FILE, load, manifest_schema};

/// Bad manifests that the schema takes: what is wrong with them lies in the folder, in a pattern, or between keys.
const BEYOND_A_SCHEMA: [&str; 34] = [
    "command-absolute",
    "command-climbs",
    "command-not-executable",
    "config-map-default-out-of-range",
    "config-map-field-no-object",
    "config-map-key-misspelt",
    "config-map-select-without-options",
    "config-map-type-missing",
    "config-map-type-unknown",
    "config-schema-all-secret",
    "config-schema-default-does-not-fit",
    "config-schema-keyword-wrong",
    "config-schema-of-a-list",
    "config-schema-of-another-dialect",
    "config-schema-pattern-broken",
    "config-schema-pattern-looks-ahead",
    "config-schema-ref-to-a-file",
    "config-schema-ref-to-itself",
    "config-schema-ref-to-nowhere",
    "config-schema-ref-to-the-web",
    "config-schema-secret-a-word",
    "config-schema-type-unknown",
    "hook-answers-closed",
    "hook-answers-closed-for-a-cause",
    "hook-header-of-the-gateway",
    "hook-header-with-a-space",
    "integrity-of-another-file",
    "main-a-folder",
    "main-missing",
    "main-not-executable",
    "main-not-there",
    "main-with-a-zero-byte",
    "syntax-key-twice",
    "when-model-no-pattern",
];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The manifests of a folder, by name.
fn manifests(folder: &str) -> Vec<(String, PathBuf)> {
    let files = fs::read_dir(repository().join("tests/manifests").join(folder)).unwrap();
    let files =
        files.map(|file| file.unwrap().path()).filter(|file| file.extension().is_some_and(|e| e == "json"));
    let mut files: Vec<_> =
        files.map(|file| (file.file_stem().unwrap().to_str().unwrap().to_owned(), file)).collect();
    files.sort();
    files
}

/// Compares a text with a file of the repository, or writes it there.
fn golden(file: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(file, text).unwrap();
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    let name = file.display();
    assert_eq!(text, expected, "{name}: if the new text is right, run again with UPDATE_GOLDEN=1");
}

#[test]
fn every_bad_manifest_is_refused_with_exactly_its_text() {
    let bad = manifests("bad");
    assert!(bad.len() >= 100, "only {}", bad.len());
    for (name, file) in bad {
        let folder = folder(&fs::read_to_string(&file).unwrap());
        let told = load(folder.path()).expect_err(&name).to_string();
        let told = told.replace(&format!("{}/", folder.path().display()), "");
        golden(&file.with_extension("txt"), &format!("{told}\n"));
    }
}

#[test]
fn every_good_manifest_loads_as_it_is() {
    for (name, file) in manifests("good") {
        let folder = folder(&fs::read_to_string(&file).unwrap());
        fs::write(folder.path().join("index.js"), "").unwrap();
        fs::write(folder.path().join("index.mjs"), "").unwrap();
        load(folder.path()).unwrap_or_else(|errors| panic!("{name}: {errors}"));
    }
}

#[test]
fn the_schema_for_editors_is_made_of_the_words_of_the_reader() {
    let schema = serde_json::to_string_pretty(&manifest_schema()).unwrap() + "\n";
    golden(&repository().join("plugins/plugin.schema.json"), &schema);
}

#[test]
fn the_schema_and_the_reader_take_and_refuse_the_same_manifests() {
    let schema = jsonschema::draft202012::new(&manifest_schema()).unwrap();
    let takes = |file: &Path| -> Result<bool, serde_json::Error> {
        Ok(schema.is_valid(&serde_json::from_str(&fs::read_to_string(file).unwrap())?))
    };
    let shipped = ["guard", "misbehaving", "redact", "rescue"]
        .map(|name| (name.to_owned(), repository().join("plugins").join(name).join(MANIFEST_FILE)));
    for (name, file) in manifests("good").into_iter().chain(shipped) {
        assert!(takes(&file).unwrap(), "{name}");
    }
    let taken = manifests("bad").into_iter().filter(|(_, file)| takes(file).unwrap_or(false));
    let taken: Vec<String> = taken.map(|(name, _)| name).collect();
    assert_eq!(taken, BEYOND_A_SCHEMA);
}

/// The keys that the reader names as known when it meets one that it does not know, for each object of a manifest.
#[test]
fn the_schema_names_exactly_the_keys_that_the_reader_knows() {
    const FOREIGN: &str = "qqqqqqqqqqqqqqqqqqqqqqqq";
    let at = [
        ("", "{ $ }"),
        ("/hooks", r#"{ "hooks": { $ } }"#),
        ("/$defs/hook", r#"{ "hooks": { "onRequest": { $ } } }"#),
        ("/$defs/streamHook", r#"{ "hooks": { "onStreamEvent": { $ } } }"#),
        ("/$defs/hook/properties/when", r#"{ "hooks": { "onRequest": { "when": { $ } } } }"#),
        (
            "/$defs/hook/properties/when/properties/header",
            r#"{ "hooks": { "onRequest": { "when": { "header": { $ } } } } }"#,
        ),
        (
            "/$defs/hook/properties/onFailure/oneOf/1",
            r#"{ "hooks": { "onRequest": { "onFailure": { $ } } } }"#,
        ),
        ("/permissions/oneOf/0", r#"{ "permissions": { $ } }"#),
        ("/permissions/oneOf/0/properties/fs", r#"{ "permissions": { "fs": { $ } } }"#),
        ("/requires", r#"{ "requires": { $ } }"#),
        ("/limits", r#"{ "limits": { $ } }"#),
    ];
    let schema = manifest_schema();
    for (pointer, manifest) in at {
        let told = load(folder(&manifest.replace('$', &format!("\"{FOREIGN}\": 1"))).path())
            .unwrap_err()
            .to_string();
        let line = told.lines().find(|line| line.contains(FOREIGN)).unwrap();
        let known: BTreeSet<&str> = line.split_once("known here: ").unwrap().1.split(", ").collect();
        let pointer = if pointer.is_empty() || pointer.starts_with("/$defs") {
            pointer.to_owned()
        } else {
            format!("/properties{pointer}")
        };
        let object = schema.pointer(&pointer).and_then(|object| object["properties"].as_object()).unwrap();
        let mut in_schema: BTreeSet<&str> = object.keys().map(String::as_str).collect();
        // The reader knows it everywhere, to say where it belongs.
        if pointer == "/$defs/hook" {
            in_schema.insert("mode");
        }
        assert_eq!(in_schema, known, "{pointer}");
    }
}

fn any_manifest() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "name",
        "version",
        "1.0.0",
        "p",
        "protocol",
        "main",
        "main.py",
        "runtime",
        "node",
        "command",
        "hooks",
        "onRequest",
        "onStreamEvent",
        "body",
        "pointers",
        "full",
        "/a",
        "mutates",
        "when",
        "model",
        "gpt-[",
        "endpoint",
        "header",
        "sample",
        "timeoutMs",
        "onFailure",
        "default",
        "open",
        "mode",
        "permissions",
        "requires",
        "network",
        "env",
        "fs",
        "read",
        "exec",
        "limits",
        "instances",
        "configSchema",
        "type",
        "object",
        "$ref",
        "#",
        "integrity",
        "é\u{0}",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.clone().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 80, 8, move |inner| {
        let members = prop::collection::vec((words.clone(), inner.clone()), 0..8);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::Array),
            members.prop_map(|members| members
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_a_package_or_a_list_of_errors(manifest in any_manifest()) {
        if let Err(errors) = load(folder(&manifest.to_string()).path()) {
            prop_assert!(errors.count() > 0);
        }
    }

    #[test]
    fn any_text_is_a_package_or_a_list_of_errors(text in "\\PC{0,60}") {
        if let Err(errors) = load(folder(&text).path()) {
            prop_assert!(errors.count() > 0);
        }
    }
}
