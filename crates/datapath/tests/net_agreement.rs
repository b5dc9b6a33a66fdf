//! The third leg: what the API objects mean is what real sockets meet behind real nf_tables.
//!
//! Random small clusters follow one another on one node; each is applied as the difference from the one before. The
//! same packets go through `compile::evaluate` and out of real sockets.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

mod world;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use compile::sample::{
    self, CLIENTS, Choices, ENDPOINTS, FAMILIES, LINK_ADDRESS, NODES, PLAIN_PORT, TARGET_PORTS, address_of, place_of,
    plain_address, plain_service, plain_slice,
};
use compile::{Entry, NodePortAddresses, NodeView, Outcome, Packet, Plan, SourceNat, Verdict, evaluate};
use datapath::conntrack::Conntrack;
use datapath::testing::isolated;
use datapath::{Datapath, Wanted};
use model::{Affinity, Cluster, IpFamily, Protocol, Service, ServiceKind};
use world::{Answer, World, is_pod_of_node};

/// A node port that no sample Service has.
const NODE_PORT: u16 = 30_099;
/// How often a packet is sent that may be answered in more than one way.
const TRIES: usize = 3;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long silence is listened to.
const SILENCE: Duration = Duration::from_millis(200);

fn wanted(plan: &Plan) -> Wanted<'_> {
    Wanted::from(plan)
}

/// Bytes that stand for choices, the same for the same seed (splitmix64).
fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let step = |state: &mut u64| {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Some(mixed.wrapping_mul(0x94d0_49bb_1331_11eb).to_be_bytes()[0])
    };
    (0..count).scan(seed, |state, _| step(state)).collect()
}

/// Whether `answer` is one that `verdict` allows.
fn is_meant(verdict: &Verdict, packet: &Packet, answer: Answer) -> bool {
    let source = |nat| match nat {
        SourceNat::Kept => [packet.source; 2],
        // The kernel chooses among the node's addresses.
        SourceNat::Masqueraded => {
            [NODES[0].address, LINK_ADDRESS].map(|own| address_of(IpFamily::of(packet.source), own))
        }
    };
    match (&verdict.outcome, answer) {
        (Outcome::Refused, Answer::Refused) => true,
        (Outcome::Dropped, Answer::Silence) => true,
        // A process of the node is told of a dropped datagram as of a refused one.
        (Outcome::Dropped, Answer::Refused) => packet.entered == Entry::Host && packet.protocol == Protocol::Udp,
        (Outcome::Balanced { endpoints, .. }, Answer::Served { at, seen }) => {
            endpoints.get(&at).is_some_and(|nat| source(*nat).contains(&seen))
        }
        (Outcome::Passed { source: nat }, Answer::Served { at, seen }) => {
            at == SocketAddr::new(packet.destination, packet.port) && source(*nat).contains(&seen)
        }
        _ => false,
    }
}

/// Whether the packet's way and that of its answer lie on this node, so that real sockets can tell what becomes of it.
fn is_seen_by_node(packet: &Packet, endpoint: IpAddr, masqueraded: bool) -> bool {
    let is_here = |address| is_pod_of_node(place_of(address)) || place_of(address) == NODES[0].address;
    masqueraded || packet.entered != Entry::Outside || is_here(endpoint)
}

/// Whether real sockets can tell what becomes of the packet.
fn can_be_tried(verdict: &Verdict, packet: &Packet) -> bool {
    let seen = |endpoint: IpAddr, nat: SourceNat| is_seen_by_node(packet, endpoint, nat == SourceNat::Masqueraded);
    match &verdict.outcome {
        // Few kernels have sockets for it.
        _ if packet.protocol == Protocol::Sctp => false,
        Outcome::Refused | Outcome::Dropped => true,
        Outcome::Balanced { endpoints, .. } => endpoints.iter().all(|(endpoint, nat)| seen(endpoint.ip(), *nat)),
        // From outside to outside it does not come by the node at all.
        Outcome::Passed { .. } => {
            let has_server = ENDPOINTS.contains(&place_of(packet.destination));
            has_server && TARGET_PORTS.contains(&packet.port) && seen(packet.destination, SourceNat::Kept)
        }
    }
}

/// The node as an agent sees it that serves node ports at one choice of its addresses or another.
fn view_of(choice: u64) -> NodeView {
    let node_port_addresses = match choice % 3 {
        0 => NodePortAddresses::All,
        1 => NodePortAddresses::Primary,
        _ => NodePortAddresses::Within(FAMILIES.map(|family| address_of(family, LINK_ADDRESS).into()).into()),
    };
    let link_addresses = FAMILIES.map(|family| address_of(family, LINK_ADDRESS)).into();
    NodeView { link_addresses, node_port_addresses, ..NodeView::new(NODES[0].name) }
}

