//! Pods of nodes on two networks: plain routes, the tunnel, and the change from one to the other.
#![expect(clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use compile::RoutingMode;
use compile::plan::Checksums;
use compile::sample::{PLAIN_PORT, plain_service, plain_slice};
use datapath::route::{MacAddress, RouteAction, RouteFilter, Vxlan};
use datapath::testing::{isolated, wait_for};
use datapath::{ChecksumProbe, Netns, probe_checksums, sysctl};
use fabric::{FAMILIES, Fabric, Hardware, MTU, node_address, pod_address, tunnel_address};
use model::{Cluster, Endpoint, EndpointSlice, IpFamily, Protocol, Service, ServiceKind, TargetPort};
use nix::sys::socket::{getsockopt, sockopt};

mod fabric;
mod tunnel_agreement;

const PORT: u16 = 8080;
const PATIENCE: Duration = Duration::from_secs(10);
const TUNNEL_MTU: u32 = MTU - 50;

/// A server that tells each client the address it has, then reads until the client has no more.
fn serve(netns: &Netns, address: IpAddr) {
    let listener = netns.run(|| TcpListener::bind((address, PORT)).expect("a free port")).expect("a thread");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let peer = stream.peer_addr().expect("connected").ip();
                // A client that has gone away fails its own test.
                let _ = stream.write_all(format!("{peer}\n").as_bytes());
                let mut received = Vec::new();
                let _ = stream.read_to_end(&mut received);
                let _ = stream.write_all(received.len().to_string().as_bytes());
            });
        }
    });
}

/// Serves at the addresses of all pods and nodes.
fn serve_everywhere(fabric: &Fabric) {
    for (index, node) in fabric.nodes.iter().enumerate() {
        for family in FAMILIES {
            serve(&node.pod, pod_address(family, index));
            serve(&node.netns, node_address(family, index));
        }
    }
}

/// What a server at `to` sees a client in `netns` as, and how much it got of `len` bytes.
fn ask(netns: &Netns, to: IpAddr, len: usize) -> std::io::Result<(IpAddr, usize)> {
    ask_at(netns, SocketAddr::new(to, PORT), len)
}

/// The same of a server at an address that leads to it.
fn ask_at(netns: &Netns, to: SocketAddr, len: usize) -> std::io::Result<(IpAddr, usize)> {
    let connect = || TcpStream::connect_timeout(&to, PATIENCE);
    talk(netns.run(connect).expect("a thread")?, len)
}

/// The same over a connection there is.
fn talk(mut stream: TcpStream, len: usize) -> std::io::Result<(IpAddr, usize)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&vec![b'x'; len])?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (seen, received) = answer.split_once('\n').expect("two things");
    Ok((seen.parse().expect("an address"), received.parse().expect("a number")))
}

/// Pods of every pair of nodes reach each other under their own addresses.
fn expect_pods_to_meet(fabric: &Fabric) {
    for family in FAMILIES {
        for from in 0..fabric.nodes.len() {
            for to in (0..fabric.nodes.len()).filter(|to| *to != from) {
                let answer = ask(&fabric.nodes[from].pod, pod_address(family, to), 1);
                let answer = answer.unwrap_or_else(|error| panic!("{family:?} from {from} to {to}: {error}"));
                assert_eq!(answer, (pod_address(family, from), 1), "{family:?} from {from} to {to}");
            }
        }
    }
}

/// The links by which a node's routes lead to the other nodes' pods, in the order of the nodes.
fn links_to_pods(fabric: &Fabric, node: usize, family: IpFamily) -> Vec<String> {
    let mut links = fabric.nodes[node].links();
    let mut routes = links.routes(RouteFilter::Ours).expect("routes");
    routes.retain(|route| IpFamily::of(route.destination.addr()) == family);
    routes.sort();
    let names = links.links().expect("links");
    let via = routes.iter().filter_map(|route| match route.action {
        RouteAction::Via { link, .. } => names.iter().find(|each| each.index == link).map(|link| link.name.clone()),
        _ => None,
    });
    via.collect()
}

#[test]
fn in_auto_mode_neighbours_are_reached_plainly_and_others_through_the_tunnel() {
    isolated(|| {
        let mut fabric = Fabric::make();
        serve_everywhere(&fabric);
        fabric.apply_all(RoutingMode::Auto);
        for family in FAMILIES {
            assert_eq!(links_to_pods(&fabric, 0, family), ["eth0", "fw-vxlan"]);
            assert_eq!(links_to_pods(&fabric, 2, family), ["fw-vxlan", "fw-vxlan"]);
        }
        expect_pods_to_meet(&fabric);
    });
}

