//! The ends that agent and controller come to.

use super::random::Random;
use crate::world::{Process, World};

/// On average each is killed once in this many changes.
const KILLED_ONCE_IN: u64 = 40;

pub struct Strikes<'a> {
    world: &'a World,
    agent: Option<Process>,
    controller: Option<Process>,
    /// How often the agent was killed.
    pub agents: u32,
}

impl<'a> Strikes<'a> {
    pub fn new(world: &'a World, agent: Process) -> Self {
        Self { world, agent: Some(agent), controller: Some(spawn_controller(world)), agents: 0 }
    }

    /// Kills either, both or none, wherever they are in what they do, and starts what was killed.
    pub fn step(&mut self, random: &mut Random) {
        if random.once_in(KILLED_ONCE_IN) {
            drop(self.controller.take());
            self.controller = Some(spawn_controller(self.world));
        }
        if random.once_in(KILLED_ONCE_IN) {
            drop(self.agent.take());
            self.agent = Some(self.world.spawn_agent_alone(&[]));
            self.agents += 1;
        }
    }

    /// Kills the controller for good; the agent that is left.
    pub fn end(mut self) -> Process {
        drop(self.controller.take());
        self.agent.take().unwrap()
    }
}

/// The controller, which gives ranges to nodes that have none.
fn spawn_controller(world: &World) -> Process {
    let arguments = ["--identity", "one", "--status-bind-address", "127.0.0.1:10247", "--lease-duration", "2"];
    let ranges = ["--cluster-cidr", "10.245.0.0/16", "--allocate-node-cidrs", "always"];
    world.spawn("controller", &[&arguments[..], &ranges].concat())
}
