//! The tables, as the list of steps that led to them. `user_version` counts the steps a database has taken.
//!
//! The list only ever grows at its end, and a step only adds: while a gateway is being replaced, the old one goes on
//! writing into what the new one has migrated. Times are milliseconds since 1970.

use rusqlite::{Connection, TransactionBehavior};

pub(super) const MIGRATIONS: &[&str] = &["
    CREATE TABLE plugins (
        id           INTEGER PRIMARY KEY AUTOINCREMENT,
        name         TEXT NOT NULL UNIQUE,
        version      TEXT NOT NULL,
        manifest     TEXT NOT NULL,
        digest       TEXT NOT NULL,
        enabled      INTEGER NOT NULL CHECK (enabled IN (0, 1)),
        position     INTEGER,
        config       TEXT NOT NULL CHECK (json_type(config) = 'object'),
        grants       TEXT NOT NULL CHECK (json_valid(grants)),
        directory    TEXT NOT NULL,
        source       TEXT NOT NULL,
        error        TEXT,
        installed_at INTEGER NOT NULL,
        updated_at   INTEGER NOT NULL,
        activated_at INTEGER
    ) STRICT;
    CREATE TABLE removals (
        directory TEXT PRIMARY KEY,
        digest    TEXT NOT NULL
    ) STRICT;
    CREATE TABLE plugin_executions (
        id          INTEGER PRIMARY KEY AUTOINCREMENT,
        at          INTEGER NOT NULL,
        request_id  TEXT NOT NULL,
        plugin      TEXT NOT NULL,
        version     TEXT NOT NULL,
        hook        TEXT NOT NULL,
        outcome     TEXT NOT NULL,
        cause       TEXT,
        policy      TEXT,
        duration_us INTEGER NOT NULL,
        generation  INTEGER NOT NULL,
        error       TEXT
    ) STRICT;
    CREATE INDEX plugin_executions_of ON plugin_executions (plugin, id);
    CREATE TABLE audit (
        id      INTEGER PRIMARY KEY AUTOINCREMENT,
        at      INTEGER NOT NULL,
        who     TEXT NOT NULL,
        action  TEXT NOT NULL,
        plugin  TEXT,
        detail  TEXT NOT NULL CHECK (json_valid(detail)),
        outcome TEXT NOT NULL
    ) STRICT;
"];

/// Takes the steps that are missing, all or none, and says how many had been taken before: more than `migrations` has
/// is the work of a newer version, in which nothing is touched.
pub(super) fn migrate(connection: &mut Connection, migrations: &[&str]) -> rusqlite::Result<usize> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let taken = version(&transaction)?;
    for migration in migrations.iter().skip(taken) {
        transaction.execute_batch(migration)?;
    }
    if taken < migrations.len() {
        transaction.pragma_update(
            None,
            "user_version",
            i64::try_from(migrations.len()).unwrap_or(i64::MAX),
        )?;
    }
    transaction.commit()?;
    Ok(taken)
}

/// A negative number was not written by any version of ours: it counts as newer.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<usize> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What somebody had written at each version is there after the next step.
    #[test]
    fn every_older_version_becomes_the_newest_and_keeps_its_rows() {
        let steps = [
            "CREATE TABLE a (x)",
            "CREATE TABLE b (y); ALTER TABLE a ADD COLUMN z DEFAULT 7",
            "INSERT INTO b VALUES (1)",
        ];
        for start in 1..=steps.len() {
            let mut connection = Connection::open_in_memory().unwrap();
            assert_eq!(migrate(&mut connection, &steps[..start]).unwrap(), 0);
            connection.execute("INSERT INTO a (x) VALUES (5)", []).unwrap();
            assert_eq!(migrate(&mut connection, &steps).unwrap(), start);
            let row = connection.query_row("SELECT x, z, y FROM a, b", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            });
            assert_eq!(row.unwrap(), (5, 7, 1));
            assert_eq!(migrate(&mut connection, &steps).unwrap(), 3, "a second time there is nothing to do");
        }
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_before_all_of_them() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &["CREATE TABLE a (x)"]).unwrap();
        let steps = ["CREATE TABLE a (x)", "CREATE TABLE b (y)", "CREATE TABLE a (x)"];
        migrate(&mut connection, &steps).unwrap_err();
        assert_eq!(version(&connection).unwrap(), 1);
        connection.execute("SELECT * FROM b", []).unwrap_err();
    }

    #[test]
    fn a_newer_version_is_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", 9).unwrap();
        assert_eq!(migrate(&mut connection, MIGRATIONS).unwrap(), 9);
        assert_eq!(version(&connection).unwrap(), 9);
    }
}
