//! What one node does with the packets of a cluster: the plan.
//!
//! A [`Plan`] is a value computed from a [`Cluster`]. [`Plan::next`] computes the following one from the snapshot that
//! follows, looking only at what changed; [`crate::diff()`] then says what the kernel must be told. Plans share
//! structure, so keeping the committed one beside the wanted one costs next to nothing.
//!
//! # The shape of the ruleset
//!
//! A few flat maps and one chain per distinct number of endpoints, because loading a chain per Service takes the
//! kernel time that grows with the square of their number:
//!
//! - `services`: where a connection is sent (address, protocol, port) to what is done with it: `goto lb_5`,
//!   `goto refuse`, `drop`;
//! - `endpoints`: the same three and a slot to an endpoint. `lb_5` draws a slot at random and translates the
//!   destination in the same expression, so that packet marks, which belong to routing policy and to other
//!   programs, are neither read nor written. Load balancers that are not always there have such a map of their own;
//! - `clients`: ranges of clients, for the frontends that are not for all; only these lead to `guard_...`, where it is
//!   asked;
//! - `affinity`: which endpoint a client of a Service with affinity has; filled by packets;
//! - `masquerade_all`, `masquerade_outsiders`, `masquerade_bypassing`: for translated connections, by where they were
//!   first sent, whose source is masqueraded.
//!
//! Elements behind which an object stands have a note that names it, but for what packets fill.
//!
//! What is sent to one of `cluster_ips` and is no frontend is refused.
//!
//! While there is a tunnel, `tunnel_guard` and `tunnel_guard_forward` drop what comes for this node's end of it, and what
//! passes for another's, from others than the `nodes`, and `tunnel_source` masquerades what the node itself sends through it
//! under another address than the one it has there.
//!
//! A change of Services or endpoints adds no rule that looks into a map with many elements, or the kernel would walk that
//! map. It does validate all verdicts that lead to chains whenever one comes: 2 ms at ten thousand Services. Numbers in
//! their place, and a small map from numbers to verdicts, would spare that; but nft up to 1.0.6 at least aborts when it
//! lists a rule that looks up what it looked up.
//!
//! NAT chains see the first packet of a connection only; connection tracking does the rest. All of it exists once per
//! address family.

pub mod affinity;
mod backend;
mod balancer;
mod elements;
mod endpoints;
mod fault;
mod health;
mod hints;
mod holders;
mod labels;
mod layout;
mod network;
mod peer;
mod reserved;
mod routing;
mod service;
mod tunnel;
mod tunnel_guard;
mod tunnel_source;

pub use backend::{Backend, BackendState, LeftOut, SliceFault, backends, left_out};
pub use endpoints::{endpoints_of_any_port, serving_nodes};
pub use health::{HealthCheck, PolicySide};
pub use hints::{Hints, hints};
pub(crate) use layout::SetKind;
pub use network::{Hop, Route};
pub use peer::{NoWay, PeerPath, Way};
pub use routing::{Checksums, LinkNetwork, Reason, Routing, RoutingMode};
pub use service::{Dispatch, Frontend, NodePort, SourceRule, Treatment};
pub use tunnel::{TUNNEL_DEVICE, Tunnel};

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;

use ipnet::IpNet;
use model::{Cluster, Endpoint, Fitness, IpFamily, Name, NamespacedName, Rejected, SharedMap};

use crate::FrontendKind;
use crate::host_ports::PublishedPort;
use crate::ruleset::{Element, Ruleset, Set};
use affinity::Affine;
use elements::Elements;
use network::Network;

/// The node a plan is for, and what it is told beside the cluster's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// The node's name.
    pub name: Name,
    /// Ranges of pod addresses beyond those the Node objects carry; may be empty.
    pub pod_ranges: Vec<IpNet>,
    /// Ranges Service addresses come from; traffic to them is never masqueraded as leaving the cluster. May be empty.
    pub service_ranges: Vec<IpNet>,
    /// Addresses the node's links have, beside those its Node object tells: they are the node's own wherever they lie.
    pub link_addresses: Vec<IpAddr>,
    /// Which of its addresses serve node ports.
    pub node_port_addresses: NodePortAddresses,
    /// Where its pods have their addresses from.
    pub pod_addresses: PodAddresses,
    /// How packets for pods get to other nodes.
    pub routing: Routing,
}

/// Where a node's pods have their addresses from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodAddresses {
    /// From the ranges its Node object tells, as our CNI plugin gives them.
    #[default]
    NodeRanges,
    /// From anywhere in the ranges of pods, as another plugin may give them: no address tells which node's pod has it.
    AnyRange,
}

/// Which of a node's addresses serve node ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// All of them.
    #[default]
    All,
    /// Those its Node object tells.
    Primary,
    /// Those in one of these ranges.
    Within(Vec<IpNet>),
}

