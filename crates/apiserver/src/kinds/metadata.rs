//! The rules of `metadata`, the same for every kind.

use super::field::Field;
use super::names::{self, NamePart, NameRule};
use crate::error::FieldError;

const ANNOTATIONS_LIMIT_BYTES: usize = 256 << 10;
const SUBRESOURCE_LIMIT_BYTES: usize = 256;
const ORPHAN_DEPENDENTS: &str = "orphan";
const DELETE_DEPENDENTS: &str = "foregroundDeletion";
/// What is said of a field that may not change.
pub(crate) const IMMUTABLE: &str = "field is immutable";

/// What is wrong with the metadata of a new object.
pub(crate) fn validate_create(metadata: &Field<'_>, namespaced: bool, name_rule: NameRule) -> Vec<FieldError> {
    let mut errors = validate_name(metadata, name_rule);
    errors.extend(validate_namespace(metadata, namespaced));
    errors.extend(non_negative(&metadata.get("generation")));
    errors.extend(validate_labels(&metadata.get("labels")));
    errors.extend(validate_annotations(&metadata.get("annotations")));
    errors.extend(validate_owners(&metadata.get("ownerReferences")));
    errors.extend(validate_finalizers(&metadata.get("finalizers")));
    errors.extend(validate_managed_fields(&metadata.get("managedFields")));
    errors
}

/// What is wrong with a change of the metadata.
pub(crate) fn validate_update(new: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if old.get("deletionTimestamp").is_set() {
        errors.extend(no_new_finalizers(&new.get("finalizers"), &old.get("finalizers")));
    }
    if new.get("resourceVersion").is_empty() {
        errors.push(new.get("resourceVersion").invalid("must be specified for an update"));
    }
    if new.get("generation").integer() < old.get("generation").integer() {
        errors.push(new.get("generation").invalid("must not be decremented"));
    }
    for name in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        errors.extend(immutable(&new.get(name), &old.get(name)));
    }
    errors.extend(validate_labels(&new.get("labels")));
    errors.extend(validate_annotations(&new.get("annotations")));
    errors.extend(validate_owners(&new.get("ownerReferences")));
    errors.extend(validate_managed_fields(&new.get("managedFields")));
    errors
}

/// Refuses any difference between the two values; nothing and an empty value are the same.
pub(crate) fn immutable(new: &Field<'_>, old: &Field<'_>) -> Option<FieldError> {
    let same = new.value() == old.value() || (new.is_empty() && old.is_empty());
    (!same).then(|| new.invalid(IMMUTABLE))
}

/// Refuses a negative number.
pub(crate) fn non_negative(field: &Field<'_>) -> Option<FieldError> {
    field.integer().is_some_and(|n| n < 0).then(|| field.invalid("must be greater than or equal to 0"))
}

fn validate_name(metadata: &Field<'_>, name_rule: NameRule) -> Vec<FieldError> {
    let (prefix, name) = (metadata.get("generateName"), metadata.get("name"));
    let mut errors = Vec::new();
    if !prefix.is_empty() {
        errors.extend(name_rule(prefix.text(), NamePart::Prefix).into_iter().map(|wrong| prefix.invalid(wrong)));
    }
    if name.is_empty() {
        errors.push(name.required("name or generateName is required"));
    } else {
        errors.extend(name_rule(name.text(), NamePart::Whole).into_iter().map(|wrong| name.invalid(wrong)));
    }
    errors
}

fn validate_namespace(metadata: &Field<'_>, namespaced: bool) -> Vec<FieldError> {
    let namespace = metadata.get("namespace");
    match (namespaced, namespace.is_empty()) {
        (true, true) => vec![namespace.required("")],
        (true, false) => names::label(namespace.text()).into_iter().map(|wrong| namespace.invalid(wrong)).collect(),
        (false, true) => Vec::new(),
        (false, false) => vec![namespace.forbidden("not allowed on this type")],
    }
}

/// What is wrong with a map of labels.
pub(crate) fn validate_labels(labels: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in labels.entries() {
        errors.extend(validate_label_key(key, labels));
        errors.extend(names::label_value(value.text()).into_iter().map(|wrong| value.at(labels.path()).invalid(wrong)));
    }
    errors
}

