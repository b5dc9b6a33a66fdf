//! The two patches of the IETF: JSON patch (RFC 6902) and merge patch (RFC 7386).

use serde_json::Value;

use super::PatchError;

/// As many operations as Kubernetes takes in one patch.
const MAX_OPERATIONS: usize = 10_000;

/// Applies a JSON patch: a list of operations, all of them or none.
pub fn json_patch(document: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|error| PatchError::malformed(format!("error decoding patch: {error}")))?;
    if operations.0.len() > MAX_OPERATIONS {
        return Err(PatchError::malformed(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.0.len()
        )));
    }
    let mut patched = document.clone();
    json_patch::patch(&mut patched, &operations)
        .map_err(|error| PatchError::Unfit { patch: patch.clone(), why: error.to_string() })?;
    Ok(patched)
}

/// Applies a merge patch: members replace members, `null` removes, lists are replaced.
pub fn merge_patch(document: &Value, patch: &Value) -> Result<Value, PatchError> {
    if !patch.is_object() {
        return Err(PatchError::malformed("error decoding patch: a merge patch must be a JSON object"));
    }
    let mut patched = document.clone();
    json_patch::merge(&mut patched, patch);
    Ok(patched)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ApiError;

    #[test]
    fn json_patch_is_all_or_nothing() {
        let object = json!({ "spec": { "replicas": 1 } });
        let patch = json!([{ "op": "replace", "path": "/spec/replicas", "value": 3 }]);
        assert_eq!(json_patch(&object, &patch).unwrap(), json!({ "spec": { "replicas": 3 } }));
        let failing = json!([{ "op": "remove", "path": "/spec" }, { "op": "test", "path": "/a", "value": 1 }]);
        assert_eq!(ApiError::from(json_patch(&object, &failing).unwrap_err()).code(), 422);
    }

    #[test]
    fn what_is_no_patch_is_a_bad_request() {
        for patch in [json!({}), json!([{ "op": "explode", "path": "/a" }])] {
            assert_eq!(ApiError::from(json_patch(&json!({}), &patch).unwrap_err()).code(), 400);
        }
        assert_eq!(ApiError::from(merge_patch(&json!({}), &json!([])).unwrap_err()).code(), 400);
    }

    #[test]
    fn merge_patch_removes_with_null() {
        let object = json!({ "a": { "b": 1, "c": 2 }, "d": [1, 2] });
        let patch = json!({ "a": { "b": null }, "d": [3] });
        assert_eq!(merge_patch(&object, &patch).unwrap(), json!({ "a": { "c": 2 }, "d": [3] }));
    }
}
