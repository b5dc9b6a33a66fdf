//! What the zone answers, decoded by another implementation of the wire format.

use super::support::{
    ClusterExt, UDP, ask, ask_as, endpoint, headless, lines, query, service, settings, shop, slice, with_edns, zone_of,
};
use crate::wire::{DomainName, Rcode};
use crate::{Reply, Transport, Zone};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};
use model::{Cluster, Protocol};

fn answers(name: &str, rtype: RecordType) -> Vec<String> {
    lines(&ask(&zone_of(&shop()), name, rtype).answers)
}

const SOA: &str = "cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 1234 7200 1800 86400 5";

/// Asserts the name exists and has no records of the type.
fn assert_no_data(name: &str, rtype: RecordType) {
    let message = ask(&zone_of(&shop()), name, rtype);
    assert_eq!(message.metadata.response_code, ResponseCode::NoError, "{name} {rtype}");
    assert_eq!((lines(&message.answers), lines(&message.authorities)), (vec![], vec![SOA.into()]), "{name} {rtype}");
}

fn assert_missing(name: &str, rtype: RecordType) {
    let message = ask(&zone_of(&shop()), name, rtype);
    assert_eq!(message.metadata.response_code, ResponseCode::NXDomain, "{name} {rtype}");
    assert_eq!((lines(&message.answers), lines(&message.authorities)), (vec![], vec![SOA.into()]), "{name} {rtype}");
}

#[test]
fn a_service_resolves_to_its_cluster_address() {
    assert_eq!(answers("cart.shop.svc.cluster.local.", RecordType::A), ["cart.shop.svc.cluster.local. 5 A 10.96.7.7"]);
}

#[test]
fn an_answer_is_authoritative_and_offers_no_recursion() {
    let message = ask(&zone_of(&shop()), "cart.shop.svc.cluster.local.", RecordType::A);
    let flags = &message.metadata;
    assert!(flags.authoritative && flags.recursion_desired);
    assert!(!flags.recursion_available && !flags.truncation && !flags.authentic_data);
}

#[test]
fn a_dual_stack_service_has_an_address_of_each_family() {
    assert_eq!(answers("dual.shop.svc.cluster.local.", RecordType::A), ["dual.shop.svc.cluster.local. 5 A 10.96.7.8"]);
    assert_eq!(
        answers("dual.shop.svc.cluster.local.", RecordType::AAAA),
        ["dual.shop.svc.cluster.local. 5 AAAA fd00:10::8"]
    );
}

#[test]
fn a_family_a_service_lacks_is_no_data_and_not_a_missing_name() {
    assert_no_data("cart.shop.svc.cluster.local.", RecordType::AAAA);
    assert_no_data("db.shop.svc.cluster.local.", RecordType::AAAA);
    assert_no_data("db-0.db.shop.svc.cluster.local.", RecordType::AAAA);
}

#[test]
fn other_types_of_existing_names_are_no_data() {
    for name in ["cart.shop.svc.cluster.local.", "_http._tcp.cart.shop.svc.cluster.local.", "cluster.local."] {
        assert_no_data(name, RecordType::MX);
    }
    assert_no_data("10-244-1-5.shop.pod.cluster.local.", RecordType::TXT);
}

#[test]
fn a_headless_service_resolves_to_its_ready_endpoints() {
    assert_eq!(
        answers("db.shop.svc.cluster.local.", RecordType::A),
        ["db.shop.svc.cluster.local. 5 A 10.244.1.5", "db.shop.svc.cluster.local. 5 A 10.244.2.6"]
    );
}

#[test]
fn endpoints_that_are_not_ready_are_published_when_the_service_says_so() {
    assert_eq!(
        answers("peers.shop.svc.cluster.local.", RecordType::A),
        ["peers.shop.svc.cluster.local. 5 A 10.244.3.3"]
    );
}

#[test]
fn a_headless_service_without_ready_endpoints_does_not_exist() {
    for name in ["nobody.shop.svc.cluster.local.", "_sql._tcp.nobody.shop.svc.cluster.local."] {
        assert_missing(name, RecordType::A);
    }
}