/// What is wrong with a label's key; the errors stand at `place`.
pub(crate) fn validate_label_key(key: &str, place: &Field<'_>) -> Vec<FieldError> {
    names::label_key(key).into_iter().map(|wrong| FieldError::invalid(place.path(), key, wrong)).collect()
}

/// What is wrong with a map of annotations: keys as labels have them but in any case, and not too much in all.
pub(crate) fn validate_annotations(annotations: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut total_bytes = 0;
    for (key, value) in annotations.entries() {
        total_bytes += key.len() + value.text().len();
        let wrong = names::label_key(&key.to_lowercase());
        errors.extend(wrong.into_iter().map(|wrong| FieldError::invalid(annotations.path(), key, wrong)));
    }
    if total_bytes > ANNOTATIONS_LIMIT_BYTES {
        errors.push(FieldError::too_long(annotations.path(), ANNOTATIONS_LIMIT_BYTES));
    }
    errors
}

fn validate_owners(owners: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut first_controller: Option<String> = None;
    for owner in owners.items() {
        errors.extend(validate_owner(&owner.at(owners.path())));
        if !owner.get("controller").truth() {
            continue;
        }
        let controller = format!("{}/{}", owner.get("kind").text(), owner.get("name").text());
        match &first_controller {
            None => first_controller = Some(controller),
            Some(first) => errors.push(owners.invalid(format!(
                "Only one reference can have Controller set to true. \
                 Found \"true\" in references for {first} and {controller}"
            ))),
        }
    }
    errors
}

fn validate_owner(owner: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let api_version = owner.get("apiVersion");
    let version = api_version.text().rsplit('/').next().unwrap_or_default();
    if version.is_empty() {
        errors.push(api_version.invalid("version must not be empty"));
    }
    for name in ["kind", "name", "uid"] {
        if owner.get(name).is_empty() {
            errors.push(owner.get(name).invalid("must not be empty"));
        }
    }
    if api_version.text() == "v1" && owner.get("kind").text() == "Event" {
        errors.push(owner.invalid("/v1, Kind=Event is disallowed from being an owner"));
    }
    errors
}

fn validate_finalizers(finalizers: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for finalizer in finalizers.items() {
        let finalizer = finalizer.at(finalizers.path());
        errors.extend(names::label_key(finalizer.text()).into_iter().map(|wrong| finalizer.invalid(wrong)));
    }
    let has = |name| finalizers.texts().any(|finalizer| finalizer == name);
    if has(ORPHAN_DEPENDENTS) && has(DELETE_DEPENDENTS) {
        let detail = format!("finalizer {ORPHAN_DEPENDENTS} and {DELETE_DEPENDENTS} cannot be both set");
        errors.push(finalizers.invalid(detail));
    }
    errors
}

fn no_new_finalizers(new: &Field<'_>, old: &Field<'_>) -> Option<FieldError> {
    let kept: Vec<&str> = old.texts().collect();
    let mut added: Vec<String> = new.texts().filter(|f| !kept.contains(f)).map(|f| format!("{f:?}")).collect();
    added.sort();
    let found = added.join(", ");
    (!added.is_empty()).then(|| {
        new.forbidden(format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{found}}}"
        ))
    })
}

