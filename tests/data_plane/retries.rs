//! Attempts: what is tried again and where, how long each may take, and when an upstream is left in peace.

use std::time::{Duration, Instant};

use tokio::net::{TcpSocket, TcpStream};

use crate::assert_refused;
use crate::harness::{Answer, End, Gateway, HELLO, Message, Request, Upstream, event, within};

/// A route of every model to `upstreams`.
fn route(upstreams: &str, retry: &str) -> String {
    format!("[[route]]\nmodel = \"*\"\nupstreams = [{upstreams}]\nretry = {{ {retry} }}\n")
}

/// `[[upstream]]` at a port nobody listens on.
async fn dead(name: &str) -> String {
    let address = Upstream::by_hand().await.address;
    format!("[[upstream]]\nname = \"{name}\"\nbase_url = \"http://{address}/v1\"\n")
}

fn error(status: u16) -> Answer {
    Answer::json(
        status,
        &format!(r#"{{"error":{{"message":"e{status}","type":"t","param":null,"code":"c"}}}}"#),
    )
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_passed_over() {
    let live = Upstream::answering(Answer::hello()).await;
    let config =
        [dead("dead").await, live.entry("live", ""), route("\"dead\", \"live\"", "attempts = 1")].concat();
    let gateway = Gateway::start(&config).await;
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    assert_eq!(answer.status(), 200);
    let line = gateway.access(&answer).await;
    assert_eq!((&line["upstream"], &line["attempts"]), (&"live".into(), &2.into()));
    assert_eq!(live.only().text(), HELLO);
    assert_eq!(
        gateway
            .metric("hookway_upstream_attempts_total", &[("upstream", "dead"), ("outcome", "connect")])
            .await,
        1.0
    );
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_at_all_is_told_so() {
    let gateway = Gateway::start(&dead("dead").await).await;
    for request in [Request::chat(HELLO), Request::get("/v1/files"), Request::post("/v1/files", "{}")] {
        let answer = gateway.ask(&request).await;
        assert_refused(&answer, 502, "upstream_failed");
        let text = answer.text();
        assert!(text.contains("dead") && text.contains("connect") && !text.contains("127.0.0.1"), "{text}");
    }
}

#[tokio::test]
async fn an_error_of_the_upstream_is_tried_again_after_a_pause_that_grows() {
    let upstream = Upstream::in_turn(vec![error(500), error(503), Answer::hello()]).await;
    let retry = route("\"up\"", "attempts = 3, on = [\"5xx\"], backoff = \"40ms\"");
    let gateway = Gateway::start(&[upstream.entry("up", ""), retry].concat()).await;
    let began = Instant::now();
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    assert!(began.elapsed() >= Duration::from_millis(40 + 80), "{:?}", began.elapsed());
    assert_eq!((answer.status(), answer.get("x-should-retry")), (200, None));
    assert_eq!(gateway.access(&answer).await["attempts"], 3);
    assert!(upstream.received().iter().all(|request| request.text() == HELLO));
    assert_eq!(upstream.connections(), 1, "an error answer leaves its connection usable");
}

#[tokio::test]
async fn once_all_attempts_failed_the_upstreams_own_error_is_the_answer() {
    let upstream = Upstream::answering(error(503)).await;
    let retry = route("\"up\"", "attempts = 2, backoff = \"1ms\"");
    let gateway = Gateway::start(&[upstream.entry("up", ""), retry].concat()).await;
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    assert_eq!((answer.status(), answer.json()["error"]["message"].as_str()), (503, Some("e503")));
    assert_eq!(answer.get("x-should-retry"), Some("false"), "the client must not multiply our attempts");
    assert_eq!(upstream.received().len(), 2);
    assert_eq!(gateway.access(&answer).await["outcome"], "upstream_error");
}

#[tokio::test]
async fn a_single_attempt_leaves_trying_again_to_the_client() {
    let upstream = Upstream::answering(error(500)).await;
    let retry = route("\"up\"", "attempts = 2, on = [\"connect\"]");
    let gateway = Gateway::start(&[upstream.entry("up", ""), retry].concat()).await;
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    assert_eq!((answer.status(), answer.get("x-should-retry")), (500, None));
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn what_the_client_did_wrong_is_not_tried_again() {
    for status in [400, 401, 403, 404, 408, 409, 422] {
        let upstream = Upstream::answering(error(status)).await;
        let retry = route("\"up\"", "attempts = 3, backoff = \"1ms\"");
        let gateway = Gateway::start(&[upstream.entry("up", ""), retry].concat()).await;
        let answer = gateway.ask(&Request::chat(HELLO)).await;
        assert_eq!((answer.status(), answer.get("content-type")), (status, Some("application/json")));
        assert_eq!(answer.json()["error"]["message"], format!("e{status}"));
        assert_eq!(upstream.received().len(), 1);
        assert_eq!(gateway.access(&answer).await["outcome"], "upstream_refused");
    }
}

#[tokio::test]
async fn the_pause_an_upstream_asks_for_is_kept() {
    let busy = Answer::with(429, &[("retry-after-ms", "120"), ("retry-after", "9")], "{}");
    let upstream = Upstream::in_turn(vec![busy, Answer::hello()]).await;
    let retry = route("\"up\"", "attempts = 2, backoff = \"1ms\"");
    let gateway = Gateway::start(&[upstream.entry("up", ""), retry].concat()).await;
    let began = Instant::now();
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(120) && took < Duration::from_secs(9), "{took:?}");
}

#[tokio::test]
async fn a_pause_beyond_the_cap_is_not_waited_for_and_told_to_the_client_as_the_cap() {
    let busy = Answer::with(429, &[("retry-after", "86400"), ("content-type", "application/json")], "{}");
    let upstream = Upstream::answering(busy).await;
    let retry = route("\"up\"", "attempts = 3, backoff = \"1ms\", max_backoff = \"1s\"");
    let gateway = Gateway::start(&[upstream.entry("up", ""), retry].concat()).await;
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    assert_eq!((answer.status(), answer.get("retry-after")), (429, Some("30")));
    assert_eq!(answer.get("x-should-retry"), Some("false"), "no client waits that long");
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn a_limited_upstream_is_passed_over_for_the_next() {
    let busy = Upstream::answering(Answer::with(429, &[("retry-after", "60")], "{}")).await;
    let free = Upstream::answering(Answer::hello()).await;
    let both = route("\"busy\", \"free\"", "attempts = 2, max_backoff = \"1s\"");
    let gateway = Gateway::start(&[busy.entry("busy", ""), free.entry("free", ""), both].concat()).await;
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
    assert_eq!((busy.received().len(), free.received().len()), (1, 1));
}

#[tokio::test]
async fn nothing_is_tried_again_behind_the_first_byte() {
    let half = Answer::head(200, &[("content-length", "99")]).send("half").then_reset();
    let upstream = Upstream::answering(half).await;
    let retry = route("\"up\"", "attempts = 3, backoff = \"1ms\"");
    let gateway = Gateway::start(&[upstream.entry("up", ""), retry].concat()).await;
    let mut client = gateway.connect().await;
    client.send(Request::chat(HELLO).bytes()).await;
    let head = client.head().await;
    assert!(client.body(&head).await.is_err());
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn an_upstream_that_says_nothing_sensible_is_tried_again() {
    let bad = [
        Answer::raw("").then_close(),
        Answer::raw("").then_reset(),
        Answer::raw("nonsense\r\n\r\n").then_close(),
        Answer::raw("HTTP/1.1 200 OK\r\ncontent-le").then_close(),
        Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}").then_close(),
    ];
    for answer in bad {
        let upstream = Upstream::in_turn(vec![answer.clone(), Answer::hello()]).await;
        let retry = route("\"up\"", "attempts = 2, backoff = \"1ms\"");
        let gateway = Gateway::start(&[upstream.entry("up", ""), retry].concat()).await;
        assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200, "{answer:?}");
    }
}

#[tokio::test]
async fn a_large_error_body_arrives_whole() {
    let body = format!("{{\"error\":{{\"message\":\"{}\"}}}}", "x".repeat(600 << 10));
    let upstream = Upstream::answering(Answer::json(500, &body)).await;
    let retry = route("\"up\"", "attempts = 2, backoff = \"1ms\"");
    let gateway = Gateway::start(&[upstream.entry("up", ""), retry].concat()).await;
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    assert_eq!((answer.status(), answer.text() == body), (500, true));
}

/// What a client and an operator read of a request that ran out of time.
async fn timed_out(gateway: &Gateway) -> (Message, String) {
    let answer = gateway.ask(&Request::chat(HELLO)).await;
    let fault = gateway.access(&answer).await["fault"].as_str().unwrap_or_default().to_owned();
    (answer, fault)
}

#[tokio::test]
async fn a_connection_that_takes_too_long_is_a_timeout() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    // Nobody accepts, and one waits already: the next gets no answer from the kernel.
    let _waiting = TcpStream::connect(address).await.unwrap();
    let upstream = format!(
        "[[upstream]]\nname = \"up\"\nbase_url = \"http://{address}/v1\"\nconnect_timeout = \"200ms\"\n"
    );
    let gateway = Gateway::start(&[upstream, route("\"up\"", "attempts = 1")].concat()).await;
    let (answer, fault) = timed_out(&gateway).await;
    assert_refused(&answer, 504, "upstream_failed");
    assert!(fault.contains("timeout") && fault.contains("connect") && fault.contains("200ms"), "{fault}");
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_a_timeout() {
    let upstream = Upstream::answering(Answer::raw("HTTP/1.1 200 OK\r\n").then_stall()).await;
    let config =
        [upstream.entry("up", "first_byte_timeout = \"200ms\""), route("\"up\"", "attempts = 1")].concat();
    let gateway = Gateway::start(&config).await;
    let (answer, fault) = timed_out(&gateway).await;
    assert_refused(&answer, 504, "upstream_failed");
    assert!(fault.contains("timeout") && fault.contains("header") && fault.contains("200ms"), "{fault}");
}

#[tokio::test]
async fn a_header_that_drips_does_not_outlast_its_timeout() {
    let drip = (0..200).fold(Answer::raw("HTTP/1.1 200 OK\r\n"), |answer, number| {
        answer.pause(Duration::from_millis(50)).send(format!("x-{number}: 1\r\n"))
    });
    let upstream = Upstream::answering(drip).await;
    let config =
        [upstream.entry("up", "first_byte_timeout = \"300ms\""), route("\"up\"", "attempts = 1")].concat();
    let gateway = Gateway::start(&config).await;
    let began = Instant::now();
    assert_refused(&timed_out(&gateway).await.0, 504, "upstream_failed");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_pause_within_an_answer_that_takes_too_long_is_a_timeout() {
    let stall = Answer::head(200, &[("content-length", "99")]).send("half").then_stall();
    let upstream = Upstream::answering(stall).await;
    let gateway = Gateway::start(&upstream.entry("up", "chunk_timeout = \"200ms\"")).await;
    let mut client = gateway.connect().await;
    client.send(Request::chat(HELLO).bytes()).await;
    let head = client.head().await;
    assert!(client.body(&head).await.is_err());
    let fault = gateway.log.access(head.get("x-hookway-request-id").unwrap()).await["fault"].to_string();
    assert!(fault.contains("timeout") && fault.contains("200ms"), "{fault}");
}

#[tokio::test]
async fn an_attempt_as_a_whole_has_an_end() {
    let endless = (0..400)
        .fold(Answer::stream_head(), |answer, _| answer.chunk(event("x")).pause(Duration::from_millis(25)));
    let upstream = Upstream::answering(endless).await;
    let gateway = Gateway::start(&upstream.entry("up", "total_timeout = \"400ms\"")).await;
    let answer = gateway.ask(&Request::chat(crate::harness::STREAM)).await;
    assert!(answer.text().contains("\"code\":\"upstream_failed\""), "{answer:?}");
    let fault = gateway.access(&answer).await["fault"].to_string();
    assert!(fault.contains("timeout") && fault.contains("400ms"), "{fault}");
}

#[tokio::test]
async fn a_timeout_goes_to_the_next_upstream() {
    let slow = Upstream::answering(Answer::raw("").then_stall()).await;
    let live = Upstream::answering(Answer::hello()).await;
    let both = route("\"slow\", \"live\"", "attempts = 1");
    let config =
        [slow.entry("slow", "first_byte_timeout = \"100ms\""), live.entry("live", ""), both].concat();
    let gateway = Gateway::start(&config).await;
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
}

#[tokio::test]
async fn a_failing_upstream_without_an_alternative_is_asked_at_a_bounded_rate() {
    let upstream = Upstream::answering(error(503)).await;
    let breaker = "breaker = { failures = 2, open_for = \"1h\" }";
    let gateway =
        Gateway::start(&[upstream.entry("up", breaker), route("\"up\"", "attempts = 1")].concat()).await;
    for _ in 0..2 {
        assert_eq!(gateway.ask(&Request::chat(HELLO)).await.json()["error"]["message"], "e503");
    }
    let opened = Instant::now();
    let hello = Request::chat(HELLO);
    let asked = (0..40).map(|_| gateway.ask(&hello));
    let answers = futures_util::future::join_all(asked).await;
    let most = 1 + opened.elapsed().as_millis() / 250;
    let (passed, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.json()["error"]["message"] == "e503");
    assert!(passed.len() as u128 <= most && !refused.is_empty(), "{} of 40, at most {most}", passed.len());
    for answer in &refused {
        assert_refused(answer, 503, "upstream_failed");
        assert_eq!(answer.get("retry-after"), Some("1"));
    }
    assert_eq!(upstream.received().len(), 2 + passed.len(), "what is refused is not asked");
    assert_eq!(gateway.metric("hookway_upstream_breaker_state", &[("upstream", "up")]).await, 2.0);
}

#[tokio::test]
async fn a_failing_upstream_that_answers_again_is_soon_open_to_all() {
    let upstream = Upstream::in_turn(vec![error(503), error(502), Answer::hello()]).await;
    let breaker = "breaker = { failures = 2, open_for = \"1h\" }";
    let gateway =
        Gateway::start(&[upstream.entry("up", breaker), route("\"up\"", "attempts = 1")].concat()).await;
    for _ in 0..2 {
        assert!(gateway.ask(&Request::chat(HELLO)).await.status() >= 502);
    }
    within("an attempt of last resort", async {
        while gateway.ask(&Request::chat(HELLO)).await.status() != 200 {}
    })
    .await;
    for _ in 0..5 {
        assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
    }
    assert_eq!(gateway.metric("hookway_upstream_breaker_state", &[("upstream", "up")]).await, 0.0);
}

#[tokio::test]
async fn a_failing_model_leaves_the_others_of_its_upstream_alone() {
    for status in [500, 503] {
        let upstream = Upstream::scripted(move |request| {
            let is_bad = request.text().contains("bad");
            if is_bad { error(status) } else { Answer::json(200, r#"{"object":"list","data":[]}"#) }
        })
        .await;
        let breaker = "breaker = { failures = 2, open_for = \"1h\" }";
        let gateway =
            Gateway::start(&[upstream.entry("up", breaker), route("\"up\"", "attempts = 1")].concat()).await;
        for _ in 0..5 {
            let answer = gateway.ask(&Request::chat(HELLO.replace("\"m\"", "\"bad\""))).await;
            assert!(answer.status() == status, "{answer:?}");
        }
        for request in [Request::chat(HELLO), Request::get("/v1/files"), Request::get("/v1/models")] {
            assert_eq!(gateway.ask(&request).await.status(), 200, "{request:?} beside {status}s");
        }
    }
}

#[tokio::test]
async fn plain_500s_never_open_a_breaker() {
    let upstream = Upstream::answering(error(500)).await;
    let live = Upstream::answering(Answer::hello()).await;
    let config = [
        upstream.entry("up", "breaker = { failures = 1, open_for = \"1h\" }"),
        live.entry("live", ""),
        route("\"up\", \"live\"", "attempts = 1"),
    ];
    let gateway = Gateway::start(&config.concat()).await;
    for _ in 0..3 {
        assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
    }
    assert_eq!(upstream.received().len(), 3);
}

#[tokio::test]
async fn an_upstream_left_in_peace_is_passed_over_at_once() {
    let failing = Upstream::answering(error(503)).await;
    let live = Upstream::answering(Answer::hello()).await;
    let config = [
        failing.entry("failing", "breaker = { failures = 1, open_for = \"1h\" }"),
        live.entry("live", ""),
        route("\"failing\", \"live\"", "attempts = 1"),
    ];
    let gateway = Gateway::start(&config.concat()).await;
    for _ in 0..3 {
        assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
    }
    assert_eq!((failing.received().len(), live.received().len()), (1, 3));
}

#[tokio::test]
async fn answers_that_break_off_open_the_breaker_as_failed_attempts_do() {
    let half = Answer::head(200, &[("content-length", "99")]).send("half").then_reset();
    let failing = Upstream::answering(half).await;
    let live = Upstream::answering(Answer::hello()).await;
    let config = [
        failing.entry("failing", "breaker = { failures = 2, open_for = \"1h\" }"),
        live.entry("live", ""),
        route("\"failing\", \"live\"", "attempts = 1"),
    ];
    let gateway = Gateway::start(&config.concat()).await;
    for _ in 0..2 {
        let mut client = gateway.connect().await;
        client.send(Request::chat(HELLO).bytes()).await;
        let head = client.head().await;
        assert!(client.body(&head).await.is_err());
    }
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
    assert_eq!((failing.received().len(), live.received().len()), (2, 1));
}

#[tokio::test]
async fn a_list_of_models_that_succeeds_closes_the_breaker_for_all_without_a_model() {
    let upstream = Upstream::scripted(|request| match request.number {
        0 => error(503),
        _ => Answer::json(200, r#"{"object":"list","data":[]}"#),
    })
    .await;
    let gateway =
        Gateway::start(&upstream.entry("up", "breaker = { failures = 1, open_for = \"1h\" }")).await;
    assert_eq!(gateway.ask(&Request::get("/v1/files")).await.status(), 503);
    within("an attempt of last resort", async {
        while gateway.ask(&Request::get("/v1/models")).await.status() != 200 {}
    })
    .await;
    // The attempt is settled when its answer ended at the gateway, which may be after the client read it.
    within("a closed breaker", async {
        while gateway.ask(&Request::get("/v1/files")).await.status() != 200 {}
    })
    .await;
    for _ in 0..3 {
        assert_eq!(gateway.ask(&Request::get("/v1/files")).await.status(), 200);
    }
}

#[tokio::test]
async fn a_slow_client_fails_no_upstream() {
    let upstream = Upstream::answering(Answer::json(200, "{}")).await;
    let gateway = Gateway::start(&upstream.entry("up", "first_byte_timeout = \"100ms\"")).await;
    let mut client = gateway.connect().await;
    client.send(Request::new("POST", "/v1/files").field("content-length", "10").head_bytes()).await;
    client.send("begin").await;
    let early = tokio::time::timeout(Duration::from_millis(400), client.try_head()).await;
    assert!(early.is_err(), "the upstream does not owe an answer yet: {early:?}");
    client.send("-ends").await;
    assert_eq!(client.answer().await.status(), 200);
    assert_eq!(upstream.only().text(), "begin-ends");
}

#[tokio::test]
async fn a_large_body_may_take_longer_than_the_longest_pause() {
    const BODY: usize = 32 << 20;
    let mut upstream = Upstream::by_hand().await;
    let config = [upstream.entry("up", "chunk_timeout = \"1s\""), route("\"up\"", "attempts = 1")].concat();
    let gateway = Gateway::start(&config).await;
    let body = format!(r#"{{"model":"m","x":"{}"}}"#, "y".repeat(BODY));
    let length = body.len();
    let mut client = gateway.connect().await;
    let asking = tokio::spawn(async move { client.ask(&Request::chat(body)).await });
    let mut call = upstream.call().await;
    let mut left = length;
    while left > 0 {
        // The upstream is slow, and always takes something.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let part = left.min(256 << 10);
        call.wire.exactly(part).await.expect("the upload goes on");
        left -= part;
    }
    call.answer(Answer::json(200, "{}")).await;
    assert_eq!(asking.await.unwrap().status(), 200);
}

#[tokio::test]
async fn what_is_passed_through_is_asked_for_once() {
    let upstream = Upstream::answering(error(500)).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let answer = gateway.ask(&Request::post("/v1/files", "{}")).await;
    assert_eq!((answer.status(), answer.get("x-should-retry")), (500, None));
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn a_request_is_cut_off_at_the_upstream_when_its_time_is_over() {
    let mut upstream = Upstream::by_hand().await;
    let config =
        [upstream.entry("up", "first_byte_timeout = \"100ms\""), route("\"up\"", "attempts = 1")].concat();
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.connect().await;
    client.send(Request::chat(HELLO).bytes()).await;
    let mut call = upstream.call().await;
    call.body().await;
    assert_refused(&client.answer().await, 504, "upstream_failed");
    assert!(matches!(call.ended().await, End::Closed | End::Broken));
}
