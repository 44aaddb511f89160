//! The real gateway between scripted upstreams and clients that say exactly what they mean.
//!
//! A [`Gateway`] is the program itself with a folder and ports of its own. An [`Upstream`] answers as its
//! [`Answer`]s say, or is played by hand, call by call, and keeps every byte it received. A [`Wire`] speaks
//! HTTP/1.1 in plain bytes. Nothing here sleeps: a test waits for what it wants to see, and no wait is longer
//! than [`PATIENCE`].
//!
//! Used by several test programs: `#[path = "../harness/mod.rs"] mod harness;`.

#![allow(dead_code, unused_imports, unreachable_pub, reason = "no test program uses all of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answer;
mod gateway;
mod log;
mod request;
mod upstream;
mod wire;

use std::time::Duration;

pub use answer::{Answer, event, events};
pub use gateway::{Gateway, Plan, TOKEN};
pub use log::Log;
pub use request::{HELLO, Request, STREAM};
pub use upstream::{Call, Received, Upstream};
pub use wire::{End, Head, Message, Wire};

/// The longest wait for anything. Far beyond what is ever needed, so that a busy machine fails no test.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What `future` brings, or a panic that says what did not come.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not come within {PATIENCE:?}"),
    }
}
