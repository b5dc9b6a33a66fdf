//! The elements of the flat maps, kept up frontend by frontend.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use ipnet::IpNet;
use model::{Clients, IpFamily, Name, SharedMap};

use super::balancer::{Choice, LoadBalancer, SharedChain, Target};
use super::layout::{self, SetKind};
use super::network::Network;
use super::{Dispatch, Frontend, SourceRule, Treatment, tunnel_guard, tunnel_source};
use crate::FrontendKind;
use crate::guard;
use crate::host_ports::{self, HostPort};
use crate::ruleset::{Data, Element, ElementKey, Keeper, Ruleset, Set, Value, Values, Verdict};

/// The ruleset with the counts that say when something shared is no longer needed.
#[derive(Clone, Debug)]
pub(super) struct Elements {
    ruleset: Ruleset,
    /// How many frontends need each chain that is not always there.
    shared: SharedMap<SharedChain, u32>,
    /// How many frontends have each endpoint address on this node.
    hairpins: SharedMap<IpAddr, u32>,
    /// How many frontends each cluster IP has.
    cluster_ips: SharedMap<IpAddr, u32>,
}

impl Default for Elements {
    fn default() -> Self {
        let mut ruleset = host_ports::ruleset(&[]);
        ruleset.chains.extend(guard::ruleset().chains);
        ruleset.sets.extend(layout::sets());
        ruleset.chains.extend(layout::chains());
        Self { ruleset, shared: SharedMap::new(), hairpins: SharedMap::new(), cluster_ips: SharedMap::new() }
    }
}

impl Elements {
    pub(super) const fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    /// Sets what is known of nodes and ranges.
    pub(super) fn replace_network(&mut self, network: &Network) {
        for family in [IpFamily::V4, IpFamily::V6] {
            let of_family = |address: IpAddr| IpFamily::of(address) == family;
            let ranges = |nets: &[IpNet]| {
                let nets = nets.iter().filter(|net| of_family(net.network()));
                nets.map(|net| (ElementKey::of_net(*net), None)).collect()
            };
            let own = network.held.iter().copied().filter(|address| of_family(*address));
            self.replace_all(SetKind::Inside, family, ranges(&network.inside));
            self.replace_all(SetKind::Bypassing, family, ranges(&network.bypassing));
            self.replace_all(SetKind::Pods, family, ranges(&network.pods));
            self.replace_all(SetKind::Cluster, family, ranges(&network.cluster));
            self.replace_all(SetKind::Own, family, own.map(|address| (exact([address.into()]), None)).collect());
        }
        self.replace_tunnel_part(network);
    }

    fn replace_tunnel_part(&mut self, network: &Network) {
        let guard = tunnel_guard::ruleset(network);
        self.ruleset.sets.retain(|name, _| !tunnel_guard::SETS.contains(&name.as_str()));
        self.ruleset.chains.retain(|name, _| !tunnel_guard::CHAINS.contains(&name.as_str()));
        self.ruleset.sets.extend(guard.sets);
        self.ruleset.chains.remove(tunnel_source::CHAIN);
        self.ruleset.chains.extend(guard.chains);
        self.ruleset.chains.extend(network.tunnel.as_ref().map(tunnel_source::chain));
    }

    /// Sets what the maps the CNI plugin keeps begin with, should they have to be made.
    pub(super) fn replace_host_ports(&mut self, ports: &[HostPort]) {
        let kept_by_plugin =
            host_ports::ruleset(ports).sets.into_iter().filter(|(_, set)| set.keeper == Keeper::Others);
        self.ruleset.sets.extend(kept_by_plugin);
    }

    /// Replaces what a frontend put into the maps.
    pub(super) fn replace_frontend(&mut self, frontend: &Frontend, old: Option<&Treatment>, new: Option<&Treatment>) {
        let old_entries = old.map(|treatment| entries(frontend, treatment)).unwrap_or_default();
        let new_entries = new.map(|treatment| entries(frontend, treatment)).unwrap_or_default();
        let family = IpFamily::of(frontend.address);
        // New chains first and old ones last: an element never leads to a chain that is not there.
        self.count_chains(family, new, 1);
        let (known, wanted) = (by_key(&old_entries), by_key(&new_entries));
        for (place, key) in known.keys().filter(|at| !wanted.contains_key(at)) {
            self.change(*place, family, |elements| elements.remove(*key));
        }
        for ((place, key), data) in wanted.iter().filter(|(at, data)| known.get(at) != Some(data)) {
            self.change(*place, family, |elements| elements.insert((*key).clone(), (*data).clone()));
        }
        self.count_chains(family, old, -1);
        self.count_hairpins(family, new, 1);
        self.count_hairpins(family, old, -1);
        self.count_cluster_ip(frontend, new, 1);
        self.count_cluster_ip(frontend, old, -1);
    }

