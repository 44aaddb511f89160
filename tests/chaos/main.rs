//! Plugins, chain, reload and shutdown of the real program, with real plugin processes that do what they must not.
//!
//! Needs the programs of the whole workspace: `cargo build --workspace` puts them beside the gateway.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../harness/mod.rs"]
mod harness;

mod config_file;
mod dying;
mod errors;
mod failing;
mod order;
mod plugins;
mod processes;
mod reload;
mod shipped;
mod shutdown;
mod storm;
mod thousand;
mod verdicts;
