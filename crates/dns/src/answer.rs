//! Answers: from a packet and the zone to the packet that goes back.
//!
//! Pure, and without allocation for all but SRV questions: it may run where packets are read.

use std::net::IpAddr;

use model::IpFamily;

use crate::forward::{ForeignRecord, foreign_answers, reply_code};
use crate::shuffle::shuffled;
use crate::wire::{
    DomainName, HEADER_LEN, Owner, Query, QueryError, QueryName, Rcode, RecordType, Response, Section, write_fault,
    write_pointer,
};
use crate::zone::{Addresses, Found, PortRecords, ServiceNames, SrvPlace, Zone};

/// The version of the Kubernetes DNS specification that is served.
const SPECIFICATION: &[u8] = b"1.1.0";
/// How many aliases are followed inside the zone before giving up.
const MAX_ALIASES: usize = 10;
/// The longest an SOA may be kept, in seconds: negative answers must not outlive a new Service for long.
const MAX_SOA_TTL: u32 = 300;
/// What a client gets over UDP when it does not say how much it can take (RFC 1035 section 4.2.1).
const PLAIN_UDP_PAYLOAD: u16 = 512;
/// SRV weights share this among the places of one answer.
const TOTAL_WEIGHT: usize = 100;

/// How a query came, which limits how large the answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram; never larger than `max_payload` octets whatever the client says it can take.
    Udp {
        /// The server's own limit in octets.
        max_payload: u16,
    },
    /// A stream, where a message has up to 65535 octets.
    Tcp,
}

impl Transport {
    /// The largest response this client can take, in octets.
    pub fn limit(self, query: &Query<'_>) -> usize {
        match self {
            Self::Tcp => usize::from(u16::MAX),
            Self::Udp { max_payload } => {
                let offered = query.edns.map_or(PLAIN_UDP_PAYLOAD, |edns| edns.payload);
                usize::from(offered.min(max_payload.max(PLAIN_UDP_PAYLOAD)))
            }
        }
    }
}

/// What is to be done with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing may be sent back.
    Ignore,
    /// The response is complete.
    Ready(Rcode),
    /// The name is not ours: somebody else may know it.
    Forward,
    /// The name is an alias that leaves the zone. The response holds the alias; the records of this name belong after it.
    Chase(DomainName),
}

/// Answers one packet into `out`, which is overwritten; `seed` varies the order of addresses between answers.
pub fn respond(packet: &[u8], zone: &Zone, (transport, seed): (Transport, u64), out: &mut Vec<u8>) -> Reply {
    match Query::parse(packet) {
        Err(QueryError::Ignore) => Reply::Ignore,
        Err(QueryError::Fault(fault)) => {
            write_fault(fault, out);
            Reply::Ready(fault.rcode)
        }
        Ok(query) => answer(&query, zone, (transport, seed), out),
    }
}

/// Answers a query that has been read already; as [`respond`].
pub fn answer(query: &Query<'_>, zone: &Zone, how: (Transport, u64), out: &mut Vec<u8>) -> Reply {
    answer_with(query, zone, how, None, out)
}

/// Answers a query for which [`answer`] said [`Reply::Chase`], now that `reply` has come for the alias's target.
pub fn answer_alias(query: &Query<'_>, zone: &Zone, how: (Transport, u64), reply: &[u8], out: &mut Vec<u8>) -> Reply {
    answer_with(query, zone, how, Some(reply), out)
}