    fn replace_all(&mut self, kind: SetKind, family: IpFamily, all: SharedMap<ElementKey, Option<Data>>) {
        self.change(Place::Shared(kind), family, |elements| *elements = all);
    }

    fn change<T>(
        &mut self,
        place: Place,
        family: IpFamily,
        change: impl FnOnce(&mut SharedMap<ElementKey, Option<Data>>) -> T,
    ) {
        if let Some(set) = self.ruleset.sets.get_mut(&place.name(family)) {
            change(&mut set.elements);
        }
    }

    fn count_chains(&mut self, family: IpFamily, treatment: Option<&Treatment>, by: i32) {
        let Some(Target::Chain(shared)) = treatment.map(|treatment| target(family, treatment)) else { return };
        for each in shared.with_parts().into_iter().filter(|each| !each.is_standing()) {
            match count(&mut self.shared, each, by) {
                Count::Appeared => self.add_chain(each),
                Count::Vanished => self.remove_chain(each),
                Count::Changed => {}
            }
        }
    }

    fn add_chain(&mut self, shared: SharedChain) {
        self.ruleset.chains.insert(shared.name(), shared.chain());
        if let Some((name, spec)) = shared.own_endpoints() {
            self.ruleset.sets.insert(name, Set::new(spec));
        }
    }

    fn remove_chain(&mut self, shared: SharedChain) {
        if let Some((name, _)) = shared.own_endpoints() {
            self.ruleset.sets.remove(&name);
        }
        self.ruleset.chains.remove(&shared.name());
    }

    fn count_cluster_ip(&mut self, frontend: &Frontend, treatment: Option<&Treatment>, by: i32) {
        if treatment.is_none_or(|treatment| treatment.kind != FrontendKind::ClusterIp) {
            return;
        }
        let (place, family) = (Place::Shared(SetKind::ClusterIps), IpFamily::of(frontend.address));
        let key = exact([frontend.address.into()]);
        match count(&mut self.cluster_ips, frontend.address, by) {
            Count::Appeared => self.change(place, family, |elements| elements.insert(key, None)),
            Count::Vanished => self.change(place, family, |elements| elements.remove(&key)),
            Count::Changed => {}
        }
    }

    fn count_hairpins(&mut self, family: IpFamily, treatment: Option<&Treatment>, by: i32) {
        let none = BTreeSet::new();
        for address in treatment.map_or(&none, |treatment| &treatment.hairpins) {
            let key = exact([Value::from(*address); 2]);
            let hairpins = Place::Shared(SetKind::Hairpins);
            match count(&mut self.hairpins, *address, by) {
                Count::Appeared => self.change(hairpins, family, |elements| elements.insert(key, None)),
                Count::Vanished => self.change(hairpins, family, |elements| elements.remove(&key)),
                Count::Changed => {}
            }
        }
    }
}

/// What counting up or down meant.
enum Count {
    Appeared,
    Vanished,
    Changed,
}

fn count<K: Ord + std::hash::Hash + Clone>(counts: &mut SharedMap<K, u32>, key: K, by: i32) -> Count {
    let before = counts.get(&key).copied().unwrap_or(0);
    let after = before.saturating_add_signed(by);
    if after == 0 {
        counts.remove(&key);
    } else {
        counts.insert(key, after);
    }
    match (before, after) {
        (0, 1..) => Count::Appeared,
        (1.., 0) => Count::Vanished,
        _ => Count::Changed,
    }
}

/// The set an element belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// One that is always there.
    Shared(SetKind),
    /// The map of endpoints of a load balancer.
    Endpoints(LoadBalancer),
}

impl Place {
    fn name(self, family: IpFamily) -> Name {
        match self {
            Self::Shared(kind) => kind.name(family).into(),
            Self::Endpoints(balancer) => balancer.endpoints_map(),
        }
    }
}

/// The elements a frontend alone is responsible for, with the names of their sets.
pub(super) fn elements(frontend: &Frontend, treatment: &Treatment) -> Vec<(Name, Element)> {
    let family = IpFamily::of(frontend.address);
    let element = |(place, key, data): Entry| (place.name(family), Element { key, data });
    entries(frontend, treatment).into_iter().map(element).collect()
}

type Entry = (Place, ElementKey, Option<Data>);

fn by_key(entries: &[Entry]) -> BTreeMap<(Place, &ElementKey), &Option<Data>> {
    entries.iter().map(|(place, key, data)| ((*place, key), data)).collect()
}

