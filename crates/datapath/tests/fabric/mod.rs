//! Nodes on two networks with a router between them that knows nothing of pods, and one pod on each node.

mod bad_wire;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use compile::plan::{Checksums, LinkNetwork};
use compile::{NodeView, Plan, Routing, RoutingMode};
use datapath::route::{Bridge, Link, LinkIndex, Route, RouteAction, Rtnetlink, Veth, VethEnd};
use datapath::{Datapath, Netns, Outcome, Wanted, sysctl};
use ipnet::IpNet;
use model::{Cluster, IpFamily, Node, Rejected};

/// What the links of the underlay carry, and those of the pods.
pub const MTU: u32 = 1500;
pub const FAMILIES: [IpFamily; 2] = [IpFamily::V4, IpFamily::V6];
const RUNNING: Duration = Duration::from_secs(10);
const GATEWAYS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)), IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1))];

/// The number of the network each node is on; a node is known by its place here.
const NETWORK_OF: [u8; 3] = [0, 0, 1];

pub struct Fabric {
    pub nodes: Vec<Machine>,
    /// Who computes the checksums of what the tunnels of all nodes carry.
    pub checksums: Checksums,
    bridges: [LinkIndex; 2],
    /// The families of the nodes' addresses.
    underlay: &'static [IpFamily],
}

/// The hardware of the node that is alone on its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hardware {
    Good,
    /// Computes no checksums of what is inside a tunnel, though the kernel leaves them to it.
    BadChecksums,
}

/// A node with its pod.
pub struct Machine {
    pub netns: Netns,
    pub pod: Netns,
    /// The networks its links are on.
    networks: Vec<LinkNetwork>,
    datapath: Datapath,
}

impl Fabric {
    /// Makes all of it; the calling namespace becomes the router. Call it inside `isolated`.
    pub fn make() -> Self {
        Self::make_of(Hardware::Good, &FAMILIES)
    }

    /// The same with other hardware at one node.
    pub fn make_with(hardware: Hardware) -> Self {
        Self::make_of(hardware, &FAMILIES)
    }

    /// The same with nodes that have addresses of one family alone; their pods have both.
    pub fn make_on(underlay: &'static [IpFamily]) -> Self {
        Self::make_of(Hardware::Good, underlay)
    }

