//! Answers from names of a file.

use std::net::IpAddr;

use crate::answer::{Reply, Transport, family_asked, write_address};
use crate::config::{HostsConfig, is_within};
use crate::shuffle::shuffled;
use crate::wire::{Owner, Query, Rcode, RecordType, Response, Section};
use crate::zone::reverse_address;

/// Answers a query from names of a file into `out`, which is overwritten; as [`answer`](crate::answer()).
///
/// A name that is not among them and falls through nowhere is a failure: without a zone there is no SOA that could say
/// for how long it is missing.
pub fn answer_hosts(query: &Query<'_>, hosts: &HostsConfig, how: (Transport, u64), out: &mut Vec<u8>) -> Reply {
    if query.qtype == RecordType::PTR {
        let names = reverse_address(&query.name).map_or(&[][..], |address| hosts.hosts.names(address));
        if names.is_empty() {
            return Reply::Forward;
        }
        let data = names.iter().map(|name| name.as_wire().to_vec());
        return write(query, hosts.ttl, how.0, data, out);
    }
    if !is_within(&query.name, &hosts.zones) {
        return Reply::Forward;
    }
    match hosts.hosts.addresses(query.name.as_wire()) {
        Some(addresses) => {
            let addresses = family_asked(query.qtype).map_or(&[][..], |family| addresses.of(family));
            let data = shuffled(addresses.len(), how.1).map(|index| octets(addresses[index]));
            write(query, hosts.ttl, how.0, data, out)
        }
        None if is_within(&query.name, &hosts.fallthrough) => Reply::Forward,
        None => {
            Response::start(query, how.0.limit(query), out).finish_without_authority(Rcode::ServFail);
            Reply::Ready(Rcode::ServFail)
        }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    let mut octets = Vec::with_capacity(16);
    write_address(&mut octets, address);
    octets
}

fn write(
    query: &Query<'_>,
    ttl: u32,
    transport: Transport,
    data: impl Iterator<Item = Vec<u8>>,
    out: &mut Vec<u8>,
) -> Reply {
    let mut response = Response::start(query, transport.limit(query), out);
    for data in data {
        response.record(Section::Answer, (Owner::QUESTION, query.qtype, ttl), |out| out.extend_from_slice(&data));
    }
    response.finish(Rcode::NoError);
    Reply::Ready(Rcode::NoError)
}