#[test]
fn between_nodes_of_ipv6_alone_the_tunnel_carries_pods_of_both_families() {
    isolated(|| {
        let mut fabric = Fabric::make_on(&[IpFamily::V6]);
        for (index, node) in fabric.nodes.iter().enumerate() {
            FAMILIES.into_iter().for_each(|family| serve(&node.pod, pod_address(family, index)));
        }
        fabric.apply_all(RoutingMode::Auto);
        // As they are go packets of the family in which nodes are neighbours.
        assert_eq!(links_to_pods(&fabric, 0, IpFamily::V6), ["eth0", "fw-vxlan"]);
        assert_eq!(links_to_pods(&fabric, 0, IpFamily::V4), ["fw-vxlan", "fw-vxlan"]);
        expect_pods_to_meet(&fabric);
        for family in FAMILIES {
            let (node, len) = (&fabric.nodes[0].netns, 100_000);
            let answer = ask(node, pod_address(family, 2), len).expect("an answer");
            assert_eq!(answer, (tunnel_address(family, 0), len), "{family:?}");
            // Its link takes more than the tunnel does.
            let answer = ask(&fabric.nodes[0].pod, pod_address(family, 2), len).expect("an answer");
            assert_eq!(answer, (pod_address(family, 0), len), "{family:?}");
        }
        for node in 0..fabric.nodes.len() {
            fabric.restart(node);
            let again = fabric.apply(node, RoutingMode::Auto, &[0, 1, 2]);
            assert!(again.wrote_nothing(), "{again:?}");
        }
        let left = fabric.apply(0, RoutingMode::Auto, &[0, 1]);
        assert_eq!((left.routes_deleted, left.routes_failed), (2, 0));
    });
}

#[test]
fn in_auto_mode_a_second_link_changes_no_way_as_the_other_node_knows_nothing_of_it() {
    isolated(|| {
        let mut fabric = Fabric::make();
        fabric.add_second_link(0);
        serve_everywhere(&fabric);
        fabric.apply_all(RoutingMode::Auto);
        for family in FAMILIES {
            assert_eq!(links_to_pods(&fabric, 0, family), ["eth0", "fw-vxlan"]);
        }
        expect_pods_to_meet(&fabric);
    });
}

#[test]
fn what_a_node_sends_through_the_tunnel_and_what_its_pods_send_to_nodes_behind_it_finds_back() {
    isolated(|| {
        let mut fabric = Fabric::make();
        serve_everywhere(&fabric);
        fabric.apply_all(RoutingMode::Auto);
        for family in FAMILIES {
            let seen = |from: &Netns, to| ask(from, to, 1).expect("an answer").0;
            let (near, far) = (&fabric.nodes[0], &fabric.nodes[2]);
            assert_eq!(seen(&near.netns, pod_address(family, 2)), tunnel_address(family, 0));
            assert_eq!(seen(&near.netns, pod_address(family, 1)), node_address(family, 0));
            assert_eq!(seen(&near.pod, node_address(family, 2)), node_address(family, 0));
            assert_eq!(seen(&near.pod, node_address(family, 1)), pod_address(family, 0));
            assert_eq!(seen(&far.pod, node_address(family, 0)), node_address(family, 2));
        }
    });
}

#[test]
fn a_node_talks_to_its_own_pods_from_its_own_address_and_goes_on_when_the_tunnel_goes() {
    isolated(|| {
        let mut fabric = Fabric::make();
        serve_everywhere(&fabric);
        fabric.apply_all(RoutingMode::Auto);
        let open = FAMILIES.map(|family| {
            let connect = || TcpStream::connect_timeout(&SocketAddr::new(pod_address(family, 0), PORT), PATIENCE);
            fabric.nodes[0].netns.run(connect).expect("a thread").expect("a connection")
        });
        fabric.apply(0, RoutingMode::Auto, &[0, 1]);
        assert_eq!(fabric.nodes[0].links().link("fw-vxlan").expect("links"), None);
        let answers = open.map(|stream| talk(stream, 1).expect("an answer"));
        assert_eq!(answers, FAMILIES.map(|family| (node_address(family, 0), 1)));
    });
}

