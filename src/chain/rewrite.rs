//! What a verdict makes of a body. The new body is made beside the old one, and has passed the gate of a client's
//! body before it takes the place of the old one.

use bytes::Bytes;
use json_patch::PatchOperation;
use serde_json::{Map, Value};

use super::draft::{Draft, Head};
use super::fold::malformed;
use super::splice;
use crate::hook::{Action, Cause, HookFailure, Mutates, RouteChange, Verdict};
use crate::room::NoRoom;

/// A body that may take the place of the draft's.
#[derive(Debug)]
pub(super) struct Rewritten {
    pub(super) body: Bytes,
    pub(super) head: Head,
}

/// The body that the verdict asks for; `None` if it leaves the body alone.
pub(super) async fn rewritten(
    draft: &Draft,
    mutates: &Mutates,
    verdict: &Verdict,
) -> Result<Option<Rewritten>, HookFailure> {
    let edit = Edit::of(&verdict.action);
    let model = verdict.route.as_ref().and_then(|RouteChange { model, .. }| model.as_deref());
    if edit.is_none() && model.is_none() {
        return Ok(None);
    }
    if let Some(edit) = &edit {
        edit.check(mutates)?;
    }
    let size = draft.body.len().max(edit.as_ref().map_or(0, Edit::bytes));
    draft.room.work(size, || write(draft, edit, model)).await.map(Some)
}

fn write(draft: &Draft, edit: Option<Edit<'_>>, model: Option<&str>) -> Result<Rewritten, HookFailure> {
    let mut body = match edit {
        None | Some(Edit::NoObject) => draft.body.clone(),
        Some(Edit::Replace(body)) => held(draft, body.clone())?,
        Some(Edit::Merge(patch)) => held(draft, splice::merge(&draft.body, patch).map_err(refused)?)?,
        Some(Edit::Patch(patch)) => held(draft, splice::patch(&draft.body, patch).map_err(refused)?)?,
    };
    // A model from a verdict's `route` goes into the body too: the upstream has to be asked for it.
    if let Some(model) = model {
        // First the body as it is without it: nothing is spliced into what is no object.
        read(draft, &body)?;
        let patch = Map::from_iter([("model".to_owned(), Value::from(model))]);
        body = held(draft, splice::merge(&body, &patch).map_err(refused)?)?;
    }
    let head = read(draft, &body)?;
    Ok(Rewritten { body, head })
}

fn read(draft: &Draft, body: &[u8]) -> Result<Head, HookFailure> {
    Head::read(draft.endpoint, body)
        .map_err(|error| malformed(&format!("the changed body is refused: {error}")))
}

/// The new body within its bounds.
fn held(draft: &Draft, body: impl AsRef<[u8]> + Send + 'static) -> Result<Bytes, HookFailure> {
    let length = body.as_ref().len();
    if length as u64 > draft.bytes_max {
        let max = draft.bytes_max;
        return Err(malformed(&format!("the changed body has {length} bytes, the limit is {max}")));
    }
    let mut claim = draft.room.for_request();
    claim.cover(length).map_err(|NoRoom| HookFailure::new(Cause::Overloaded, NoRoom.to_string()))?;
    Ok(claim.bind(body))
}

fn refused(refused: splice::Refused) -> HookFailure {
    malformed(&refused.to_string())
}

/// The part of a verdict that changes the body.
enum Edit<'a> {
    Merge(&'a Map<String, Value>),
    /// A merge patch that is not an object.
    NoObject,
    Patch(&'a json_patch::Patch),
    Replace(&'a Bytes),
}

impl<'a> Edit<'a> {
    fn of(action: &'a Action) -> Option<Self> {
        match action {
            Action::MergePatch(Value::Object(patch))
            | Action::Retry { patch: Some(Value::Object(patch)), .. } => Some(Self::Merge(patch)),
            Action::MergePatch(_) | Action::Retry { patch: Some(_), .. } => Some(Self::NoObject),
            Action::JsonPatch(patch) => Some(Self::Patch(patch)),
            Action::Replace(body) => Some(Self::Replace(body)),
            Action::Continue
            | Action::Respond { .. }
            | Action::Reject { .. }
            | Action::Retry { patch: None, .. }
            | Action::Fallback => None,
        }
    }

    /// What of it has to be read, roughly.
    fn bytes(&self) -> usize {
        match self {
            Self::Merge(_) | Self::NoObject | Self::Patch(_) => 0,
            Self::Replace(body) => body.len(),
        }
    }

    /// Fails at the first place it changes that `mutates` does not cover.
    fn check(&self, mutates: &Mutates) -> Result<(), HookFailure> {
        match self {
            Self::Merge(members) => {
                let mut path = String::new();
                members.iter().try_for_each(|(key, value)| outside(mutates, &mut path, key, value))
            }
            Self::NoObject => {
                Err(malformed("a merge patch has to be an object, or it would replace the whole body"))
            }
            Self::Patch(patch) => {
                patch.0.iter().try_for_each(|operation| operation_inside(mutates, operation))
            }
            Self::Replace(_) if covers(mutates, "") => Ok(()),
            Self::Replace(_) => {
                Err(malformed("it replaces the whole body, which its manifest's 'mutates' does not cover"))
            }
        }
    }
}

/// Walks a merge patch and fails at the first member that changes something `mutates` does not cover.
fn outside(mutates: &Mutates, path: &mut String, key: &str, value: &Value) -> Result<(), HookFailure> {
    let length = path.len();
    path.push('/');
    path.push_str(&key.replace('~', "~0").replace('/', "~1"));
    let result = match value {
        _ if covers(mutates, path) => Ok(()),
        Value::Object(members) if !members.is_empty() => {
            members.iter().try_for_each(|(key, value)| outside(mutates, path, key, value))
        }
        _ => Err(uncovered(path)),
    };
    path.truncate(length);
    result
}

fn operation_inside(mutates: &Mutates, operation: &PatchOperation) -> Result<(), HookFailure> {
    let changed: [Option<&str>; 2] = match operation {
        PatchOperation::Test(_) => [None, None],
        PatchOperation::Move(moved) => [Some(moved.from.as_str()), Some(moved.path.as_str())],
        PatchOperation::Add(_)
        | PatchOperation::Remove(_)
        | PatchOperation::Replace(_)
        | PatchOperation::Copy(_) => [Some(operation.path().as_str()), None],
    };
    match changed.into_iter().flatten().find(|path| !covers(mutates, path)) {
        Some(path) => Err(uncovered(path)),
        None => Ok(()),
    }
}

fn uncovered(path: &str) -> HookFailure {
    malformed(&format!("it changes '{path}', which its manifest's 'mutates' does not cover"))
}

fn covers(mutates: &Mutates, path: &str) -> bool {
    mutates.body.iter().any(|allowed| {
        path.strip_prefix(allowed.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_covers_itself_and_below_but_no_namesake() {
        let mutates = Mutates { body: vec!["/metadata".to_owned()], headers: false, route: false };
        assert!(covers(&mutates, "/metadata"));
        assert!(covers(&mutates, "/metadata/team"));
        assert!(!covers(&mutates, "/metadata_x"));
        assert!(!covers(&mutates, ""));
    }
}
