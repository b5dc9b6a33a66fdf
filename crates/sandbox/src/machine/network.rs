//! The underlay: a bridge in the sandbox's own network namespace and a cable from it into every node.

use std::net::{IpAddr, Ipv4Addr};

use datapath::NetlinkError;
use datapath::netns::NetnsError;
use datapath::route::{Bridge, LinkIndex, Route, RouteError, Rtnetlink, Veth, VethEnd};
use datapath::sysctl::{self, SysctlError};
use ipnet::{IpNet, Ipv4Net};

use super::node_namespaces::NodeNamespaces;
use super::spec::Spec;

/// The address of the bridge: the nodes' gateway, the place from which "outside the cluster" is seen, and where the API
/// server listens for them.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 254);
const BRIDGE: &str = "underlay";
/// The nodes' interface, named as on most machines.
const NODE_INTERFACE: &str = "eth0";
const LOOPBACK: &str = "lo";
/// What an Ethernet between machines carries.
const MTU: u32 = 1500;

/// Why the underlay does not stand.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel cannot be talked to.
    #[error("cannot open a netlink socket")]
    Open(#[from] NetlinkError),
    /// A link, address or route was refused.
    #[error("cannot set up {what}")]
    Route {
        /// Which part.
        what: String,
        /// The cause.
        source: RouteError,
    },
    /// A setting was refused.
    #[error("cannot set up forwarding")]
    Setting(#[from] SysctlError),
    /// A node's namespace cannot be entered.
    #[error("cannot enter the network namespace of a node")]
    Enter(#[from] NetnsError),
}

/// The address of the node with this index, counted from zero.
pub fn node_address(index: usize) -> Ipv4Addr {
    let first = u32::from(Spec::UNDERLAY.network()) + 1;
    Ipv4Addr::from(first + u32::try_from(index).unwrap_or(u32::MAX - first))
}

/// Makes the bridge in this namespace and joins every node to it.
///
/// # Errors
/// The first part that was refused.
pub fn join_nodes(spec: &Spec, nodes: &[NodeNamespaces]) -> Result<(), NetworkError> {
    let mut here = Rtnetlink::open()?;
    let bridge =
        make_bridge(&mut here).map_err(|source| NetworkError::Route { what: "the underlay".into(), source })?;
    sysctl::write("ipv4/ip_forward", "1")?;
    for (index, node) in nodes.iter().enumerate() {
        let failed = |source| NetworkError::Route { what: format!("the link of {}", node.name()), source };
        plug_in(&mut here, bridge, index, node).map_err(failed)?;
        let mut there = Rtnetlink::open_in(node.network()).map_err(failed)?;
        configure(&mut there, node_address(index)).map_err(failed)?;
        node.network().run(|| sysctl::write("ipv4/ip_forward", "1"))??;
    }
    let services = Route::via(spec.service_cidr().into(), node_address(0).into(), bridge);
    let failed = |source| NetworkError::Route { what: "the way to Services".into(), source };
    here.replace_route(&services).map_err(failed)
}

fn make_bridge(here: &mut Rtnetlink) -> Result<LinkIndex, RouteError> {
    let loopback = here.require_link(LOOPBACK)?;
    here.set_up(loopback.index)?;
    let bridge = here.create_bridge(&Bridge { name: BRIDGE, mtu: MTU })?.index;
    here.add_address(bridge, on_underlay(GATEWAY))?;
    here.set_up(bridge)?;
    Ok(bridge)
}

fn plug_in(here: &mut Rtnetlink, bridge: LinkIndex, index: usize, node: &NodeNamespaces) -> Result<(), RouteError> {
    let name = format!("node{}", index + 1);
    let end = VethEnd { name: &name, mac: None, netns: None };
    let peer = VethEnd { name: NODE_INTERFACE, mac: None, netns: Some(node.network()) };
    let cable = here.create_veth(&Veth { end, peer, mtu: MTU })?;
    here.enslave(cable.index, bridge)?;
    here.set_up(cable.index)
}

fn configure(there: &mut Rtnetlink, address: Ipv4Addr) -> Result<(), RouteError> {
    let loopback = there.require_link(LOOPBACK)?;
    there.set_up(loopback.index)?;
    let interface = there.require_link(NODE_INTERFACE)?.index;
    there.add_address(interface, on_underlay(address))?;
    there.set_up(interface)?;
    let everywhere = IpNet::from(Ipv4Net::default());
    there.replace_route(&Route::via(everywhere, IpAddr::V4(GATEWAY), interface))
}

fn on_underlay(address: Ipv4Addr) -> IpNet {
    Ipv4Net::new_assert(address, Spec::UNDERLAY.prefix_len()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_count_up_from_the_first_address_of_the_underlay() {
        assert_eq!(node_address(0), Ipv4Addr::new(10, 89, 0, 1));
        assert_eq!(node_address(99), Ipv4Addr::new(10, 89, 0, 100));
        assert!(Spec::UNDERLAY.contains(&GATEWAY));
    }
}
