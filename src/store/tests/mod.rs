//! The store on a real disk, one behaviour at a time. What a crash leaves is in `tests/store.rs`.

mod calls;
mod changes;
mod opening;

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Change, Entry, Installed, Note, NoteOutcome, Page, Store};

const ALL: Page = Page { before: None, limit: usize::MAX };

fn open(dir: &Path) -> Store {
    Store::open(dir, Entry::Alone).unwrap()
}

fn installed(name: &str) -> Installed {
    Installed {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        manifest: format!("{{ \"name\": \"{name}\" }}\n"),
        digest: "ab12".to_owned(),
        directory: format!("/state/plugins/{name}"),
        source: "/home/me/plugin".to_owned(),
    }
}

fn insert(name: &str) -> Change {
    Change::Insert { installed: installed(name), enabled: false, config: Map::new(), grants: Value::Null }
}

fn note(action: &str) -> Note {
    Note {
        who: "test".to_owned(),
        action: action.to_owned(),
        plugin: Some("redact".to_owned()),
        detail: json!({ "why": action }),
        outcome: NoteOutcome::Done,
    }
}
