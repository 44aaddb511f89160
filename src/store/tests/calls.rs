//! Notes of calls: what is kept, what is lost, what the end still writes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::super::queue::{Order, Queue, Work};
use super::super::{Execution, ExecutionRow, StoreError, executions, open as opening};
use super::*;
use crate::hook::{Cause, HookName, Policy};
use crate::limits;

fn execution(plugin: &str, number: usize) -> Execution {
    Execution {
        at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        request_id: Arc::from(format!("r{number}")),
        plugin: plugin.into(),
        version: "1.0.0".into(),
        hook: HookName::OnRequest,
        outcome: "timeout",
        cause: Some(Cause::Timeout),
        policy: Some(Policy::Closed),
        took: Duration::from_micros(250_104),
        generation: 3,
        error: Some("no answer".to_owned()),
    }
}

fn requests(rows: &[ExecutionRow]) -> Vec<&str> {
    rows.iter().map(|row| &*row.request_id).collect()
}

#[tokio::test]
async fn calls_are_read_newest_first_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 0..5 {
        store.record(true, [execution("redact", number)].into_iter());
        store.record(true, [execution("guard", number)].into_iter());
    }
    let first = store.executions(Some("redact"), Page { before: None, limit: 2 }).await.unwrap();
    assert_eq!(requests(&first), ["r4", "r3"]);
    let rest = Page { before: Some(first[1].id), limit: usize::MAX };
    assert_eq!(requests(&store.executions(Some("redact"), rest).await.unwrap()), ["r2", "r1", "r0"]);
    let all = store.executions(None, ALL).await.unwrap();
    assert_eq!((all.len(), &*all[0].plugin, &*all[1].plugin), (10, "guard", "redact"));

    let expected = ExecutionRow {
        id: first[0].id,
        at: execution("redact", 4).at,
        request_id: "r4".to_owned(),
        plugin: "redact".to_owned(),
        version: "1.0.0".to_owned(),
        hook: "onRequest".to_owned(),
        outcome: "timeout".to_owned(),
        cause: Some("timeout".to_owned()),
        policy: Some("closed".to_owned()),
        took: Duration::from_micros(250_104),
        generation: 3,
        error: Some("no answer".to_owned()),
    };
    assert_eq!(first[0], expected);
}

#[tokio::test]
async fn a_removed_plugin_leaves_no_calls() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.apply(vec![insert("redact")], note("install")).await.unwrap();
    store.record(true, [execution("redact", 1)].into_iter());
    store.record(true, [execution("guard", 2)].into_iter());
    assert_eq!(store.executions(None, ALL).await.unwrap().len(), 2);
    store.apply(vec![Change::Remove { name: "redact".to_owned() }], note("uninstall")).await.unwrap();
    assert_eq!(requests(&store.executions(None, ALL).await.unwrap()), ["r2"]);
}

#[tokio::test]
async fn the_end_writes_what_is_queued_and_whoever_comes_later_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.record(true, [execution("redact", 1)].into_iter());
    let applied = store.apply(vec![insert("redact")], note("install"));
    let (applied, closed) = tokio::join!(applied, store.close());
    applied.unwrap();
    closed.unwrap();

    store.record(true, [execution("redact", 2)].into_iter());
    assert_eq!(store.executions_lost(), 1);
    assert!(matches!(store.apply(Vec::new(), note("late")).await, Err(StoreError::Closed)));
    assert!(matches!(store.plugins().await, Err(StoreError::Closed)));
    store.close().await.unwrap();

    let store = open(dir.path());
    assert_eq!(requests(&store.executions(None, ALL).await.unwrap()), ["r1"]);
    assert_eq!(store.plugins().await.unwrap().len(), 1);
}

#[test]
fn a_full_queue_loses_calls_and_counts_them() {
    let queue = Queue::new();
    for number in 0..limits::EXECUTIONS_QUEUED + 3 {
        queue.executions(true, [execution("redact", number)].into_iter());
    }
    assert_eq!(queue.lost(), 3);
    let mut batch = Vec::new();
    queue.take(&mut batch);
    assert_eq!(batch.len(), limits::EXECUTIONS_QUEUED);
    queue.executions(true, [execution("redact", 0)].into_iter());
    assert_eq!(queue.lost(), 3, "there is room again");
}

#[test]
fn calls_that_only_let_pass_leave_room_for_the_others() {
    let queue = Queue::new();
    let half = limits::EXECUTIONS_QUEUED / 2;
    queue.executions(false, (0..half + 7).map(|number| execution("redact", number)));
    assert_eq!(queue.lost(), 7);
    queue.executions(true, (0..half).map(|number| execution("guard", number)));
    assert_eq!(queue.lost(), 7);
    queue.executions(true, [()].into_iter().map(|()| unreachable!("there is no room, so it is not built")));
    assert_eq!(queue.lost(), 8);
}

#[test]
fn an_order_is_not_held_up_by_calls_and_too_many_orders_are_refused() {
    let queue = Queue::new();
    let order = || queue.order(Order::Flush { reply: oneshot::channel().0 });
    queue.executions(true, [execution("redact", 1)].into_iter());
    for _ in 0..limits::STORE_ORDERS_QUEUED {
        order().unwrap();
    }
    assert!(matches!(order(), Err(StoreError::Busy { waiting: limits::STORE_ORDERS_QUEUED })));
    assert!(queue.end(oneshot::channel().0), "the end always gets in");
    assert!(matches!(order(), Err(StoreError::Closed)));
    assert!(matches!(queue.next(), Work::Order(Order::Flush { .. })));
}

#[test]
fn calls_are_bounded_for_each_plugin_and_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let mut connection = opening::open(dir.path(), Entry::Alone).unwrap().connection;
    let of_each = usize::try_from(limits::EXECUTIONS_PER_PLUGIN_MAX).unwrap();
    executions::write(&mut connection, &[execution("quiet", 0)]).unwrap();
    for part in 0..3 {
        let batch: Vec<_> = (0..of_each).map(|number| execution("busy", part * of_each + number)).collect();
        executions::write(&mut connection, &batch).unwrap();
    }
    let long: Vec<_> = (0..3 * of_each).map(|number| execution("long", number)).collect();
    executions::write(&mut connection, &long).unwrap();
    let counted = |plugin: &str| {
        let sql = "SELECT count(*), min(CAST(substr(request_id, 2) AS INTEGER)) FROM plugin_executions WHERE plugin = ?1";
        connection.query_row(sql, [plugin], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).unwrap()
    };
    assert_eq!((counted("quiet"), counted("busy"), counted("long")), ((1, 0), (1000, 2000), (1000, 2000)));

    for plugin in 0..9 {
        let batch: Vec<_> = (0..of_each).map(|number| execution(&format!("p{plugin}"), number)).collect();
        executions::write(&mut connection, &batch).unwrap();
    }
    let sql = "SELECT count(*), count(*) FILTER (WHERE plugin = 'quiet') FROM plugin_executions";
    let kept: (i64, i64) = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(kept, (limits::EXECUTIONS_MAX, 0));
}
