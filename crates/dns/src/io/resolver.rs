//! Answering packets, whichever way they came.

use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use model::IpFamily;

use super::block::{Block, Look, Manner, Missing};
use super::listener::{Route, Routes};
use super::query_log;
use crate::answer::Transport;
use crate::config::DEFAULT_UDP_PAYLOAD;
use crate::forward::write_query_for;
use crate::metrics::Answered;
use crate::wire::{Query, QueryError, Rcode, RecordType, Response, write_fault};

/// How many aliases that lead from zone to zone are followed.
const MAX_ALIASES: usize = 8;

/// A packet on its way through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    transport: Transport,
    /// Varies the order of addresses between answers.
    seed: u64,
    client: SocketAddr,
    reader: usize,
    since: Instant,
}

/// Makes the arrivals of one reader.
#[derive(Debug)]
pub(super) struct Arrivals {
    transport: Transport,
    seed: u64,
    reader: usize,
}

impl Arrivals {
    /// The arrivals of the reader with this number.
    pub(super) fn over_udp(reader: usize) -> Self {
        Self { transport: Transport::Udp { max_payload: DEFAULT_UDP_PAYLOAD }, seed: random(), reader }
    }

    pub(super) fn over_tcp() -> Self {
        Self { transport: Transport::Tcp, seed: random(), reader: 0 }
    }

    /// The arrival of a packet of this client at this time.
    pub(super) fn note(&mut self, client: SocketAddr, since: Instant) -> Arrival {
        self.seed = self.seed.wrapping_add(1);
        Arrival { transport: self.transport, seed: self.seed, client, reader: self.reader, since }
    }
}

fn random() -> u64 {
    RandomState::new().hash_one(())
}

/// What is known after a first look at a packet.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing may be sent back.
    Ignore,
    /// The response is there.
    Send,
    /// The response is there, and a newer one is to be fetched.
    SendAndRenew(Renewal),
    /// Another server must be asked.
    Wait(Pending),
}

/// A newer response that is to be fetched for the next client.
#[derive(Debug)]
pub(super) struct Renewal {
    block: Arc<Block>,
    forwarder: usize,
    packet: Vec<u8>,
    came_by: Transport,
}

impl Renewal {
    /// Fetches it.
    pub(super) async fn run(self) {
        if let Ok(query) = Query::parse(&self.packet) {
            self.block.renew(self.forwarder, &query, self.came_by).await;
        }
    }
}

/// A packet whose answer has to wait for another server, and the blocks that were in force when it came.
#[derive(Debug)]
pub(super) struct Pending {
    routes: Arc<Routes>,
    packet: Vec<u8>,
    arrival: Arrival,
    missing: Missing,
}

impl Pending {
    /// The answer; empty if nothing may be sent back. With it what is to be fetched once it is sent.
    pub(super) async fn finish(self) -> (Vec<u8>, Option<Renewal>) {
        let (mut out, mut renewal) = (Vec::new(), None);
        if let Ok(query) = Query::parse(&self.packet)
            && let Some(route) = find_route(&self.routes, &query)
        {
            let how = (self.arrival.manner(), MAX_ALIASES);
            renewal = supply(&self.routes, &query, (route, self.missing), how, &mut out).await;
            note_answer(route, &query, self.arrival, (self.packet.len(), &out));
        }
        (out, renewal)
    }
}

/// Answers a packet into `out` from what is at hand.
pub(super) fn begin(routes: &Arc<Routes>, packet: &[u8], arrival: Arrival, out: &mut Vec<u8>) -> Step {
    let query = match Query::parse(packet) {
        Ok(query) => query,
        Err(QueryError::Ignore) => return Step::Ignore,
        Err(QueryError::Fault(fault)) => {
            write_fault(fault, out);
            routes.dropped.count(arrival.answered(None, out));
            return Step::Send;
        }
    };
    let Some(route) = find_route(routes, &query) else {
        Response::start(&query, arrival.transport.limit(&query), out).finish_without_authority(Rcode::Refused);
        routes.dropped.count(arrival.answered(Some(&query), out));
        return Step::Send;
    };
    let look = route.block.look(&query, arrival.manner(), out);
    if !matches!(look, Look::Wait(_)) {
        note_answer(route, &query, arrival, (packet.len(), out));
    }
    match look {
        Look::Done => Step::Send,
        Look::Renew(forwarder) => Step::SendAndRenew(route.renewal(forwarder, packet, arrival.transport)),
        Look::Wait(missing) => {
            Step::Wait(Pending { routes: Arc::clone(routes), packet: packet.to_vec(), arrival, missing })
        }
    }
}

