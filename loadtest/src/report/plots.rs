//! Which charts a scenario is worth, and what they show.

use super::svg::{Axis, Bars, Chart, Line, Scale};
use crate::load::tally::{Times, micros_at};
use crate::run::outcome::{Outcome, PeerOutcome};
use crate::scenario::target::Metric;
use crate::scenario::{PeerKind, Plot};

/// Charts by file name.
pub(super) fn of(outcome: &Outcome) -> anyhow::Result<Vec<(String, Chart)>> {
    let name = &outcome.scenario.name;
    let named = |kind: &str, chart| (format!("{name}-{kind}"), chart);
    if outcome.peers.is_empty() {
        return Ok(Vec::new());
    }
    match outcome.scenario.plot {
        Plot::Percentiles if outcome.scenario.open.is_none() => Ok(Vec::new()),
        Plot::Percentiles => Ok(vec![named("percentiles", percentiles(outcome)?)]),
        Plot::Chain => Ok(vec![
            named("cpu", chain(outcome, Metric::Cpu, "CPU per request")),
            named("latency", chain(outcome, Metric::P50, "p50 latency")),
        ]),
        Plot::Timeline => Ok(vec![named("timeline", timeline(outcome))]),
    }
}

/// Latency against 1 / (1 - quantile), on two logarithms: every further nine takes the same room.
fn percentiles(outcome: &Outcome) -> anyhow::Result<Chart> {
    let mut lines = Vec::new();
    let mut nines = 1;
    for peer in &outcome.peers {
        let merged = peer.merged()?;
        nines = nines.max(meaningful_nines(&merged.latency));
        lines.push(Line { name: peer.name.clone(), points: curve(&merged.latency), dashed: false });
    }
    let tick = |nines: u32| {
        let label = if nines == 0 { "0 %".to_owned() } else { format!("{} %", percent(nines)) };
        (10f64.powi(nines as i32), label)
    };
    let mut ticks: Vec<(f64, String)> = (0..=nines).map(tick).collect();
    ticks.insert(1, (2.0, "50 %".to_owned()));
    let rate = outcome.scenario.open.map_or(0.0, |open| open.per_second);
    Ok(Chart {
        title: format!("{}: latency by percentile at {rate} requests/s", outcome.scenario.name),
        x: Axis { label: "share of requests that were faster".into(), scale: Scale::Log, ticks },
        y: axis("µs", Scale::Log),
        lines,
        spans: Vec::new(),
        bars: None,
    })
}

fn percent(nines: u32) -> String {
    match nines {
        1 => "90".to_owned(),
        2 => "99".to_owned(),
        more => format!("99.{}", "9".repeat(more as usize - 2)),
    }
}

/// A further nine needs ten times the requests: at least ten of them should lie beyond it.
fn meaningful_nines(times: &Times) -> u32 {
    (times.len() / 10).checked_ilog10().unwrap_or(0).clamp(1, 6)
}

fn curve(times: &Times) -> Vec<(f64, f64)> {
    let steps = meaningful_nines(times) * 20;
    let at = |step: u32| {
        let beyond = 10f64.powf(f64::from(step) / 20.0);
        (beyond, micros_at(times, 1.0 - 1.0 / beyond))
    };
    (0..=steps).map(at).filter(|point| point.1 > 0.0).collect()
}

/// One figure against the number of plugins, a line per kind of plugin. The gateway without any is the start of
/// every line, the bare proxy is a level to compare with.
fn chain(outcome: &Outcome, metric: Metric, label: &str) -> Chart {
    let figure = |peer: &PeerOutcome| peer.spread(metric).map(|spread| spread.median);
    let of_kind = |wanted: PeerKind| {
        outcome
            .scenario
            .peers
            .iter()
            .filter(move |peer| peer.kind == wanted)
            .filter_map(|peer| outcome.peer(&peer.name))
    };
    let most = outcome.peers.iter().map(|peer| peer.plugins).max().unwrap_or(0) as f64;
    let none = of_kind(PeerKind::Hookway).find(|peer| peer.plugins == 0).and_then(figure);
    let mut lines: Vec<Line> = Vec::new();
    for peer in of_kind(PeerKind::Hookway).filter(|peer| peer.plugins > 0) {
        let Some(value) = figure(peer) else { continue };
        let kind = peer.name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned();
        let point = (peer.plugins as f64, value);
        match lines.iter_mut().find(|line| line.name == kind) {
            Some(line) => line.points.push(point),
            None => {
                let start = none.map(|value| (0.0, value));
                lines.push(Line {
                    name: kind,
                    points: start.into_iter().chain([point]).collect(),
                    dashed: false,
                });
            }
        }
    }
    for peer in of_kind(PeerKind::Bare).chain(of_kind(PeerKind::Direct)) {
        let level = figure(peer).filter(|value| *value > 0.0);
        let points = level.map(|value| vec![(0.0, value), (most, value)]);
        lines.extend(points.map(|points| Line { name: peer.name.clone(), points, dashed: true }));
    }
    Chart {
        title: format!("{}: {label}", outcome.scenario.name),
        x: axis("plugins in the chain", Scale::Linear),
        y: axis("µs", Scale::Linear),
        lines,
        spans: Vec::new(),
        bars: None,
    }
}

/// Latency and failures over the time of the first round, with the time of the change in grey.
fn timeline(outcome: &Outcome) -> Chart {
    let mut lines = Vec::new();
    let mut spans = Vec::new();
    let mut bars = None;
    for peer in &outcome.peers {
        let timeline = peer.open().next().and_then(|phase| phase.tally.timeline.as_ref());
        let Some(timeline) = timeline else { continue };
        let moment = |index: usize| (index as f64 + 0.5) * timeline.slot.as_secs_f64();
        let slots = || timeline.slots.iter().enumerate().filter(|(_, slot)| !slot.latency.is_empty());
        for (word, quantile) in [("p50", 0.5), ("p90", 0.9), ("max", 1.0)] {
            let points = slots().map(|(index, slot)| (moment(index), micros_at(&slot.latency, quantile)));
            let name = format!("{} {word}", peer.name);
            lines.push(Line { name, points: points.collect(), dashed: word == "max" });
        }
        let most = timeline.slots.iter().map(|slot| slot.failed).max().unwrap_or(0);
        if most > 0 {
            bars = Some(Bars {
                name: format!("failed, at most {most}"),
                width: timeline.slot.as_secs_f64(),
                counts: slots().map(|(index, slot)| (moment(index), slot.failed as f64)).collect(),
            });
        }
        if let Some(change) = peer.change.as_ref().filter(|change| change.times > 0 && spans.is_empty()) {
            spans.push((change.from.as_secs_f64(), change.until.as_secs_f64(), change.what.to_owned()));
        }
    }
    Chart {
        title: format!("{}: {}", outcome.scenario.name, outcome.scenario.about),
        x: axis("seconds", Scale::Linear),
        y: axis("µs", Scale::Log),
        lines,
        spans,
        bars,
    }
}

fn axis(label: &str, scale: Scale) -> Axis {
    Axis { label: label.to_owned(), scale, ticks: Vec::new() }
}
