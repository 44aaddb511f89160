//! One immutable state of the gateway: configuration, routes, upstreams and the hooks in their order.

use std::sync::Arc;
use std::time::SystemTime;

use super::fold::malformed;
use crate::chat::Pointers;
use crate::chat::pointers::BadPointer;
use crate::config::Config;
use crate::hook::{BodyNeed, Endpoint, HookFailure, HookName, HookSpec, RouteChange};
use crate::metrics::HookMetrics;
use crate::route::Routes;
use crate::upstream::Upstream;

/// Everything a request needs, frozen. Requests share it; a reload builds the next one beside it.
pub struct Generation<H> {
    /// Counts from 1, over the life of the process.
    pub number: u64,
    pub config: Arc<Config>,
    pub routes: Routes,
    /// In the order of the configuration, which routes index.
    pub upstreams: Vec<Upstream>,
    /// In chain order: lower priority first, ties by name.
    pub members: Vec<Member<H>>,
    pub since: SystemTime,
}

/// A plugin's place in the chain.
pub struct Member<H> {
    pub name: Arc<str>,
    pub version: Arc<str>,
    /// Lower runs earlier; ties go by name.
    pub priority: i64,
    pub hooks: Vec<MemberHook>,
    pub hook: Arc<H>,
}

/// One hook of a member, with what its calls need made ready.
pub struct MemberHook {
    pub spec: HookSpec,
    pub metrics: HookMetrics,
    /// Compiled from the spec's `pointers`; empty without.
    pub(super) pointers: Pointers,
}

impl MemberHook {
    pub fn new(spec: HookSpec, metrics: HookMetrics) -> Result<Self, BadPointer> {
        let pointers = match &spec.body {
            BodyNeed::Pointers(pointers) => Pointers::new(pointers)?,
            BodyNeed::None | BodyNeed::Full => Pointers::default(),
        };
        Ok(Self { spec, metrics, pointers })
    }
}

impl<H> Member<H> {
    pub fn hook(&self, name: HookName) -> Option<&MemberHook> {
        self.hooks.iter().find(|hook| hook.spec.name == name)
    }
}

impl<H> Generation<H> {
    /// Whether any member asked for this hook on this endpoint.
    pub fn has_hook(&self, name: HookName, endpoint: Endpoint) -> bool {
        self.members
            .iter()
            .filter_map(|member| member.hook(name))
            .any(|hook| hook.spec.when.endpoints.contains(&endpoint))
    }

    /// A verdict may send a request only where the configuration has an upstream.
    pub(super) fn check_route(&self, route: Option<&RouteChange>) -> Result<(), HookFailure> {
        match route.and_then(|route| route.upstream.as_deref()) {
            Some(name) if self.upstream(name).is_none() => Err(malformed(&format!(
                "it names the upstream '{name}', which the configuration does not have"
            ))),
            _ => Ok(()),
        }
    }

    /// Whether the same plugins stand in the same order.
    pub fn has_the_chain_of(&self, other: &Self) -> bool {
        let same = |one: &Member<H>, other: &Member<H>| {
            Arc::ptr_eq(&one.hook, &other.hook) && one.priority == other.priority
        };
        self.members.len() == other.members.len()
            && self.members.iter().zip(&other.members).all(|(one, other)| same(one, other))
    }

    pub fn upstream(&self, name: &str) -> Option<usize> {
        self.upstreams.iter().position(|upstream| **upstream.name() == *name)
    }
}

/// Puts members into chain order.
pub fn sort<H>(members: &mut [Member<H>]) {
    members.sort_by(|a, b| a.priority.cmp(&b.priority).then_with(|| a.name.cmp(&b.name)));
}
