//! The generator against the scripted upstream, over real sockets.

use super::expect::ExpectedBody;
use super::failure::Progress;
use super::pace::Arrivals;
use super::request::{Wanted, render};
use super::*;
use crate::upstream;

const MS: Duration = Duration::from_millis(1);

/// Sends `requests` to an upstream that follows `script`, by which the answers are expected to be good.
fn run_against(script: &str, requests: u64, change: impl FnOnce(&mut Plan<'_>)) -> Tally {
    let request = render(&Wanted { body_bytes: 1024, stream: false, script: Some(script) });
    let mut plan = Plan {
        target: upstream::serve_in_background(),
        request: &request,
        expected: Expected::of(&script.parse().unwrap()),
        pace: Pace { arrivals: Arrivals::Closed, duration: 60_000 * MS, requests_max: requests },
        warm_up: Duration::ZERO,
        connections_max: 4,
        timeout: 30_000 * MS,
        slot: None,
    };
    change(&mut plan);
    run(&plan, &mut |_| {}).unwrap()
}

fn failures(tally: &Tally) -> Vec<(Failure, u64)> {
    tally.failures.clone().into_iter().collect()
}

#[test]
fn every_answer_is_read_whole_and_counted() {
    for script in ["body=1024", "body=600000", "status=429,body=10", "delay=1ms,body=10"] {
        let tally = run_against(script, 50, |_| {});
        assert_eq!((tally.good, failures(&tally)), (50, vec![]), "{script}");
        assert_eq!(tally.latency.len(), 50);
    }
}

#[test]
fn a_streams_events_are_counted_and_its_first_byte_comes_before_its_last() {
    let tally = run_against("events=5,gap=5ms", 8, |_| {});
    assert_eq!((tally.good, tally.events, failures(&tally)), (8, 40, vec![]));
    assert!(tally.first_byte.max() < 20_000_000, "the first event has no gap before it");
    assert!(tally.latency.min() >= 19_900_000, "four gaps of 5 ms lie before the last one");
}

#[test]
fn a_large_request_goes_out_whole() {
    let request = render(&Wanted { body_bytes: 3_000_000, stream: false, script: None });
    let tally = run_against("body=1024", 5, |plan| {
        plan.target = upstream::serve_in_background();
        assert!(request.len() > 3_000_000);
    });
    assert_eq!(tally.good, 5);
}

#[test]
fn each_way_to_break_an_answer_is_told_apart() {
    for (script, failure) in [
        ("events=5,truncate=700", Failure::Closed { after: Progress::Body }),
        ("body=1024,reset=0", Failure::Closed { after: Progress::Nothing }),
        ("body=1024,truncate=20", Failure::Closed { after: Progress::Head }),
        ("body=1024,stall=500", Failure::Timeout { after: Progress::Body }),
    ] {
        let tally = run_against(script, 3, |plan| plan.timeout = 100 * MS);
        assert_eq!((tally.good, failures(&tally)), (0, vec![(failure, 3)]), "{script}");
    }
}

#[test]
fn another_status_or_length_than_expected_is_a_failure() {
    let tally = run_against("status=500,body=200", 3, |plan| plan.expected.status = 200);
    assert_eq!(
        failures(&tally),
        [(Failure::Status { status: 500, cause: None, plugin: None, code: None }, 3)]
    );
    let tally = run_against("body=1024", 3, |plan| plan.expected.body = ExpectedBody::Length(1023));
    assert_eq!(failures(&tally), [(Failure::Length { got: 1024, want: 1023 }, 3)]);
}

#[test]
fn a_closed_door_is_a_failure_and_not_an_end() {
    let tally = run_against("", 3, |plan| {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        plan.target = free.local_addr().unwrap();
    });
    assert_eq!((tally.good, tally.failed()), (0, 3));
}

#[test]
fn open_arrivals_go_on_while_answers_are_slow() {
    let tally = run_against("delay=50ms,body=10", u64::MAX, |plan| {
        plan.pace.arrivals = Arrivals::Open { per_second: 200.0 };
        plan.pace.duration = 200 * MS;
        plan.connections_max = 64;
    });
    assert_eq!((tally.good, failures(&tally)), (40, vec![]));
    assert!(tally.lag.value_at_quantile(0.5) < 20_000_000, "requests did not wait for answers");
}

#[test]
fn a_request_that_waits_for_a_connection_pays_for_the_wait() {
    let tally = run_against("delay=20ms,body=10", u64::MAX, |plan| {
        plan.pace.arrivals = Arrivals::Open { per_second: 100.0 };
        plan.pace.duration = 100 * MS;
        plan.connections_max = 1;
    });
    assert_eq!(tally.good, 10);
    assert!(tally.latency.max() >= 100_000_000, "the last of ten waits for nine before it");
}

#[test]
fn warm_up_requests_are_not_timed_and_the_edges_are_told_in_order() {
    let request = render(&Wanted { body_bytes: 1024, stream: false, script: None });
    let plan = Plan {
        target: upstream::serve_in_background(),
        request: &request,
        expected: Expected { status: 200, body: ExpectedBody::Length(1024) },
        pace: Pace {
            arrivals: Arrivals::Open { per_second: 1000.0 },
            duration: 100 * MS,
            requests_max: u64::MAX,
        },
        warm_up: 40 * MS,
        connections_max: 8,
        timeout: 5_000 * MS,
        slot: Some(10 * MS),
    };
    let mut edges = Vec::new();
    let tally = run(&plan, &mut |edge| edges.push(edge)).unwrap();
    assert_eq!(edges, [Edge::Start, Edge::End]);
    assert_eq!((tally.good, tally.window), (60, 60 * MS));
    let counted: u64 = tally.timeline.unwrap().slots.iter().map(|slot| slot.latency.len()).sum();
    assert_eq!(counted, 60);
}
