//! The store of a process that is killed while it writes. What it was told to be written is there, nothing is half
//! there, and the database opens again at once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use hookway::hook::HookName;
use hookway::store::{Change, Entry, Execution, Found, Installed, Note, NoteOutcome, Page, Store};
use serde_json::{Map, Value, json};

/// Set for the process that is killed: the state folder it writes to.
const DIR: &str = "HOOKWAY_TEST_STORE";
const KILLS: usize = 12;
const NEWEST: Page = Page { before: None, limit: 1 };
const ALL: Page = Page { before: None, limit: usize::MAX };

#[tokio::test]
async fn killed_again_and_again_while_it_writes_the_store_has_what_was_acknowledged_and_nothing_half() {
    let root = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for kill in 0..KILLS {
        let mut child = writer(root.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        lines.find(|line| line.ends_with("opening")).unwrap();
        // The first kills come while it opens or makes the database, the others ever later in its writing.
        let wanted = if kill < 3 { 0 } else { 7 * kill };
        let acks = lines
            .filter_map(|line| line.strip_prefix("written ").map(|number| number.parse::<u64>().unwrap()));
        acknowledged = acks.take(wanted).last().unwrap_or(acknowledged);
        child.kill().unwrap();
        child.wait().unwrap();

        let store = Store::open(root.path(), Entry::Alone).unwrap();
        let found = &store.report().found;
        assert!(
            matches!(found, Found::Whole)
                || (acknowledged == 0 && matches!(found, Found::Nothing | Found::Emptied)),
            "{found:?}"
        );
        let there = state(&store).await;
        assert!(there >= acknowledged, "{there} is there of {acknowledged}");
        let calls = store.executions(None, ALL).await.unwrap();
        assert!(calls.windows(2).all(|pair| pair[0].id > pair[1].id));
        acknowledged = there;
        store.close().await.unwrap();
    }
    assert!(acknowledged >= 7 * (KILLS as u64 - 1));
}

/// The number of the last change, in all three places it was written to at once.
async fn state(store: &Store) -> u64 {
    let Some(line) = store.audit(NEWEST).await.unwrap().pop() else {
        assert_eq!(store.plugins().await.unwrap(), []);
        return 0;
    };
    let number = line.detail["number"].as_u64().unwrap();
    let rows = store.plugins().await.unwrap();
    let numbers: Vec<_> = rows.iter().map(|row| row.config["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [number, number]);
    number
}

/// A process of this program that runs the test below.
fn writer(dir: &Path) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "a_process_that_writes_until_it_is_killed", "--ignored", "--nocapture"]);
    command.env(DIR, dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test]
#[ignore = "is run by the test above, and killed"]
async fn a_process_that_writes_until_it_is_killed() {
    let Some(dir) = env::var_os(DIR) else { return };
    println!("opening");
    let store = Store::open(Path::new(&dir), Entry::Alone).unwrap();
    let mut number = state(&store).await;
    loop {
        number += 1;
        store.record(true, [execution(number)].into_iter());
        if number % 5 == 0 {
            store.executions(None, NEWEST).await.unwrap();
        }
        let names = ["guard", "redact"];
        let changes = if number == 1 { names.map(insert) } else { names.map(|name| configure(name, number)) };
        store.apply(changes.to_vec(), note(number)).await.unwrap();
        println!("written {number}");
        std::io::stdout().flush().unwrap();
    }
}

fn config(number: u64) -> Map<String, Value> {
    // Over several pages, so that a torn write would show.
    Map::from_iter([("number".to_owned(), json!(number)), ("filler".to_owned(), json!("x".repeat(10_000)))])
}

fn insert(name: &str) -> Change {
    let installed = Installed {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        manifest: "{}".to_owned(),
        digest: "00".to_owned(),
        directory: "/plugins".to_owned(),
        source: "/source".to_owned(),
    };
    Change::Insert { installed, enabled: true, config: config(1), grants: Value::Null }
}

fn configure(name: &str, number: u64) -> Change {
    Change::SetConfig { name: name.to_owned(), config: config(number) }
}

fn note(number: u64) -> Note {
    Note {
        who: "test".to_owned(),
        action: "configure".to_owned(),
        plugin: None,
        detail: json!({ "number": number }),
        outcome: NoteOutcome::Done,
    }
}

fn execution(number: u64) -> Execution {
    Execution {
        at: SystemTime::now(),
        request_id: number.to_string().into(),
        plugin: "redact".into(),
        version: "1.0.0".into(),
        hook: HookName::OnRequest,
        outcome: "patch",
        cause: None,
        policy: None,
        took: Duration::from_micros(90),
        generation: number,
        error: None,
    }
}
