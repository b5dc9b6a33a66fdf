//! A node with real pods and the rest of the world, at the addresses of sample clusters.
#![expect(clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use compile::Packet;
use compile::sample::{CLIENTS, ENDPOINTS, FAMILIES, LINK_ADDRESS, NODES, TARGET_PORTS, address_of, place_of};
use datapath::route::{LinkIndex, Route, RouteAction, Rtnetlink, Veth, VethEnd};
use datapath::{Netns, sysctl};
use ipnet::IpNet;
use model::{IpFamily, Protocol};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// Where pods send everything.
const GATEWAYS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)), IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1))];

/// Far longer than a link takes.
const PATIENCE_FOR_LINKS: Duration = Duration::from_secs(20);

/// What a client met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A server that says where it was reached and from where.
    Served {
        /// The server's own address and port.
        at: SocketAddr,
        /// The client's address as the server saw it.
        seen: IpAddr,
    },
    /// A reset or an ICMP error.
    Refused,
    /// Nothing.
    Silence,
}

/// The node's namespace is the calling one.
pub struct World {
    node: Netns,
    /// Pods of the node, by address.
    pods: Vec<(Ipv4Addr, Netns)>,
    /// Every other machine and its pods: one namespace with all their addresses.
    rest: Netns,
}

impl World {
    /// Makes the links, routes and servers.
    pub fn make() -> Self {
        let node = Netns::current().expect("this namespace");
        let mut links = Rtnetlink::open().expect("a connection");
        set_up(&mut links, "lo");
        // Refusals are ICMP errors, of which the kernel sends only a few by default.
        for (key, value) in [
            ("ipv4/ip_forward", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
            ("ipv4/icmp_ratelimit", "0"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv6/icmp/ratelimit", "0"),
        ] {
            sysctl::write(key, value).expect("a setting");
        }
        let rest = make_rest(&mut links);
        let local = ENDPOINTS.into_iter().chain(CLIENTS).filter(|address| is_pod_of_node(*address));
        let pods: Vec<(Ipv4Addr, Netns)> = local.map(|address| (address, make_pod(&mut links, address))).collect();
        let world = Self { node, pods, rest };
        for address in ENDPOINTS {
            world.run_at(address, || FAMILIES.into_iter().for_each(|family| serve(address_of(family, address))));
        }
        world
    }

    /// Where a place of either family is.
    fn home(&self, address: Ipv4Addr) -> &Netns {
        let pod = self.pods.iter().find(|(other, _)| *other == address);
        match pod {
            Some((_, netns)) => netns,
            None if address == NODES[0].address => &self.node,
            None => &self.rest,
        }
    }

    /// Runs `work` in the namespace that has an address of the sample clusters.
    pub fn run_at<T: Send>(&self, address: Ipv4Addr, work: impl FnOnce() -> T + Send) -> T {
        self.home(address).run(work).expect("a thread in the namespace")
    }

    /// Sends what `packet` describes from a real socket and waits for an answer as long as `patience`.
    pub fn send(&self, packet: &Packet, patience: Duration) -> Answer {
        let source = packet.source;
        let destination = SocketAddr::new(packet.destination, packet.port);
        if packet.protocol == Protocol::Udp {
            return ask_from(&self.udp_client(source), destination, patience);
        }
        let ask = || ask_tcp(source, destination, patience);
        self.run_at(place_of(source), ask)
    }

    /// A UDP socket of `source`, which keeps its port between questions.
    pub fn udp_client(&self, source: IpAddr) -> UdpSocket {
        let bind = || UdpSocket::bind((source, 0)).expect("the source is an address of the namespace");
        self.run_at(place_of(source), bind)
    }
}

/// Whether an address is one of the node's pods'.
pub fn is_pod_of_node(address: Ipv4Addr) -> bool {
    address.octets()[..3] == NODES[0].pods.octets()[..3]
}

/// A packet that is sent before the link runs is lost, and on a busy machine that is long after it was set up.
fn wait_until_running(links: &mut Rtnetlink, name: &str) {
    links.wait_until_running(name, PATIENCE_FOR_LINKS).expect("the link");
    assert!(links.require_link(name).expect("the link").is_running, "{name} does not run");
}

fn set_up(links: &mut Rtnetlink, name: &str) -> datapath::route::Link {
    let link = links.require_link(name).expect("the link");
    links.set_up(link.index).expect("up");
    link
}

/// A place's addresses of both families, each as a range of its own.
fn host_nets(place: Ipv4Addr) -> [IpNet; 2] {
    FAMILIES.map(|family| address_of(family, place).into())
}

fn everywhere(gateway: IpAddr, link: LinkIndex, on_link: bool) -> Route {
    let all = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
    Route::new(all.parse().expect("a range"), RouteAction::Via { gateway, link, on_link })
}

fn make_rest(links: &mut Rtnetlink) -> Netns {
    let rest = Netns::create().expect("a namespace");
    let end = VethEnd { name: "eth0", mac: None, netns: None };
    let peer = VethEnd { netns: Some(&rest), ..end };
    let eth0 = links.create_veth(&Veth { end, peer, mtu: 1500 }).expect("a veth pair");
    let mut inside = Rtnetlink::open_in(&rest).expect("a connection");
    let far = set_up(&mut inside, "eth0");
    let lo = set_up(&mut inside, "lo");
    let [own, other] = [&NODES[0], &NODES[1]].map(|node| node.address);
    for family in FAMILIES {
        let prefix = if family == IpFamily::V4 { 24 } else { 120 };
        let on_underlay = |place| IpNet::new(address_of(family, place), prefix).expect("a prefix");
        links.add_address(eth0.index, on_underlay(own)).expect("an address");
        links.add_address(eth0.index, address_of(family, LINK_ADDRESS).into()).expect("an address");
        inside.add_address(far.index, on_underlay(other)).expect("an address");
    }
    for place in ENDPOINTS.into_iter().chain(CLIENTS).filter(|place| !is_pod_of_node(*place) && *place != own) {
        let nets = host_nets(place).into_iter().filter(|_| place != other);
        nets.for_each(|net| inside.add_address(lo.index, net).expect("an address"));
    }
    let (near_mac, far_mac) = (eth0.mac.expect("a veth end has one"), far.mac.expect("a veth end has one"));
    for family in FAMILIES {
        let [own, other] = [own, other].map(|place| address_of(family, place));
        // Known beforehand: a neighbour that is asked for while the link comes up may not be found for seconds.
        links.set_neighbour(eth0.index, other, far_mac).expect("a neighbour");
        inside.set_neighbour(far.index, own, near_mac).expect("a neighbour");
        inside.add_route(&everywhere(own, far.index, false)).expect("a route");
        links.add_route(&everywhere(other, eth0.index, false)).expect("a route");
    }
    wait_until_running(links, "eth0");
    wait_until_running(&mut inside, "eth0");
    rest
}

/// The name of the node's end of a pod's link.
pub fn host_link(place: Ipv4Addr) -> String {
    format!("pod{}", place.octets()[3])
}

fn make_pod(links: &mut Rtnetlink, place: Ipv4Addr) -> Netns {
    let pod = Netns::create().expect("a namespace");
    let name = host_link(place);
    let end = VethEnd { name: &name, mac: None, netns: None };
    let peer = VethEnd { name: "eth0", mac: None, netns: Some(&pod) };
    let host = links.create_veth(&Veth { end, peer, mtu: 1500 }).expect("a veth pair");
    let mut inside = Rtnetlink::open_in(&pod).expect("a connection");
    set_up(&mut inside, "lo");
    let eth0 = set_up(&mut inside, "eth0");
    let (mac, own_mac) = (host.mac.expect("a veth end has one"), eth0.mac.expect("a veth end has one"));
    for net in host_nets(place) {
        inside.add_address(eth0.index, net).expect("an address");
        links.add_route(&Route::on_link(net, host.index)).expect("a route");
        links.set_neighbour(host.index, net.addr(), own_mac).expect("a neighbour");
    }
    for gateway in GATEWAYS {
        inside.set_neighbour(eth0.index, gateway, mac).expect("a neighbour");
        inside.add_route(&everywhere(gateway, eth0.index, true)).expect("a route");
    }
    wait_until_running(links, &name);
    wait_until_running(&mut inside, "eth0");
    pod
}

/// Starts servers at an address that tell each client where it is and who they take it for.
fn serve(address: IpAddr) {
    for port in TARGET_PORTS {
        let listener = TcpListener::bind((address, port)).expect("a free port");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if let (Ok(at), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) {
                    // A client that has gone away fails its own test.
                    let _ = stream.write_all(format!("{at} {}", peer.ip()).as_bytes());
                }
            }
        });
        let socket = UdpSocket::bind((address, port)).expect("a free port");
        thread::spawn(move || {
            let at = SocketAddr::from((address, port));
            while let Ok((_, peer)) = socket.recv_from(&mut [0; 16]) {
                let _ = socket.send_to(format!("{at} {}", peer.ip()).as_bytes(), peer);
            }
        });
    }
}

