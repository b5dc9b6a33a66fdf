//! Questions about everything the cluster has and has not.

use hickory_proto::rr::RecordType;

const TYPES: [RecordType; 10] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::SRV,
    RecordType::PTR,
    RecordType::TXT,
    RecordType::CNAME,
    RecordType::NS,
    RecordType::SOA,
    RecordType::MX,
    RecordType::ANY,
];

/// Names that exist, that nearly exist and that do not.
const NAMES: [&str; 53] = [
    "cluster.local.",
    "svc.cluster.local.",
    "pod.cluster.local.",
    "shop.svc.cluster.local.",
    "empty.svc.cluster.local.",
    "missing.svc.cluster.local.",
    "shop.pod.cluster.local.",
    "missing.pod.cluster.local.",
    "dns-version.cluster.local.",
    "x.dns-version.cluster.local.",
    "ns.dns.cluster.local.",
    "dns.cluster.local.",
    "other.cluster.local.",
    "kubernetes.default.svc.cluster.local.",
    "web-1.default.svc.cluster.local.",
    "_http._tcp.web-1.default.svc.cluster.local.",
    "cart.shop.svc.cluster.local.",
    "CaRt.ShOp.sVc.cLuStEr.LoCaL.",
    "_http._tcp.cart.shop.svc.cluster.local.",
    "_http._udp.cart.shop.svc.cluster.local.",
    "_none._tcp.cart.shop.svc.cluster.local.",
    "http.tcp.cart.shop.svc.cluster.local.",
    "_tcp.cart.shop.svc.cluster.local.",
    "10-245-1-9.cart.shop.svc.cluster.local.",
    "plain.shop.svc.cluster.local.",
    "_._tcp.plain.shop.svc.cluster.local.",
    "db.shop.svc.cluster.local.",
    "db-0.db.shop.svc.cluster.local.",
    "db-2.db.shop.svc.cluster.local.",
    "10-245-2-6.db.shop.svc.cluster.local.",
    "_sql._tcp.db.shop.svc.cluster.local.",
    "_sql._tcp.db-0.db.shop.svc.cluster.local.",
    "nobody.shop.svc.cluster.local.",
    "crowd.shop.svc.cluster.local.",
    "mail.shop.svc.cluster.local.",
    "basket.shop.svc.cluster.local.",
    "lost.shop.svc.cluster.local.",
    "nowhere.shop.svc.cluster.local.",
    "missing.shop.svc.cluster.local.",
    "a.b.c.d.cart.shop.svc.cluster.local.",
    "www.example.com.shop.svc.cluster.local.",
    "10-1-2-3.shop.pod.cluster.local.",
    "10-1-2-3.missing.pod.cluster.local.",
    "10-1-2-300.shop.pod.cluster.local.",
    "fd00--1.shop.pod.cluster.local.",
    "x.10-1-2-3.shop.pod.cluster.local.",
    "7.77.96.10.in-addr.arpa.",
    "5.1.245.10.in-addr.arpa.",
    "6.2.245.10.in-addr.arpa.",
    "1.1.1.10.in-addr.arpa.",
    "96.10.in-addr.arpa.",
    "in-addr.arpa.",
    "gate.example.com.",
];

/// Every name with every type.
pub fn questions() -> Vec<(String, RecordType)> {
    NAMES.iter().flat_map(|name| TYPES.map(|rtype| ((*name).to_owned(), rtype))).collect()
}
