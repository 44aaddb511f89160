//! What a manifest asks for that this version does not do: told wherever a plugin is checked, installed, activated
//! or listed, for whoever reads the manifest takes it for true.

use std::time::Duration;

use super::{Exec, Manifest, Network};
use crate::document::{Section, Value};
use crate::hook::{Cause, HookName, HookSpec, Policy};

impl Manifest {
    /// One sentence each, with the key it is about. `chain_budget` is what all hooks of a request have together.
    pub fn notices(&self, chain_budget: Duration) -> Vec<String> {
        let hooks = self.hooks.values().flat_map(|hook| of_hook(hook, chain_budget));
        hooks.chain(self.of_limits()).chain(self.of_permissions()).collect()
    }

    fn of_limits(&self) -> impl Iterator<Item = String> {
        let memory =
            self.limits.memory_mb.map(|_| "limits.memoryMb: not enforced by this version".to_owned());
        let instances = (self.limits.instances > 1)
            .then(|| "limits.instances: not enforced by this version, which runs one process".to_owned());
        memory.into_iter().chain(instances)
    }

    /// What is asked for is what a plugin may do at most, and this version lets it do more.
    fn of_permissions(&self) -> impl Iterator<Item = String> {
        let asked = &self.permissions;
        let keys = [
            ("fs", !asked.fs.read.is_empty() || !asked.fs.write.is_empty()),
            ("network", asked.network != Network::None),
            ("exec", asked.exec != Exec::None),
        ];
        let named = keys.into_iter().filter(|(_, is_named)| *is_named);
        named.map(|(key, _)| {
            format!("permissions.{key}: not enforced by this version; the plugin may do what the gateway's user may")
        })
    }
}

fn of_hook(hook: &HookSpec, chain_budget: Duration) -> Vec<String> {
    let name = hook.name;
    if !name.is_used() {
        return vec![format!("hooks.{name}: not called by this version")];
    }
    let mut notices = Vec::new();
    if hook.timeout > chain_budget {
        notices.push(format!(
            "hooks.{name}.timeoutMs: {} ms is more than all hooks of a request have together; [plugins] chain_budget = \
             \"{}ms\" holds",
            hook.timeout.as_millis(),
            chain_budget.as_millis()
        ));
    }
    if hook.idempotent {
        notices.push(format!("hooks.{name}.idempotent: not used by this version, which repeats no call"));
    }
    notices
}

/// A filter of answers that fails closed must not be left out in silence: a manifest that declares one in full is
/// refused. `true`, as OmniRoute's manifests have it, promises nothing; that such a hook is not called is a notice.
pub(super) fn refuse_filters_not_called(root: &mut Section<'_, '_>, manifest: &Manifest) {
    let Some(node) = root.node("hooks") else { return };
    for name in manifest.hooks.values().filter(|hook| guards_answers(hook)).map(|hook| hook.name) {
        let declared = node.nearest(&format!("/{name}"));
        if !matches!(declared.value, Value::Table(_)) {
            continue;
        }
        let text = format!(
            "{name} is not called by this version and fails closed: answers would pass a filter that is not asked; \
             write \"onFailure\": \"open\" if the plugin may run without it, or leave the hook out"
        );
        root.problem_at(declared, &format!("/hooks/{name}"), text);
    }
}

fn guards_answers(hook: &HookSpec) -> bool {
    let is_filter = match hook.name {
        HookName::OnResponse | HookName::OnStreamEvent => !hook.name.is_used(),
        HookName::OnRequest
        | HookName::OnError
        | HookName::OnComplete
        | HookName::OnInstall
        | HookName::OnActivate
        | HookName::OnDeactivate
        | HookName::OnUninstall
        | HookName::OnConfigChange => false,
    };
    is_filter && Cause::ALL.iter().any(|cause| hook.on_failure.policy(*cause) == Policy::Closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_version_does_not_do_is_told_by_its_key() {
        let manifest = Manifest::parse(
            r#"{ "name": "p", "version": "1.0.0", "main": "p.py",
                 "hooks": { "onRequest": { "timeoutMs": 2000, "idempotent": true }, "onError": true,
                            "onResponse": true, "onComplete": true, "onConfigChange": true },
                 "limits": { "memoryMb": 64, "maxInFlight": 2, "instances": 3 },
                 "permissions": { "env": ["TZ"], "fs": { "read": ["/etc"] }, "network": "any", "exec": ["git"] } }"#,
        )
        .unwrap();
        let user = "not enforced by this version; the plugin may do what the gateway's user may";
        assert_eq!(
            manifest.notices(Duration::from_secs(1)),
            [
                "hooks.onRequest.timeoutMs: 2000 ms is more than all hooks of a request have together; [plugins] \
                 chain_budget = \"1000ms\" holds",
                "hooks.onRequest.idempotent: not used by this version, which repeats no call",
                "hooks.onResponse: not called by this version",
                "hooks.onComplete: not called by this version",
                "limits.memoryMb: not enforced by this version",
                "limits.instances: not enforced by this version, which runs one process",
                &format!("permissions.fs: {user}"),
                &format!("permissions.network: {user}"),
                &format!("permissions.exec: {user}"),
            ]
        );
    }

    #[test]
    fn a_manifest_that_asks_for_what_there_is_gives_no_notice() {
        let manifest = r#"{ "name": "p", "version": "1.0.0", "main": "p.py", "hooks": { "onRequest": true },
            "limits": { "maxInFlight": 2, "instances": 1 }, "permissions": { "env": ["TZ"], "network": "none" } }"#;
        assert_eq!(Manifest::parse(manifest).unwrap().notices(Duration::from_secs(1)), [""; 0]);
    }
}