/// Sends some packets and returns how many there were.
fn try_packets(world: &World, cluster: &Cluster, view: &NodeView, seed: u64) -> usize {
    let choices = bytes(seed ^ 0xabcd, 64);
    let mut tried = 0;
    for choice in choices.chunks(2) {
        let packet = sample::packet(&mut Choices::new(choice), cluster);
        let verdict = evaluate(cluster, view, &packet);
        if !can_be_tried(&verdict, &packet) {
            continue;
        }
        let is_silent = verdict.outcome == Outcome::Dropped;
        let (tries, patience) = if is_silent { (1, SILENCE) } else { (TRIES, PATIENCE) };
        for _ in 0..tries {
            let answer = world.send(&packet, patience);
            assert!(is_meant(&verdict, &packet, answer), "seed {seed}: {packet} met {answer:?}, not {verdict:?}");
            tried += 1;
        }
        if is_silent {
            assert_positive_control(world, &packet);
        }
    }
    tried
}

/// The client of a dropped packet can reach something else.
fn assert_positive_control(world: &World, dropped: &Packet) {
    let own = address_of(IpFamily::of(dropped.source), NODES[0].address);
    let node = SocketAddr::new(own, TARGET_PORTS[0]);
    let control = Packet { destination: node.ip(), port: node.port(), protocol: Protocol::Tcp, ..*dropped };
    let answer = world.send(&control, PATIENCE);
    assert!(matches!(answer, Answer::Served { at, .. } if at == node), "{control} met {answer:?}");
}

#[test]
fn real_sockets_meet_what_the_objects_mean() {
    isolated(|| {
        let world = World::make();
        let mut datapath = Datapath::open().expect("a connection");
        let mut flows = Conntrack::open().expect("a connection");
        let mut cluster = sample::cluster(&mut Choices::new(&bytes(1, 400)));
        let mut plan = Plan::of(view_of(0), &cluster);
        let mut tried = 0;
        for seed in 0..60 {
            datapath.apply(&wanted(&plan)).expect("the kernel takes the plan");
            let restarted = Datapath::open().expect("a connection").apply(&wanted(&plan)).expect("the kernel is read");
            assert!(restarted.wrote_nothing(), "seed {seed}: a restart wrote {restarted:?}");
            flows.remove_udp_flows(|_| false).expect("connection tracking is cleared");
            // Without its Node object a node does not know which addresses are its own; the kernel still does.
            if cluster.nodes.contains_key(NODES[0].name) {
                tried += try_packets(&world, &cluster, &view_of(seed / 8), seed);
            }
            if seed % 8 == 7 {
                cluster = sample::cluster(&mut Choices::new(&bytes(seed, 400)));
                plan = Plan::of(view_of((seed + 1) / 8), &cluster);
            } else {
                cluster = sample::change(&mut Choices::new(&bytes(seed, 200)), &cluster);
                plan = plan.next(&cluster);
            }
        }
        assert!(tried > 1_000, "only {tried} packets were sent");
        println!("{tried} packets, from {} clients", CLIENTS.len() + ENDPOINTS.len());
    });
}

/// Asks the Service until `count` answers have come and returns who gave them.
fn answers(world: &World, packet: &Packet, count: usize) -> BTreeSet<SocketAddr> {
    let served = |answer| match answer {
        Answer::Served { at, .. } => Some(at),
        Answer::Refused | Answer::Silence => None,
    };
    (0..count).filter_map(|_| served(world.send(packet, PATIENCE))).collect()
}

#[test]
fn a_client_stays_with_its_endpoint_until_that_is_gone() {
    isolated(|| {
        let world = World::make();
        let mut datapath = Datapath::open().expect("a connection");
        FAMILIES.into_iter().for_each(|family| keeps_to_its_endpoint(&world, &mut datapath, family));
    });
}

/// A plain Service in one family, also at a node port, and its slice with endpoints at these places.
fn service_in(family: IpFamily, affinity: Affinity, places: &[Ipv4Addr]) -> Cluster {
    let mut cluster = sample::cluster(&mut Choices::new(&[]));
    let mut service = Service { affinity, ..plain_service(0) };
    service.ports[0].node_port = Some(NODE_PORT.try_into().expect("not zero"));
    if let ServiceKind::Virtual { cluster_ips, .. } = &mut service.kind {
        *cluster_ips = vec![address_of(family, plain_address(0))];
    }
    let mut slice = plain_slice(&service, places.iter().copied());
    slice.family = family;
    slice.endpoints.iter_mut().for_each(|each| each.address = address_of(family, place_of(each.address)));
    cluster.services.insert(service.name.clone(), Arc::new(service));
    cluster.insert_slice(slice);
    cluster
}

