//! Nodes whose pods no route leads to. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Cluster, Name, Rejected, RejectedReason, Subject};

/// Ranges no route leads to, by the next hops that were tried.
type Unreachable = BTreeMap<IpNet, IpAddr>;

/// What is to be told of ranges that node `own` has no route to now and had, or did not ask for, before.
pub(super) fn news(own: &Name, cluster: &Cluster, before: &Unreachable, now: &Unreachable) -> Vec<Rejected> {
    let new = now.iter().filter(|(range, via)| before.get(range) != Some(via));
    let told = new.filter_map(|(range, via)| {
        let node = cluster.nodes.values().find(|node| node.pod_cidrs.contains(range))?;
        let why = format!(
            "Node {own} has no link to {via}, and no route to {range}: its pods are not reached from there; \
             let the network's own routes lead there, or set routing to auto or vxlan"
        );
        let (object, reason) = (Subject::node(&node.name), RejectedReason::Refused);
        Some(Rejected { object, field: "spec.podCIDRs".into(), why, reason })
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use compile::sample::{NODES, plain_cluster};

    use super::*;

    #[test]
    fn a_range_that_is_not_reached_is_told_on_its_node_once() {
        let cluster = plain_cluster(0, 0);
        let range = cluster.nodes.get(NODES[1].name).unwrap().pod_cidrs[0];
        let unreachable = Unreachable::from([(range, "192.0.2.7".parse().unwrap())]);
        let told = news(&NODES[0].name.into(), &cluster, &Unreachable::new(), &unreachable);
        assert_eq!(
            told.iter().map(|rejected| &rejected.object).collect::<Vec<_>>(),
            [&Subject::node(&NODES[1].name.into())]
        );
        assert!(told[0].why.contains(&range.to_string()) && told[0].why.contains("192.0.2.7"), "{}", told[0].why);
        assert_eq!(news(&NODES[0].name.into(), &cluster, &unreachable, &unreachable), []);
    }
}