/// Answers a query now that it is known what is missing.
async fn supply(
    routes: &Routes,
    query: &Query<'_>,
    (route, missing): (&Route, Missing),
    (manner, aliases): (Manner, usize),
    out: &mut Vec<u8>,
) -> Option<Renewal> {
    match missing {
        Missing::Reply(forwarder) => {
            route.block.ask(forwarder, query, manner, out).await;
            None
        }
        Missing::Target(zone, target) => {
            let (mut packet, mut reply) = (Vec::new(), Vec::new());
            write_query_for(&target, query, query.id, &mut packet);
            // What the target's own block says, in full length.
            let in_full = Manner { room: Transport::Tcp, ..manner };
            let renewal = match aliases.checked_sub(1) {
                Some(aliases) => Box::pin(resolve(routes, &packet, (in_full, aliases), &mut reply)).await,
                None => None,
            };
            route.block.complete_alias(zone, query, manner, (&reply, out));
            renewal
        }
    }
}

/// Answers a query of our own, asking other servers where it must be.
async fn resolve(
    routes: &Routes,
    packet: &[u8],
    (manner, aliases): (Manner, usize),
    out: &mut Vec<u8>,
) -> Option<Renewal> {
    let query = Query::parse(packet).ok()?;
    let Some(route) = find_route(routes, &query) else {
        Response::start(&query, usize::from(u16::MAX), out).finish_without_authority(Rcode::Refused);
        return None;
    };
    match route.block.look(&query, manner, out) {
        Look::Done => None,
        Look::Renew(forwarder) => Some(route.renewal(forwarder, packet, manner.came_by)),
        Look::Wait(missing) => supply(routes, &query, (route, missing), (manner, aliases), out).await,
    }
}

impl Route {
    fn renewal(&self, forwarder: usize, packet: &[u8], came_by: Transport) -> Renewal {
        Renewal { block: Arc::clone(&self.block), forwarder, packet: packet.to_vec(), came_by }
    }
}

/// The block that answers a query; there is none for transfers, other classes and what belongs to no zone.
fn find_route<'a>(routes: &'a Routes, query: &Query<'_>) -> Option<&'a Route> {
    let is_answered =
        query.is_internet() && !matches!(query.qtype, RecordType::AXFR | RecordType::IXFR | RecordType::OPT);
    routes.find(&query.name).filter(|_| is_answered)
}

fn note_answer(route: &Route, query: &Query<'_>, arrival: Arrival, (asked, response): (usize, &[u8])) {
    let answered = arrival.answered(Some(query), response);
    route.tally.count(answered);
    if let Some(log) = &route.block.config().log {
        let has_answer = response.get(6..8).is_some_and(|count| count != [0, 0]);
        let rcode = response.get(3).map_or(0, |flags| flags & 0x0f);
        if log.includes(&query.name, (rcode, has_answer)) {
            query_log::write(query, (arrival.client, arrival.transport), (asked, response), answered.took);
        }
    }
}

impl Arrival {
    fn manner(self) -> Manner {
        Manner { came_by: self.transport, room: self.transport, seed: self.seed }
    }

    fn answered<'a>(self, query: Option<&Query<'_>>, response: &'a [u8]) -> Answered<'a> {
        Answered {
            reader: self.reader,
            transport: self.transport,
            family: IpFamily::of(self.client.ip()),
            qtype: query.map(|query| query.qtype),
            response,
            took: self.since.elapsed(),
        }
    }
}
