//! What passes the door and what does not.

use std::num::NonZeroU16;
use std::time::Duration;

use k8s_openapi::serde::de::DeserializeOwned;

use super::{Admitted, ServiceRecord, endpoint_slice, namespace, node, pod, service};
use crate::{
    Affinity, Clients, Endpoint, EndpointPort, EndpointSlice, IpFamily, NamespacedName, Node, Pod, Protocol, Service,
    ServiceKind, ServicePort, TargetPort, TrafficPolicy,
};

fn read<T: DeserializeOwned>(yaml: &str) -> T {
    serde_saphyr::from_str(yaml).expect("the test's YAML is an object")
}

fn refusals<T>(admitted: &Admitted<T>) -> Vec<String> {
    admitted.rejected.iter().map(ToString::to_string).collect()
}

fn port(number: u16) -> NonZeroU16 {
    number.try_into().expect("not zero")
}

#[test]
fn a_node_port_service_becomes_a_fact_in_full() {
    let admitted = service(&read(
        "
        metadata: {namespace: shop, name: cart}
        spec:
          type: NodePort
          clusterIP: 10.96.1.2
          clusterIPs: [10.96.1.2]
          externalIPs: [203.0.113.7]
          ports:
          - {name: http, port: 80, targetPort: 8080, nodePort: 30080}
          - {name: dns, port: 53, targetPort: dns, protocol: UDP}
          sessionAffinity: ClientIP
          sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}
          externalTrafficPolicy: Local
          internalTrafficPolicy: Cluster
        ",
    ));
    assert_eq!(refusals(&admitted), [""; 0]);
    let expected = Service {
        name: NamespacedName::new("shop", "cart"),
        kind: ServiceKind::Virtual {
            cluster_ips: vec!["10.96.1.2".parse().expect("address")],
            external_ips: vec!["203.0.113.7".parse().expect("address")],
            load_balancer_ips: vec![],
        },
        ports: vec![
            ServicePort {
                name: "http".into(),
                protocol: Protocol::Tcp,
                port: port(80),
                target: TargetPort::Number(port(8080)),
                node_port: Some(port(30080)),
            },
            ServicePort {
                name: "dns".into(),
                protocol: Protocol::Udp,
                port: port(53),
                target: TargetPort::Name("dns".into()),
                node_port: None,
            },
        ],
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Local,
        clients: Clients::All,
        affinity: Affinity::ClientIp { timeout: Duration::from_secs(60) },
        health_check_port: None,
        load_balancer: None,
        was_given: false,
        publish_not_ready: false,
        delegated: false,
    };
    assert_eq!(admitted.fact, Some(expected));
}

#[test]
fn a_bad_port_is_refused_and_the_other_ports_stand() {
    let admitted = service(&read(
        "
        metadata: {namespace: shop, name: cart}
        spec:
          clusterIP: 10.96.1.2
          ports:
          - {name: a, port: 80, protocol: DCCP}
          - {name: b, port: 70000}
          - {name: c, port: 81}
          - {name: c, port: 82}
          - {name: d, port: 81}
        ",
    ));
    assert_eq!(
        refusals(&admitted),
        [
            "Service shop/cart: spec.ports[0].protocol: \"DCCP\" is not a protocol; it must be TCP, UDP or SCTP",
            "Service shop/cart: spec.ports[1].port: 70000 is not a port; it must be between 1 and 65535",
            "Service shop/cart: spec.ports[3].name: \"c\" names an earlier port too",
            "Service shop/cart: spec.ports[4].port: TCP 81 is an earlier port too",
        ]
    );
    let ports: Vec<u16> = admitted.fact.expect("a fact").ports.iter().map(|port| port.port.get()).collect();
    assert_eq!(ports, [81]);
}

#[test]
fn a_service_of_unknown_type_is_refused_as_a_whole() {
    let admitted = service(&read("{metadata: {namespace: a, name: b}, spec: {type: Anycast, clusterIP: 10.96.0.9}}"));
    assert_eq!(admitted.fact, None);
    assert_eq!(
        refusals(&admitted),
        [
            "Service a/b: spec.type: \"Anycast\" is unknown; it must be ClusterIP, NodePort, LoadBalancer or ExternalName"
        ]
    );
}

