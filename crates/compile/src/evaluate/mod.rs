//! The fate of one packet, straight from what the API objects mean.
//!
//! This is the plainest code that can answer; it shares nothing with [`crate::plan`], so that the two can be held
//! against each other. It walks all Services and is meant for explanations and tests, not for speed.

mod reason;

pub use reason::{FrontendKind, Reason, Scope, Selection};

use std::net::{IpAddr, SocketAddr};

use model::{
    Affinity, Clients, Cluster, Endpoint, IpFamily, Name, Node, Protocol, Service, ServiceKind, ServicePort,
    TrafficPolicy,
};

use crate::packet::{Entry, Outcome, Packet, SourceNat};
use crate::{NodePortAddresses, NodeView, PodAddresses, RoutingMode};

/// A packet's fate and what decided it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What becomes of the packet.
    pub outcome: Outcome,
    /// What decided.
    pub by: Reason,
}

/// What becomes of `packet` on the node `view` names.
pub fn evaluate(cluster: &Cluster, view: &NodeView, packet: &Packet) -> Verdict {
    let world = World { cluster, view, packet };
    let verdict = world.decide();
    let ends = match &verdict.outcome {
        Outcome::Passed { .. } => vec![world.destination()],
        Outcome::Balanced { endpoints, .. } => endpoints.keys().copied().collect(),
        Outcome::Refused | Outcome::Dropped => return verdict,
    };
    let is_kept_out = !world.is_of_other_node(packet.source) && ends.into_iter().all(|end| world.is_for_tunnel(end));
    if is_kept_out { Verdict { outcome: Outcome::Dropped, by: Reason::NotOfNode } } else { verdict }
}

/// The kinds of addresses, the one first that is nobody else's when Services ask for the same.
const BY_RIGHT: [FrontendKind; 4] =
    [FrontendKind::ClusterIp, FrontendKind::NodePort, FrontendKind::LoadBalancerIp, FrontendKind::ExternalIp];

/// What a question is asked about.
struct World<'a> {
    cluster: &'a Cluster,
    view: &'a NodeView,
    packet: &'a Packet,
}