#[test]
fn a_node_without_an_address_of_a_family_talks_to_pods_of_it_from_its_end_of_the_tunnel() {
    isolated(|| {
        let mut fabric = Fabric::make_on(&[IpFamily::V4]);
        let family = IpFamily::V6;
        fabric.nodes.iter().enumerate().for_each(|(index, node)| serve(&node.pod, pod_address(family, index)));
        fabric.apply_all(RoutingMode::Auto);
        for to in [0, 2] {
            let seen = ask(&fabric.nodes[0].netns, pod_address(family, to), 1).expect("an answer").0;
            assert_eq!(seen, tunnel_address(family, 0), "to {to}");
        }
    });
}

#[test]
fn a_tunnel_of_an_earlier_build_whose_address_is_preferred_to_the_nodes_is_put_right() {
    isolated(|| {
        let mut fabric = Fabric::make();
        serve_everywhere(&fabric);
        fabric.apply_all(RoutingMode::Auto);
        let mut links = fabric.nodes[0].links();
        let device = links.require_link("fw-vxlan").expect("the tunnel").index;
        let undo = || sysctl::write("ipv6/conf/fw-vxlan/use_oif_addrs_only", "0").expect("a setting");
        fabric.nodes[0].netns.run(undo).expect("a thread");
        links.add_address(device, tunnel_address(IpFamily::V6, 0).into()).expect("an address");
        let seen = |fabric: &Fabric| ask(&fabric.nodes[0].netns, pod_address(IpFamily::V6, 0), 1).expect("an answer").0;
        assert_eq!(seen(&fabric), tunnel_address(IpFamily::V6, 0));
        fabric.restart(0);
        let outcome = fabric.apply(0, RoutingMode::Auto, &[0, 1, 2]);
        assert_eq!((outcome.tunnel_changes, outcome.routes_set), (1, 0), "{outcome:?}");
        assert_eq!(seen(&fabric), node_address(IpFamily::V6, 0));
    });
}

/// A Service with an address of each family, and with the pod of `node` as its only endpoint.
fn add_service(cluster: &mut Cluster, node: usize) -> [IpAddr; 2] {
    let addresses = [[10, 96, 0, 10].into(), Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 10).into()];
    let kind =
        ServiceKind::Virtual { cluster_ips: addresses.into(), external_ips: Vec::new(), load_balancer_ips: Vec::new() };
    let mut service = Service { kind, ..plain_service(0) };
    service.ports[0].target = TargetPort::Number(PORT.try_into().expect("not zero"));
    for family in FAMILIES {
        let mut slice = EndpointSlice { family, ..plain_slice(&service, []) };
        slice.name.name = format!("{family:?}").to_lowercase().into();
        slice.ports[0].port = PORT.try_into().expect("not zero");
        slice.endpoints.push(Endpoint::new(pod_address(family, node)));
        cluster.insert_slice(slice);
    }
    cluster.services.insert(service.name.clone(), service.into());
    addresses
}

#[test]
fn what_a_node_sends_to_a_service_finds_back_from_behind_the_tunnel() {
    isolated(|| {
        let mut fabric = Fabric::make();
        serve_everywhere(&fabric);
        fabric.apply_all(RoutingMode::Auto);
        let mut cluster = fabric::cluster(&[0, 1, 2]);
        let addresses = add_service(&mut cluster, 2);
        fabric.apply_cluster(0, RoutingMode::Auto, &cluster);
        let near = &fabric.nodes[0];
        for (family, address) in FAMILIES.into_iter().zip(addresses) {
            let seen = ask_at(&near.netns, SocketAddr::new(address, PLAIN_PORT), 1).expect("an answer").0;
            assert_eq!(seen, tunnel_address(family, 0));
            let seen = ask_at(&near.pod, SocketAddr::new(address, PLAIN_PORT), 1).expect("an answer").0;
            assert_eq!(seen, pod_address(family, 0));
        }
    });
}

