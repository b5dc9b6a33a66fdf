//! What is there from before the storm until after it: a node, a machine outside, pods, and Services.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use apiserver::client::SERVICES;
use compile::ruleset::Operation;
use datapath::nft::Table;
use datapath::route::{Route, Rtnetlink};
use datapath::testing::{UPLINK, other_machine, wait_for};
use datapath::{Netns, sysctl};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::clients::{PATIENCE, Probe, Protocol, ask, connect, talker, talker_from};
use super::objects::{create_service, delete_service};
use super::plugin::{Attachment, Plugin};
use super::probes::Asker;
use super::servers::{BANNER, ECHO, Faults, serve};
use crate::world::{DEADLINE, NODE, NODE_ADDRESS, World};
use Protocol::{Tcp, Udp};

/// Of the node's pods.
pub const POD_RANGES: [&str; 2] = ["10.244.200.0/24", "fd00:10:244:200::/64"];
/// In them, and nobody's.
const NO_PODS: [&str; 2] = ["10.244.200.250", "fd00:10:244:200::ffff"];
const NODE_ADDRESSES: [&str; 2] = [NODE_ADDRESS, "fd00:10:89::1"];
/// Of the link to the machine outside, which is a neighbour: the node's and the machine's.
const OUTSIDE: [[&str; 2]; 2] = [["10.89.0.200/24", "10.89.0.201/24"], ["fd00:10:89:1::c8/64", "fd00:10:89:1::c9/64"]];
/// Nobody's on the node, so nobody's pod may send under them.
const FORGED: [&str; 2] = ["203.0.113.9", "2001:db8::9"];

/// Always the same endpoints, and reached in every way there is.
const STEADY: [&str; 2] = ["10.96.0.50", "fd00:10:96::50"];
/// Always some of the same endpoints.
const MOVING: [&str; 2] = ["10.96.0.51", "fd00:10:96::51"];
/// Served by the pod that asks.
const OWN: [&str; 2] = ["10.96.0.52", "fd00:10:96::52"];
const NEVER: [&str; 2] = ["10.96.0.53", "fd00:10:96::53"];
const REMOVED: [&str; 2] = ["10.96.0.54", "fd00:10:96::54"];
const OPEN: [&str; 2] = ["10.96.0.55", "fd00:10:96::55"];
const CLOSED: [&str; 2] = ["10.96.0.56", "fd00:10:96::56"];
/// Addresses of load balancers, for all and for others than who asks.
const OPEN_OUTSIDE: [&str; 2] = ["198.51.100.1", "2001:db8:1::1"];
const CLOSED_OUTSIDE: [&str; 2] = ["198.51.100.2", "2001:db8:1::2"];

const PORT: u16 = 80;
const ECHO_PORT: u16 = 81;
const UNUSED_PORT: u16 = 82;
const NODE_PORT: u16 = 30_080;
const ECHO_NODE_PORT: u16 = 30_081;
const UNUSED_NODE_PORT: u16 = 30_082;
const HOST_PORT: u16 = 20_100;

/// A pod for the whole storm.
pub struct Resident {
    pub netns: Netns,
    pub addresses: [IpAddr; 2],
}

pub struct Scene {
    pub web: [Resident; 2],
    pub client: Resident,
    outside: Arc<Netns>,
    /// Of the client, to a Service that is gone.
    forgotten: Vec<Probe>,
}

impl Scene {
    /// Builds it around an agent that runs, and waits until all of it works.
    pub fn build(world: &World, plugin: &Plugin, outside: Arc<Netns>, faults: &Faults) -> Self {
        let resident = |pod, host_port| {
            let netns = Netns::create_at(&plugin.netns(pod)).unwrap();
            let addresses = plugin.add(Attachment { pod, host_port }).try_into().unwrap();
            serve(&netns, pod, faults);
            Resident { netns, addresses }
        };
        let web = [resident("web1", HOST_PORT), resident("web2", HOST_PORT + 1)];
        let client = resident("client", HOST_PORT + 2);
        let mut scene = Self { web, client, outside, forgotten: Vec::new() };
        scene.create_services(world);
        scene.forget_a_service(world);
        scene.hold_foreign_addresses();
        scene.expect_forged_packets_without_table(faults);
        scene
    }

    /// The addresses of both pods that serve.
    pub fn served(&self) -> [[IpAddr; 2]; 2] {
        [self.web[0].addresses, self.web[1].addresses]
    }

    /// Where every pod must always find an answer: a Service and a pod, in both families.
    pub fn always(&self) -> Vec<SocketAddr> {
        let pods = self.web[1].addresses.map(|address| SocketAddr::new(address, BANNER));
        STEADY.map(|address| at(address, PORT)).into_iter().chain(pods).collect()
    }

