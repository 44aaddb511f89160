//! Load tests of the gateway: a scripted upstream, a bare proxy to compare with, and the runs themselves.

mod bare;
mod chunked;
mod load;
mod poller;
mod upstream;

use clap::Parser;

#[derive(Parser)]
#[command(name = "hookway-loadtest", about = "Measures the gateway beside its peers, in one run")]
enum Command {
    /// Serve the scripted upstream.
    Upstream(upstream::Arguments),
    /// Serve the bare proxy everything is compared with.
    Bare(bare::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Upstream(arguments) => upstream::run(arguments),
        Command::Bare(arguments) => bare::run(&arguments),
    }
}
