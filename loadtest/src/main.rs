//! Load tests of the gateway: a scripted upstream, a bare proxy to compare with, and the runs themselves.

mod bare;
mod chunked;
mod launch;
mod load;
mod measure;
mod peer;
mod poller;
mod report;
mod run;
mod scenario;
mod stats;
mod upstream;

use clap::Parser;

#[derive(Parser)]
#[command(name = "hookway-loadtest", about = "Measures the gateway beside its peers, in one run")]
enum Command {
    /// Measure the peers of the scenarios side by side.
    Run(run::Arguments),
    /// Serve the scripted upstream.
    Upstream(upstream::Arguments),
    /// Serve the bare proxy everything is compared with.
    Bare(bare::Arguments),
    /// The far end of the raw socket that is timed; a socket is its standard input.
    #[command(hide = true)]
    Echo(measure::socket::EchoArguments),
    /// Become another program that stays on these cores and ends with its parent.
    #[command(hide = true)]
    OnCores(launch::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Run(arguments) => run::run(&arguments),
        Command::Upstream(arguments) => upstream::run(arguments),
        Command::Bare(arguments) => bare::run(&arguments),
        Command::Echo(arguments) => measure::socket::echo(&arguments),
        Command::OnCores(arguments) => launch::run(&arguments),
    }
}
