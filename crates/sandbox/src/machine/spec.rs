//! What a sandbox should look like.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::underlay;

/// Nodes that fit a network of the underlay beside its router.
const MAX_NODES: u8 = 100;
/// Networks the nodes may be spread over.
const MAX_NETWORKS: u8 = 9;

/// The shape of a sandbox as somebody asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Its name.
    pub name: String,
    /// How many nodes.
    pub nodes: u8,
    /// How many networks the nodes are spread over in turn, with a router between them that does not know pods.
    pub networks: u8,
    /// Where pods get addresses from: one range for each family, the preferred family first.
    pub pod_cidrs: Vec<IpNet>,
    /// Where Services get addresses from: one range for each family, in the same order.
    pub service_cidrs: Vec<IpNet>,
    /// Whether nothing leads from it to the host or back: no link, no names.
    #[serde(default)]
    pub isolated: bool,
}

/// The shape of a sandbox, validated: a name that is a DNS label, ranges of the same families that do not overlap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Spec(Shape);

/// Why a sandbox cannot look like that.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpec {
    /// The name is not a DNS label.
    #[error(
        "sandbox name {name:?} must be a DNS label of at most 30 letters: a-z, 0-9 and '-', starting with a letter"
    )]
    Name {
        /// The name given.
        name: String,
    },
    /// No or too many nodes.
    #[error("{nodes} nodes asked for; a sandbox has 1 to {MAX_NODES}")]
    Nodes {
        /// The number given.
        nodes: u8,
    },
    /// No or too many networks.
    #[error("{networks} networks asked for; the nodes of a sandbox are on 1 to {MAX_NETWORKS}")]
    Networks {
        /// The number given.
        networks: u8,
    },
    /// Not one range for each family.
    #[error(
        "{purpose} ranges must be one of IPv4, one of IPv6, or one of each, separated by a comma, the preferred first"
    )]
    Families {
        /// What the ranges are for.
        purpose: &'static str,
    },
    /// Pods and Services of different families.
    #[error(
        "pod and service ranges must be of the same families in the same order; set both --pod-cidr and --service-cidr"
    )]
    OtherFamilies,
    /// Two ranges share addresses.
    #[error(
        "{first_use} range {first} overlaps {second_use} range {second}; choose another with --pod-cidr or --service-cidr"
    )]
    Overlap {
        /// What the first range is for.
        first_use: &'static str,
        /// The first range.
        first: IpNet,
        /// What the second range is for.
        second_use: &'static str,
        /// The second range.
        second: IpNet,
    },
    /// The pod range is too small to give each node its part.
    #[error(
        "pod range {pod_cidr} has room for {room} nodes of a /{node_prefix} each, {nodes} are needed; \
         choose a larger --pod-cidr"
    )]
    PodRange {
        /// The range given.
        pod_cidr: IpNet,
        /// The prefix length of a node's part.
        node_prefix: u8,
        /// How many nodes fit.
        room: u32,
        /// How many are wanted.
        nodes: u8,
    },
    /// The service range is too small or too large.
    #[error("service range {service_cidr} must be between /12 and /28, of IPv6 between /108 and /124")]
    ServiceRange {
        /// The range given.
        service_cidr: IpNet,
    },
}

impl Default for Shape {
    /// Three nodes on one network, in IPv4.
    fn default() -> Self {
        Self {
            name: "fairway".to_owned(),
            nodes: 3,
            networks: 1,
            pod_cidrs: vec![Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16).into()],
            service_cidrs: vec![Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16).into()],
            isolated: false,
        }
    }
}

impl Spec {
    /// A validated shape.
    ///
    /// # Errors
    /// Says which part does not work and what would.
    pub fn new(mut shape: Shape) -> Result<Self, InvalidSpec> {
        for range in shape.pod_cidrs.iter_mut().chain(&mut shape.service_cidrs) {
            *range = range.trunc();
        }
        validate_name(&shape.name)?;
        if shape.nodes == 0 || shape.nodes > MAX_NODES {
            return Err(InvalidSpec::Nodes { nodes: shape.nodes });
        }
        if shape.networks == 0 || shape.networks > MAX_NETWORKS {
            return Err(InvalidSpec::Networks { networks: shape.networks });
        }
        validate_families(&shape)?;
        validate_sizes(&shape)?;
        validate_apart(&shape)?;
        Ok(Self(shape))
    }

    /// The sandbox's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Names of the nodes, `node1` first.
    pub fn node_names(&self) -> impl Iterator<Item = String> {
        (1..=self.0.nodes).map(|index| format!("node{index}"))
    }

    /// How many nodes.
    pub const fn nodes(&self) -> u8 {
        self.0.nodes
    }

    /// How many networks the nodes are on.
    pub const fn networks(&self) -> u8 {
        self.0.networks
    }

    /// The ranges pods get addresses from, one for each family, the preferred first.
    pub fn pod_cidrs(&self) -> &[IpNet] {
        &self.0.pod_cidrs
    }

