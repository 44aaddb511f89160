//! Everything that was measured, for programs: per scenario, per peer, per round.

use serde_json::{Value, json};

use super::machine::Machine;
use crate::load::tally::{Tally, Times, micros_at};
use crate::run::outcome::{Outcome, PeerOutcome};
use crate::run::phase::{Phase, Round};

const QUANTILES: [f64; 8] = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 1.0];
/// Failures listed with their moment; all are counted.
const FAILURES_LISTED: usize = 500;

pub(super) fn results(outcomes: &[Outcome], machine: &Machine) -> anyhow::Result<Value> {
    let scenarios = outcomes.iter().map(scenario).collect::<anyhow::Result<Vec<Value>>>()?;
    Ok(
        json!({ "machine": machine, "unit": "microseconds unless the name says otherwise", "scenarios": scenarios }),
    )
}

fn scenario(outcome: &Outcome) -> anyhow::Result<Value> {
    let peers =
        outcome.peers.iter().map(|peer| self::peer(outcome, peer)).collect::<anyhow::Result<Vec<Value>>>()?;
    let targets: Vec<Value> = outcome
        .judge()
        .iter()
        .map(|judged| {
            json!({
                "what": judged.target.what,
                "at_most": judged.target.at_most,
                "measured": judged.measured,
                "held": judged.is_held(),
            })
        })
        .collect();
    let open = outcome.scenario.open.map(|open| open.per_second);
    Ok(json!({
        "name": outcome.scenario.name,
        "about": outcome.scenario.about,
        "open_per_second": open,
        "closed_connections": outcome.scenario.closed.map(|closed| closed.connections),
        "request_body_bytes": outcome.scenario.request.body_bytes,
        "answer": outcome.scenario.answer,
        "socket_bytes": outcome.scenario.socket_bytes,
        "socket_round_trip": outcome.socket.iter().map(quantiles).collect::<Vec<_>>(),
        "paced_socket_round_trip": outcome.paced_socket.iter().map(quantiles).collect::<Vec<_>>(),
        "peers": peers,
        "left_out": outcome.left_out,
        "targets": targets,
    }))
}

fn peer(outcome: &Outcome, peer: &PeerOutcome) -> anyhow::Result<Value> {
    let failures: Vec<Value> = peer
        .failures(&outcome.scenario.explanations)
        .iter()
        .map(|failed| {
            json!({
                "failure": failed.failure,
                "text": failed.failure.to_string(),
                "count": failed.count,
                "why": failed.why,
            })
        })
        .collect();
    let merged = peer.merged()?;
    Ok(json!({
        "name": peer.name,
        "plugins": peer.plugins,
        "memory_idle": peer.idle,
        "memory_after": peer.loaded,
        "latency": quantiles(&merged.latency),
        "first_byte": quantiles(&merged.first_byte),
        "failures": failures,
        "failed_at": failed_at(&merged),
        "notes": peer.notes,
        "rounds": peer.rounds.iter().map(round).collect::<Vec<_>>(),
    }))
}

fn failed_at(tally: &Tally) -> Vec<Value> {
    let listed = tally.failed_at.iter().take(FAILURES_LISTED);
    listed
        .map(|(at, failure)| json!({ "at_seconds": at.as_secs_f64(), "failure": failure.to_string() }))
        .collect()
}

fn round(round: &Round) -> Value {
    json!({
        "open": round.open.as_ref().map(phase),
        "closed": round.closed.as_ref().map(phase),
        "memory_mib": round.memory_mib,
    })
}

fn phase(phase: &Phase) -> Value {
    let (proxy, plugins) = phase.cpu_per_request();
    let timeline = phase.tally.timeline.as_ref().map(|timeline| {
        let slots = timeline.slots.iter().map(|slot| {
            json!({
                "requests": slot.latency.len(),
                "failed": slot.failed,
                "p50": micros_at(&slot.latency, 0.5),
                "p99": micros_at(&slot.latency, 0.99),
                "max": micros_at(&slot.latency, 1.0),
            })
        });
        json!({ "slot_seconds": timeline.slot.as_secs_f64(), "slots": slots.collect::<Vec<_>>() })
    });
    json!({
        "good": phase.tally.good,
        "failed": phase.tally.failed(),
        "per_second": phase.tally.per_second(),
        "cpu_proxy_per_request": proxy,
        "cpu_plugins_per_request": plugins,
        "cpu_per_event": phase.cpu_per_event(),
        "generator_core_share": phase.share(phase.generator),
        "upstream_core_share": phase.share(phase.upstream),
        "latency": quantiles(&phase.tally.latency),
        "first_byte": quantiles(&phase.tally.first_byte),
        "sent_late": quantiles(&phase.tally.lag),
        "timeline": timeline,
    })
}

fn quantiles(times: &Times) -> Value {
    let values = QUANTILES
        .iter()
        .map(|&quantile| (format!("p{}", quantile * 100.0), micros_at(times, quantile).into()));
    Value::Object(values.collect())
}
