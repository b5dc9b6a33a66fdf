//! Which node gets a range of pod addresses when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use compile::allocation::{Allocation, Pool, allocate};
use ipnet::IpNet;
use kubeapi::WriteError;
use model::{Cluster, Name, Node, Rejected, RejectedReason, Subject};
use tokio::time::Instant;

use super::PATIENCE;
use super::backoff::Backoff;

/// What is remembered from one snapshot of the nodes to the next.
#[derive(Debug)]
pub(super) struct NodeRanges {
    pools: Vec<Pool>,
    /// How long others may take to give a node its ranges.
    courtesy: Duration,
    /// Nodes that have none in the snapshot.
    bare: BTreeMap<Name, Bare>,
    backoff: Backoff,
}

/// A node without ranges.
#[derive(Debug)]
struct Bare {
    /// Which of several nodes of one name it is.
    uid: Name,
    /// Since when it is known to have none.
    since: Instant,
    given: Option<Given>,
}

/// Ranges that a node has, or may have, before a snapshot shows it. Nobody else gets them meanwhile: what a node has once it
/// keeps, so that two would have the same for good.
#[derive(Debug)]
struct Given {
    ranges: Vec<IpNet>,
    /// How long a snapshot may take to show it. Nothing while nobody has said what became of the write: it is made again,
    /// with the same ranges, until somebody does.
    until: Option<Instant>,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// Ranges to be given.
    pub(super) give: BTreeMap<Name, Vec<IpNet>>,
    /// Nodes that get none.
    pub(super) rejected: Vec<Rejected>,
}

impl NodeRanges {
    pub(super) fn new(pools: Vec<Pool>, courtesy: Duration) -> Self {
        Self { pools, courtesy, bare: BTreeMap::new(), backoff: Backoff::default() }
    }

    /// How many nodes have no range, as far as is known.
    pub(super) fn waiting(&self) -> usize {
        self.bare.values().filter(|bare| bare.given.as_ref().is_none_or(|given| given.until.is_none())).count()
    }

    /// Notes that a node was given ranges.
    pub(super) fn wrote(&mut self, node: &Name, ranges: Vec<IpNet>, now: Instant) {
        self.backoff.succeeded(&Subject::node(node));
        if let Some(bare) = self.bare.get_mut(node) {
            bare.given = Some(Given { ranges, until: Some(now + PATIENCE) });
        }
    }

    /// Notes that a node could not be given ranges, as far as is known.
    pub(super) fn failed(&mut self, node: &Name, ranges: Vec<IpNet>, error: &WriteError, now: Instant) {
        self.backoff.failed(Subject::node(node), error, now);
        self.keep(node, error.may_be_in_force().then_some(ranges));
    }

    /// Keeps ranges for a node that may have got them, or none.
    fn keep(&mut self, node: &Name, ranges: Option<Vec<IpNet>>) {
        if let Some(bare) = self.bare.get_mut(node) {
            bare.given = ranges.map(|ranges| Given { ranges, until: None });
        }
    }

    /// What the nodes as they are now ask for.
    pub(super) fn step(&mut self, cluster: &Cluster, now: Instant) -> Step {
        self.take_in(cluster, now);
        let (mut give, mut wanting) = (BTreeMap::new(), Vec::new());
        for (name, bare) in self.bare.iter().filter(|(name, bare)| self.due(name, bare) <= now) {
            match &bare.given {
                Some(given) => drop(give.insert(name.clone(), given.ranges.clone())),
                None => wanting.push(name.clone()),
            }
        }
        let Allocation { given, rejected } = match self.pools.is_empty() {
            true => Allocation { rejected: wanting.iter().map(no_pool).collect(), ..Allocation::default() },
            false => allocate(&self.pools, &self.with_given(cluster), &wanting),
        };
        give.extend(given);
        Step { give, rejected }
    }

