//! Objects that come and go.

use std::collections::BTreeSet;
use std::net::IpAddr;

use apiserver::client::NODES;
use datapath::testing::wait_for;
use serde_json::json;

use super::objects::{create_service, delete_service, set_endpoints};
use super::random::Random;
use crate::world::{DEADLINE, World};

/// The objects that come and go.
pub struct Churn {
    /// Of two pods that always serve.
    pub endpoints: [[IpAddr; 2]; 2],
    pub nodes: BTreeSet<u64>,
    /// Nodes that have to be given a range by the controller.
    bare: BTreeSet<u64>,
    services: BTreeSet<u64>,
}

impl Churn {
    pub const fn new(endpoints: [[IpAddr; 2]; 2]) -> Self {
        Self { endpoints, nodes: BTreeSet::new(), bare: BTreeSet::new(), services: BTreeSet::new() }
    }

    /// Makes one change.
    pub fn step(&mut self, world: &World, random: &mut Random) {
        let which = random.below(8);
        match random.below(5) {
            0 => self.change_node(world, which, random),
            1 => self.change_service(world, which),
            2 => self.change_bare_node(world, which),
            3 => set_endpoints(world, "moving", self.some_endpoints(1 + random.below(3))),
            _ if self.services.contains(&which) => {
                set_endpoints(world, &format!("service{which}"), self.some_endpoints(random.below(4)));
            }
            _ => {}
        }
    }

    /// None, either or both.
    fn some_endpoints(&self, which: u64) -> &[[IpAddr; 2]] {
        match which {
            0 => &[],
            1 => &self.endpoints[..1],
            2 => &self.endpoints[1..],
            _ => &self.endpoints,
        }
    }

    /// A node comes, near or far, or goes.
    fn change_node(&mut self, world: &World, which: u64, random: &mut Random) {
        let name = format!("other{which}");
        if self.nodes.remove(&which) {
            return world.delete(&NODES, "", &name);
        }
        let network = ["10.89.0", "192.0.2"][usize::try_from(random.below(2)).unwrap()];
        let ranges = [format!("10.244.{}.0/24", which + 10), format!("fd00:10:244:{}::/64", which + 10)];
        world.create_node_with(&name, &[&format!("{network}.{}", which + 10)], &ranges.each_ref().map(String::as_str));
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

    fn change_service(&mut self, world: &World, which: u64) {
        let name = format!("service{which}");
        if self.services.remove(&which) {
            return delete_service(world, &name);
        }
        let addresses = [format!("10.96.1.{which}"), format!("fd00:10:96::1{which}")];
        create_service(world, &name, addresses.each_ref().map(String::as_str), &json!({}), &self.endpoints);
        self.services.insert(which);
    }
}