    fn make_of(hardware: Hardware, underlay: &'static [IpFamily]) -> Self {
        let mut router = Rtnetlink::open().expect("a connection");
        set_up(&mut router, "lo");
        for (key, value) in
            [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1"), ("ipv4/conf/all/rp_filter", "1")]
        {
            // A packet under an address the router has no route to, such as a pod's, is dropped.
            sysctl::write(key, value).expect("a setting");
        }
        let bridges = [0, 1].map(|network| {
            let name = format!("net{network}");
            let bridge = router.create_bridge(&Bridge { name: &name, mtu: MTU }).expect("a bridge");
            for family in FAMILIES {
                router.add_address(bridge.index, on_underlay(family, network, 254)).expect("an address");
            }
            bridge.index
        });
        let make = |index| make_machine(&mut router, &bridges, index, (hardware, underlay));
        let nodes = (0..NETWORK_OF.len()).map(make).collect();
        Self { nodes, checksums: Checksums::default(), bridges, underlay }
    }

    /// Gives a node a second link, on the other network, by which its Node object does not know it.
    pub fn add_second_link(&mut self, node: usize) {
        let network = 1 - NETWORK_OF[node];
        let mut router = Rtnetlink::open().expect("a connection");
        let port = format!("second{node}");
        let end = VethEnd { name: &port, mac: None, netns: None };
        let peer = VethEnd { name: "eth1", mac: None, netns: Some(&self.nodes[node].netns) };
        let cable = router.create_veth(&Veth { end, peer, mtu: MTU }).expect("a veth pair");
        router.enslave(cable.index, self.bridges[usize::from(network)]).expect("a port");
        let mut links = self.nodes[node].links();
        let eth1 = set_up(&mut links, "eth1");
        for family in FAMILIES {
            let address = on_underlay(family, network, 100 + node_number(node));
            links.add_address(eth1.index, address).expect("an address");
            self.nodes[node].networks.push(LinkNetwork { address, mtu: MTU });
        }
        links.wait_until_running("eth1", RUNNING).expect("a link");
    }

    /// Applies to a node what a cluster of these nodes asks of it.
    pub fn apply(&mut self, node: usize, mode: RoutingMode, members: &[usize]) -> Outcome {
        self.apply_cluster(node, mode, &cluster_on(members, self.underlay))
    }

    /// Applies to a node what a cluster asks of it.
    pub fn apply_cluster(&mut self, node: usize, mode: RoutingMode, cluster: &Cluster) -> Outcome {
        let (outcome, rejected) = self.apply_partly(node, mode, cluster);
        assert_eq!(rejected, []);
        outcome
    }

    /// The same for what a cluster asks and may not have all of, which is returned too.
    pub fn apply_partly(&mut self, node: usize, mode: RoutingMode, cluster: &Cluster) -> (Outcome, Vec<Rejected>) {
        let plan = Plan::of(self.view(node, mode), cluster);
        let Machine { netns, datapath, .. } = &mut self.nodes[node];
        let outcome = netns.run(|| datapath.apply(&Wanted::from(&plan))).expect("a thread");
        (outcome.expect("the kernel takes the plan"), plan.rejected())
    }

    /// Applies to every node.
    pub fn apply_all(&mut self, mode: RoutingMode) {
        for node in 0..self.nodes.len() {
            let outcome = self.apply(node, mode, &[0, 1, 2]);
            assert_eq!(outcome.routes_failed, 0);
        }
    }

    /// A node as its agent sees it.
    pub fn view(&self, node: usize, mode: RoutingMode) -> NodeView {
        let networks = self.nodes[node].networks.clone();
        let routing = Routing { mode, networks, tunnel_checksums: self.checksums, ..Routing::default() };
        // What the agent is told of the whole cluster: what has no narrower route leads to the node itself.
        let pod_ranges = ["10.244.0.0/16", "fd00:244::/32"].map(|range| range.parse().expect("a range")).into();
        NodeView { pod_ranges, routing, ..NodeView::new(name(node)) }
    }

    /// Forgets what is known of a node's kernel, as a crash of the agent does.
    pub fn restart(&mut self, node: usize) {
        let machine = &mut self.nodes[node];
        machine.datapath = open(&machine.netns);
    }
}

impl Machine {
    pub fn links(&self) -> Rtnetlink {
        Rtnetlink::open_in(&self.netns).expect("a connection")
    }
}

/// A cluster of these nodes.
pub fn cluster(members: &[usize]) -> Cluster {
    cluster_on(members, &FAMILIES)
}

/// A cluster of these nodes, which have addresses of these families.
fn cluster_on(members: &[usize], underlay: &[IpFamily]) -> Cluster {
    let mut cluster = Cluster::default();
    for index in members.iter().copied() {
        let node = Node {
            name: name(index).into(),
            addresses: underlay.iter().map(|family| node_address(*family, index)).collect(),
            pod_cidrs: FAMILIES.map(|family| pod_range(family, index)).into(),
            uid: "".into(),
            has_refused_range: false,
            leaving: false,
            created: Duration::ZERO,
            labels: std::collections::BTreeMap::new(),
        };
        cluster.nodes.insert(node.name.clone(), Arc::new(node));
    }
    cluster
}

fn name(node: usize) -> String {
    format!("node{node}")
}

fn node_number(node: usize) -> u8 {
    u8::try_from(node).expect("few nodes") + 1
}

pub fn node_address(family: IpFamily, node: usize) -> IpAddr {
    on_underlay(family, NETWORK_OF[node], node_number(node)).addr()
}

/// The address of a node's pod.
pub fn pod_address(family: IpFamily, node: usize) -> IpAddr {
    in_pod_range(family, node, 5)
}

/// The address of a node's end of the tunnel.
pub fn tunnel_address(family: IpFamily, node: usize) -> IpAddr {
    in_pod_range(family, node, 0)
}

fn in_pod_range(family: IpFamily, node: usize, last: u8) -> IpAddr {
    match family {
        IpFamily::V4 => [10, 244, node_number(node), last].into(),
        IpFamily::V6 => Ipv6Addr::new(0xfd00, 0x244, node_number(node).into(), 0, 0, 0, 0, last.into()).into(),
    }
}

fn pod_range(family: IpFamily, node: usize) -> IpNet {
    let prefix = if family == IpFamily::V4 { 24 } else { 64 };
    IpNet::new(in_pod_range(family, node, 0), prefix).expect("a prefix")
}

fn on_underlay(family: IpFamily, network: u8, last: u8) -> IpNet {
    let (address, prefix): (IpAddr, u8) = match family {
        IpFamily::V4 => ([10, 89, network, last].into(), 24),
        IpFamily::V6 => (Ipv6Addr::new(0xfd00, 0x89, network.into(), 0, 0, 0, 0, last.into()).into(), 64),
    };
    IpNet::new(address, prefix).expect("a prefix")
}

fn set_up(links: &mut Rtnetlink, name: &str) -> Link {
    let link = links.require_link(name).expect("the link");
    links.set_up(link.index).expect("up");
    link
}

fn everywhere(gateway: IpAddr, link: LinkIndex, on_link: bool) -> Route {
    let all = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
    Route::new(all.parse().expect("a range"), RouteAction::Via { gateway, link, on_link })
}

fn make_machine(
    router: &mut Rtnetlink,
    bridges: &[LinkIndex; 2],
    index: usize,
    (hardware, underlay): (Hardware, &[IpFamily]),
) -> Machine {
    let (netns, network) = (Netns::create().expect("a namespace"), NETWORK_OF[index]);
    let port = name(index);
    let end = VethEnd { name: &port, mac: None, netns: None };
    let peer = VethEnd { name: "eth0", mac: None, netns: Some(&netns) };
    let cable = if hardware == Hardware::BadChecksums && network == 1 {
        bad_wire::connect(router, end, peer)
    } else {
        router.create_veth(&Veth { end, peer, mtu: MTU }).expect("a veth pair")
    };
    router.enslave(cable.index, bridges[usize::from(network)]).expect("a port");
    let mut links = Rtnetlink::open_in(&netns).expect("a connection");
    set_up(&mut links, "lo");
    let eth0 = set_up(&mut links, "eth0");
    for family in underlay.iter().copied() {
        links.add_address(eth0.index, on_underlay(family, network, node_number(index))).expect("an address");
        links.add_route(&everywhere(on_underlay(family, network, 254).addr(), eth0.index, false)).expect("a route");
    }
    let forward = || {
        for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            sysctl::write(key, "1").expect("a setting");
        }
    };
    netns.run(forward).expect("a thread");
    let pod = make_pod(&mut links, index);
    links.wait_until_running("eth0", RUNNING).expect("a link");
    let datapath = open(&netns);
    let address = |family| on_underlay(family, network, node_number(index));
    let networks = underlay.iter().map(|family| LinkNetwork { address: address(*family), mtu: MTU }).collect();
    Machine { netns, pod, networks, datapath }
}

