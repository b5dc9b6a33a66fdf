//! The tunnel between nodes in the kernel: a VXLAN device and what it is told of the other nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub(crate) use compile::plan::TUNNEL_DEVICE as DEVICE;
use compile::plan::{Checksums, Tunnel};
use ipnet::IpNet;
use model::MacAddress;

use crate::route::{Link, LinkIndex, RouteError, Rtnetlink, Vxlan};
use crate::sysctl;

/// What its `ifalias` says it is for.
const PURPOSE: &str = "tunnel to other nodes";

/// What turns the tunnel there is into the one that is wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    device: Device,
    /// Of the device that is kept.
    mtu: Option<u32>,
    checksums: Option<Checksums>,
    addresses: BTreeSet<IpAddr>,
    neighbours: BTreeMap<IpAddr, MacAddress>,
    forwarding: BTreeMap<MacAddress, IpAddr>,
    gone_addresses: BTreeSet<IpAddr>,
    gone_neighbours: BTreeSet<IpAddr>,
    gone_forwarding: BTreeSet<MacAddress>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Device {
    #[default]
    Keep,
    Make,
    Remove,
}

impl Changes {
    pub(crate) fn between(held: Option<&Tunnel>, wanted: Option<&Tunnel>) -> Self {
        match (held, wanted) {
            (None, None) => Self::default(),
            (Some(_), None) => Self { device: Device::Remove, ..Self::default() },
            (Some(held), Some(wanted)) if is_same_device(held, wanted) => Self::of_device(held, wanted),
            (_, Some(wanted)) => Self {
                device: Device::Make,
                checksums: (wanted.checksums != Checksums::Offloaded).then_some(wanted.checksums),
                addresses: wanted.addresses.clone(),
                neighbours: wanted.neighbours.clone(),
                forwarding: wanted.forwarding.clone(),
                ..Self::default()
            },
        }
    }

    fn of_device(held: &Tunnel, wanted: &Tunnel) -> Self {
        Self {
            device: Device::Keep,
            mtu: (held.mtu != wanted.mtu).then_some(wanted.mtu),
            checksums: (held.checksums != wanted.checksums).then_some(wanted.checksums),
            addresses: wanted.addresses.difference(&held.addresses).copied().collect(),
            neighbours: entries_missing(&held.neighbours, &wanted.neighbours),
            forwarding: entries_missing(&held.forwarding, &wanted.forwarding),
            gone_addresses: held.addresses.difference(&wanted.addresses).copied().collect(),
            gone_neighbours: keys_missing(&wanted.neighbours, &held.neighbours),
            gone_forwarding: keys_missing(&wanted.forwarding, &held.forwarding),
        }
    }

    /// Whether there is another device afterwards, or none: routes through the old one are gone with it.
    pub(crate) fn replaces_device(&self) -> bool {
        self.device != Device::Keep
    }

    /// How many things are changed.
    pub(crate) fn count(&self) -> usize {
        usize::from(self.replaces_device())
            + usize::from(self.mtu.is_some())
            + usize::from(self.checksums.is_some())
            + self.addresses.len()
            + self.neighbours.len()
            + self.forwarding.len()
            + self.gone_addresses.len()
            + self.gone_neighbours.len()
            + self.gone_forwarding.len()
    }
}

/// Whether a device can become the other without being made anew.
fn is_same_device(a: &Tunnel, b: &Tunnel) -> bool {
    (a.network, a.endpoint, a.mac, a.port) == (b.network, b.endpoint, b.mac, b.port)
}

/// Entries of `wanted` that `held` does not have in the same way.
fn entries_missing<K: Ord + Copy, V: PartialEq + Copy>(
    held: &BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
) -> BTreeMap<K, V> {
    wanted.iter().filter(|(key, value)| held.get(key) != Some(value)).map(|(key, value)| (*key, *value)).collect()
}

/// Keys of `held` that `wanted` does not have.
fn keys_missing<K: Ord + Copy, V>(wanted: &BTreeMap<K, V>, held: &BTreeMap<K, V>) -> BTreeSet<K> {
    held.keys().filter(|key| !wanted.contains_key(key)).copied().collect()
}

