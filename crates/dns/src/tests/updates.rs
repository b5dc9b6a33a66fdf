//! A zone made from the one before it equals one made from nothing, and shares what has not changed.

use super::support::{ClusterExt, ask, endpoint, headless, lines, service, shop, slice, virtual_ips, zone_of};
use hickory_proto::rr::RecordType;
use model::{Cluster, NamespacedName, Protocol};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest};

/// One change of a small cluster; numbers pick namespace, Service and address.
#[derive(Clone, Debug)]
enum Change {
    PutVirtual(u8, u8),
    PutHeadless(u8, u8, bool),
    Remove(u8),
    Namespace(u8, bool),
}

fn key(number: u8) -> (String, String) {
    (format!("ns{}", number % 3), format!("svc{}", number / 3 % 4))
}

fn apply(cluster: &Cluster, change: &Change) -> Cluster {
    let cluster = cluster.clone();
    match *change {
        Change::PutVirtual(number, address) => {
            let (namespace, name) = key(number);
            let address = format!("10.0.0.{}", address % 6);
            cluster.service(service(&namespace, &name, virtual_ips(&[&address]), &[("p", Protocol::Tcp, 80)]))
        }
        Change::PutHeadless(number, address, ready) => {
            let (namespace, name) = key(number);
            let ports = [("p", Protocol::Tcp, 80)];
            let endpoints = vec![
                endpoint(&format!("10.0.0.{}", address % 6), Some("h"), ready),
                endpoint(&format!("10.0.0.{}", address % 5), None, true),
            ];
            cluster.service(service(&namespace, &name, headless(), &ports)).slice(slice(
                (&namespace, &name),
                &ports,
                endpoints,
            ))
        }
        Change::Remove(number) => {
            let (namespace, name) = key(number);
            let key = NamespacedName::new(namespace, name);
            let mut cluster = cluster;
            cluster.services.remove(&key);
            cluster.endpoint_slices.remove(&key);
            cluster
        }
        Change::Namespace(number, true) => cluster.namespace(&key(number).0),
        Change::Namespace(number, false) => {
            let mut cluster = cluster;
            cluster.namespaces.remove(&*key(number).0);
            cluster
        }
    }
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<u8>(), any::<u8>()).prop_map(|(number, address)| Change::PutVirtual(number, address)),
        (any::<u8>(), any::<u8>(), any::<bool>())
            .prop_map(|(n, address, ready)| Change::PutHeadless(n, address, ready)),
        any::<u8>().prop_map(Change::Remove),
        (any::<u8>(), prop_oneof![Just(true), Just(false)]).prop_map(|(n, exists)| Change::Namespace(n, exists)),
    ]
}

/// Everything that can be asked about the small cluster.
fn all_answers(zone: &crate::Zone) -> Vec<String> {
    let mut answers = Vec::new();
    let mut ask_one = |name: String, rtype| {
        let packet = super::support::query(&name, rtype).to_vec().unwrap();
        let mut out = Vec::new();
        let reply = crate::respond(&packet, zone, (super::support::UDP, 0), &mut out);
        let records = match reply {
            crate::Reply::Forward => vec![],
            _ => lines(&hickory_proto::op::Message::from_vec(&out).unwrap().answers),
        };
        answers.push(format!("{name} {rtype} {reply:?} {records:?}"));
    };
    for number in 0..12 {
        let (namespace, name) = key(number);
        ask_one(format!("{name}.{namespace}.svc.cluster.local."), RecordType::A);
        ask_one(format!("h.{name}.{namespace}.svc.cluster.local."), RecordType::A);
        ask_one(format!("_p._tcp.{name}.{namespace}.svc.cluster.local."), RecordType::SRV);
        ask_one(format!("{namespace}.svc.cluster.local."), RecordType::A);
        ask_one(format!("10-0-0-1.{namespace}.pod.cluster.local."), RecordType::A);
    }
    for address in 0..6 {
        ask_one(format!("{address}.0.0.10.in-addr.arpa."), RecordType::PTR);
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn step_by_step_equals_from_nothing(changes in proptest::collection::vec(changes(), 1..20)) {
        let mut cluster = Cluster::default();
        let mut zone = zone_of(&cluster);
        for change in &changes {
            cluster = apply(&cluster, change);
            zone = zone.updated(&cluster, 1234);
            prop_assert_eq!(all_answers(&zone), all_answers(&zone_of(&cluster)));
        }
    }
}

#[test]
fn the_serial_moves_only_when_a_name_changes() {
    let cluster = shop();
    let zone = zone_of(&cluster);
    assert_eq!(zone.updated(&cluster, 2000).serial(), 1234);
    let more = cluster.service(service("shop", "new", virtual_ips(&["10.96.9.9"]), &[]));
    let next = zone.updated(&more, 2000);
    assert_eq!(next.serial(), 2000);
    assert_eq!(
        lines(&ask(&next, "new.shop.svc.cluster.local.", RecordType::A).answers),
        ["new.shop.svc.cluster.local. 5 A 10.96.9.9"]
    );
}
