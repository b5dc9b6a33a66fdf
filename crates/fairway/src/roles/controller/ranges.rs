//! Which node gets a range of pod addresses when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use compile::allocation::{Allocation, Pool, allocate};
use ipnet::IpNet;
use model::{Cluster, Name, Node, Rejected, RejectedReason, Subject};
use tokio::time::Instant;

/// What is remembered from one snapshot of the nodes to the next.
#[derive(Debug)]
pub(super) struct NodeRanges {
    pools: Vec<Pool>,
    /// How long others may take to give a node its ranges.
    courtesy: Duration,
    /// Nodes without a range, and since when they are known to have none.
    waiting: BTreeMap<NodeId, Instant>,
    /// What was given and is not in the snapshot yet.
    given: BTreeMap<NodeId, Vec<IpNet>>,
    /// Nodes that were told why they get nothing.
    told: BTreeSet<NodeId>,
}

/// A node, and none that is made anew under its name: that one has nothing of what this one was given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId {
    pub(super) name: Name,
    pub(super) uid: Name,
}

impl From<&Node> for NodeId {
    fn from(node: &Node) -> Self {
        Self { name: node.name.clone(), uid: node.uid.clone() }
    }
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// Ranges to be given.
    pub(super) give: BTreeMap<NodeId, Vec<IpNet>>,
    /// Nodes that get none and have not been told.
    pub(super) rejected: Vec<Rejected>,
    /// When to look again even if nothing changes.
    pub(super) next: Option<Instant>,
}

impl NodeRanges {
    pub(super) fn new(pools: Vec<Pool>, courtesy: Duration) -> Self {
        Self { pools, courtesy, waiting: BTreeMap::new(), given: BTreeMap::new(), told: BTreeSet::new() }
    }

    /// How many nodes have no range.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Notes that a node was given ranges.
    pub(super) fn given(&mut self, node: NodeId, ranges: Vec<IpNet>) {
        self.waiting.remove(&node);
        self.given.insert(node, ranges);
    }

    /// What the nodes as they are now ask for.
    pub(super) fn step(&mut self, cluster: &Cluster, now: Instant) -> Step {
        self.take_in(cluster, now);
        let (due, later): (Vec<_>, Vec<_>) =
            self.waiting.iter().map(|(node, since)| (node, *since + self.courtesy)).partition(|(_, due)| *due <= now);
        let ids: BTreeMap<Name, NodeId> = due.into_iter().map(|(node, _)| (node.name.clone(), node.clone())).collect();
        let due: Vec<Name> = ids.keys().cloned().collect();
        let next = later.into_iter().map(|(_, due)| due).min();
        let Allocation { given, mut rejected } = match self.pools.is_empty() {
            true => Allocation { rejected: due.iter().map(no_pool).collect(), ..Allocation::default() },
            false => allocate(&self.pools, &self.with_given(cluster), &due),
        };
        rejected.retain(|rejected| ids.get(&rejected.object.name).is_none_or(|node| self.told.insert(node.clone())));
        let give = given.into_iter().filter_map(|(name, ranges)| Some((ids.get(&name)?.clone(), ranges)));
        Step { give: give.collect(), rejected, next }
    }

    fn take_in(&mut self, cluster: &Cluster, now: Instant) {
        let bare = cluster.nodes.values().filter(|node| node.pod_cidrs.is_empty());
        let bare: BTreeSet<NodeId> = bare.map(|node| NodeId::from(&**node)).collect();
        self.given.retain(|node, _| bare.contains(node));
        self.waiting.retain(|node, _| bare.contains(node));
        self.told.retain(|node| bare.contains(node));
        for node in bare {
            if !self.given.contains_key(&node) {
                self.waiting.entry(node).or_insert(now);
            }
        }
    }

    /// The snapshot as it will be once what was given is in it.
    fn with_given(&self, cluster: &Cluster) -> Cluster {
        let mut cluster = cluster.clone();
        for (NodeId { name, .. }, ranges) in &self.given {
            if let Some(node) = cluster.nodes.get(name) {
                let node = Node { pod_cidrs: ranges.clone(), ..Node::clone(node) };
                cluster.nodes.insert(name.clone(), Arc::new(node));
            }
        }
        cluster
    }
}

