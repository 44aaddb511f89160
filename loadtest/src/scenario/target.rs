//! What a scenario promises: one figure of one peer, alone or against another's, and the most it may be.

use anyhow::ensure;
use serde::Deserialize;

/// `(peer - less) / (over - over_less) <= at_most`; the parts left out are left out of the sum.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) metric: Metric,
    pub(crate) peer: String,
    pub(crate) less: Option<String>,
    /// A peer, or for the raw round trip measured in the same rounds `socket` or `paced-socket`.
    pub(crate) over: Option<String>,
    pub(crate) over_less: Option<String>,
    pub(crate) at_most: f64,
}

/// The figures of a peer in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// CPU of proxy and plugins per request, µs, at saturation.
    Cpu,
    /// The same at the constant rate.
    CpuAtRate,
    /// CPU of proxy and plugins per event of a stream, µs, at the constant rate.
    CpuPerEvent,
    /// Latency at the constant rate, µs.
    P50,
    P99,
    /// Time to the first byte of the body at the constant rate, µs.
    FirstByteP50,
    /// Memory of the proxy itself after its load, MiB (PSS).
    Memory,
    /// How much that memory has grown since the peer's first round, MiB.
    MemoryGrowth,
}

/// Raw round trips one after the other.
pub(crate) const SOCKET: &str = "socket";
/// Raw round trips at the scenario's rate: between two of them cores go to sleep, as they do between two requests.
pub(crate) const PACED_SOCKET: &str = "paced-socket";

impl Target {
    pub(crate) fn check(&self, peers: &[&str], has_socket: bool) -> anyhow::Result<()> {
        let named = [Some(&self.peer), self.less.as_ref(), self.over_less.as_ref()];
        for name in named.into_iter().flatten() {
            ensure!(peers.contains(&name.as_str()), "target \"{}\" names the unknown peer {name}", self.what);
        }
        match self.over.as_deref() {
            Some(SOCKET | PACED_SOCKET) => {
                ensure!(has_socket, "target \"{}\" needs socket_bytes", self.what);
                ensure!(self.metric == Metric::P50, "the socket is measured as p50 only");
            }
            Some(name) => {
                ensure!(peers.contains(&name), "target \"{}\" names the unknown peer {name}", self.what);
            }
            None => {}
        }
        Ok(())
    }
}
