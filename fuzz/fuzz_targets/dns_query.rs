//! Any bytes get a DNS response that can be followed to its last record, or none.
#![no_main]

use std::sync::LazyLock;

use dns::wire::{DomainName, Records};
use dns::{Reply, Transport, Zone, ZoneSettings, respond};
use libfuzzer_sys::fuzz_target;
use model::{Cluster, NamespacedName};

static ZONE: LazyLock<Zone> = LazyLock::new(|| {
    let mut cluster = Cluster::default();
    cluster.namespaces.insert("shop".into(), Default::default());
    let origin = DomainName::parse("a").expect("a name");
    let settings = ZoneSettings::new(origin, NamespacedName::new("kube-system", "kube-dns"));
    Zone::unsynced(settings).updated(&cluster, 1)
});

fuzz_target!(|packet: &[u8]| {
    for transport in [Transport::Tcp, Transport::Udp { max_payload: 1232 }] {
        let mut out = Vec::new();
        if let Reply::Ready(_) = respond(packet, &ZONE, (transport, 0), &mut out) {
            assert!(Records::of(&out).expect("a question").all(|record| record.is_ok()));
        }
    }
});