fn no_pool(node: &Name) -> Rejected {
    let why = "is empty: pods get no address here; have the controller manager allocate node CIDRs, or give Fairway's \
               controller a --cluster-cidr";
    Rejected {
        object: Subject::node(node),
        field: "spec.podCIDRs".into(),
        why: why.into(),
        reason: RejectedReason::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COURTESY: Duration = Duration::from_secs(10);

    fn cluster(nodes: &[(&str, &str)]) -> Cluster {
        let mut cluster = Cluster::default();
        for (name, range) in nodes {
            let pod_cidrs = range.parse().into_iter().collect();
            let (addresses, labels) = (Vec::new(), BTreeMap::new());
            let node = Node { name: (*name).into(), uid: "".into(), addresses, pod_cidrs, labels, leaving: false };
            cluster.nodes.insert(node.name.clone(), Arc::new(node));
        }
        cluster
    }

    fn ranges(pool: Option<&str>) -> NodeRanges {
        let pools = pool.map(|range| Pool::new(range.parse().unwrap(), 25).unwrap()).into_iter().collect();
        NodeRanges::new(pools, COURTESY)
    }

    fn gives(step: &Step) -> Vec<String> {
        step.give.iter().map(|(node, ranges)| format!("{} {}", node.name, ranges[0])).collect()
    }

    #[test]
    fn others_have_some_time_before_a_node_gets_a_range_from_us() {
        let (mut ranges, start) = (ranges(Some("10.0.0.0/24")), Instant::now());
        let step = ranges.step(&cluster(&[("a", ""), ("b", "10.0.0.0/25")]), start);
        assert_eq!(step, Step { next: Some(start + COURTESY), ..Step::default() });
        assert_eq!(
            gives(&ranges.step(&cluster(&[("a", ""), ("b", "10.0.0.0/25")]), start + COURTESY)),
            ["a 10.0.0.128/25"]
        );
        let step = ranges.step(&cluster(&[("a", "10.0.0.128/25"), ("b", "10.0.0.0/25")]), start + COURTESY);
        assert_eq!((step, ranges.waiting()), (Step::default(), 0), "somebody else was faster");
    }

    #[test]
    fn what_was_given_is_given_to_nobody_else_before_the_snapshot_shows_it() {
        let (mut ranges, start) = (ranges(Some("10.0.0.0/24")), Instant::now());
        let nodes = cluster(&[("a", "")]);
        ranges.step(&nodes, start);
        let step = ranges.step(&nodes, start + COURTESY);
        for (node, given) in step.give {
            ranges.given(node, given);
        }
        let stale = cluster(&[("0", ""), ("a", "")]);
        ranges.step(&stale, start + COURTESY);
        assert_eq!(gives(&ranges.step(&stale, start + COURTESY * 2)), ["0 10.0.0.128/25"]);
    }

    #[test]
    fn a_node_made_anew_before_the_snapshot_showed_what_its_name_was_given_gets_a_range_too() {
        let (mut ranges, start) = (ranges(Some("10.0.0.0/24")), Instant::now());
        let nodes = cluster(&[("a", "")]);
        ranges.step(&nodes, start);
        for (node, given) in ranges.step(&nodes, start + COURTESY).give {
            ranges.given(node, given);
        }
        assert_eq!(ranges.step(&nodes, start + COURTESY * 3), Step::default());
        let mut anew = nodes.clone();
        let node = Node { uid: "another".into(), ..Node::clone(nodes.nodes.get("a").unwrap()) };
        anew.nodes.insert("a".into(), Arc::new(node));
        ranges.step(&anew, start + COURTESY * 3);
        assert_eq!(gives(&ranges.step(&anew, start + COURTESY * 4)), ["a 10.0.0.0/25"]);
    }

    #[test]
    fn a_node_that_gets_nothing_is_told_once() {
        for pool in [None, Some("10.0.0.0/25")] {
            let (mut ranges, start) = (ranges(pool), Instant::now());
            let nodes = cluster(&[("a", ""), ("b", "10.0.0.0/25")]);
            ranges.step(&nodes, start);
            let told =
                |step: Step| step.rejected.into_iter().map(|rejected| rejected.object.to_string()).collect::<Vec<_>>();
            assert_eq!(told(ranges.step(&nodes, start + COURTESY)), ["Node a"]);
            assert_eq!(told(ranges.step(&nodes, start + COURTESY)), Vec::<String>::new());
        }
    }
}
