//! Measures what is around a request: CPU, memory, cores, and the socket below a hook.

pub(crate) mod cores;
pub(crate) mod process;
pub(crate) mod socket;
