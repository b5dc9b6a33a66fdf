//! What people who list the table read beside its elements, and what it costs to keep that true.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use compile::ruleset::Operation;
use compile::sample::{NODES, add_plain, plain_cluster, plain_endpoints, plain_service, plain_slice};
use compile::{NodeView, Plan, diff};
use model::{Cluster, EndpointSlice, NamespacedName, Node};

fn plan_of(cluster: &Cluster) -> Plan {
    Plan::of(NodeView::new(NODES[0].name), cluster)
}

/// What is said of the elements of a set, in the order of their keys.
fn notes(plan: &Plan, set: &str) -> Vec<String> {
    let contents = plan.ruleset().sets[set].elements.values();
    contents.map(|content| content.note.as_ref().map(ToString::to_string).unwrap_or_default()).collect()
}

/// A cluster with one Service and what `change` makes of its two endpoints.
fn with_endpoints(change: impl FnOnce(&mut EndpointSlice)) -> Cluster {
    let mut cluster = plain_cluster(0, 0);
    add_plain(&mut cluster, 0, 2);
    let mut slice = plain_slice(&plain_service(0), plain_endpoints(0, 2));
    for (endpoint, pod) in slice.endpoints.iter_mut().zip(["web-0", "web-1"]) {
        endpoint.pod = Some(NamespacedName::new("shop", pod));
    }
    change(&mut slice);
    cluster.insert_slice(slice);
    cluster
}

/// The operations that one change of the endpoints takes, in words.
fn operations(change: impl FnOnce(&mut EndpointSlice)) -> Vec<String> {
    let before = plan_of(&with_endpoints(|_| {}));
    let after = before.next(&with_endpoints(change));
    let described = diff(before.ruleset(), after.ruleset()).into_iter().map(|operation| match operation {
        Operation::DeleteElements(set, elements) => format!("-{set} {}", elements[0]),
        Operation::AddElements(set, elements) => format!("+{set} {}", elements[0]),
        other => format!("{other:?}"),
    });
    described.collect()
}

#[test]
fn an_endpoint_is_told_by_its_pod_or_by_its_slice() {
    let notes_with = |change: fn(&mut EndpointSlice)| notes(&plan_of(&with_endpoints(change)), "endpoints");
    assert_eq!(notes_with(|_| {}), ["shop/plain000000:http web-0", "shop/plain000000:http web-1"]);
    let elsewhere = |slice: &mut EndpointSlice| {
        slice.endpoints[0].pod = None;
        slice.endpoints[1].pod = Some(NamespacedName::new("data", "web-1"));
    };
    assert_eq!(
        notes_with(elsewhere),
        ["shop/plain000000:http slice plain000000", "shop/plain000000:http data/web-1"],
        "a pod of another namespace is told with it"
    );
    let twice = |slice: &mut EndpointSlice| {
        let mut other = slice.endpoints[0].clone();
        other.pod = Some(NamespacedName::new("shop", "proxy-0"));
        slice.endpoints.push(other);
    };
    assert_eq!(notes_with(twice)[0], "shop/plain000000:http proxy-0 and 1 more");
}

#[test]
fn a_pod_in_the_place_of_another_at_its_address_is_one_element() {
    let renamed = operations(|slice| slice.endpoints[1].pod = Some(NamespacedName::new("shop", "web-2")));
    let element = |pod: &str| {
        format!("endpoints 10.96.1.0 . tcp . 80 . 1 comment \"shop/plain000000:http {pod}\" : 10.128.0.1 . 8080")
    };
    assert_eq!(renamed, [format!("-{}", element("web-1")), format!("+{}", element("web-2"))]);
}

#[test]
fn what_happens_to_a_pod_that_still_serves_changes_no_element() {
    assert_eq!(operations(|slice| slice.endpoints[1].node = Some("node2".into())), Vec::<String>::new());
    assert_eq!(operations(|slice| slice.endpoints[1].hostname = Some("web".into())), Vec::<String>::new());
}

#[test]
fn an_address_that_services_share_is_told_by_the_first_until_it_leaves() {
    let mut cluster = plain_cluster(2, 1);
    let [first, second] = [0, 1].map(plain_service);
    // The API server gives no address twice, but a lax one may.
    let mut contender = second.clone();
    contender.kind = first.kind.clone();
    contender.ports[0].port = 81.try_into().expect("not zero");
    cluster.services.insert(second.name.clone(), Arc::new(contender));
    let shared = plan_of(&cluster);
    assert_eq!(notes(&shared, "cluster_ips"), ["shop/plain000000 and 1 more"]);
    cluster.services.remove(&first.name);
    assert_eq!(notes(&shared.next(&cluster), "cluster_ips"), ["shop/plain000001"]);
}

#[test]
fn addresses_and_ranges_are_told_by_nodes_and_by_the_settings() {
    let mut cluster = Cluster::default();
    for (name, address, pods) in [("one", "10.89.0.1", "10.244.1.0/24"), ("two", "10.89.0.2", "10.244.2.0/24")] {
        let node = Node {
            name: name.into(),
            uid: name.into(),
            created: Duration::ZERO,
            addresses: vec![address.parse().expect("an address")],
            pod_cidrs: vec![pods.parse().expect("a range")],
            has_refused_range: false,
            leaving: false,
            labels: BTreeMap::new(),
        };
        cluster.nodes.insert(name.into(), Arc::new(node));
    }
    let view = NodeView {
        service_ranges: vec!["10.96.0.0/12".parse().expect("a range")],
        link_addresses: vec!["192.0.2.1".parse().expect("an address")],
        ..NodeView::new("one")
    };
    let plan = Plan::of(view.clone(), &cluster);
    assert_eq!(notes(&plan, "own"), ["node one", "node one"]);
    assert_eq!(notes(&plan, "pods"), ["pods of node one", "pods of node two"]);
    assert_eq!(notes(&plan, "cluster"), ["node one", "node two", "Services", "pods of node one", "pods of node two"]);
    let wide = NodeView { pod_ranges: vec!["10.244.0.0/16".parse().expect("a range")], ..view };
    assert_eq!(notes(&Plan::of(wide, &cluster), "pods"), ["pods"]);
}

#[test]
fn of_every_set_of_a_plan_each_element_is_told_but_the_loopback_addresses() {
    let mut cluster = with_endpoints(|_| {});
    let mut service = plain_service(0);
    service.ports[0].node_port = Some(30_080.try_into().expect("not zero"));
    cluster.services.insert(service.name.clone(), Arc::new(service));
    let plan = plan_of(&cluster);
    assert_eq!(plan.ruleset().sets["services"].elements.len(), 2, "the cluster IP and the node port");
    let silent = plan.ruleset().sets.iter().filter(|(_, set)| set.elements.values().any(|each| each.note.is_none()));
    assert_eq!(silent.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["loopback"]);
}
