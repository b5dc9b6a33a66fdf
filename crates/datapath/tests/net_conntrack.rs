//! Flows the kernel remembers, and endpoints that go.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod world;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use compile::sample::{CLIENTS, ENDPOINTS, NODES, PLAIN_PORT, TARGET_PORTS, plain_address, plain_service, plain_slice};
use compile::{Entry, NodeView, Packet, Plan};
use datapath::conntrack::{Conntrack, Flow};
use datapath::testing::isolated;
use datapath::{Datapath, Wanted};
use model::{Cluster, Protocol};
use world::{Answer, World, ask_from};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
const CLIENT: IpAddr = IpAddr::V4(CLIENTS[0]);
const TCP: u8 = 6;

fn frontend() -> SocketAddr {
    (plain_address(0), PLAIN_PORT).into()
}

/// Makes the node serve one Service with these endpoints.
fn apply(datapath: &mut Datapath, protocol: Protocol, endpoints: &[Ipv4Addr]) {
    let mut service = plain_service(0);
    service.ports.iter_mut().for_each(|port| port.protocol = protocol);
    let mut slice = plain_slice(&service, endpoints.iter().copied());
    slice.ports.iter_mut().for_each(|port| port.protocol = protocol);
    let mut cluster = Cluster::default();
    cluster.services.insert(service.name.clone(), Arc::new(service));
    cluster.insert_slice(slice);
    let plan = Plan::of(NodeView::new(NODES[0].name), &cluster);
    datapath.apply(&Wanted::from(&plan)).unwrap();
}

fn served_by(answer: Answer) -> Option<IpAddr> {
    match answer {
        Answer::Served { at, .. } => Some(at.ip()),
        Answer::Refused | Answer::Silence => None,
    }
}

fn remove_flows_to(conntrack: &mut Conntrack, gone: Ipv4Addr) -> Vec<Flow> {
    conntrack.remove_udp_flows(|flow| flow.frontend != frontend() || flow.backend.ip() != gone).unwrap()
}

#[test]
fn udp_endpoint_removal_clears_conntrack() {
    isolated(|| {
        let world = World::make();
        let (mut datapath, mut conntrack) = (Datapath::open().unwrap(), Conntrack::open().unwrap());
        let (old, new) = (ENDPOINTS[0], ENDPOINTS[3]);
        let socket = world.udp_client(CLIENT);
        let ask = || served_by(ask_from(&socket, frontend(), PATIENCE));
        apply(&mut datapath, Protocol::Udp, &[old]);
        assert_eq!(ask(), Some(old.into()));

        apply(&mut datapath, Protocol::Udp, &[new]);
        // The control: a client that keeps its port stays with the endpoint it had, as long as the kernel remembers.
        assert_eq!(ask(), Some(old.into()));
        let removed = remove_flows_to(&mut conntrack, old);
        let ends: Vec<_> = removed.iter().map(|flow| (flow.client.ip(), flow.backend.ip())).collect();
        assert_eq!(ends, [(CLIENT, old.into())]);
        assert_eq!(ask(), Some(new.into()));
        assert_eq!(remove_flows_to(&mut conntrack, old), []);
    });
}

#[test]
fn the_last_udp_endpoint_that_goes_leaves_a_refusal() {
    isolated(|| {
        let world = World::make();
        let (mut datapath, mut conntrack) = (Datapath::open().unwrap(), Conntrack::open().unwrap());
        let socket = world.udp_client(CLIENT);
        apply(&mut datapath, Protocol::Udp, &[ENDPOINTS[0]]);
        assert_eq!(served_by(ask_from(&socket, frontend(), PATIENCE)), Some(ENDPOINTS[0].into()));
        apply(&mut datapath, Protocol::Udp, &[]);
        assert_eq!(remove_flows_to(&mut conntrack, ENDPOINTS[0]).len(), 1);
        assert_eq!(ask_from(&socket, frontend(), PATIENCE), Answer::Refused);
    });
}

#[test]
fn tcp_flows_are_never_removed() {
    isolated(|| {
        let world = World::make();
        let (mut datapath, mut conntrack) = (Datapath::open().unwrap(), Conntrack::open().unwrap());
        apply(&mut datapath, Protocol::Tcp, &[ENDPOINTS[0]]);
        let (destination, port) = (frontend().ip(), frontend().port());
        let packet = Packet { source: CLIENT, destination, protocol: Protocol::Tcp, port, entered: Entry::Pod };
        assert_eq!(served_by(world.send(&packet, PATIENCE)), Some(ENDPOINTS[0].into()));
        let mut tracked = || {
            let flows = conntrack.translated_flows().unwrap();
            let removed = conntrack.remove_udp_flows(|_| false).unwrap();
            (flows.iter().map(|flow| flow.protocol).collect::<Vec<_>>(), removed)
        };
        assert_eq!(tracked(), (vec![TCP], vec![]));
        assert_eq!(tracked(), (vec![TCP], vec![]));
    });
}

#[test]
fn a_flow_that_is_not_translated_is_none_of_our_business() {
    isolated(|| {
        let world = World::make();
        let (mut datapath, mut conntrack) = (Datapath::open().unwrap(), Conntrack::open().unwrap());
        apply(&mut datapath, Protocol::Udp, &[ENDPOINTS[0]]);
        let direct = SocketAddr::from((ENDPOINTS[3], TARGET_PORTS[0]));
        let answer = ask_from(&world.udp_client(CLIENT), direct, PATIENCE);
        assert_eq!(served_by(answer), Some(ENDPOINTS[3].into()));
        assert_eq!(conntrack.translated_flows().unwrap(), []);
    });
}

#[test]
fn a_client_that_began_before_the_service_was_there_is_led_to_it() {
    isolated(|| {
        let world = World::make();
        let (mut datapath, mut conntrack) = (Datapath::open().unwrap(), Conntrack::open().unwrap());
        let socket = world.udp_client(CLIENT);
        let patience = Duration::from_millis(50);
        let nothing = Plan::of(NodeView::new(NODES[0].name), &Cluster::default());
        datapath.apply(&Wanted::from(&nothing)).unwrap();
        assert_eq!(served_by(ask_from(&socket, frontend(), patience)), None);
        apply(&mut datapath, Protocol::Udp, &[ENDPOINTS[0]]);
        // The control: the kernel remembers that nothing is done with these.
        assert_eq!(served_by(ask_from(&socket, frontend(), patience)), None);
        let removed = conntrack.remove_udp_flows(|flow| flow.frontend != frontend()).unwrap();
        assert_eq!(removed.iter().map(|flow| flow.backend).collect::<Vec<_>>(), [frontend()]);
        assert_eq!(served_by(ask_from(&socket, frontend(), PATIENCE)), Some(ENDPOINTS[0].into()));
    });
}
