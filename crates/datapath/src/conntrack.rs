//! Connection tracking: which translated flows the kernel remembers, and making it forget.
//!
//! The kernel sends the packets of a flow it remembers where it sent the first one. A UDP client that keeps its port
//! would talk to an endpoint that is gone for as long as it talks, so such flows are looked for and removed.

use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;

use crate::Netns;
use crate::netlink::{
    Attributes, Family, Message, NetlinkError, Socket, flag, parse_address, parse_attributes, parse_u32_be,
};
use crate::netns::NetnsError;

/// Message kinds and attributes of `linux/netfilter/nfnetlink_conntrack.h`; the subsystem is 1.
const GET: u16 = 0x0101;
const DELETE: u16 = 0x0102;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_ID: u16 = 12;
const CTA_FILTER: u16 = 25;
const CTA_STATUS_MASK: u16 = 26;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
/// `CTA_FILTER_F_CTA_PROTO_NUM`: flows whose first packet had the protocol of the tuple that is sent along.
const FILTER_PROTOCOL: u32 = 1 << 3;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
/// `IPS_SEEN_REPLY`: the backend has answered.
const STATUS_ANSWERED: u32 = 1 << 1;
/// `IPS_ASSURED`: both sides have sent for some time; for UDP that is more than two seconds.
const STATUS_ASSURED: u32 = 1 << 2;
/// `IPS_DST_NAT`: the destination is translated.
const STATUS_DESTINATION_NAT: u32 = 1 << 5;
/// `AF_INET` and `AF_INET6`.
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;
/// `struct nfgenmsg`.
const HEADER_LEN: usize = 4;
const UDP: u8 = 17;

/// An operation on connection tracking that failed.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// The namespace to connect to could not be entered.
    #[error("cannot reach the namespace's connection tracking")]
    Namespace(#[from] NetnsError),
    /// No connection.
    #[error("cannot connect to connection tracking")]
    Connect {
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// Flows could not be listed.
    #[error("cannot list tracked flows")]
    List {
        /// Why; `EINVAL` when the kernel lacks `CONFIG_NF_CT_NETLINK`.
        #[source]
        source: NetlinkError,
    },
    /// Some flows could not be removed; the others are.
    #[error("cannot remove {} tracked flows: {}", .failures.len(), sentences(.failures))]
    Delete {
        /// At least one.
        failures: Vec<FlowKept>,
    },
}

/// A flow that could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("from {} to {}: {source}", .flow.client, .flow.frontend)]
pub struct FlowKept {
    /// The flow.
    pub flow: Flow,
    /// Why.
    #[source]
    pub source: NetlinkError,
}

/// The first of them, as the others mostly fail alike.
fn sentences(failures: &[FlowKept]) -> String {
    const TOLD: usize = 3;
    let told: Vec<String> = failures.iter().take(TOLD).map(ToString::to_string).collect();
    told.join("; ")
}

/// A tracked flow; its destination is translated when the backend is not the frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// The transport protocol's number in the IP header.
    pub protocol: u8,
    /// Who sent the first packet, before any translation.
    pub client: SocketAddr,
    /// Where it was sent to, before any translation.
    pub frontend: SocketAddr,
    /// Who really answers.
    pub backend: SocketAddr,
    /// Whom the backend answers: the client, or the address the source was translated to.
    pub answered: SocketAddr,
    /// What the kernel has seen of it.
    pub stage: Stage,
    /// The kernel's number of the flow, which tells it from a later one of the same ends.
    id: u32,
}

/// How far a flow has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The client waits for a first answer.
    Asked,
    /// It has one, and nothing shows that it wants more: a query for a name looks like that.
    Answered,
    /// Both sides have gone on.
    Conversation,
}

impl Stage {
    const fn of(status: u32) -> Self {
        match (status & STATUS_ANSWERED, status & STATUS_ASSURED) {
            (_, STATUS_ASSURED) => Self::Conversation,
            (STATUS_ANSWERED, _) => Self::Answered,
            _ => Self::Asked,
        }
    }
}

/// The connection tracking of one network namespace, the one it was opened in, whatever thread uses it.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
}

impl Conntrack {
    /// Connects to the calling thread's namespace.
    pub fn open() -> Result<Self, ConntrackError> {
        let socket = Socket::open(Family::Netfilter).map_err(|source| ConntrackError::Connect { source })?;
        Ok(Self { socket })
    }

    /// Connects to `netns`.
    pub fn open_in(netns: &Netns) -> Result<Self, ConntrackError> {
        netns.run(Self::open)?
    }

