//! What a plan takes grows with the nodes, not with their square.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use compile::{NodeView, Plan};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{Cluster, Node};

const FEW: u16 = 500;
const MANY: u16 = 10 * FEW;
/// A plan for ten times the nodes takes as long as ten plans, and ten times that if each node is compared with each.
const FACTOR_MAX: f64 = 3.5;

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

/// How long this thread has run on a processor, whatever else the machine did; to a tick (proc_pid_schedstat(5)).
fn processor_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_ascii_whitespace().next().unwrap().parse().unwrap())
}

/// What so many plans take: the least of three times, as caches that others filled only make it dearer.
fn time_to_plan(plans: u16, cluster: &Cluster) -> Duration {
    let times = (0..3).map(|_| {
        let started = processor_time();
        for _ in 0..plans {
            let plan = Plan::of(NodeView::new("node0"), cluster);
            assert!(plan.routes().len() >= 2 * (cluster.nodes.len() - 1));
        }
        processor_time() - started
    });
    times.min().unwrap_or_default()
}

#[test]
fn ten_times_the_nodes_take_no_hundred_times_as_long() {
    let few = time_to_plan(MANY / FEW, &cluster(FEW));
    let many = time_to_plan(1, &cluster(MANY));
    assert!(
        many.as_secs_f64() < few.as_secs_f64() * FACTOR_MAX,
        "plans for {FEW} nodes took {few:?}, one for {MANY} took {many:?}"
    );
}