fn validate_managed_fields(entries: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for entry in entries.items() {
        let operation = entry.get("operation");
        if !matches!(operation.text(), "Apply" | "Update") {
            errors.push(operation.invalid("must be `Apply` or `Update`"));
        }
        let fields_type = entry.get("fieldsType");
        if !matches!(fields_type.text(), "" | "FieldsV1") {
            errors.push(fields_type.invalid("must be `FieldsV1`"));
        }
        if entry.get("subresource").text().len() > SUBRESOURCE_LIMIT_BYTES {
            errors.push(FieldError::too_long(entry.get("subresource").path(), SUBRESOURCE_LIMIT_BYTES));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn create_errors(metadata: &Value) -> Vec<String> {
        let object = json!({ "metadata": metadata });
        let field = Field::root(&object).get("metadata");
        validate_create(&field, true, names::label_name).iter().map(ToString::to_string).collect()
    }

    fn update_errors(new: &Value, old: &Value) -> Vec<String> {
        let (new, old) = (json!({ "metadata": new }), json!({ "metadata": old }));
        let (new, old) = (Field::root(&new).get("metadata"), Field::root(&old).get("metadata"));
        validate_update(&new, &old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_and_a_namespace_are_required() {
        assert_eq!(
            create_errors(&json!({})),
            ["metadata.name: Required value: name or generateName is required", "metadata.namespace: Required value",]
        );
    }

    #[test]
    fn cluster_wide_kinds_have_no_namespace() {
        let object = json!({"metadata": {"name": "a", "namespace": "b"}});
        let errors = validate_create(&Field::root(&object).get("metadata"), false, names::label_name);
        assert_eq!(errors[0].to_string(), "metadata.namespace: Forbidden: not allowed on this type");
    }

    #[test]
    fn labels_errors_stand_at_the_map_and_show_the_key_or_value() {
        let errors = create_errors(&json!({"name": "a", "namespace": "b", "labels": {"x y": "1", "z": "-"}}));
        assert_eq!(errors.len(), 2);
        assert!(errors[0].starts_with("metadata.labels: Invalid value: \"x y\": name part must consist of"));
        assert!(errors[1].starts_with("metadata.labels: Invalid value: \"-\": a valid label must be an empty string"));
    }

    #[test]
    fn annotation_keys_may_be_in_capitals_and_all_together_are_limited() {
        let big = "x".repeat(ANNOTATIONS_LIMIT_BYTES);
        let errors = create_errors(&json!({"name": "a", "namespace": "b", "annotations": {"EXAMPLE.com/A": big}}));
        assert_eq!(errors, ["metadata.annotations: Too long: may not be more than 262144 bytes"]);
    }

    #[test]
    fn only_one_owner_controls() {
        let owner = |name: &str| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": "1", "controller": true});
        let errors =
            create_errors(&json!({"name": "a", "namespace": "b", "ownerReferences": [owner("x"), owner("y")]}));
        assert_eq!(errors.len(), 1);
        assert!(errors[0].ends_with(
            "Only one reference can have Controller set to true. \
             Found \"true\" in references for ReplicaSet/x and ReplicaSet/y"
        ));
    }

    #[test]
    fn an_owner_needs_all_its_coordinates() {
        let errors = create_errors(&json!({"name": "a", "namespace": "b", "ownerReferences": [{}]}));
        assert_eq!(
            errors,
            [
                "metadata.ownerReferences.apiVersion: Invalid value: \"\": version must not be empty",
                "metadata.ownerReferences.kind: Invalid value: \"\": must not be empty",
                "metadata.ownerReferences.name: Invalid value: \"\": must not be empty",
                "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
            ]
        );
    }

    #[test]
    fn names_and_uids_never_change() {
        let errors = update_errors(
            &json!({"name": "b", "uid": "2", "resourceVersion": "1"}),
            &json!({"name": "a", "uid": "1", "resourceVersion": "1"}),
        );
        assert_eq!(
            errors,
            [
                "metadata.name: Invalid value: \"b\": field is immutable",
                "metadata.uid: Invalid value: \"2\": field is immutable",
            ]
        );
    }

    #[test]
    fn an_object_being_deleted_takes_no_new_finalizers() {
        let errors = update_errors(
            &json!({"resourceVersion": "1", "deletionTimestamp": "t", "finalizers": ["a/b", "a/c"]}),
            &json!({"resourceVersion": "1", "deletionTimestamp": "t", "finalizers": ["a/c"]}),
        );
        assert_eq!(
            errors,
            ["metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, \
              found new finalizers []string{\"a/b\"}"]
        );
    }

    #[test]
    fn the_two_ways_of_deleting_dependents_exclude_each_other() {
        let errors =
            create_errors(&json!({"name": "a", "namespace": "b", "finalizers": ["orphan", "foregroundDeletion"]}));
        assert_eq!(
            errors,
            ["metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: \
              finalizer orphan and foregroundDeletion cannot be both set"]
        );
    }
}
