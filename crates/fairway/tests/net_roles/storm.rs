//! Many changes of a cluster while agent, controller and plugin are killed again and again.

mod churn;
mod clients;
mod objects;
mod plugin;
mod pods;
mod probes;
mod random;
mod scene;
mod servers;
mod strikes;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use compile::Observed;
use compile::plan::Tunnel;
use compile::ruleset::Operation;
use datapath::nft::Table;
use datapath::read_tunnel;
use datapath::route::{Route, RouteAction, RouteFilter, Rtnetlink};
use datapath::testing::{isolated, wait_for};
use serde_json::json;

use crate::world::{DEADLINE, Process, World, agent_metric};
use churn::Churn;
use clients::{PATIENCE, Protocol, ask};
use objects::create_service;
use plugin::Plugin;
use pods::Pods;
use probes::{Asked, Probes};
use random::{Random, seed};
use scene::Scene;
use servers::Faults;
use strikes::Strikes;

const CHANGES: u32 = 1000;
/// Of a thousand probes in a second, so many come about on a machine that has much else to do.
const RATE_MIN: u32 = 250;
/// What is made last, once everything else was.
const LAST: [&str; 2] = ["10.96.0.99", "fd00:10:96::99"];

/// Routes and tunnel, as the kernel has them.
fn held(links: &mut Rtnetlink) -> (BTreeSet<Route>, Option<Tunnel>) {
    (links.routes(RouteFilter::Ours).unwrap().into_iter().collect(), read_tunnel(links).unwrap())
}

fn table() -> Observed {
    let listing = Table::open().unwrap().read().unwrap().unwrap();
    assert_eq!(listing.foreign, [""; 0]);
    listing.observed
}

/// Makes a node and a Service, and waits for what comes of them: what comes last is in the kernel when everything
/// before it is.
fn wait_for_the_last(world: &World, links: &mut Rtnetlink, churn: &Churn) {
    churn.wait_for_ranges(world);
    world.create_node_at("last", "192.0.2.99", "10.244.99.0/24");
    create_service(world, "last", LAST, &json!({}), &churn.endpoints);
    for address in LAST {
        let last = SocketAddr::new(address.parse().unwrap(), 80);
        wait_for("the last Service", DEADLINE, || ask(Protocol::Tcp, last, PATIENCE).ok());
    }
    let is_last = |route: &Route| route.destination.to_string() == "10.244.99.0/24";
    wait_for("the last node", DEADLINE, || held(links).0.iter().any(is_last).then_some(()));
    // Beside the last one there is the one that stays.
    let nodes = churn.nodes.len() + 2;
    wait_for("routes to the nodes there are, and no others", DEADLINE, || {
        let routes = held(links).0;
        // The others lead here: this node answers for its own pods that are gone, and for those of nodes that are.
        let to_nodes = routes.iter().filter(|route| matches!(route.action, RouteAction::Via { .. }));
        let in_range = to_nodes.filter(|route| route.destination.to_string().starts_with("10.244."));
        (in_range.count() == nodes).then_some(())
    });
}

/// The kernel is as an agent wants it that finds it, and the table as one makes it that finds none.
fn assert_fresh(world: &World, links: &mut Rtnetlink, agent: Process) {
    // It finishes the step it is at.
    agent.end();
    let left = (held(links), table());
    let agent = world.spawn_agent();
    assert_eq!((held(links), table()), left);
    assert_eq!(agent_metric("fairway_agent_kernel_operations_total"), Some(0.0));
    agent.end();
    Table::open().unwrap().apply(&[Operation::DeleteTable]).unwrap();
    let _agent = world.spawn_agent();
    assert_eq!(table(), left.1, "made anew");
}

#[test]
fn a_thousand_changes_with_agent_controller_and_plugin_killed_lose_nothing_and_leave_what_a_fresh_agent_wants() {
    isolated(|| {
        let seed = seed();
        println!("the storm of FAIRWAY_STORM_SEED={seed}");
        let (world, faults) = (World::start(), Faults::default());
        // With the machine outside the node's link would go.
        let outside = scene::settle(&world);
        let agent = world.spawn_agent();
        let plugin = Plugin::of(&world);
        let scene = Scene::build(&world, &plugin, Arc::clone(&outside), &faults);
        let mut churn = Churn::new(scene.served());
        let always = scene.always();
        let mut askers = scene.askers();
        Scene::wait(&mut askers);
        let mut pods = Pods::new(&plugin, always, &faults);
        let (probes, mut strikes, mut random) =
            (Probes::start(askers, &faults), Strikes::new(&world, agent), Random(seed));
        for _ in 0..CHANGES {
            match random.once_in(10) {
                true => pods.step(&mut random),
                false => churn.step(&world, &mut random),
            }
            strikes.step(&mut random);
        }
        let mut links = Rtnetlink::open().unwrap();
        wait_for_the_last(&world, &mut links, &churn);
        let Asked { times, per_second } = probes.end();
        println!("{times} probes, {per_second} in a second, and {} of pods that came and went", pods.asked);
        println!("killed: the agent {} times, the plugin {} times", strikes.agents, pods.killed);
        let (pods_killed, pods_asked) = (pods.killed, pods.asked);
        assert_eq!(pods.end(), [""; 0], "left by pods that are gone");
        let told = faults.take();
        assert_eq!(
            told,
            [""; 0],
            "{} of {times} times while the agent was killed {} times",
            told.len(),
            strikes.agents
        );
        assert!(per_second > RATE_MIN, "asked {per_second} times in a second");
        assert!(strikes.agents > 10, "the agent was killed only {} times", strikes.agents);
        assert!(pods_killed > 10, "only {pods_killed} calls of the plugin were killed in the middle");
        assert!(pods_asked > 100, "pods that came and went were asked only {pods_asked} times");
        assert_fresh(&world, &mut links, strikes.end());
    });
}