    fn create_services(&self, world: &World) {
        let both = self.served();
        let ports = json!([
            { "name": "main", "port": PORT, "targetPort": BANNER, "nodePort": NODE_PORT },
            { "name": "datagrams", "port": PORT, "protocol": "UDP", "targetPort": BANNER, "nodePort": NODE_PORT },
            { "name": "echo", "port": ECHO_PORT, "targetPort": ECHO, "nodePort": ECHO_NODE_PORT },
        ]);
        create_service(world, "steady", STEADY, &json!({ "type": "NodePort", "ports": ports }), &both);
        create_service(world, "moving", MOVING, &json!({}), &both);
        create_service(world, "own", OWN, &json!({}), &both[..1]);
        create_service(world, "removed", REMOVED, &json!({}), &both);
        create_service(world, "never", NEVER, &json!({}), &[]);
        let asker = OUTSIDE.map(|[_, machine]| network(machine).addr());
        create_service(world, "open", OPEN, &balancer_for(asker), &both);
        create_service(world, "closed", CLOSED, &balancer_for(FORGED.map(parse)), &both);
        for (name, addresses) in [("open", OPEN_OUTSIDE), ("closed", CLOSED_OUTSIDE)] {
            let ingress = addresses.map(|address| json!({ "ip": address }));
            world.set_status(&SERVICES, "default", name, &json!({ "loadBalancer": { "ingress": ingress } }));
        }
    }

    /// Makes the client talk to a Service, and removes that.
    fn forget_a_service(&mut self, world: &World) {
        let flows = self.client.netns.run(|| REMOVED.map(|address| talker(at(address, PORT)).unwrap())).unwrap();
        for flow in flows {
            let mut flow = Probe::Conversation(flow);
            wait_for("a Service that is to go", DEADLINE, || flow.ask().ok());
            let Probe::Conversation(flow) = flow else { unreachable!() };
            self.forgotten.push(Probe::Forgotten(flow));
        }
        delete_service(world, "removed");
        for flow in &mut self.forgotten {
            wait_for("the end of a Service", DEADLINE, || flow.ask().ok());
        }
    }

    /// Lets the client send under addresses that are not its own.
    fn hold_foreign_addresses(&self) {
        let mut links = Rtnetlink::open_in(&self.client.netns).unwrap();
        let loopback = links.require_link("lo").unwrap().index;
        FORGED.iter().for_each(|address| links.add_address(loopback, IpNet::from(parse(address))).unwrap());
    }

    /// What is sent under those addresses arrives when the agent's table is not there: nothing else keeps it.
    fn expect_forged_packets_without_table(&self, faults: &Faults) {
        let mut table = Table::open().unwrap();
        for family in 0..2 {
            let pod = self.web[1].addresses[family];
            wait_for("a forged datagram", DEADLINE, || {
                // The agent may not have made it again yet.
                let _ = table.apply(&[Operation::DeleteTable]);
                self.client.netns.run(|| forged(family, pod).ask()).unwrap().unwrap();
                (!faults.take().is_empty()).then_some(())
            });
        }
        wait_for("the table again", DEADLINE, || table.read().unwrap());
        // What was sent before this question was heard before it.
        for pod in self.web[1].addresses {
            ask(Udp, SocketAddr::new(pod, BANNER), PATIENCE).unwrap();
        }
        faults.take();
    }

    /// Waits until whatever must answer does.
    pub fn wait(askers: &mut [Asker]) {
        for Asker { place, netns, probes } in askers {
            for probe in probes {
                wait_for(&format!("{place}: {probe}"), DEADLINE, || netns.run(|| probe.ask()).unwrap().ok());
            }
        }
    }

