//! Plugins installed, ordered, configured, upgraded and removed by the admin API of the real program, while it serves.
//!
//! Needs the programs of the whole workspace: `cargo build --workspace` puts them beside the gateway.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../chaos/plugins.rs"]
#[expect(dead_code, reason = "no test program uses all of it")]
mod plugins;
#[path = "../chaos/processes.rs"]
#[expect(dead_code, reason = "no test program uses all of it")]
mod processes;

mod api;
mod bad;
mod crowd;
mod database;
mod editing;
mod ending;
mod folders;
mod grants;
mod kept;
mod killed;
mod leaving;
mod logs;
mod operators;
mod story;
