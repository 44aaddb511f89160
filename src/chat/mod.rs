//! OpenAI's dialect: the strict reading of bodies, SSE events, error bodies, answers rendered as SSE.
//!
//! Bytes in, facts or bytes out. Nothing here waits, opens a socket or knows of routes and hooks.

pub mod answer;
#[cfg(test)]
pub(crate) mod generated;
pub mod models;
mod peek;
pub mod pointers;
mod refusal;
mod shape;
pub mod sse;
mod strict;
mod text;
pub mod usage;

pub use peek::{check, peek};
pub use pointers::Pointers;
pub use refusal::{Refusal, What};
pub use strict::Peek;
pub use usage::Usage;
