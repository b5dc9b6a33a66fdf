//! Whether a node admits a pod by labels, names and taints.

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration};

use super::{kind::Kind, selector::contains};

/// Taint of a node that is not ready, or not yet known to be.
pub(super) const NOT_READY_TAINT: &str = "node.kubernetes.io/not-ready";
/// Taint of a node nothing has been heard of.
pub(super) const UNREACHABLE_TAINT: &str = "node.kubernetes.io/unreachable";
/// Taint of a cordoned node.
pub(super) const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";

/// Whether the pod's node selector and required node affinity admit the node.
pub(super) fn selects_node(pod: &PodSpec, node: &Node) -> bool {
    if pod.node_selector.as_ref().is_some_and(|wanted| !contains(node.labels(), wanted)) {
        return false;
    }
    let affinity = pod.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_none_or(|required| required.node_selector_terms.iter().any(|term| term_holds(term, node)))
}

/// The first taint of one of these effects that the pod does not tolerate.
pub(super) fn untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration], effects: &[&str]) -> Option<&'a Taint> {
    let counting = taints.iter().filter(|taint| effects.contains(&taint.effect.as_str()));
    let mut open = counting.filter(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)));
    open.next()
}

/// Whether the node says that it is ready.
pub(super) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The node's taints.
pub(super) fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        Some("Equal" | "") | None => {
            !key.is_empty() && toleration.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or("")
        }
        Some(_) => false,
    }
}

/// A term without any requirement admits nothing.
fn term_holds(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let by_name = |requirement: &NodeSelectorRequirement| {
        requirement.key == "metadata.name" && requirement_holds(requirement, Some(node.name()))
    };
    let by_label = |requirement: &NodeSelectorRequirement| {
        requirement_holds(requirement, node.labels().get(&requirement.key).map(String::as_str))
    };
    (!expressions.is_empty() || !fields.is_empty()) && expressions.iter().all(by_label) && fields.iter().all(by_name)
}

fn requirement_holds(requirement: &NodeSelectorRequirement, present: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = present.is_some_and(|present| values.iter().any(|value| value == present));
    let compare = |holds: fn(i64, i64) -> bool| {
        let limit = values.first().and_then(|value| value.parse().ok());
        let present = present.and_then(|present| present.parse().ok());
        present.zip(limit).is_some_and(|(present, limit)| holds(present, limit))
    };
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => present.is_some(),
        "DoesNotExist" => present.is_none(),
        "Gt" => compare(|present, limit| present > limit),
        "Lt" => compare(|present, limit| present < limit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node() -> Node {
        serde_json::from_value(json!({"metadata": {"name": "node1", "labels": {"zone": "a", "cores": "8"}}})).unwrap()
    }

    fn selected(term: &Value) -> bool {
        let affinity =
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}});
        let pod: PodSpec = serde_json::from_value(json!({"containers": [], "affinity": affinity})).unwrap();
        selects_node(&pod, &node())
    }

    fn labels(key: &str, operator: &str, values: &[&str]) -> Value {
        json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})
    }

    #[test]
    fn affinity_compares_labels_and_names() {
        assert!(selected(&labels("zone", "In", &["a", "b"])));
        assert!(!selected(&labels("zone", "NotIn", &["a"])));
        assert!(selected(&labels("rack", "NotIn", &["a"])));
        assert!(selected(&labels("cores", "Gt", &["4"])));
        assert!(!selected(&labels("cores", "Lt", &["8"])));
        assert!(selected(&json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node1"]}]})));
        assert!(!selected(&json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node2"]}]})));
    }

    #[test]
    fn a_term_without_requirements_admits_no_node() {
        assert!(!selected(&json!({})));
    }

    fn tolerated(toleration: Value) -> bool {
        let taint = json!({"key": "role", "value": "db", "effect": "NoSchedule"});
        tolerates(&serde_json::from_value(toleration).unwrap(), &serde_json::from_value(taint).unwrap())
    }

    #[test]
    fn a_toleration_must_match_key_value_and_effect() {
        assert!(tolerated(json!({"key": "role", "value": "db", "effect": "NoSchedule"})));
        assert!(tolerated(json!({"key": "role", "operator": "Exists"})));
        assert!(tolerated(json!({"operator": "Exists"})));
        assert!(!tolerated(json!({"key": "role", "value": "web"})));
        assert!(!tolerated(json!({"key": "role", "operator": "Exists", "effect": "NoExecute"})));
        assert!(!tolerated(json!({})));
    }
}
