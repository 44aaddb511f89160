//! Opening: who may, what becomes of each kind of file, and whose eyes it is for.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::super::{Found, OpenError, schema};
use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The files of a folder by name, without what SQLite keeps for open databases.
fn files(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        names.filter(|name| name != "hookway.db-wal" && name != "hookway.db-shm").collect();
    names.sort();
    names
}

async fn with_a_plugin(dir: &Path) -> PathBuf {
    let store = open(dir);
    store.apply(vec![insert("redact")], note("install")).await.unwrap();
    store.close().await.unwrap();
    dir.join("hookway.db")
}

#[tokio::test]
async fn a_first_start_makes_what_only_its_owner_can_read() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a/state");
    let store = open(&dir);
    let report = store.report().clone();
    assert_eq!((report.found, report.was_exposed), (Found::Nothing, false));
    store.apply(vec![insert("redact")], note("install")).await.unwrap();
    let modes =
        ["hookway.db", "hookway.db-wal", "hookway.db-shm", "hookway.lock"].map(|name| mode(&dir.join(name)));
    assert_eq!((modes, mode(&dir)), ([0o600; 4], 0o700));
    store.close().await.unwrap();
    assert_eq!(open(&dir).report().found, Found::Whole);
}

#[tokio::test]
async fn what_others_could_read_is_closed_to_them_and_told() {
    let root = tempfile::tempdir().unwrap();
    let path = with_a_plugin(root.path()).await;
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let store = open(root.path());
    assert!(store.report().was_exposed);
    assert_eq!(mode(&path), 0o600);
}

#[tokio::test]
async fn a_newer_database_is_refused_and_left_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let path = with_a_plugin(root.path()).await;
    let newer = schema::MIGRATIONS.len() + 1;
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", newer as i64).unwrap();
    drop(connection);
    let before = fs::read(&path).unwrap();
    for entry in [Entry::Alone, Entry::Beside] {
        let error = Store::open(root.path(), entry).err().unwrap();
        assert!(
            error.to_string().contains("was written by a newer Hookway (schema 2, this one knows 1)"),
            "{error}"
        );
        assert!(matches!(error, OpenError::Newer { .. }));
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(files(root.path()), ["hookway.db", "hookway.lock"]);
}

type Damage = fn(&Path);

/// What is said of a damaged database, and how it comes to that.
fn damages() -> [(&'static str, Damage); 5] {
    [
        ("file is not a database", |path| fs::write(path, "these are notes\n".repeat(999)).unwrap()),
        ("file is not a database", |path| fs::write(path, "short").unwrap()),
        ("malformed", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        // Pages after the first, which says what kind of file it is.
        ("Tree", |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[5000..].fill(0x5a);
            fs::write(path, bytes).unwrap();
        }),
        ("it is empty, and its log is not", |path| {
            fs::write(path, "").unwrap();
            fs::write(path.with_extension("db-wal"), "left behind").unwrap();
        }),
    ]
}

#[tokio::test]
async fn a_damaged_database_is_moved_aside_and_told() {
    for (expected, damage) in damages() {
        let root = tempfile::tempdir().unwrap();
        let path = with_a_plugin(root.path()).await;
        damage(&path);
        let damaged = fs::read(&path).unwrap();
        let log = fs::read(path.with_extension("db-wal")).unwrap_or_default();

        let store = open(root.path());
        let Found::Damaged { moved_to, reason } = store.report().found.clone() else { panic!("{expected}") };
        assert!(reason.contains(expected), "{reason}");
        assert!(moved_to.to_str().unwrap().contains("hookway.db.damaged-1"), "{}", moved_to.display());
        assert_eq!(fs::read(&moved_to).unwrap(), damaged, "it is kept as it was");
        let mut log_to = moved_to.into_os_string();
        log_to.push("-wal");
        assert_eq!(fs::read(log_to).unwrap_or_default(), log, "with its log");

        assert_eq!(store.plugins().await.unwrap(), []);
        store.apply(vec![insert("redact")], note("install")).await.unwrap();
        store.close().await.unwrap();
        assert_eq!(open(root.path()).report().found, Found::Whole, "the next start has nothing to tell");
    }
}

#[tokio::test]
async fn an_emptied_database_is_no_first_start() {
    let root = tempfile::tempdir().unwrap();
    let path = with_a_plugin(root.path()).await;
    fs::write(&path, "").unwrap();
    assert_eq!(open(root.path()).report().found, Found::Emptied);
}

#[tokio::test]
async fn a_damaged_database_that_is_in_use_stays_where_it_is() {
    let root = tempfile::tempdir().unwrap();
    let path = with_a_plugin(root.path()).await;
    let store = open(root.path());
    let whole = fs::read(&path).unwrap();
    fs::write(&path, "not any more").unwrap();
    let error = Store::open(root.path(), Entry::Beside).err().unwrap();
    assert!(matches!(error, OpenError::DamagedInUse { .. }), "{error}");
    assert_eq!(files(root.path()), ["hookway.db", "hookway.lock"]);
    fs::write(&path, whole).unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_second_gateway_is_refused_until_the_first_has_ended() {
    let root = tempfile::tempdir().unwrap();
    let first = open(root.path());
    let error = Store::open(root.path(), Entry::Alone).err().unwrap();
    assert!(error.to_string().contains("another gateway is running on the state folder"), "{error}");
    first.close().await.unwrap();
    open(root.path());
}

#[tokio::test]
async fn one_that_takes_over_shares_the_database_until_the_old_one_has_ended() {
    let root = tempfile::tempdir().unwrap();
    let old = open(root.path());
    let new = Store::open(root.path(), Entry::Beside).unwrap();
    let (by_old, by_new) = tokio::join!(
        old.apply(vec![insert("redact")], note("by the old one")),
        new.apply(vec![insert("guard")], note("by the new one")),
    );
    by_old.unwrap();
    by_new.unwrap();
    assert_eq!(new.plugins().await.unwrap(), old.plugins().await.unwrap());
    old.close().await.unwrap();
    assert!(matches!(Store::open(root.path(), Entry::Alone).err(), Some(OpenError::Held { .. })));
    new.apply(vec![insert("rescue")], note("alone now")).await.unwrap();
    new.close().await.unwrap();
    assert_eq!(open(root.path()).plugins().await.unwrap().len(), 3);
}

#[test]
fn of_many_that_start_at_once_one_gets_in() {
    let root = tempfile::tempdir().unwrap();
    let opened = |entry| {
        std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| Store::open(root.path(), entry))).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect::<Vec<_>>()
        })
    };
    let alone = opened(Entry::Alone);
    let held = |result: &Result<Store, _>| matches!(result, Err(OpenError::Held { .. }));
    assert_eq!((alone.iter().flatten().count(), alone.iter().filter(|result| held(result)).count()), (1, 7));
    let beside = opened(Entry::Beside);
    assert_eq!(
        beside.iter().flatten().count(),
        8,
        "{:?}",
        beside.iter().find_map(|result| result.as_ref().err())
    );
}

#[test]
fn a_folder_that_cannot_be_is_named() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(&file.join("state"), Entry::Alone).err().unwrap().to_string();
    assert!(error.contains("file/state: Not a directory"), "{error}");
}
