//! What a ruleset looks like, and what one change among many costs.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use compile::ruleset::{Operation, Ruleset};
use compile::{NodeView, Plan, diff};
use model::{
    Affinity, Cluster, Endpoint, EndpointPort, EndpointSlice, IpFamily, NamespacedName, Node, Protocol, Service,
    ServiceKind, ServicePort, TargetPort, TrafficPolicy,
};

fn node(name: &str, number: u8) -> Arc<Node> {
    Arc::new(Node {
        name: name.into(),
        addresses: vec![Ipv4Addr::new(10, 89, 0, number).into()],
        pod_cidrs: vec![format!("10.244.{number}.0/24").parse().expect("a range")],
        labels: Default::default(),
    })
}

fn name(index: u16) -> NamespacedName {
    NamespacedName::new("shop", format!("service{index:05}"))
}

fn service(index: u16) -> Service {
    let [high, low] = index.to_be_bytes();
    let port = 80.try_into().expect("not zero");
    Service {
        name: name(index),
        kind: ServiceKind::Virtual {
            cluster_ips: vec![Ipv4Addr::new(10, 96, high, low).into()],
            external_ips: vec![],
            load_balancer_ips: vec![],
        },
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port,
            target: TargetPort::Number(port),
            node_port: None,
        }],
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        affinity: Affinity::None,
        publish_not_ready: false,
        delegated: false,
    }
}

fn slice(index: u16, addresses: impl IntoIterator<Item = u8>) -> EndpointSlice {
    let endpoint = |last| Endpoint {
        address: IpAddr::from(Ipv4Addr::new(10, 244, 2, last)),
        hostname: None,
        node: Some("node2".into()),
        pod: None,
        ready: true,
        serving: true,
        terminating: false,
    };
    EndpointSlice {
        name: name(index),
        service: name(index),
        family: IpFamily::V4,
        ports: vec![EndpointPort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 8080.try_into().expect("not zero"),
        }],
        endpoints: addresses.into_iter().map(endpoint).collect(),
    }
}

fn add(cluster: &mut Cluster, index: u16) {
    cluster.services.insert(name(index), Arc::new(service(index)));
    cluster.insert_slice(slice(index, 1..6));
}

fn cluster(services: u16) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.nodes.insert("node1".into(), node("node1", 1));
    cluster.nodes.insert("node2".into(), node("node2", 2));
    (0..services).for_each(|index| add(&mut cluster, index));
    cluster
}

/// The elements and chains an update touches.
fn touched(operations: &[Operation]) -> Vec<String> {
    let describe = |operation: &Operation| match operation {
        Operation::AddElements(set, elements) => format!("+{} {set}", elements.len()),
        Operation::DeleteElements(set, elements) => format!("-{} {set}", elements.len()),
        other => format!("{other:?}"),
    };
    operations.iter().map(describe).collect()
}

#[test]
fn one_more_service_among_ten_thousand_is_three_maps_elements() {
    let mut cluster = cluster(10_000);
    let plan = Plan::of(NodeView::new("node1"), &cluster);
    add(&mut cluster, 10_000);
    let next = plan.next(&cluster);
    let operations = diff(plan.ruleset(), next.ruleset());
    assert_eq!(touched(&operations), ["+5 endpoints", "+1 services", "+1 sources"]);
    let back = diff(next.ruleset(), next.next(&self::cluster(10_000)).ruleset());
    assert_eq!(touched(&back), ["-5 endpoints", "-1 services", "-1 sources"]);
}

#[test]
fn one_endpoint_less_touches_its_service_only() {
    let mut cluster = cluster(1_000);
    let plan = Plan::of(NodeView::new("node1"), &cluster);
    cluster.insert_slice(slice(7, 1..5));
    let operations = diff(plan.ruleset(), plan.next(&cluster).ruleset());
    let mut touched = touched(&operations);
    let chain: Vec<String> = touched.extract_if(.., |line| line.contains("lb_4")).collect();
    assert_eq!(touched, ["-1 endpoints", "-1 services", "+1 services"]);
    assert_eq!(chain.len(), 2, "the chain for four endpoints is made: {chain:?}");
}

#[test]
fn an_unchanged_snapshot_is_no_operation() {
    let cluster = cluster(100);
    let plan = Plan::of(NodeView::new("node1"), &cluster);
    assert_eq!(diff(plan.ruleset(), plan.next(&cluster).ruleset()), []);
}

#[test]
fn chains_grow_with_distinct_endpoint_counts_and_not_with_services() {
    let chains = |services| Plan::of(NodeView::new("node1"), &cluster(services)).ruleset().chains.len();
    assert_eq!(chains(2), chains(500));
}

#[test]
fn a_ruleset_reads_as_nft_writes_it() {
    let mut cluster = cluster(1);
    let mut local = service(1);
    local.ports[0].node_port = Some(30_080.try_into().expect("not zero"));
    local.external_policy = TrafficPolicy::Local;
    local.affinity = Affinity::ClientIp { timeout: std::time::Duration::from_secs(60) };
    cluster.services.insert(local.name.clone(), Arc::new(local));
    cluster.insert_slice(slice(1, 7..9));
    let plan = Plan::of(NodeView::new("node1"), &cluster);
    insta::assert_snapshot!(without_ipv6(plan.ruleset()));
}

/// The half of the ruleset that is about IPv4.
fn without_ipv6(ruleset: &Ruleset) -> Ruleset {
    let mut ruleset = ruleset.clone();
    ruleset.sets.retain(|name, _| !name.as_str().ends_with('6'));
    ruleset.chains.retain(|name, _| !name.as_str().ends_with('6'));
    for chain in ruleset.chains.values_mut() {
        chain.rules.retain(|rule| !rule.to_string().contains("ipv6"));
    }
    ruleset
}
