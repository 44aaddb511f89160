//! Request ids, and what tells callers and their keys apart.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};

use crate::hash::{fnv1a, mix};
use crate::hook::ClientId;

/// Makes request ids: unique over restarts by a random half, within a process by a counted half.
#[derive(Debug)]
pub struct RequestIds {
    process: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub fn new() -> Self {
        use std::hash::{BuildHasher, RandomState};
        // The standard library's hasher keys are the operating system's random bytes.
        Self { process: RandomState::new().hash_one(std::process::id()), next: AtomicU64::new(1) }
    }

    pub fn next(&self) -> String {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        let mut id = String::with_capacity(32);
        write!(id, "{:016x}{:016x}", self.process, mix(count)).expect("a string takes every write");
        id
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

/// Tells one caller's key from another's without telling the key: 12 hex digits of its SHA-256.
pub(super) fn key_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION).or_else(|| headers.get("x-api-key"))?.as_bytes();
    let key = value.strip_prefix(b"Bearer ").unwrap_or(value);
    let digest = Sha256::digest(key);
    let mut id = String::with_capacity(12);
    for byte in &digest[..6] {
        write!(id, "{byte:02x}").expect("a string takes every write");
    }
    Some(id)
}

/// By the address a client calls from: of IPv6 its /64, for a host has all of that. A key would not do, because the
/// gateway does not check keys, and a client can write another one into each request.
pub(super) fn client_id(peer: Option<SocketAddr>) -> ClientId {
    ClientId(match peer.map(|peer| peer.ip().to_canonical()) {
        Some(IpAddr::V4(address)) => fnv1a(&address.octets()),
        Some(IpAddr::V6(address)) => fnv1a(&address.octets()[..8]),
        None => 0,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_do_not_repeat() {
        let ids = RequestIds::new();
        let seen: HashSet<String> = (0..1000).map(|_| ids.next()).collect();
        assert_eq!(seen.len(), 1000);
        assert!(seen.iter().all(|id| id.len() == 32));
    }

    #[test]
    fn a_client_is_told_by_its_network() {
        let id = |address: &str| client_id(Some(address.parse().unwrap()));
        assert_eq!(id("192.0.2.1:1"), id("192.0.2.1:2"));
        assert_eq!(id("192.0.2.1:1"), id("[::ffff:192.0.2.1]:1"));
        assert_ne!(id("192.0.2.1:1"), id("192.0.2.2:1"));
        assert_eq!(id("[2001:db8::1]:1"), id("[2001:db8::2]:1"));
        assert_ne!(id("[2001:db8::1]:1"), id("[2001:db8:0:1::1]:1"));
    }

    #[test]
    fn a_key_id_is_the_same_for_the_same_key_and_tells_nothing_of_it() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, http::HeaderValue::from_static(value));
            key_id(&headers)
        };
        assert_eq!(with("Bearer sk-1"), with("Bearer sk-1"));
        assert_ne!(with("Bearer sk-1"), with("Bearer sk-2"));
        assert_eq!(key_id(&HeaderMap::new()), None);
    }
}
