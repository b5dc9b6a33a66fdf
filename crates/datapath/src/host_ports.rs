//! What of our table the CNI plugin needs: the guard against spoofing, and the maps of host ports, which it keeps.
//!
//! Every change is what is missing or too much, by a look at the maps: it does not matter what a call that was killed
//! left behind. Callers that may run at the same time must take turns, with a lock of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use compile::diff;
use compile::guard;
use compile::host_ports::{self, HostPort, PublishedPort};
use compile::ruleset::{Content, Element, ElementKey, Keeper, Operation, Ruleset};
use model::{Name, Protocol, SharedMap};
use nix::errno::Errno;

use crate::conntrack::{Conntrack, ConntrackError, Flow};
use crate::nft::{Elements, NftError, Table};
use crate::route::{RouteError, Rtnetlink};

/// Whoever applies whole rulesets may replace the table between our look and our change; then it is done anew.
const ATTEMPTS: u32 = 5;

/// An operation on host ports that failed.
#[derive(Debug, thiserror::Error)]
pub enum HostPortError {
    /// The maps could not be read or changed.
    #[error("cannot bring the maps of host ports to the wanted state")]
    Table(#[from] NftError),
    /// The node's own addresses could not be read.
    #[error("cannot tell which tracked flows are of host ports")]
    Addresses(#[from] RouteError),
    /// Flows that lead elsewhere than the maps say could not be removed.
    #[error("cannot remove tracked flows of host ports")]
    Flows(#[from] ConntrackError),
}

/// The host ports of one network namespace, the one it was opened in, whatever thread uses it.
#[derive(Debug)]
pub struct HostPorts {
    table: Table,
    conntrack: Conntrack,
    links: Rtnetlink,
}

/// What the kernel holds of the plugin's sets.
type Held = BTreeMap<Name, Elements>;

impl HostPorts {
    /// Connects to the calling thread's namespace. Changes nothing.
    pub fn open() -> Result<Self, HostPortError> {
        let links = Rtnetlink::open().map_err(|source| RouteError::Connect { source })?;
        Ok(Self { table: Table::open()?, conntrack: Conntrack::open()?, links })
    }

    /// Whether our table is there.
    pub fn is_prepared(&mut self) -> Result<bool, HostPortError> {
        Ok(self.table.exists()?)
    }

    /// Makes our table with what pods need of it, where there is none: then no agent has come yet, or none ever will.
    pub fn prepare(&mut self) -> Result<(), HostPortError> {
        if !self.table.exists()? {
            let operations = self.plan_sets()?;
            // Somebody else may be at it too.
            match self.table.apply(&operations) {
                Err(error) if error.errno() == Some(Errno::EEXIST) => {}
                applied => drop(applied?),
            }
        }
        Ok(())
    }

    /// Whether packets that pods send under addresses of others are dropped. Lists the whole table.
    pub fn guards(&mut self) -> Result<bool, HostPortError> {
        let wanted = guard::ruleset();
        let found = self.table.read()?.map(|listing| listing.observed.recognise(&wanted));
        Ok(found.is_some_and(|found| wanted.chains.iter().all(|(name, chain)| found.chains.get(name) == Some(chain))))
    }

    /// Makes these ports lead where they say, whatever they led to before. Makes the table where there is none.
    ///
    /// UDP flows that were sent elsewhere are forgotten, so that clients who keep their port notice.
    pub fn add(&mut self, ports: &[PublishedPort]) -> Result<(), HostPortError> {
        self.apply(|held| {
            let wanted = host_ports::elements(ports);
            wanted.into_iter().flat_map(|(set, element)| replacement(held, &set, element)).collect()
        })?;
        self.forget_flows(ports, |port, flow| flow.backend != port.endpoint)
    }

    /// Makes these ports lead nowhere. Those that lead elsewhere by now, or nowhere, are left alone.
    ///
    /// UDP flows that were sent there are forgotten.
    pub fn remove(&mut self, ports: &[PublishedPort]) -> Result<(), HostPortError> {
        self.apply(|held| {
            let ours = host_ports::elements(ports).into_iter();
            let there = ours.filter(|(set, element)| leads_as_said(held, set, element));
            there.map(|(set, element)| Operation::DeleteElements(set, vec![element])).collect()
        })?;
        self.forget_flows(ports, |port, flow| flow.backend == port.endpoint)
    }

    /// Makes these ports, and no others, lead where they say. Tells how many elements that took; none as a rule.
    pub fn replace_all(&mut self, ports: &[PublishedPort]) -> Result<usize, HostPortError> {
        let wanted = kept_sets(&host_ports::ruleset(ports));
        let changes = self.apply(|held| {
            let nothing = SharedMap::new();
            let mut changes = Vec::new();
            for (set, elements) in &wanted {
                for change in SharedMap::changes_between(held.get(set).unwrap_or(&nothing), elements) {
                    let element =
                        |content: &Content| vec![Element { key: change.key.clone(), content: content.clone() }];
                    changes.extend(change.old.map(|old| Operation::DeleteElements(set.clone(), element(old))));
                    changes.extend(change.new.map(|new| Operation::AddElements(set.clone(), element(new))));
                }
            }
            changes
        })?;
        Ok(changes)
    }

    /// Which of these ports do not lead where they say.
    pub fn missing(&mut self, ports: &[PublishedPort]) -> Result<Vec<HostPort>, HostPortError> {
        let held = self.read()?;
        let is_held = |port: &PublishedPort| {
            let elements = host_ports::elements(std::slice::from_ref(port));
            elements.iter().all(|(set, element)| leads_as_said(&held, set, element))
        };
        Ok(ports.iter().filter(|port| !is_held(port)).map(|published| published.port).collect())
    }

    /// Applies what `plan` makes of what is held, as one transaction; tells how many operations there were.
    fn apply(&mut self, plan: impl Fn(&Held) -> Vec<Operation>) -> Result<usize, HostPortError> {
        let mut attempt = 1;
        loop {
            match self.try_to_apply(&plan) {
                Err(error) if attempt < ATTEMPTS && is_outdated(&error) => attempt += 1,
                outcome => return Ok(outcome?),
            }
        }
    }

    fn try_to_apply(&mut self, plan: impl Fn(&Held) -> Vec<Operation>) -> Result<usize, NftError> {
        let held = self.read()?;
        let changes = plan(&held);
        if changes.is_empty() {
            return Ok(0);
        }
        let is_prepared = kept_sets(&host_ports::ruleset(&[])).keys().all(|set| held.contains_key(set));
        let mut operations = if is_prepared { Vec::new() } else { self.plan_sets()? };
        let count = changes.len();
        operations.extend(changes);
        self.table.apply(&operations)?;
        Ok(count)
    }

    /// The plugin's sets that there are, with their elements.
    fn read(&mut self) -> Result<Held, NftError> {
        let mut held = Held::new();
        let sets = host_ports::ruleset(&[]).sets.into_iter().filter(|(_, set)| set.keeper == Keeper::Others);
        for (name, set) in sets {
            if let Some(elements) = self.table.read_set(&name, &set.spec)? {
                held.insert(name, elements);
            }
        }
        Ok(held)
    }

    /// What makes the sets and chains of host ports, where some of it or the whole table is missing.
    fn plan_sets(&mut self) -> Result<Vec<Operation>, NftError> {
        let mut wanted = host_ports::ruleset(&[]);
        wanted.chains.extend(guard::ruleset().chains);
        let Some(listing) = self.table.read()? else { return Ok(diff(&Ruleset::default(), &wanted)) };
        let mut found = listing.observed.recognise(&wanted);
        found.sets.retain(|name, _| wanted.sets.contains_key(name));
        found.chains.retain(|name, _| wanted.chains.contains_key(name));
        // What is empty here is the agent's to fill.
        for (name, set) in wanted.sets.iter_mut().filter(|(_, set)| set.elements.is_empty()) {
            set.elements = found.sets.get(name).map(|found| found.elements.clone()).unwrap_or_default();
        }
        let operations = diff(&found, &wanted);
        match operations.first() {
            // The table is the agent's too, so only the agent may replace it.
            Some(Operation::DeleteTable) => Err(NftError::NeedsReplacement),
            _ => Ok(operations),
        }
    }

    fn forget_flows(
        &mut self,
        ports: &[PublishedPort],
        is_stale: impl Fn(&HostPort, &Flow) -> bool,
    ) -> Result<(), HostPortError> {
        let ports = ports.iter().map(|published| &published.port);
        let ports: Vec<&HostPort> = ports.filter(|port| port.protocol == Protocol::Udp).collect();
        if ports.is_empty() {
            return Ok(());
        }
        let own: BTreeSet<IpAddr> = self.links.addresses()?.into_iter().map(|(_, network)| network.addr()).collect();
        let is_own = |address: IpAddr| address.is_loopback() || own.contains(&address);
        let is_of = |port: &HostPort, flow: &Flow| {
            let address = flow.frontend.ip();
            flow.frontend.port() == port.port.get()
                && address.is_ipv4() == port.endpoint.is_ipv4()
                && port.address.map_or_else(|| is_own(address), |own| own == address)
        };
        self.conntrack.forget_udp_flows(|flow| ports.iter().any(|port| is_of(port, flow) && is_stale(port, flow)))?;
        Ok(())
    }
}

fn kept_sets(ruleset: &Ruleset) -> Held {
    let kept = ruleset.sets.iter().filter(|(_, set)| set.keeper == Keeper::Others);
    kept.map(|(name, set)| (name.clone(), set.elements.clone())).collect()
}

/// Whether `set` has the key and it leads where `element` says. What is said there of its owner does not matter: the
/// element may be of a version that said nothing.
fn leads_as_said(held: &Held, set: &Name, element: &Element) -> bool {
    let held = held.get(set).and_then(|elements| elements.get(&element.key));
    held.is_some_and(|held| held.data == element.content.data)
}

/// What makes `set` hold `element`, in the place of one with the same key.
fn replacement(held: &Held, set: &Name, element: Element) -> Vec<Operation> {
    let key: &ElementKey = &element.key;
    let old = held.get(set).and_then(|elements| elements.get(key)).cloned();
    match old {
        Some(content) if content == element.content => Vec::new(),
        Some(content) => vec![
            Operation::DeleteElements(set.clone(), vec![Element { key: key.clone(), content }]),
            Operation::AddElements(set.clone(), vec![element]),
        ],
        None => vec![Operation::AddElements(set.clone(), vec![element])],
    }
}

/// Whether the table changed between the look and the change.
fn is_outdated(error: &NftError) -> bool {
    matches!(error, NftError::Refused { .. }) && matches!(error.errno(), Some(Errno::ENOENT | Errno::EEXIST))
}
