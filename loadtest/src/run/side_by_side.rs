//! One scenario: starts its upstream and peers, measures them round by round, and ends them.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::Form;
use super::change::{Done, Subject, carry_out};
use super::outcome::{Outcome, PeerOutcome};
use super::phase::{Phase, Processes, Round};
use crate::load::Plan;
use crate::load::expect::Expected;
use crate::load::pace::{Arrivals, Pace};
use crate::load::request::{Wanted, render};
use crate::measure::cores::Layout;
use crate::measure::process::Memory;
use crate::measure::socket;
use crate::peer::{self, Process, Running, Setting};
use crate::scenario::{Change, Scenario};

/// Before each measurement, at the same load: connections open, caches and branch predictors fill.
const WARM_UP_SHARE: f64 = 0.2;
const WARM_UP_MAX: Duration = Duration::from_millis(500);
/// Of raw socket round trips in each round.
const SOCKET_TIME: Duration = Duration::from_millis(200);
/// Open-loop runs are bounded in requests, too: no scenario comes near it.
const REQUESTS_MAX: u64 = 50_000_000;

pub(super) struct SideBySide<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) form: Form,
    pub(super) layout: &'a Layout,
    pub(super) gateway: &'a Path,
    /// For configs and logs of this scenario.
    pub(super) folder: &'a Path,
}

/// A running peer and what was measured of it so far.
struct Side {
    running: Running,
    outcome: PeerOutcome,
}

impl SideBySide<'_> {
    pub(super) fn run(&self, rounds: Option<usize>, threads: usize) -> anyhow::Result<Outcome> {
        let start = Instant::now();
        let length = match self.form {
            Form::Short => self.scenario.short,
            Form::Long => self.scenario.long,
        };
        let length = length.context("the scenario is not part of this form")?;
        if self.folder.exists() {
            std::fs::remove_dir_all(self.folder)?;
        }
        std::fs::create_dir_all(self.folder)?;
        let (upstream, address) =
            peer::start_upstream(&self.scenario.answer, &self.layout.load, self.folder)?;
        let setting = Setting {
            upstream: address,
            threads,
            cores: &self.layout.peers,
            gateway: self.gateway,
            folder: self.folder,
        };
        let (mut sides, left_out) = self.start_peers(&setting)?;
        let (mut socket, mut paced_socket) = (Vec::new(), Vec::new());
        let pace = self.scenario.open.map(|open| Duration::from_secs_f64(1.0 / open.per_second));
        let duration = Duration::from_secs_f64(length.seconds);
        for _ in 0..rounds.unwrap_or(length.rounds) {
            if let Some(bytes) = self.scenario.socket_bytes {
                let on = &self.layout.peers;
                socket.push(socket::round_trips(bytes, SOCKET_TIME, None, on)?);
                paced_socket.push(socket::round_trips(bytes, SOCKET_TIME, pace, on)?);
            }
            for side in &mut sides {
                self.measure(side, &upstream, duration)
                    .with_context(|| format!("measuring {}", side.running.name))?;
            }
        }
        let peers = sides.into_iter().map(Side::end).collect::<Result<_, _>>()?;
        upstream.stop()?;
        let scenario = self.scenario.clone();
        Ok(Outcome { scenario, peers, socket, paced_socket, left_out, took: start.elapsed() })
    }

    fn start_peers(&self, setting: &Setting<'_>) -> anyhow::Result<(Vec<Side>, Vec<String>)> {
        let (mut sides, mut left_out) = (Vec::new(), Vec::new());
        for peer in &self.scenario.peers {
            let Some(running) =
                peer::start(peer, setting).with_context(|| format!("starting {}", peer.name))?
            else {
                ensure!(self.scenario.optional, "{} is not installed", peer.name);
                left_out.push(peer.name.clone());
                continue;
            };
            let idle = memory(&running)?;
            let outcome = PeerOutcome {
                name: peer.name.clone(),
                plugins: peer.plugins.iter().map(|plugins| plugins.count).sum(),
                idle,
                loaded: None,
                rounds: Vec::new(),
                change: None,
                notes: Vec::new(),
            };
            sides.push(Side { running, outcome });
        }
        ensure!(!sides.is_empty() || !left_out.is_empty(), "no peer to measure");
        Ok((sides, left_out))
    }

    fn measure(&self, side: &mut Side, upstream: &Process, duration: Duration) -> anyhow::Result<()> {
        let wanted = Wanted {
            body_bytes: self.scenario.request.body_bytes,
            stream: self.scenario.request.stream,
            script: None,
        };
        let request = render(&wanted);
        let processes = Processes {
            peer: side.running.process.as_ref().map(Process::id),
            upstream: upstream.id(),
            children_are_plugins: side.running.gateway.is_some(),
        };
        let mut round = Round::default();
        if let Some(open) = self.scenario.open {
            let arrivals = Arrivals::Open { per_second: open.per_second };
            let pace = Pace { arrivals, duration, requests_max: REQUESTS_MAX };
            let plan = self.plan(side, &request, pace, open.connections_max);
            round.open = Some(match self.scenario.change {
                Some(change) => {
                    let (phase, done) = under_change(&plan, processes, change, &side.running)?;
                    side.note_change(done)?;
                    phase
                }
                None => Phase::measure(&plan, processes)?,
            });
        }
        if let Some(closed) = self.scenario.closed {
            let pace = Pace { arrivals: Arrivals::Closed, duration, requests_max: closed.requests_max };
            let plan = self.plan(side, &request, pace, closed.connections);
            round.closed = Some(Phase::measure(&plan, processes)?);
        }
        side.outcome.loaded = memory(&side.running)?;
        round.memory_mib = side.outcome.loaded.map(|memory| memory.own_pss_kib as f64 / 1024.0);
        side.outcome.rounds.push(round);
        Ok(())
    }

    fn plan<'p>(&self, side: &Side, request: &'p [u8], pace: Pace, connections_max: usize) -> Plan<'p> {
        // Under change every moment counts, and the timeline shows which one it was.
        let warm_up = match self.scenario.change {
            Some(_) => Duration::ZERO,
            None => pace.duration.mul_f64(WARM_UP_SHARE).min(WARM_UP_MAX),
        };
        Plan {
            target: side.running.address,
            request,
            expected: Expected::of(&self.scenario.script()),
            pace: Pace { duration: pace.duration + warm_up, ..pace },
            warm_up,
            connections_max,
            timeout: Duration::from_millis(self.scenario.timeout_ms),
            slot: self.scenario.change.map(|change| change.slot()),
        }
    }
}

