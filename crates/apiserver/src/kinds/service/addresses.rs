//! The rules of a Service's cluster addresses and address families.

use std::net::IpAddr;

use serde_json::Value;

use super::{HEADLESS, is_headless};
use crate::error::FieldError;
use crate::kinds::address;
use crate::kinds::field::Field;

const FAMILIES: &[&str] = &["IPv4", "IPv6"];
const FAMILY_POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
const UNCHANGEABLE: &str = "may not change once set";

/// What is wrong with the cluster addresses of a Service. `old` is the stored one's spec, or nothing.
pub(crate) fn validate(spec: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    if spec.get("type").text() == "ExternalName" {
        return Vec::new();
    }
    let addresses = spec.get("clusterIPs");
    let mut errors: Vec<FieldError> = agreement(spec).into_iter().collect();
    errors.extend(validate_families(spec));
    let malformed = malformed_addresses(&addresses, &old.get("clusterIPs"));
    let any_malformed = !malformed.is_empty();
    errors.extend(malformed);
    if addresses.list().len() > 2 {
        errors.push(addresses.invalid("may only hold up to 2 values"));
    }
    if any_malformed {
        return errors;
    }
    if addresses.list().len() > 1 && !is_one_of_each_family(&addresses) {
        errors.push(addresses.invalid("may specify no more than one IP for each IP family"));
    }
    if !is_headless(spec) {
        errors.extend(family_mismatches(&addresses, &spec.get("ipFamilies")));
    }
    errors
}

/// `clusterIP` and the first of `clusterIPs` say the same.
fn agreement(spec: &Field<'_>) -> Option<FieldError> {
    let (one, all) = (spec.get("clusterIP"), spec.get("clusterIPs"));
    match (one.is_empty(), all.texts().next()) {
        (true, None) => None,
        (true, Some(_)) => Some(all.invalid("must be empty when `clusterIP` is not specified")),
        (false, None) => Some(all.required("")),
        (false, Some(first)) if first != one.text() => Some(all.invalid("first value must match `clusterIP`")),
        (false, Some(_)) => None,
    }
}

fn validate_families(spec: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = Vec::new();
    for family in spec.get("ipFamilies").items() {
        if !FAMILIES.contains(&family.text()) {
            errors.push(family.not_supported(FAMILIES));
        }
        if seen.contains(&family.text()) {
            errors.push(family.duplicate());
        }
        seen.push(family.text());
    }
    let policy = spec.get("ipFamilyPolicy");
    if policy.is_set() && !FAMILY_POLICIES.contains(&policy.text()) {
        errors.push(policy.not_supported(FAMILY_POLICIES));
    }
    errors
}

fn malformed_addresses(addresses: &Field<'_>, known: &Field<'_>) -> Vec<FieldError> {
    let several = addresses.list().len() > 1;
    let judge = |(index, address): (usize, Field<'_>)| {
        if index > 0 || address.text() != HEADLESS {
            return address::validate_address(&address, known);
        }
        several.then(|| addresses.invalid("'None' must be the first and only value"))
    };
    addresses.items().enumerate().filter_map(judge).collect()
}

fn is_one_of_each_family(addresses: &Field<'_>) -> bool {
    let families: Vec<Option<&str>> = addresses.texts().map(family_of).collect();
    families.contains(&Some("IPv4")) && families.contains(&Some("IPv6"))
}

fn family_mismatches(addresses: &Field<'_>, families: &Field<'_>) -> Vec<FieldError> {
    let pairs = addresses.items().zip(families.texts()).enumerate();
    let mismatch = |(index, (address, wanted)): (usize, (Field<'_>, &str))| {
        let wrong = FAMILIES.contains(&wanted) && family_of(address.text()) != Some(wanted);
        wrong.then(|| address.invalid(format!("expected an {wanted} value as indicated by `ipFamilies[{index}]`")))
    };
    pairs.filter_map(mismatch).collect()
}

/// The name of an address's family, if it is an address.
pub(crate) fn family_of(address: &str) -> Option<&'static str> {
    match address.parse() {
        Ok(IpAddr::V4(_)) => Some("IPv4"),
        Ok(IpAddr::V6(_)) => Some("IPv6"),
        Err(_) => None,
    }
}

/// What is wrong with a change of addresses and families: the first of each stays, the second may come and go.
pub(super) fn validate_change(new: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let is_external_name = |spec: &Field<'_>| spec.get("type").text() == "ExternalName";
    if is_external_name(new) || is_external_name(old) {
        return Vec::new();
    }
    let (new_headless, old_headless) = (is_headless(new), is_headless(old));
    let mut errors = Vec::new();
    if !(new_headless && old_headless) {
        errors.extend(validate_address_change(new, old));
    }
    if !new_headless && !old_headless {
        errors.extend(validate_family_change(new, old));
    }
    errors
}

fn validate_address_change(new: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let (addresses, before) = (new.get("clusterIPs"), old.get("clusterIPs"));
    let (now, then) = (addresses.list(), before.list());
    let at = |index: usize, detail: &str| {
        FieldError::invalid(format!("{}[{index}]", addresses.path()), shown_list(now), detail)
    };
    if now.len() == then.len() {
        let changed = now.iter().zip(then).enumerate().filter(|(_, (now, then))| now != then);
        return changed.map(|(index, _)| at(index, UNCHANGEABLE)).collect();
    }
    let mut errors = Vec::new();
    if now.is_empty() {
        errors.push(at(0, "primary clusterIP can not be unset"));
    } else if !then.is_empty() && now[0] != then[0] {
        errors.push(at(0, UNCHANGEABLE));
    }
    if then.len() > now.len() && now.len() == 1 {
        errors.extend(must_be_single_stack(new, "must be set to 'SingleStack' when releasing the secondary clusterIP"));
    }
    errors
}

fn validate_family_change(new: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let (families, before) = (new.get("ipFamilies"), old.get("ipFamilies"));
    let (now, then) = (families.list(), before.list());
    let addresses = new.get("clusterIPs");
    let at_first = |value: &[Value], detail: &str| {
        FieldError::invalid(format!("{}[0]", families.path()), shown_list(value), detail)
    };
    if now.len() == then.len() {
        let changed = now.iter().zip(then).filter(|(now, then)| now != then);
        return changed.map(|_| at_first(now, UNCHANGEABLE)).collect();
    }
    let mut errors = Vec::new();
    if then.len() > now.len() && addresses.is_empty() {
        errors.push(at_first(now, "primary ipFamily can not be unset"));
    }
    if let (Some(first), Some(first_before)) = (now.first(), then.first())
        && first != first_before
    {
        errors.push(at_first(addresses.list(), UNCHANGEABLE));
    }
    if then.len() > now.len() && now.len() == 1 {
        errors.extend(must_be_single_stack(new, "must be set to 'SingleStack' when releasing the secondary ipFamily"));
    }
    errors
}

fn must_be_single_stack(spec: &Field<'_>, detail: &str) -> Option<FieldError> {
    let policy = spec.get("ipFamilyPolicy");
    let shown = policy.value().cloned().unwrap_or(Value::Null);
    (policy.text() != "SingleStack").then(|| FieldError::invalid(policy.path(), shown, detail))
}

/// A list as Kubernetes shows it: an empty one as `null`.
fn shown_list(items: &[Value]) -> Value {
    if items.is_empty() { Value::Null } else { Value::Array(items.to_vec()) }
}
