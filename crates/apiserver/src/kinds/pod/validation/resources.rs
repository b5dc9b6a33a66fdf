//! The rules of what a container asks for and may use.

use serde_json::json;

use crate::error::FieldError;
use crate::kinds::field::Field;
use crate::kinds::{names, quantity};

/// What containers can be given without a domain in its name.
const FOR_CONTAINERS: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// What only namespaces and nodes are given.
const FOR_OTHERS: [&str; 12] = [
    "pods",
    "services",
    "storage",
    "configmaps",
    "secrets",
    "resourcequotas",
    "replicationcontrollers",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
    "requests.cpu",
    "limits.cpu",
];

/// What is wrong with requests and limits.
pub(super) fn validate(resources: &Field<'_>) -> Vec<FieldError> {
    let (requests, limits) = (resources.get("requests"), resources.get("limits"));
    let mut errors = Vec::new();
    for (name, limit) in limits.entries() {
        errors.extend(validate_amount(name, &limit));
    }
    for (name, request) in requests.entries() {
        errors.extend(validate_amount(name, &request));
        errors.extend(exceeds_limit(&requests, name, &request, &limits));
    }
    errors
}

fn validate_amount(name: &str, amount: &Field<'_>) -> Vec<FieldError> {
    let mut errors = validate_name(name, amount);
    errors.extend(quantity::validate_amount(amount));
    let whole_only = name.contains('/');
    let is_whole = quantity::of(amount).is_none_or(|billionths| billionths % 1_000_000_000 == 0);
    errors.extend((whole_only && !is_whole).then(|| amount.invalid("must be an integer")));
    errors
}

fn validate_name(name: &str, amount: &Field<'_>) -> Vec<FieldError> {
    let invalid = |detail: String| FieldError::invalid(amount.path(), name, detail);
    let mut errors: Vec<FieldError> = names::label_key(name).into_iter().map(invalid).collect();
    let known = FOR_CONTAINERS.contains(&name) || name.starts_with("hugepages-");
    if name.contains('/') || known {
        return errors;
    }
    if errors.is_empty() && !FOR_OTHERS.contains(&name) {
        errors.push(invalid("must be a standard resource type or fully qualified".to_owned()));
    }
    errors.push(invalid("must be a standard resource for containers".to_owned()));
    errors
}

fn exceeds_limit(all: &Field<'_>, name: &str, request: &Field<'_>, limits: &Field<'_>) -> Option<FieldError> {
    let limit = limits.key(name);
    let can_share = FOR_CONTAINERS.contains(&name) || (!name.contains('/') && !name.starts_with("hugepages-"));
    if !limit.is_set() {
        let detail = "Limit must be set for non overcommitable resources";
        return (!can_share).then(|| limits.required(detail));
    }
    let (wanted, most) = (quantity::of(request)?, quantity::of(&limit)?);
    let rule = match can_share {
        false if wanted != most => "must be equal to",
        true if wanted > most => "must be less than or equal to",
        _ => return None,
    };
    let detail = format!("{rule} {name} limit of {}", quantity::shown(&limit));
    Some(FieldError::invalid(all.path(), json!(quantity::shown(request)), detail))
}