#[test]
fn endpoints_have_names_made_of_host_name_or_address() {
    assert_eq!(
        answers("db-0.db.shop.svc.cluster.local.", RecordType::A),
        ["db-0.db.shop.svc.cluster.local. 5 A 10.244.1.5"]
    );
    assert_eq!(
        answers("10-244-2-6.db.shop.svc.cluster.local.", RecordType::A),
        ["10-244-2-6.db.shop.svc.cluster.local. 5 A 10.244.2.6"]
    );
    assert_eq!(
        answers("10-244-1-9.cart.shop.svc.cluster.local.", RecordType::A),
        ["10-244-1-9.cart.shop.svc.cluster.local. 5 A 10.244.1.9"],
        "also behind a virtual address"
    );
    assert_missing("db-2.db.shop.svc.cluster.local.", RecordType::A);
    assert_missing("10-244-1-5.db.shop.svc.cluster.local.", RecordType::A);
}

#[test]
fn endpoints_that_share_a_host_name_are_all_answered() {
    let cluster = Cluster::default().service(service("n", "s", headless(), &[])).slice(slice(
        ("n", "s"),
        &[],
        vec![endpoint("10.0.0.1", Some("h"), true), endpoint("10.0.0.2", Some("h"), true)],
    ));
    let message = ask(&zone_of(&cluster), "h.s.n.svc.cluster.local.", RecordType::A);
    assert_eq!(
        lines(&message.answers),
        ["h.s.n.svc.cluster.local. 5 A 10.0.0.1", "h.s.n.svc.cluster.local. 5 A 10.0.0.2"]
    );
}

#[test]
fn a_named_port_of_a_service_points_at_the_service() {
    let message = ask(&zone_of(&shop()), "_http._tcp.cart.shop.svc.cluster.local.", RecordType::SRV);
    assert_eq!(
        lines(&message.answers),
        ["_http._tcp.cart.shop.svc.cluster.local. 5 SRV 0 100 80 cart.shop.svc.cluster.local."]
    );
    assert_eq!(lines(&message.additionals), ["cart.shop.svc.cluster.local. 5 A 10.96.7.7"]);
}

#[test]
fn a_named_port_of_a_headless_service_points_at_every_ready_endpoint() {
    let message = ask(&zone_of(&shop()), "_sql._tcp.db.shop.svc.cluster.local.", RecordType::SRV);
    assert_eq!(
        lines(&message.answers),
        [
            "_sql._tcp.db.shop.svc.cluster.local. 5 SRV 0 50 15432 10-244-2-6.db.shop.svc.cluster.local.",
            "_sql._tcp.db.shop.svc.cluster.local. 5 SRV 0 50 15432 db-0.db.shop.svc.cluster.local.",
        ]
    );
    assert_eq!(
        lines(&message.additionals),
        ["10-244-2-6.db.shop.svc.cluster.local. 5 A 10.244.2.6", "db-0.db.shop.svc.cluster.local. 5 A 10.244.1.5"]
    );
}

#[test]
fn all_ports_are_found_under_the_bare_name() {
    let message = ask(&zone_of(&shop()), "cart.shop.svc.cluster.local.", RecordType::SRV);
    assert_eq!(
        lines(&message.answers),
        [
            "cart.shop.svc.cluster.local. 5 SRV 0 50 80 cart.shop.svc.cluster.local.",
            "cart.shop.svc.cluster.local. 5 SRV 0 50 9000 cart.shop.svc.cluster.local.",
        ]
    );
    assert_eq!(lines(&message.additionals), ["cart.shop.svc.cluster.local. 5 A 10.96.7.7"], "the address once");
}

#[test]
fn a_port_under_the_wrong_protocol_or_name_is_missing() {
    assert_missing("_http._udp.cart.shop.svc.cluster.local.", RecordType::SRV);
    assert_missing("_https._tcp.cart.shop.svc.cluster.local.", RecordType::SRV);
    assert_missing("http._tcp.cart.shop.svc.cluster.local.", RecordType::SRV);
    assert_missing("_._tcp.dual.shop.svc.cluster.local.", RecordType::SRV);
}

