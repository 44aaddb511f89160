//! One attempt at one upstream, and the health of each.
