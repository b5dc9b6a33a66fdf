//! A part of the cluster's pod network for every node.

use std::time::Duration;

use apiserver::client::{ClientError, ObjectKey};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;

use crate::controllers::{
    events::Recorder,
    kind::Kind,
    stores::Stores,
    worker::{Next, Reconcile},
    write::{Write, Writer},
};

/// How soon to look for a free part again when there was none; a node that goes frees one.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Gives nodes their pod networks. A node's part is free again once the node is gone.
pub(in crate::controllers) struct CidrController {
    pub(in crate::controllers) stores: Stores,
    pub(in crate::controllers) writer: Writer,
    pub(in crate::controllers) recorder: Recorder,
    pub(in crate::controllers) pools: Vec<Pool>,
}

/// A network to share out, and the prefix length of each part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The whole network.
    pub network: IpNet,
    /// Length of the prefix of one node's part, as in 24.
    pub node_prefix: u8,
}

impl Reconcile for CidrController {
    type Key = ObjectKey;
    const NAME: &'static str = "node-ipam-controller";
    /// One at a time: each sees what the last one took.
    const WORKERS: usize = 1;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ClientError> {
        let Some(node) = self.stores.nodes.lookup(key) else { return Ok(Next::OnChange) };
        if node.is_terminating() || !assigned(&node).is_empty() {
            return Ok(Next::OnChange);
        }
        let taken: Vec<IpNet> = self.stores.nodes.list().iter().flat_map(|node| assigned(node)).collect();
        let Some(parts) = choose(&self.pools, &taken) else {
            self.recorder.warning(&*node, "CIDRNotAvailable", format!("Node {key} status is now: CIDRNotAvailable"));
            return Ok(Next::After(LOOK_AGAIN));
        };
        if let Some(write) = Write::update(&*node, &with_cidrs(&node, &parts)) {
            self.writer.apply(write).await?;
        }
        Ok(Next::OnChange)
    }
}

fn assigned(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let several = spec.pod_cidrs.iter().flatten();
    let parts: Vec<IpNet> = several.chain(&spec.pod_cidr).filter_map(|cidr| cidr.parse().ok()).collect();
    parts
}

fn with_cidrs(node: &Node, parts: &[IpNet]) -> Node {
    let mut node = node.clone();
    let spec = node.spec.get_or_insert_default();
    spec.pod_cidr = parts.first().map(ToString::to_string);
    spec.pod_cidrs = Some(parts.iter().map(ToString::to_string).collect());
    node
}

/// The first free part of every pool; nothing if one of them is used up.
fn choose(pools: &[Pool], taken: &[IpNet]) -> Option<Vec<IpNet>> {
    let overlaps = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
    let free = |pool: &Pool| {
        let mut parts = pool.network.subnets(pool.node_prefix).ok()?;
        parts.find(|part| !taken.iter().any(|taken| overlaps(part, taken)))
    };
    pools.iter().map(free).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn pool(network: &str, node_prefix: u8) -> Pool {
        Pool { network: net(network), node_prefix }
    }

    #[test]
    fn the_first_free_part_is_taken() {
        let taken = [net("10.244.0.0/24"), net("10.244.2.0/24")];
        assert_eq!(choose(&[pool("10.244.0.0/16", 24)], &taken), Some(vec![net("10.244.1.0/24")]));
    }

    #[test]
    fn a_part_that_overlaps_another_size_is_not_free() {
        assert_eq!(choose(&[pool("10.244.0.0/16", 24)], &[net("10.244.0.0/22")]), Some(vec![net("10.244.4.0/24")]));
    }

    #[test]
    fn every_family_gets_its_part_or_none_does() {
        let pools = [pool("10.244.0.0/24", 24), pool("fd00::/48", 64)];
        assert_eq!(choose(&pools, &[]), Some(vec![net("10.244.0.0/24"), net("fd00::/64")]));
        assert_eq!(choose(&pools, &[net("10.244.0.0/24")]), None);
    }
}
