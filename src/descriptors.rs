//! File descriptors: how many this process may open, and how close to the last one is.

use std::os::fd::RawFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many descriptors may be open from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    pub from: Option<u64>,
    pub to: Option<u64>,
}

/// Raises the soft limit to the hard one. `None` stands for no limit.
pub fn raise_limit() -> Raised {
    let Rlimit { current: from, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    Raised { from, to: if raised.is_ok() { maximum } else { from } }
}

/// Whether `fd` is one of the last `count` that may be open. The kernel gives the lowest that is free, so fewer
/// than `count` are left then.
pub fn is_in_last(fd: RawFd, count: u64) -> bool {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return false };
    u64::try_from(fd).is_ok_and(|fd| fd + count.min(limit / 4) >= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_descriptors_are_told_from_the_others() {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
        assert!(!is_in_last(5, 64));
        assert!(is_in_last(RawFd::try_from(limit - 1).unwrap_or(RawFd::MAX), 64));
    }
}
