//! The least a plugin in Rust can do: it is asked, and lets every request pass as it is.
//!
//! What a run measures with it is the cost of asking. Its `stamp` is only there to be changed by a reload.

use hookway_plugin::{Call, Error, Hook, Plugin, Verdict, serve};
use serde::Deserialize;

#[derive(Deserialize)]
struct Probe {
    #[serde(default, rename = "stamp")]
    _stamp: u64,
}

impl Plugin for Probe {
    type Config = Self;
    const HOOKS: &[Hook] = &[Hook::OnRequest];

    fn configure(config: Self) -> Result<Self, Error> {
        Ok(config)
    }

    async fn on_request(&self, _: Call) -> Result<Verdict, Error> {
        Ok(Verdict::proceed())
    }
}

fn main() -> std::process::ExitCode {
    serve::<Probe>()
}
