//! Runs the scenarios: peers side by side, round by round, and a report at the end.
//!
//! Every round goes through all peers before the next one starts (A B A B …), so that a machine that gets slower
//! gets slower for all of them. A failed request that the scenario has no reason for fails the run.

mod change;
pub(crate) mod outcome;
pub(crate) mod phase;
mod side_by_side;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail, ensure};

use crate::measure::cores::{self, Layout, Pinning};
use crate::report;
use crate::scenario::{PeerKind, Scenario};
use side_by_side::SideBySide;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Everything in about three minutes (the default).
    #[arg(long, conflicts_with = "long")]
    short: bool,
    /// More and longer rounds, and the scenarios that need them: about an hour.
    #[arg(long)]
    long: bool,
    /// Only these, by name.
    #[arg(long)]
    scenario: Vec<String>,
    /// Only these peers of each scenario, by name.
    #[arg(long)]
    peer: Vec<String>,
    /// Rounds of each scenario, instead of what it says.
    #[arg(long)]
    rounds: Option<usize>,
    #[arg(long, default_value = "loadtest/scenarios")]
    scenarios: PathBuf,
    /// For the tables, the JSON and the plots. What is in it stays, unless it has the same name.
    #[arg(long, default_value = "target/loadtest")]
    out: PathBuf,
    /// The gateway's program; by default the one beside this program.
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Worker threads of every peer.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[arg(long, value_enum, default_value_t = Pinning::Split)]
    pin: Pinning,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Short,
    Long,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    ensure!(!cfg!(debug_assertions), "this is a debug build, which measures nothing; build with --release");
    let form = if arguments.long { Form::Long } else { Form::Short };
    let scenarios = chosen(arguments, form)?;
    let layout = Layout::choose(arguments.pin, arguments.threads)?;
    let gateway = gateway(arguments, &scenarios)?;
    std::fs::create_dir_all(&arguments.out)?;
    let out = arguments.out.canonicalize()?;
    cores::stay_on(&layout.load)?;
    let machine = report::machine::Machine::read(&layout, arguments.threads)?;
    println!("{machine}");

    let start = Instant::now();
    let mut outcomes = Vec::new();
    for scenario in &scenarios {
        let folder = out.join("run").join(&scenario.name);
        let side_by_side = SideBySide { scenario, form, layout: &layout, gateway: &gateway, folder: &folder };
        let outcome = side_by_side
            .run(arguments.rounds, arguments.threads)
            .with_context(|| format!("in scenario {}", scenario.name))?;
        print!("{}", report::table::scenario(&outcome)?);
        outcomes.push(outcome);
    }
    report::write(&outcomes, &machine, &out)?;
    println!(
        "\n{:.0} s in all; JSON and plots in {}",
        start.elapsed().as_secs_f64(),
        arguments.out.display()
    );
    let unexplained: u64 = outcomes.iter().map(outcome::Outcome::unexplained).sum();
    ensure!(unexplained == 0, "{unexplained} requests failed without a reason; see above");
    Ok(())
}

fn chosen(arguments: &Arguments, form: Form) -> anyhow::Result<Vec<Scenario>> {
    let mut scenarios = Scenario::load_all(&arguments.scenarios)?;
    for name in &arguments.scenario {
        ensure!(scenarios.iter().any(|scenario| scenario.name == *name), "there is no scenario {name}");
    }
    scenarios.retain(|scenario| {
        let asked_for = arguments.scenario.is_empty() || arguments.scenario.contains(&scenario.name);
        let length = if form == Form::Long { scenario.long } else { scenario.short };
        asked_for && length.is_some()
    });
    for scenario in &mut scenarios {
        scenario.peers.retain(|peer| arguments.peer.is_empty() || arguments.peer.contains(&peer.name));
    }
    scenarios.retain(|scenario| !scenario.peers.is_empty());
    ensure!(!scenarios.is_empty(), "no scenario of this form has these names and peers");
    Ok(scenarios)
}

fn gateway(arguments: &Arguments, scenarios: &[Scenario]) -> anyhow::Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("hookway");
    let gateway = arguments.gateway.clone().unwrap_or(beside);
    let needed =
        scenarios.iter().flat_map(|scenario| &scenario.peers).any(|peer| peer.kind == PeerKind::Hookway);
    if needed && !gateway.is_file() {
        bail!(
            "there is no gateway at {}; build it with --release or name it with --gateway",
            gateway.display()
        );
    }
    Ok(gateway)
}