fn keeps_to_its_endpoint(world: &World, datapath: &mut Datapath, family: IpFamily) {
    let mut places: Vec<Ipv4Addr> = ENDPOINTS[..3].to_vec();
    let mut apply = |affinity, places: &[Ipv4Addr]| {
        let plan = Plan::of(NodeView::new(NODES[0].name), &service_in(family, affinity, places));
        datapath.apply(&wanted(&plan)).expect("the kernel takes the plan");
    };
    let at_cluster_ip = Packet {
        source: address_of(family, CLIENTS[0]),
        destination: address_of(family, plain_address(0)),
        protocol: Protocol::Tcp,
        port: PLAIN_PORT,
        entered: Entry::Pod,
    };
    let at_node_port = Packet { destination: address_of(family, NODES[0].address), port: NODE_PORT, ..at_cluster_ip };
    let sticky = Affinity::ClientIp { timeout: Duration::from_secs(60) };
    while !places.is_empty() {
        // Affinity comes and goes on a living Service.
        if places.len() == 3 {
            apply(Affinity::None, &places);
            for packet in [at_cluster_ip, at_node_port] {
                assert_eq!(answers(world, &packet, 40).len(), 3, "without affinity all endpoints are met");
            }
        }
        apply(sticky, &places);
        for packet in [at_node_port, at_cluster_ip] {
            let met = answers(world, &packet, 20);
            assert_eq!(met.len(), 1, "with affinity one endpoint is met, not {met:?}");
            assert!(met.iter().all(|at| places.contains(&place_of(at.ip()))), "{met:?} has gone");
            if packet == at_cluster_ip {
                places.retain(|place| met.iter().all(|at| place_of(at.ip()) != *place));
            }
        }
    }
    apply(Affinity::None, &ENDPOINTS[..3]);
    assert_eq!(answers(world, &at_cluster_ip, 40).len(), 3, "without affinity all endpoints are met again");
}

#[test]
fn what_clients_had_outlives_an_agent_and_not_an_endpoint_that_left_without_one() {
    isolated(|| {
        let world = World::make();
        for family in FAMILIES {
            let sticky = Affinity::ClientIp { timeout: Duration::from_secs(60) };
            let mut cluster = service_in(family, sticky, &ENDPOINTS[..3]);
            let plan_of = |cluster: &Cluster| Plan::of(NodeView::new(NODES[0].name), cluster);
            let plan = plan_of(&cluster);
            let started = || Datapath::open().expect("a connection");
            started().apply(&wanted(&plan)).expect("the kernel takes the plan");
            let packet = Packet {
                source: address_of(family, CLIENTS[0]),
                destination: address_of(family, plain_address(0)),
                protocol: Protocol::Tcp,
                port: PLAIN_PORT,
                entered: Entry::Pod,
            };
            let met = answers(&world, &packet, 5);
            assert_eq!(met.len(), 1, "{met:?}");

            let mut restarted = started();
            assert!(restarted.apply(&wanted(&plan)).expect("the kernel takes the plan").wrote_nothing());
            sample::add_plain(&mut cluster, 7, 2);
            restarted.apply(&wanted(&plan_of(&cluster))).expect("the kernel takes the plan");
            assert_eq!(answers(&world, &packet, 10), met, "neither a restart nor another Service moves a client");

            let has_left = |place: &Ipv4Addr| met.iter().any(|at| place_of(at.ip()) == *place);
            let left: Vec<Ipv4Addr> = ENDPOINTS[..3].iter().copied().filter(|place| !has_left(place)).collect();
            let plan = plan_of(&service_in(family, sticky, &left));
            // As by an agent that was killed before it had looked at what clients had.
            restarted.apply(&Wanted { affine: None, ..wanted(&plan) }).expect("the kernel takes the plan");
            assert_eq!(answers(&world, &packet, 5), met, "what clients had is looked at by its reader only");
            started().apply(&wanted(&plan)).expect("the kernel takes the plan");
            let now = answers(&world, &packet, 10);
            assert!(now.len() == 1 && now.is_disjoint(&met), "{met:?} has left, and still {now:?} is met");
        }
    });
}
