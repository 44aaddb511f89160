//! `hookway plugin`: what authors do with a folder, and what operators do with a running gateway's plugins.

mod check;
mod effect;
mod follow;
mod granting;
mod new;
mod remote;
mod run;
mod settings;
mod stage;
mod tables;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::Here;
use super::say::Reader;

#[derive(Args, Debug)]
pub(super) struct Plugin {
    #[command(subcommand)]
    command: Command,
    /// Answer in JSON, errors too.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a folder with a plugin that works, to be changed into your own.
    New(new::New),
    /// Start the plugin in a folder as the gateway would, and end it; needs no gateway.
    Check {
        /// The plugin's folder.
        dir: PathBuf,
        #[command(flatten)]
        config: stage::ConfigArg,
    },
    /// Ask the plugin in a folder about one request and tell what comes of it; needs no gateway.
    Run(run::Run),
    #[command(flatten)]
    Remote(remote::Remote),
}

pub(super) fn run(plugin: Plugin, here: &Here) -> ExitCode {
    let reader = Reader::of(plugin.json);
    reader.end(match plugin.command {
        Command::New(new) => new.run(reader),
        Command::Check { dir, config } => check::run(&dir, config, here, reader),
        Command::Run(run) => run.run(here, reader),
        Command::Remote(remote) => remote.run(here, reader),
    })
}