fn ask_tcp(source: IpAddr, destination: SocketAddr, patience: Duration) -> Answer {
    let family = if source.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    let patience = TimeVal::milliseconds(i64::try_from(patience.as_millis()).expect("short"));
    setsockopt(&fd, sockopt::SendTimeout, &patience).expect("an option");
    setsockopt(&fd, sockopt::ReceiveTimeout, &patience).expect("an option");
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))
        .expect("the source is an address of the namespace");
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(destination)) {
        Ok(()) => {
            let mut text = String::new();
            let read = TcpStream::from(fd).read_to_string(&mut text);
            read.map_or(Answer::Silence, |_| served(&text))
        }
        Err(nix::Error::ECONNREFUSED) => Answer::Refused,
        Err(nix::Error::EINPROGRESS | nix::Error::ETIMEDOUT) => Answer::Silence,
        Err(error) => panic!("cannot connect from {source} to {destination}: {error}"),
    }
}

/// Asks from a socket that may have asked before.
pub fn ask_from(socket: &UdpSocket, destination: SocketAddr, patience: Duration) -> Answer {
    socket.set_read_timeout(Some(patience)).expect("an option");
    socket.connect(destination).expect("a route");
    let mut buffer = [0; 64];
    match socket.send(b"?").and_then(|_| socket.recv(&mut buffer)) {
        Ok(length) => served(&String::from_utf8_lossy(&buffer[..length])),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Answer::Refused,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Answer::Silence,
        // How the kernel tells a sender on the node itself that a rule stopped its packet, with an answer or without.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Answer::Refused,
        Err(error) => panic!("cannot send to {destination}: {error}"),
    }
}

fn served(text: &str) -> Answer {
    let (at, seen) = text.split_once(' ').expect("a server says two things");
    Answer::Served { at: at.parse().expect("a socket address"), seen: seen.parse().expect("an address") }
}