    /// Every pair that must always work and every pair that never must, by where its client is.
    pub fn askers(self) -> Vec<Asker> {
        let [one, two] = self.served();
        let connection = |to| Probe::Connection(connect(to).unwrap());
        let mut node = Vec::new();
        let mut client = self.forgotten;
        let (mut hairpin, mut outside) = (Vec::new(), Vec::new());
        for family in 0..2 {
            for inside in [&mut node, &mut client] {
                inside.extend(both_protocols(at(STEADY[family], PORT)));
                inside.extend(both_protocols(SocketAddr::new(one[family], BANNER)));
                inside.push(Probe::Answered(Tcp, at(MOVING[family], PORT)));
                inside.push(Probe::Answered(Tcp, at(NODE_ADDRESSES[family], NODE_PORT)));
                inside.push(Probe::Refused(Tcp, at(NEVER[family], PORT)));
                inside.push(Probe::Refused(Tcp, at(STEADY[family], UNUSED_PORT)));
                inside.push(Probe::Refused(Tcp, at(NO_PODS[family], BANNER)));
            }
            hairpin.extend(both_protocols(at(OWN[family], PORT)));
            outside.extend(both_protocols(at(NODE_ADDRESSES[family], NODE_PORT)));
            outside.extend(both_protocols(at(NODE_ADDRESSES[family], HOST_PORT)));
            outside.extend(both_protocols(at(OPEN_OUTSIDE[family], PORT)));
            outside.push(Probe::Refused(Tcp, at(NODE_ADDRESSES[family], UNUSED_NODE_PORT)));
            let [closed, open] = [CLOSED_OUTSIDE, OPEN_OUTSIDE].map(|addresses| at(addresses[family], PORT));
            outside.extend([Tcp, Udp].map(|protocol| Probe::Silent(protocol, [closed, open])));
            let lasting = |netns: &Netns, address, port| netns.run(|| connection(at(address, port))).unwrap();
            client.push(lasting(&self.client.netns, STEADY[family], ECHO_PORT));
            outside.push(lasting(&self.outside, NODE_ADDRESSES[family], ECHO_NODE_PORT));
            client.extend(self.client.netns.run(|| datagrams(family, two[family])).unwrap());
        }
        let [web1, _] = self.web;
        vec![
            Asker { place: "the node", netns: Arc::new(Netns::current().unwrap()), probes: node },
            Asker { place: "the client", netns: Arc::new(self.client.netns), probes: client },
            Asker { place: "web1", netns: Arc::new(web1.netns), probes: hairpin },
            Asker { place: "outside", netns: self.outside, probes: outside },
        ]
    }
}

fn both_protocols(to: SocketAddr) -> [Probe; 2] {
    [Probe::Answered(Tcp, to), Probe::Answered(Udp, to)]
}

/// A conversation through a Service, and what is sent to a pod under somebody else's address.
fn datagrams(family: usize, pod: IpAddr) -> [Probe; 2] {
    [Probe::Conversation(talker(at(STEADY[family], PORT)).unwrap()), forged(family, pod)]
}

fn forged(family: usize, pod: IpAddr) -> Probe {
    Probe::Unheard(talker_from(parse(FORGED[family]), SocketAddr::new(pod, BANNER)).unwrap())
}

/// A load balancer for these clients alone, whose addresses somebody else gives out.
fn balancer_for(clients: [IpAddr; 2]) -> Value {
    json!({
        "type": "LoadBalancer", "loadBalancerClass": "example.com/other",
        "loadBalancerSourceRanges": clients.map(IpNet::from),
    })
}

/// Flows that are over, for so many seconds: the agent lists what the kernel tracks whenever endpoints of UDP change.
const FLOWS: [&str; 2] = ["nf_conntrack_tcp_timeout_time_wait", "nf_conntrack_udp_timeout"];
const FLOWS_KEPT: &str = "5";

/// A node with pods of both families and one link, to the machine outside, which it returns.
pub fn settle(world: &World) -> Arc<Netns> {
    let outside = other_machine(&OUTSIDE.map(|pair| pair.map(network)));
    FLOWS.iter().for_each(|key| sysctl::write(&format!("netfilter/{key}"), FLOWS_KEPT).unwrap());
    let mut links = Rtnetlink::open().unwrap();
    let loopback = links.require_link("lo").unwrap().index;
    links.add_address(loopback, network(&format!("{}/128", NODE_ADDRESSES[1]))).unwrap();
    let uplink = links.require_link(UPLINK).unwrap().index;
    links.add_route(&Route::via(network("::/0"), network(OUTSIDE[1][1]).addr(), uplink)).unwrap();
    let mut there = Rtnetlink::open_in(&outside).unwrap();
    let uplink = there.require_link(UPLINK).unwrap().index;
    for family in 0..2 {
        for address in [NODE_ADDRESSES[family], OPEN_OUTSIDE[family], CLOSED_OUTSIDE[family]] {
            let route = Route::via(IpNet::from(parse(address)), network(OUTSIDE[family][0]).addr(), uplink);
            there.add_route(&route).unwrap();
        }
    }
    world.create_node_with(NODE, &NODE_ADDRESSES, &POD_RANGES);
    // One behind the tunnel stays: with the last of them goes the tunnel's address, from which IPv6 packets of the node
    // to its own pods come.
    world.create_node_with("far", &["192.0.2.9"], &["10.244.9.0/24", "fd00:10:244:9::/64"]);
    Arc::new(outside)
}

fn parse(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn network(network: &str) -> IpNet {
    network.parse().unwrap()
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(parse(address), port)
}
