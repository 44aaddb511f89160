//! A plugin alive: its process, its link, its supervisor.

pub mod launch;
mod link;
mod logs;
mod watched;
