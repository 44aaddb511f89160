//! Changes: what each does to its row, and that they go whole.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::super::{PluginRow, StoreError, change, open as opening};
use super::*;

fn config(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

async fn changed(store: &Store, change: Change) -> PluginRow {
    store.apply(vec![change], note("change")).await.unwrap();
    store.plugin("redact").await.unwrap().unwrap()
}

async fn names(store: &Store) -> Vec<(String, Option<i64>)> {
    let rows = store.plugins().await.unwrap();
    rows.into_iter().map(|row| (row.installed.name, row.position)).collect()
}

#[tokio::test]
async fn what_was_changed_is_there_at_the_next_start_with_its_line_in_the_audit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let before = SystemTime::now() - std::time::Duration::from_millis(1);
    store.apply(vec![insert("redact"), insert("guard")], note("install")).await.unwrap();
    store.close().await.unwrap();

    let store = open(dir.path());
    let row = store.plugin("redact").await.unwrap().unwrap();
    assert_eq!((row.installed, row.enabled, row.position), (installed("redact"), false, None));
    assert_eq!((row.config, row.grants, row.error, row.activated_at), (Map::new(), Value::Null, None, None));
    assert!(row.installed_at >= before && row.installed_at == row.updated_at);
    assert_eq!(names(&store).await, [("guard".to_owned(), None), ("redact".to_owned(), None)]);
    let audit = store.audit(ALL).await.unwrap();
    let line = &audit[0];
    assert_eq!((audit.len(), &*line.who, &*line.action, &*line.outcome), (1, "test", "install", "done"));
    assert_eq!((line.plugin.as_deref(), &line.detail), (Some("redact"), &json!({ "why": "install" })));
}

#[tokio::test]
async fn each_change_touches_what_it_names_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let name = || "redact".to_owned();
    let new = changed(&store, insert("redact")).await;

    let row = changed(&store, Change::SetError { name: name(), error: Some("ä".repeat(3000)) }).await;
    let error = row.error.clone().unwrap();
    assert!(error.len() == 4096 && row == PluginRow { error: Some(error), ..new.clone() });

    let row = changed(&store, Change::SetEnabled { name: name(), enabled: true }).await;
    assert_eq!((row.enabled, row.activated_at, row.error), (true, Some(row.updated_at), None));

    let set = config(json!({ "replacement": "***", "exact": 0.1 }));
    let row = changed(&store, Change::SetConfig { name: name(), config: set.clone() }).await;
    assert_eq!((&row.config, row.enabled), (&set, true));

    let grants = json!({ "env": ["TZ"] });
    let row = changed(&store, Change::SetGrants { name: name(), grants: grants.clone() }).await;
    assert_eq!((&row.grants, &row.config), (&grants, &set));

    let newer = Installed { version: "2.0.0".to_owned(), digest: "cd".to_owned(), ..installed("redact") };
    let row = changed(&store, Change::Update(newer.clone())).await;
    assert_eq!((&row.installed, row.enabled, &row.config, &row.grants), (&newer, true, &set, &grants));
    assert_eq!((row.id, row.installed_at), (new.id, new.installed_at));

    let off = changed(&store, Change::SetEnabled { name: name(), enabled: false }).await;
    assert_eq!((off.enabled, off.activated_at), (false, row.activated_at));

    store.apply(vec![Change::Remove { name: name() }], note("uninstall")).await.unwrap();
    assert_eq!(store.plugin("redact").await.unwrap(), None);
    assert!(changed(&store, insert("redact")).await.id > new.id, "an id is used once");
}

#[tokio::test]
async fn positions_are_those_that_were_set_last() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.apply(vec![insert("a"), insert("b"), insert("c")], note("install")).await.unwrap();
    let set = |positions: &[(&str, i64)]| Change::SetPositions {
        positions: positions.iter().map(|&(name, position)| (name.to_owned(), position)).collect(),
    };
    store.apply(vec![set(&[("c", 1), ("a", 2)])], note("order")).await.unwrap();
    let placed = |a, b, c| [("a".to_owned(), a), ("b".to_owned(), b), ("c".to_owned(), c)];
    assert_eq!(names(&store).await, placed(Some(2), None, Some(1)));
    store.apply(vec![set(&[("b", -7)])], note("order")).await.unwrap();
    assert_eq!(names(&store).await, placed(Some(2), Some(-7), Some(1)));
}

