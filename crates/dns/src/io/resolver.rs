//! Answering packets, whichever way they came.

use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::time::Instant;

use model::IpFamily;

use super::block::Look;
use super::listener::{Route, Routes, SharedRoutes};
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
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing may be sent back.
    Ignore,
    /// The response is there.
    Send,
    /// The response is there; [`finish`] fetches a newer one for the next client.
    SendAndRenew,
    /// Another server must be asked.
    Wait,
}

/// Answers a packet into `out` from what is at hand.
pub(super) fn begin(routes: &Routes, packet: &[u8], arrival: Arrival, out: &mut Vec<u8>) -> Step {
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
    let look = route.block.look(&query, (arrival.transport, arrival.seed), out);
    match look {
        Look::Done | Look::Renew(_) => {
            note_answer(route, &query, arrival, (packet.len(), out));
            if look == Look::Done { Step::Send } else { Step::SendAndRenew }
        }
        Look::Ask(_) | Look::Chase(..) => Step::Wait,
    }
}

/// Answers a packet for which [`begin`] said [`Step::Wait`]; empty if nothing may be sent back.
pub(super) async fn finish(routes: &SharedRoutes, packet: &[u8], arrival: Arrival) -> Vec<u8> {
    let routes = routes.load_full();
    let mut out = Vec::new();
    if let Ok(query) = Query::parse(packet) {
        resolve(&routes, &query, arrival, MAX_ALIASES, &mut out).await;
        if let Some(route) = find_route(&routes, &query) {
            note_answer(route, &query, arrival, (packet.len(), &out));
        }
    }
    out
}

/// Answers a query, asking others where it must be and even where it need not.
async fn resolve(routes: &Routes, query: &Query<'_>, arrival: Arrival, aliases: usize, out: &mut Vec<u8>) {
    let how = (arrival.transport, arrival.seed);
    let Some(route) = find_route(routes, query) else {
        Response::start(query, usize::from(u16::MAX), out).finish_without_authority(Rcode::Refused);
        return;
    };
    match route.block.look(query, how, out) {
        Look::Done => {}
        Look::Ask(index) | Look::Renew(index) => route.block.ask(index, query, how, out).await,
        Look::Chase(index, target) => {
            let (mut packet, mut reply) = (Vec::new(), Vec::new());
            write_query_for(&target, query, query.id, &mut packet);
            // What the target's own block says, in full length.
            let inner = Arrival { transport: Transport::Tcp, ..arrival };
            if let (Ok(query), Some(aliases)) = (Query::parse(&packet), aliases.checked_sub(1)) {
                Box::pin(resolve(routes, &query, inner, aliases, &mut reply)).await;
            }
            route.block.complete_alias(index, query, how, (&reply, out));
        }
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