    /// The ranges Services get addresses from, in the same order.
    pub fn service_cidrs(&self) -> &[IpNet] {
        &self.0.service_cidrs
    }

    /// Whether nothing leads from it to the host or back.
    pub const fn is_isolated(&self) -> bool {
        self.0.isolated
    }

    /// The prefix length of a node's part of a pod range.
    pub fn node_prefix(pod_cidr: &IpNet) -> u8 {
        if pod_cidr.addr().is_ipv4() { 24 } else { 64 }
    }

    /// The addresses of the node with this index, counted from zero; one for each family, the preferred first.
    pub fn node_addresses(&self, index: usize) -> Vec<IpAddr> {
        let (network, place) = self.place(index);
        self.of_families(|family| underlay::node(family, network, place).addr())
    }

    /// The network a node is on, and its place there, both counted from zero.
    pub(super) fn place(&self, index: usize) -> (u8, u8) {
        let index = u8::try_from(index).unwrap_or(MAX_NODES);
        (index % self.0.networks, index / self.0.networks)
    }

    /// The router's addresses on the first network; one for each family, the preferred first. It is the place from
    /// which "outside the cluster" is seen, and where the API server listens for nodes.
    pub fn gateways(&self) -> Vec<IpAddr> {
        self.of_families(|family| underlay::router(family, 0).addr())
    }

    /// The addresses for Services of type LoadBalancer, as first and last; on the first network, one range for each
    /// family.
    pub fn load_balancer_ranges(&self) -> Vec<(IpAddr, IpAddr)> {
        self.of_families(|family| underlay::load_balancers(family, 0))
    }

    /// The addresses of the Service `kubernetes`: the first of each service range.
    pub fn kubernetes_services(&self) -> Vec<IpAddr> {
        self.0.service_cidrs.iter().map(|range| nth(range, 1)).collect()
    }

    /// The address of the Service `kube-dns`: the tenth of the preferred service range, as everybody has it.
    pub fn dns_service(&self) -> IpAddr {
        nth(&self.0.service_cidrs[0], 10)
    }

    /// Something for each family, the preferred first.
    pub(super) fn of_families<T>(&self, make: impl Fn(underlay::Family) -> T) -> Vec<T> {
        self.0.pod_cidrs.iter().map(|range| make(underlay::Family::of(range))).collect()
    }
}

fn nth(range: &IpNet, index: u8) -> IpAddr {
    match range.network() {
        IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits() + u32::from(index)).into(),
        IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits() + u128::from(index)).into(),
    }
}

fn validate_families(shape: &Shape) -> Result<(), InvalidSpec> {
    let families = |ranges: &[IpNet]| ranges.iter().map(underlay::Family::of).collect::<Vec<_>>();
    for (purpose, ranges) in [("pod", &shape.pod_cidrs), ("service", &shape.service_cidrs)] {
        let is_good = match families(ranges)[..] {
            [_] => true,
            [first, second] => first != second,
            _ => false,
        };
        if !is_good {
            return Err(InvalidSpec::Families { purpose });
        }
    }
    if families(&shape.pod_cidrs) == families(&shape.service_cidrs) { Ok(()) } else { Err(InvalidSpec::OtherFamilies) }
}

fn validate_sizes(shape: &Shape) -> Result<(), InvalidSpec> {
    for pod_cidr in shape.pod_cidrs.iter().copied() {
        let (node_prefix, nodes) = (Spec::node_prefix(&pod_cidr), shape.nodes);
        let room = node_prefix.checked_sub(pod_cidr.prefix_len()).map_or(0, |bits| 1u32 << bits.min(31));
        if room < u32::from(nodes) {
            return Err(InvalidSpec::PodRange { pod_cidr, node_prefix, room, nodes });
        }
    }
    for service_cidr in shape.service_cidrs.iter().copied() {
        let host_bits = service_cidr.max_prefix_len() - service_cidr.prefix_len();
        if !(4..=20).contains(&host_bits) {
            return Err(InvalidSpec::ServiceRange { service_cidr });
        }
    }
    Ok(())
}

fn validate_apart(shape: &Shape) -> Result<(), InvalidSpec> {
    let pods = shape.pod_cidrs.iter().map(|range| ("pod", *range));
    let services = shape.service_cidrs.iter().map(|range| ("service", *range));
    let ranges: Vec<_> = pods.chain(services).chain(underlay::RANGES.map(|range| ("underlay", range))).collect();
    for (index, (first_use, first)) in ranges.iter().copied().enumerate() {
        for (second_use, second) in ranges[index + 1..].iter().copied() {
            if first.contains(&second) || second.contains(&first) {
                return Err(InvalidSpec::Overlap { first_use, first, second_use, second });
            }
        }
    }
    Ok(())
}