impl NodeView {
    /// The view of the node `name` with nothing but what the objects say.
    pub fn new(name: impl Into<Name>) -> Self {
        Self {
            name: name.into(),
            pod_ranges: Vec::new(),
            service_ranges: Vec::new(),
            link_addresses: Vec::new(),
            node_port_addresses: NodePortAddresses::All,
            pod_addresses: PodAddresses::NodeRanges,
            routing: Routing::default(),
        }
    }
}

/// Everything one node's kernel should hold for a cluster.
#[derive(Clone, Debug)]
pub struct Plan {
    view: Arc<NodeView>,
    cluster: Cluster,
    network: Arc<Network>,
    /// What each Service asks for.
    services: SharedMap<NamespacedName, Treatments>,
    /// Who asks for each frontend; [`holder`] says who gets it.
    claims: SharedMap<Frontend, Claims>,
    elements: Elements,
    /// The frontends whose clients stay with their endpoint.
    affine: Affine,
    health_checks: SharedMap<NamespacedName, HealthCheck>,
    /// This node's addresses at which each node port that has endpoints is served.
    node_ports: SharedMap<NodePort, Vec<IpAddr>>,
    without_local: BTreeMap<(PolicySide, IpFamily), usize>,
    /// What is wrong with Services in themselves.
    faults: SharedMap<NamespacedName, Vec<Rejected>>,
}

/// The Services that ask for a frontend, by name.
type Claims = SharedMap<NamespacedName, Arc<Treatment>>;

type Treatments = SharedMap<Frontend, Arc<Treatment>>;

/// For how long an endpoint that serves will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// Until something happens.
    Ready,
    /// It terminates.
    Leaving,
}

impl Plan {
    /// The plan of a node for a cluster.
    pub fn of(view: NodeView, cluster: &Cluster) -> Self {
        let empty = Cluster::default();
        let network = Arc::new(Network::of(&view, &empty));
        let mut elements = Elements::default();
        elements.replace_network(&network);
        let affine = Affine { inside: network.inside.as_slice().into(), ..Affine::default() };
        let nothing = Self {
            view: Arc::new(view),
            cluster: empty,
            network,
            services: SharedMap::new(),
            claims: SharedMap::new(),
            elements,
            affine,
            health_checks: SharedMap::new(),
            node_ports: SharedMap::new(),
            without_local: BTreeMap::new(),
            faults: SharedMap::new(),
        };
        nothing.next(cluster)
    }

    /// The plan for the snapshot that follows. The cost is that of the changes: what did not change is not looked at.
    #[must_use]
    pub fn next(&self, cluster: &Cluster) -> Self {
        let mut next = self.clone();
        next.cluster = cluster.clone();
        if cluster.nodes != self.cluster.nodes {
            let network = Network::of(&self.view, cluster);
            next.elements.replace_network(&network);
            next.affine.inside = network.inside.as_slice().into();
            next.network = Arc::new(network);
            next.replace_reserved(&self.network);
        }
        for service in self.changed_services(&next) {
            next.replace_service(&service);
        }
        next
    }

    /// Tells the plan which ports of the node lead to pods.
    ///
    /// The CNI plugin keeps them in the kernel: what is said here counts only where their maps have to be made.
    pub fn set_host_ports(&mut self, ports: &[PublishedPort]) {
        self.elements.replace_host_ports(ports);
    }

    /// The wanted content of the table.
    pub fn ruleset(&self) -> &Ruleset {
        self.elements.ruleset()
    }

    /// The frontends whose clients stay with the endpoint they had, see [`affinity`].
    pub const fn affine(&self) -> &Affine {
        &self.affine
    }

    /// The wanted routes for pod addresses, ordered by destination.
    pub fn routes(&self) -> &[Route] {
        &self.network.routes
    }

    /// This node's end of the tunnel; none when no route leads through it.
    pub fn tunnel(&self) -> Option<&Tunnel> {
        self.network.tunnel.as_ref()
    }

    /// How the pods of every other node are reached, and why so, by node.
    pub fn peers(&self) -> &[PeerPath] {
        &self.network.peers
    }

    /// The health checks load balancers ask this node for, by Service.
    pub const fn health_checks(&self) -> &SharedMap<NamespacedName, HealthCheck> {
        &self.health_checks
    }

    /// The node ports that have endpoints, with this node's addresses they are served at, sorted.
    pub const fn node_ports(&self) -> &SharedMap<NodePort, Vec<IpAddr>> {
        &self.node_ports
    }

    /// This node's addresses that serve node ports, sorted; none when those are all it has.
    pub fn node_port_addresses(&self) -> Option<&[IpAddr]> {
        (self.view.node_port_addresses != NodePortAddresses::All).then_some(&*self.network.node_port_addresses)
    }