#[test]
fn a_service_that_asks_for_the_tunnels_port_cuts_no_pods_off() {
    isolated(|| {
        let mut fabric = Fabric::make();
        serve_everywhere(&fabric);
        let mut cluster = fabric::cluster(&[0, 1, 2]);
        add_service(&mut cluster, 0);
        let mut service = cluster.services.values().next().expect("one").as_ref().clone();
        let ServiceKind::Virtual { external_ips, .. } = &mut service.kind else { panic!("a plain one is virtual") };
        *external_ips = (0..3).map(|node| node_address(IpFamily::V4, node)).collect();
        service.ports[0].port = 4789.try_into().expect("not zero");
        service.ports[0].protocol = Protocol::Udp;
        for slice in cluster.slices_of(&service.name).cloned().collect::<Vec<_>>() {
            let mut slice = slice.as_ref().clone();
            slice.ports[0].protocol = Protocol::Udp;
            cluster.insert_slice(slice);
        }
        cluster.services.insert(service.name.clone(), service.into());
        for node in 0..fabric.nodes.len() {
            let (outcome, rejected) = fabric.apply_partly(node, RoutingMode::Auto, &cluster);
            assert_eq!((outcome.routes_failed, rejected.len()), (0, 3), "{rejected:?}");
        }
        expect_pods_to_meet(&fabric);
    });
}

#[test]
fn a_restart_writes_nothing_and_a_node_that_leaves_changes_only_its_own() {
    isolated(|| {
        let mut fabric = Fabric::make();
        serve_everywhere(&fabric);
        fabric.apply_all(RoutingMode::Vxlan);
        for node in 0..3 {
            fabric.restart(node);
            let outcome = fabric.apply(node, RoutingMode::Vxlan, &[0, 1, 2]);
            assert!(outcome.wrote_nothing(), "{outcome:?}");
        }
        // Two neighbours, one for each family, and one entry of where the node is.
        let left = fabric.apply(0, RoutingMode::Vxlan, &[0, 1]);
        assert_eq!((left.routes_set, left.routes_deleted, left.tunnel_changes), (0, 2, 3));
        let joined = fabric.apply(0, RoutingMode::Vxlan, &[0, 1, 2]);
        assert_eq!((joined.routes_set, joined.routes_deleted, joined.tunnel_changes), (2, 0, 3));
        expect_pods_to_meet(&fabric);
    });
}

#[test]
fn a_change_of_mode_leaves_nothing_of_the_old_one() {
    isolated(|| {
        let mut fabric = Fabric::make();
        serve_everywhere(&fabric);
        fabric.apply_all(RoutingMode::Vxlan);
        expect_pods_to_meet(&fabric);
        let held = |fabric: &Fabric| FAMILIES.map(|family| links_to_pods(fabric, 0, family));
        assert_eq!(held(&fabric), [["fw-vxlan", "fw-vxlan"], ["fw-vxlan", "fw-vxlan"]]);
        fabric.apply_all(RoutingMode::Auto);
        assert_eq!(held(&fabric), [["eth0", "fw-vxlan"], ["eth0", "fw-vxlan"]]);
        let mut links = fabric.nodes[0].links();
        let device = links.require_link("fw-vxlan").expect("the tunnel").index;
        assert_eq!(links.forwarding(device).expect("entries").len(), 1);
        assert_eq!(links.permanent_neighbours().expect("entries").iter().filter(|(on, ..)| *on == device).count(), 2);
        for node in [0, 1] {
            fabric.apply(node, RoutingMode::Auto, &[0, 1]);
        }
        assert_eq!(links.link("fw-vxlan").expect("links"), None);
        let pods = FAMILIES.map(|family| ask(&fabric.nodes[0].pod, pod_address(family, 1), 1).expect("an answer").0);
        assert_eq!(pods, FAMILIES.map(|family| pod_address(family, 0)));
    });
}

#[test]
fn a_device_somebody_removed_or_set_down_is_made_anew_with_all_that_leads_through_it() {
    isolated(|| {
        let mut fabric = Fabric::make();
        serve_everywhere(&fabric);
        fabric.apply_all(RoutingMode::Auto);
        let mut links = fabric.nodes[0].links();
        let device = links.require_link("fw-vxlan").expect("the tunnel").index;
        links.delete_link(device).expect("deleted");
        fabric.restart(0);
        fabric.apply(0, RoutingMode::Auto, &[0, 1, 2]);
        expect_pods_to_meet(&fabric);
        let device = links.require_link("fw-vxlan").expect("the tunnel").index;
        links.set_down(device).expect("down");
        fabric.restart(0);
        fabric.apply(0, RoutingMode::Auto, &[0, 1, 2]);
        expect_pods_to_meet(&fabric);
    });
}