#[test]
fn headless_and_external_name_services_have_no_address() {
    let headless = service(&read("{metadata: {namespace: a, name: b}, spec: {clusterIP: None, ipFamilies: [IPv6]}}"));
    assert_eq!(headless.fact.map(|fact| fact.kind), Some(ServiceKind::Headless { families: vec![IpFamily::V6] }));
    let alias = service(&read(
        "{metadata: {namespace: a, name: b}, spec: {type: ExternalName, externalName: db.example.com.}}",
    ));
    let target = "db.example.com".into();
    assert_eq!(alias.fact.map(|fact| fact.kind), Some(ServiceKind::ExternalName { target }));
}

#[test]
fn a_bad_source_range_lets_nobody_in_and_the_others_stand() {
    let clients = |ranges: &str| {
        let spec = format!("type: LoadBalancer, clusterIP: 10.96.0.9, loadBalancerSourceRanges: {ranges}");
        let admitted = service(&read(&format!("{{metadata: {{namespace: a, name: b}}, spec: {{{spec}}}}}")));
        (refusals(&admitted), admitted.fact.expect("a fact").clients)
    };
    let within = |range: &str| Clients::Within(vec![range.parse().expect("a range")]);
    let why = "Service a/b: spec.loadBalancerSourceRanges[0]: \"everyone\" is not a range of addresses; \
               it must be like 10.244.1.0/24";
    assert_eq!(clients("[everyone, ' 192.0.2.7/24 ']"), (vec![why.to_owned()], within("192.0.2.0/24")));
    assert_eq!(clients("[everyone]"), (vec![why.to_owned()], Clients::Within(vec![])));
    assert_eq!(clients("[]"), (vec![], Clients::All));
}

#[test]
fn a_preference_nobody_knows_is_named_and_the_service_stands() {
    let fields = |preference: &str| {
        let spec = format!("clusterIP: 10.96.0.9, ports: [{{port: 80}}], trafficDistribution: {preference}");
        let admitted = service(&read(&format!("{{metadata: {{namespace: a, name: b}}, spec: {{{spec}}}}}")));
        assert_eq!(admitted.fact.expect("a fact").ports.len(), 1);
        admitted.rejected.into_iter().map(|rejected| rejected.field).collect::<Vec<_>>()
    };
    assert_eq!(fields("PreferClose"), [""; 0]);
    assert_eq!(fields("PreferFastest"), ["spec.trafficDistribution"]);
}

#[test]
fn only_a_balancer_with_local_endpoints_has_a_health_check() {
    let port = |spec: &str| {
        let spec = format!("clusterIP: 10.96.0.9, healthCheckNodePort: 30999, {spec}");
        let object = format!("{{metadata: {{namespace: a, name: b}}, spec: {{{spec}}}}}");
        service(&read(&object)).fact.expect("a fact").health_check_port
    };
    assert_eq!(port("type: LoadBalancer, externalTrafficPolicy: Local").map(NonZeroU16::get), Some(30999));
    assert_eq!(port("type: LoadBalancer, externalTrafficPolicy: Cluster"), None);
    assert_eq!(port("type: NodePort, externalTrafficPolicy: Local"), None);
}

#[test]
fn a_node_that_is_deleted_or_about_to_be_is_leaving() {
    let leaving = |object: &str| node(&read(object)).fact.expect("a fact").leaving;
    assert!(!leaving("{metadata: {name: n}, spec: {taints: [{key: other, effect: NoSchedule}]}}"));
    assert!(leaving("{metadata: {name: n, deletionTimestamp: '2026-01-01T00:00:00Z'}}"));
    assert!(leaving(
        "{metadata: {name: n}, spec: {taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]}}"
    ));
}

#[test]
fn a_proxying_load_balancer_keeps_its_address() {
    let admitted = service(&read(
        "
        metadata: {namespace: a, name: b}
        spec: {type: LoadBalancer, clusterIP: 10.96.0.9, ports: [{port: 80}]}
        status: {loadBalancer: {ingress: [{ip: 198.51.100.1, ipMode: Proxy}, {ip: 198.51.100.2, ipMode: VIP}]}}
        ",
    ));
    let kind = admitted.fact.expect("a fact").kind;
    let expected = vec!["198.51.100.2".parse::<std::net::IpAddr>().expect("address")];
    assert!(matches!(kind, ServiceKind::Virtual { load_balancer_ips, .. } if load_balancer_ips == expected));
}

