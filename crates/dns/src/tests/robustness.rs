//! No packet makes the server panic, and whatever it sends can be read.

use super::support::{UDP, query, shop, with_edns, zone_of};
use std::sync::LazyLock;
use std::time::Instant;

use crate::config::CacheConfig;
use crate::forward::{Cache, fit_to_client, is_reply_to, shuffle_addresses, write_query};
use crate::wire::{Query, Records, skip_name};
use crate::{Reply, Transport, Zone, answer_alias};
use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::select;

static ZONE: LazyLock<Zone> = LazyLock::new(|| zone_of(&shop()));

proptest! {
    #[test]
    fn arbitrary_bytes_get_a_readable_answer_or_none(packet in proptest::collection::vec(any::<u8>(), 0..600), seed: u64) {
        let mut out = Vec::new();
        let reply = crate::respond(&packet, &ZONE, (UDP, seed), &mut out);
        if let Reply::Ready(_) = reply {
            prop_assert!(Message::from_vec(&out).is_ok());
            prop_assert_eq!(&out[..2], &packet[..2]);
        }
    }

    #[test]
    fn damaged_queries_get_a_readable_answer_or_none(
        name in select(vec!["cart.shop.svc.cluster.local.", "_sql._tcp.db.shop.svc.cluster.local.", "5.1.244.10.in-addr.arpa."]),
        rtype in select(vec![RecordType::A, RecordType::SRV, RecordType::PTR, RecordType::ANY, RecordType::SOA]),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut: proptest::sample::Index,
    ) {
        let mut packet = with_edns(query(name, rtype), 1232).to_vec().unwrap();
        for (place, byte) in damage {
            let place = place.index(packet.len());
            packet[place] = byte;
        }
        if cut.index(4) == 0 {
            packet.truncate(cut.index(packet.len()));
        }
        for transport in [UDP, Transport::Tcp] {
            let mut out = Vec::new();
            if let Reply::Ready(_) | Reply::Chase(_) = crate::respond(&packet, &ZONE, (transport, 0), &mut out) {
                prop_assert!(Records::of(&out).unwrap().all(|record| record.is_ok()));
            }
        }
    }

    #[test]
    fn walking_arbitrary_messages_ends(message in proptest::collection::vec(any::<u8>(), 0..300), at in 0_usize..400) {
        let _ = skip_name(&message, at);
        if let Ok(records) = Records::of(&message) {
            for record in records.flatten() {
                prop_assert!(record.end <= message.len());
            }
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_replies_of_other_servers_do_no_harm(
        tail in proptest::collection::vec(any::<u8>(), 0..400),
        flags: u8,
        keeps_question: bool,
        limit in 512_usize..700,
    ) {
        let packet = with_edns(query("mail.shop.svc.cluster.local.", RecordType::A), 1232).to_vec().unwrap();
        let asked = Query::parse(&packet).unwrap();
        let mut sent = Vec::new();
        write_query(&asked, 77, &mut sent);
        let mut reply = vec![0, 77, 0x80 | flags, flags, 0, u8::from(keeps_question), 0, flags, 0, 1, 0, 1];
        reply.extend_from_slice(if keeps_question { asked.question } else { &[] });
        reply.extend_from_slice(&tail);
        let mut out = Vec::new();
        answer_alias(&asked, &ZONE, (UDP, 0), &reply, &mut out);
        prop_assert!(Records::of(&out).unwrap().all(|record| record.is_ok()));
        if is_reply_to(&sent, &reply) {
            let (cache, now) = (Cache::new(CacheConfig::default()), Instant::now());
            cache.insert(&asked, &reply, now);
            cache.read(&asked, now, &mut out);
            shuffle_addresses(&mut reply, u64::from(flags));
            fit_to_client(&mut reply, &asked, limit);
            prop_assert!(reply.len() <= limit);
            prop_assert_eq!(&reply[..2], &packet[..2]);
        }
    }
}
