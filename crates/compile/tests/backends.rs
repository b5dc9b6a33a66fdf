//! What is said of each endpoint of a Service is what becomes of it.

use std::collections::BTreeSet;
use std::time::Duration;

use compile::plan::{BackendState, Dispatch, Hints, SliceFault, backends, hints, left_out};
use compile::sample::{self, Choices, FAMILIES, NODES};
use compile::{FrontendKind, NodeView, Plan};
use model::{
    Cluster, Endpoint, EndpointSlice, IpFamily, Name, NamespacedName, Node, Service, ServiceKind, TrafficPolicy,
};
use proptest::prelude::*;

fn view() -> NodeView {
    NodeView::new(NODES[0].name)
}

fn states(endpoints: Vec<Endpoint>) -> Vec<BackendState> {
    let service = sample::plain_service(0);
    let mut cluster = Cluster::default();
    let mut slice = sample::plain_slice(&service, []);
    slice.endpoints = endpoints;
    cluster.insert_slice(slice);
    backends(&view(), &cluster, &service).into_iter().map(|backend| backend.state).collect()
}

fn endpoint(last: u8) -> Endpoint {
    Endpoint::new([10, 244, 1, last].into())
}

#[test]
fn an_endpoint_that_is_left_out_is_told_why() {
    let terminating = |last| Endpoint { ready: false, terminating: true, ..endpoint(last) };
    let stopped = |last| Endpoint { serving: false, ..terminating(last) };
    let unready = |last| Endpoint { ready: false, serving: false, ..endpoint(last) };
    assert_eq!(
        states(vec![endpoint(1), terminating(2), stopped(3), unready(4)]),
        [BackendState::Serves, BackendState::Terminating, BackendState::Stopped, BackendState::NotReady]
    );
    assert_eq!(states(vec![terminating(1), unready(2)]), [BackendState::ServesLast, BackendState::NotReady]);
    let for_node = |last, node: &str| Endpoint { for_nodes: vec![node.into()], ..endpoint(last) };
    assert_eq!(
        states(vec![for_node(1, NODES[0].name), for_node(2, NODES[1].name)]),
        [BackendState::Serves, BackendState::ForOtherNodes]
    );
}

fn cluster_of(slices: impl IntoIterator<Item = EndpointSlice>) -> Cluster {
    let mut cluster = Cluster::default();
    slices.into_iter().for_each(|slice| cluster.insert_slice(slice));
    cluster
}

#[test]
fn a_slice_that_cannot_serve_is_named_for_each_of_its_endpoints() {
    let service = sample::plain_service(0);
    let named = |name: &str, endpoints: Vec<Endpoint>| {
        let plain = sample::plain_slice(&service, []);
        let name = NamespacedName { name: name.into(), ..plain.name };
        EndpointSlice { name, endpoints, ..plain }
    };
    let whole = named("a", vec![endpoint(1)]);
    let portless = EndpointSlice { ports: vec![], ..named("b", vec![endpoint(1), endpoint(2)]) };
    let delegated = EndpointSlice { delegated: true, ..named("c", vec![endpoint(3)]) };
    let said: Vec<_> = left_out(&cluster_of([whole, portless, delegated]), &service)
        .into_iter()
        .map(|each| (each.address, each.slice.to_string(), each.port.is_some(), each.why))
        .collect();
    let expected = [
        (endpoint(2).address, "b".to_owned(), true, SliceFault::NoPort),
        (endpoint(3).address, "c".to_owned(), false, SliceFault::Delegated),
    ];
    assert_eq!(said, expected, "10.244.1.1 has the port in another slice");
}

#[test]
fn nobody_serves_a_family_or_a_service_that_is_not_served_here() {
    let six = Endpoint::new("fd00::1".parse().unwrap());
    let mut service = sample::plain_service(0);
    let slice = EndpointSlice { family: IpFamily::V6, endpoints: vec![six], ..sample::plain_slice(&service, []) };
    let states = |cluster: &Cluster, service: &Service| -> Vec<_> {
        backends(&view(), cluster, service).into_iter().map(|each| (each.state, each.serves_locally)).collect()
    };
    assert_eq!(states(&cluster_of([slice.clone()]), &service), [(BackendState::OtherFamily, false)]);
    let four = EndpointSlice { family: IpFamily::V4, endpoints: vec![endpoint(1)], ..slice };
    service.delegated = true;
    assert_eq!(states(&cluster_of([four.clone()]), &service), [(BackendState::Delegated, false)]);
    service.delegated = false;
    service.kind = ServiceKind::Headless { families: vec![IpFamily::V4] };
    assert_eq!(states(&cluster_of([four]), &service), [(BackendState::Named, false)]);
}