/// None for `direct`. Workers of a proxy are the proxy.
fn memory(running: &Running) -> anyhow::Result<Option<Memory>> {
    let Some(process) = &running.process else { return Ok(None) };
    let memory = Memory::read(process.id())?;
    Ok(Some(if running.gateway.is_some() { memory } else { memory.as_one() }))
}

/// Measures while a thread beside changes the gateway.
fn under_change(
    plan: &Plan<'_>,
    processes: Processes,
    change: Change,
    running: &Running,
) -> anyhow::Result<(Phase, Done)> {
    let subject = running.gateway.as_ref().zip(processes.peer).map(|(gateway, pid)| Subject { pid, gateway });
    let (end, over) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let changing = scope.spawn(move || carry_out(change, subject, plan.pace.duration, &over));
        let phase = Phase::measure(plan, processes);
        drop(end);
        let done = changing
            .join()
            .map_err(|_| anyhow::anyhow!("the thread that changes the gateway panicked"))??;
        Ok((phase?, done))
    })
}

impl Side {
    fn note_change(&mut self, done: Done) -> anyhow::Result<()> {
        if let Some(gateway) = &self.running.gateway {
            let generation = gateway.generation()?;
            self.outcome
                .notes
                .push(format!("{} {}, the gateway is at generation {generation}", done.times, done.what));
        }
        self.outcome.change = Some(done);
        Ok(())
    }

    fn end(self) -> anyhow::Result<PeerOutcome> {
        if let Some(process) = self.running.process {
            process.stop()?;
        }
        Ok(self.outcome)
    }
}