    /// The flows whose destination is translated, in the kernel's order. Takes time in proportion to all it tracks.
    pub fn translated_flows(&mut self) -> Result<Vec<Flow>, ConntrackError> {
        let mut request = Attributes::append_to(vec![0; HEADER_LEN]);
        // The kernel leaves out the others since Linux 5.15; older ones send all.
        request.u32_be(CTA_STATUS, STATUS_DESTINATION_NAT).u32_be(CTA_STATUS_MASK, STATUS_DESTINATION_NAT);
        self.socket
            .query(GET, flag::DUMP, request.as_bytes(), |message| Ok(parse_flow(message, STATUS_DESTINATION_NAT)))
            .map_err(|source| ConntrackError::List { source })
    }

    /// Removes the UDP flows, translated or not, that `is_wanted` does not want and returns them.
    ///
    /// Asked about each flow, of a listing that is begun anew perhaps more than once, with nothing remembered between
    /// calls: call it whenever backends may have gone. Flows that end meanwhile are fine. One that cannot be removed does
    /// not keep the others. IPv4 first. Takes time in proportion to the UDP flows, before Linux 5.8 to all the kernel
    /// tracks, and memory to what is removed.
    pub fn remove_udp_flows(&mut self, mut is_wanted: impl FnMut(&Flow) -> bool) -> Result<Vec<Flow>, ConntrackError> {
        let mut is_unwanted = |flow: &Flow| flow.protocol == UDP && !is_wanted(flow);
        let mut unwanted = Vec::new();
        for family in [FAMILY_V4, FAMILY_V6] {
            let parse = |message: &Message<'_>| Ok(parse_flow(message, 0).filter(&mut is_unwanted));
            let listed = self.socket.query(GET, flag::DUMP, &udp_of(family), parse);
            unwanted.extend(listed.map_err(|source| ConntrackError::List { source })?);
        }
        let delete = |flow: &Flow| self.delete(flow).err().map(|source| FlowKept { flow: *flow, source });
        let failures: Vec<FlowKept> = unwanted.iter().filter_map(delete).collect();
        if failures.is_empty() { Ok(unwanted) } else { Err(ConntrackError::Delete { failures }) }
    }

    /// Removes the UDP flows, translated or not, of which `is_meant` holds, so that their next packets are judged anew.
    /// Returns how many there were. Takes time in proportion to all the kernel tracks.
    pub fn forget_udp_flows(&mut self, is_meant: impl Fn(&Flow) -> bool) -> Result<usize, ConntrackError> {
        self.remove_udp_flows(|flow| !is_meant(flow)).map(|removed| removed.len())
    }

    fn delete(&mut self, flow: &Flow) -> Result<(), NetlinkError> {
        let family = if flow.client.is_ipv4() { FAMILY_V4 } else { FAMILY_V6 };
        let mut request = Attributes::append_to(vec![family, 0, 0, 0]);
        put_tuple(&mut request, CTA_TUPLE_ORIG, flow.protocol, (flow.client, flow.frontend));
        request.u32_be(CTA_ID, flow.id);
        match self.socket.request(DELETE, 0, request.as_bytes()) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(()),
            deleted => deleted,
        }
    }
}

fn put_tuple(request: &mut Attributes, kind: u16, protocol: u8, (from, to): (SocketAddr, SocketAddr)) {
    let (source, destination) =
        if from.is_ipv4() { (CTA_IP_V4_SRC, CTA_IP_V4_DST) } else { (CTA_IP_V6_SRC, CTA_IP_V6_DST) };
    request.nest(kind, |tuple| {
        tuple.nest(CTA_TUPLE_IP, |ip| {
            ip.address(source, from.ip()).address(destination, to.ip());
        });
        tuple.nest(CTA_TUPLE_PROTO, |transport| {
            transport.put(CTA_PROTO_NUM, &[protocol]);
            transport.put(CTA_PROTO_SRC_PORT, &from.port().to_be_bytes());
            transport.put(CTA_PROTO_DST_PORT, &to.port().to_be_bytes());
        });
    });
}

/// Asks for the UDP flows of a family; kernels that do not know the filter send those of all protocols. The others are not
/// few: every connection of every pod is tracked.
fn udp_of(family: u8) -> Vec<u8> {
    let mut request = Attributes::append_to(vec![family, 0, 0, 0]);
    request.nest(CTA_FILTER, |filter| {
        filter.u32(CTA_FILTER_ORIG_FLAGS, FILTER_PROTOCOL);
    });
    request.nest(CTA_TUPLE_ORIG, |tuple| {
        tuple.nest(CTA_TUPLE_PROTO, |transport| {
            transport.u8(CTA_PROTO_NUM, UDP);
        });
    });
    request.into_bytes()
}