fn answer_with(
    query: &Query<'_>,
    zone: &Zone,
    (transport, seed): (Transport, u64),
    chased: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Reply {
    let response = Response::start(query, transport.limit(query), out);
    if !query.is_internet() || matches!(query.qtype, RecordType::AXFR | RecordType::IXFR | RecordType::OPT) {
        return refuse(response, Rcode::Refused);
    }
    match zone.find(&query.name) {
        Found::Elsewhere => Reply::Forward,
        Found::Unknown => refuse(response, Rcode::ServFail),
        found => {
            let owner = Owner::QUESTION;
            Answer { zone, query, seed, chased, response, owner, answered: false }.complete(&found)
        }
    }
}

fn refuse(response: Response<'_>, rcode: Rcode) -> Reply {
    response.finish_without_authority(rcode);
    Reply::Ready(rcode)
}

/// An authoritative answer being written.
struct Answer<'a, 'b> {
    zone: &'a Zone,
    query: &'a Query<'a>,
    seed: u64,
    /// The reply for the target of an alias that leaves the zone.
    chased: Option<&'a [u8]>,
    response: Response<'b>,
    /// Whose records are being written: the question's name, or what it is an alias for.
    owner: Owner<'a>,
    /// Whether there was any record to write, even if it did not fit.
    answered: bool,
}

/// What a lookup came to.
enum Outcome {
    Done(Rcode),
    Chase(DomainName),
}

impl<'a> Answer<'a, '_> {
    fn complete(mut self, found: &Found<'a>) -> Reply {
        match self.write_found(found) {
            Outcome::Chase(target) => {
                self.response.finish(Rcode::NoError);
                Reply::Chase(target)
            }
            Outcome::Done(rcode) => {
                if !self.answered && matches!(rcode, Rcode::NoError | Rcode::NxDomain) {
                    self.write_soa(Section::Authority);
                }
                self.response.finish(rcode);
                Reply::Ready(rcode)
            }
        }
    }

    fn write_found(&mut self, found: &Found<'a>) -> Outcome {
        if let Found::Service(service) = found
            && service.alias.is_some()
        {
            return self.follow(service);
        }
        if matches!(found, Found::Missing) {
            return Outcome::Done(Rcode::NxDomain);
        }
        if self.query.qtype == RecordType::ANY {
            // RFC 8482 section 4.2: one small record instead of everything.
            self.record(Section::Answer, RecordType::HINFO, |out| out.extend_from_slice(b"\x07RFC8482\0"));
        } else {
            self.write_records(found);
        }
        Outcome::Done(Rcode::NoError)
    }

    fn write_records(&mut self, found: &Found<'a>) {
        match found {
            Found::Apex => self.write_apex(),
            Found::Version => self.write_version(),
            Found::NameServer => {
                if let Some(service) = self.zone.dns_service() {
                    self.write_addresses(&service.addresses);
                }
            }
            Found::Service(service) if self.query.qtype == RecordType::SRV => {
                self.write_srv(service, service.ports.iter());
            }
            Found::Service(service) => self.write_addresses(&service.addresses),
            Found::Host(host) => self.write_addresses(&host.addresses),
            Found::Port(service, port) if self.query.qtype == RecordType::SRV => {
                self.write_srv(service, std::iter::once(*port));
            }
            Found::Pod(address) => self.write_pod(*address),
            Found::Address(names) if self.query.qtype == RecordType::PTR => {
                for name in names.names() {
                    self.record(Section::Answer, RecordType::PTR, |out| out.extend_from_slice(name.as_wire()));
                }
            }
            _ => {}
        }
    }

    /// Writes an alias, and what it stands for as far as that lies in the zone.
    fn follow(&mut self, first: &'a ServiceNames) -> Outcome {
        let mut service = first;
        for _ in 0..MAX_ALIASES {
            let Some(target) = &service.alias else { break };
            let Some(data) =
                self.record(Section::Answer, RecordType::CNAME, |out| out.extend_from_slice(target.as_wire()))
            else {
                return Outcome::Done(Rcode::NoError);
            };
            if matches!(self.query.qtype, RecordType::CNAME | RecordType::ANY) {
                return Outcome::Done(Rcode::NoError);
            }
            self.owner = Owner::At(data);
            self.answered = false;
            match self.zone.find(&QueryName::from(target)) {
                Found::Elsewhere | Found::Address(_) => {
                    return match self.chased {
                        Some(reply) => self.write_chased(reply),
                        None => Outcome::Chase(target.clone()),
                    };
                }
                Found::Service(next) if next.alias.is_some() => service = next,
                found => return self.write_found(&found),
            }
        }
        Outcome::Done(Rcode::ServFail)
    }

    /// Writes what another server answered for the target of an alias.
    fn write_chased(&mut self, reply: &[u8]) -> Outcome {
        let Ok(records) = foreign_answers(reply) else {
            return Outcome::Done(Rcode::ServFail);
        };
        // Without records the reply is another zone's, and so would be the SOA beside it.
        self.answered = true;
        for ForeignRecord { owner, rtype, ttl, data } in &records {
            self.response
                .record(Section::Answer, (Owner::Name(owner), *rtype, *ttl), |out| out.extend_from_slice(data));
        }
        match reply_code(reply) {
            0 => Outcome::Done(Rcode::NoError),
            3 => Outcome::Done(Rcode::NxDomain),
            _ => Outcome::Done(Rcode::ServFail),
        }
    }

    fn write_apex(&mut self) {
        match self.query.qtype {
            RecordType::SOA => self.write_soa(Section::Answer),
            RecordType::NS => self.write_ns(),
            _ => {}
        }
    }

    fn write_version(&mut self) {
        if self.query.qtype == RecordType::TXT {
            self.record(Section::Answer, RecordType::TXT, |out| {
                out.push(SPECIFICATION.len() as u8);
                out.extend_from_slice(SPECIFICATION);
            });
        }
    }

    fn write_pod(&mut self, address: IpAddr) {
        if family_asked(self.query.qtype) == Some(IpFamily::of(address)) {
            self.record(Section::Answer, self.query.qtype, |out| write_address(out, address));
        }
    }

    fn write_addresses(&mut self, addresses: &Addresses) {
        let Some(family) = family_asked(self.query.qtype) else {
            return;
        };
        let addresses = addresses.of(family);
        for index in shuffled(addresses.len(), self.seed) {
            self.record(Section::Answer, self.query.qtype, |out| write_address(out, addresses[index]));
        }
    }

    fn write_srv(&mut self, service: &'a ServiceNames, ports: impl Iterator<Item = &'a PortRecords> + Clone) {
        let places = ports.flat_map(|port| port.places.iter().copied());
        let count = places.clone().count();
        let weight = (TOTAL_WEIGHT / count.max(1)).max(1) as u16;
        let mut targets = Vec::with_capacity(count);
        for place in places {
            let data = self.record(Section::Answer, RecordType::SRV, |out| write_srv(out, service, place, weight));
            // Priority, weight and port stand in front of the target.
            targets.extend(data.map(|data| (place.host, data + 6)));
        }
        targets.sort_unstable();
        targets.dedup_by_key(|(host, _)| *host);
        for (host, target) in targets {
            let addresses = host.map_or(&service.addresses, |host| &service.hosts[host].addresses);
            self.write_additional(Owner::At(target), addresses);
        }
    }

    /// Writes the zone's server: the Service in front of it, or the name that stands for it.
    fn write_ns(&mut self) {
        let service = self.zone.dns_service();
        let origin = self.origin_place();
        let data = self.record(Section::Answer, RecordType::NS, |out| match service {
            Some(service) => out.extend_from_slice(service.name.as_wire()),
            None => write_under_origin(out, b"\x02ns\x03dns", origin),
        });
        if let Some((service, data)) = service.zip(data) {
            self.write_additional(Owner::At(data), &service.addresses);
        }
    }

    fn write_additional(&mut self, owner: Owner<'a>, addresses: &Addresses) {
        if matches!(owner, Owner::At(place) if place > 0x3fff) {
            return;
        }
        let ttl = self.zone.settings().ttl;
        for &address in addresses.all() {
            let rtype = if address.is_ipv4() { RecordType::A } else { RecordType::AAAA };
            self.response.record(Section::Additional, (owner, rtype, ttl), |out| write_address(out, address));
        }
    }

    fn write_soa(&mut self, section: Section) {
        let settings = self.zone.settings();
        let ttl = settings.ttl.min(MAX_SOA_TTL);
        let origin = self.origin_place();
        let owner = origin.unwrap_or_else(|| self.reverse_zone_place());
        let write_name = |out: &mut Vec<u8>, labels: &[u8]| match origin {
            Some(_) => write_under_origin(out, labels, origin),
            None => {
                out.extend_from_slice(labels);
                out.extend_from_slice(settings.origin.as_wire());
            }
        };
        self.answered = true;
        self.response.record(section, (Owner::At(owner), RecordType::SOA, ttl), |out| {
            write_name(out, b"\x02ns\x03dns");
            write_name(out, b"\x0ahostmaster");
            for number in [self.zone.serial(), 7200, 1800, 86400, settings.ttl] {
                out.extend_from_slice(&number.to_be_bytes());
            }
        });
    }

    /// Where the reverse zone's name stands in a question about an address.
    fn reverse_zone_place(&self) -> usize {
        let zones = &self.zone.settings().reverse;
        let within = zones.iter().filter(|zone| self.query.name.labels_under(zone).is_some());
        let labels = within.map(DomainName::label_count).max().unwrap_or_default();
        HEADER_LEN + self.query.name.suffix_offset(labels)
    }

    /// Where the zone's own name stands in the question, when the question lies in the zone.
    fn origin_place(&self) -> Option<usize> {
        let origin = &self.zone.settings().origin;
        self.query.name.labels_under(origin)?;
        Some(HEADER_LEN + self.query.name.suffix_offset(origin.label_count()))
    }

    fn record(&mut self, section: Section, rtype: RecordType, write: impl FnOnce(&mut Vec<u8>)) -> Option<usize> {
        self.answered = true;
        self.response.record(section, (self.owner, rtype, self.zone.settings().ttl), write)
    }
}

pub(crate) fn family_asked(rtype: RecordType) -> Option<IpFamily> {
    match rtype {
        RecordType::A => Some(IpFamily::V4),
        RecordType::AAAA => Some(IpFamily::V6),
        _ => None,
    }
}

pub(crate) fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
    }
}

/// Writes labels in front of the zone's name, which stands at `origin`.
fn write_under_origin(out: &mut Vec<u8>, labels: &[u8], origin: Option<usize>) {
    out.extend_from_slice(labels);
    match origin {
        Some(place) => write_pointer(out, place),
        None => out.push(0),
    }
}

/// Writes priority, weight, port and target; RFC 2782 forbids to compress the target.
fn write_srv(out: &mut Vec<u8>, service: &ServiceNames, place: SrvPlace, weight: u16) {
    for number in [0, weight, place.port] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    if let Some(host) = place.host {
        let label = service.hosts[host].label.as_bytes();
        out.push(label.len() as u8);
        out.extend_from_slice(label);
    }
    out.extend_from_slice(service.name.as_wire());
}