#[test]
fn names_between_existing_names_exist() {
    for name in [
        "svc.cluster.local.",
        "pod.cluster.local.",
        "shop.svc.cluster.local.",
        "empty.svc.cluster.local.",
        "empty.pod.cluster.local.",
        "_tcp.cart.shop.svc.cluster.local.",
        "dns.cluster.local.",
        "cluster.local.",
    ] {
        assert_no_data(name, RecordType::A);
    }
}

#[test]
fn names_of_nothing_are_missing() {
    for name in [
        "nowhere.svc.cluster.local.",
        "cart.nowhere.svc.cluster.local.",
        "other.shop.svc.cluster.local.",
        "www.example.com.shop.svc.cluster.local.",
        "a.b.c.d.cart.shop.svc.cluster.local.",
        "other.cluster.local.",
        "nowhere.pod.cluster.local.",
        "_udp.cart.shop.svc.cluster.local.",
        "*.shop.svc.cluster.local.",
    ] {
        assert_missing(name, RecordType::A);
    }
}

#[test]
fn a_pod_is_found_by_its_address_in_an_existing_namespace() {
    assert_eq!(
        answers("10-244-1-5.shop.pod.cluster.local.", RecordType::A),
        ["10-244-1-5.shop.pod.cluster.local. 5 A 10.244.1.5"]
    );
    assert_eq!(
        answers("fd00--5.shop.pod.cluster.local.", RecordType::AAAA),
        ["fd00--5.shop.pod.cluster.local. 5 AAAA fd00::5"]
    );
    assert_no_data("10-244-1-5.shop.pod.cluster.local.", RecordType::AAAA);
    assert_missing("10-244-1-5.nowhere.pod.cluster.local.", RecordType::A);
    assert_missing("10-244-1-256.shop.pod.cluster.local.", RecordType::A);
    assert_missing("x.10-244-1-5.shop.pod.cluster.local.", RecordType::A);
}

#[test]
fn addresses_resolve_back_to_services_and_endpoints() {
    let back = |name: &str| answers(name, RecordType::PTR);
    assert_eq!(back("7.7.96.10.in-addr.arpa."), ["7.7.96.10.in-addr.arpa. 5 PTR cart.shop.svc.cluster.local."]);
    assert_eq!(back("5.1.244.10.in-addr.arpa."), ["5.1.244.10.in-addr.arpa. 5 PTR db-0.db.shop.svc.cluster.local."]);
    assert_eq!(
        back("6.2.244.10.in-addr.arpa."),
        ["6.2.244.10.in-addr.arpa. 5 PTR 10-244-2-6.db.shop.svc.cluster.local."]
    );
    let v6 = "8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.d.f.ip6.arpa.";
    assert_eq!(back(v6), [format!("{v6} 5 PTR dual.shop.svc.cluster.local.")]);
}

#[test]
fn a_known_address_has_no_other_records() {
    let message = ask(&zone_of(&shop()), "7.7.96.10.in-addr.arpa.", RecordType::A);
    assert_eq!(message.metadata.response_code, ResponseCode::NoError);
    assert_eq!(
        lines(&message.authorities),
        ["in-addr.arpa. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 1234 7200 1800 86400 5"]
    );
}

fn reply_to(name: &str, rtype: RecordType) -> Reply {
    crate::respond(&query(name, rtype).to_vec().unwrap(), &zone_of(&shop()), (UDP, 0), &mut Vec::new())
}

#[test]
fn addresses_without_a_name_here_are_left_to_others() {
    for name in [
        "1.0.0.10.in-addr.arpa.",
        "7.2.244.10.in-addr.arpa.",
        "9.1.244.10.in-addr.arpa.",
        "07.7.96.10.in-addr.arpa.",
        "96.10.in-addr.arpa.",
        "x.ip6.arpa.",
    ] {
        assert_eq!(reply_to(name, RecordType::PTR), Reply::Forward, "{name}");
    }
}

#[test]
fn names_of_other_zones_are_left_to_others() {
    for name in ["example.com.", "local.", ".", "mycluster.local."] {
        assert_eq!(reply_to(name, RecordType::A), Reply::Forward, "{name}");
    }
}

