//! The least a plugin in Rust can do: it is asked, and lets every request pass as it is.
//!
//! What a run measures with it is the cost of asking. Its `stamp` is only there to be changed by a reload.

use hookway_plugin::{Error, Plugin, serve};
use serde::Deserialize;

#[derive(Deserialize)]
struct Probe {
    #[serde(default, rename = "stamp")]
    _stamp: u64,
}

impl Plugin for Probe {
    type Config = Self;

    fn configure(config: Self) -> Result<Self, Error> {
        Ok(config)
    }
}

fn main() -> std::process::ExitCode {
    serve::<Probe>()
}
