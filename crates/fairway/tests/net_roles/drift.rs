//! What the agent does when others change the node's kernel and nothing changes in the cluster.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use apiserver::client::SERVICES;
use compile::ruleset::Operation;
use datapath::nft::Table;
use datapath::route::{LinkIndex, Route, RouteAction, RouteFilter, Rtnetlink};
use datapath::testing::{self, isolated, wait_for};
use datapath::{Netns, sysctl};
use serde_json::json;

use crate::agent::{serve_tcp, wait_for_answer};
use crate::refusals::wait_for_event;
use crate::world::{DEADLINE, World};

#[test]
fn a_table_that_somebody_deletes_is_back_within_seconds_and_told_on_the_node() {
    isolated(|| {
        let world = World::start_with_shop("TCP");
        world.create_endpoints("shop", "TCP", &[serve_tcp("10.244.1.5")]);
        let _agent = world.spawn_agent();
        wait_for_answer("10.244.1.5");
        Table::open().unwrap().apply(&[Operation::DeleteTable]).unwrap();
        let event = wait_for_event(&world, "node1", "kernel");
        wait_for_answer("10.244.1.5");
        assert_eq!(event["reason"], "KernelChanged");
        assert!(event["message"].as_str().unwrap().contains("deleted the nf_tables table inet fairway"), "{event}");
    });
}

#[test]
fn a_route_that_somebody_deletes_is_back_within_seconds() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        let _agent = world.spawn_agent();
        let mut links = Rtnetlink::open().unwrap();
        let route = wait_for("a route of the agent", DEADLINE, || links.routes(RouteFilter::Ours).unwrap().pop());
        assert!(links.delete_route(&route).unwrap());
        wait_for("the route again", DEADLINE, || {
            links.routes(RouteFilter::Ours).unwrap().contains(&route).then_some(())
        });
    });
}

/// Connects a pod with limits to this node, as its runtime does; the pod's namespace.
fn add_pod(world: &World) -> Netns {
    let netns = world.cni_state_dir().with_file_name("netns");
    let pod = Netns::create_at(&netns).unwrap();
    let config = json!({
        "cniVersion": "1.1.0", "name": "fairway", "type": "fairway",
        "ipam": { "ranges": ["10.244.1.64/26", "fd00:10:244:1::/64"] }, "stateDir": world.cni_state_dir(),
        "runtimeConfig": { "bandwidth": { "ingressRate": 8_000_000 } },
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
    command.env_clear().env("CNI_COMMAND", "ADD").env("CNI_CONTAINERID", "cart").env("CNI_IFNAME", "eth0");
    command.env("CNI_NETNS", netns).env("CNI_PATH", "/nowhere").stdin(Stdio::piped()).stdout(Stdio::piped());
    command.env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0");
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(config.to_string().as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    assert!(said.status.success(), "{said:?}");
    pod
}

/// The routes to that pod, and its link.
fn routes_to_pod(links: &mut Rtnetlink) -> Vec<Route> {
    let mut routes = links.routes(RouteFilter::Ours).unwrap();
    routes.retain(|route| matches!(route.action, RouteAction::Link(_)));
    routes
}

#[test]
fn what_a_pod_has_on_the_node_is_back_within_seconds_and_told_on_the_node() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        let agent = world.spawn_agent();
        let (_pod, mut links) = (add_pod(&world), Rtnetlink::open().unwrap());
        let routes = routes_to_pod(&mut links);
        let [Route { action: RouteAction::Link(link), .. }, _] = routes[..] else { panic!("{routes:?}") };
        let is_back =
            |links: &mut Rtnetlink| routes.iter().all(|route| routes_to_pod(links).contains(route)).then_some(());
        for route in &routes {
            assert!(links.delete_route(route).unwrap());
        }
        let message = wait_for_event(&world, "node1", "kernel")["message"].to_string();
        assert!(message.contains("shop/cart-0: the host has no route to 10.244.1.65"), "{message}");
        wait_for("the routes again", DEADLINE, || is_back(&mut links));
        links.set_down(link).unwrap();
        links.set_up(link).unwrap();
        wait_for("the routes of a link that was down", DEADLINE, || is_back(&mut links));
        assert!(links.unlimit_rate(link).unwrap());
        wait_for("the limit again", DEADLINE, || links.rate_limit(link).unwrap());
        agent.crash();
        assert!(links.delete_route(&routes[0]).unwrap());
        let (_, found) =
            world.run(&["check", "--pre", "-o", "json", "--state-dir", world.cni_state_dir().to_str().unwrap()]);
        assert!(found.contains("FW0138") && found.contains("shop/cart-0: the host has no route to"), "{found}");
        let _agent = world.spawn_agent();
        wait_for("the routes when an agent comes", DEADLINE, || is_back(&mut links));
    });
}