#[test]
fn addresses_that_no_other_machine_can_use_are_refused() {
    let admitted = service(&read(
        "
        metadata: {namespace: a, name: b}
        spec: {clusterIP: 10.96.0.9, externalIPs: [127.0.0.1, 169.254.1.1, 010.1.1.1, 203.0.113.1, 203.0.113.1]}
        ",
    ));
    assert_eq!(
        refusals(&admitted),
        [
            "Service a/b: spec.externalIPs[0]: 127.0.0.1 is a loopback address; it must be one that other machines can reach",
            "Service a/b: spec.externalIPs[1]: 169.254.1.1 is a link-local address; it must be one that other machines can reach",
            "Service a/b: spec.externalIPs[2]: \"010.1.1.1\" is not an IP address; it must be like 10.0.0.1 or 2001:db8::1",
            "Service a/b: spec.externalIPs[4]: 203.0.113.1 is listed twice; once is enough",
        ]
    );
}

#[test]
fn a_service_of_another_proxy_is_marked() {
    let admitted = service(&read(
        "
        metadata: {namespace: a, name: b, labels: {service.kubernetes.io/service-proxy-name: other}}
        spec: {clusterIP: 10.96.0.9}
        ",
    ));
    assert!(admitted.fact.expect("a fact").delegated);
}

#[test]
fn an_affinity_time_out_beyond_the_range_falls_back_to_the_default() {
    let admitted = service(&read(
        "
        metadata: {namespace: a, name: b}
        spec:
          clusterIP: 10.96.0.9
          sessionAffinity: ClientIP
          sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}
        ",
    ));
    assert_eq!(admitted.rejected[0].field, "spec.sessionAffinityConfig.clientIP.timeoutSeconds");
    let affinity = admitted.fact.expect("a fact").affinity;
    assert_eq!(affinity, Affinity::ClientIp { timeout: Duration::from_secs(10_800) });
}

#[test]
fn a_slice_becomes_a_fact_with_the_defaults_of_its_conditions() {
    let admitted = endpoint_slice(&read(
        "
        metadata: {namespace: shop, name: cart-x, labels: {kubernetes.io/service-name: cart}}
        addressType: IPv4
        ports: [{name: http, port: 8080}]
        endpoints:
        - addresses: [10.244.1.5]
          hostname: cart-0
          nodeName: n1
          hints: {forZones: [{name: a}, {name: b}], forNodes: [{name: n1}]}
          targetRef: {kind: Pod, namespace: shop, name: cart-0}
        - addresses: [10.244.1.6]
          conditions: {ready: false, serving: true, terminating: true}
        ",
    ));
    assert_eq!(refusals(&admitted), [""; 0]);
    let expected = EndpointSlice {
        name: NamespacedName::new("shop", "cart-x"),
        service: NamespacedName::new("shop", "cart"),
        family: IpFamily::V4,
        delegated: false,
        triggered: None,
        ports: vec![EndpointPort { name: "http".into(), protocol: Protocol::Tcp, port: port(8080) }],
        endpoints: vec![
            Endpoint {
                address: "10.244.1.5".parse().expect("address"),
                hostname: Some("cart-0".into()),
                node: Some("n1".into()),
                for_nodes: vec!["n1".into()],
                for_zones: vec!["a".into(), "b".into()],
                pod: Some(NamespacedName::new("shop", "cart-0")),
                ready: true,
                serving: true,
                terminating: false,
            },
            Endpoint { ready: false, terminating: true, ..Endpoint::new("10.244.1.6".parse().expect("address")) },
        ],
    };
    assert_eq!(admitted.fact, Some(expected));
}

#[test]
fn an_endpoint_that_terminates_serves_unless_it_says_otherwise() {
    let slice = endpoint_slice(&read(
        "
        metadata: {namespace: a, name: s, labels: {kubernetes.io/service-name: b}}
        addressType: IPv4
        endpoints:
        - {addresses: [10.244.1.5], conditions: {ready: false, terminating: true}}
        - {addresses: [10.244.1.6], conditions: {ready: false, serving: false, terminating: true}}
        - {addresses: [10.244.1.7], conditions: {ready: false}}
        ",
    ));
    let endpoints = slice.fact.expect("a slice").endpoints;
    assert_eq!(endpoints.iter().map(|endpoint| endpoint.serving).collect::<Vec<_>>(), [true, false, false]);
}

