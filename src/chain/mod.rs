//! The published chain: generations, and running a hook over a generation's members.
//!
//! A request leases one [`Generation`] and asks its members through [`on_request`] and [`on_error`]. Which
//! process answers, and what becomes of the answer, is decided elsewhere.

mod ask;
#[cfg(test)]
mod differential;
mod draft;
mod fold;
mod generation;
mod on_error;
mod on_request;
mod published;
mod rewrite;
mod splice;
#[cfg(test)]
mod tests;

pub use ask::Facts;
pub use draft::Draft;
pub use generation::{Generation, Member, MemberHook, sort};
pub use on_error::{ErrorRuling, on_error};
pub use on_request::{Answer, AnswerBody, Ruling, on_request};
pub use published::{Lease, Published};
