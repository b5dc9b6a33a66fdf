//! What is said of each endpoint of a Service is what becomes of it.

use std::collections::BTreeSet;

use compile::plan::{BackendState, Dispatch, backends};
use compile::sample::{self, Choices, FAMILIES, NODES};
use compile::{FrontendKind, NodeView, Plan};
use model::{Cluster, Endpoint, IpFamily, Name, NamespacedName, TrafficPolicy};
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
