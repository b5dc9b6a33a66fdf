//! Many changes of a cluster while the agent is killed again and again.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use apiserver::client::{ENDPOINT_SLICES, NODES, SERVICES};
use compile::plan::Tunnel;
use datapath::read_tunnel;
use datapath::route::{Route, RouteFilter, Rtnetlink, Veth, VethEnd};
use datapath::testing::{isolated, wait_for};

use crate::agent::{serve_tcp, wait_for_answer};
use crate::world::{DEADLINE, World, agent_metric};

const CHANGES: u32 = 1000;
/// On average the agent is killed once in this many changes.
const KILLED_ONCE_IN: u64 = 25;
const SEED: u64 = 2026;
/// Served from the first change to the last.
const ALWAYS: &str = "10.96.0.50:80";
/// Has never an endpoint.
const NEVER: &str = "10.96.0.51:80";

/// Leaves the machine time for what is tested.
const BETWEEN_PROBES: Duration = Duration::from_millis(1);

/// Numbers that look random and are the same in every run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) % count
    }
}

/// The objects that come and go.
#[derive(Default)]
struct Churn {
    nodes: BTreeSet<u64>,
    services: BTreeSet<u64>,
}

impl Churn {
    /// Makes one change.
    fn step(&mut self, world: &World, random: &mut Random, endpoints: &[SocketAddr; 2]) {
        let which = random.below(8);
        match random.below(3) {
            0 => self.change_node(world, which, random),
            1 => self.change_service(world, which, endpoints),
            _ if self.services.contains(&which) => {
                let chosen = endpoints.get(..usize::try_from(random.below(3)).unwrap()).unwrap();
                world.set_endpoints(&format!("service{which}"), chosen);
            }
            _ => {}
        }
    }

    /// A node comes, near or far, or goes.
    fn change_node(&mut self, world: &World, which: u64, random: &mut Random) {
        let name = format!("other{which}");
        if self.nodes.remove(&which) {
            return world.delete(&NODES, "", &name);
        }
        let network = ["10.99.0", "192.0.2"][usize::try_from(random.below(2)).unwrap()];
        world.create_node_at(&name, &format!("{network}.{}", which + 10), &format!("10.244.{}.0/24", which + 10));
        self.nodes.insert(which);
    }

    fn change_service(&mut self, world: &World, which: u64, endpoints: &[SocketAddr; 2]) {
        let name = format!("service{which}");
        if self.services.remove(&which) {
            world.delete(&SERVICES, "default", &name);
            return world.delete(&ENDPOINT_SLICES, "default", &format!("{name}-1"));
        }
        world.create_service(&name, &format!("10.96.1.{which}"), "TCP");
        world.create_endpoints(&name, "TCP", endpoints);
        self.services.insert(which);
    }
}

/// Asks two Services over and over: one that must always answer, one that never must.
struct Probes {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU32>,
    faults: thread::JoinHandle<Vec<String>>,
}

impl Probes {
    fn start() -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&asked));
        let faults = thread::spawn(move || {
            let mut faults = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                counted.fetch_add(1, Ordering::Relaxed);
                faults.extend(ask(ALWAYS).err().map(|error| format!("{ALWAYS}: {error}")));
                faults.extend(ask(NEVER).ok().map(|answer| format!("{NEVER} answered {answer:?}")));
                thread::park_timeout(BETWEEN_PROBES);
            }
            faults
        });
        Self { stop, asked, faults }
    }

    fn end(self) -> (u32, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let faults = self.faults.join().unwrap();
        (self.asked.load(Ordering::Relaxed), faults)
    }
}

fn ask(service: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&service.parse().unwrap(), Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map(|_| answer)
}

/// A network on which some of the nodes are neighbours.
fn join_a_network(links: &mut Rtnetlink) {
    let end = |name| VethEnd { name, mac: None, netns: None };
    let link = links.create_veth(&Veth { end: end("eth0"), peer: end("wire"), mtu: 1500 }).unwrap();
    links.add_address(link.index, "10.99.0.1/24".parse().unwrap()).unwrap();
    let wire = links.require_link("wire").unwrap().index;
    links.set_up(wire).unwrap();
}

/// Routes and tunnel, as the kernel has them.
fn held(links: &mut Rtnetlink) -> (BTreeSet<Route>, Option<Tunnel>) {
    (links.routes(RouteFilter::Ours).unwrap().into_iter().collect(), read_tunnel(links).unwrap())
}

#[test]
fn a_thousand_changes_with_the_agent_killed_lose_no_connection_and_leave_what_a_fresh_agent_wants() {
    isolated(|| {
        let world = World::start();
        let mut links = Rtnetlink::open().unwrap();
        join_a_network(&mut links);
        world.create_node();
        world.create_service("always", "10.96.0.50", "TCP");
        let endpoints = [serve_tcp("10.244.1.5"), serve_tcp("10.244.1.6")];
        world.create_endpoints("always", "TCP", &endpoints[..1]);
        world.create_service("never", "10.96.0.51", "TCP");
        let mut agent = world.spawn_agent();
        wait_for_answer("10.244.1.5");
        let probes = Probes::start();
        let (mut random, mut churn, mut killed) = (Random(SEED), Churn::default(), 0);
        for _ in 0..CHANGES {
            churn.step(&world, &mut random, &endpoints);
            if random.below(KILLED_ONCE_IN) == 0 {
                agent.crash();
                agent = world.spawn_agent_alone(&[]);
                killed += 1;
            }
        }
        // What comes last is in the kernel when everything before it is.
        world.create_node_at("last", "192.0.2.99", "10.244.99.0/24");
        world.create_service("last", "10.96.0.99", "TCP");
        world.create_endpoints("last", "TCP", &endpoints[..1]);
        wait_for("the last Service", DEADLINE, || ask("10.96.0.99:80").ok());
        let is_last = |route: &Route| route.destination.to_string() == "10.244.99.0/24";
        wait_for("the last node", DEADLINE, || held(&mut links).0.iter().any(is_last).then_some(()));
        let (asked, faults) = probes.end();
        assert_eq!(faults, [""; 0], "{} of {asked} times while the agent was killed {killed} times", faults.len());
        assert!(asked > 100 && killed > 20, "asked {asked} times, killed {killed} times");

        agent.crash();
        let left = held(&mut links);
        let nodes = churn.nodes.len() + 1;
        let to_nodes = left.0.iter().filter(|route| route.destination.to_string().starts_with("10.244."));
        // Beside the other nodes' the range of this one, whose pods that are gone it refuses.
        assert_eq!(to_nodes.count(), nodes + 1);
        let _agent = world.spawn_agent();
        assert_eq!(agent_metric("fairway_agent_kernel_operations_total"), Some(0.0));
        assert_eq!(held(&mut links), left);
    });
}
