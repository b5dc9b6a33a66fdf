//! The tunnel's part of the third leg: what the objects mean and what the ruleset says is what real sockets meet on nodes
//! of two networks.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};

use compile::plan::Hop;
use compile::sample::PLAIN_PORT;
use compile::{Entry, Host, Outcome, Packet, Plan, RoutingMode, SourceNat, evaluate, trace};
use datapath::Netns;
use datapath::testing::isolated;
use model::{Cluster, IpFamily, Protocol};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::fabric::{self, FAMILIES, Fabric, node_address, pod_address, tunnel_address};
use super::{PATIENCE, PORT, add_service, serve_everywhere, talk};

/// The address a server at `to` sees a client as that sends from `source`.
fn seen(netns: &Netns, source: IpAddr, to: SocketAddr) -> std::io::Result<IpAddr> {
    let connected = || -> nix::Result<OwnedFd> {
        let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::new(PATIENCE.as_secs().cast_signed(), 0))?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
        connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
        Ok(socket)
    };
    let stream = TcpStream::from(netns.run(connected).expect("a thread")?);
    Ok(talk(stream, 1)?.0)
}

/// Where packets of a node's go in this test: the others' pods and addresses, and the Service's.
fn destinations(node: usize, family: IpFamily, service: IpAddr) -> Vec<SocketAddr> {
    let others = (0..3).filter(|other| *other != node);
    let hosts = others.flat_map(|other| [pod_address(family, other), node_address(family, other)]);
    hosts.map(|host| SocketAddr::new(host, PORT)).chain([SocketAddr::new(service, PLAIN_PORT)]).collect()
}

/// The sources one of which `outcome` leaves a packet with: the kernel chooses among a node's addresses where a pod meets
/// itself.
fn meant(plan: &Plan, node: usize, packet: &Packet, outcome: &Outcome) -> Vec<IpAddr> {
    let (end, source) = match outcome {
        Outcome::Passed { source } => (packet.destination, *source),
        Outcome::Balanced { endpoints, .. } => {
            let mut endpoints = endpoints.iter();
            let (end, source) = endpoints.next().filter(|_| endpoints.next().is_none()).expect("one endpoint");
            (end.ip(), *source)
        }
        Outcome::Refused | Outcome::Dropped => panic!("{packet} is {outcome:?}"),
    };
    let family = IpFamily::of(end);
    let (here, on_tunnel) = (node_address(family, node), tunnel_address(family, node));
    let mut routes = plan.routes().iter().filter(|route| route.destination.contains(&end));
    match source {
        SourceNat::Kept => vec![packet.source],
        SourceNat::Masqueraded if routes.any(|route| matches!(route.hop, Hop::Tunnel(_))) => vec![on_tunnel],
        SourceNat::Masqueraded if end == packet.source => vec![here, on_tunnel],
        SourceNat::Masqueraded => vec![here],
    }
}

/// Sends everything from one node and returns how much that was.
fn try_from_node(
    fabric: &Fabric,
    node: usize,
    mode: RoutingMode,
    (cluster, services): (&Cluster, [IpAddr; 2]),
) -> usize {
    let view = fabric.view(node, mode);
    let plan = Plan::of(view.clone(), cluster);
    let own = FAMILIES.map(|family| node_address(family, node));
    let machine = &fabric.nodes[node];
    let mut tried = 0;
    for (family, service) in FAMILIES.into_iter().zip(services) {
        let clients = [
            (&machine.pod, Entry::Pod, pod_address(family, node)),
            (&machine.netns, Entry::Host, node_address(family, node)),
            (&machine.netns, Entry::Host, tunnel_address(family, node)),
        ];
        for (netns, entered, source) in clients {
            for to in destinations(node, family, service) {
                let packet = Packet { source, destination: to.ip(), protocol: Protocol::Tcp, port: to.port(), entered };
                let verdict = evaluate(cluster, &view, &packet);
                let traced = trace(plan.ruleset(), Host { addresses: &own, routes: plan.routes() }, &packet);
                assert_eq!(traced.as_ref(), Ok(&verdict.outcome), "{packet} from node {node}, {mode:?}");
                let met = seen(netns, source, to);
                let met = met.unwrap_or_else(|error| panic!("{packet} from node {node}, {mode:?}: {error}"));
                let meant = meant(&plan, node, &packet, &verdict.outcome);
                assert!(meant.contains(&met), "{packet} from node {node}, {mode:?}, is seen as {met}, not {meant:?}");
                tried += 1;
            }
        }
    }
    tried
}

#[test]
fn real_sockets_meet_what_the_objects_mean_also_through_the_tunnel() {
    isolated(|| {
        let mut fabric = Fabric::make();
        serve_everywhere(&fabric);
        let mut tried = 0;
        for mode in [RoutingMode::Auto, RoutingMode::Vxlan] {
            for endpoint in 0..fabric.nodes.len() {
                let mut cluster = fabric::cluster(&[0, 1, 2]);
                let services = add_service(&mut cluster, endpoint);
                for node in 0..fabric.nodes.len() {
                    fabric.apply_cluster(node, mode, &cluster);
                }
                for node in 0..fabric.nodes.len() {
                    tried += try_from_node(&fabric, node, mode, (&cluster, services));
                }
            }
        }
        assert_eq!(tried, 2 * 3 * 3 * 2 * 3 * 5);
    });
}
