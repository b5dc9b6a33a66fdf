//! Keeping what the plugin made on the node's side as it was made, whatever others do to it: links, routes, neighbours, limits.
//!
//! `systemd-networkd` for one removes the routes of others when it starts, and a link that is set down loses its own. Nothing
//! but the records says then how pods are reached. An attachment is looked at from when all of it is made until the first of it
//! is taken down, which its record tells under the lock that a repair holds too: what is half made or on its way out is left
//! alone.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use datapath::route::{Link, LinkIndex, MacAddress, Route, RouteFilter, Rtnetlink};

use crate::attachments::{self, Record};
use crate::bandwidth::Shaping;
use crate::made::{Made, Wire};
use crate::state::{StateDirectory, StateError};
use crate::{CniError, host_ports, recorded_at, wiring};

/// Two changes so close may have the same time.
const CLOCK_TICK: Duration = Duration::from_millis(100);

/// What of an attachment is not as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Whose it is: `namespace/name` of the pod, or the container's identifier where it is none.
    pub owner: String,
    /// What is wrong, each as a sentence; at least one.
    pub faults: Vec<String>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.owner, self.faults.join("; "))
    }
}

/// What a repair did.
#[derive(Debug, Default)]
pub struct Repaired {
    /// What was found and is put right.
    pub damages: Vec<Damage>,
    /// What could not be put right, one for each attachment; the next repair tries again.
    pub failures: Vec<CniError>,
}

/// Looks after the attachments of one node, often.
///
/// That costs a listing of links, routes and neighbours, and one of limits where pods have any. The records are read only when
/// the time of their directory says that there are others.
#[derive(Debug)]
pub struct Repairs {
    state_dir: PathBuf,
    known: Vec<Record>,
    /// The time of what is known; none when that may have changed since without another time.
    known_at: Option<SystemTime>,
}

impl Repairs {
    /// Looks after the attachments in a state directory, which need not exist.
    pub const fn new(state_dir: PathBuf) -> Self {
        Self { state_dir, known: Vec::new(), known_at: None }
    }

    /// Puts right what is not as it was made. Calls of the plugin wait only while something is.
    ///
    /// An attachment that cannot be mended does not keep others from it.
    pub fn put_right(&mut self) -> Result<Repaired, CniError> {
        let state = StateDirectory::open(&self.state_dir);
        self.follow(&state)?;
        if self.known.iter().all(|record| record.made.is_none()) {
            return Ok(Repaired::default());
        }
        let mut host = Rtnetlink::open()?;
        if NodeSide::read(&mut host, &self.known)?.damages(&self.known).is_empty() {
            return Ok(Repaired::default());
        }
        mend_all(&state, &mut host)
    }

    /// Reads the records unless they are those that are known.
    fn follow(&mut self, state: &StateDirectory) -> Result<(), StateError> {
        let changed = recorded_at(&self.state_dir);
        if changed.is_some() && changed == self.known_at {
            return Ok(());
        }
        let read = SystemTime::now();
        self.known = attachments::read_all(state)?;
        self.known_at = changed.filter(|at| read.duration_since(*at).is_ok_and(|age| age > CLOCK_TICK));
        Ok(())
    }
}

/// What of the attachments in a state directory is not as it was made; nothing is changed.
pub fn damages(state_dir: &Path) -> Result<Vec<Damage>, CniError> {
    let records = attachments::read_all(&StateDirectory::open(state_dir))?;
    let found = NodeSide::read(&mut Rtnetlink::open()?, &records)?.damages(&records);
    Ok(found.into_iter().map(|(record, faults)| damage(record, faults)).collect())
}

fn damage(record: &Record, faults: Vec<String>) -> Damage {
    Damage { owner: record.name().as_str().to_owned(), faults }
}

/// What was seen without the lock may be a call of the plugin at work, so that all is looked at again.
fn mend_all(state: &StateDirectory, host: &mut Rtnetlink) -> Result<Repaired, CniError> {
    let _lock = state.lock()?;
    let records = attachments::read_all(state)?;
    let found = NodeSide::read(host, &records)?;
    let mut repaired = Repaired::default();
    for (record, faults) in found.damages(&records) {
        match found.end_of(record).map_or(Ok(()), |(made, link)| mend(host, record, made, link)) {
            Ok(()) => repaired.damages.push(damage(record, faults)),
            Err(failure) => repaired.failures.push(failure),
        }
    }
    Ok(repaired)
}

