//! Nodes.

use serde_json::json;

use super::field::Field;
use super::fill::{Fill, Object};
use super::selectable::Selectable;
use super::{Rules, address, metadata, names, quantity};
use crate::error::FieldError;
use crate::table;

pub(super) static RULES: Rules = Rules {
    default,
    validate,
    validate_status: validate,
    selectable: &[Selectable::Truth("spec.unschedulable")],
    printer: table::cluster::NODE,
    ..Rules::PLAIN
};

const TAINT_EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const BLOCKS_CHANGED: &str = "node updates may not change podCIDR except from \"\" to valid";

fn default(node: &mut Object) {
    let spec = node.object("spec");
    agree_on_blocks(spec);
    let status = node.object("status");
    if let Some(capacity) = status.get("capacity").cloned() {
        status.fill("allocatable", capacity);
    }
}

/// `podCIDR` is the first of `podCIDRs`.
fn agree_on_blocks(spec: &mut Object) {
    let first = spec.get("podCIDRs").and_then(|blocks| blocks.get(0)).cloned();
    match first {
        Some(first) => spec.fill("podCIDR", first),
        None if !spec.text("podCIDR").is_empty() => {
            let only = spec.text("podCIDR").to_owned();
            spec.insert("podCIDRs".into(), vec![only].into());
        }
        None => {}
    }
}

fn validate(node: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let (spec, old_spec) = (node.get("spec"), old.get("spec"));
    let mut errors = Vec::new();
    if !old.is_set() {
        errors.extend(validate_taints(&spec.get("taints")));
    }
    errors.extend(validate_resources(&node.get("status")));
    if old.is_set() {
        errors.extend(validate_change(node, &spec, &old_spec));
        errors.extend(validate_taints(&spec.get("taints")));
    } else {
        errors.extend(validate_blocks(&spec.get("podCIDRs")));
    }
    errors
}

fn validate_taints(taints: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = Vec::new();
    for taint in taints.items() {
        // Kubernetes places taints under metadata in its messages.
        let path = taint.path().replacen("spec.", "metadata.", 1);
        let taint = taint.at(path);
        let (key, value, effect) = (taint.get("key"), taint.get("value"), taint.get("effect"));
        errors.extend(metadata::validate_label_key(key.text(), &key));
        let wrong = names::label_value(value.text());
        errors.extend((!wrong.is_empty()).then(|| value.invalid(wrong.join(";"))));
        errors.extend(effect.one_of(TAINT_EFFECTS));
        let pair = (key.text(), effect.text());
        if seen.contains(&pair) {
            // Kubernetes shows its internal names of these fields.
            let shown = json!({
                "Key": key.text(), "Value": value.text(), "Effect": effect.text(), "TimeAdded": taint.get("timeAdded").value(),
            });
            let detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(FieldError { detail, ..FieldError::duplicate(taint.path(), shown) });
        }
        seen.push(pair);
    }
    errors
}

fn validate_resources(status: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for list in ["capacity", "allocatable"] {
        let amounts = status.get(list);
        for (name, _) in amounts.entries() {
            errors.extend(quantity::validate_amount(&amounts.get(name)));
        }
    }
    errors
}

fn validate_blocks(blocks: &Field<'_>) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> =
        blocks.items().filter_map(|block| address::validate_block(&block, &Field::nothing())).collect();
    let families: Vec<bool> = blocks.texts().map(|block| block.contains(':')).collect();
    if families.len() > 1 && (families.len() > 2 || families[0] == families[1]) {
        errors.push(blocks.invalid("may specify no more than one CIDR for each IP family"));
    }
    errors
}

fn validate_change(node: &Field<'_>, spec: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = Vec::new();
    for address in node.get("status").get("addresses").items() {
        if seen.contains(&address.value()) {
            errors.push(address.duplicate());
        }
        seen.push(address.value());
    }
    let (blocks, before) = (spec.get("podCIDRs"), old.get("podCIDRs"));
    if !before.is_empty() && before.value() != blocks.value() {
        errors.push(blocks.forbidden(BLOCKS_CHANGED));
    }
    let (provider, before) = (spec.get("providerID"), old.get("providerID"));
    if !before.is_empty() && before.text() != provider.text() {
        errors.push(provider.forbidden("node updates may not change providerID except from \"\" to valid"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn errors(new: &Value, old: Option<&Value>) -> Vec<String> {
        let old = old.map_or_else(Field::nothing, Field::root);
        validate(&Field::root(new), &old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_first_pod_block_has_a_field_of_its_own() {
        let mut spec = json!({"podCIDRs": ["10.244.1.0/24"]});
        agree_on_blocks(spec.as_object_mut().expect("an object"));
        assert_eq!(spec["podCIDR"], "10.244.1.0/24");
        let mut spec = json!({"podCIDR": "10.244.1.0/24"});
        agree_on_blocks(spec.as_object_mut().expect("an object"));
        assert_eq!(spec["podCIDRs"], json!(["10.244.1.0/24"]));
    }

    #[test]
    fn a_node_keeps_the_block_it_was_given() {
        let node = |block: &str| json!({"spec": {"podCIDRs": [block]}});
        assert!(errors(&node("10.1.0.0/24"), Some(&json!({"spec": {}}))).is_empty());
        assert_eq!(
            errors(&node("10.1.0.0/24"), Some(&node("10.2.0.0/24"))),
            ["spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid"]
        );
    }

    #[test]
    fn an_address_stands_once_in_a_status() {
        let node = |addresses: Value| json!({"status": {"addresses": addresses}});
        let one = json!({"type": "InternalIP", "address": "10.0.0.1"});
        let other = json!({"type": "InternalIP", "address": "fd00::1"});
        let errors = |addresses| {
            let (new, old) = (node(addresses), node(json!([])));
            let errors = (RULES.validate_status)(&Field::root(&new), &Field::root(&old));
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(errors(json!([one, other])).is_empty());
        let twice = "status.addresses[1]: Duplicate value: {\"type\":\"InternalIP\",\"address\":\"10.0.0.1\"}";
        assert_eq!(errors(json!([one, one])), [twice]);
    }

    #[test]
    fn taints_differ_in_key_or_effect() {
        let taint = json!({"key": "a", "effect": "NoSchedule"});
        assert_eq!(
            errors(&json!({"spec": {"taints": [taint, taint, {"key": "b", "effect": "Never"}]}}), None),
            [
                "metadata.taints[1]: Duplicate value: {\"Key\":\"a\",\"Value\":\"\",\"Effect\":\"NoSchedule\",\"TimeAdded\":null}: \
                 taints must be unique by key and effect pair",
                "metadata.taints[2].effect: Unsupported value: \"Never\": \
                 supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            ]
        );
    }
}
