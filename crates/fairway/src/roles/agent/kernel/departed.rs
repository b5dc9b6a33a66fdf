//! Ranges of pods whose nodes left the cluster. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use compile::ranges::{Apart, outermost};
use ipnet::IpNet;
use model::Cluster;

/// How long connections to pods of a node that left are refused: longer than the two hours after which Linux asks on a
/// silent connection whether the other side is still there (`tcp_keepalive_time`).
const KEPT: Duration = Duration::from_secs(3 * 3600);

/// Ranges that were a node's and are nobody's now, with the time since when.
///
/// Without them nothing would say that such addresses are pods': packets of connections that are open would leave by the
/// default route, and their senders hang.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Departed(BTreeMap<IpNet, Duration>);

impl Departed {
    /// What is known after a cluster followed another one at the time `now`, counted from whenever.
    #[must_use]
    pub(super) fn after(&self, old: &Cluster, new: &Cluster, now: Duration) -> Self {
        let is_recent = |since: &Duration| now.saturating_sub(*since) < KEPT;
        let mut departed = self.0.clone();
        departed.retain(|_, since| is_recent(since));
        if old.nodes != new.nodes {
            let ranges = |cluster: &Cluster| -> Vec<IpNet> {
                cluster.nodes.values().flat_map(|node| node.pod_cidrs.iter().copied()).collect()
            };
            for range in ranges(old) {
                departed.entry(range).or_insert(now);
            }
            let mut taken = Apart::default();
            for range in outermost(ranges(new)) {
                // These are apart, so none is refused.
                let _ = taken.insert(range, ());
            }
            departed.retain(|range, _| taken.overlapping(*range).is_none());
        }
        Self(departed)
    }

    /// What an agent before this one knew: the ranges it left routes for. Those that are some node's still go with the first
    /// cluster that [follows](Self::after).
    pub(super) fn left(ranges: impl IntoIterator<Item = IpNet>, now: Duration) -> Self {
        Self(ranges.into_iter().map(|range| (range, now)).collect())
    }

    /// The ranges, sorted.
    pub(super) fn ranges(&self) -> impl Iterator<Item = IpNet> {
        self.0.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::Node;

    use super::*;

    fn cluster(nodes: &[(&str, &[&str])]) -> Cluster {
        let mut cluster = Cluster::default();
        for (name, ranges) in nodes {
            let node = Node {
                name: (*name).into(),
                addresses: Vec::new(),
                pod_cidrs: ranges.iter().map(|range| range.parse().unwrap()).collect(),
                uid: "".into(),
                has_refused_range: false,
                leaving: false,
                created: Duration::ZERO,
                labels: BTreeMap::new(),
            };
            cluster.nodes.insert(node.name.clone(), Arc::new(node));
        }
        cluster
    }

    fn texts(departed: &Departed) -> Vec<String> {
        departed.ranges().map(|range| range.to_string()).collect()
    }

    const BOTH: &[&str] = &["10.244.2.0/24", "fd00:10:244:2::/64"];

    #[test]
    fn ranges_of_a_node_that_left_are_known_for_a_while() {
        let (with, without) =
            (cluster(&[("a", &["10.244.1.0/24"]), ("b", BOTH)]), cluster(&[("a", &["10.244.1.0/24"])]));
        let left = Departed::default().after(&with, &without, Duration::from_secs(5));
        assert_eq!(texts(&left), BOTH);
        let later = Duration::from_secs(4) + KEPT;
        assert_eq!(left.after(&without, &without, later), left);
        assert_eq!(texts(&left.after(&without, &without, later + Duration::from_secs(1))), [""; 0]);
    }

    #[test]
    fn what_an_earlier_agent_left_counts_unless_a_node_has_some_of_it() {
        let left = ["10.244.0.0/16", "10.244.1.0/24", "10.245.2.0/24"].map(|range| range.parse().unwrap());
        let known = Departed::left(left, Duration::ZERO);
        let first = known.after(&Cluster::default(), &cluster(&[("a", &["10.244.1.0/24"])]), Duration::ZERO);
        assert_eq!(texts(&first), ["10.245.2.0/24"]);
    }

    #[test]
    fn a_range_that_any_node_has_is_not_among_them() {
        let (before, after) = (cluster(&[("b", BOTH)]), cluster(&[("c", &["10.244.2.0/25"])]));
        let left = Departed::default().after(&before, &after, Duration::ZERO);
        assert_eq!(texts(&left), ["fd00:10:244:2::/64"]);
        assert_eq!(texts(&left.after(&after, &before, Duration::ZERO)), ["10.244.2.0/25"; 0]);
    }
}
