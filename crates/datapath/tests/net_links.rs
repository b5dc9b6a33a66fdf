//! Namespaces, links, addresses, routes and neighbours in a real kernel.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use datapath::route::{Bridge, MacAddress, Route, RouteAction, RouteFilter, Rtnetlink, Veth, VethEnd};
use datapath::testing::{isolated, wait_for};
use datapath::{Netns, netns, sysctl};
use ipnet::IpNet;
use nix::errno::Errno;

const SECONDS: Duration = Duration::from_secs(30);

fn end(name: &str) -> VethEnd<'_> {
    VethEnd { name, mac: None, netns: None }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_namespace_bound_to_a_path_is_found_there_until_removed() {
    isolated(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod");
        Netns::create_at(&path).unwrap();
        let links = Rtnetlink::open_in(&Netns::open(&path).unwrap()).unwrap().links().unwrap();
        assert_eq!(links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>(), ["lo"]);
        netns::remove(&path).unwrap();
        assert!(!path.exists());
        netns::remove(&path).unwrap();
    });
}

#[test]
fn a_taken_path_is_left_as_it_was() {
    isolated(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        std::fs::write(&path, "precious").unwrap();
        assert!(Netns::create_at(&path).unwrap_err().to_string().contains("taken"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    });
}

#[test]
fn a_veth_pair_joins_two_namespaces() {
    isolated(|| {
        let pod = Netns::create().unwrap();
        let mut host = Rtnetlink::open().unwrap();
        let mac = MacAddress([0x02, 0, 0, 0, 0, 7]);
        let veth =
            Veth { end: end("fw0"), peer: VethEnd { name: "eth0", mac: Some(mac), netns: Some(&pod) }, mtu: 1400 };
        let link = host.create_veth(&veth).unwrap();
        host.mark_as_ours(link.index, "shop/cart").unwrap();

        let mut inside = Rtnetlink::open_in(&pod).unwrap();
        let peer = inside.require_link("eth0").unwrap();
        assert!(!peer.is_up);
        inside.set_up(peer.index).unwrap();
        let peer = inside.require_link("eth0").unwrap();
        assert_eq!((peer.mac, peer.mtu, peer.is_up), (Some(mac), 1400, true));
        assert_eq!(peer.peer, Some(link.index));
        let link = wait_for("a running link", SECONDS, || host.link("fw0").unwrap().filter(|link| link.is_running));
        assert_eq!(link.alias.as_deref(), Some("fairway:shop/cart"));
        assert_eq!((link.mtu, link.kind.as_deref(), link.peer), (1400, Some("veth"), Some(peer.index)));

        assert!(host.delete_link(link.index).unwrap());
        assert!(!host.delete_link(link.index).unwrap());
        assert_eq!(inside.link("eth0").unwrap(), None);
    });
}

#[test]
fn a_guarded_link_is_ours_and_takes_packets_under_the_nodes_addresses() {
    isolated(|| {
        let mut host = Rtnetlink::open().unwrap();
        let link = host.create_veth(&Veth { end: end("fw0"), peer: end("fw1"), mtu: 1500 }).unwrap();
        let accepts_local = |name: &str| sysctl::read(&format!("ipv4/conf/{name}/accept_local")).unwrap();
        host.mark_as_guarded(link.index, "shop/cart").unwrap();
        assert_eq!(host.require_link("fw0").unwrap().alias.as_deref(), Some("fairway:shop/cart"));
        assert_eq!((accepts_local("fw0").as_str(), accepts_local("fw1").as_str()), ("1", "0"));
    });
}

#[test]
fn a_taken_name_is_refused_with_the_kernels_words() {
    isolated(|| {
        let mut host = Rtnetlink::open().unwrap();
        host.create_bridge(&Bridge { name: "br0", mtu: 1500 }).unwrap();
        let error = host.create_veth(&Veth { end: end("br0"), peer: end("other"), mtu: 1500 }).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::EEXIST));
        assert_eq!(error.to_string(), "cannot create the veth pair br0");
        assert_eq!(host.link("other").unwrap(), None);
    });
}

