//! What the scheduler knows: the nodes, and what is placed on each, its own decisions included.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint};

use super::unfit::{Reason, Unfit};
use crate::controllers::{
    kind::Kind,
    placement::{NOT_READY_TAINT, UNSCHEDULABLE_TAINT, is_ready, selects_node, taints, untolerated},
};

/// How many pods a node takes that does not say so; the kubelet's default.
const DEFAULT_CAPACITY: usize = 110;
/// Labels that differ between pods which do the same work.
const INSTANCE_LABELS: &[&str] = &[
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
];

/// The nodes and what is placed on them.
#[derive(Default)]
pub(super) struct Board {
    nodes: BTreeMap<String, Seat>,
    loads: HashMap<String, Load>,
    placed: HashMap<String, Placement>,
}

struct Seat {
    node: Arc<Node>,
    taints: Vec<Taint>,
    capacity: usize,
}

struct Placement {
    node: String,
    group: Group,
    ports: Vec<HostPort>,
}

/// Pods that do the same work and are to be spread: equal labels in one namespace.
type Group = (String, Vec<(String, String)>);

/// A port a pod takes on its node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HostPort {
    address: String,
    protocol: String,
    port: i32,
}

/// What runs on one node.
#[derive(Default)]
struct Load {
    pods: usize,
    groups: HashMap<Group, usize>,
    ports: Vec<HostPort>,
}

impl Board {
    /// Takes in a node as it is now.
    pub(super) fn put_node(&mut self, node: &Arc<Node>) {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let capacity = allocatable.and_then(|resources| resources.get("pods")).and_then(|pods| pods.0.parse().ok());
        let mut taints = taints(node).to_vec();
        if !is_ready(node) && !taints.iter().any(|taint| taint.key == NOT_READY_TAINT) {
            // The taint itself comes a moment later from the node controller.
            taints.push(no_schedule(NOT_READY_TAINT));
        }
        let seat = Seat { node: Arc::clone(node), taints, capacity: capacity.unwrap_or(DEFAULT_CAPACITY) };
        self.nodes.insert(node.name().to_owned(), seat);
    }

    /// Forgets a node.
    pub(super) fn remove_node(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    /// Takes in that a pod is on a node, or will be.
    pub(super) fn place(&mut self, pod: &Pod, node: &str) {
        if self.placed.get(pod.uid()).is_some_and(|known| known.node == node) {
            return;
        }
        self.remove(pod);
        let placement = Placement { node: node.to_owned(), group: group(pod), ports: host_ports(pod) };
        self.loads.entry(node.to_owned()).or_default().add(&placement);
        self.placed.insert(pod.uid().to_owned(), placement);
    }

    /// Takes in that a pod needs its place no more.
    pub(super) fn remove(&mut self, pod: &Pod) {
        let Some(placement) = self.placed.remove(pod.uid()) else { return };
        if let Some(load) = self.loads.get_mut(&placement.node) {
            load.subtract(&placement);
            if load.pods == 0 {
                self.loads.remove(&placement.node);
            }
        }
    }

    /// Whether the pod has a place already.
    pub(super) fn is_placed(&self, pod: &Pod) -> bool {
        self.placed.contains_key(pod.uid())
    }

    /// The node with the fewest pods like this one, and among those the one with the fewest pods.
    pub(super) fn choose(&self, pod: &Pod, spec: &PodSpec) -> Result<&str, Unfit> {
        let (group, ports) = (group(pod), host_ports(pod));
        let nothing = Load::default();
        let mut best: Option<(usize, usize, &str)> = None;
        let mut unfit = Unfit::of(self.nodes.len());
        for (name, seat) in &self.nodes {
            let load = self.loads.get(name).unwrap_or(&nothing);
            match seat.refusal(spec, &ports, load) {
                Some(reason) => unfit.add(reason),
                None => {
                    let candidate = (load.alike(&group), load.pods, name.as_str());
                    best = Some(best.map_or(candidate, |best| best.min(candidate)));
                }
            }
        }
        best.map(|(_, _, name)| name).ok_or(unfit)
    }
}

impl Load {
    fn add(&mut self, placement: &Placement) {
        self.pods += 1;
        *self.groups.entry(placement.group.clone()).or_default() += 1;
        self.ports.extend(placement.ports.iter().cloned());
    }

    fn subtract(&mut self, placement: &Placement) {
        self.pods -= 1;
        if let Some(alike) = self.groups.get_mut(&placement.group) {
            *alike -= 1;
            if *alike == 0 {
                self.groups.remove(&placement.group);
            }
        }
        for port in &placement.ports {
            if let Some(index) = self.ports.iter().position(|taken| taken == port) {
                self.ports.swap_remove(index);
            }
        }
    }

