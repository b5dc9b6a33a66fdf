//! What the options of `kubernetes` change about the zone.

use std::sync::Arc;

use super::support::{
    ClusterExt, ask, endpoint, headless, ip, lines, name, service, settings, shop, slice, virtual_ips,
};
use crate::zone::{EndpointNames, PodNames};
use crate::{Zone, ZoneSettings};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use model::{Cluster, NamespacedName, Pod, Protocol};

fn zone(settings: ZoneSettings, cluster: &Cluster) -> Zone {
    Zone::unsynced(settings).updated(cluster, 1234)
}

fn code(zone: &Zone, name: &str, rtype: RecordType) -> ResponseCode {
    ask(zone, name, rtype).metadata.response_code
}

#[test]
fn pods_have_no_names_unless_asked_for() {
    let zone = zone(ZoneSettings { pods: PodNames::Disabled, ..settings() }, &shop());
    assert_eq!(code(&zone, "10-244-1-5.shop.pod.cluster.local.", RecordType::A), ResponseCode::NXDomain);
    assert_eq!(code(&zone, "shop.pod.cluster.local.", RecordType::A), ResponseCode::NoError);
}

#[test]
fn verified_pods_are_those_there_are() {
    let settings = ZoneSettings { pods: PodNames::Verified, ..settings() };
    let mut cluster = shop();
    let pod = Pod { name: NamespacedName::new("shop", "web"), addresses: vec![ip("10.244.1.5")], finished: false };
    cluster.pods.insert(pod.name.clone(), Arc::new(pod.clone()));
    let with = zone(settings, &cluster);
    let a = RecordType::A;
    assert_eq!(code(&with, "10-244-1-5.shop.pod.cluster.local.", a), ResponseCode::NoError);
    assert_eq!(code(&with, "10-244-1-6.shop.pod.cluster.local.", a), ResponseCode::NXDomain);
    assert_eq!(code(&with, "10-244-1-5.empty.pod.cluster.local.", a), ResponseCode::NXDomain);
    cluster.pods.remove(&pod.name);
    assert_eq!(code(&with.updated(&cluster, 2), "10-244-1-5.shop.pod.cluster.local.", a), ResponseCode::NXDomain);
}

#[test]
fn namespaces_that_are_not_chosen_have_no_names() {
    let zone = zone(ZoneSettings { namespaces: Some(["empty".into()].into()), ..settings() }, &shop());
    for name in ["cart.shop.svc.cluster.local.", "shop.svc.cluster.local.", "10-1-1-1.shop.pod.cluster.local."] {
        assert_eq!(code(&zone, name, RecordType::A), ResponseCode::NXDomain, "{name}");
    }
    assert_eq!(code(&zone, "empty.svc.cluster.local.", RecordType::A), ResponseCode::NoError);
}

#[test]
fn services_that_nothing_is_behind_can_be_ignored() {
    let zone = zone(ZoneSettings { ignore_empty: true, ..settings() }, &shop());
    assert_eq!(code(&zone, "cart.shop.svc.cluster.local.", RecordType::A), ResponseCode::NoError);
    assert_eq!(code(&zone, "dual.shop.svc.cluster.local.", RecordType::A), ResponseCode::NXDomain);
    let alias = ask(&zone, "mail.shop.svc.cluster.local.", RecordType::CNAME);
    assert_eq!(alias.answers.len(), 1, "an alias has nothing behind it anyway");
}

#[test]
fn endpoints_can_be_left_out() {
    let zone = zone(ZoneSettings { endpoints: EndpointNames::None, ..settings() }, &shop());
    assert_eq!(code(&zone, "db.shop.svc.cluster.local.", RecordType::A), ResponseCode::NXDomain);
    assert_eq!(code(&zone, "10-244-1-9.cart.shop.svc.cluster.local.", RecordType::A), ResponseCode::NXDomain);
    assert_eq!(code(&zone, "cart.shop.svc.cluster.local.", RecordType::A), ResponseCode::NoError);
}

#[test]
fn endpoints_can_be_called_by_their_pods() {
    let mut with_pod = endpoint("10.0.0.1", None, true);
    with_pod.pod = Some(NamespacedName::new("n", "web-7"));
    let mut with_both = endpoint("10.0.0.2", Some("host"), true);
    with_both.pod = Some(NamespacedName::new("n", "web-8"));
    let endpoints = vec![with_pod, with_both, endpoint("10.0.0.3", None, true)];
    let cluster = Cluster::default().service(service("n", "s", headless(), &[("p", Protocol::Tcp, 1)])).slice(slice(
        ("n", "s"),
        &[("p", Protocol::Tcp, 1)],
        endpoints,
    ));
    let zone = zone(ZoneSettings { endpoints: EndpointNames::Pods, ..settings() }, &cluster);
    let srv = ask(&zone, "_p._tcp.s.n.svc.cluster.local.", RecordType::SRV);
    let targets: Vec<_> =
        lines(&srv.answers).iter().filter_map(|line| line.rsplit(' ').next().map(str::to_owned)).collect();
    assert_eq!(
        targets,
        ["10-0-0-3.s.n.svc.cluster.local.", "host.s.n.svc.cluster.local.", "web-7.s.n.svc.cluster.local."]
    );
}

#[test]
fn without_fallthrough_an_unknown_address_is_missing() {
    let of_pods = name("10.in-addr.arpa");
    let zone = zone(ZoneSettings { reverse: vec![of_pods], fallthrough: Vec::new(), ..settings() }, &shop());
    let missing = ask(&zone, "1.2.3.10.in-addr.arpa.", RecordType::PTR);
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    assert!(missing.authorities[0].name.to_ascii() == "10.in-addr.arpa.");
    let elsewhere = super::support::query("1.2.3.11.in-addr.arpa.", RecordType::PTR).to_vec().unwrap();
    assert_eq!(crate::respond(&elsewhere, &zone, (super::support::UDP, 0), &mut Vec::new()), crate::Reply::Forward);
}

#[test]
fn a_missing_name_can_fall_through() {
    let zone = zone(ZoneSettings { fallthrough: vec![name(".")], ..settings() }, &shop());
    let query = super::support::query("none.shop.svc.cluster.local.", RecordType::A).to_vec().unwrap();
    assert_eq!(crate::respond(&query, &zone, (super::support::UDP, 0), &mut Vec::new()), crate::Reply::Forward);
    assert_eq!(code(&zone, "cart.shop.svc.cluster.local.", RecordType::AAAA), ResponseCode::NoError, "no data stays");
}

#[test]
fn zones_of_a_server_follow_the_cluster_and_go_when_nobody_needs_them() {
    let zones = crate::Zones::default();
    let first = zones.zone(&settings());
    assert!(!zones.is_synced());
    let cluster = Cluster::default().service(service("n", "s", virtual_ips(&["10.96.0.9"]), &[]));
    zones.update(&cluster, 7);
    let other = zones.zone(&ZoneSettings { ttl: 60, ..settings() });
    for zone in [&first, &other] {
        assert_eq!(ask(&zone.load(), "s.n.svc.cluster.local.", RecordType::A).answers.len(), 1);
    }
    assert!(Arc::ptr_eq(&first, &zones.zone(&settings())));
}