    /// How many Service ports want an endpoint on this node by their policy and have some elsewhere only.
    pub const fn without_local(&self) -> &BTreeMap<(PolicySide, IpFamily), usize> {
        &self.without_local
    }

    /// What is done with connections to a frontend, when it is one.
    pub fn treatment(&self, frontend: &Frontend) -> Option<&Arc<Treatment>> {
        self.holder_of(frontend, self.claims.get(frontend)?)
    }

    /// The endpoints that still serve connections a frontend has, when it is one, and whether each is ready or about to
    /// leave: whoever serves, whatever policies and hints say of new connections.
    pub fn serving(&self, frontend: &Frontend) -> Option<BTreeMap<SocketAddr, Stay>> {
        let treatment = self.treatment(frontend)?;
        let service = self.cluster.services.get(&treatment.service)?;
        let port = service.ports.iter().find(|port| port.name == treatment.port)?;
        let family = IpFamily::of(frontend.address);
        let endpoints = endpoints::endpoints(service, port, family, &self.cluster).into_iter();
        let stay = |endpoint: &Endpoint| match service.fitness_of(endpoint) {
            Fitness::Ready => Some(Stay::Ready),
            _ if endpoint.serving => Some(Stay::Leaving),
            _ => None,
        };
        Some(endpoints.filter_map(|(socket, endpoint)| Some((socket, stay(endpoint)?))).collect())
    }

    /// Whether connections that were translated from `frontend`, which none is now, to `backend` may be what a deleted
    /// Service left: they lead to a pod, and no other proxy is to serve them. Walks all Services.
    pub fn may_be_left_over(&self, frontend: &Frontend, backend: IpAddr) -> bool {
        let mut delegated = self.cluster.services.values().filter(|service| service.delegated);
        self.network.pods.iter().any(|range| range.contains(&backend))
            && !delegated.any(|service| service::frontends_of(service, &self.network).any(|other| other == *frontend))
    }

    /// What a Service asks for, by frontend; of a contested frontend [`treatment`](Self::treatment) tells who has it.
    pub fn frontends_of(&self, service: &NamespacedName) -> impl Iterator<Item = (&Frontend, &Treatment)> {
        let treatments = self.services.get(service).into_iter().flat_map(Treatments::iter);
        treatments.map(|(frontend, treatment)| (frontend, &**treatment))
    }

    /// The elements a Service alone is responsible for, by the name of their set, each set empty in its shape.
    pub fn elements_of(&self, service: &NamespacedName) -> BTreeMap<Name, (Set, Vec<Element>)> {
        let mut sets: BTreeMap<Name, (Set, Vec<Element>)> = BTreeMap::new();
        let is_its_own = |frontend: &Frontend| self.treatment(frontend).is_some_and(|each| each.service == *service);
        for (frontend, treatment) in self.frontends_of(service).filter(|(frontend, _)| is_its_own(frontend)) {
            for (name, element) in elements::elements(frontend, treatment) {
                let Some(set) = self.ruleset().sets.get(&name) else { continue };
                sets.entry(name).or_insert_with(|| (Set::new(set.spec.clone()), Vec::new())).1.push(element);
            }
        }
        sets
    }

    /// What of the objects this node cannot do, and why: contested frontends, unreachable nodes.
    ///
    /// Walks all frontends.
    pub fn rejected(&self) -> Vec<Rejected> {
        let contested = self.claims.iter().flat_map(|(frontend, claims)| self.losers(frontend, claims));
        let faults = self.faults.values().flatten().cloned();
        self.network.rejected().chain(contested).chain(faults).collect()
    }

    /// What is [rejected](Self::rejected) now and was not in `old`, at the cost of the changes.
    pub fn rejected_since(&self, old: &Self) -> Vec<Rejected> {
        let mut rejected: Vec<Rejected> = self.network.rejected().collect();
        let mut known: Vec<Rejected> = old.network.rejected().collect();
        for change in SharedMap::changes_between(&old.claims, &self.claims) {
            rejected.extend(change.new.into_iter().flat_map(|claims| self.losers(change.key, claims)));
            known.extend(change.old.into_iter().flat_map(|claims| old.losers(change.key, claims)));
        }
        for change in SharedMap::changes_between(&old.faults, &self.faults) {
            rejected.extend(change.new.into_iter().flatten().cloned());
            known.extend(change.old.into_iter().flatten().cloned());
        }
        rejected.retain(|rejected| !known.contains(rejected));
        let mut reserved = self.reserved_since(old);
        reserved.retain(|reserved| !rejected.contains(reserved));
        rejected.extend(reserved);
        rejected
    }

