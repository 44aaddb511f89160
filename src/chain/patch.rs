//! A JSON Patch (RFC 6902) within bounds.
//!
//! A copy may copy what an earlier one made: a few operations can ask for more memory than there is, or for a
//! tree too deep to be walked. So every value is weighed where it would go before it goes there.

use std::slice;

use json_patch::{Patch, PatchOperation};
use serde_json::Value;

use super::fold::malformed;
use crate::hook::HookFailure;
use crate::limits;

/// Applies the patch whole, or leaves the tree as it was.
pub(super) fn apply(tree: &mut Value, patch: &Patch) -> Result<(), HookFailure> {
    let operations = &patch.0;
    if operations.len() > limits::PATCH_OPERATIONS_MAX {
        let (count, max) = (operations.len(), limits::PATCH_OPERATIONS_MAX);
        return Err(malformed(&format!("its patch has {count} operations, the limit is {max}")));
    }
    let mut left = limits::PATCH_CARRIED_BYTES_MAX;
    if !operations.iter().any(carries) {
        operations.iter().try_for_each(|operation| check(tree, operation, &mut left))?;
        return json_patch::patch(tree, operations).map_err(|error| malformed(&error.to_string()));
    }
    let before = tree.clone();
    let done = operations.iter().enumerate().try_for_each(|(index, operation)| {
        check(tree, operation, &mut left)?;
        json_patch::patch(tree, slice::from_ref(operation)).map_err(|error| {
            malformed(&format!("operation '/{index}' failed at path '{}': {}", error.path, error.kind))
        })
    });
    if done.is_err() {
        *tree = before;
    }
    done
}

/// Whether the operation takes its value from the tree: what that is depends on the operations before.
fn carries(operation: &PatchOperation) -> bool {
    matches!(operation, PatchOperation::Copy(_) | PatchOperation::Move(_))
}

/// Whether the operation's value may go where it is to go. What is carried is taken from `left`.
fn check(tree: &Value, operation: &PatchOperation, left: &mut usize) -> Result<(), HookFailure> {
    // The size of a value of the patch's own is bounded by the verdict's.
    let mut own = usize::MAX;
    let (value, path, left) = match operation {
        PatchOperation::Add(add) => (Some(&add.value), &add.path, &mut own),
        PatchOperation::Replace(replace) => (Some(&replace.value), &replace.path, &mut own),
        PatchOperation::Copy(copy) => (tree.pointer(copy.from.as_str()), &copy.path, left),
        PatchOperation::Move(moved) => (tree.pointer(moved.from.as_str()), &moved.path, left),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
    };
    // Without a value to carry the operation itself fails, and says so better.
    value.map_or(Ok(()), |value| weigh(value, path.count(), left))
}

/// Takes what a value holds in memory from `left`, as long as there is enough and it lies no deeper than a body
/// can be read.
fn weigh(value: &Value, depth: usize, left: &mut usize) -> Result<(), HookFailure> {
    let text = match value {
        Value::String(text) => text.len(),
        Value::Number(number) => number.as_str().len(),
        Value::Object(members) => members.keys().map(|key| size_of::<String>() + key.len()).sum(),
        Value::Null | Value::Bool(_) | Value::Array(_) => 0,
    };
    *left = left.checked_sub(size_of::<Value>() + text).ok_or_else(|| {
        let max = limits::PATCH_CARRIED_BYTES_MAX;
        malformed(&format!("its patch copies and moves more than {max} bytes"))
    })?;
    let nested = matches!(value, Value::Array(_) | Value::Object(_));
    if nested && depth >= limits::JSON_DEPTH_MAX {
        let max = limits::JSON_DEPTH_MAX;
        return Err(malformed(&format!("its patch nests the body deeper than {max} levels")));
    }
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| weigh(item, depth + 1, left)),
        Value::Object(members) => members.values().try_for_each(|member| weigh(member, depth + 1, left)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn refuses(operations: Vec<Value>, reason: &str) {
        let before = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "x": {}});
        let mut tree = before.clone();
        let patch = serde_json::from_value(Value::Array(operations)).unwrap();
        let failure = apply(&mut tree, &patch).unwrap_err();
        assert!(failure.detail.contains(reason), "{failure}");
        assert_eq!(tree, before);
    }

    #[test]
    fn copies_that_double_each_time_end_at_a_bound() {
        refuses(
            vec![json!({"op": "copy", "from": "/messages", "path": "/messages/-"}); 40],
            "copies and moves more than",
        );
    }

    #[test]
    fn a_tree_gets_no_deeper_than_a_body_can_be_read() {
        refuses(vec![json!({"op": "copy", "from": "/x", "path": "/x/x"}); 200], "deeper than 127");
        let deep = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        refuses(vec![json!({"op": "add", "path": "/x/y", "value": deep(126)})], "deeper than 127");
        let mut tree = json!({"x": {}});
        let patch =
            serde_json::from_value(json!([{"op": "add", "path": "/x/y", "value": deep(125)}])).unwrap();
        apply(&mut tree, &patch).unwrap();
        assert!(serde_json::from_str::<Value>(&tree.to_string()).is_ok(), "as deep as can be read");
    }

    #[test]
    fn a_patch_of_very_many_operations_is_refused() {
        refuses(vec![json!({"op": "test", "path": "/x", "value": {}}); 1_001], "1001 operations");
    }

    #[test]
    fn a_patch_with_copies_that_fails_midway_changes_nothing() {
        refuses(
            vec![
                json!({"op": "copy", "from": "/model", "path": "/was"}),
                json!({"op": "replace", "path": "/model", "value": "other"}),
                json!({"op": "move", "from": "/nowhere", "path": "/here"}),
            ],
            "operation '/2' failed",
        );
    }
}
