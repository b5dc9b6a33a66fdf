//! The way from the host's own network into the sandbox, for those who may make one: a veth pair between the host's
//! namespace and the sandbox's router, and routes to the networks of the nodes.
//!
//! The pair ends with the sandbox's namespace and takes its address and its routes along, so there is nothing to undo.
//! What the host has is left alone: a range it has a way to is not routed. Pods' and Services' ranges are not routed
//! either: they are the same in nearly every cluster, and a machine that is a node of one answers for the latter without
//! a route or address that would show it.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use datapath::netns::NetnsError;
use datapath::route::{LinkIndex, Route, RouteError, Rtnetlink, Veth, VethEnd};
use datapath::{NetlinkError, Netns};
use ipnet::IpNet;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::record::{Record, StateDir};
use super::spec::Spec;
use super::underlay::{self, Family};

/// The host's ends are called so, with a number behind it. Not with the prefix by which a node's agent knows its own.
const PREFIX: &str = "fairway";
/// How many names are tried.
const NAMES: u8 = 100;
/// The other end, in the sandbox's network.
const INNER: &str = "host";
/// What the `ifalias` begins with; the state directory follows.
const ALIAS: &str = "sandbox ";
const MTU: u32 = 1500;
/// How long the pair may take until it carries packets.
const PATIENCE: Duration = Duration::from_secs(1);
/// Routes as wide as this are the way to everywhere, which VPNs write as two halves.
const EVERYWHERE: u8 = 1;

/// What leads from the host into a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLink {
    /// The link on the host.
    pub name: String,
    /// Where its routes lead; never empty.
    pub ranges: Vec<IpNet>,
}

/// What became of the wish to reach a sandbox directly.
#[derive(Debug, Default)]
pub struct HostConnection {
    /// The link, if anything is routed.
    pub link: Option<HostLink>,
    /// The ranges that are not, and why.
    pub left_out: Vec<NotRouted>,
}

/// Why a range of the sandbox is not reached directly from the host.
#[derive(Debug, thiserror::Error)]
pub enum NotRouted {
    /// The host has a use for its addresses.
    #[error("{range} overlaps {taken}, which this machine has a way to{}", link.as_ref().map(|name| format!(" ({name})")).unwrap_or_default())]
    Taken {
        /// The range of the sandbox.
        range: IpNet,
        /// The destination of the host.
        taken: IpNet,
        /// The link it is reached by.
        link: Option<String>,
    },
    /// The kernel refuses, as where a family is switched off.
    #[error("{range} cannot be routed by this machine")]
    Refused {
        /// The range of the sandbox.
        range: IpNet,
        /// The cause.
        source: RouteError,
    },
    /// The route is there, and rules of the host choose another one.
    #[error("{range} is sent elsewhere by this machine's routing rules")]
    Overruled {
        /// The range of the sandbox.
        range: IpNet,
    },
}

