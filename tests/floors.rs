//! Holds the floors of `ARCHITECTURE.md`: a module of the gateway imports modules of lower floors only, and some
//! crates are known to the modules alone that exist for them. The floors are the groups of `src/lib.rs`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What only some modules may name, and which.
const KEPT_IN: [(&str, &[&str]); 12] = [
    ("pingora_core", &["edge", "tls", "upstream"]),
    ("pingora_http", &["edge", "upstream"]),
    // Timers alone: a deadline of tokio's that comes before all others wakes the runtime's driver, for each call.
    ("pingora_timeout", &["edge", "plugin", "upstream"]),
    ("arc_swap", &["chain"]),
    ("axum", &["admin"]),
    ("hyper", &["admin"]),
    ("rmcp", &["admin"]),
    ("ureq", &["cli"]),
    ("rusqlite", &["store"]),
    ("process::Command", &["plugin"]),
    ("Command::new(", &["plugin"]),
    ("tokio::process", &["plugin"]),
];

#[test]
fn a_module_imports_lower_floors_only() {
    let floors = floors();
    let mut broken = Vec::new();
    for (file, module, code) in sources() {
        let Some(own) = floors.get(&module) else { continue };
        for imported in imports(&code) {
            let floor = floors.get(&imported).unwrap_or_else(|| panic!("{imported} is not in lib.rs"));
            if imported != module && floor >= own {
                let file = file.display();
                broken.push(format!("{file}: {module} (floor {own}) imports {imported} (floor {floor})"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn some_crates_are_known_to_few_modules() {
    let mut broken = Vec::new();
    for (file, module, code) in sources() {
        for (name, modules) in KEPT_IN {
            if code.contains(name) && !modules.contains(&module.as_str()) {
                broken.push(format!("{}: {name} is kept in {modules:?}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_module_has_a_floor() {
    let floors = floors();
    for (file, module, _) in sources() {
        assert!(
            floors.contains_key(&module) || ["lib", "main"].contains(&module.as_str()),
            "{}",
            file.display()
        );
    }
}

/// Each module's floor: `src/lib.rs` lists modules lowest floor first, with a blank line between floors.
fn floors() -> BTreeMap<String, usize> {
    let text = fs::read_to_string(source_folder().join("lib.rs")).unwrap();
    let groups = text.split("\n\n").map(|group| {
        let names = group.lines().filter_map(|line| {
            line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ")?.strip_suffix(';')
        });
        names.map(str::to_owned).collect::<Vec<_>>()
    });
    let floors = groups.filter(|names| !names.is_empty()).enumerate();
    floors.flat_map(|(floor, names)| names.into_iter().map(move |name| (name, floor))).collect()
}

/// Every source file of the gateway: its path, the module it belongs to, and its code.
fn sources() -> Vec<(PathBuf, String, String)> {
    let root = source_folder();
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path.strip_prefix(&root).unwrap().to_owned();
            let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
            let module = first.trim_end_matches(".rs").to_owned();
            let code = code(&fs::read_to_string(&path).unwrap());
            sources.push((inside, module, code));
        }
    }
    assert!(sources.len() > 50, "the sources are where this test looks");
    sources
}

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// A file without comments and without what stands in quotes on one line.
fn code(text: &str) -> String {
    let bare = |line: &str| {
        let line = line.split("//").next().unwrap_or_default();
        let outside_quotes: Vec<&str> = line.split('"').step_by(2).collect();
        outside_quotes.join("\"\"")
    };
    text.lines().map(bare).collect::<Vec<_>>().join("\n")
}

/// The modules a file names by `crate::`.
fn imports(code: &str) -> Vec<String> {
    let named = code.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        assert!(
            end > 0,
            "imports of one module each can be read here: {}",
            rest.lines().next().unwrap_or(rest)
        );
        rest[..end].to_owned()
    });
    named.collect()
}

#[test]
fn imports_are_seen_wherever_they_stand() {
    let text = "use crate::hook::Hook; // crate::chain\nlet a = crate::limits::A + \"crate::admin\";\n";
    assert_eq!(imports(&code(text)), ["hook", "limits"]);
}
