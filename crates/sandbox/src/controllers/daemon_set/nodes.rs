//! Which nodes a DaemonSet is for, and the pod it puts on one.

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{
        Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, PodTemplateSpec, Toleration,
    },
};

use crate::controllers::{
    history::REVISION_LABEL,
    kind::Kind,
    placement::{NOT_READY_TAINT, UNREACHABLE_TAINT, UNSCHEDULABLE_TAINT, selects_node, taints, untolerated},
    pod::{from_template, node_name},
};

const NODE_NAME_FIELD: &str = "metadata.name";
/// Taints every daemon stays in spite of: what is wrong with the node is often what it is there to fix.
const ENDURED: &[(&str, &str)] = &[
    (NOT_READY_TAINT, "NoExecute"),
    (UNREACHABLE_TAINT, "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    (UNSCHEDULABLE_TAINT, "NoSchedule"),
];
/// What a daemon in the node's own network endures besides.
const NETWORK_UNAVAILABLE_TAINT: &str = "node.kubernetes.io/network-unavailable";

/// How a node and a DaemonSet go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// A pod is to run there.
    Runs,
    /// A pod that is there may stay, but no new one comes.
    Stays,
    /// No pod is to be there.
    Refuses,
}

/// How the node takes pods of this template.
pub(super) fn fit(template: &PodTemplateSpec, node: &Node) -> Fit {
    let spec = template.spec.clone().unwrap_or_default();
    let elsewhere = spec.node_name.as_deref().is_some_and(|name| !name.is_empty() && name != node.name());
    if elsewhere || !selects_node(&spec, node) {
        return Fit::Refuses;
    }
    let tolerations = tolerations(&spec);
    let untolerated = |effects: &[&str]| untolerated(taints(node), &tolerations, effects).is_some();
    match (untolerated(&["NoExecute"]), untolerated(&["NoSchedule"])) {
        (true, _) => Fit::Refuses,
        (false, true) => Fit::Stays,
        (false, false) => Fit::Runs,
    }
}

/// The pod for one node; the scheduler binds it there and nowhere else.
pub(super) fn daemon_pod(set: &DaemonSet, template: &PodTemplateSpec, hash: &str, node: &str) -> Pod {
    let mut pod = from_template(template, set.namespace(), set.controller_reference());
    pod.metadata.labels.get_or_insert_default().insert(REVISION_LABEL.to_owned(), hash.to_owned());
    let spec = pod.spec.get_or_insert_default();
    spec.tolerations = Some(tolerations(spec));
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    // The template's own node affinity has been judged when the node was chosen.
    affinity.required_during_scheduling_ignored_during_execution = Some(only(node));
    pod
}

/// The node a daemon pod runs on or is meant for.
pub(super) fn target_node(pod: &Pod) -> Option<&str> {
    node_name(pod).or_else(|| {
        let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
        let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
        let fields = required.node_selector_terms.iter().filter_map(|term| term.match_fields.as_deref()).flatten();
        let named = fields.filter(|field| field.key == NODE_NAME_FIELD && field.operator == "In");
        named.filter_map(|field| field.values.as_ref()?.first()).map(String::as_str).next()
    })
}

fn only(node: &str) -> NodeSelector {
    let name = NodeSelectorRequirement {
        key: NODE_NAME_FIELD.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_expressions: None, match_fields: Some(vec![name]) };
    NodeSelector { node_selector_terms: vec![term] }
}

fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut tolerations = spec.tolerations.clone().unwrap_or_default();
    let own_network = spec.host_network == Some(true);
    let network = own_network.then_some((NETWORK_UNAVAILABLE_TAINT, "NoSchedule"));
    for (key, effect) in ENDURED.iter().copied().chain(network) {
        let endured = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if !tolerations.contains(&endured) {
            tolerations.push(endured);
        }
    }
    tolerations
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(taints: &Value) -> Node {
        let node = json!({"metadata": {"name": "n1", "labels": {"disk": "ssd"}}, "spec": {"taints": taints}});
        serde_json::from_value(node).unwrap()
    }

    fn template(spec: &Value) -> PodTemplateSpec {
        let mut full = json!({"containers": []});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({"spec": full})).unwrap()
    }

    #[test]
    fn daemons_run_on_cordoned_nodes_but_respect_other_taints() {
        let plain = template(&json!({}));
        let taint = |key: &str, effect: &str| node(&json!([{"key": key, "effect": effect}]));
        assert_eq!(fit(&plain, &taint(UNSCHEDULABLE_TAINT, "NoSchedule")), Fit::Runs);
        assert_eq!(fit(&plain, &taint(NOT_READY_TAINT, "NoExecute")), Fit::Runs);
        assert_eq!(fit(&plain, &taint("dedicated", "NoSchedule")), Fit::Stays);
        assert_eq!(fit(&plain, &taint("dedicated", "NoExecute")), Fit::Refuses);
    }

    #[test]
    fn node_selector_and_node_name_choose_nodes() {
        assert_eq!(fit(&template(&json!({"nodeSelector": {"disk": "ssd"}})), &node(&json!([]))), Fit::Runs);
        assert_eq!(fit(&template(&json!({"nodeSelector": {"disk": "hdd"}})), &node(&json!([]))), Fit::Refuses);
        assert_eq!(fit(&template(&json!({"nodeName": "n2"})), &node(&json!([]))), Fit::Refuses);
    }

    #[test]
    fn a_daemon_pod_is_meant_for_its_node() {
        let set: DaemonSet = serde_json::from_value(json!({"metadata": {"name": "agent", "uid": "d"}})).unwrap();
        let pod = daemon_pod(&set, &template(&json!({"hostNetwork": true})), "hash", "n1");
        assert_eq!(target_node(&pod), Some("n1"));
        assert_eq!(pod.labels()[REVISION_LABEL], "hash");
        let tolerations = pod.spec.unwrap().tolerations.unwrap();
        assert!(tolerations.iter().any(|toleration| toleration.key.as_deref() == Some(NETWORK_UNAVAILABLE_TAINT)));
    }
}