fn validate_name(name: &str) -> Result<(), InvalidSpec> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let valid = name.len() <= 30
        && name.bytes().all(allowed)
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-');
    if valid { Ok(()) } else { Err(InvalidSpec::Name { name: name.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn shape(pods: &[&str], services: &[&str]) -> Shape {
        Shape { pod_cidrs: nets(pods), service_cidrs: nets(services), ..Shape::default() }
    }

    #[test]
    fn a_shape_names_its_nodes_and_service_addresses() {
        let spec = Spec::new(Shape::default()).unwrap();
        assert_eq!(spec.node_names().collect::<Vec<_>>(), ["node1", "node2", "node3"]);
        assert_eq!(spec.kubernetes_services(), ["10.96.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(spec.dns_service(), "10.96.0.10".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn nodes_are_spread_over_the_networks_in_turn() {
        let spec = |networks| Spec::new(Shape { networks, ..Shape::default() }).unwrap();
        let addresses = |spec: Spec| (0..3).map(|index| spec.node_addresses(index)[0].to_string()).collect::<Vec<_>>();
        assert_eq!(addresses(spec(1)), ["10.89.0.1", "10.89.0.2", "10.89.0.3"]);
        assert_eq!(addresses(spec(2)), ["10.89.0.1", "10.89.1.1", "10.89.0.2"]);
        assert_eq!(Spec::new(Shape { networks: 0, ..Shape::default() }), Err(InvalidSpec::Networks { networks: 0 }));
    }

    #[test]
    fn everything_has_an_address_of_each_family_in_the_order_of_the_ranges() {
        let spec = Spec::new(shape(&["fd00:10:244::/56", "10.244.0.0/16"], &["fd00:10:96::/112", "10.96.0.0/16"]));
        let spec = spec.unwrap();
        let texts = |addresses: Vec<IpAddr>| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(spec.node_addresses(1)), ["fd00:10:89::2", "10.89.0.2"]);
        assert_eq!(texts(spec.gateways()), ["fd00:10:89::fe", "10.89.0.254"]);
        assert_eq!(texts(spec.kubernetes_services()), ["fd00:10:96::1", "10.96.0.1"]);
        assert_eq!(texts(vec![spec.dns_service()]), ["fd00:10:96::a"]);
    }

    #[test]
    fn families_must_be_different_and_the_same_for_pods_and_services() {
        let refused = |pods: &[&str], services: &[&str]| Spec::new(shape(pods, services)).unwrap_err();
        let (v4, v6) = ("10.96.0.0/16", "fd00:10:96::/112");
        assert_eq!(refused(&["10.244.0.0/17", "10.245.0.0/17"], &[v4]), InvalidSpec::Families { purpose: "pod" });
        assert_eq!(refused(&["10.244.0.0/16"], &[]), InvalidSpec::Families { purpose: "service" });
        assert_eq!(refused(&["10.244.0.0/16"], &[v6]), InvalidSpec::OtherFamilies);
        assert_eq!(refused(&["10.244.0.0/16", "fd00:10:244::/56"], &[v6, v4]), InvalidSpec::OtherFamilies);
    }

    #[test]
    fn host_bits_of_a_range_are_ignored() {
        let spec = Spec::new(shape(&["10.244.3.4/16"], &["10.96.0.0/16"])).unwrap();
        assert_eq!(spec.pod_cidrs(), nets(&["10.244.0.0/16"]));
    }

    #[test]
    fn overlapping_ranges_are_refused_by_name() {
        let error = Spec::new(shape(&["10.96.0.0/16"], &["10.96.128.0/20"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "pod range 10.96.0.0/16 overlaps service range 10.96.128.0/20; choose another with --pod-cidr or --service-cidr"
        );
        let underlay = Spec::new(shape(&["10.244.0.0/16"], &["10.89.0.0/16"])).unwrap_err();
        assert!(matches!(underlay, InvalidSpec::Overlap { second_use: "underlay", .. }));
    }

    #[test]
    fn every_node_needs_its_part_of_a_pod_range() {
        let error = Spec::new(shape(&["10.244.0.0/23"], &["10.96.0.0/16"])).unwrap_err();
        let pod_cidr = nets(&["10.244.0.0/23"])[0];
        assert_eq!(error, InvalidSpec::PodRange { pod_cidr, node_prefix: 24, room: 2, nodes: 3 });
        let error = Spec::new(shape(&["fd00:10:244::/64"], &["fd00:10:96::/112"])).unwrap_err();
        assert!(matches!(error, InvalidSpec::PodRange { node_prefix: 64, room: 1, .. }));
        let error = Spec::new(shape(&["fd00:10:244::/56"], &["fd00:10:96::/64"])).unwrap_err();
        assert!(matches!(error, InvalidSpec::ServiceRange { .. }));
    }

    #[test]
    fn names_that_are_no_dns_labels_are_refused() {
        for name in ["", "Upper", "1st", "under_score", "end-", "a-name-longer-than-thirty-letters-is"] {
            let outcome = Spec::new(Shape { name: name.to_owned(), ..Shape::default() });
            assert_eq!(outcome, Err(InvalidSpec::Name { name: name.to_owned() }));
        }
    }
}