fn open(netns: &Netns) -> Datapath {
    netns.run(Datapath::open).expect("a thread").expect("a connection")
}

/// The pod of a node, wired as the CNI plugin does it.
fn make_pod(links: &mut Rtnetlink, node: usize) -> Netns {
    let pod = Netns::create().expect("a namespace");
    let end = VethEnd { name: "fwp0", mac: None, netns: None };
    let peer = VethEnd { name: "eth0", mac: None, netns: Some(&pod) };
    let host = links.create_veth(&Veth { end, peer, mtu: MTU }).expect("a veth pair");
    let mut inside = Rtnetlink::open_in(&pod).expect("a connection");
    set_up(&mut inside, "lo");
    let eth0 = set_up(&mut inside, "eth0");
    let (mac, own_mac) = (host.mac.expect("a veth end has one"), eth0.mac.expect("a veth end has one"));
    for family in FAMILIES {
        let address = pod_address(family, node);
        inside.add_address(eth0.index, address.into()).expect("an address");
        links.add_route(&Route::on_link(address.into(), host.index).ours()).expect("a route");
        links.set_neighbour(host.index, address, own_mac).expect("a neighbour");
    }
    for gateway in GATEWAYS {
        inside.set_neighbour(eth0.index, gateway, mac).expect("a neighbour");
        inside.add_route(&everywhere(gateway, eth0.index, true)).expect("a route");
    }
    inside.wait_until_running("eth0", RUNNING).expect("a link");
    pod
}
