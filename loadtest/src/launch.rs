//! Becomes another program, kept on given cores, that ends when the run that started it does.
//!
//! Done in the child before its exec rather than by its parent, so that every thread of the program, its first
//! ones included, is where it should be, and none outlives a run that is killed.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::measure::cores;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A core it may run on; given again for each one, never for all.
    #[arg(long = "core")]
    cores: Vec<usize>,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    cores::stay_on(&arguments.cores).context("choosing the cores")?;
    set_parent_process_death_signal(Some(Signal::KILL)).context("tying its life to its parent's")?;
    let (program, arguments) = arguments.command.split_first().context("no program given")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}