#[test]
fn an_alias_out_of_the_zone_is_to_be_chased() {
    let (reply, message) = ask_as(&zone_of(&shop()), &query("mail.shop.svc.cluster.local.", RecordType::A), UDP, 0);
    assert_eq!(reply, Reply::Chase(DomainName::parse("smtp.example.com").unwrap()));
    assert_eq!(lines(&message.answers), ["mail.shop.svc.cluster.local. 5 CNAME smtp.example.com."]);
}

#[test]
fn an_alias_itself_can_be_asked_for() {
    let (reply, message) = ask_as(&zone_of(&shop()), &query("mail.shop.svc.cluster.local.", RecordType::CNAME), UDP, 0);
    assert_eq!(reply, Reply::Ready(Rcode::NoError));
    assert_eq!(lines(&message.answers), ["mail.shop.svc.cluster.local. 5 CNAME smtp.example.com."]);
}

#[test]
fn an_alias_within_the_zone_is_followed() {
    assert_eq!(
        answers("basket.shop.svc.cluster.local.", RecordType::A),
        [
            "basket.shop.svc.cluster.local. 5 CNAME cart.shop.svc.cluster.local.",
            "cart.shop.svc.cluster.local. 5 A 10.96.7.7",
        ]
    );
    let lost = ask(&zone_of(&shop()), "lost.shop.svc.cluster.local.", RecordType::A);
    assert_eq!(lost.metadata.response_code, ResponseCode::NXDomain);
    let no_data = ask(&zone_of(&shop()), "basket.shop.svc.cluster.local.", RecordType::AAAA);
    assert_eq!(
        (no_data.metadata.response_code, lines(&no_data.authorities)),
        (ResponseCode::NoError, vec![SOA.into()])
    );
}

