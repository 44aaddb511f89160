//! One measurement of one peer: a load, and what it cost everybody while it lasted.

use std::time::Duration;

use anyhow::Context;

use crate::load::tally::{Tally, micros_at};
use crate::load::{self, Edge, Plan};
use crate::measure::process::{CpuReading, CpuUsed};
use crate::scenario::target::Metric;

/// The processes a phase takes the CPU time of. The generator's is this one.
#[derive(Clone, Copy)]
pub(crate) struct Processes {
    pub(crate) peer: Option<u32>,
    pub(crate) upstream: u32,
    /// The children of the peer are plugins, and not workers that do the peer's own work.
    pub(crate) children_are_plugins: bool,
}

#[derive(Debug)]
pub(crate) struct Phase {
    pub(crate) tally: Tally,
    pub(crate) proxy: Duration,
    pub(crate) plugins: Duration,
    pub(crate) upstream: Duration,
    pub(crate) generator: Duration,
}

impl Phase {
    pub(crate) fn measure(plan: &Plan<'_>, processes: Processes) -> anyhow::Result<Self> {
        let (mut before, mut after) = (None, None);
        let tally = load::run(plan, &mut |edge| {
            let reading = Reading::take(processes);
            match edge {
                Edge::Start => before = Some(reading),
                Edge::End => after = Some(reading),
            }
        })?;
        let before = before.context("the load ended before it began to count")??;
        let after = after.context("the load did not tell its end")??;
        let peer = after.peer.since(&before.peer);
        let (proxy, plugins) = split(peer, processes.children_are_plugins);
        let upstream = after.upstream.since(&before.upstream).own;
        let generator = after.generator.since(&before.generator).own;
        Ok(Self { tally, proxy, plugins, upstream, generator })
    }

    /// CPU of the proxy and of its plugins per good answer, in microseconds.
    pub(crate) fn cpu_per_request(&self) -> (f64, f64) {
        let per = |time: Duration| time.as_secs_f64() * 1e6 / (self.tally.good as f64).max(1.0);
        (per(self.proxy), per(self.plugins))
    }

    pub(crate) fn cpu_per_event(&self) -> Option<f64> {
        let events = self.tally.events;
        (events > 0).then(|| (self.proxy + self.plugins).as_secs_f64() * 1e6 / events as f64)
    }

    /// The share of one core.
    pub(crate) fn share(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.tally.window.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

fn split(used: CpuUsed, children_are_plugins: bool) -> (Duration, Duration) {
    if children_are_plugins { (used.own, used.children) } else { (used.own + used.children, Duration::ZERO) }
}

struct Reading {
    peer: CpuReading,
    upstream: CpuReading,
    generator: CpuReading,
}

impl Reading {
    fn take(processes: Processes) -> std::io::Result<Self> {
        Ok(Self {
            peer: processes.peer.map_or_else(|| Ok(CpuReading::default()), CpuReading::take)?,
            upstream: CpuReading::take_alone(processes.upstream)?,
            generator: CpuReading::take_alone(std::process::id())?,
        })
    }
}

/// What a peer was measured at in one round.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) open: Option<Phase>,
    pub(crate) closed: Option<Phase>,
    /// Of the proxy itself, after its load.
    pub(crate) memory_mib: Option<f64>,
}

impl Round {
    /// None where the scenario does not measure it.
    pub(crate) fn figure(&self, metric: Metric) -> Option<f64> {
        let total = |phase: &Phase| {
            let (proxy, plugins) = phase.cpu_per_request();
            proxy + plugins
        };
        match metric {
            Metric::Cpu => self.closed.as_ref().map(total),
            Metric::CpuAtRate => self.open.as_ref().map(total),
            Metric::CpuPerEvent => self.open.as_ref().and_then(Phase::cpu_per_event),
            Metric::P50 => self.open.as_ref().map(|phase| micros_at(&phase.tally.latency, 0.5)),
            Metric::P99 => self.open.as_ref().map(|phase| micros_at(&phase.tally.latency, 0.99)),
            Metric::FirstByteP50 => self.open.as_ref().map(|phase| micros_at(&phase.tally.first_byte, 0.5)),
            Metric::Memory => self.memory_mib,
            Metric::MemoryGrowth => None,
        }
    }
}
