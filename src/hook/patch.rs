//! A JSON patch (RFC 6902) as a plugin writes it.
//!
//! Read by hand: a derived reader of operations goes through a form in which large numbers do not fit.

use json_patch::jsonptr::PointerBuf;
use json_patch::{
    AddOperation, CopyOperation, MoveOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation,
    TestOperation,
};
use serde_json::{Map, Value};

/// Reads a list of operations. The error names the first one that does not hold.
pub fn json_patch(operations: Value) -> Result<Patch, String> {
    let Value::Array(operations) = operations else {
        return Err("it is not a list of operations".to_owned());
    };
    let read = operations.into_iter().enumerate().map(|(index, operation)| {
        let Value::Object(mut members) = operation else {
            return Err(format!("operation {index} is not an object"));
        };
        read(&mut members).map_err(|what| format!("operation {index}: {what}"))
    });
    read.collect::<Result<_, _>>().map(Patch)
}

fn read(members: &mut Map<String, Value>) -> Result<PatchOperation, String> {
    let verb = text(members, "op")?;
    let path = pointer(members, "path")?;
    Ok(match verb.as_str() {
        "add" => PatchOperation::Add(AddOperation { path, value: value(members)? }),
        "remove" => PatchOperation::Remove(RemoveOperation { path }),
        "replace" => PatchOperation::Replace(ReplaceOperation { path, value: value(members)? }),
        "move" => PatchOperation::Move(MoveOperation { from: pointer(members, "from")?, path }),
        "copy" => PatchOperation::Copy(CopyOperation { from: pointer(members, "from")?, path }),
        "test" => PatchOperation::Test(TestOperation { path, value: value(members)? }),
        other => {
            return Err(format!("'op' is {other:?}, not one of add, remove, replace, move, copy and test"));
        }
    })
}

fn value(members: &mut Map<String, Value>) -> Result<Value, String> {
    members.get_mut("value").map(Value::take).ok_or_else(|| "'value' is missing".to_owned())
}

fn pointer(members: &Map<String, Value>, key: &str) -> Result<PointerBuf, String> {
    let pointer = text(members, key)?;
    PointerBuf::parse(pointer).map_err(|error| format!("'{key}' is not a JSON pointer: {error}"))
}

fn text(members: &Map<String, Value>, key: &str) -> Result<String, String> {
    match members.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("'{key}' is not a string")),
        None => Err(format!("'{key}' is missing")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_read_as_the_crate_reads_them() {
        let operations = json!([
            {"op": "add", "path": "/a~1b/-", "value": {"x": null}},
            {"op": "remove", "path": "/a"},
            {"op": "replace", "path": "", "value": 1.5},
            {"op": "move", "from": "/a", "path": "/b"},
            {"op": "copy", "from": "/a", "path": "/b", "comment": "ignored"},
            {"op": "test", "path": "/a", "value": null},
        ]);
        let expected: Patch = serde_json::from_value(operations.clone()).unwrap();
        assert_eq!(json_patch(operations), Ok(expected));
    }

    #[test]
    fn numbers_of_any_size_are_kept_digit_for_digit() {
        let text = r#"[{"op":"add","path":"/x","value":[12345678901234567890123,1e400,-0.0]}]"#;
        let Ok(patch) = json_patch(serde_json::from_str(text).unwrap()) else { panic!("a patch") };
        let PatchOperation::Add(add) = &patch.0[0] else { panic!("an add") };
        assert_eq!(add.value.to_string(), "[12345678901234567890123,1e+400,-0.0]");
    }

    #[test]
    fn what_does_not_hold_is_named() {
        for (operations, expected) in [
            (json!({}), "it is not a list of operations"),
            (json!([1]), "operation 0 is not an object"),
            (json!([{"op": "x", "path": ""}]), "operation 0: 'op' is \"x\", not one of add, "),
            (json!([{"op": "add", "path": "/a"}]), "operation 0: 'value' is missing"),
            (json!([{"op": "remove", "path": "a"}]), "operation 0: 'path' is not a JSON pointer: "),
            (
                json!([{"op": "remove", "path": "/a"}, {"op": "move", "path": "/a"}]),
                "operation 1: 'from' is missing",
            ),
            (json!([{"op": 1, "path": "/a"}]), "operation 0: 'op' is not a string"),
        ] {
            let error = json_patch(operations).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
