//! What the API objects mean and what the compiled ruleset does must be the same for every packet.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

use compile::plan::LinkNetwork;
use compile::sample::{self, Choices, FAMILIES, LINK_ADDRESS, NODES, address_of, place_of, range_of};
use compile::{
    Entry, FrontendKind, Host, NodePortAddresses, NodeView, Outcome, Packet, Plan, PodAddresses, Reason, Routing,
    RoutingMode, SourceNat, Verdict, evaluate, trace,
};
use model::{Cluster, IpFamily};
use proptest::prelude::*;

fn view() -> NodeView {
    NodeView::new(NODES[0].name)
}

/// The view of an agent that is told the cluster's ranges.
fn told_view() -> NodeView {
    let ranges = |text: &str| {
        let places = text.parse().expect("an address");
        FAMILIES.map(|family| range_of(family, places, 16)).to_vec()
    };
    NodeView {
        pod_ranges: ranges("10.244.0.0"),
        service_ranges: ranges("10.96.0.0"),
        link_addresses: FAMILIES.map(|family| address_of(family, LINK_ADDRESS)).into(),
        ..view()
    }
}

/// Ways to the other node, which may or may not be on the same network.
fn routing(which: u8) -> Routing {
    let (mode, prefix) = match which % 4 {
        0 => (RoutingMode::Native, 24),
        1 => (RoutingMode::Vxlan, 24),
        2 => (RoutingMode::Auto, 24),
        _ => (RoutingMode::Auto, 32),
    };
    let network = LinkNetwork { address: range_of(IpFamily::V4, NODES[0].address, prefix), mtu: 1500 };
    Routing { mode, networks: vec![network], ..Routing::default() }
}

fn agree(view: &NodeView, cluster: &Cluster, plan: &Plan, packet: &Packet) -> Result<Outcome, TestCaseError> {
    let meant = evaluate(cluster, view, packet);
    let mut own = cluster.nodes.get(NODES[0].name).map(|node| node.addresses.clone()).unwrap_or_default();
    own.extend(&view.link_addresses);
    let done = trace(plan.ruleset(), Host { addresses: &own, routes: plan.routes() }, packet);
    prop_assert_eq!(Ok(&meant.outcome), done.as_ref(), "{}: {}\n{}", packet, meant.by, plan.ruleset());
    prop_assert!(answers_come_back(packet, &meant), "{}: {:?}", packet, meant);
    Ok(meant.outcome)
}

/// Whether answers to what came from another machine to a node port or an external address take the way back by this
/// node. (Cluster IPs are each node's own business: other machines do not come here for them.)
fn answers_come_back(packet: &Packet, verdict: &Verdict) -> bool {
    let Reason::Service { frontend, .. } = &verdict.by else { return true };
    let Outcome::Balanced { endpoints, .. } = &verdict.outcome else { return true };
    let is_here = |address| {
        let place = place_of(address);
        place == NODES[0].address || place.octets()[..3] == NODES[0].pods.octets()[..3]
    };
    packet.entered != Entry::Outside
        || *frontend == FrontendKind::ClusterIp
        || endpoints.iter().all(|(endpoint, nat)| *nat == SourceNat::Masqueraded || is_here(endpoint.ip()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn evaluate_and_trace_agree(bytes in prop::collection::vec(any::<u8>(), 0..400), packets: [[u8; 2]; 24], told: bool, which: u8, any: bool) {
        let cluster = sample::cluster(&mut Choices::new(&bytes));
        let node_port_addresses = match which % 3 {
            0 => NodePortAddresses::All,
            1 => NodePortAddresses::Primary,
            _ => NodePortAddresses::Within(vec![range_of(IpFamily::V4, LINK_ADDRESS, 32)]),
        };
        let routing = routing(which / 3);
        let pod_addresses = if any { PodAddresses::AnyRange } else { PodAddresses::NodeRanges };
        let view = NodeView { node_port_addresses, pod_addresses, routing, ..if told { told_view() } else { view() } };
        let plan = Plan::of(view.clone(), &cluster);
        for packet in packets {
            agree(&view, &cluster, &plan, &sample::packet(&mut Choices::new(&packet), &cluster))?;
        }
    }
}

#[test]
fn samples_show_every_kind_of_outcome() {
    let mut seen = std::collections::BTreeMap::new();
    for seed in 0u64..800 {
        let bytes: Vec<u8> = (0..400).scan(seed, |state, _| Some(next_byte(state))).collect();
        let cluster = sample::cluster(&mut Choices::new(&bytes));
        let packet = sample::packet(&mut Choices::new(&bytes[300..]), &cluster);
        let kind = match evaluate(&cluster, &view(), &packet).outcome {
            Outcome::Passed { source } => format!("passed, source {source:?}"),
            Outcome::Balanced { affinity, endpoints } => {
                format!("{} endpoints, affinity {}", endpoints.len().min(2), affinity.is_some())
            }
            Outcome::Refused => "refused".to_owned(),
            Outcome::Dropped => "dropped".to_owned(),
        };
        *seen.entry(kind).or_insert(0) += 1;
    }
    let kinds: Vec<&str> = seen.keys().map(String::as_str).collect();
    assert_eq!(
        kinds,
        [
            "1 endpoints, affinity false",
            "1 endpoints, affinity true",
            "2 endpoints, affinity false",
            "2 endpoints, affinity true",
            "dropped",
            "passed, source Kept",
            "passed, source Masqueraded",
            "refused",
        ],
        "seen {seen:?}"
    );
}

/// A step of splitmix64.
fn next_byte(state: &mut u64) -> u8 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed.wrapping_mul(0x94d0_49bb_1331_11eb).to_be_bytes()[0]
}