#[test]
fn a_device_of_somebody_else_with_the_tunnels_name_is_left_alone() {
    isolated(|| {
        let mut fabric = Fabric::make();
        let theirs = Vxlan { network: 7, local: node_address(IpFamily::V4, 0), port: 8472.try_into().expect("a port") };
        let mac = MacAddress([2, 0, 0, 0, 0, 7]);
        let mut links = fabric.nodes[0].links();
        let device = links.create_vxlan("fw-vxlan", &theirs, mac, 1400).expect("a device").index;
        links.set_alias(device, "a customer's").expect("marked");
        assert!(fabric.apply(0, RoutingMode::Auto, &[0, 1, 2]).routes_failed > 0, "there can be no tunnel");
        let held = links.require_link("fw-vxlan").expect("theirs");
        assert_eq!((held.index, held.alias.as_deref()), (device, Some("a customer's")));
        links.delete_link(device).expect("deleted");
        // As an agent leaves it that ended before it marked the device: down, and nobody's.
        links.create_vxlan("fw-vxlan", &theirs, mac, 1400).expect("a device");
        assert_eq!(fabric.apply(0, RoutingMode::Auto, &[0, 1, 2]).routes_failed, 0);
        assert!(links.require_link("fw-vxlan").expect("the tunnel").is_ours());
    });
}

/// What becomes of packets a node sends through the tunnel to another's end of it.
fn probe(fabric: &Fabric, from: usize, to: usize) -> [ChecksumProbe; 2] {
    FAMILIES.map(|family| {
        let (source, target) = (tunnel_address(family, from), tunnel_address(family, to));
        let probed = || probe_checksums(source, target, Duration::from_millis(500)).expect("a route");
        fabric.nodes[from].netns.run(probed).expect("a thread")
    })
}

#[test]
fn hardware_that_leaves_checksums_undone_is_found_out_and_the_kernel_does_its_work() {
    isolated(|| {
        let mut fabric = Fabric::make_with(Hardware::BadChecksums);
        serve_everywhere(&fabric);
        fabric.apply_all(RoutingMode::Auto);
        assert_eq!(probe(&fabric, 2, 0), [ChecksumProbe::Faulty; 2]);
        let far = &fabric.nodes[2].pod;
        ask(far, pod_address(IpFamily::V4, 0), 1).expect_err("what a pod sends arrives with a wrong checksum");
        fabric.checksums = Checksums::Computed;
        fabric.apply_all(RoutingMode::Auto);
        assert_eq!(probe(&fabric, 2, 0), [ChecksumProbe::Fine; 2]);
        expect_pods_to_meet(&fabric);
        fabric.restart(2);
        assert!(fabric.apply(2, RoutingMode::Auto, &[0, 1, 2]).wrote_nothing());
    });
}

#[test]
fn good_hardware_passes_the_probe_and_an_address_of_nobody_says_nothing() {
    isolated(|| {
        let mut fabric = Fabric::make();
        fabric.apply_all(RoutingMode::Auto);
        assert_eq!(probe(&fabric, 0, 2), [ChecksumProbe::Fine; 2]);
        fabric.apply(0, RoutingMode::Auto, &[0, 1]);
        let links = fabric.nodes[2].links().require_link("eth0").expect("the link").index;
        fabric.nodes[2].links().set_down(links).expect("down");
        fabric.apply(0, RoutingMode::Auto, &[0, 1, 2]);
        assert_eq!(probe(&fabric, 0, 2), [ChecksumProbe::Silent; 2]);
    });
}

/// The path MTU that a UDP socket in `netns` knows towards `to` after it has sent a packet as large as its link carries.
fn path_mtu(netns: &Netns, to: IpAddr) -> u32 {
    const HEADERS: usize = 20 + 8;
    let socket = netns.run(|| UdpSocket::bind("0.0.0.0:0").expect("a port")).expect("a thread");
    socket.connect((to, 9)).expect("a route");
    // Linux sets DF on it; the answer may be that it was too large, or that nobody listens there.
    let _ = socket.send(&vec![0; MTU as usize - HEADERS]);
    wait_for("an answer of the network", PATIENCE, || socket.take_error().expect("an option"));
    u32::try_from(getsockopt(&socket, sockopt::IpMtu).expect("an option")).expect("positive")
}