#[test]
fn bad_endpoints_are_refused_and_the_good_one_stands() {
    let admitted = endpoint_slice(&read(
        "
        metadata: {namespace: a, name: s, labels: {kubernetes.io/service-name: b}}
        addressType: IPv4
        ports: [{name: any}, {port: 80}]
        endpoints:
        - addresses: ['2001:db8::1']
        - addresses: []
        - addresses: [127.0.0.1]
        - addresses: [10.244.1.5]
        - addresses: [10.244.1.5]
        ",
    ));
    assert_eq!(
        refusals(&admitted),
        [
            "EndpointSlice a/s: ports[0].port: is missing; \"all ports\" cannot be served by a Service",
            "EndpointSlice a/s: endpoints[0].addresses[0]: 2001:db8::1 is not of the slice's addressType",
            "EndpointSlice a/s: endpoints[1].addresses: is empty; an endpoint has one address",
            "EndpointSlice a/s: endpoints[2].addresses[0]: 127.0.0.1 is a loopback address; it must be one that other machines can reach",
            "EndpointSlice a/s: endpoints[4].addresses: 10.244.1.5 is the address of an earlier endpoint too; that one is used",
        ]
    );
    let fact = admitted.fact.expect("a fact");
    assert_eq!((fact.endpoints.len(), fact.ports.len()), (1, 1));
}

#[test]
fn a_slice_without_a_service_is_neither_fact_nor_fault() {
    let admitted = endpoint_slice(&read("{metadata: {namespace: a, name: s}, addressType: IPv4, endpoints: []}"));
    assert_eq!(admitted, Admitted { fact: None, rejected: vec![] });
}

#[test]
fn a_slice_of_names_is_refused() {
    let admitted = endpoint_slice(&read(
        "
        metadata: {namespace: a, name: s, labels: {kubernetes.io/service-name: b}}
        addressType: FQDN
        endpoints: []
        ",
    ));
    assert_eq!(
        refusals(&admitted),
        ["EndpointSlice a/s: addressType: \"FQDN\" cannot be served; it must be IPv4 or IPv6"]
    );
}

#[test]
fn a_node_becomes_a_fact() {
    let admitted = node(&read(
        "
        metadata: {name: n1, uid: u1, creationTimestamp: '1970-01-01T00:01:00Z', labels: {zone: a}}
        spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, 'fd00:1::/64']}
        status:
          addresses:
          - {type: Hostname, address: n1}
          - {type: InternalIP, address: 10.89.0.1}
          - {type: ExternalIP, address: 203.0.113.1}
        ",
    ));
    assert_eq!(refusals(&admitted), [""; 0]);
    let expected = Node {
        name: "n1".into(),
        addresses: vec!["10.89.0.1".parse().expect("address")],
        pod_cidrs: vec!["10.244.1.0/24".parse().expect("net"), "fd00:1::/64".parse().expect("net")],
        uid: "u1".into(),
        has_refused_range: false,
        leaving: false,
        created: Duration::from_mins(1),
        labels: [("zone".into(), "a".into())].into(),
    };
    assert_eq!(admitted.fact, Some(expected));
}

#[test]
fn an_odd_pod_range_is_refused_and_the_node_stands_as_one_that_has_some() {
    for (text, why) in [
        ("ten", "\"ten\" is not a range of addresses; it must be like 10.244.1.0/24"),
        (
            "0.0.0.0/0",
            "0.0.0.0/0 overlaps 0.0.0.0/8, addresses of no machine; it must be a range that pods can have addresses of",
        ),
        (
            "::/0",
            "::/0 overlaps ::/8, where the loopback address is; it must be a range that pods can have addresses of",
        ),
    ] {
        let admitted = node(&read(&format!("{{metadata: {{name: n1}}, spec: {{podCIDR: '{text}'}}}}")));
        assert_eq!(refusals(&admitted), [format!("Node n1: spec.podCIDR: {why}")]);
        let fact = admitted.fact.expect("a fact");
        assert_eq!((fact.pod_cidrs.as_slice(), fact.waits_for_ranges()), (&[][..], false));
    }
}

