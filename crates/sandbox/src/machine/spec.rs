//! What a sandbox should look like.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

/// Nodes that fit the underlay's /24 beside the bridge.
const MAX_NODES: u8 = 100;

/// The shape of a sandbox, validated: a name that is a DNS label, ranges that do not overlap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    name: String,
    nodes: u8,
    pod_cidr: Ipv4Net,
    service_cidr: Ipv4Net,
}

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
    /// The pod range is too small to give each node a /24.
    #[error(
        "pod range {pod_cidr} has room for {room} nodes of a /{} each, {nodes} are needed; choose a larger --pod-cidr",
        Spec::NODE_PREFIX
    )]
    PodRange {
        /// The range given.
        pod_cidr: Ipv4Net,
        /// How many nodes fit.
        room: u32,
        /// How many are wanted.
        nodes: u8,
    },
    /// The service range is too small or too large.
    #[error("service range {service_cidr} must be between /12 and /28")]
    ServiceRange {
        /// The range given.
        service_cidr: Ipv4Net,
    },
}

impl Spec {
    /// A node takes a /24 of the pod range.
    pub const NODE_PREFIX: u8 = 24;

    /// The underlay that joins the nodes; the same in every sandbox, since each has a network of its own.
    pub const UNDERLAY: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 89, 0, 0), 24);

    /// A validated shape.
    ///
    /// # Errors
    /// Says which part does not work and what would.
    pub fn new(name: &str, nodes: u8, pod_cidr: Ipv4Net, service_cidr: Ipv4Net) -> Result<Self, InvalidSpec> {
        let (pod_cidr, service_cidr) = (pod_cidr.trunc(), service_cidr.trunc());
        validate_name(name)?;
        if nodes == 0 || nodes > MAX_NODES {
            return Err(InvalidSpec::Nodes { nodes });
        }
        let room = Self::NODE_PREFIX.checked_sub(pod_cidr.prefix_len()).map_or(0, |bits| 1u32 << bits.min(31));
        if room < u32::from(nodes) {
            return Err(InvalidSpec::PodRange { pod_cidr, room, nodes });
        }
        if !(12..=28).contains(&service_cidr.prefix_len()) {
            return Err(InvalidSpec::ServiceRange { service_cidr });
        }
        let ranges = [("pod", pod_cidr), ("service", service_cidr), ("underlay", Self::UNDERLAY)];
        for (index, (first_use, first)) in ranges.iter().enumerate() {
            for (second_use, second) in &ranges[index + 1..] {
                if overlap(first, second) {
                    let (first, second) = (IpNet::from(*first), IpNet::from(*second));
                    return Err(InvalidSpec::Overlap { first_use, first, second_use, second });
                }
            }
        }
        Ok(Self { name: name.to_owned(), nodes, pod_cidr, service_cidr })
    }

    /// The sandbox's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of the nodes, `node1` first.
    pub fn node_names(&self) -> impl Iterator<Item = String> {
        (1..=self.nodes).map(|index| format!("node{index}"))
    }

    /// How many nodes.
    pub const fn nodes(&self) -> u8 {
        self.nodes
    }

    /// The range pods get addresses from; every node takes a /24 of it.
    pub const fn pod_cidr(&self) -> Ipv4Net {
        self.pod_cidr
    }

    /// The range Services get addresses from.
    pub const fn service_cidr(&self) -> Ipv4Net {
        self.service_cidr
    }

    /// The address of the Service `kubernetes`: the first of the service range.
    pub fn kubernetes_service(&self) -> IpAddr {
        self.service_address(1)
    }

    /// The address of the Service `kube-dns`: the tenth of the service range, as everybody has it.
    pub fn dns_service(&self) -> IpAddr {
        self.service_address(10)
    }

    fn service_address(&self, index: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(u32::from(self.service_cidr.network()) + index))
    }
}

fn overlap(first: &Ipv4Net, second: &Ipv4Net) -> bool {
    first.contains(&second.network()) || second.contains(&first.network())
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

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn a_shape_names_its_nodes_and_service_addresses() {
        let spec = Spec::new("fairway", 3, net("10.244.0.0/16"), net("10.96.0.0/16")).unwrap();
        assert_eq!(spec.node_names().collect::<Vec<_>>(), ["node1", "node2", "node3"]);
        assert_eq!(spec.kubernetes_service(), "10.96.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(spec.dns_service(), "10.96.0.10".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn host_bits_of_a_range_are_ignored() {
        let spec = Spec::new("x", 1, net("10.244.3.4/16"), net("10.96.0.0/16")).unwrap();
        assert_eq!(spec.pod_cidr(), net("10.244.0.0/16"));
    }

    #[test]
    fn overlapping_ranges_are_refused_by_name() {
        let error = Spec::new("x", 1, net("10.96.0.0/16"), net("10.96.128.0/20")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "pod range 10.96.0.0/16 overlaps service range 10.96.128.0/20; choose another with --pod-cidr or --service-cidr"
        );
        let underlay = Spec::new("x", 1, net("10.244.0.0/16"), net("10.89.0.0/16")).unwrap_err();
        assert!(matches!(underlay, InvalidSpec::Overlap { second_use: "underlay", .. }));
    }

    #[test]
    fn every_node_needs_a_24_of_the_pod_range() {
        let error = Spec::new("x", 3, net("10.244.0.0/23"), net("10.96.0.0/16")).unwrap_err();
        assert_eq!(error, InvalidSpec::PodRange { pod_cidr: net("10.244.0.0/23"), room: 2, nodes: 3 });
    }

    #[test]
    fn names_that_are_no_dns_labels_are_refused() {
        for name in ["", "Upper", "1st", "under_score", "end-", "a-name-longer-than-thirty-letters-is"] {
            let outcome = Spec::new(name, 1, net("10.244.0.0/16"), net("10.96.0.0/16"));
            assert_eq!(outcome, Err(InvalidSpec::Name { name: name.to_owned() }));
        }
    }
}
