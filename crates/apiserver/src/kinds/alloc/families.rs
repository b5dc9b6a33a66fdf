//! Which address families a Service gets.

use serde_json::{Value, json};

use super::texts;
use crate::error::FieldError;
use crate::kinds::field::Field;
use crate::kinds::fill::{Fill, Object};
use crate::kinds::service::{HEADLESS, addresses};

const SINGLE: &str = "SingleStack";
const PREFER_DUAL: &str = "PreferDualStack";
const REQUIRE_DUAL: &str = "RequireDualStack";

/// Fills in `ipFamilyPolicy` and `ipFamilies`. `configured` are the families the cluster has, the preferred one first.
pub(super) fn decide(spec: &mut Object, old: Option<&Object>, configured: &[&str]) -> Result<(), Vec<FieldError>> {
    if old.is_some_and(|old| is_settled_dual_stack(spec, old)) {
        return Ok(());
    }
    if spec.text("ipFamilyPolicy").is_empty() {
        let policy = implied_policy(spec, old).to_owned();
        spec.insert("ipFamilyPolicy".into(), json!(policy));
    }
    refuse_any(addresses_errors(spec, old))?;
    let mut errors = old.map(|old| shrink(spec, old)).unwrap_or_default();
    errors.extend(too_many_for_single_stack(spec));
    errors.extend(infer_families(spec, configured));
    refuse_any(errors)?;
    if is_headless(spec) && has_no_selector(spec) {
        // Somebody else fills in the endpoints, of whatever family: the cluster's families are no limit.
        complete_families(spec, configured, true);
        return Ok(());
    }
    refuse_any(unconfigured(spec, configured))?;
    complete_families(spec, configured, configured.len() > 1);
    Ok(())
}

fn refuse_any(errors: Vec<FieldError>) -> Result<(), Vec<FieldError>> {
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn addresses_errors(spec: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let (spec, old) = (Value::Object(spec.clone()), old.cloned().map_or(Value::Null, Value::Object));
    let old_field = if old.is_null() { Field::nothing() } else { Field::root(&old) };
    addresses::validate(&Field::root(&spec).at("spec"), &old_field)
}

/// A Service that prefers two families is not moved between one and two unless it changes what it asks for.
fn is_settled_dual_stack(spec: &Object, old: &Object) -> bool {
    let same = |name: &str| spec.get(name) == old.get(name);
    let old_policy = old.text("ipFamilyPolicy");
    spec.text("ipFamilyPolicy") == PREFER_DUAL
        && (old_policy == PREFER_DUAL || old_policy.is_empty())
        && ["type", "clusterIP", "clusterIPs", "ipFamilies"].into_iter().all(same)
}

fn implied_policy<'a>(spec: &Object, old: Option<&'a Object>) -> &'a str {
    match old.map(|old| old.text("ipFamilyPolicy")).filter(|policy| !policy.is_empty()) {
        Some(policy) => policy,
        None if spec.text("clusterIP") == HEADLESS && has_no_selector(spec) => REQUIRE_DUAL,
        None => SINGLE,
    }
}

/// Gives up the second address and family where the policy became single; refuses to do so where it did not.
fn shrink(spec: &mut Object, old: &Object) -> Vec<FieldError> {
    let single = spec.text("ipFamilyPolicy") == SINGLE;
    let mut errors = Vec::new();
    for (name, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (mut now, before) = (texts(spec, name), texts(old, name));
        if single {
            if now == before && now.len() > 1 {
                now.truncate(1);
                spec.insert(name.into(), json!(now));
            }
        } else if !now.is_empty() && now.len() < before.len() && now[0] == before[0] {
            errors.push(policy_error(spec, format!("must be 'SingleStack' to release the secondary {what}")));
        }
    }
    errors
}

fn too_many_for_single_stack(spec: &Object) -> Vec<FieldError> {
    let several = [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")];
    let wrong =
        several.into_iter().filter(|(name, _)| spec.text("ipFamilyPolicy") == SINGLE && texts(spec, name).len() == 2);
    wrong
        .map(|(_, what)| {
            let detail = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
            policy_error(spec, detail)
        })
        .collect()
}

fn policy_error(spec: &Object, detail: impl Into<String>) -> FieldError {
    FieldError::invalid("spec.ipFamilyPolicy", spec.text("ipFamilyPolicy"), detail)
}

/// Adds the families of the addresses the client gave.
fn infer_families(spec: &mut Object, configured: &[&str]) -> Vec<FieldError> {
    let given = texts(spec, "clusterIPs");
    let mut families = texts(spec, "ipFamilies");
    let mut errors = Vec::new();
    for (index, address) in given.iter().enumerate().skip(families.len()) {
        match addresses::family_of(address) {
            Some(family) if configured.contains(&family) => families.push(family.to_owned()),
            Some(family) => {
                let field = format!("spec.clusterIPs[{index}]");
                let detail = format!("{family} is not configured on this cluster");
                errors.push(FieldError::invalid(field, json!(given), detail));
            }
            None => break,
        }
    }
    if !families.is_empty() {
        spec.insert("ipFamilies".into(), json!(families));
    }
    errors
}

fn unconfigured(spec: &Object, configured: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if spec.text("ipFamilyPolicy") == REQUIRE_DUAL && configured.len() < 2 {
        errors.push(policy_error(spec, "this cluster is not configured for dual-stack services"));
    }
    for (index, family) in texts(spec, "ipFamilies").into_iter().enumerate() {
        if !configured.contains(&family.as_str()) {
            let field = format!("spec.ipFamilies[{index}]");
            errors.push(FieldError::invalid(field, family, "not configured on this cluster"));
        }
    }
    errors
}

/// Sets the preferred family if none was asked for, and the other one beside it where the policy wants two.
fn complete_families(spec: &mut Object, configured: &[&str], second_possible: bool) {
    let mut families = texts(spec, "ipFamilies");
    if families.is_empty() {
        families.extend(configured.first().map(|&family| family.to_owned()));
    }
    if let [only] = &families[..]
        && second_possible
        && spec.text("ipFamilyPolicy") != SINGLE
    {
        let other = if only == "IPv4" { "IPv6" } else { "IPv4" };
        families.push(other.to_owned());
    }
    spec.insert("ipFamilies".into(), json!(families));
}

fn is_headless(spec: &Object) -> bool {
    spec.text("clusterIP") == HEADLESS
}

fn has_no_selector(spec: &Object) -> bool {
    spec.get("selector").and_then(Value::as_object).is_none_or(Object::is_empty)
}
