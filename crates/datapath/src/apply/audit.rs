//! Looking whether the kernel still holds what was put into it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use compile::diff;
use compile::ruleset::Ruleset;
use ipnet::IpNet;

use super::{Committed, Datapath, DatapathError, HeldTunnel, RouteMap, routes};
use crate::route::RouteFilter;
use crate::tunnel;

/// Listing the table may take one part in this many of the time.
const LISTING_SHARE: u32 = 100;

/// What others did to what we had put into the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drift {
    /// Our nf_tables table is gone.
    TableGone,
    /// Our nf_tables table holds something else.
    TableChanged,
    /// Routes to these destinations are gone, lead elsewhere or came.
    Routes(Vec<IpNet>),
    /// The tunnel to other nodes is gone, down or set up otherwise.
    Tunnel,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableGone => f.write_str("another program deleted the nf_tables table inet fairway"),
            Self::TableChanged => f.write_str("another program changed the nf_tables table inet fairway"),
            Self::Routes(destinations) => {
                let named: Vec<String> = destinations.iter().take(3).map(ToString::to_string).collect();
                let more = if destinations.len() > named.len() { ", ..." } else { "" };
                write!(f, "something changed {} routes: {}{more}", destinations.len(), named.join(", "))
            }
            Self::Tunnel => write!(f, "something changed the tunnel {}", tunnel::DEVICE),
        }
    }
}

/// What is known of the table without listing it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The generation of nf_tables up to which only we have changed what is ours.
    generation: Option<u32>,
    /// When the table was last listed here, and how long that took.
    listed: Option<(Instant, Duration)>,
}

impl Seen {
    /// Notes a listing that found the table as it is remembered, or will be mended to be.
    pub(super) fn listed_at(&mut self, generation: u32) {
        self.generation = Some(generation);
    }

    /// Notes transactions of ours; when others came between them, the table has to be looked at.
    pub(super) fn wrote(&mut self, before: u32, transactions: usize, after: u32) {
        if self.generation == Some(before) && before.wrapping_add(transactions as u32) == after {
            self.generation = Some(after);
        }
    }

    fn may_list(&self, now: Instant) -> bool {
        self.listed.is_none_or(|(at, took)| now.duration_since(at) >= took * LISTING_SHARE)
    }
}

impl Datapath {
    /// Looks whether the kernel still holds what [`Datapath::apply`] put there. When not, says how, and the next `apply`
    /// begins with a listing.
    ///
    /// As long as nobody changed nf_tables this costs a short request and a listing of the main table's routes, and with a
    /// tunnel one of the links and what they know of neighbours. Otherwise the nf_tables table is listed too, unless that would take more than a hundredth of the time; then only its existence is looked at.
    ///
    /// After an error nothing is known that was not known before, and `apply` goes on from what it remembers: changes need not
    /// wait until the kernel can be looked at.
    pub fn audit(&mut self) -> Result<Vec<Drift>, DatapathError> {
        let Some(committed) = self.committed.take() else { return Ok(Vec::new()) };
        self.look_at_memory(committed.affine.as_ref());
        let found = self.drifts_from(&committed);
        if found.as_ref().map_or(true, Vec::is_empty) {
            self.committed = Some(committed);
        }
        found
    }

    fn drifts_from(&mut self, committed: &Committed) -> Result<Vec<Drift>, DatapathError> {
        let table = self.audit_table(&committed.ruleset)?;
        let routes = self.audit_routes(&committed.routes)?;
        let tunnel = self.audit_tunnel(&committed.tunnel)?;
        Ok(table.into_iter().chain(routes).chain(tunnel).collect())
    }

    fn audit_table(&mut self, wanted: &Ruleset) -> Result<Option<Drift>, DatapathError> {
        let generation = self.table.generation().map_err(DatapathError::Table)?;
        if self.seen.generation == Some(generation) {
            return Ok(None);
        }
        if !self.table.exists().map_err(DatapathError::Table)? {
            return Ok((!wanted.is_empty()).then_some(Drift::TableGone));
        }
        let started = Instant::now();
        if !self.seen.may_list(started) {
            return Ok(None);
        }
        let listing = self.table.read_beside(wanted).map_err(DatapathError::Table)?;
        self.seen.listed = Some((Instant::now(), started.elapsed()));
        let is_as_wanted = listing.is_some_and(|listing| {
            listing.foreign.is_empty() && diff(&listing.observed.recognise(wanted), wanted).is_empty()
        });
        if is_as_wanted {
            self.seen.generation = Some(generation);
        }
        Ok((!is_as_wanted).then_some(Drift::TableChanged))
    }

    fn audit_routes(&mut self, wanted: &RouteMap) -> Result<Option<Drift>, DatapathError> {
        let found = self.links.routes(RouteFilter::Ours).map_err(DatapathError::Routes)?;
        let device = self.tunnel_device().map_err(DatapathError::Routes)?;
        let found = routes::held(&found, device);
        if found == *wanted {
            return Ok(None);
        }
        let places = found.keys().chain(wanted.keys());
        let differ = places.filter(|place| found.get(place) != wanted.get(place)).map(|place| place.destination);
        let differ: BTreeSet<IpNet> = differ.collect();
        Ok(Some(Drift::Routes(differ.into_iter().collect())))
    }

    fn audit_tunnel(&mut self, wanted: &HeldTunnel) -> Result<Option<Drift>, DatapathError> {
        // One that is not known will be read by the next attempt to mend it.
        let HeldTunnel::Known(wanted) = wanted else { return Ok(None) };
        let found = tunnel::read(&mut self.links).map_err(DatapathError::Routes)?;
        Ok((found != *wanted).then_some(Drift::Tunnel))
    }
}
