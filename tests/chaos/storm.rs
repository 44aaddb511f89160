//! Everything at once: reloads, killed plugins and clients that leave, under load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;

use crate::failing::state;
use crate::harness::{Gateway, HELLO, Request, Wire, within};
use crate::plugins::{configuration, start};
use crate::processes::{children, kill, nth};
use crate::thousand::{stamping, stamps};

const ROUNDS: usize = 50;

/// Asks without a pause; an answer is of one generation, or says which plugin is not there.
async fn ask(gateway: SocketAddr, stop: Arc<AtomicBool>) {
    let mut wire = Wire::open(gateway).await;
    while !stop.load(Ordering::Relaxed) {
        let answer = wire.ask(&Request::chat(HELLO)).await;
        if answer.status() == 200 {
            stamps(&answer);
        } else {
            assert_eq!(answer.get("x-hookway-cause"), Some("unavailable"), "{answer:?}");
        }
    }
    wire.half_close().await;
    wire.until_end().await;
}

/// Asks and does not wait for the answer, no faster than the gateway takes connections.
async fn leave(gateway: SocketAddr, stop: Arc<AtomicBool>) {
    let mut pace = Wire::open(gateway).await;
    while !stop.load(Ordering::Relaxed) {
        let mut wire = Wire::open(gateway).await;
        wire.send(Request::chat(HELLO).bytes()).await;
        wire.reset();
        assert_eq!(pace.ask(&Request::get("/healthz")).await.status(), 200);
    }
}

/// The pid of a plugin of the published generation, once it has one that is not `dead`.
async fn process(gateway: &Gateway, plugin: &str, dead: Option<i32>) -> i32 {
    let waiting = async {
        loop {
            let pid = state(gateway, plugin).await["pid"].as_i64().map(|pid| i32::try_from(pid).unwrap());
            match pid.filter(|_| pid != dead) {
                Some(pid) => return pid,
                None => tokio::task::yield_now().await,
            }
        }
    };
    within("a process", waiting).await
}

#[tokio::test]
async fn kills_reloads_and_hang_ups_at_once_leave_nothing_behind() {
    let gateway = start("", &stamping(0)).await;
    let (before, descriptors) = (children(&gateway), gateway.descriptors());
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..3 {
        clients.spawn(ask(gateway.data, stop.clone()));
        clients.spawn(leave(gateway.data, stop.clone()));
    }
    for round in 1..=ROUNDS {
        gateway.rewrite(&configuration("", &stamping(round)));
        assert_eq!(gateway.admin("POST", "/api/reload").await.status(), 200);
        // Killed as soon as its generation is published, now and then once more when it is back.
        let plugin = if round % 2 == 0 { "alpha" } else { "beta" };
        let first = process(&gateway, plugin, None).await;
        kill(first);
        if round % 3 == 0 {
            kill(process(&gateway, plugin, Some(first)).await);
        }
    }
    gateway.rewrite(&configuration("", &stamping(0)));
    assert_eq!(gateway.admin("POST", "/api/reload").await.status(), 200);
    stop.store(true, Ordering::Relaxed);
    clients.join_all().await;

    for plugin in ["alpha", "beta"] {
        nth(&gateway.log, ROUNDS + 1, "plugin stopped", plugin).await;
    }
    assert_eq!(children(&gateway).len(), before.len());
    stamps(&gateway.ask(&Request::chat(HELLO)).await);
    // What clients that left had opened is closed when the gateway has seen it.
    let closed = async {
        while gateway.descriptors() > descriptors {
            tokio::task::yield_now().await
        }
    };
    within("the end of all connections", closed).await;
}