    fn changed_services(&self, next: &Self) -> Vec<NamespacedName> {
        if !self.network.serves_like(&next.network) {
            return self.cluster.services.keys().chain(next.cluster.services.keys()).cloned().collect();
        }
        let services = SharedMap::changes_between(&self.cluster.services, &next.cluster.services);
        let slices = SharedMap::changes_between(&self.cluster.endpoint_slices, &next.cluster.endpoint_slices);
        let mut keys: Vec<NamespacedName> = services.into_iter().map(|change| change.key.clone()).collect();
        keys.extend(slices.into_iter().map(|change| change.key.clone()));
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn replace_service(&mut self, key: &NamespacedName) {
        let old = self.services.remove(key).unwrap_or_default();
        let service = self.cluster.services.get(key);
        let new = service.map_or_else(Treatments::new, |service| {
            service::treatments(service, &self.cluster, &self.view.name, &self.network)
        });
        match service.and_then(|service| health::health_check(service, &self.cluster, &self.view.name)) {
            Some(check) => self.health_checks.insert(key.clone(), check),
            None => self.health_checks.remove(key),
        };
        match service.map(|service| fault::faults(service, &self.cluster)).filter(|faults| !faults.is_empty()) {
            Some(faults) => self.faults.insert(key.clone(), faults),
            None => self.faults.remove(key),
        };
        self.count_without_local(&old, &new);
        // What stayed the same stays the very same: it is kept once.
        let mut treatments = old.clone();
        for change in SharedMap::changes_between(&old, &new) {
            self.replace_claim(change.key, key, change.new.cloned());
            match change.new {
                Some(treatment) => treatments.insert(*change.key, Arc::clone(treatment)),
                None => treatments.remove(change.key),
            };
        }
        if !treatments.is_empty() {
            self.services.insert(key.clone(), treatments);
        }
    }

    fn count_without_local(&mut self, old: &Treatments, new: &Treatments) {
        for (side, family, _) in health::without_local(new) {
            *self.without_local.entry((side, family)).or_default() += 1;
        }
        for (side, family, _) in health::without_local(old) {
            let count = self.without_local.entry((side, family)).or_default();
            *count = count.saturating_sub(1);
        }
        self.without_local.retain(|_, count| *count > 0);
    }

    fn replace_claim(&mut self, frontend: &Frontend, service: &NamespacedName, claim: Option<Arc<Treatment>>) {
        let mut claims = self.claims.get(frontend).cloned().unwrap_or_default();
        let old = self.holder_of(frontend, &claims).cloned();
        match claim {
            Some(treatment) => claims.insert(service.clone(), treatment),
            None => claims.remove(service),
        };
        let new = self.holder_of(frontend, &claims).cloned();
        if claims.is_empty() {
            self.claims.remove(frontend);
        } else {
            self.claims.insert(*frontend, claims);
        }
        self.replace_holder(frontend, old.as_ref(), new.as_ref());
    }

    fn replace_holder(&mut self, frontend: &Frontend, old: Option<&Arc<Treatment>>, new: Option<&Arc<Treatment>>) {
        if old == new {
            return;
        }
        let (before, after) = (old.map(AsRef::as_ref), new.map(AsRef::as_ref));
        self.replace_node_port(frontend, before, after);
        match new.filter(|new| new.affinity.is_some()) {
            Some(new) => self.affine.treatments.insert(*frontend, Arc::clone(new)),
            None => self.affine.treatments.remove(frontend),
        };
        self.elements.replace_frontend(frontend, before, after);
    }

    fn replace_node_port(&mut self, frontend: &Frontend, old: Option<&Treatment>, new: Option<&Treatment>) {
        let (old, new) = (node_port(frontend, old), node_port(frontend, new));
        if old == new {
            return;
        }
        if let Some(port) = old {
            self.node_ports.update(&port, |addresses| addresses.retain(|address| *address != frontend.address));
            if self.node_ports.get(&port).is_some_and(Vec::is_empty) {
                self.node_ports.remove(&port);
            }
        }
        if let Some(port) = new {
            self.node_ports.update(&port, |addresses| {
                addresses.push(frontend.address);
                addresses.sort_unstable();
            });
        }
    }
}

/// The key of a node port's frontend, when a treatment is one's and leads to somebody.
fn node_port(frontend: &Frontend, treatment: Option<&Treatment>) -> Option<NodePort> {
    let leads = |treatment: &&Treatment| !matches!(treatment.dispatch, Dispatch::Refuse | Dispatch::Drop);
    treatment.filter(leads).filter(|treatment| treatment.kind == FrontendKind::NodePort)?;
    Some(NodePort { protocol: frontend.protocol, port: NonZeroU16::new(frontend.port)? })
}

/// Who gets a frontend of those who ask for it: whoever has it by the firmest right, of equals the first by name.
///
/// Were it the name alone, any Service could take another's cluster IP by listing it among its external addresses.
fn holder(claims: &Claims) -> Option<&Arc<Treatment>> {
    claims.values().min_by_key(|treatment| service::precedence(treatment.kind))
}
