//! Hookway: an OpenAI-compatible gateway whose requests pass a live chain of plugins, each in its own process.
//!
//! `ARCHITECTURE.md` has the map. Modules are listed lowest floor first, with a blank line between
//! floors; each imports only from floors below it.

pub mod descriptors;
pub mod document;
mod files;
mod hash;
pub mod hook;
pub mod limits;
pub mod text;
pub mod tls;

pub mod fault;
pub mod http1;
pub mod room;

pub mod chat;
pub mod config;
pub mod metrics;
pub mod package;
pub mod token;

pub mod logging;
pub mod panics;
pub mod plugin;
pub mod route;
pub mod store;
pub mod upstream;

pub mod record;

pub mod chain;

pub mod relay;

pub mod edge;
pub mod lifecycle;

pub mod admin;

pub mod app;

pub mod cli;
