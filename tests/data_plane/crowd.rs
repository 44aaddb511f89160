//! Many clients at once, some of them rude: everybody else gets the own answer, and nothing is left behind.

use futures_util::future::join_all;

use crate::harness::{Answer, Gateway, Request, Upstream, within};

const CLIENTS: usize = 60;
const REQUESTS: usize = 12;

/// What is asked decides what is answered, and how it comes.
fn upstream() -> impl Fn(&crate::harness::Received) -> Answer + Send + Sync + 'static {
    |request| {
        let text = request.text();
        let said = format!("data: {text}\n\n");
        match request.number % 7 {
            0 => Answer::stream_head().chunk(&said).chunk("data: [DONE]\n\n").last_chunk(),
            1 => Answer::json(200, &text).then_close(),
            2 => Answer::raw("").then_reset(),
            _ => Answer::json(200, &text),
        }
    }
}

/// A client in whose every third request nobody gets to answer.
async fn client(gateway: &Gateway, number: usize) {
    let mut wire = gateway.connect().await;
    for turn in 0..REQUESTS {
        let id = format!("{number}-{turn}");
        let path = if turn % 4 == 3 { "/v1/files" } else { "/v1/chat/completions" };
        let request =
            Request::post(path, format!(r#"{{"model":"m","id":"{id}","x":"{}"}}"#, "y".repeat(turn * 900)));
        if (number + turn).is_multiple_of(3) {
            wire.send(&request.bytes()[..request.bytes().len() - turn]).await;
            wire = gateway.connect().await;
            continue;
        }
        let answer = wire.ask(&request).await;
        // What is passed through has one attempt, and its upstream may break it off.
        if answer.status() == 502 && path == "/v1/files" {
            continue;
        }
        assert_eq!(answer.status(), 200, "{id}: {answer:?}");
        assert!(answer.text().contains(&format!("\"id\":\"{id}\"")), "{id}: {answer:?}");
    }
}

async fn all_served(gateway: &Gateway) {
    within("the end of all requests", async {
        while gateway.metric("hookway_requests_in_flight", &[]).await > 0.0 {}
    })
    .await;
}

#[tokio::test]
async fn everybody_gets_the_own_answer_and_nothing_is_left_behind() {
    let upstream = Upstream::scripted(upstream()).await;
    let route =
        "[[route]]\nmodel = \"*\"\nupstreams = [\"up\"]\nretry = { attempts = 9, backoff = \"1ms\" }\n";
    let config = [upstream.entry("up", "idle_connections = 0\nbreaker = { failures = 0 }"), route.to_owned()];
    let gateway = Gateway::start(&config.concat()).await;
    client(&gateway, 1).await;
    all_served(&gateway).await;
    let before = gateway.descriptors();
    within("all answers", join_all((0..CLIENTS).map(|number| client(&gateway, number)))).await;
    all_served(&gateway).await;
    within("all descriptors back", async {
        while gateway.descriptors() > before {
            gateway.admin("GET", "/readyz").await;
        }
    })
    .await;
}
