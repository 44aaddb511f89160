//! Stands in for the crates.io package of this name, whose build script calls CMake.
//!
//! Pingora asks flate2 for zlib-ng, for a compression module that Hookway does not use. The plain zlib of
//! `libz-sys` has the same functions and builds with the C compiler alone, so a fresh machine needs no CMake.

pub use libz_sys::*;
