//! A plugin alive: its process, its link, its supervisor.

mod breaker;
pub mod launch;
mod link;
mod logs;
mod supervisor;
mod watched;
