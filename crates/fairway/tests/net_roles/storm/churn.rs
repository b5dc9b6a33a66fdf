//! Objects that come and go.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use apiserver::client::{ENDPOINT_SLICES, NODES, SERVICES};
use datapath::testing::wait_for;
use serde_json::json;

use super::random::Random;
use crate::world::{DEADLINE, World};

/// The objects that come and go.
#[derive(Default)]
pub struct Churn {
    pub nodes: BTreeSet<u64>,
    /// Nodes that have to be given a range by the controller.
    bare: BTreeSet<u64>,
    services: BTreeSet<u64>,
}

impl Churn {
    /// Makes one change.
    pub fn step(&mut self, world: &World, random: &mut Random, endpoints: &[SocketAddr; 2]) {
        let which = random.below(8);
        match random.below(4) {
            0 => self.change_node(world, which, random),
            1 => self.change_service(world, which, endpoints),
            2 => self.change_bare_node(world, which),
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
        let network = ["10.89.0", "192.0.2"][usize::try_from(random.below(2)).unwrap()];
        world.create_node_at(&name, &format!("{network}.{}", which + 10), &format!("10.244.{}.0/24", which + 10));
        self.nodes.insert(which);
    }

    /// A node comes that has no range of its own, or goes.
    fn change_bare_node(&mut self, world: &World, which: u64) {
        let name = format!("bare{which}");
        if self.bare.remove(&which) {
            return world.delete(&NODES, "", &name);
        }
        world.create(&NODES, "", &json!({ "metadata": { "name": name } }));
        self.bare.insert(which);
    }

    /// Waits until the controller has given a range to every node that came without one; no two have the same.
    pub fn wait_for_ranges(&self, world: &World) {
        let range = |which: &u64| {
            let name = format!("bare{which}");
            wait_for(&format!("{name}'s range"), DEADLINE, || {
                world.get(&NODES, "", &name)["spec"]["podCIDR"].as_str().map(str::to_owned)
            })
        };
        let ranges: BTreeSet<String> = self.bare.iter().map(range).collect();
        assert_eq!(ranges.len(), self.bare.len(), "{ranges:?}");
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
