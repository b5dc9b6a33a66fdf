//! What a ruleset looks like, and what one change among many costs.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use compile::ruleset::{Operation, Ruleset};
use compile::sample::{NODES, add_plain, plain_cluster, plain_endpoints, plain_service, plain_slice};
use compile::{NodeView, Plan, diff};
use model::{Affinity, Cluster, TrafficPolicy};

fn plan_of(cluster: &Cluster) -> Plan {
    Plan::of(NodeView::new(NODES[0].name), cluster)
}

/// The elements and chains an update touches.
fn touched(operations: &[Operation]) -> Vec<String> {
    let describe = |operation: &Operation| match operation {
        Operation::FillSet(set, elements) => format!("+{} {set}", elements.len()),
        Operation::AddElements(set, elements) => format!("+{} {set}", elements.len()),
        Operation::DeleteElements(set, elements) => format!("-{} {set}", elements.len()),
        other => format!("{other:?}"),
    };
    operations.iter().map(describe).collect()
}

#[test]
fn one_more_service_among_ten_thousand_is_four_maps_elements() {
    let mut cluster = plain_cluster(10_000, 5);
    let plan = plan_of(&cluster);
    add_plain(&mut cluster, 10_000, 5);
    let next = plan.next(&cluster);
    let operations = diff(plan.ruleset(), next.ruleset());
    assert_eq!(touched(&operations), ["+1 cluster_ips", "+5 endpoints", "+1 masquerade_outsiders", "+1 services"]);
    let back = diff(next.ruleset(), next.next(&plain_cluster(10_000, 5)).ruleset());
    assert_eq!(touched(&back), ["-1 cluster_ips", "-5 endpoints", "-1 masquerade_outsiders", "-1 services"]);
}

#[test]
fn one_endpoint_less_touches_its_service_only() {
    let mut cluster = plain_cluster(1_000, 5);
    let plan = plan_of(&cluster);
    cluster.insert_slice(plain_slice(&plain_service(7), plain_endpoints(7, 5).take(4)));
    let operations = diff(plan.ruleset(), plan.next(&cluster).ruleset());
    assert_eq!(touched(&operations), ["-1 endpoints", "-1 services", "+1 services"]);
}

#[test]
fn a_load_balancer_that_comes_looks_into_maps_that_come_with_it() {
    let cluster = plain_cluster(20, 40);
    let plan = plan_of(&cluster);
    let mut grown = cluster.clone();
    grown.insert_slice(plain_slice(&plain_service(0), plain_endpoints(0, 41)));
    let operations = diff(plan.ruleset(), plan.next(&grown).ruleset());
    let expected = [
        "AddSet lb_41_endpoints",
        "AddChain lb_41",
        "AddRule lb_41 meta nfproto ipv4 dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 41 offset 0 map @lb_41_endpoints",
        "-40 lb_40_endpoints",
        "+41 lb_41_endpoints",
        "-1 services",
        "+1 services",
    ];
    let described = touched(&operations).into_iter().zip(&operations).map(|(short, operation)| match operation {
        Operation::AddSet(name, _) => format!("AddSet {name}"),
        Operation::AddChain(name, _) => format!("AddChain {name}"),
        Operation::AddRule(name, rule) => format!("AddRule {name} {rule}"),
        _ => short,
    });
    assert_eq!(described.collect::<Vec<_>>(), expected);
}

#[test]
fn an_unusual_number_of_endpoints_gets_a_chain_of_its_own() {
    let cluster = plain_cluster(3, 40);
    let plan = plan_of(&cluster);
    assert!(plan.ruleset().chains.contains_key("lb_40"));
    let next = plan.next(&plain_cluster(3, 16));
    assert!(!next.ruleset().chains.contains_key("lb_40"));
}

#[test]
fn an_unchanged_snapshot_is_no_operation() {
    let cluster = plain_cluster(100, 5);
    let plan = plan_of(&cluster);
    assert_eq!(diff(plan.ruleset(), plan.next(&cluster).ruleset()), []);
}

#[test]
fn chains_grow_with_distinct_endpoint_counts_and_not_with_services() {
    let chains = |services| plan_of(&plain_cluster(services, 5)).ruleset().chains.len();
    assert_eq!(chains(2), chains(500));
}

#[test]
fn a_ruleset_reads_as_nft_writes_it() {
    let mut cluster = plain_cluster(1, 5);
    let mut local = plain_service(1);
    local.ports[0].node_port = Some(30_080.try_into().expect("not zero"));
    local.external_policy = TrafficPolicy::Local;
    local.affinity = Affinity::ClientIp { timeout: Duration::from_secs(60) };
    let endpoints = [Ipv4Addr::new(10, 244, 1, 7), Ipv4Addr::new(10, 244, 2, 7)];
    cluster.insert_slice(plain_slice(&local, endpoints));
    cluster.services.insert(local.name.clone(), Arc::new(local));
    let plan = plan_of(&cluster);
    insta::assert_snapshot!(without_ipv6(plan.ruleset()));
}

/// What of the ruleset is about IPv4, without the chains no Service uses.
fn without_ipv6(ruleset: &Ruleset) -> Ruleset {
    let mut ruleset = ruleset.clone();
    ruleset.sets.retain(|name, _| !name.as_str().ends_with('6'));
    let text = ruleset.to_string();
    let is_used = |name: &str| !name.starts_with("lb") || text.contains(&format!("goto {name}\n"));
    ruleset.chains.retain(|name, _| !name.as_str().ends_with('6') && is_used(name.as_str()));
    for chain in ruleset.chains.values_mut() {
        chain.rules = chain.rules.iter().filter(|rule| !rule.to_string().contains("ipv6")).cloned().collect();
    }
    ruleset
}
