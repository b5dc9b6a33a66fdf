//! A small cluster and the means to ask about it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::wire::DomainName;
use crate::zone::PodNames;
use crate::{Reply, Transport, Zone, ZoneSettings};
use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{Name as DnsName, RecordType};
use model::{
    Cluster, Endpoint, EndpointPort, EndpointSlice, IpFamily, Name, NamespacedName, Protocol, Service, ServiceKind,
    ServicePort, TargetPort,
};

pub const UDP: Transport = Transport::Udp { max_payload: 1232 };

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

/// As `kubernetes cluster.local in-addr.arpa ip6.arpa` with `pods insecure` and `fallthrough in-addr.arpa ip6.arpa`.
pub fn settings() -> ZoneSettings {
    let reverse = vec![name("in-addr.arpa"), name("ip6.arpa")];
    ZoneSettings {
        pods: PodNames::Insecure,
        fallthrough: reverse.clone(),
        reverse,
        ..ZoneSettings::new(name("cluster.local"), NamespacedName::new("kube-system", "kube-dns"))
    }
}

pub fn service(namespace: &str, name: &str, kind: ServiceKind, ports: &[(&str, Protocol, u16)]) -> Service {
    let port = |&(name, protocol, port): &(&str, Protocol, u16)| ServicePort {
        name: name.into(),
        protocol,
        port: port.try_into().unwrap(),
        target: TargetPort::Number(port.try_into().unwrap()),
        node_port: None,
    };
    Service { ports: ports.iter().map(port).collect(), ..Service::new(NamespacedName::new(namespace, name), kind) }
}

pub fn virtual_ips(cluster_ips: &[&str]) -> ServiceKind {
    ServiceKind::Virtual {
        cluster_ips: cluster_ips.iter().map(|text| ip(text)).collect(),
        external_ips: vec![],
        load_balancer_ips: vec![],
    }
}

pub fn headless() -> ServiceKind {
    ServiceKind::Headless { families: vec![IpFamily::V4] }
}

pub fn alias(target: &str) -> ServiceKind {
    ServiceKind::ExternalName { target: target.into() }
}

pub fn endpoint(address: &str, hostname: Option<&str>, ready: bool) -> Endpoint {
    Endpoint { hostname: hostname.map(Name::from), ready, serving: ready, ..Endpoint::new(ip(address)) }
}

pub fn slice(service: (&str, &str), ports: &[(&str, Protocol, u16)], endpoints: Vec<Endpoint>) -> EndpointSlice {
    let port = |&(name, protocol, port): &(&str, Protocol, u16)| EndpointPort {
        name: name.into(),
        protocol,
        port: port.try_into().unwrap(),
    };
    EndpointSlice {
        delegated: false,
        triggered: None,
        name: NamespacedName::new(service.0, format!("{}-abcde", service.1)),
        service: NamespacedName::new(service.0, service.1),
        family: IpFamily::V4,
        ports: ports.iter().map(port).collect(),
        endpoints,
    }
}

/// Adds to a snapshot what a watch would bring.
pub trait ClusterExt {
    fn namespace(self, name: &str) -> Self;
    fn service(self, service: Service) -> Self;
    fn slice(self, slice: EndpointSlice) -> Self;
}

impl ClusterExt for Cluster {
    fn namespace(mut self, name: &str) -> Self {
        self.namespaces.insert(name.into(), Arc::new(BTreeMap::new()));
        self
    }

    fn service(mut self, service: Service) -> Self {
        self.services.insert(service.name.clone(), Arc::new(service));
        self
    }

    fn slice(mut self, slice: EndpointSlice) -> Self {
        self.insert_slice(slice);
        self
    }
}

/// A cluster with one of each kind of Service.
pub fn shop() -> Cluster {
    let tcp = Protocol::Tcp;
    let dns_ports = [("dns", Protocol::Udp, 53), ("dns-tcp", tcp, 53)];
    Cluster::default()
        .namespace("shop")
        .namespace("empty")
        .namespace("kube-system")
        .service(service("kube-system", "kube-dns", virtual_ips(&["10.96.0.10"]), &dns_ports))
        .service(service("shop", "cart", virtual_ips(&["10.96.7.7"]), &[("http", tcp, 80), ("admin", tcp, 9000)]))
        .slice(slice(("shop", "cart"), &[("http", tcp, 8080)], vec![endpoint("10.244.1.9", None, true)]))
        .service(service("shop", "dual", virtual_ips(&["10.96.7.8", "fd00:10::8"]), &[("", tcp, 80)]))
        .service(service("shop", "db", headless(), &[("sql", tcp, 5432)]))
        .slice(slice(
            ("shop", "db"),
            &[("sql", tcp, 15432)],
            vec![
                endpoint("10.244.1.5", Some("db-0"), true),
                endpoint("10.244.2.6", None, true),
                endpoint("10.244.2.7", Some("db-2"), false),
            ],
        ))
        .service(Service {
            publish_not_ready: true,
            ..service("shop", "peers", headless(), &[("gossip", Protocol::Udp, 7946)])
        })
        .slice(slice(
            ("shop", "peers"),
            &[("gossip", Protocol::Udp, 7946)],
            vec![endpoint("10.244.3.3", Some("p-0"), false)],
        ))
        .service(service("shop", "nobody", headless(), &[("sql", tcp, 5432)]))
        .slice(slice(("shop", "nobody"), &[("sql", tcp, 5432)], vec![endpoint("10.244.1.8", None, false)]))
        .service(service("shop", "mail", alias("smtp.example.com"), &[]))
        .service(service("shop", "basket", alias("Cart.shop.svc.cluster.local"), &[]))
        .service(service("shop", "lost", alias("gone.shop.svc.cluster.local"), &[]))
        .service(service("shop", "ouro", alias("boros.shop.svc.cluster.local"), &[]))
        .service(service("shop", "boros", alias("ouro.shop.svc.cluster.local"), &[]))
}

pub fn zone_of(cluster: &Cluster) -> Zone {
    Zone::unsynced(settings()).updated(cluster, 1234)
}

pub fn query(name: &str, rtype: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(DnsName::from_ascii(name).unwrap(), rtype));
    message
}

pub fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.edns = Some(edns);
    message
}

/// What the zone answers to a question, decoded by a second implementation.
pub fn ask_as(zone: &Zone, query: &Message, transport: Transport, seed: u64) -> (Reply, Message) {
    let mut out = Vec::new();
    let reply = crate::respond(&query.to_vec().unwrap(), zone, (transport, seed), &mut out);
    assert!(!matches!(reply, Reply::Ignore | Reply::Forward), "{reply:?}");
    let message = Message::from_vec(&out).unwrap();
    assert_eq!(message.metadata.id, query.metadata.id);
    (reply, message)
}

pub fn ask(zone: &Zone, name: &str, rtype: RecordType) -> Message {
    ask_as(zone, &query(name, rtype), UDP, 0).1
}

/// Records as text, sorted: `owner TTL TYPE data`.
pub fn lines(records: &[hickory_proto::rr::Record]) -> Vec<String> {
    let mut lines: Vec<_> =
        records.iter().map(|r| format!("{} {} {} {}", r.name, r.ttl, r.record_type(), r.data)).collect();
    lines.sort();
    lines
}
