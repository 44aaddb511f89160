//! A plugin alive: its process, its link, its supervisor.

pub mod launch;
mod watched;
