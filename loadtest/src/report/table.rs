//! The tables of a scenario, as text: latency, cost, failures and targets.

use std::fmt::Write;

use crate::load::tally::{Times, micros_at};
use crate::run::outcome::{Outcome, PeerOutcome, medians};
use crate::run::phase::Phase;
use crate::scenario::PeerKind;
use crate::scenario::target::{Metric, PACED_SOCKET, SOCKET};
use crate::stats::{Spread, ratio};

const NOTHING: &str = "–";

pub(crate) fn scenario(outcome: &Outcome) -> anyhow::Result<String> {
    let scenario = &outcome.scenario;
    let rounds = outcome.peers.iter().map(|peer| peer.rounds.len()).max().unwrap_or(0);
    let mut text = format!(
        "\n## {}: {}\n   {rounds} round(s), {:.0} s. Medians over rounds; ± half the spread between rounds.\n",
        scenario.name,
        scenario.about,
        outcome.took.as_secs_f64()
    );
    if let Some(open) = scenario.open {
        write!(text, "\nLatency at {} requests/s, µs from when each was due\n", open.per_second)?;
        text.push_str(&latency(outcome)?);
    }
    text.push_str("\nCost, µs of CPU (proxy + plugins)\n");
    text.push_str(&cost(outcome)?);
    remarks(outcome, &mut text)?;
    targets(outcome, &mut text)?;
    Ok(text)
}

fn latency(outcome: &Outcome) -> anyhow::Result<String> {
    let head = ["peer", "p50", "added p50", "p90", "p99", "p99.9", "max", "first byte p50", "sent late p99"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let direct = of_kind(outcome, PeerKind::Direct).map(|peer| peer.figures(Metric::P50));
    for peer in &outcome.peers {
        let merged = peer.merged()?;
        let at = |times: &Times, quantile| micros(micros_at(times, quantile));
        let own = peer.figures(Metric::P50);
        let added = crate::stats::difference(&own, direct.as_deref());
        let added =
            added.filter(|_| direct.is_some()).map_or(NOTHING.to_owned(), |added| micros(added.median));
        rows.push(vec![
            peer.name.clone(),
            with_spread(peer.spread(Metric::P50)),
            added,
            at(&merged.latency, 0.9),
            at(&merged.latency, 0.99),
            at(&merged.latency, 0.999),
            at(&merged.latency, 1.0),
            with_spread(peer.spread(Metric::FirstByteP50)),
            at(&merged.lag, 0.99),
        ]);
    }
    Ok(aligned(&rows))
}

fn cost(outcome: &Outcome) -> anyhow::Result<String> {
    let head = [
        "peer",
        "at rate",
        "saturated",
        "× bare",
        "per event",
        "× bare",
        "requests/s",
        "generator",
        "upstream",
        "PSS MiB idle → after",
        "plugins MiB",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let bare = of_kind(outcome, PeerKind::Bare);
    let times_bare = |peer: &PeerOutcome, metric| {
        let ratio = ratio(&peer.figures(metric), None, &bare?.figures(metric), None)?;
        Some(format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.min, ratio.max))
    };
    for peer in &outcome.peers {
        let busiest = |time: fn(&Phase) -> std::time::Duration| {
            let shares = peer.open().chain(peer.closed()).map(|phase| phase.share(time(phase)));
            format!("{:.0} %", shares.fold(0.0, f64::max) * 100.0)
        };
        let memory = peer.idle.zip(peer.loaded);
        let mib = |kib: u64| kib as f64 / 1024.0;
        rows.push(vec![
            peer.name.clone(),
            parts(peer.open(), peer.spread(Metric::CpuAtRate)),
            parts(peer.closed(), peer.spread(Metric::Cpu)),
            times_bare(peer, Metric::Cpu).unwrap_or_else(|| NOTHING.to_owned()),
            with_spread(peer.spread(Metric::CpuPerEvent)),
            times_bare(peer, Metric::CpuPerEvent).unwrap_or_else(|| NOTHING.to_owned()),
            Spread::of(&peer.closed().map(|phase| phase.tally.per_second()).collect::<Vec<_>>())
                .map_or(NOTHING.to_owned(), |rate| format!("{:.0}", rate.median)),
            busiest(|phase| phase.generator),
            busiest(|phase| phase.upstream),
            memory.map_or(NOTHING.to_owned(), |(idle, after)| {
                format!("{:.1} → {:.1}", mib(idle.own_pss_kib), mib(after.own_pss_kib))
            }),
            memory.map_or(NOTHING.to_owned(), |(_, after)| format!("{:.1}", mib(after.children_pss_kib))),
        ]);
    }
    Ok(aligned(&rows))
}

/// "41.0 ±2 % (33.1 + 7.9)": the sum, and what of it is proxy and what plugins.
fn parts<'a>(phases: impl Iterator<Item = &'a Phase>, sum: Option<Spread>) -> String {
    let (proxy, plugins): (Vec<f64>, Vec<f64>) = phases.map(Phase::cpu_per_request).unzip();
    let median = |values: &[f64]| Spread::of(values).map_or(0.0, |spread| spread.median);
    match median(&plugins) {
        0.0 => with_spread(sum),
        in_plugins => format!("{} ({} + {})", with_spread(sum), micros(median(&proxy)), micros(in_plugins)),
    }
}

