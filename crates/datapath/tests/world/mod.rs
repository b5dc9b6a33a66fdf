//! A node with real pods and the rest of the world, at the addresses of sample clusters.
#![expect(clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use compile::Packet;
use compile::sample::{CLIENTS, ENDPOINTS, NODES, TARGET_PORTS};
use datapath::route::{Route, RouteAction, Rtnetlink, Veth, VethEnd};
use datapath::{Netns, sysctl};
use model::Protocol;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

/// Where pods send everything.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

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
        ] {
            sysctl::write(key, value).expect("a setting");
        }
        let rest = make_rest(&mut links);
        let local = ENDPOINTS.into_iter().chain(CLIENTS).filter(|address| is_pod_of_node(*address));
        let pods: Vec<(Ipv4Addr, Netns)> = local.map(|address| (address, make_pod(&mut links, address))).collect();
        let world = Self { node, pods, rest };
        for address in ENDPOINTS {
            world.run_at(address, || serve(address));
        }
        world
    }

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
        let IpAddr::V4(source) = packet.source else { panic!("sample packets are IPv4") };
        let destination = SocketAddr::new(packet.destination, packet.port);
        if packet.protocol == Protocol::Udp {
            return ask_from(&self.udp_client(source), destination, patience);
        }
        let ask = || ask_tcp(source, destination, patience);
        self.run_at(source, ask)
    }

    /// A UDP socket of `source`, which keeps its port between questions.
    pub fn udp_client(&self, source: Ipv4Addr) -> UdpSocket {
        let bind = || UdpSocket::bind((source, 0)).expect("the source is an address of the namespace");
        self.run_at(source, bind)
    }
}

/// Whether an address is one of the node's pods'.
pub fn is_pod_of_node(address: Ipv4Addr) -> bool {
    address.octets()[..3] == NODES[0].pods.octets()[..3]
}

fn set_up(links: &mut Rtnetlink, name: &str) -> datapath::route::Link {
    let link = links.require_link(name).expect("the link");
    links.set_up(link.index).expect("up");
    link
}

fn host_net(address: Ipv4Addr) -> ipnet::IpNet {
    IpAddr::from(address).into()
}

fn everywhere(action: RouteAction) -> Route {
    Route::new("0.0.0.0/0".parse().expect("a range"), action)
}

fn make_rest(links: &mut Rtnetlink) -> Netns {
    let rest = Netns::create().expect("a namespace");
    let end = VethEnd { name: "eth0", mac: None, netns: None };
    let peer = VethEnd { netns: Some(&rest), ..end };
    let eth0 = links.create_veth(&Veth { end, peer, mtu: 1500 }).expect("a veth pair");
    let [own, other] = [&NODES[0], &NODES[1]].map(|node| node.address);
    let on_underlay = |address: Ipv4Addr| ipnet::IpNet::new(address.into(), 24).expect("a prefix");
    links.add_address(eth0.index, on_underlay(own)).expect("an address");

    let mut inside = Rtnetlink::open_in(&rest).expect("a connection");
    let far = set_up(&mut inside, "eth0");
    inside.add_address(far.index, on_underlay(other)).expect("an address");
    let lo = set_up(&mut inside, "lo");
    for address in ENDPOINTS.into_iter().chain(CLIENTS).filter(|address| !is_pod_of_node(*address) && *address != own) {
        inside.add_address(lo.index, host_net(address)).expect("an address");
    }
    let node = RouteAction::Via { gateway: own.into(), link: far.index, on_link: false };
    inside.add_route(&everywhere(node)).expect("a route");
    // Found by ARP.
    links.add_route(&everywhere(RouteAction::Link(eth0.index))).expect("a route");
    rest
}

/// The name of the node's end of a pod's link.
pub fn host_link(address: Ipv4Addr) -> String {
    format!("pod{}", address.octets()[3])
}

fn make_pod(links: &mut Rtnetlink, address: Ipv4Addr) -> Netns {
    let pod = Netns::create().expect("a namespace");
    let name = host_link(address);
    let end = VethEnd { name: &name, mac: None, netns: None };
    let peer = VethEnd { name: "eth0", mac: None, netns: Some(&pod) };
    let host = links.create_veth(&Veth { end, peer, mtu: 1500 }).expect("a veth pair");
    links.add_route(&Route::on_link(host_net(address), host.index)).expect("a route");

    let mut inside = Rtnetlink::open_in(&pod).expect("a connection");
    set_up(&mut inside, "lo");
    let eth0 = set_up(&mut inside, "eth0");
    inside.add_address(eth0.index, host_net(address)).expect("an address");
    let mac = host.mac.expect("a veth end has one");
    inside.set_neighbour(eth0.index, GATEWAY.into(), mac).expect("a neighbour");
    let gateway = RouteAction::Via { gateway: GATEWAY.into(), link: eth0.index, on_link: true };
    inside.add_route(&everywhere(gateway)).expect("a route");
    pod
}

/// Starts servers at an address that tell each client where it is and who they take it for.
fn serve(address: Ipv4Addr) {
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

fn ask_tcp(source: Ipv4Addr, destination: SocketAddr, patience: Duration) -> Answer {
    let SocketAddr::V4(destination) = destination else { panic!("sample packets are IPv4") };
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    let patience = TimeVal::milliseconds(i64::try_from(patience.as_millis()).expect("short"));
    setsockopt(&fd, sockopt::SendTimeout, &patience).expect("an option");
    setsockopt(&fd, sockopt::ReceiveTimeout, &patience).expect("an option");
    bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(source, 0)))
        .expect("the source is an address of the namespace");
    match connect(fd.as_raw_fd(), &SockaddrIn::from(destination)) {
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