#[test]
fn a_bridge_carries_packets_between_its_ports() {
    isolated(|| {
        let mut host = Rtnetlink::open().unwrap();
        let bridge = host.create_bridge(&Bridge { name: "br0", mtu: 1500 }).unwrap();
        let nodes: Vec<Netns> = (1..=2)
            .map(|number| {
                let node = Netns::create().unwrap();
                let name = format!("node{number}");
                let peer = VethEnd { name: "eth0", mac: None, netns: Some(&node) };
                let port = host.create_veth(&Veth { end: end(&name), peer, mtu: 1500 }).unwrap();
                host.enslave(port.index, bridge.index).unwrap();
                let mut inside = Rtnetlink::open_in(&node).unwrap();
                let eth0 = inside.require_link("eth0").unwrap();
                inside.set_up(eth0.index).unwrap();
                inside.add_address(eth0.index, format!("10.89.0.{number}/24").parse().unwrap()).unwrap();
                node
            })
            .collect();
        assert_eq!(host.require_link("node1").unwrap().controller, Some(bridge.index));

        let server = nodes[1].run(|| UdpSocket::bind("10.89.0.2:0").unwrap()).unwrap();
        server.set_read_timeout(Some(SECONDS)).unwrap();
        let client = nodes[0].run(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        for node in &nodes {
            Rtnetlink::open_in(node).unwrap().wait_until_running("eth0", SECONDS).unwrap();
        }
        ["node1", "node2", "br0"].iter().for_each(|link| host.wait_until_running(link, SECONDS).unwrap());
        client.send_to(b"hello", server.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 16];
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.ip()), (&b"hello"[..], ip("10.89.0.1")));
    });
}

#[test]
fn routes_are_ours_until_deleted() {
    isolated(|| {
        let mut host = Rtnetlink::open().unwrap();
        let link = host.create_veth(&Veth { end: end("a"), peer: end("b"), mtu: 1500 }).unwrap();
        host.add_address(link.index, "192.0.2.1/24".parse().unwrap()).unwrap();
        host.add_address(link.index, "192.0.2.1/24".parse().unwrap()).unwrap();

        let pod = Route::on_link("10.244.0.5/32".parse().unwrap(), link.index).ours();
        let mut far = Route::via("10.244.1.0/24".parse().unwrap(), ip("192.0.2.7"), link.index).ours();
        far.mtu = Some(1450);
        let gateway = RouteAction::Via { gateway: ip("169.254.1.1"), link: link.index, on_link: true };
        let default = Route::new("0.0.0.0/0".parse().unwrap(), gateway);
        let hole = Route::new("10.244.0.0/24".parse().unwrap(), RouteAction::Blackhole);
        let mut wanted = vec![pod.clone(), far.clone(), default.ours(), hole.ours()];
        for route in &wanted {
            host.replace_route(route).unwrap();
        }
        wanted.sort();
        let listed = |host: &mut Rtnetlink| {
            let mut routes = host.routes(RouteFilter::Ours).unwrap();
            routes.sort();
            routes
        };
        assert_eq!(listed(&mut host), wanted);
        assert_eq!(host.add_route(&pod).unwrap_err().errno(), Some(Errno::EEXIST));

        far.mtu = None;
        host.replace_route(&far).unwrap();
        assert!(listed(&mut host).contains(&far));
        assert!(host.delete_route(&far).unwrap());
        assert!(!host.delete_route(&far).unwrap());
        assert_eq!(listed(&mut host).len(), 3);
        let everything = host.routes(RouteFilter::Main).unwrap();
        assert!(everything.iter().any(|route| route.destination == "192.0.2.0/24".parse().unwrap()));
    });
}