/// Makes the node's side of an attachment anew where it is not as it was made.
fn mend(host: &mut Rtnetlink, record: &Record, made: &Made, link: &Link) -> Result<(), CniError> {
    if let Some(wire) = &made.wire {
        // What follows is lost with each of these.
        if !link.is_up {
            host.set_up(link.index)?;
        }
        if link.mtu != wire.mtu {
            host.set_mtu(link.index, wire.mtu)?;
        }
        if let Some(mac) = wire.mac.filter(|mac| link.mac != Some(*mac)) {
            host.set_mac(link.index, mac)?;
        }
        wiring::lead_to(host, link.index, wire.container_mac, &wire.addresses)?;
        host_ports::let_loopback_clients_through(&record.host_ports, link)?;
    }
    if !made.bandwidth.faults(host, &record.owner, link)?.is_empty() {
        made.bandwidth.apply(host, &record.owner, link)?;
    }
    Ok(())
}

/// What the kernel has of all attachments on the node's side.
struct NodeSide {
    links: Vec<Link>,
    routes: HashSet<Route>,
    neighbours: HashSet<(LinkIndex, IpAddr, MacAddress)>,
    /// Of links with limits, by the names of the containers' ends.
    shaping: BTreeMap<String, Shaping>,
}

impl NodeSide {
    fn read(host: &mut Rtnetlink, records: &[Record]) -> Result<Self, CniError> {
        let links = host.links()?;
        let shaping = read_shaping(host, records, &links)?;
        let routes = host.routes(RouteFilter::Ours)?.into_iter().collect();
        Ok(Self { routes, neighbours: host.permanent_neighbours()?.into_iter().collect(), links, shaping })
    }

    /// What is wrong with each attachment of which something is.
    fn damages<'a>(&self, records: &'a [Record]) -> Vec<(&'a Record, Vec<String>)> {
        let judged = records.iter().map(|record| (record, self.faults(record)));
        judged.filter(|(_, faults)| !faults.is_empty()).collect()
    }

    /// The host's end of an attachment that is complete and whose container is not gone.
    fn end_of<'a>(&'a self, record: &'a Record) -> Option<(&'a Made, &'a Link)> {
        let made = record.made.as_ref()?;
        Some((made, made.find(&self.links)?))
    }

    fn faults(&self, record: &Record) -> Vec<String> {
        let Some((made, link)) = self.end_of(record) else { return Vec::new() };
        let mut faults = made.wire.as_ref().map(|wire| self.wire_faults(wire, link)).unwrap_or_default();
        if made.wire.is_some() && !host_ports::lets_loopback_clients_through(&record.host_ports, link) {
            faults.push("clients at the node's loopback address do not reach the host ports".to_owned());
        }
        let shaping = self.shaping.get(&record.owner.host_link()).copied().unwrap_or_default();
        faults.extend(made.bandwidth.faults_of(shaping));
        faults
    }

    fn wire_faults(&self, wire: &Wire, link: &Link) -> Vec<String> {
        let name = &link.name;
        let mut faults = Vec::new();
        if !link.is_up {
            faults.push(format!("the host's link {name} is down"));
        }
        if link.mtu != wire.mtu {
            faults.push(format!("{name} carries packets of {} bytes, not of {}", link.mtu, wire.mtu));
        }
        if let Some(mac) = wire.mac.filter(|mac| link.mac != Some(*mac)) {
            faults.push(format!("{name} does not have the Ethernet address {mac}"));
        }
        for address in &wire.addresses {
            if !self.routes.contains(&wiring::route_outside(*address, link.index)) {
                faults.push(format!("the host has no route to {address}"));
            }
            if wire.container_mac.is_some_and(|mac| !self.neighbours.contains(&(link.index, *address, mac))) {
                faults.push(format!("the host does not know {address} by the container's Ethernet address"));
            }
        }
        faults
    }
}

/// What is limited of the containers that are to be limited, by the names of their ends on the host.
fn read_shaping(
    host: &mut Rtnetlink,
    records: &[Record],
    links: &[Link],
) -> Result<BTreeMap<String, Shaping>, CniError> {
    let limited = |record: &&Record| record.made.as_ref().is_some_and(|made| made.bandwidth.is_wished());
    let limited: Vec<&Record> = records.iter().filter(limited).collect();
    if limited.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rates = host.rate_limits()?;
    let mut shaping = BTreeMap::new();
    for record in limited {
        let Some((made, link)) = record.made.as_ref().and_then(|made| Some((made, made.find(links)?))) else {
            continue;
        };
        let name = record.owner.shaping_link();
        let detour = links.iter().find(|link| link.is_up && link.name == name).map(|link| link.index);
        let redirected_to = if made.bandwidth.limits_egress() { host.redirection(link.index)? } else { None };
        let rate_of = |link: LinkIndex| rates.get(&link).copied();
        let egress = detour.and_then(rate_of);
        let found = Shaping { ingress: rate_of(link.index), detour, egress, redirected_to };
        shaping.insert(record.owner.host_link(), found);
    }
    Ok(shaping)
}