/// The tunnel the kernel holds; none when there is no device of ours that is up. Call it in the namespace that `links` is
/// connected to.
pub fn read(links: &mut Rtnetlink) -> Result<Option<Tunnel>, RouteError> {
    let Some(vxlan) = links.vxlan(DEVICE)? else { return Ok(None) };
    let link = links.require_link(DEVICE)?;
    let Some(mac) = link.mac.filter(|_| link.is_up && link.is_ours()) else { return Ok(None) };
    let (are_apart, deprecated) = (are_addresses_apart(), links.deprecated_addresses()?);
    let is_as_given = |given: &(LinkIndex, IpNet)| given.1.addr().is_ipv4() || deprecated.contains(given) == are_apart;
    let given = links.addresses()?.into_iter().filter(|(on, _)| *on == link.index).filter(is_as_given);
    let addresses = given.map(|(_, net)| net.addr());
    let neighbours = links.permanent_neighbours()?.into_iter().filter(|(on, ..)| *on == link.index);
    Ok(Some(Tunnel {
        network: vxlan.network,
        endpoint: vxlan.local,
        mac,
        port: vxlan.port,
        mtu: link.mtu,
        checksums: match links.is_checksum_offloaded(DEVICE)? {
            true => Checksums::Offloaded,
            false => Checksums::Computed,
        },
        // The kernel gives every link one of its own, which is no business of ours.
        addresses: addresses.filter(|address| !is_link_local(*address)).collect(),
        neighbours: neighbours
            .filter(|(_, address, _)| !address.is_multicast())
            .map(|(_, address, mac)| (address, mac))
            .collect(),
        forwarding: links.forwarding(link.index)?.into_iter().collect(),
    }))
}

const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Keeps the node from taking its address of IPv6 on the tunnel for what does not go through it. Tells whether it is so.
///
/// On links without an address the kernel takes the one most like the destination (RFC 6724, rule 8): for pods of the
/// node's own that would be the tunnel's, which goes with the last node behind it. A deprecated one it does not take
/// (rule 3). What does go through the tunnel needs that very address, or it is not answered: there the choice is made among
/// the addresses of the link alone. Where this cannot be set, the address is given as any other. In IPv4 the kernel takes
/// the first link's, and the tunnel is a late one.
pub(crate) fn set_addresses_apart() -> bool {
    match sysctl::write(&setting(), "1") {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, cause = ?std::error::Error::source(&error),
                "the node may talk to its own pods from its address on the tunnel");
            false
        }
    }
}

fn are_addresses_apart() -> bool {
    sysctl::read(&setting()).is_ok_and(|value| value == "1")
}

fn setting() -> String {
    format!("ipv6/conf/{DEVICE}/use_oif_addrs_only")
}

fn give_address(links: &mut Rtnetlink, device: LinkIndex, address: IpAddr) -> Result<(), RouteError> {
    let net = IpNet::from(address);
    if address.is_ipv6() && set_addresses_apart() {
        links.add_deprecated_address(device, net)
    } else {
        links.add_address(device, net)
    }
}

/// Makes everything there that `wanted` has and was not: before routes lead through it.
pub(crate) fn extend(links: &mut Rtnetlink, changes: &Changes, wanted: &Tunnel) -> Result<(), RouteError> {
    let device = match changes.device {
        Device::Make => make(links, wanted)?,
        Device::Keep | Device::Remove => links.require_link(DEVICE)?.index,
    };
    if let Some(mtu) = changes.mtu {
        links.set_mtu(device, mtu)?;
    }
    if let Some(checksums) = changes.checksums {
        links.set_checksum_offload(DEVICE, checksums == Checksums::Offloaded)?;
    }
    for address in &changes.addresses {
        give_address(links, device, *address)?;
    }
    for (mac, endpoint) in &changes.forwarding {
        links.set_forwarding(device, *mac, *endpoint)?;
    }
    for (gateway, mac) in &changes.neighbours {
        links.set_neighbour(device, *gateway, *mac)?;
    }
    Ok(())
}