#[test]
fn every_destination_is_known_and_the_way_to_it() {
    isolated(|| {
        let mut host = Rtnetlink::open().unwrap();
        let link = host.create_veth(&Veth { end: end("a"), peer: end("b"), mtu: 1500 }).unwrap();
        let peer = host.require_link("b").unwrap();
        host.set_up(peer.index).unwrap();
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        host.add_address(link.index, net("192.0.2.1/24")).unwrap();
        host.add_address(link.index, net("2001:db8::1/64")).unwrap();
        host.replace_route(&Route::via(net("198.51.100.0/24"), ip("192.0.2.2"), link.index)).unwrap();
        host.replace_route(&Route::new(net("203.0.113.0/24"), RouteAction::Blackhole)).unwrap();
        let destinations = host.destinations().unwrap();
        for expected in ["192.0.2.0/24", "192.0.2.1/32", "198.51.100.0/24", "2001:db8::/64"] {
            assert!(destinations.contains(&(net(expected), Some(link.index))), "{expected} in {destinations:?}");
        }
        assert!(destinations.contains(&(net("203.0.113.0/24"), None)), "{destinations:?}");
        assert_eq!(host.link_out_to(ip("198.51.100.7")).unwrap(), Some(link.index), "through a gateway");
        assert_eq!(host.link_towards(ip("198.51.100.7")).unwrap(), None);
        assert_eq!(host.link_towards(ip("192.0.2.9")).unwrap(), Some(link.index));
        assert_eq!(host.link_out_to(ip("10.0.0.1")).unwrap(), None, "there is no way");
        assert_eq!(host.link_out_to(ip("203.0.113.7")).unwrap(), None, "it is thrown away");
        for (range, address) in [("2001:db8:9::/64", "2001:db8:9::1"), ("10.9.0.0/16", "10.9.0.1")] {
            host.replace_route(&Route::new(net(range), RouteAction::Unreachable)).unwrap();
            assert_eq!(host.link_out_to(ip(address)).unwrap(), None, "{range} is unreachable");
            host.delete_route(&Route::new(net(range), RouteAction::Unreachable)).unwrap();
            for kind in ["blackhole", "prohibit", "throw"] {
                let ip_route = |verb: &str| {
                    let run = std::process::Command::new("ip").args(["route", verb, kind, range]).output().unwrap();
                    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
                };
                ip_route("add");
                assert_eq!(host.link_out_to(ip(address)).unwrap(), None, "{kind} {range}");
                ip_route("del");
            }
        }
    });
}

#[test]
fn six_is_like_four() {
    isolated(|| {
        let mut host = Rtnetlink::open().unwrap();
        let link = host.create_veth(&Veth { end: end("a"), peer: end("b"), mtu: 1500 }).unwrap();
        host.add_address(link.index, "2001:db8::1/64".parse().unwrap()).unwrap();
        assert!(host.addresses().unwrap().contains(&(link.index, "2001:db8::1/64".parse().unwrap())));
        let route = Route::via("2001:db8:1::/64".parse().unwrap(), ip("2001:db8::7"), link.index).ours();
        host.replace_route(&route).unwrap();
        assert_eq!(host.routes(RouteFilter::Ours).unwrap(), std::slice::from_ref(&route));
        assert!(host.delete_route(&route).unwrap());
    });
}

#[test]
fn a_permanent_neighbour_needs_no_answer() {
    isolated(|| {
        let mut host = Rtnetlink::open().unwrap();
        let link = host.create_veth(&Veth { end: end("a"), peer: end("b"), mtu: 1500 }).unwrap();
        for last in [7, 8] {
            let mac = MacAddress([2, 0, 0, 0, 0, last]);
            host.set_neighbour(link.index, ip("169.254.1.1"), mac).unwrap();
            assert_eq!(host.permanent_neighbours().unwrap(), [(link.index, ip("169.254.1.1"), mac)]);
        }
    });
}

#[test]
fn settings_belong_to_a_namespace() {
    isolated(|| {
        let pod = Netns::create().unwrap();
        pod.run(|| sysctl::write("ipv4/ip_forward", "1").unwrap()).unwrap();
        assert_eq!(pod.run(|| sysctl::read("ipv4/ip_forward").unwrap()).unwrap(), "1");
        assert_eq!(sysctl::read("ipv4/ip_forward").unwrap(), "0");
        let error = sysctl::write("ipv4/no_such_thing", "1").unwrap_err();
        assert_eq!(error.to_string(), "cannot set net.ipv4/no_such_thing to 1");
    });
}

#[test]
fn hundreds_of_links_are_listed_in_order() {
    isolated(|| {
        let mut host = Rtnetlink::open().unwrap();
        for number in 0..150 {
            let (name, peer) = (format!("a{number}"), format!("b{number}"));
            host.create_veth(&Veth { end: end(&name), peer: end(&peer), mtu: 1500 }).unwrap();
        }
        let links = host.links().unwrap();
        assert_eq!(links.len(), 301);
        assert!(links.is_sorted_by_key(|link| link.index));
    });
}
