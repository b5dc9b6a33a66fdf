//! Which connections a Service that is gone may have left.

use std::net::IpAddr;
use std::sync::Arc;

use compile::plan::Frontend;
use compile::sample::{ENDPOINTS, EXTERNAL, FAMILIES, NODES, address_of, plain_cluster, plain_service};
use compile::{NodeView, Plan};
use model::{Cluster, IpFamily, Protocol, ServiceKind};

fn is_left_over(cluster: &Cluster, family: IpFamily, backend: IpAddr) -> bool {
    let plan = Plan::of(NodeView::new(NODES[0].name), cluster);
    let frontend = Frontend { address: address_of(family, EXTERNAL[0]), protocol: Protocol::Tcp, port: 80 };
    plan.may_be_left_over(&frontend, backend)
}

#[test]
fn only_what_led_to_a_pod_may_have_been_a_services() {
    let cluster = plain_cluster(0, 0);
    for family in FAMILIES {
        assert!(is_left_over(&cluster, family, address_of(family, ENDPOINTS[0])), "a pod of this node");
        assert!(is_left_over(&cluster, family, address_of(family, ENDPOINTS[3])), "a pod of another node");
        assert!(!is_left_over(&cluster, family, address_of(family, EXTERNAL[1])), "somebody else's machine");
    }
}

#[test]
fn what_another_proxy_serves_is_left_to_it() {
    for family in FAMILIES {
        let mut cluster = plain_cluster(0, 0);
        let cluster_ips = vec![address_of(family, [10, 96, 0, 10].into())];
        let external_ips = vec![address_of(family, EXTERNAL[0])];
        let kind = ServiceKind::Virtual { cluster_ips, external_ips, load_balancer_ips: Vec::new() };
        let service = model::Service { kind, delegated: true, ..plain_service(0) };
        cluster.services.insert(service.name.clone(), Arc::new(service));
        assert!(!is_left_over(&cluster, family, address_of(family, ENDPOINTS[0])));
    }
}
