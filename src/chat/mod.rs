//! OpenAI's dialect: peeking into bodies, SSE events, error bodies, answers rendered as SSE.
//!
//! Bytes in, facts or bytes out. Nothing here waits, opens a socket or knows of routes and hooks.

pub mod answer;
pub mod models;
pub mod peek;
pub mod pointers;
pub mod sse;
pub mod usage;

pub use peek::{Peek, PeekError, peek};
pub use pointers::Pointers;
pub use usage::Usage;
