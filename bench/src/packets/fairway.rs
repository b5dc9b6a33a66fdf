//! Two nodes of Fairway with pods and Services, made by its plugin and its plan.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::Path as FilePath;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use compile::sample::{
    FAMILIES, NODES, PLAIN_PORT, plain_address, plain_cluster, plain_service, plain_slice, range_of,
};
use compile::{NodeView, Plan};
use datapath::route::{Rtnetlink, Veth, VethEnd};
use datapath::{Datapath, Netns, Wanted, sysctl};
use model::{Cluster, EndpointPort, EndpointSlice, Protocol, Service, ServicePort};

use super::load::{PORT, Server};
use super::path::{Path, prepare_client, set_up, wait_for_link};
use super::pods::{Pod, make_pod};
use crate::plugin::Programs;

/// The port at the node's addresses of the first Service; that of the second is the next.
const NODE_PORT: u16 = 30080;
const UNDERLAY_MTU: u32 = 1500;
/// The link of a node to the other.
const UPLINK: &str = "eth0";

/// From a pod of the first node to one beside it and to one on the second node, by each kind of address.
pub fn paths(programs: &Programs, folder: &FilePath) -> Result<Vec<Path>> {
    let nodes = [Arc::new(Netns::create()?), Arc::new(Netns::create()?)];
    join(&nodes)?;
    let pod = |node: usize, name: &str| {
        let range = format!("{}/24", NODES[node].pods);
        let plugin = programs.fairway(&range, &folder.join(format!("state-{node}")))?;
        make_pod(&nodes[node], &plugin, folder, name)
    };
    let (client, near, far) = (pod(0, "client")?, pod(0, "near")?, pod(1, "far")?);
    let cluster = cluster([&near, &far])?;
    for (netns, node) in nodes.iter().zip(&NODES) {
        bring_up(netns, node.name, &cluster)?;
    }
    prepare_client(&client.netns)?;
    let mut paths = Vec::new();
    for (server, index, place) in [(near, 0_u8, "one node"), (far, 1, "two nodes")] {
        let answering = Arc::new(Server::start(&server.netns)?);
        for (way, target) in targets(&server, index) {
            paths.push(Path {
                name: format!("{way}, {place}"),
                client: Arc::clone(&client.netns),
                between: nodes.to_vec(),
                target,
                server: Arc::clone(&answering),
            });
        }
    }
    Ok(paths)
}

/// The addresses that lead to the pod behind the Service of this number.
fn targets(server: &Pod, index: u8) -> [(&'static str, SocketAddr); 3] {
    let node_port = NODE_PORT + u16::from(index);
    [
        ("pod to pod", (server.address, PORT).into()),
        ("ClusterIP", (plain_address(index.into()), PLAIN_PORT).into()),
        ("NodePort", (NODES[0].address, node_port).into()),
    ]
}

/// Joins the nodes by a link that both have addresses on.
fn join(nodes: &[Arc<Netns>; 2]) -> Result<()> {
    let mut links = [Rtnetlink::open_in(&nodes[0])?, Rtnetlink::open_in(&nodes[1])?];
    let end = VethEnd { name: UPLINK, mac: None, netns: None };
    let peer = VethEnd { name: UPLINK, mac: None, netns: Some(&nodes[1]) };
    links[0].create_veth(&Veth { end, peer, mtu: UNDERLAY_MTU })?;
    for (links, node) in links.iter_mut().zip(&NODES) {
        let addresses = FAMILIES.map(|family| range_of(family, node.address, 24));
        set_up(links, "lo", &[])?;
        set_up(links, UPLINK, &addresses)?;
    }
    wait_for_link(&mut links[0], UPLINK)
}

/// What the agent of a node does when it starts.
fn bring_up(netns: &Netns, name: &str, cluster: &Cluster) -> Result<()> {
    let plan = Plan::of(NodeView::new(name), cluster);
    netns.run(|| sysctl::write("ipv4/ip_forward", "1"))??;
    let outcome = netns.run(|| Datapath::open()?.apply(&Wanted::from(&plan)))??;
    ensure!(outcome.routes_failed == 0, "a route of {name} could not be set");
    Ok(())
}

/// A cluster of both nodes with a Service in front of each pod.
fn cluster(pods: [&Pod; 2]) -> Result<Cluster> {
    let mut cluster = plain_cluster(0, 0);
    for (pod, index) in pods.into_iter().zip(0..) {
        let IpAddr::V4(address) = pod.address else { bail!("{} is no IPv4 address", pod.address) };
        let service = service(index).context("a port of zero")?;
        cluster.insert_slice(slice(&service, address));
        cluster.services.insert(service.name.clone(), Arc::new(service));
    }
    Ok(cluster)
}

/// A Service of the benchmark's port over TCP and UDP, at a cluster address and at a port of the nodes.
fn service(index: u16) -> Option<Service> {
    let mut service = plain_service(index.into());
    let node_port = Some(NonZeroU16::new(NODE_PORT + index)?);
    let plain: Vec<ServicePort> = std::mem::take(&mut service.ports);
    for port in plain {
        let udp = ServicePort { name: "udp".into(), protocol: Protocol::Udp, node_port, ..port.clone() };
        service.ports.extend([ServicePort { node_port, ..port }, udp]);
    }
    Some(service)
}

fn slice(service: &Service, address: Ipv4Addr) -> EndpointSlice {
    let mut slice = plain_slice(service, [address]);
    let udp = |port: &EndpointPort| EndpointPort { name: "udp".into(), protocol: Protocol::Udp, ..port.clone() };
    let more: Vec<EndpointPort> = slice.ports.iter().map(udp).collect();
    slice.ports.extend(more);
    slice
}
