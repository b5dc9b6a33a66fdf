//! The rules of environment variables and of what they are taken from.

use crate::error::FieldError;
use crate::kinds::field::Field;
use crate::kinds::names::{self, NamePart};

/// Fields of the pod that variables can hold.
const VARIABLE_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields that can be named at all, whether or not they can be used where they are.
const OTHER_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase"];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const VARIABLE_SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

/// What is wrong with a list of variables.
pub(super) fn validate_variables(variables: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for variable in variables.items() {
        let name = variable.get("name");
        if name.is_empty() {
            errors.push(name.required(""));
        } else {
            errors.extend(name.malformed(names::variable_name));
        }
        errors.extend(validate_source(&variable));
    }
    errors
}

fn validate_source(variable: &Field<'_>) -> Vec<FieldError> {
    let from = variable.get("valueFrom");
    if !from.is_set() {
        return Vec::new();
    }
    let mut errors = Vec::new();
    if from.get("fieldRef").is_set() {
        errors.extend(validate_field_reference(&from.get("fieldRef"), VARIABLE_FIELDS));
    }
    if from.get("resourceFieldRef").is_set() {
        errors.extend(validate_resource_reference(&from.get("resourceFieldRef")));
    }
    for reference in ["configMapKeyRef", "secretKeyRef"].map(|name| from.get(name)) {
        if reference.is_set() {
            errors.extend(validate_key_reference(&reference));
        }
    }
    let given = VARIABLE_SOURCES.iter().filter(|name| from.get(name).is_set()).count();
    let invalid = |detail: &str| FieldError::invalid(from.path(), "", detail);
    if given == 0 {
        let choices = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.push(invalid(&format!("must specify one of: {choices}")));
    } else if !variable.get("value").is_empty() {
        errors.push(invalid("may not be specified when `value` is not empty"));
    } else if given > 1 {
        errors.push(invalid("may not have more than one field specified at a time"));
    }
    errors
}

fn validate_key_reference(reference: &Field<'_>) -> Vec<FieldError> {
    let (name, key) = (reference.get("name"), reference.get("key"));
    let mut errors: Vec<FieldError> = name.malformed(names::subdomain).collect();
    if key.is_empty() {
        errors.push(key.required(""));
    } else {
        errors.extend(key.malformed(names::config_key));
    }
    errors
}

/// What is wrong with a reference to a field of the pod; only those of `usable` can be used here.
pub(super) fn validate_field_reference(reference: &Field<'_>, usable: &[&str]) -> Vec<FieldError> {
    let (version, path) = (reference.get("apiVersion"), reference.get("fieldPath"));
    if version.is_empty() {
        return vec![version.required("")];
    }
    if path.is_empty() {
        return vec![path.required("")];
    }
    let text = path.text();
    if version.text() != "v1" {
        return vec![path.invalid(format!("error converting fieldPath: unsupported pod version: {}", version.text()))];
    }
    if let Some((map, key)) = text.strip_suffix("']").and_then(|text| text.split_once("['")) {
        return validate_subscript(reference, &path, map, key);
    }
    let text = if text == "spec.host" { "spec.nodeName" } else { text };
    if !VARIABLE_FIELDS.contains(&text) && !OTHER_FIELDS.contains(&text) {
        return vec![path.invalid(format!("error converting fieldPath: field label not supported: {text}"))];
    }
    let refused = !usable.contains(&text);
    refused.then(|| FieldError::not_supported(path.path(), text, usable)).into_iter().collect()
}

fn validate_subscript(reference: &Field<'_>, path: &Field<'_>, map: &str, key: &str) -> Vec<FieldError> {
    let key = match map {
        "metadata.annotations" => key.to_lowercase(),
        "metadata.labels" => key.to_owned(),
        _ => {
            let detail = "error converting fieldPath: field label does not support subscript";
            return vec![path.invalid(format!("{detail}: {}", path.text()))];
        }
    };
    let wrong = names::label_key(&key);
    wrong.into_iter().map(|wrong| FieldError::invalid(reference.path(), key.as_str(), wrong)).collect()
}

/// What is wrong with a reference to what a container may use.
pub(super) fn validate_resource_reference(reference: &Field<'_>) -> Vec<FieldError> {
    let resource = reference.get("resource");
    if resource.is_empty() {
        return vec![resource.required("")];
    }
    let text = resource.text();
    let known =
        RESOURCES.contains(&text) || text.starts_with("limits.hugepages-") || text.starts_with("requests.hugepages-");
    (!known).then(|| resource.not_supported(RESOURCES)).into_iter().collect()
}

/// What is wrong with a list of objects whose keys become variables.
pub(super) fn validate_sources(sources: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for source in sources.items() {
        let prefix = source.get("prefix");
        if !prefix.is_empty() {
            errors.extend(prefix.malformed(names::variable_name));
        }
        let given: Vec<Field<'_>> =
            ["configMapRef", "secretRef"].map(|name| source.get(name)).into_iter().filter(Field::is_set).collect();
        errors.extend(given.iter().flat_map(|reference| validate_object_reference(reference)));
        // Kubernetes leaves the index out of these paths.
        let invalid = |detail: &str| FieldError::invalid(sources.path(), "", detail);
        match given.len() {
            0 => errors.push(invalid("must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errors.push(invalid("may not have more than one field specified at a time")),
        }
    }
    errors
}

fn validate_object_reference(reference: &Field<'_>) -> Vec<FieldError> {
    let name = reference.get("name");
    if name.is_empty() {
        return vec![name.required("")];
    }
    name.malformed(|text| names::subdomain_name(text, NamePart::Prefix)).collect()
}