#[test]
fn aliases_in_a_circle_end_in_a_failure() {
    let message = ask(&zone_of(&shop()), "ouro.shop.svc.cluster.local.", RecordType::A);
    assert_eq!(message.metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn the_zone_describes_itself() {
    assert_eq!(answers("cluster.local.", RecordType::SOA), [SOA]);
    assert_eq!(answers("dns-version.cluster.local.", RecordType::TXT), ["dns-version.cluster.local. 5 TXT 1.1.0"]);
    let servers = ask(&zone_of(&shop()), "cluster.local.", RecordType::NS);
    assert_eq!(lines(&servers.answers), ["cluster.local. 5 NS kube-dns.kube-system.svc.cluster.local."]);
    assert_eq!(lines(&servers.additionals), ["kube-dns.kube-system.svc.cluster.local. 5 A 10.96.0.10"]);
    assert_eq!(answers("ns.dns.cluster.local.", RecordType::A), ["ns.dns.cluster.local. 5 A 10.96.0.10"]);
}

#[test]
fn without_a_dns_service_the_zone_still_names_a_server() {
    let message = ask(&zone_of(&Cluster::default()), "cluster.local.", RecordType::NS);
    assert_eq!(lines(&message.answers), ["cluster.local. 5 NS ns.dns.cluster.local."]);
}

#[test]
fn a_question_for_anything_gets_one_small_record() {
    assert_eq!(answers("db.shop.svc.cluster.local.", RecordType::ANY).len(), 1);
    assert_missing("other.shop.svc.cluster.local.", RecordType::ANY);
}

#[test]
fn zone_transfers_and_other_classes_are_refused() {
    let zone = zone_of(&shop());
    for rtype in [RecordType::AXFR, RecordType::IXFR] {
        assert_eq!(ask(&zone, "cluster.local.", rtype).metadata.response_code, ResponseCode::Refused);
    }
    let mut chaos = query("cart.shop.svc.cluster.local.", RecordType::A);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(ask_as(&zone, &chaos, UDP, 0).1.metadata.response_code, ResponseCode::Refused);
}

#[test]
fn before_the_first_snapshot_only_names_of_the_zone_fail() {
    let zone = Zone::unsynced(settings());
    assert_eq!(
        ask(&zone, "cart.shop.svc.cluster.local.", RecordType::A).metadata.response_code,
        ResponseCode::ServFail
    );
    let elsewhere = query("example.com.", RecordType::A).to_vec().unwrap();
    assert_eq!(crate::respond(&elsewhere, &zone, (UDP, 0), &mut Vec::new()), Reply::Forward);
}

#[test]
fn the_case_of_the_question_is_kept() {
    let message = ask(&zone_of(&shop()), "CaRt.shOp.SVC.Cluster.LOCAL.", RecordType::A);
    assert_eq!(message.queries[0].name.to_ascii(), "CaRt.shOp.SVC.Cluster.LOCAL.");
    assert_eq!(message.answers[0].name.to_ascii(), "CaRt.shOp.SVC.Cluster.LOCAL.");
    assert_eq!(message.answers[0].data.to_string(), "10.96.7.7");
}

/// A headless Service with more endpoints than fit any datagram.
fn crowd() -> Zone {
    let endpoints = (0..200).map(|i| endpoint(&format!("10.244.0.{i}"), None, true)).collect();
    let ports = [("p", Protocol::Tcp, 1)];
    let cluster = Cluster::default().service(service("n", "crowd", headless(), &ports)).slice(slice(
        ("n", "crowd"),
        &ports,
        endpoints,
    ));
    zone_of(&cluster)
}

fn encoded_len(zone: &Zone, query: &Message, transport: Transport) -> (usize, Message) {
    let mut out = Vec::new();
    crate::respond(&query.to_vec().unwrap(), zone, (transport, 0), &mut out);
    (out.len(), Message::from_vec(&out).unwrap())
}

#[test]
fn answers_too_large_for_the_client_are_cut_and_say_so() {
    let zone = crowd();
    let plain = query("crowd.n.svc.cluster.local.", RecordType::A);
    for (query, most) in
        [(plain.clone(), 512), (with_edns(plain.clone(), 800), 800), (with_edns(plain.clone(), 4096), 1232)]
    {
        let (len, message) = encoded_len(&zone, &query, UDP);
        assert!(len <= most && len > most - 30, "{len} of {most}");
        assert!(message.metadata.truncation);
        assert!(message.answers.len() > 25);
    }
    let (_, message) = encoded_len(&zone, &plain, Transport::Tcp);
    assert!(!message.metadata.truncation);
    assert_eq!(message.answers.len(), 200);
}

#[test]
fn leaving_out_additional_records_is_not_truncation() {
    let zone = crowd();
    let query = query("_p._tcp.crowd.n.svc.cluster.local.", RecordType::SRV);
    let (len, message) = encoded_len(&zone, &query, Transport::Tcp);
    assert!(len <= 65535);
    assert_eq!((message.answers.len(), message.metadata.truncation), (200, false));
    assert!(!message.additionals.is_empty());
    assert!(message.answers[0].data.to_string().starts_with("0 1 1 "), "a weight is never zero");
}

#[test]
fn edns_is_answered_with_edns_and_only_then() {
    let zone = zone_of(&shop());
    let plain = query("cart.shop.svc.cluster.local.", RecordType::A);
    assert!(ask_as(&zone, &plain, UDP, 0).1.edns.is_none());
    let mut secure = with_edns(plain, 4096);
    secure.edns.as_mut().unwrap().set_dnssec_ok(true);
    let edns = ask_as(&zone, &secure, UDP, 0).1.edns.unwrap();
    assert_eq!((edns.max_payload(), edns.version(), edns.flags().dnssec_ok), (1232, 0, true));
}

#[test]
fn an_unknown_edns_version_is_refused_by_its_code() {
    let mut newer = with_edns(query("cart.shop.svc.cluster.local.", RecordType::A), 1232);
    newer.edns.as_mut().unwrap().set_version(1);
    let (reply, message) = ask_as(&zone_of(&shop()), &newer, UDP, 0);
    assert_eq!(reply, Reply::Ready(Rcode::BadVers));
    // 16 is BADSIG in a TSIG record and BADVERS elsewhere.
    assert_eq!(u16::from(message.metadata.response_code), 16);
}

#[test]
fn the_order_of_addresses_changes_with_the_seed() {
    let zone = crowd();
    let query = with_edns(query("crowd.n.svc.cluster.local.", RecordType::A), 1232);
    let first = |seed| ask_as(&zone, &query, UDP, seed).1.answers[0].data.to_string();
    let firsts: std::collections::HashSet<_> = (0..100).map(first).collect();
    assert!(firsts.len() > 50, "{} different first addresses of 200 in 100 answers", firsts.len());
}
