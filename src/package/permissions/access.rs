//! What a hook is shown of requests, and what it may change in them. The gateway holds a plugin to it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::hook::{BodyNeed, HookName, HookSpec};

/// Of one hook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Access {
    /// Headers it sees, in lower case.
    pub headers: BTreeSet<String>,
    /// JSON pointers of what it sees of the body; `""` is all of it.
    pub body: BTreeSet<String>,
    /// JSON pointers of what it may change in the body.
    pub change: BTreeSet<String>,
    pub change_headers: bool,
    pub change_route: bool,
}

/// Of all hooks that are about requests. One that sees and changes nothing is left out.
pub(in crate::package) fn of_hooks(hooks: &BTreeMap<HookName, HookSpec>) -> BTreeMap<HookName, Access> {
    let access = hooks.iter().filter_map(|(name, spec)| Some((*name, Access::of(spec)?)));
    access.filter(|(_, access)| *access != Access::default()).collect()
}

impl Access {
    fn of(spec: &HookSpec) -> Option<Self> {
        let only_looks = match spec.name {
            HookName::OnRequest | HookName::OnResponse | HookName::OnStreamEvent | HookName::OnError => false,
            HookName::OnComplete => true,
            HookName::OnInstall
            | HookName::OnActivate
            | HookName::OnDeactivate
            | HookName::OnUninstall
            | HookName::OnConfigChange => return None,
        };
        let body = match &spec.body {
            BodyNeed::None => BTreeSet::new(),
            BodyNeed::Pointers(pointers) => pointers.iter().cloned().collect(),
            BodyNeed::Full => BTreeSet::from([String::new()]),
        };
        let sees = Self {
            headers: spec.headers.iter().map(|name| name.as_str().to_owned()).collect(),
            body,
            ..Self::default()
        };
        if only_looks {
            return Some(sees);
        }
        let change = spec.mutates.body.iter().cloned().collect();
        Some(Self { change, change_headers: spec.mutates.headers, change_route: spec.mutates.route, ..sees })
    }

    /// What this allows that `before` did not, in words.
    pub(super) fn added(&self, hook: HookName, before: &Self) -> Vec<String> {
        let headers = self.headers.difference(&before.headers);
        let mut words: Vec<String> = headers.map(|name| format!("see the header {name}")).collect();
        words.extend(new_pointers(&self.body, &before.body).map(|part| format!("see {part}")));
        words.extend(new_pointers(&self.change, &before.change).map(|part| format!("change {part}")));
        let more = [
            (self.change_headers && !before.change_headers, "change headers"),
            (self.change_route && !before.change_route, "choose another model or upstream"),
        ];
        words.extend(more.into_iter().filter(|(is_new, _)| *is_new).map(|(_, word)| word.to_owned()));
        words.into_iter().map(|word| format!("{word} ({hook})")).collect()
    }
}

fn new_pointers<'s>(
    now: &'s BTreeSet<String>,
    before: &'s BTreeSet<String>,
) -> impl Iterator<Item = String> + 's {
    let is_new = |pointer: &&String| !before.iter().any(|granted| covers(granted, pointer));
    now.iter().filter(is_new).map(|pointer| match pointer.as_str() {
        "" => "the whole body".to_owned(),
        pointer => format!("{pointer} of the body"),
    })
}

/// Whether `granted` is `pointer` or above it.
fn covers(granted: &str, pointer: &str) -> bool {
    pointer.strip_prefix(granted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(json: &str) -> Access {
        serde_json::from_str(json).unwrap()
    }

    fn added(now: &str, before: &str) -> Vec<String> {
        access(now).added(HookName::OnRequest, &access(before))
    }

    #[test]
    fn what_a_hook_sees_and_changes_is_told_in_words() {
        let all = r#"{ "headers": ["authorization", "cookie"], "body": [""], "change": ["/messages", ""],
                       "changeHeaders": true, "changeRoute": true }"#;
        let words = [
            "see the header authorization (onRequest)",
            "see the header cookie (onRequest)",
            "see the whole body (onRequest)",
            "change the whole body (onRequest)",
            "change /messages of the body (onRequest)",
            "change headers (onRequest)",
            "choose another model or upstream (onRequest)",
        ];
        assert_eq!(added(all, "{}"), words);
        assert_eq!(added(all, all), [""; 0]);
        assert_eq!(added("{}", all), [""; 0]);
    }

    #[test]
    fn a_pointer_covers_what_is_below_it() {
        let table = [
            (r#"{ "body": ["/messages"] }"#, r#"{ "body": [""] }"#, true),
            (r#"{ "body": ["/messages/0"] }"#, r#"{ "body": ["/messages"] }"#, true),
            (r#"{ "body": ["/messages2"] }"#, r#"{ "body": ["/messages"] }"#, false),
            (r#"{ "body": [""] }"#, r#"{ "body": ["/messages"] }"#, false),
            (r#"{ "change": ["/messages"] }"#, r#"{ "body": ["/messages"] }"#, false),
            (r#"{ "headers": ["x-team"] }"#, r#"{ "headers": ["authorization"] }"#, false),
        ];
        for (now, before, is_covered) in table {
            assert_eq!(added(now, before).is_empty(), is_covered, "{now} after {before}");
        }
    }
}