fn remarks(outcome: &Outcome, text: &mut String) -> std::fmt::Result {
    if let Some(bytes) = outcome.scenario.socket_bytes {
        writeln!(
            text,
            "Raw Unix-socket round trip with {bytes} bytes, p50: {} µs one after the other, {} µs at the rate above",
            with_spread(Spread::of(&medians(&outcome.socket))),
            with_spread(Spread::of(&medians(&outcome.paced_socket)))
        )?;
    }
    for name in &outcome.left_out {
        writeln!(text, "{name} is not installed and was left out.")?;
    }
    for peer in &outcome.peers {
        for note in &peer.notes {
            writeln!(text, "{}: {note}", peer.name)?;
        }
        let failures = peer.failures(&outcome.scenario.explanations);
        for failed in &failures {
            let why = failed.why.unwrap_or("NO REASON GIVEN: this fails the run");
            writeln!(text, "{}: {} × {} – {why}", peer.name, failed.count, failed.failure)?;
        }
    }
    let failed = outcome.peers.iter().flat_map(|peer| peer.open().chain(peer.closed()));
    let (good, failed) =
        failed.fold((0, 0), |(good, failed), phase| (good + phase.tally.good, failed + phase.tally.failed()));
    writeln!(text, "{good} answers checked and good, {failed} failed.")
}

fn targets(outcome: &Outcome, text: &mut String) -> std::fmt::Result {
    for judged in outcome.judge() {
        let target = judged.target;
        let verdict = match judged.is_held() {
            Some(true) => "held",
            Some(false) => "MISSED",
            None => "not measured",
        };
        let over = match target.over.as_deref() {
            None => String::new(),
            Some(SOCKET) => " × the raw socket".to_owned(),
            Some(PACED_SOCKET) => " × the raw socket at the same rate".to_owned(),
            Some(peer) => format!(" × {peer}"),
        };
        let measured = judged.measured.map_or(NOTHING.to_owned(), |spread| {
            format!("{:.2} ({:.2}–{:.2})", spread.median, spread.min, spread.max)
        });
        writeln!(text, "{verdict:>12}: {}: {measured}{over}, at most {}", target.what, target.at_most)?;
    }
    Ok(())
}

fn of_kind(outcome: &Outcome, kind: PeerKind) -> Option<&PeerOutcome> {
    let peer = outcome.scenario.peers.iter().find(|peer| peer.kind == kind)?;
    outcome.peer(&peer.name)
}

fn with_spread(spread: Option<Spread>) -> String {
    spread.map_or(NOTHING.to_owned(), |spread| {
        format!("{} ±{:.0} %", micros(spread.median), spread.relative() * 100.0)
    })
}

/// Three digits that mean something.
fn micros(value: f64) -> String {
    if value.abs() < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// Columns as wide as their widest cell; the first to the left, figures to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let used = |column: usize| {
        column == 0 || rows.iter().skip(1).any(|row| row.get(column).is_some_and(|cell| cell != NOTHING))
    };
    let mut text = String::new();
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate().filter(|(column, _)| used(*column)) {
            let padding = " ".repeat(widths[column] - cell.chars().count());
            match column {
                0 => line.extend(["  ", cell, &padding]),
                _ => line.extend(["   ", &padding, cell]),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let rows = [["peer", "p50", "events"], ["bare", "93.0", NOTHING], ["hookway", "7", NOTHING]];
        let rows: Vec<Vec<String>> = rows.map(|row| row.map(str::to_owned).to_vec()).to_vec();
        assert_eq!(aligned(&rows), "  peer       p50\n  bare      93.0\n  hookway      7\n");
    }

    #[test]
    fn figures_have_the_digits_that_mean_something() {
        assert_eq!((micros(12.345), micros(1234.5)), ("12.3".into(), "1234".into()));
        let spread = Spread { median: 50.0, min: 45.0, max: 55.0 };
        assert_eq!(with_spread(Some(spread)), "50.0 ±10 %");
    }
}