#[test]
fn large_packets_pass_and_only_paths_through_the_tunnel_have_its_mtu() {
    isolated(|| {
        let mut fabric = Fabric::make();
        serve_everywhere(&fabric);
        fabric.apply_all(RoutingMode::Auto);
        let pod = &fabric.nodes[0].pod;
        assert_eq!(path_mtu(pod, pod_address(IpFamily::V4, 1)), MTU);
        assert_eq!(path_mtu(pod, pod_address(IpFamily::V4, 2)), TUNNEL_MTU);
        const LEN: usize = 8 << 20;
        for family in FAMILIES {
            for (from, to) in [(0, 2), (2, 0), (0, 1)] {
                let answer = ask(&fabric.nodes[from].pod, pod_address(family, to), LEN).expect("an answer");
                assert_eq!(answer, (pod_address(family, from), LEN), "{family:?} from {from} to {to}");
            }
        }
    });
}

/// A node on another network than `node` is.
const fn far_from(node: usize) -> usize {
    if node == 2 { 0 } else { 2 }
}

/// A packet of the tunnel to a node's end of it: UDP from the address of a far node's pod to a pod of that node.
fn encapsulated(to: usize, payload: &[u8]) -> Vec<u8> {
    const VXLAN: [u8; 8] = [0x08, 0, 0, 0, 0, 0, 117, 0];
    let of_ipv4 = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => panic!("of IPv4"),
    };
    let (from, family) = (far_from(to), IpFamily::V4);
    let [source, target] = [from, to].map(|node| of_ipv4(pod_address(family, node)));
    let [sender, receiver] = [from, to].map(|node| [&[0x02, 0xf4][..], &of_ipv4(node_address(family, node))].concat());
    let udp_len = u16::try_from(8 + payload.len()).expect("short");
    let mut ip = [&[0x45, 0][..], &(20 + udp_len).to_be_bytes(), &[0, 0, 0, 0, 64, 17, 0, 0]].concat();
    ip.extend(source);
    ip.extend(target);
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let checksum = !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("few fields");
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let ethernet = [&receiver[..], &sender, &[0x08, 0x00]].concat();
    // A datagram without a checksum is taken as it is (RFC 768).
    let udp = [&[0x30, 0x39][..], &PORT.to_be_bytes(), &udp_len.to_be_bytes(), &[0, 0]].concat();
    [&VXLAN[..], &ethernet, &ip, &udp, payload].concat()
}

/// A socket of a node's pod at which what the tunnel brings arrives.
fn listen(fabric: &Fabric, node: usize) -> UdpSocket {
    let bind = || UdpSocket::bind((pod_address(IpFamily::V4, node), PORT)).expect("a port");
    let socket = fabric.nodes[node].pod.run(bind).expect("a thread");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    socket
}

/// Sends a packet of the tunnel to a node's end of it, from a namespace.
fn inject(from: &Netns, to: usize, payload: &[u8]) {
    let end = SocketAddr::new(node_address(IpFamily::V4, to), 4789);
    let send = || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
        socket.send_to(&encapsulated(to, payload), end).expect("a route");
    };
    from.run(send).expect("a thread");
}

/// The first thing that arrives, and under whose address.
fn receive(socket: &UdpSocket) -> (String, IpAddr) {
    let mut buffer = [0; 64];
    let (len, sender) = socket.recv_from(&mut buffer).expect("something arrives");
    (String::from_utf8_lossy(&buffer[..len]).into_owned(), sender.ip())
}

#[test]
fn packets_of_the_tunnel_count_only_when_a_node_of_the_cluster_sent_them() {
    isolated(|| {
        let mut fabric = Fabric::make();
        fabric.apply_all(RoutingMode::Auto);
        let pod = listen(&fabric, 0);
        // The router is on the network of the node and no node itself.
        inject(&Netns::current().expect("this namespace"), 0, b"from a stranger");
        inject(&fabric.nodes[2].netns, 0, b"from a node");
        assert_eq!(receive(&pod), ("from a node".to_owned(), pod_address(IpFamily::V4, 2)));
    });
}

#[test]
fn pods_get_nothing_into_the_tunnel_by_sending_to_the_end_of_a_node() {
    isolated(|| {
        let mut fabric = Fabric::make();
        fabric.apply_all(RoutingMode::Auto);
        for to in 0..fabric.nodes.len() {
            let pod = listen(&fabric, to);
            for from in 0..fabric.nodes.len() {
                inject(&fabric.nodes[from].pod, to, format!("from the pod of node {from}").as_bytes());
            }
            // What it sends goes the way of what its pod sent, and comes after it.
            inject(&fabric.nodes[far_from(to)].netns, to, b"from a node");
            assert_eq!(receive(&pod).0, "from a node");
        }
    });
}
