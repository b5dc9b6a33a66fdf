//! What nothing can be faster than: veth pairs without any rules, and with connection tracking alone.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::Result;
use compile::ruleset::{
    BaseHook, ChainKind, ConntrackField, Hook, Load, Operation, Policy, Rule, Statement, conntrack_state,
};
use datapath::nft::Table;
use datapath::route::{Route, RouteAction, Rtnetlink, Veth, VethEnd};
use datapath::{Netns, sysctl};
use ipnet::{IpNet, Ipv4Net};

use super::load::{PORT, Server};
use super::path::{Path, prepare_client, set_up, wait_for_link};

const MTU: u32 = 1500;
/// The names of a namespace's links, by whose side they are on.
const TO_SERVER: &str = "to-server";
const TO_CLIENT: &str = "to-client";

/// Whether connections are tracked on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// They are not.
    Off,
    /// By every namespace between client and server, or by both of these when there is none.
    On,
}

/// A client, so many routers and a server in a row, each joined to the next by a veth pair.
pub fn path(name: &str, routers: u8, tracking: Tracking) -> Result<Path> {
    let (client, server) = (Arc::new(Netns::create()?), Arc::new(Netns::create()?));
    let between: Vec<Arc<Netns>> = (0..routers).map(|_| Netns::create().map(Arc::new)).collect::<Result<_, _>>()?;
    let row: Vec<&Netns> = [&client].into_iter().chain(&between).chain([&server]).map(|each| &**each).collect();
    for (pair, number) in row.windows(2).zip(0..) {
        join(pair[0], pair[1], number)?;
    }
    for (netns, number) in row.iter().zip(0..) {
        route(netns, number, routers)?;
    }
    let tracking_ones = if routers == 0 { &row[..] } else { &row[1..row.len() - 1] };
    if tracking == Tracking::On {
        tracking_ones.iter().try_for_each(|netns| track(netns))?;
    }
    prepare_client(&client)?;
    let (target, server) = ((address(routers, 2), PORT).into(), Arc::new(Server::start(&server)?));
    Ok(Path { name: name.to_owned(), client, between, target, server })
}

/// An address on the link of this number, which the nearer end has as 1 and the farther as 2.
fn address(link: u8, end: u8) -> IpAddr {
    Ipv4Addr::new(10, 200, link, end).into()
}

fn join(nearer: &Netns, farther: &Netns, number: u8) -> Result<()> {
    let (mut near, mut far) = (Rtnetlink::open_in(nearer)?, Rtnetlink::open_in(farther)?);
    let end = VethEnd { name: TO_SERVER, mac: None, netns: None };
    let peer = VethEnd { name: TO_CLIENT, mac: None, netns: Some(farther) };
    near.create_veth(&Veth { end, peer, mtu: MTU })?;
    set_up(&mut near, TO_SERVER, &[IpNet::new(address(number, 1), 24)?])?;
    set_up(&mut far, TO_CLIENT, &[IpNet::new(address(number, 2), 24)?])?;
    wait_for_link(&mut near, TO_SERVER)
}

/// Tells a namespace of the row how the two ends of it are reached.
fn route(netns: &Netns, number: u8, routers: u8) -> Result<()> {
    let mut links = Rtnetlink::open_in(netns)?;
    if number <= routers {
        route_via(&mut links, TO_SERVER, (routers, address(number, 2)))?;
    }
    if number > 0 {
        route_via(&mut links, TO_CLIENT, (0, address(number - 1, 1)))?;
    }
    netns.run(|| sysctl::write("ipv4/ip_forward", "1"))??;
    Ok(())
}

/// Routes the addresses of a link by a neighbour, unless the neighbour is on it.
fn route_via(links: &mut Rtnetlink, name: &str, (number, via): (u8, IpAddr)) -> Result<()> {
    let destination: IpNet = Ipv4Net::new(Ipv4Addr::new(10, 200, number, 0), 24)?.into();
    if !destination.contains(&via) {
        let link = links.require_link(name)?.index;
        links.replace_route(&Route::new(destination, RouteAction::Via { gateway: via, link, on_link: false }))?;
    }
    Ok(())
}

/// Has a namespace track connections, as it does once a rule asks about them.
fn track(netns: &Netns) -> Result<()> {
    let asks = Rule::new([Statement::AnyBit(Load::Conntrack(ConntrackField::State), conntrack_state::ESTABLISHED)]);
    let hook = BaseHook { kind: ChainKind::Filter, hook: Hook::Prerouting, priority: 0, policy: Policy::Accept };
    let operations = [
        Operation::AddTable,
        Operation::AddChain("tracked".into(), Some(hook)),
        Operation::AddRule("tracked".into(), asks),
    ];
    Table::open_in(netns)?.apply(&operations)?;
    Ok(())
}
