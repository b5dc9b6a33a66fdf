//! The underlay: a bridge for each network in the sandbox's own network namespace, and a cable from it into every node of
//! that network. The namespace is the router between the networks.

use datapath::NetlinkError;
use datapath::netns::NetnsError;
use datapath::route::{Bridge, LinkIndex, Route, RouteError, Rtnetlink, Veth, VethEnd};
use datapath::sysctl::{self, SysctlError};

use super::node_namespaces::NodeNamespaces;
use super::spec::Spec;
use super::underlay::{self, Family};

/// The bridge of the first network; the others have a number behind it, from 2.
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

/// Makes the bridges in this namespace and joins every node to that of its network.
///
/// # Errors
/// The first part that was refused.
pub fn join_nodes(spec: &Spec, nodes: &[NodeNamespaces]) -> Result<(), NetworkError> {
    let mut here = Rtnetlink::open()?;
    let bridges = make_bridges(&mut here, spec);
    let bridges = bridges.map_err(|source| NetworkError::Route { what: "the underlay".into(), source })?;
    set_up_router(spec)?;
    for (index, node) in nodes.iter().enumerate() {
        let failed = |source| NetworkError::Route { what: format!("the link of {}", node.name()), source };
        let bridge = bridges[usize::from(spec.place(index).0)];
        plug_in(&mut here, bridge, index, node).map_err(failed)?;
        let mut there = Rtnetlink::open_in(node.network()).map_err(failed)?;
        configure(&mut there, spec, index).map_err(failed)?;
        node.network().run(|| forward(spec))??;
    }
    for (range, node) in spec.service_cidrs().iter().zip(spec.node_addresses(0)) {
        let failed = |source| NetworkError::Route { what: "the way to Services".into(), source };
        here.replace_route(&Route::via(*range, node, bridges[0])).map_err(failed)?;
    }
    Ok(())
}

fn make_bridges(here: &mut Rtnetlink, spec: &Spec) -> Result<Vec<LinkIndex>, RouteError> {
    let loopback = here.require_link(LOOPBACK)?;
    here.set_up(loopback.index)?;
    (0..spec.networks()).map(|network| make_bridge(here, spec, network)).collect()
}

fn make_bridge(here: &mut Rtnetlink, spec: &Spec, network: u8) -> Result<LinkIndex, RouteError> {
    let name = if network == 0 { BRIDGE.to_owned() } else { format!("{BRIDGE}{}", network + 1) };
    let bridge = here.create_bridge(&Bridge { name: &name, mtu: MTU })?.index;
    for address in spec.of_families(|family| underlay::router(family, network)) {
        here.add_address(bridge, address)?;
    }
    here.set_up(bridge)?;
    Ok(bridge)
}

/// Lets this namespace pass packets on, but between several networks none under addresses it has no route to, such as
/// those of pods: as routers of clouds do.
fn set_up_router(spec: &Spec) -> Result<(), SysctlError> {
    forward(spec)?;
    if spec.networks() > 1 {
        sysctl::write("ipv4/conf/all/rp_filter", "1")?;
    }
    Ok(())
}

fn forward(spec: &Spec) -> Result<(), SysctlError> {
    spec.of_families(Family::forwarding).into_iter().try_for_each(|key| sysctl::write(key, "1"))
}

fn plug_in(here: &mut Rtnetlink, bridge: LinkIndex, index: usize, node: &NodeNamespaces) -> Result<(), RouteError> {
    let name = format!("node{}", index + 1);
    let end = VethEnd { name: &name, mac: None, netns: None };
    let peer = VethEnd { name: NODE_INTERFACE, mac: None, netns: Some(node.network()) };
    let cable = here.create_veth(&Veth { end, peer, mtu: MTU })?;
    here.enslave(cable.index, bridge)?;
    here.set_up(cable.index)
}

fn configure(there: &mut Rtnetlink, spec: &Spec, index: usize) -> Result<(), RouteError> {
    let loopback = there.require_link(LOOPBACK)?;
    there.set_up(loopback.index)?;
    let interface = there.require_link(NODE_INTERFACE)?.index;
    there.set_up(interface)?;
    let (network, place) = spec.place(index);
    let addresses = spec.of_families(|family| (family, underlay::node(family, network, place)));
    for (family, address) in addresses {
        there.add_address(interface, address)?;
        let router = underlay::router(family, network).addr();
        there.replace_route(&Route::via(family.everywhere(), router, interface))?;
    }
    Ok(())
}
