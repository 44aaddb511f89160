//! The data plane of the real program, from clients that say exactly what they mean to upstreams that do as they
//! are told.

#[path = "../harness/mod.rs"]
mod harness;

mod bodies;
