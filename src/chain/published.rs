//! The generation that new requests get, behind one atomic pointer.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::generation::Generation;

/// A request's hold on its generation, from its first hook to its last byte.
///
/// A full reference count and not a guard: a streamed answer lives for minutes.
pub type Lease<H> = Arc<Generation<H>>;

/// Where generations are published. Leasing never waits, publishing never waits for a request.
pub struct Published<H>(ArcSwap<Generation<H>>);

impl<H> Published<H> {
    pub fn new(first: Generation<H>) -> Self {
        Self(ArcSwap::from_pointee(first))
    }

    pub fn lease(&self) -> Lease<H> {
        self.0.load_full()
    }

    /// Requests that come from now on get `next`; returns the one they got until now.
    pub fn publish(&self, next: Generation<H>) -> Lease<H> {
        self.0.swap(Arc::new(next))
    }
}
