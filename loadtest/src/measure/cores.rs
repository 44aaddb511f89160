//! Which cores the proxies get and which the load: apart, if the machine allows.
//!
//! Peers under test run on the first cores, one per worker thread; generator and upstream share the others, so
//! that neither takes time from what is measured.

use std::fmt;
use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Pinning {
    /// Peers on the first cores, load and upstream on the others.
    Split,
    /// The scheduler decides.
    None,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Empty: everywhere.
    pub(crate) peers: Vec<usize>,
    pub(crate) load: Vec<usize>,
}

impl Layout {
    pub(crate) fn choose(pinning: Pinning, threads: usize) -> io::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
        Ok(Self::of(pinning, threads, &cores))
    }

    fn of(pinning: Pinning, threads: usize, cores: &[usize]) -> Self {
        let for_peers = threads.min(cores.len().saturating_sub(1));
        if pinning == Pinning::None || for_peers == 0 {
            return Self { peers: Vec::new(), load: Vec::new() };
        }
        let (peers, load) = cores.split_at(for_peers);
        Self { peers: peers.to_vec(), load: load.to_vec() }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.peers.is_empty() {
            return f.write_str("not pinned");
        }
        write!(f, "peers on core {:?}, generator and upstream on {:?}", self.peers, self.load)
    }
}

/// Keeps the calling thread, and what it starts from now on, on these cores; nowhere in particular if empty.
pub(crate) fn stay_on(cores: &[usize]) -> io::Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    cores.iter().for_each(|&core| set.set(core));
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_and_load_never_share_a_core_when_split() {
        for (threads, cores, peers, load) in
            [(1, 2, vec![0], vec![1]), (2, 2, vec![0], vec![1]), (2, 4, vec![0, 1], vec![2, 3])]
        {
            let all: Vec<usize> = (0..cores).collect();
            assert_eq!(Layout::of(Pinning::Split, threads, &all), Layout { peers, load });
        }
    }

    #[test]
    fn one_core_or_no_pinning_leaves_it_to_the_scheduler() {
        let nowhere = Layout { peers: vec![], load: vec![] };
        assert_eq!(Layout::of(Pinning::Split, 1, &[0]), nowhere);
        assert_eq!(Layout::of(Pinning::None, 1, &[0, 1, 2, 3]), nowhere);
    }
}