/// Makes the device anew. One that was ours before goes, with all that leads through it.
fn make(links: &mut Rtnetlink, wanted: &Tunnel) -> Result<LinkIndex, RouteError> {
    remove(links)?;
    let vxlan = Vxlan { network: wanted.network, local: wanted.endpoint, port: wanted.port };
    let device = links.create_vxlan(DEVICE, &vxlan, wanted.mac, wanted.mtu)?.index;
    links.mark_as_ours(device, PURPOSE)?;
    links.set_up(device)?;
    Ok(device)
}

/// Takes away everything that is wanted no more: after no route leads through it.
pub(crate) fn reduce(links: &mut Rtnetlink, changes: &Changes) -> Result<(), RouteError> {
    if changes.device == Device::Remove {
        return remove(links);
    }
    let gone = (&changes.gone_addresses, &changes.gone_neighbours, &changes.gone_forwarding);
    if gone.0.is_empty() && gone.1.is_empty() && gone.2.is_empty() {
        return Ok(());
    }
    let device = links.require_link(DEVICE)?.index;
    for gateway in gone.1 {
        links.delete_neighbour(device, *gateway)?;
    }
    for mac in gone.2 {
        links.delete_forwarding(device, *mac)?;
    }
    for address in gone.0 {
        links.delete_address(device, IpNet::from(*address))?;
    }
    Ok(())
}

fn remove(links: &mut Rtnetlink) -> Result<(), RouteError> {
    let Some(link) = links.link(DEVICE)? else { return Ok(()) };
    if !link.is_ours() && !is_half_made(&link) {
        return Err(RouteError::NotOurs { name: link.name });
    }
    links.delete_link(link.index).map(drop)
}

/// Whether it is as an agent leaves it that ends between making a device and marking it, which cannot be one request.
fn is_half_made(link: &Link) -> bool {
    link.kind.as_deref() == Some(Vxlan::KIND) && link.alias.is_none() && !link.is_up
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(last: u8) -> MacAddress {
        MacAddress([2, 0xf4, 10, 89, 1, last])
    }

    fn tunnel(peers: &[u8]) -> Tunnel {
        let address = |last: &u8| -> IpAddr { [10, 89, 1, *last].into() };
        Tunnel {
            network: 117,
            endpoint: address(&1),
            mac: mac(1),
            port: 4789.try_into().unwrap(),
            mtu: 1450,
            checksums: Checksums::Offloaded,
            addresses: [[10, 244, 1, 0].into()].into(),
            neighbours: peers.iter().map(|last| ([10, 244, *last, 0].into(), mac(*last))).collect(),
            forwarding: peers.iter().map(|last| (mac(*last), address(last))).collect(),
        }
    }

    #[test]
    fn a_node_that_joins_or_leaves_changes_its_own_entries_only() {
        let (two, three) = (tunnel(&[2]), tunnel(&[2, 3]));
        let joined = Changes::between(Some(&two), Some(&three));
        let entries = ([([10, 244, 3, 0].into(), mac(3))].into(), [(mac(3), [10, 89, 1, 3].into())].into());
        assert_eq!(joined, Changes { neighbours: entries.0, forwarding: entries.1, ..Changes::default() });
        let left = Changes::between(Some(&three), Some(&two));
        assert_eq!((left.gone_neighbours.len(), left.gone_forwarding.len(), left.count()), (1, 1, 2));
        assert_eq!(Changes::between(Some(&two), Some(&two)), Changes::default());
    }

    #[test]
    fn another_mtu_is_set_and_another_port_makes_another_device() {
        let held = tunnel(&[2]);
        let larger = Changes::between(Some(&held), Some(&Tunnel { mtu: 8950, ..held.clone() }));
        assert_eq!(larger, Changes { mtu: Some(8950), ..Changes::default() });
        let moved = Changes::between(Some(&held), Some(&Tunnel { port: 8472.try_into().unwrap(), ..held.clone() }));
        assert!(moved.replaces_device() && moved.neighbours == held.neighbours && moved.addresses == held.addresses);
        let gone = Changes::between(Some(&held), None);
        assert!(gone.replaces_device() && gone.count() == 1);
    }
}
