//! What a plan takes grows with the nodes, not with their square.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use compile::{NodeView, Plan};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{Cluster, Node};

const FEW: u16 = 500;
const MANY: u16 = 10 * FEW;
/// With ten times the nodes a plan takes ten times as long, and a hundred times if each node is compared with each.
const FACTOR_MAX: u32 = 35;

fn node(number: u16) -> Node {
    let [high, low] = number.to_be_bytes();
    let pods: [IpNet; 2] = [
        Ipv4Net::new_assert(Ipv4Addr::new(10, high, low, 0), 24).into(),
        Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, 0x244, number, 0, 0, 0, 0), 64).into(),
    ];
    Node {
        name: format!("node{number}").as_str().into(),
        addresses: vec![
            Ipv4Addr::new(172, 16 + high, low, 1).into(),
            Ipv6Addr::new(0xfd00, 0x89, 0, 0, 0, 0, 0, number).into(),
        ],
        pod_cidrs: pods.to_vec(),
        uid: "".into(),
        has_refused_range: false,
        leaving: false,
        created: Duration::ZERO,
        labels: BTreeMap::new(),
    }
}

fn cluster(nodes: u16) -> Cluster {
    let mut cluster = Cluster::default();
    for node in (0..nodes).map(node) {
        cluster.nodes.insert(node.name.clone(), Arc::new(node));
    }
    cluster
}

/// The least of some times it took: whatever else the machine did, that is least of it.
fn time_to_plan(cluster: &Cluster) -> Duration {
    let times = (0..3).map(|_| {
        let started = Instant::now();
        let plan = Plan::of(NodeView::new("node0"), cluster);
        assert!(plan.routes().len() >= 2 * (cluster.nodes.len() - 1));
        started.elapsed()
    });
    times.min().unwrap_or_default()
}

#[test]
fn ten_times_the_nodes_take_no_hundred_times_as_long() {
    let (few, many) = (time_to_plan(&cluster(FEW)), time_to_plan(&cluster(MANY)));
    assert!(many < few * FACTOR_MAX, "{FEW} nodes took {few:?} and {MANY} took {many:?}");
}
