//! The live stream of the real program.

use rustix::process::{Resource, Rlimit, Signal};
use serde_json::{Value, json};

use crate::harness::{Gateway, HELLO, Request, TOKEN, Wire};
use crate::managed;

/// A reader of the stream.
struct Reader {
    wire: Wire,
    rest: String,
}

impl Reader {
    async fn of(gateway: &Gateway, query: &str) -> Self {
        let mut wire = Wire::open(gateway.admin).await;
        let request = Request::get(&format!("/api/events{query}")).without("host").field("host", "localhost");
        wire.send(request.field("authorization", &format!("Bearer {TOKEN}")).bytes()).await;
        let head = wire.head().await;
        assert_eq!((head.status(), head.get("content-type")), (200, Some("text/event-stream")));
        assert!(head.is_chunked());
        Self { wire, rest: String::new() }
    }

    /// The name and the data of the next event; None at the end of the stream.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.rest.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.rest = rest;
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                let Some(name) = field("event: ") else { continue };
                return Some((name.to_owned(), serde_json::from_str(field("data: ").unwrap()).unwrap()));
            }
            let chunk = self.wire.chunk().await.unwrap()?;
            self.rest.push_str(&String::from_utf8(chunk).unwrap());
        }
    }

    /// The data of the next event that is as wanted.
    async fn until(&mut self, wanted: impl Fn(&str, &Value) -> bool) -> Value {
        loop {
            let (name, data) = self.next().await.expect("the stream goes on");
            if wanted(&name, &data) {
                return data;
            }
        }
    }
}

#[tokio::test]
async fn requests_states_lines_and_generations_are_told_as_they_come() {
    let gateway = managed().await;
    let mut reader = Reader::of(&gateway, "").await;
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    let request = reader.until(|name, _| name == "request").await;
    assert_eq!(request["requestId"], answer.get("x-hookway-request-id").unwrap());
    assert_eq!(request["status"], json!(200));

    assert_eq!(gateway.admin("POST", "/api/plugins/patches/restart").await.status(), 200);
    let line = reader.until(|name, data| name == "log" && data["plugin"] == "patches").await;
    assert!(line["number"].is_u64() && line["text"].is_string(), "{line}");
    reader.until(|name, data| name == "plugin" && data["state"] == "active").await;
    let chain = reader.until(|name, _| name == "chain").await;
    assert_eq!(chain["generation"], json!(2));
}

#[tokio::test]
async fn a_reader_that_stopped_reading_holds_up_no_request_and_no_end() {
    let gateway = managed().await;
    let _silent = Reader::of(&gateway, "").await;
    let mut client = gateway.connect().await;
    for _ in 0..500 {
        assert_eq!(client.ask(&Request::chat(HELLO)).await.status(), 200);
    }
    let mut quick = Reader::of(&gateway, "?kinds=request").await;
    client.ask(&Request::chat(HELLO)).await;
    quick.until(|name, _| name == "request").await;
    let mut gateway = gateway;
    gateway.signal(Signal::TERM);
    while quick.next().await.is_some() {}
    assert!(gateway.exited().await.success());
}

#[tokio::test]
async fn the_control_listener_answers_when_descriptors_run_out() {
    let gateway = Gateway::start("").await;
    let pid = rustix::process::Pid::from_raw(i32::try_from(gateway.pid()).unwrap());
    let few = Some(200);
    rustix::process::prlimit(pid, Resource::Nofile, Rlimit { current: few, maximum: few }).unwrap();
    let mut clients = Vec::new();
    for _ in 0..300 {
        clients.push(Wire::open(gateway.data).await);
    }
    assert_eq!(gateway.admin("GET", "/api/status").await.status(), 200);
    gateway.log.message("descriptors run out: a new connection of a client was closed").await;
    assert!(gateway.descriptors() < 200 - 32, "{}", gateway.descriptors());
    drop(clients);
    let served = async {
        // The places of those that left are free once their ends were seen.
        while gateway.connect().await.try_ask(&Request::chat(HELLO)).await.is_none() {
            tokio::task::yield_now().await;
        }
    };
    crate::harness::within("a place", served).await;
}
