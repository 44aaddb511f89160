//! A thousand reloads under load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{HELLO, Message, Request, TOKEN, Wire, within};
use crate::plugins::{Folder, configuration, start};
use crate::processes::{children, nth, ready};

const RELOADS: usize = 1_000;
const CLIENTS: usize = 4;

/// Two plugins that stamp their config and the call's generation on a request, and one that tells the client.
pub(crate) fn stamping(stamp: usize) -> [Folder; 3] {
    let stamps = |name: &str| {
        let folder = Folder::misbehaving(name).mode("stamp").config(json!({"stamp": stamp, "header": name}));
        folder.hook("onRequest", json!({"headers": []}))
    };
    let shows = Folder::misbehaving("shows").mode("show_call").priority(1_000);
    [stamps("alpha"), stamps("beta"), shows.hook("onRequest", json!({"headers": []}))]
}

/// Asks without a pause until told to stop. How many requests saw how many generations.
async fn load(gateway: SocketAddr, stop: Arc<AtomicBool>) -> (usize, usize) {
    let mut wire = Wire::open(gateway).await;
    let (mut requests, mut generations, mut last) = (0, 0, (0, 0));
    while !stop.load(Ordering::Relaxed) {
        let answer = wire.ask(&Request::chat(HELLO)).await;
        let stamps = stamps(&answer);
        assert!(stamps >= last, "{stamps:?} after {last:?}");
        generations += usize::from(stamps != last);
        (requests, last) = (requests + 1, stamps);
    }
    wire.half_close().await;
    wire.until_end().await;
    (requests, generations)
}

/// The stamp and the generation that both plugins agree on.
pub(crate) fn stamps(answer: &Message) -> (u64, u64) {
    assert_eq!(answer.status(), 200, "{answer:?}");
    let told = answer.json();
    let metadata = &told["meta"]["metadata"];
    let number = |key: &str| metadata[key].as_str().unwrap_or_else(|| panic!("{told}")).parse().unwrap();
    let (stamp, generation) = (number("alpha"), number("alpha-call"));
    assert_eq!((number("beta"), number("beta-call")), (stamp, generation), "two generations: {told}");
    assert_eq!(told["meta"]["generation"], generation, "two generations: {told}");
    (stamp, generation)
}

#[tokio::test]
async fn a_thousand_reloads_under_load_fail_no_request_mix_no_generation_and_leak_nothing() {
    let gateway = start("", &stamping(0)).await;
    let shows = ready(&gateway.log, "shows", 1).await;
    let (before, descriptors) = (children(&gateway), gateway.descriptors());
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(load(gateway.data, stop.clone()));
    }
    let mut admin = Wire::open(gateway.admin).await;
    let reload = Request::new("POST", "/api/reload").without("host").field("host", "localhost");
    let reload = reload.field("authorization", &format!("Bearer {TOKEN}")).field("content-length", "0");
    for round in 1..=RELOADS {
        gateway.rewrite(&configuration("", &stamping(round)));
        let report = admin.ask(&reload).await;
        assert_eq!(
            (report.status(), &report.json()["generation"]),
            (200, &Value::from(round + 1)),
            "{report:?}"
        );
    }
    stop.store(true, Ordering::Relaxed);
    let seen = clients.join_all().await;
    assert!(seen.iter().all(|&(requests, generations)| requests > generations), "{seen:?}");
    assert!(seen.iter().any(|&(_, generations)| generations > RELOADS / 10), "{seen:?}");
    admin.half_close().await;
    admin.until_end().await;

    for plugin in ["alpha", "beta"] {
        nth(&gateway.log, RELOADS, "plugin stopped", plugin).await;
    }
    let after = children(&gateway);
    assert_eq!(after.len(), before.len(), "{after:?}");
    assert!(after.contains(&shows), "what did not change was never replaced");
    assert_eq!(gateway.descriptors(), descriptors);
    // The gauge follows within a second.
    let one = async { while gateway.metric("hookway_chain_generations_alive", &[]).await != 1.0 {} };
    within("the end of all other generations", one).await;
}