impl World<'_> {
    /// What becomes of the packet, whatever may enter the tunnel.
    fn decide(&self) -> Verdict {
        // What the tunnel is made of is for no Service.
        let kinds = if self.is_tunnel_end(self.destination()) { &[][..] } else { &BY_RIGHT };
        for kind in kinds.iter().copied() {
            for service in self.cluster.services.values().filter(|service| !service.delegated) {
                if let Some(port) = service.ports.iter().find(|port| self.is_frontend(service, port, kind)) {
                    return self.serve(service, port, kind);
                }
            }
        }
        if let Some(service) = self.service_at_cluster_ip() {
            return Verdict { outcome: Outcome::Refused, by: Reason::ClosedPort { service: service.name.clone() } };
        }
        let leaves = self.leaves_cluster(self.packet.destination);
        let is_masqueraded = leaves || self.is_own_in_tunnel(self.packet.destination);
        let source = if is_masqueraded { SourceNat::Masqueraded } else { SourceNat::Kept };
        let by = if leaves { Reason::LeavesCluster } else { Reason::NoService };
        Verdict { outcome: Outcome::Passed { source }, by }
    }

    const fn destination(&self) -> SocketAddr {
        SocketAddr::new(self.packet.destination, self.packet.port)
    }

    /// The Service that serves at the packet's destination, which is its cluster IP and no address of this node.
    fn service_at_cluster_ip(&self) -> Option<&Service> {
        let destination = self.packet.destination;
        let is_at = |service: &&Service| match &service.kind {
            ServiceKind::Virtual { cluster_ips, .. } => cluster_ips.contains(&destination),
            ServiceKind::Headless { .. } | ServiceKind::ExternalName { .. } => false,
        };
        let services = self.cluster.services.values().map(|service| &**service);
        let mut served = services.filter(|service| !service.delegated && !service.ports.is_empty());
        served.find(is_at).filter(|_| !self.is_own(destination))
    }

    /// Whether the packet is sent to a Service port at an address of this kind.
    fn is_frontend(&self, service: &Service, port: &ServicePort, kind: FrontendKind) -> bool {
        let ServiceKind::Virtual { cluster_ips, external_ips, load_balancer_ips } = &service.kind else { return false };
        let destination = &self.packet.destination;
        let number = if kind == FrontendKind::NodePort { port.node_port } else { Some(port.port) };
        let is_address = match kind {
            FrontendKind::ClusterIp => cluster_ips.contains(destination),
            FrontendKind::NodePort => self.serves_node_ports(*destination),
            FrontendKind::LoadBalancerIp => load_balancer_ips.contains(destination),
            FrontendKind::ExternalIp => external_ips.contains(destination),
        };
        // A Service has no address of a family that is not its own, whatever else it lists.
        let is_family = cluster_ips.iter().any(|address| address.is_ipv4() == destination.is_ipv4());
        let is_port = number.is_some_and(|number| number.get() == self.packet.port);
        is_address && is_family && is_port && port.protocol == self.packet.protocol
    }

    fn serve(&self, service: &Service, port: &ServicePort, frontend: FrontendKind) -> Verdict {
        if frontend == FrontendKind::LoadBalancerIp && !self.is_client(service) {
            let (service, port) = (service.name.clone(), port.name.clone());
            return Verdict { outcome: Outcome::Dropped, by: Reason::SourceRanges { service, port } };
        }
        let endpoints = self.endpoints(service, port);
        let scope = self.scope(service, frontend);
        let here: Vec<_> = endpoints.iter().copied().filter(|(_, endpoint)| self.is_here(endpoint)).collect();
        let everywhere = select(service, &endpoints);
        let chosen = match scope {
            Scope::Cluster => self.near(everywhere.clone()),
            Scope::Node => select(service, &here),
        };
        let outcome = match chosen.1 {
            _ if everywhere.1 == Selection::None => Outcome::Refused,
            Selection::None => Outcome::Dropped,
            Selection::Ready | Selection::SameNode | Selection::SameZone | Selection::Terminating => {
                let is_told_here = |ip: IpAddr| here.iter().any(|(socket, _)| socket.ip() == ip);
                let with_source = |(socket, _): (SocketAddr, _)| {
                    let may_be_itself = is_told_here(socket.ip()) || self.may_be_here(socket.ip());
                    let to_itself = may_be_itself && socket.ip() == self.packet.source;
                    (socket, self.source_nat(service, frontend, socket, to_itself))
                };
                Outcome::Balanced {
                    endpoints: chosen.0.into_iter().map(with_source).collect(),
                    affinity: match service.affinity {
                        Affinity::None => None,
                        Affinity::ClientIp { timeout } => Some(timeout),
                    },
                }
            }
        };
        let (service, port) = (service.name.clone(), port.name.clone());
        Verdict { outcome, by: Reason::Service { service, port, frontend, scope, selection: chosen.1 } }
    }

    /// Whether the packet comes from one of the Service's source ranges.
    fn is_client(&self, service: &Service) -> bool {
        let Clients::Within(ranges) = &service.clients else { return true };
        let may = |address: IpAddr| ranges.iter().any(|range| range.contains(&address));
        // A node that has the load balancer's address sends from it what it sends to it.
        let is_from_balancer = match &service.kind {
            ServiceKind::Virtual { load_balancer_ips, .. } => load_balancer_ips.contains(&self.packet.source),
            _ => false,
        };
        let family = IpFamily::of(self.packet.source);
        may(self.packet.source)
            || (is_from_balancer && self.told_addresses().any(|own| IpFamily::of(own) == family && may(own)))
    }

    /// All endpoints of a Service port in the packet's family, with the sockets they serve it at.
    fn endpoints(&self, service: &Service, port: &ServicePort) -> Vec<(SocketAddr, &Endpoint)> {
        let mut endpoints = Vec::new();
        let family = IpFamily::of(self.packet.destination);
        for slice in self.cluster.served_slices_of(&service.name, family) {
            for target in &slice.ports {
                if target.name == port.name && target.protocol == port.protocol {
                    let sockets = slice.endpoints.iter();
                    endpoints.extend(sockets.map(|each| (SocketAddr::new(each.address, target.port.get()), each)));
                }
            }
        }
        endpoints
    }

    /// Of ready endpoints those whose hints name this node, or else its zone. Hints count when every ready endpoint has
    /// some and one is for this node or zone.
    fn near<'a>(&self, (endpoints, selection): Selected<'a>) -> Selected<'a> {
        if selection != Selection::Ready {
            return (endpoints, selection);
        }
        let zone = self.cluster.nodes.get(&self.view.name).and_then(|node| node.zone());
        type Hints = fn(&Endpoint) -> &Vec<Name>;
        let kinds: [(Selection, Option<&Name>, Hints); 2] = [
            (Selection::SameNode, Some(&self.view.name), |endpoint| &endpoint.for_nodes),
            (Selection::SameZone, zone, |endpoint| &endpoint.for_zones),
        ];
        for (selection, place, hints) in kinds {
            let is_meant = |endpoint: &Endpoint| place.is_some_and(|place| hints(endpoint).contains(place));
            let all_have_hints = endpoints.iter().all(|(_, endpoint)| !hints(endpoint).is_empty());
            let near: Vec<_> = endpoints.iter().copied().filter(|(_, endpoint)| is_meant(endpoint)).collect();
            if all_have_hints && !near.is_empty() {
                return (near, selection);
            }
        }
        (endpoints, selection)
    }

    /// Whether any endpoint may serve this client, or only those on this node.
    fn scope(&self, service: &Service, frontend: FrontendKind) -> Scope {
        let local = match frontend {
            FrontendKind::ClusterIp => service.internal_policy == TrafficPolicy::Local,
            // This node and its pods are on their way out, not coming in: they meet all endpoints, as without the policy.
            _ => service.external_policy == TrafficPolicy::Local && !self.is_of_this_node(self.packet.source),
        };
        if local { Scope::Node } else { Scope::Cluster }
    }

    fn source_nat(&self, service: &Service, frontend: FrontendKind, socket: SocketAddr, to_itself: bool) -> SourceNat {
        let delivered_here = self.packet.entered != Entry::Host && self.is_own(socket.ip());
        let by_frontend = match (frontend, service.external_policy) {
            // Answers to a client that is neither pod nor node must come back this way.
            (FrontendKind::ClusterIp, _) => !self.is_in_cluster(self.packet.source),
            (_, TrafficPolicy::Cluster) => true,
            // An endpoint on another node might answer these directly, or not know the way to them.
            (_, TrafficPolicy::Local) => {
                let is_told_by_address = self.view.pod_addresses == PodAddresses::NodeRanges;
                self.is_own(self.packet.source) || (!is_told_by_address && self.is_pod(self.packet.source))
            }
        };
        let leaves = self.leaves_cluster(socket.ip()) || self.is_own_in_tunnel(socket.ip());
        if !delivered_here && (to_itself || by_frontend || leaves) { SourceNat::Masqueraded } else { SourceNat::Kept }
    }

    /// Whether a pod's packet to `destination` is for something that does not know pods.
    fn leaves_cluster(&self, destination: IpAddr) -> bool {
        self.is_pod(self.packet.source) && !self.is_in_cluster(destination) && !self.is_own(destination)
    }

    /// Whether the packet has an address of this node's by which no answer comes back from a pod behind the tunnel.
    fn is_own_in_tunnel(&self, pod: IpAddr) -> bool {
        let told = self.cluster.nodes.get(&self.view.name);
        let mut on_tunnel = told.into_iter().flat_map(|own| own.pod_cidrs.iter().map(ipnet::IpNet::network));
        let family = IpFamily::of(pod);
        self.is_own(self.packet.source)
            && on_tunnel.clone().any(|address| IpFamily::of(address) == family)
            && !on_tunnel.any(|address| address == self.packet.source)
            && self.is_tunnelled(pod)
    }

    /// Whether an address is a pod's of a node behind the tunnel.
    fn is_tunnelled(&self, pod: IpAddr) -> bool {
        let holds = |node: &&Node| node.pod_cidrs.iter().any(|range| range.contains(&pod));
        let holder = self.other_nodes().find(holds);
        !self.may_be_here(pod) && holder.is_some_and(|node| self.is_reached_by_tunnel(node, IpFamily::of(pod)))
    }

    /// The addresses this node's Node object tells.
    fn told_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.cluster.nodes.get(&self.view.name).into_iter().flat_map(|node| node.addresses.iter().copied())
    }

    /// Whether an address is this node's, told or on one of its links.
    fn is_own(&self, address: IpAddr) -> bool {
        self.told_addresses().any(|own| own == address) || self.view.link_addresses.contains(&address)
    }

    fn serves_node_ports(&self, address: IpAddr) -> bool {
        self.is_own(address)
            && match &self.view.node_port_addresses {
                NodePortAddresses::All => true,
                NodePortAddresses::Primary => self.told_addresses().any(|own| own == address),
                NodePortAddresses::Within(ranges) => ranges.iter().any(|range| range.contains(&address)),
            }
    }

    fn is_pod(&self, address: IpAddr) -> bool {
        let ranges = self.cluster.nodes.values().flat_map(|node| &node.pod_cidrs);
        ranges.chain(&self.view.pod_ranges).any(|range| range.contains(&address))
    }

    /// Whether an address is this node's or, as far as it tells, one of its pods'.
    fn is_of_this_node(&self, address: IpAddr) -> bool {
        let own = self.cluster.nodes.get(&self.view.name);
        let is_of_own_pod = match self.view.pod_addresses {
            PodAddresses::NodeRanges => {
                own.is_some_and(|node| node.pod_cidrs.iter().any(|range| range.contains(&address)))
            }
            PodAddresses::AnyRange => self.is_pod(address),
        };
        is_of_own_pod || self.is_own(address)
    }

    fn is_in_cluster(&self, address: IpAddr) -> bool {
        self.is_pod(address)
            || self.is_node_that_knows_pods(address)
            || self.view.service_ranges.iter().any(|range| range.contains(&address))
    }

    /// Whether an address is a node's, and packets of pods get there under their own addresses: the network on the way to
    /// a node that needs the tunnel does not know them.
    fn is_node_that_knows_pods(&self, address: IpAddr) -> bool {
        let routing = &self.view.routing;
        let is_near = match routing.mode {
            RoutingMode::Native => true,
            RoutingMode::Vxlan => false,
            RoutingMode::Auto => routing.networks.iter().any(|network| {
                // Both must be known by addresses there.
                let has = |address: IpAddr| network.address.contains(&address);
                has(address) && self.told_addresses().any(has)
            }),
        };
        let mut holders = self.cluster.nodes.values().filter(|node| node.addresses.contains(&address));
        holders.any(|node| is_near || node.name == self.view.name)
    }

    /// Whether the packet, once it gets to `end`, would be unpacked by a node's end of the tunnel.
    fn is_for_tunnel(&self, end: SocketAddr) -> bool {
        self.packet.entered != Entry::Host && self.is_tunnel_end(end)
    }

    /// Whether the packet's protocol and a socket are those at which a node's end of the tunnel receives.
    fn is_tunnel_end(&self, end: SocketAddr) -> bool {
        let Some(family) = self.tunnel_family() else { return false };
        (self.packet.protocol, end.port()) == (Protocol::Udp, self.view.routing.tunnel_port.get())
            && IpFamily::of(end.ip()) == family
            && (self.is_own(end.ip()) || self.is_of_other_node(end.ip()))
            && self.other_nodes().any(|node| {
                node.pod_cidrs.iter().any(|range| self.is_reached_by_tunnel(node, IpFamily::of(range.network())))
            })
    }

    /// The family of the packets the tunnel is made of; none while this node has no address.
    fn tunnel_family(&self) -> Option<IpFamily> {
        let mut families = [IpFamily::V4, IpFamily::V6].into_iter();
        families.find(|family| self.told_addresses().any(|own| IpFamily::of(own) == *family))
    }

    /// Whether pods of another node and of a family are reached through the tunnel.
    fn is_reached_by_tunnel(&self, node: &Node, pods: IpFamily) -> bool {
        let has = |family| node.addresses.iter().any(|address| IpFamily::of(*address) == family);
        let is_near = |address: &IpAddr| self.is_node_that_knows_pods(*address);
        let is_plain = node.addresses.iter().any(|address| IpFamily::of(*address) == pods && is_near(address));
        self.view.routing.mode != RoutingMode::Native && self.tunnel_family().is_some_and(has) && !is_plain
    }

    fn other_nodes(&self) -> impl Iterator<Item = &Node> {
        self.cluster.nodes.values().map(AsRef::as_ref).filter(|node| node.name != self.view.name)
    }

    fn is_of_other_node(&self, address: IpAddr) -> bool {
        self.other_nodes().any(|node| node.addresses.contains(&address))
    }

    /// Whether an address may be one of this node or of its pods.
    fn may_be_here(&self, address: IpAddr) -> bool {
        let own = self.cluster.nodes.get(&self.view.name).map(|node| &node.pod_cidrs);
        let ranges = own.filter(|ranges| !ranges.is_empty()).unwrap_or(&self.view.pod_ranges);
        self.told_addresses().any(|own| own == address) || ranges.iter().any(|range| range.contains(&address))
    }

    fn is_here(&self, endpoint: &Endpoint) -> bool {
        endpoint.node.as_ref() == Some(&self.view.name)
    }
}

/// Endpoints with the sockets they serve at, and what they were chosen for.
type Selected<'a> = (Vec<(SocketAddr, &'a Endpoint)>, Selection);

/// The ready endpoints, or when there is none those that serve while they terminate (KEP-1669).
fn select<'a>(service: &Service, endpoints: &[(SocketAddr, &'a Endpoint)]) -> Selected<'a> {
    let ready: Vec<_> =
        endpoints.iter().copied().filter(|(_, endpoint)| endpoint.ready || service.publish_not_ready).collect();
    if !ready.is_empty() {
        return (ready, Selection::Ready);
    }
    let terminating: Vec<_> =
        endpoints.iter().copied().filter(|(_, endpoint)| endpoint.serving && endpoint.terminating).collect();
    let selection = if terminating.is_empty() { Selection::None } else { Selection::Terminating };
    (terminating, selection)
}
