//! Assembly: what is built in which order, and how it ends.

use std::path::PathBuf;

use crate::config::Config;

/// What `hookway serve` was asked to do.
#[derive(Debug)]
pub struct Options {
    pub config: Config,
    /// The file `config` was read from, to read again on a reload; None for the built-in config.
    pub config_path: Option<PathBuf>,
    /// Take the listening sockets over from a running gateway.
    pub upgrade: bool,
}

/// Runs the gateway until it is told to stop.
pub fn serve(_options: Options) -> anyhow::Result<()> {
    anyhow::bail!("this build has no data plane")
}