/// Why there is no link at all.
#[derive(Debug, thiserror::Error)]
pub enum HostLinkError {
    /// This user may not make links here.
    #[error("only who administers this machine's network (root, CAP_NET_ADMIN) may add a link to it")]
    NotPermitted,
    /// The kernel cannot be talked to.
    #[error("cannot open a netlink socket")]
    Open(#[from] NetlinkError),
    /// The sandbox's network cannot be found.
    #[error("cannot find the sandbox's network")]
    Sandbox(#[from] NetnsError),
    /// A link or route was refused.
    #[error("cannot join this machine's network with the sandbox's")]
    Refused(#[from] RouteError),
    /// All names are taken.
    #[error("the names {PREFIX}0 to {PREFIX}{} are all taken; remove some links", NAMES - 1)]
    Names,
}

/// Joins the calling process's network with that of the sandbox `record` is about.
///
/// # Errors
/// When there cannot be a link; nothing is left of it then.
pub fn connect_host(state: &StateDir, record: &Record) -> Result<HostConnection, HostLinkError> {
    let mut here = Rtnetlink::open()?;
    let Plan { ways, mut left_out } = plan(&record.spec, &taken(&mut here)?);
    if ways.is_empty() {
        return Ok(HostConnection { link: None, left_out });
    }
    let sandbox = Netns::open(Path::new(&format!("/proc/{}/ns/net", record.supervisor)))?;
    let (name, link) = create(&mut here, &sandbox)?;
    let routed = here.set_alias(link, &alias(state)).map_err(HostLinkError::from).and_then(|()| {
        let mut there = Rtnetlink::open_in(&sandbox)?;
        Ok(route_all(&mut here, &mut there, (&name, link), &ways, &mut left_out)?)
    });
    let ranges = routed.inspect_err(|_| undo(&mut here, link))?;
    if ranges.is_empty() {
        undo(&mut here, link);
        return Ok(HostConnection { link: None, left_out });
    }
    Ok(HostConnection { link: Some(HostLink { name, ranges }), left_out })
}

impl HostLink {
    /// Whether packets of the calling process to `address` go into the sandbox by this link.
    pub fn leads_to(&self, state: &StateDir, address: IpAddr) -> bool {
        let leads = || {
            let mut here = Rtnetlink::open().ok()?;
            let link = here.link(&self.name).ok()??;
            let way = here.link_out_to(address).ok()??;
            Some(link.alias == Some(alias(state)) && way == link.index)
        };
        leads().unwrap_or(false)
    }

    /// Takes the link away at once, where the kernel would do so a moment after the end of the sandbox.
    pub(super) fn remove(&self, state: &StateDir) {
        let remove = || {
            let mut here = Rtnetlink::open().ok()?;
            let link = here.link(&self.name).ok()??;
            (link.alias == Some(alias(state))).then(|| undo(&mut here, link.index))
        };
        // What cannot be taken away here is not in this namespace, or not ours.
        let _ = remove();
    }
}

fn alias(state: &StateDir) -> String {
    format!("{ALIAS}{}", state.path().display())
}

/// The ways into one family's networks.
#[derive(Debug, PartialEq, Eq)]
struct Ways {
    family: Family,
    networks: Vec<IpNet>,
}

#[derive(Debug)]
struct Plan {
    ways: Vec<Ways>,
    left_out: Vec<NotRouted>,
}

/// What can be routed beside what is taken. Without its own ends' addresses a family has no way at all.
fn plan(spec: &Spec, taken: &[(IpNet, Option<String>)]) -> Plan {
    let mut plan = Plan { ways: Vec::new(), left_out: Vec::new() };
    for family in spec.of_families(|family| family) {
        let ends = conflict(underlay::host_ends(family)[0].trunc(), taken);
        let mut networks = Vec::new();
        for network in (0..spec.networks()).map(|network| underlay::router(family, network).trunc()) {
            match ends.or_else(|| conflict(network, taken)) {
                Some((taken, link)) => {
                    plan.left_out.push(NotRouted::Taken { range: network, taken: *taken, link: link.clone() });
                }
                None => networks.push(network),
            }
        }
        if !networks.is_empty() {
            plan.ways.push(Ways { family, networks });
        }
    }
    plan
}

fn conflict(range: IpNet, taken: &[(IpNet, Option<String>)]) -> Option<&(IpNet, Option<String>)> {
    let overlaps = |other: &IpNet| range.contains(other) || other.contains(&range);
    taken.iter().find(|(other, _)| other.prefix_len() > EVERYWHERE && overlaps(other))
}

/// Where the host has a way to, and by which link.
fn taken(here: &mut Rtnetlink) -> Result<Vec<(IpNet, Option<String>)>, RouteError> {
    let links = here.links()?;
    let name = |index: LinkIndex| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
    let destinations = here.destinations()?;
    Ok(destinations.into_iter().map(|(range, link)| (range, link.and_then(name))).collect())
}

/// Makes the pair under the first name that is free.
fn create(here: &mut Rtnetlink, sandbox: &Netns) -> Result<(String, LinkIndex), HostLinkError> {
    for number in 0..NAMES {
        let name = format!("{PREFIX}{number}");
        let end = VethEnd { name: &name, mac: None, netns: None };
        let peer = VethEnd { name: INNER, mac: None, netns: Some(sandbox) };
        match here.create_veth(&Veth { end, peer, mtu: MTU }) {
            Ok(link) => return Ok((name, link.index)),
            Err(error) => match error.errno() {
                Some(Errno::EEXIST) => {}
                Some(Errno::EPERM | Errno::EACCES) => return Err(HostLinkError::NotPermitted),
                _ => return Err(error.into()),
            },
        }
    }
    Err(HostLinkError::Names)
}

/// Gives the ends their addresses and the host its routes; returns where they lead.
fn route_all(
    here: &mut Rtnetlink,
    there: &mut Rtnetlink,
    (name, link): (&str, LinkIndex),
    ways: &[Ways],
    left_out: &mut Vec<NotRouted>,
) -> Result<Vec<IpNet>, RouteError> {
    let inner = there.require_link(INNER)?.index;
    there.set_up(inner)?;
    here.wait_until_running(name, PATIENCE)?;
    let mut routed = Vec::new();
    for Ways { family, networks } in ways {
        let [outside, inside] = underlay::host_ends(*family);
        there.add_address(inner, inside)?;
        let addressed = here.add_address(link, outside);
        if let Err(source) = addressed {
            left_out.push(NotRouted::Refused { range: networks[0], source });
            continue;
        }
        for range in networks.iter().copied() {
            let route = Route { source: Some(outside.addr()), ..Route::via(range, inside.addr(), link) };
            // Not replaced: somebody else may have made one meanwhile.
            match here.add_route(&route) {
                Err(source) => left_out.push(NotRouted::Refused { range, source }),
                Ok(()) if here.link_out_to(first_of(range))? == Some(link) => routed.push(range),
                Ok(()) => {
                    here.delete_route(&route)?;
                    left_out.push(NotRouted::Overruled { range });
                }
            }
        }
    }
    Ok(routed)
}

/// The first node's place on a network.
fn first_of(network: IpNet) -> IpAddr {
    network.hosts().next().unwrap_or(network.addr())
}

fn undo(here: &mut Rtnetlink, link: LinkIndex) {
    // It goes with the sandbox in any case.
    let _ = here.delete_link(link);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Shape;

    fn spec(networks: u8, families: &[[&str; 2]]) -> Spec {
        let nets = |which: usize| families.iter().map(|pair| pair[which].parse().unwrap()).collect();
        Spec::new(Shape { networks, pod_cidrs: nets(0), service_cidrs: nets(1), ..Shape::default() }).unwrap()
    }

    const V4: [&str; 2] = ["10.244.0.0/16", "10.96.0.0/16"];
    const V6: [&str; 2] = ["fd00:10:244::/56", "fd00:10:96::/112"];

    /// What is routed and what is said of the rest.
    fn planned(spec: &Spec, taken: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let taken: Vec<_> =
            taken.iter().map(|(range, link)| (range.parse().unwrap(), Some((*link).to_owned()))).collect();
        let plan = plan(spec, &taken);
        let ranges = plan.ways.iter().flat_map(|ways| &ways.networks).map(ToString::to_string);
        (ranges.collect(), plan.left_out.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_networks_of_all_nodes_are_routed_in_every_family() {
        let taken = [("0.0.0.0/0", "eth0"), ("0.0.0.0/1", "tun0"), ("192.168.1.0/24", "eth0"), ("fe80::/64", "eth0")];
        let (ranges, left_out) = planned(&spec(2, &[V4, V6]), &taken);
        assert_eq!(ranges, ["10.89.0.0/24", "10.89.1.0/24", "fd00:10:89::/64", "fd00:10:89:1::/64"]);
        assert_eq!(left_out, [""; 0]);
    }

    #[test]
    fn a_network_the_host_has_a_way_to_is_left_out_alone() {
        let (ranges, left_out) = planned(&spec(2, &[V4, V6]), &[("10.89.0.7/32", "cni-podman1")]);
        assert_eq!(ranges, ["10.89.1.0/24", "fd00:10:89::/64", "fd00:10:89:1::/64"]);
        assert_eq!(left_out, ["10.89.0.0/24 overlaps 10.89.0.7/32, which this machine has a way to (cni-podman1)"]);
    }

    #[test]
    fn a_wider_route_of_the_host_leaves_the_whole_family_out() {
        let (ranges, left_out) = planned(&spec(2, &[V4, V6]), &[("10.0.0.0/8", "wg0")]);
        assert_eq!(ranges, ["fd00:10:89::/64", "fd00:10:89:1::/64"]);
        assert_eq!(left_out.len(), 2);
    }

    #[test]
    fn a_second_sandbox_has_no_place_beside_the_first() {
        let (ranges, left_out) = planned(&spec(1, &[V4]), &[("10.89.255.0/30", "fairway0")]);
        assert_eq!(ranges, [""; 0]);
        assert_eq!(left_out, ["10.89.0.0/24 overlaps 10.89.255.0/30, which this machine has a way to (fairway0)"]);
    }
}
