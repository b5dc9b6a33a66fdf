//! The elements of the flat maps, kept up frontend by frontend.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use ipnet::IpNet;
use model::{Clients, IpFamily, Name, SharedMap};

use super::balancer::{Choice, LoadBalancer, SharedChain, Target};
use super::holders::{Holders, Touched};
use super::layout::{self, SetKind};
use super::network::Network;
use super::{Dispatch, Frontend, SourceRule, Treatment, tunnel_guard, tunnel_source};
use crate::FrontendKind;
use crate::guard;
use crate::host_ports::{self, PublishedPort};
use crate::ruleset::{Content, Data, Element, ElementKey, Keeper, Note, Ruleset, Set, Value, Values, Verdict};

/// The ruleset with the counts that say when something shared is no longer needed.
#[derive(Clone, Debug)]
pub(super) struct Elements {
    ruleset: Ruleset,
    /// How many frontends need each chain that is not always there.
    shared: SharedMap<SharedChain, u32>,
    /// What stands behind each endpoint address on this node, for the frontends that have it.
    hairpins: Holders<IpAddr>,
    /// The Services that have frontends at each cluster IP.
    cluster_ips: Holders<IpAddr>,
}

impl Default for Elements {
    fn default() -> Self {
        let mut ruleset = host_ports::ruleset(&[]);
        ruleset.chains.extend(guard::ruleset().chains);
        ruleset.sets.extend(layout::sets());
        ruleset.chains.extend(layout::chains());
        Self { ruleset, shared: SharedMap::new(), hairpins: Holders::default(), cluster_ips: Holders::default() }
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
                nets.map(|net| (ElementKey::of_net(*net), labelled(network.labels.of_range(*net)))).collect()
            };
            let own = network.held.iter().copied().filter(|address| of_family(*address));
            let own = own.map(|address| (exact([address.into()]), labelled(network.labels.of_address(address))));
            self.replace_all(SetKind::Inside, family, ranges(&network.inside));
            self.replace_all(SetKind::Bypassing, family, ranges(&network.bypassing));
            self.replace_all(SetKind::Pods, family, ranges(&network.pods));
            self.replace_all(SetKind::Cluster, family, ranges(&network.cluster));
            self.replace_all(SetKind::Own, family, own.collect());
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
    pub(super) fn replace_host_ports(&mut self, ports: &[PublishedPort]) {
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
        for ((place, key), content) in wanted.iter().filter(|(at, content)| known.get(at) != Some(content)) {
            self.change(*place, family, |elements| elements.insert((*key).clone(), (*content).clone()));
        }
        self.count_chains(family, old, -1);
        self.hold_hairpins(family, old, new);
        self.hold_cluster_ip(frontend, old, new);
    }

    fn replace_all(&mut self, kind: SetKind, family: IpFamily, all: SharedMap<ElementKey, Content>) {
        self.change(Place::Shared(kind), family, |elements| *elements = all);
    }

    fn change<T>(
        &mut self,
        place: Place,
        family: IpFamily,
        change: impl FnOnce(&mut SharedMap<ElementKey, Content>) -> T,
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

    fn hold_cluster_ip(&mut self, frontend: &Frontend, old: Option<&Treatment>, new: Option<&Treatment>) {
        let service = |treatment: Option<&Treatment>| {
            let of_cluster_ip = treatment.filter(|treatment| treatment.kind == FrontendKind::ClusterIp);
            of_cluster_ip.map(|treatment| (frontend.address, treatment.service.to_string().into()))
        };
        let touched = self.cluster_ips.replace(service(old), service(new));
        self.show(SetKind::ClusterIps, IpFamily::of(frontend.address), touched, |address| exact([address.into()]));
    }

    fn hold_hairpins(&mut self, family: IpFamily, old: Option<&Treatment>, new: Option<&Treatment>) {
        let pods = |treatment: Option<&Treatment>| {
            let hairpins = treatment.into_iter().flat_map(|treatment| &treatment.hairpins);
            hairpins.map(|(address, pod)| (*address, pod.clone())).collect::<Vec<_>>()
        };
        let touched = self.hairpins.replace(pods(old), pods(new));
        self.show(SetKind::Hairpins, family, touched, |address| exact([Value::from(address); 2]));
    }

    /// Puts the elements of what several frontends share in step with who holds it.
    fn show(
        &mut self,
        kind: SetKind,
        family: IpFamily,
        touched: Touched<IpAddr>,
        key_of: impl Fn(IpAddr) -> ElementKey,
    ) {
        for (address, note) in touched {
            let key = key_of(address);
            self.change(Place::Shared(kind), family, |elements| match note {
                Some(note) => elements.insert(key, Content::of(note)),
                None => elements.remove(&key),
            });
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
    let element = |(place, key, content): Entry| (place.name(family), Element { key, content });
    entries(frontend, treatment).into_iter().map(element).collect()
}

type Entry = (Place, ElementKey, Content);

fn by_key(entries: &[Entry]) -> BTreeMap<(Place, &ElementKey), &Content> {
    entries.iter().map(|(place, key, content)| ((*place, key), content)).collect()
}

/// The elements a frontend alone is responsible for.
fn entries(frontend: &Frontend, treatment: &Treatment) -> Vec<Entry> {
    let family = IpFamily::of(frontend.address);
    let object = object(treatment);
    let note = Note::new(object.clone());
    let entry =
        |kind, data| (Place::Shared(kind), frontend_key(frontend, []), Content { data, note: Some(note.clone()) });
    let verdict = Data::Verdict(target(family, treatment).verdict());
    let mut entries = vec![entry(SetKind::Services, Some(verdict))];
    if let (Clients::Within(ranges), false) = (&treatment.clients, treatment.dispatch == Dispatch::Drop) {
        let clients = Place::Shared(SetKind::Clients);
        let element = |range: &IpNet| (clients, clients_key(frontend, *range), Content::of(note.clone()));
        entries.extend(ranges.iter().map(element));
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
    let mut behind = treatment.behind.iter().map(|part| Note::of_part(object.clone(), part.clone()));
    for (balancer, endpoints) in balancer.choosing().into_iter().zip(treatment.dispatch.choices()) {
        entries.extend(slots(frontend, balancer, endpoints.iter().zip(behind.by_ref())));
    }
    entries
}

/// Whose frontend it is: `namespace/name:port`.
fn object(treatment: &Treatment) -> Name {
    if treatment.port.as_str().is_empty() {
        return treatment.service.to_string().into();
    }
    format!("{}:{}", treatment.service, treatment.port).into()
}

fn slots<'a>(
    frontend: &Frontend,
    balancer: LoadBalancer,
    endpoints: impl Iterator<Item = (&'a SocketAddr, Note)>,
) -> impl Iterator<Item = Entry> {
    endpoints.zip(0..).map(move |((endpoint, note), slot)| {
        let content = Content::from(Data::Values(values(endpoint).into())).noted(note);
        (Place::Endpoints(balancer), frontend_key(frontend, [Value::Mark(slot)]), content)
    })
}

const fn labelled(note: Option<Note>) -> Content {
    Content { data: None, note }
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