#[test]
fn hints_are_told_with_why_they_have_no_effect() {
    let service = sample::plain_service(0);
    let said = |endpoints: &[(&[&str], &[&str])], zone: Option<&str>| {
        let hinted = |(last, (nodes, zones)): (u8, &(&[&str], &[&str]))| Endpoint {
            for_nodes: nodes.iter().map(|name| Name::from(*name)).collect(),
            for_zones: zones.iter().map(|name| Name::from(*name)).collect(),
            ..endpoint(last)
        };
        let endpoints = (1..).zip(endpoints).map(hinted).collect();
        let mut cluster = cluster_of([EndpointSlice { endpoints, ..sample::plain_slice(&service, []) }]);
        let labels = zone.map(|zone| ("topology.kubernetes.io/zone".into(), zone.into())).into_iter().collect();
        let name = Name::from(NODES[0].name);
        let node = Node {
            name: name.clone(),
            addresses: vec![],
            pod_cidrs: vec![],
            uid: "".into(),
            has_refused_range: false,
            leaving: false,
            created: Duration::ZERO,
            labels,
        };
        cluster.nodes.insert(name, node.into());
        hints(&view(), &cluster, &service).remove(0).2
    };
    let (here, there) = (NODES[0].name, NODES[1].name);
    assert_eq!(said(&[(&[], &[]), (&[], &[])], Some("a")), Hints::Absent);
    assert_eq!(said(&[(&[here], &["b"]), (&[there], &["b"])], Some("b")), Hints::ForNode);
    assert_eq!(said(&[(&[there], &["b"]), (&[there], &["a"])], Some("b")), Hints::ForZone("b".into()));
    assert_eq!(said(&[(&[], &["b"]), (&[], &[])], Some("b")), Hints::MissingOn("10.244.1.2:8080".parse().unwrap()));
    assert_eq!(said(&[(&[], &["b"])], Some("a")), Hints::Elsewhere(Some("a".into())));
    assert_eq!(said(&[(&[there], &[])], None), Hints::Elsewhere(None));
}

proptest! {
    #[test]
    fn who_is_said_to_serve_is_who_is_planned(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let cluster = sample::cluster(&mut Choices::new(&bytes));
        let plan = Plan::of(view(), &cluster);
        for service in cluster.services.values().filter(|service| service.internal_policy == TrafficPolicy::Cluster) {
            let said = backends(&view(), &cluster, service);
            for (frontend, treatment) in plan.frontends_of(&service.name) {
                if treatment.kind != FrontendKind::ClusterIp {
                    continue;
                }
                let family = IpFamily::of(frontend.address);
                let serves: BTreeSet<_> = said
                    .iter()
                    .filter(|each| each.port == treatment.port && IpFamily::of(each.socket.ip()) == family)
                    .filter(|each| each.state.serves())
                    .map(|each| each.socket)
                    .collect();
                let planned = match &treatment.dispatch {
                    Dispatch::Balance(endpoints) => endpoints.iter().copied().collect(),
                    _ => BTreeSet::new(),
                };
                prop_assert_eq!(&serves, &planned, "{} of {:?}", service.name, FAMILIES);
            }
        }
    }

    #[test]
    fn the_elements_of_all_services_are_those_of_the_maps(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let cluster = sample::cluster(&mut Choices::new(&bytes));
        let plan = Plan::of(view(), &cluster);
        let names: Vec<NamespacedName> = cluster.services.keys().cloned().collect();
        let maps = ["services", "services6", "clients", "clients6", "remember", "remember6"];
        let of_services = |name: &&Name| maps.contains(&name.as_str()) || name.as_str().contains("endpoints") || name.as_str().starts_with("masquerade_");
        for set in plan.ruleset().sets.keys().filter(of_services) {
            let of = |name| plan.elements_of(name).remove(set).map(|(_, elements)| elements).unwrap_or_default();
            let said: BTreeSet<_> = names.iter().flat_map(of).map(|element| element.key).collect();
            let held = plan.ruleset().sets.get(set).expect("the set is there").elements.keys().cloned().collect();
            prop_assert_eq!(said, held);
        }
    }
}