#[tokio::test]
async fn a_removal_that_was_begun_is_known_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let begin = Change::BeginRemoval { directory: "/p".to_owned() };
    store.apply(vec![insert("a")], note("install")).await.unwrap();
    store.apply(vec![Change::Remove { name: "a".to_owned() }, begin], note("uninstall")).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.removals().await.unwrap(), ["/p".to_owned()]);
    let end = Change::EndRemoval { directory: "/p".to_owned() };
    store.apply(vec![end], note("remove files")).await.unwrap();
    assert!(store.removals().await.unwrap().is_empty());
}

#[tokio::test]
async fn changes_go_together_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let absent = Change::SetEnabled { name: "absent".to_owned(), enabled: true };
    let error = store.apply(vec![insert("redact"), absent], note("install")).await.unwrap_err();
    assert!(matches!(error, StoreError::NoPlugin { name } if name == "absent"));
    assert_eq!(store.plugins().await.unwrap(), []);

    store.apply(vec![insert("redact")], note("install")).await.unwrap();
    let error = store.apply(vec![insert("guard"), insert("redact")], note("install")).await.unwrap_err();
    assert!(matches!(error, StoreError::Exists { name } if name == "redact"));
    assert_eq!(store.plugins().await.unwrap().len(), 1);
    assert_eq!(store.audit(ALL).await.unwrap().len(), 1, "what did not happen leaves no line");
}

#[tokio::test]
async fn a_failure_is_noted_without_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let failed = Note { outcome: NoteOutcome::Failed, plugin: None, ..note("activate") };
    store.apply(Vec::new(), failed).await.unwrap();
    let line = store.audit(ALL).await.unwrap().remove(0);
    assert_eq!((&*line.outcome, line.plugin), ("failed", None));
}

#[test]
fn a_full_disk_refuses_a_change_whole_and_the_rest_is_read_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut connection = opening::open(dir.path(), Entry::Alone).unwrap().connection;
    let mut commit =
        |changes: &[Change]| change::commit(&mut connection, changes, Some(&note("x")), SystemTime::now());
    commit(&[insert("redact")]).unwrap();
    let large = Installed { manifest: "x".repeat(1 << 20), ..installed("guard") };
    let large = Change::Insert { installed: large, enabled: true, config: Map::new(), grants: Value::Null };
    // The disk ends here, as far as SQLite is told.
    let pages = "SELECT page_count FROM pragma_page_count()";
    let mut connection = opening::open(dir.path(), Entry::Beside).unwrap().connection;
    let count: i64 = connection.query_row(pages, [], |row| row.get(0)).unwrap();
    connection.pragma_update_and_check(None, "max_page_count", count, |_| Ok(())).unwrap();
    let error = change::commit(&mut connection, &[large], Some(&note("x")), SystemTime::now()).unwrap_err();
    assert_eq!(error.to_string(), "its disk is full");
    let rows: i64 = connection.query_row("SELECT count(*) FROM plugins", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
}

#[test]
fn the_audit_keeps_its_newest_lines() {
    let dir = tempfile::tempdir().unwrap();
    let mut connection = opening::open(dir.path(), Entry::Alone).unwrap().connection;
    let max = crate::limits::AUDIT_ROWS_MAX;
    let fill = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
                INSERT INTO audit (at, who, action, detail, outcome) SELECT i, '', '', '{}', '' FROM n";
    connection.execute(fill, [max + 7]).unwrap();
    change::commit(&mut connection, &[], Some(&note("last")), SystemTime::now()).unwrap();
    let sql = "SELECT count(*), max(id) FROM audit";
    let kept: (i64, i64) = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(kept, (max, max + 8));
}