/// A flow, when it is of a protocol with ports and its status has these bits.
fn parse_flow(message: &Message<'_>, required: u32) -> Option<Flow> {
    let (mut original, mut reply, mut status, mut id) = (None, None, 0, 0);
    for (kind, value) in parse_attributes(message.payload.get(HEADER_LEN..)?) {
        match kind {
            CTA_TUPLE_ORIG => original = parse_tuple(value),
            CTA_TUPLE_REPLY => reply = parse_tuple(value),
            CTA_STATUS => status = parse_u32_be(value)?,
            CTA_ID => id = parse_u32_be(value)?,
            _ => {}
        }
    }
    let (original, reply) = original.zip(reply).filter(|_| status & required == required)?;
    Some(Flow {
        protocol: original.protocol,
        client: original.source,
        frontend: original.destination,
        backend: reply.source,
        answered: reply.destination,
        stage: Stage::of(status),
        id,
    })
}

struct Tuple {
    protocol: u8,
    source: SocketAddr,
    destination: SocketAddr,
}

fn parse_tuple(attributes: &[u8]) -> Option<Tuple> {
    let (mut ends, mut transport) = (None, None);
    for (kind, value) in parse_attributes(attributes) {
        match kind {
            CTA_TUPLE_IP => ends = parse_ends(value),
            CTA_TUPLE_PROTO => transport = parse_transport(value),
            _ => {}
        }
    }
    let ((source, destination), (protocol, source_port, destination_port)) = ends.zip(transport)?;
    Some(Tuple {
        protocol,
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

fn parse_ends(attributes: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let (mut source, mut destination) = (None, None);
    for (kind, value) in parse_attributes(attributes) {
        match kind {
            CTA_IP_V4_SRC | CTA_IP_V6_SRC => source = parse_address(value),
            CTA_IP_V4_DST | CTA_IP_V6_DST => destination = parse_address(value),
            _ => {}
        }
    }
    source.zip(destination)
}

fn parse_transport(attributes: &[u8]) -> Option<(u8, u16, u16)> {
    let port = |value: &[u8]| value.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
    let (mut protocol, mut source, mut destination) = (None, None, None);
    for (kind, value) in parse_attributes(attributes) {
        match kind {
            CTA_PROTO_NUM => protocol = value.first().copied(),
            CTA_PROTO_SRC_PORT => source = port(value),
            CTA_PROTO_DST_PORT => destination = port(value),
            _ => {}
        }
    }
    Some((protocol?, source?, destination?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::isolated;

    const NEW: u16 = 0x0100;
    const CTA_TIMEOUT: u16 = 7;
    const TCP: u8 = 6;

    /// Has the kernel track a flow nobody sends.
    fn track(conntrack: &mut Conntrack, protocol: u8, client: SocketAddr, server: SocketAddr) {
        let family = if client.is_ipv4() { FAMILY_V4 } else { FAMILY_V6 };
        let mut request = Attributes::append_to(vec![family, 0, 0, 0]);
        put_tuple(&mut request, CTA_TUPLE_ORIG, protocol, (client, server));
        put_tuple(&mut request, CTA_TUPLE_REPLY, protocol, (server, client));
        request.u32_be(CTA_TIMEOUT, 600);
        conntrack.socket.request(NEW, flag::CREATE | flag::EXCLUSIVE, request.as_bytes()).unwrap();
    }

    fn end(text: &str, port: u16) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), port)
    }

    #[test]
    fn the_kernel_itself_leaves_out_flows_of_other_protocols_and_families() {
        isolated(|| {
            let mut conntrack = Conntrack::open().unwrap();
            for (client, server) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")] {
                for (protocol, port) in [(TCP, 1), (TCP, 2), (UDP, 3)] {
                    track(&mut conntrack, protocol, end(client, port), end(server, 53));
                }
            }
            let mut sent = |family| conntrack.socket.query(GET, flag::DUMP, &udp_of(family), |_| Ok(Some(()))).unwrap();
            assert_eq!([FAMILY_V4, FAMILY_V6].map(|family| sent(family).len()), [1, 1]);
            let removed = conntrack.remove_udp_flows(|_| false).unwrap();
            let clients: Vec<SocketAddr> = removed.iter().map(|flow| flow.client).collect();
            assert_eq!(clients, [end("192.0.2.1", 3), end("2001:db8::1", 3)]);
        });
    }
}