#[test]
fn bits_beyond_the_prefix_of_a_pod_range_are_ignored_and_an_empty_one_is_none() {
    for (text, ranges, waits) in [("10.244.1.7/24", vec!["10.244.1.0/24"], false), ("", vec![], true)] {
        let admitted = node(&read(&format!("{{metadata: {{name: n1}}, spec: {{podCIDR: '{text}'}}}}")));
        assert_eq!(refusals(&admitted), [""; 0]);
        let fact = admitted.fact.expect("a fact");
        let found: Vec<String> = fact.pod_cidrs.iter().map(ToString::to_string).collect();
        assert_eq!((found, fact.waits_for_ranges()), (ranges.into_iter().map(str::to_owned).collect(), waits));
    }
}

#[test]
fn a_pod_becomes_a_fact() {
    let admitted = pod(&read(
        "
        metadata: {namespace: a, name: p, labels: {app: x}}
        spec: {nodeName: n1, containers: []}
        status: {phase: Succeeded, podIP: 10.244.1.5, podIPs: [{ip: 10.244.1.5}]}
        ",
    ));
    assert_eq!(refusals(&admitted), [""; 0]);
    let expected = Pod {
        name: NamespacedName::new("a", "p"),
        addresses: vec!["10.244.1.5".parse().expect("address")],
        finished: true,
    };
    assert_eq!(admitted.fact, Some(expected));
}

#[test]
fn objects_without_a_name_are_refused() {
    let nameless = namespace(&read("{metadata: {}}"));
    assert_eq!(nameless.fact, None);
    assert_eq!(refusals(&nameless), ["Namespace (unnamed): metadata.name: is missing; every stored object has it"]);
    let homeless = pod(&read("{metadata: {name: p}}"));
    assert_eq!(homeless.fact, None);
    assert_eq!(refusals(&homeless), ["Pod p: metadata.namespace: is missing; every stored object has it"]);
}

#[test]
fn a_record_tells_what_is_for_others_and_what_was_refused() {
    let object = read(
        "
        metadata: {namespace: shop, name: cart, labels: {service.kubernetes.io/service-proxy-name: other}}
        spec: {type: LoadBalancer, clusterIP: 10.96.1.2, ports: [{port: 80}], trafficDistribution: PreferSameNode,
               sessionAffinity: Cookie}
        status:
          loadBalancer: {ingress: [{ip: 192.0.2.1, ipMode: VIP}, {ip: 192.0.2.2, ipMode: Proxy}, {hostname: lb.example}]}
          conditions:
          - {type: Allocated, status: 'False', reason: NoAddress, message: none is free, lastTransitionTime: 2026-01-01T00:00:00Z}
          - {type: Fine, status: 'True', reason: Fine, message: fine, lastTransitionTime: 2026-01-01T00:00:00Z}
        ",
    );
    let names = read(
        "
        metadata:
          namespace: shop
          name: cart-b
          labels: {kubernetes.io/service-name: cart, endpointslice.kubernetes.io/managed-by: me}
        addressType: FQDN
        ports: [{name: web, port: 80}, {protocol: UDP}]
        endpoints: [{addresses: [example.com]}]
        ",
    );
    let delegated = read(
        "
        metadata: {namespace: shop, name: cart-a, labels: {service.kubernetes.io/headless: ''}}
        addressType: IPv4
        endpoints: []
        ",
    );
    let record = ServiceRecord::of(&object, &[names, delegated]);
    assert_eq!(record.traffic_distribution.as_deref(), Some("PreferSameNode"));
    assert_eq!(record.delegated_by.as_deref(), Some("service.kubernetes.io/service-proxy-name=other"));
    assert_eq!(record.proxied, ["192.0.2.2", "lb.example"]);
    assert_eq!(record.unmet, ["Allocated: NoAddress: none is free"]);
    assert_eq!(record.rejected[0].field, "spec.sessionAffinity");
    let slices: Vec<_> = record
        .slices
        .iter()
        .map(|slice| (slice.name.as_str(), slice.managed_by.as_deref(), slice.delegated_by.as_deref()))
        .collect();
    assert_eq!(slices, [("cart-a", None, Some("service.kubernetes.io/headless=")), ("cart-b", Some("me"), None)]);
    assert_eq!(record.slices[1].ports, ["web:80/TCP", "*/UDP"]);
    assert_eq!(record.slices[1].rejected[0].field, "addressType");
}