    fn alike(&self, group: &Group) -> usize {
        self.groups.get(group).copied().unwrap_or_default()
    }
}

impl Seat {
    /// Why the node cannot take the pod, in the order in which Kubernetes' scheduler asks.
    fn refusal(&self, pod: &PodSpec, ports: &[HostPort], load: &Load) -> Option<Reason> {
        let tolerations = pod.tolerations.as_deref().unwrap_or_default();
        let effects = ["NoSchedule", "NoExecute"];
        let cordoned = self.node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
        if cordoned && untolerated(&[no_schedule(UNSCHEDULABLE_TAINT)], tolerations, &effects).is_some() {
            return Some(Reason::Unschedulable);
        }
        if let Some(taint) = untolerated(&self.taints, tolerations, &effects) {
            let value = taint.value.clone().unwrap_or_default();
            return Some(Reason::Taint { key: taint.key.clone(), value });
        }
        if !selects_node(pod, &self.node) {
            return Some(Reason::Affinity);
        }
        if ports.iter().any(|port| load.ports.iter().any(|taken| port.conflicts_with(taken))) {
            return Some(Reason::Ports);
        }
        (load.pods >= self.capacity).then_some(Reason::Full)
    }
}

impl HostPort {
    fn conflicts_with(&self, other: &Self) -> bool {
        let any = |address: &str| address.is_empty() || address == "0.0.0.0" || address == "::";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address || any(&self.address) || any(&other.address))
    }
}

fn no_schedule(key: &str) -> Taint {
    Taint { key: key.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() }
}

fn group(pod: &Pod) -> Group {
    let labels = pod.labels().iter().filter(|(key, _)| !INSTANCE_LABELS.contains(&key.as_str()));
    (pod.namespace().to_owned(), labels.map(|(key, value)| (key.clone(), value.clone())).collect())
}

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let ports = containers.iter().flat_map(|container| container.ports.as_deref().unwrap_or_default());
    let taken = ports.filter_map(|port| {
        Some(HostPort {
            address: port.host_ip.clone().unwrap_or_default(),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            port: port.host_port.filter(|&port| port != 0)?,
        })
    });
    taken.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, change: impl Fn(&mut Value)) -> Arc<Node> {
        let mut node = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": {},
            "status": {"allocatable": {"pods": "4"}, "conditions": [{"type": "Ready", "status": "True"}]},
        });
        change(&mut node);
        Arc::new(serde_json::from_value(node).unwrap())
    }

    fn pod(uid: &str, app: &str, spec: &Value) -> Pod {
        let mut full = json!({"containers": []});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let metadata =
            json!({"name": uid, "uid": uid, "namespace": "shop", "labels": {"app": app, "pod-template-hash": uid}});
        serde_json::from_value(json!({"metadata": metadata, "spec": full})).unwrap()
    }

    fn board(nodes: &[Arc<Node>]) -> Board {
        let mut board = Board::default();
        nodes.iter().for_each(|node| board.put_node(node));
        board
    }

    fn choose<'a>(board: &'a Board, pod: &Pod) -> Result<&'a str, Unfit> {
        board.choose(pod, pod.spec.as_ref().unwrap())
    }

    #[test]
    fn pods_alike_are_spread_before_the_total_counts() {
        let mut board = board(&[node("n1", |_| {}), node("n2", |_| {})]);
        board.place(&pod("1", "web", &json!({})), "n1");
        board.place(&pod("2", "api", &json!({})), "n2");
        board.place(&pod("3", "api", &json!({})), "n2");
        assert_eq!(choose(&board, &pod("4", "web", &json!({}))), Ok("n2"));
        assert_eq!(choose(&board, &pod("5", "dns", &json!({}))), Ok("n1"));
    }

    #[test]
    fn host_ports_exclude_each_other_on_a_node() {
        let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080}]}]});
        let mut board = board(&[node("n1", |_| {})]);
        board.place(&pod("1", "web", &port), "n1");
        let unfit = choose(&board, &pod("2", "api", &port)).unwrap_err();
        assert_eq!(unfit.reasons().collect::<Vec<_>>(), [&Reason::Ports]);
    }

    #[test]
    fn cordoned_tainted_and_foreign_nodes_refuse() {
        let nodes = [
            node("cordoned", |node| node["spec"]["unschedulable"] = json!(true)),
            node("tainted", |node| {
                node["spec"]["taints"] = json!([{"key": "a", "value": "b", "effect": "NoSchedule"}]);
            }),
            node("starting", |node| node["status"]["conditions"] = json!([])),
            node("other", |_| {}),
        ];
        let selector = json!({"nodeSelector": {"kubernetes.io/hostname": "none"}});
        let unfit = choose(&board(&nodes), &pod("1", "web", &selector)).unwrap_err();
        let taint = |key: &str, value: &str| Reason::Taint { key: key.into(), value: value.into() };
        let expected = [Reason::Unschedulable, Reason::Affinity, taint("a", "b"), taint(NOT_READY_TAINT, "")];
        assert_eq!(unfit.reasons().collect::<std::collections::BTreeSet<_>>(), expected.iter().collect());
    }

    #[test]
    fn a_full_node_refuses_until_a_pod_leaves() {
        let mut board = board(&[node("n1", |node| node["status"]["allocatable"]["pods"] = json!("1"))]);
        let first = pod("1", "web", &json!({}));
        board.place(&first, "n1");
        assert!(choose(&board, &pod("2", "web", &json!({}))).is_err());
        board.remove(&first);
        assert_eq!(choose(&board, &pod("2", "web", &json!({}))), Ok("n1"));
    }

    #[test]
    fn a_pod_that_tolerates_everything_goes_to_a_node_that_is_not_ready() {
        let board = board(&[node("n1", |node| node["status"]["conditions"] = json!([]))]);
        let agent = pod("1", "agent", &json!({"tolerations": [{"operator": "Exists"}]}));
        assert_eq!(choose(&board, &agent), Ok("n1"));
    }
}
