//! What a scenario's rounds came to: figures per peer, failures with their reasons, targets held or missed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::change::Done;
use super::phase::{Phase, Round};
use crate::load::failure::Failure;
use crate::load::tally::{Tally, Times, micros_at};
use crate::measure::process::Memory;
use crate::scenario::target::{Metric, PACED_SOCKET, SOCKET, Target};
use crate::scenario::{Explanation, Scenario};
use crate::stats::{Spread, difference, ratio};

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) scenario: Scenario,
    pub(crate) peers: Vec<PeerOutcome>,
    /// Raw round trips of the Unix socket, per round.
    pub(crate) socket: Vec<Times>,
    /// The same at the scenario's rate.
    pub(crate) paced_socket: Vec<Times>,
    /// Peers that are not installed here.
    pub(crate) left_out: Vec<String>,
    pub(crate) took: Duration,
}

#[derive(Debug)]
pub(crate) struct PeerOutcome {
    pub(crate) name: String,
    /// In its chain.
    pub(crate) plugins: usize,
    pub(crate) idle: Option<Memory>,
    pub(crate) loaded: Option<Memory>,
    pub(crate) rounds: Vec<Round>,
    pub(crate) change: Option<Done>,
    /// What the gateway itself says happened, for example how many generations it published.
    pub(crate) notes: Vec<String>,
}

/// Failures of one kind, with the reason the scenario gives for them, if it does.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failed<'a> {
    pub(crate) failure: &'a Failure,
    pub(crate) count: u64,
    pub(crate) why: Option<&'a str>,
}

/// A target beside what was measured. None if a peer it names was left out.
#[derive(Debug)]
pub(crate) struct Judged<'a> {
    pub(crate) target: &'a Target,
    pub(crate) measured: Option<Spread>,
}

impl Judged<'_> {
    pub(crate) fn is_held(&self) -> Option<bool> {
        Some(self.measured?.median <= self.target.at_most)
    }
}

impl PeerOutcome {
    /// One figure in every round; empty where it is not measured.
    pub(crate) fn figures(&self, metric: Metric) -> Vec<f64> {
        if metric == Metric::MemoryGrowth {
            let memory: Vec<f64> = self.rounds.iter().filter_map(|round| round.memory_mib).collect();
            let growth = memory.first().zip(memory.last()).map(|(first, last)| last - first);
            return growth.into_iter().collect();
        }
        self.rounds.iter().filter_map(|round| round.figure(metric)).collect()
    }

    pub(crate) fn spread(&self, metric: Metric) -> Option<Spread> {
        Spread::of(&self.figures(metric))
    }

    pub(crate) fn open(&self) -> impl Iterator<Item = &Phase> {
        self.rounds.iter().filter_map(|round| round.open.as_ref())
    }

    pub(crate) fn closed(&self) -> impl Iterator<Item = &Phase> {
        self.rounds.iter().filter_map(|round| round.closed.as_ref())
    }

    /// All rounds of the open loop as one, for the far percentiles.
    pub(crate) fn merged(&self) -> anyhow::Result<Tally> {
        let mut merged = Tally::new(None);
        self.open().try_for_each(|phase| merged.merge(&phase.tally))?;
        Ok(merged)
    }

    pub(crate) fn failures<'a>(&'a self, explanations: &'a [Explanation]) -> Vec<Failed<'a>> {
        let mut counts: BTreeMap<&Failure, u64> = BTreeMap::new();
        for phase in self.open().chain(self.closed()) {
            for (failure, count) in &phase.tally.failures {
                *counts.entry(failure).or_default() += count;
            }
        }
        let explain = |failure: &Failure| {
            explanations.iter().find(|explanation| explanation.covers(failure)).map(|found| &*found.why)
        };
        let with_reason = |(failure, count)| Failed { failure, count, why: explain(failure) };
        counts.into_iter().map(with_reason).collect()
    }
}

/// Of raw round trips, per round, in microseconds.
pub(crate) fn medians(socket: &[Times]) -> Vec<f64> {
    socket.iter().map(|times| micros_at(times, 0.5)).collect()
}

impl Outcome {
    pub(crate) fn peer(&self, name: &str) -> Option<&PeerOutcome> {
        self.peers.iter().find(|peer| peer.name == name)
    }

    /// Failures nobody has a reason for: each fails the run.
    pub(crate) fn unexplained(&self) -> u64 {
        let failures = self.peers.iter().flat_map(|peer| peer.failures(&self.scenario.explanations));
        failures.filter(|failed| failed.why.is_none()).map(|failed| failed.count).sum()
    }

    pub(crate) fn judge(&self) -> Vec<Judged<'_>> {
        self.scenario
            .targets
            .iter()
            .map(|target| Judged { target, measured: self.measured(target) })
            .collect()
    }

    fn measured(&self, target: &Target) -> Option<Spread> {
        let figures = |name: &str| Some(self.peer(name)?.figures(target.metric));
        let optional =
            |name: &Option<String>| name.as_deref().map(figures).map_or(Some(None), |found| found.map(Some));
        let peer = figures(&target.peer)?;
        let less = optional(&target.less)?;
        match target.over.as_deref() {
            None => difference(&peer, less.as_deref()),
            Some(SOCKET) => ratio(&peer, less.as_deref(), &medians(&self.socket), None),
            Some(PACED_SOCKET) => ratio(&peer, less.as_deref(), &medians(&self.paced_socket), None),
            Some(over) => {
                let over_less = optional(&target.over_less)?;
                ratio(&peer, less.as_deref(), &figures(over)?, over_less.as_deref())
            }
        }
    }
}