/// The elements a frontend alone is responsible for.
fn entries(frontend: &Frontend, treatment: &Treatment) -> Vec<Entry> {
    let family = IpFamily::of(frontend.address);
    let entry = |kind, data| (Place::Shared(kind), frontend_key(frontend, []), data);
    let verdict = Data::noted(target(family, treatment).verdict(), note(treatment));
    let mut entries = vec![entry(SetKind::Services, Some(verdict))];
    if let (Clients::Within(ranges), false) = (&treatment.clients, treatment.dispatch == Dispatch::Drop) {
        let clients = Place::Shared(SetKind::Clients);
        entries.extend(ranges.iter().map(|range| (clients, clients_key(frontend, *range), None)));
    }
    let Some(balancer) = balancer(family, treatment) else { return entries };
    let masquerade = match treatment.sources {
        SourceRule::MasqueradeBypassing => SetKind::MasqueradeBypassing,
        SourceRule::MasqueradeOutsiders => SetKind::MasqueradeOutsiders,
        SourceRule::MasqueradeAll => SetKind::MasqueradeAll,
    };
    entries.push(entry(masquerade, None));
    let memory = balancer.memory().map(|memory| Data::Verdict(Verdict::Jump(memory.name())));
    entries.extend(memory.map(|verdict| entry(SetKind::Remember, Some(verdict))));
    for (balancer, endpoints) in balancer.choosing().into_iter().zip(treatment.dispatch.choices()) {
        entries.extend(slots(frontend, balancer, endpoints));
    }
    entries
}

/// Whose frontend it is: `namespace/name:port`, as much as the kernel keeps of it.
fn note(treatment: &Treatment) -> Name {
    const LENGTH_MAX: usize = 127;
    let mut note = if treatment.port.as_str().is_empty() {
        treatment.service.to_string()
    } else {
        format!("{}:{}", treatment.service, treatment.port)
    };
    note.truncate(note.floor_char_boundary(LENGTH_MAX));
    note.into()
}

fn slots(frontend: &Frontend, balancer: LoadBalancer, endpoints: &[SocketAddr]) -> impl Iterator<Item = Entry> {
    endpoints.iter().zip(0..).map(move |(endpoint, slot)| {
        let data = Data::Values(values(endpoint).into());
        (Place::Endpoints(balancer), frontend_key(frontend, [Value::Mark(slot)]), Some(data))
    })
}

/// What is done with connections that a treatment is for.
fn target(family: IpFamily, treatment: &Treatment) -> Target {
    let balancer = balancer(family, treatment);
    match (&treatment.clients, &treatment.dispatch) {
        (_, Dispatch::Drop) => Target::Drop,
        (Clients::Within(_), _) => Target::Chain(SharedChain::Guard(family, balancer)),
        (Clients::All, _) => balancer.map_or(Target::Refuse, |balancer| Target::Chain(SharedChain::Balancer(balancer))),
    }
}

/// The load balancer a treatment needs, if it sends connections anywhere.
fn balancer(family: IpFamily, treatment: &Treatment) -> Option<LoadBalancer> {
    let count = |endpoints: &[SocketAddr]| NonZeroU32::new(u32::try_from(endpoints.len()).unwrap_or(u32::MAX));
    let choice = match &treatment.dispatch {
        Dispatch::Refuse | Dispatch::Drop => return None,
        Dispatch::Balance(endpoints) => Choice::Any(count(endpoints)?),
        Dispatch::Split { inside, outside } => Choice::Split { inside: count(inside)?, outside: count(outside) },
    };
    let affinity = treatment.affinity.map(|timeout| u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX));
    Some(LoadBalancer { family, choice, affinity })
}

fn frontend_key<const N: usize>(frontend: &Frontend, rest: [Value; N]) -> ElementKey {
    ElementKey::Exact(frontend_values(frontend).into_iter().chain(rest).collect())
}

fn clients_key(frontend: &Frontend, range: IpNet) -> ElementKey {
    let fields = |client: IpAddr| {
        let frontend: [Value; 3] = frontend_values(frontend);
        frontend.into_iter().chain([client.into()]).collect::<Values>()
    };
    ElementKey::range(fields(range.network()), fields(range.broadcast()))
}

fn frontend_values(frontend: &Frontend) -> [Value; 3] {
    [frontend.address.into(), Value::Protocol(frontend.protocol.number()), Value::Port(frontend.port)]
}

fn values(endpoint: &SocketAddr) -> [Value; 2] {
    [endpoint.ip().into(), Value::Port(endpoint.port())]
}

fn exact<const N: usize>(values: [Value; N]) -> ElementKey {
    ElementKey::Exact(values.into())
}