#[test]
fn a_node_that_is_to_pass_on_no_packets_does_so_within_seconds_and_tells_it() {
    const SETTING: &str = "ipv4/ip_forward";
    isolated(|| {
        let world = World::start();
        world.create_node();
        let _agent = world.spawn_agent();
        sysctl::write(SETTING, "0").unwrap();
        let event = wait_for_event(&world, "node1", "kernel");
        assert_eq!(event["reason"], "KernelChanged");
        assert!(event["message"].as_str().unwrap().contains("pass on no IPv4 packets"), "{event}");
        assert_eq!(sysctl::read(SETTING).unwrap(), "1");
    });
}

#[test]
fn a_cni_configuration_that_somebody_deletes_is_back_within_seconds() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        let _agent = world.spawn_agent();
        let configuration = world.cni_conf_dir().join("05-fairway.conflist");
        let text = std::fs::read_to_string(&configuration).unwrap();
        std::fs::remove_file(&configuration).unwrap();
        let again = wait_for("the configuration again", DEADLINE, || std::fs::read_to_string(&configuration).ok());
        assert_eq!(again, text);
    });
}

#[test]
fn an_address_the_node_gets_later_serves_node_ports() {
    const LATER: &str = "192.0.2.9:30080";
    isolated(|| {
        let world = World::start_with_shop("TCP");
        let ports = json!([{ "name": "main", "port": 80, "targetPort": 8080, "nodePort": 30080 }]);
        world.merge(&SERVICES, "default", "shop", json!({ "spec": { "type": "NodePort", "ports": ports } }));
        world.create_endpoints("shop", "TCP", &[serve_tcp("10.244.1.5")]);
        let _agent = world.spawn_agent();
        wait_for_answer("10.244.1.5");
        let mut links = Rtnetlink::open().unwrap();
        let loopback: LinkIndex = links.require_link("lo").unwrap().index;
        links.add_address(loopback, "192.0.2.9/32".parse().unwrap()).unwrap();
        let ask = || {
            let mut stream = TcpStream::connect_timeout(&LATER.parse().unwrap(), Duration::from_secs(1)).ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok().map(|_| answer)
        };
        let answer = wait_for("an answer at the new address", DEADLINE, ask);
        assert_eq!(answer, "10.244.1.5");
    });
}

#[test]
fn the_tunnel_follows_what_the_nodes_link_carries_and_is_back_when_somebody_deletes_it() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        world.create_node_at("far", "192.0.2.7", "10.244.2.0/24");
        // The node's own address is on the loopback link: the tunnel takes after the one that leads outward.
        let _other = testing::other_machine(&[["198.51.100.1/24", "198.51.100.2/24"].map(|net| net.parse().unwrap())]);
        let _agent = world.spawn_agent();
        let mut links = Rtnetlink::open().unwrap();
        let mtu = |links: &mut Rtnetlink| links.link("fw-vxlan").unwrap().map(|link| link.mtu);
        let uplink = links.require_link("uplink").unwrap();
        assert_eq!(mtu(&mut links), Some(uplink.mtu - 50));
        links.set_mtu(uplink.index, 9000).unwrap();
        wait_for("a tunnel for larger packets", DEADLINE, || mtu(&mut links).filter(|mtu| *mtu == 8950));
        let device = links.require_link("fw-vxlan").unwrap().index;
        links.delete_link(device).unwrap();
        wait_for("the tunnel again", DEADLINE, || mtu(&mut links));
        assert_eq!(wait_for_event(&world, "node1", "kernel")["reason"], "KernelChanged");
    });
}