    /// When a step is due after one at `now` even if nothing changes.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        self.bare.iter().map(|(name, bare)| self.due(name, bare)).filter(|due| *due > now).min()
    }

    /// When something is to be done for a node.
    fn due(&self, name: &Name, bare: &Bare) -> Instant {
        let seen = bare.given.as_ref().and_then(|given| given.until);
        let retry = self.backoff.due(&Subject::node(name));
        seen.unwrap_or_else(|| retry.unwrap_or(bare.since).max(bare.since + self.courtesy))
    }

    fn take_in(&mut self, cluster: &Cluster, now: Instant) {
        let bare: BTreeMap<&Name, &Arc<Node>> =
            cluster.nodes.iter().filter(|(_, node)| node.waits_for_ranges()).collect();
        self.bare.retain(|name, known| bare.get(name).is_some_and(|node| node.uid == known.uid));
        for (name, node) in bare {
            let known = self.bare.entry(name.clone());
            let known = known.or_insert_with(|| Bare { uid: node.uid.clone(), since: now, given: None });
            // What no snapshot showed in all the time was undone before one could.
            known.given.take_if(|given| given.until.is_some_and(|until| until <= now));
        }
        self.backoff.retain(|object| self.bare.contains_key(&object.name));
    }

    /// The snapshot as it will be once what was given is in it.
    fn with_given(&self, cluster: &Cluster) -> Cluster {
        let mut cluster = cluster.clone();
        for (name, bare) in &self.bare {
            if let (Some(given), Some(node)) = (&bare.given, cluster.nodes.get(name)) {
                let node = Node { pod_cidrs: given.ranges.clone(), ..Node::clone(node) };
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

    /// Nodes by their names and ranges; one in another place of the list is another node.
    fn cluster(nodes: &[(&str, &str)]) -> Cluster {
        let mut cluster = Cluster::default();
        for (place, (name, range)) in nodes.iter().enumerate() {
            let node = Node {
                name: (*name).into(),
                uid: format!("{name}-{place}").into(),
                addresses: Vec::new(),
                pod_cidrs: range.parse().into_iter().collect(),
                has_refused_range: *range == "odd",
                leaving: false,
                created: Duration::ZERO,
                labels: BTreeMap::new(),
            };
            cluster.nodes.insert(node.name.clone(), Arc::new(node));
        }
        cluster
    }

    fn ranges(pool: Option<&str>) -> NodeRanges {
        let pools = pool.map(|range| Pool::new(range.parse().unwrap(), 25).unwrap()).into_iter().collect();
        NodeRanges::new(pools, COURTESY)
    }

    fn gives(step: &Step) -> Vec<String> {
        step.give.iter().map(|(name, ranges)| format!("{name} {}", ranges[0])).collect()
    }

    /// The first step that gives ranges to one of these nodes, and when that is.
    fn first_gift(ranges: &mut NodeRanges, nodes: &Cluster) -> (Name, Vec<IpNet>, Instant) {
        let start = Instant::now();
        ranges.step(nodes, start);
        let step = ranges.step(nodes, start + COURTESY);
        let (name, given) = step.give.into_iter().next().unwrap();
        (name, given, start + COURTESY)
    }

    #[test]
    fn others_have_some_time_before_a_node_gets_a_range_from_us() {
        let (mut ranges, start) = (ranges(Some("10.0.0.0/24")), Instant::now());
        let step = ranges.step(&cluster(&[("a", ""), ("b", "10.0.0.0/25")]), start);
        assert_eq!((step, ranges.next(start)), (Step::default(), Some(start + COURTESY)));
        assert_eq!(
            gives(&ranges.step(&cluster(&[("a", ""), ("b", "10.0.0.0/25")]), start + COURTESY)),
            ["a 10.0.0.128/25"]
        );
        let step = ranges.step(&cluster(&[("a", "10.0.0.128/25"), ("b", "10.0.0.0/25")]), start + COURTESY);
        assert_eq!((step, ranges.waiting()), (Step::default(), 0), "somebody else was faster");
    }

    #[test]
    fn what_was_given_is_given_to_nobody_else_before_the_snapshot_shows_it() {
        let (mut ranges, nodes) = (ranges(Some("10.0.0.0/24")), cluster(&[("a", "")]));
        let (name, given, now) = first_gift(&mut ranges, &nodes);
        ranges.wrote(&name, given, now);
        assert_eq!((ranges.waiting(), ranges.next(now)), (0, Some(now + PATIENCE)));
        let stale = cluster(&[("a", ""), ("b", "")]);
        ranges.step(&stale, now);
        assert_eq!(gives(&ranges.step(&stale, now + COURTESY)), ["b 10.0.0.128/25"]);
    }

    #[test]
    fn what_nobody_answered_is_kept_for_its_node_and_written_again() {
        let (mut ranges, nodes) = (ranges(Some("10.0.0.0/24")), cluster(&[("a", "")]));
        let (name, given, now) = first_gift(&mut ranges, &nodes);
        ranges.keep(&name, Some(given));
        let with_another = cluster(&[("a", ""), ("0", "")]);
        ranges.step(&with_another, now);
        let step = ranges.step(&with_another, now + COURTESY);
        assert_eq!(gives(&step), ["0 10.0.0.128/25", "a 10.0.0.0/25"]);
        assert_eq!(ranges.waiting(), 2, "as far as is known");
    }

    #[test]
    fn what_was_refused_is_free_again_and_its_node_waits_a_while() {
        let (mut ranges, nodes) = (ranges(Some("10.0.0.0/24")), cluster(&[("a", ""), ("b", "")]));
        let (name, given, now) = first_gift(&mut ranges, &nodes);
        ranges.failed(&name, given, &WriteError::Changed { object: Subject::node(&name) }, now);
        assert_eq!(gives(&ranges.step(&nodes, now)), ["b 10.0.0.0/25"]);
        assert_eq!(ranges.next(now), Some(now + Duration::from_secs(1)));
    }

    #[test]
    fn a_node_that_registers_again_before_it_was_seen_with_its_range_gets_another() {
        let mut ranges = ranges(Some("10.0.0.0/24"));
        let (name, given, now) = first_gift(&mut ranges, &cluster(&[("a", "")]));
        ranges.wrote(&name, given, now);
        let again = cluster(&[("b", "10.0.0.128/25"), ("a", "")]);
        ranges.step(&again, now);
        assert_eq!(ranges.waiting(), 1);
        assert_eq!(gives(&ranges.step(&again, now + COURTESY)), ["a 10.0.0.0/25"]);
    }

    #[test]
    fn a_node_that_never_shows_its_range_is_given_one_again() {
        let (mut ranges, nodes) = (ranges(Some("10.0.0.0/24")), cluster(&[("a", "")]));
        let (name, given, now) = first_gift(&mut ranges, &nodes);
        ranges.wrote(&name, given, now);
        assert_eq!(gives(&ranges.step(&nodes, now + PATIENCE)), ["a 10.0.0.0/25"]);
        assert_eq!(ranges.waiting(), 1);
    }

    #[test]
    fn a_node_whose_range_cannot_be_used_is_not_one_without() {
        let (mut ranges, nodes) = (ranges(Some("10.0.0.0/24")), cluster(&[("a", "odd")]));
        ranges.step(&nodes, Instant::now());
        let step = ranges.step(&nodes, Instant::now() + COURTESY);
        assert_eq!((step, ranges.waiting()), (Step::default(), 0));
    }

    #[test]
    fn a_node_that_gets_nothing_is_told() {
        for pool in [None, Some("10.0.0.0/25")] {
            let (mut ranges, start) = (ranges(pool), Instant::now());
            let nodes = cluster(&[("a", ""), ("b", "10.0.0.0/25")]);
            assert_eq!(ranges.step(&nodes, start), Step::default());
            let step = ranges.step(&nodes, start + COURTESY);
            let told: Vec<_> = step.rejected.into_iter().map(|rejected| rejected.object.to_string()).collect();
            assert_eq!(told, ["Node a"]);
        }
    }
}
