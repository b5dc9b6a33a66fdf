//! Many changes of a cluster while agent, controller and plugin are killed again and again.

mod churn;
mod pods;
mod probes;
mod random;

use std::collections::BTreeSet;

use compile::plan::Tunnel;
use datapath::read_tunnel;
use datapath::route::{Route, RouteAction, RouteFilter, Rtnetlink, Veth, VethEnd};
use datapath::testing::{isolated, wait_for};

use crate::agent::{serve_tcp, wait_for_answer};
use crate::world::{DEADLINE, Process, World, agent_metric};
use churn::Churn;
use pods::Pods;
use probes::{Probes, ask};
use random::Random;

const CHANGES: u32 = 1000;
/// On average the agent and the controller are killed once each in this many changes.
const KILLED_ONCE_IN: u64 = 25;
const SEED: u64 = 2026;

/// The network of the node's address, on which some of the nodes are neighbours.
fn join_a_network(links: &mut Rtnetlink) {
    let end = |name| VethEnd { name, mac: None, netns: None };
    let link = links.create_veth(&Veth { end: end("eth0"), peer: end("wire"), mtu: 1500 }).unwrap();
    links.add_address(link.index, "10.89.0.200/24".parse().unwrap()).unwrap();
    let wire = links.require_link("wire").unwrap().index;
    links.set_up(wire).unwrap();
}

/// The controller, which gives ranges to nodes that have none.
fn spawn_controller(world: &World) -> Process {
    let arguments = ["--identity", "one", "--status-bind-address", "127.0.0.1:10247", "--lease-duration", "2"];
    let ranges = ["--cluster-cidr", "10.245.0.0/16", "--allocate-node-cidrs", "always"];
    world.spawn("controller", &[&arguments[..], &ranges].concat())
}

/// Routes and tunnel, as the kernel has them.
fn held(links: &mut Rtnetlink) -> (BTreeSet<Route>, Option<Tunnel>) {
    (links.routes(RouteFilter::Ours).unwrap().into_iter().collect(), read_tunnel(links).unwrap())
}

#[test]
fn a_thousand_changes_with_agent_controller_and_plugin_killed_lose_no_connection_and_leave_what_a_fresh_agent_wants() {
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
        let (probes, mut pods) = (Probes::start(), Pods::new(&world));
        let mut controller = spawn_controller(&world);
        let (mut random, mut churn, mut killed) = (Random(SEED), Churn::default(), 0);
        for _ in 0..CHANGES {
            match random.below(10) {
                0 => pods.step(&mut random),
                _ => churn.step(&world, &mut random, &endpoints),
            }
            if random.below(KILLED_ONCE_IN) == 0 {
                controller.crash();
                controller = spawn_controller(&world);
            }
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
        churn.wait_for_ranges(&world);
        let (asked, faults) = probes.end();
        assert_eq!(faults, [""; 0], "{} of {asked} times while the agent was killed {killed} times", faults.len());
        assert!(asked > 100 && killed > 20, "asked {asked} times, killed {killed} times");
        assert!(pods.killed > 10, "only {} calls of the plugin were killed in the middle", pods.killed);
        assert_eq!(pods.end(), [""; 0], "left by pods that are gone");

        controller.crash();
        let nodes = churn.nodes.len() + 1;
        wait_for("routes to the nodes there are, and no others", DEADLINE, || {
            let routes = held(&mut links).0;
            // The others lead here: this node answers for its own pods that are gone, and for those of nodes that are.
            let to_nodes = routes.iter().filter(|route| matches!(route.action, RouteAction::Via { .. }));
            let in_range = to_nodes.filter(|route| route.destination.to_string().starts_with("10.244."));
            (in_range.count() == nodes).then_some(())
        });
        // It finishes the step it is at.
        agent.end();
        let left = held(&mut links);
        let _agent = world.spawn_agent();
        assert_eq!(agent_metric("fairway_agent_kernel_operations_total"), Some(0.0));
        assert_eq!(held(&mut links), left);
    });
}
