//! Calls that are killed at any point, among others that are not.

use std::process::Child;
use std::time::{Duration, Instant};

use datapath::testing::isolated;
use serde_json::{Value, json};

use crate::runtime::{Node, finish, time_of_an_addition};

const CONTAINERS: usize = 12;
const CALLS: u32 = 500;

/// Numbers that look random and are the same in every run (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Every container has a port of its own and some have limits, so that there is much to leave behind.
fn config(node: &Node, number: usize) -> Value {
    let mut config = node.config.clone();
    let port = 20_000 + number;
    config["runtimeConfig"] = json!({
        "portMappings": [{ "hostPort": port, "containerPort": 80 }, { "hostPort": port, "containerPort": 80, "protocol": "udp" }],
    });
    if number.is_multiple_of(4) {
        config["runtimeConfig"]["bandwidth"] = json!({ "egressRate": 8_000_000 });
    }
    config
}

fn kill_after(mut child: Child, delay: Duration) -> bool {
    let until = Instant::now() + delay;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    finish(child).is_success
}

#[test]
fn five_hundred_calls_with_crashes_leave_no_address_link_route_or_port() {
    isolated(|| {
        let node = Node::new().with("ipam", json!({ "ranges": ["10.244.1.0/27", "fd00:10:244:1::/64"] }));
        let names: Vec<String> = (0..CONTAINERS).map(|number| format!("pod-{number}")).collect();
        let _namespaces: Vec<_> = names.iter().map(|name| node.container(name)).collect();
        let whole = time_of_an_addition(&node, &names[0], &config(&node, 0));
        let whole = u64::try_from(whole.as_micros()).unwrap();
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let mut killed = 0;
        for _ in 0..CALLS / 2 {
            // Two at once, of different containers.
            let first = usize::try_from(numbers.below(CONTAINERS as u64)).unwrap();
            let second = (first + 1 + usize::try_from(numbers.below(CONTAINERS as u64 - 1)).unwrap()) % CONTAINERS;
            let children = [first, second].map(|number| {
                let command = if numbers.below(3) == 0 { "DEL" } else { "ADD" };
                node.start(command, &names[number], &config(&node, number))
            });
            for child in children {
                match numbers.below(2) {
                    0 => drop(finish(child)),
                    _ => killed += u32::from(!kill_after(child, Duration::from_micros(numbers.below(whole)))),
                }
            }
        }
        assert!(killed > CALLS / 20, "only {killed} calls were killed in the middle");
        for (number, name) in names.iter().enumerate() {
            // Whatever is there, one more addition makes it whole, and it can be checked.
            let said = node.call_with("ADD", name, &config(&node, number));
            assert!(said.is_success, "{name}: {said:?}");
            let mut checked = config(&node, number);
            checked["prevResult"] = said.output;
            let said = node.call_with("CHECK", name, &checked);
            assert!(said.is_success, "{name}: {said:?}");
        }
        assert_eq!(cni::recorded_host_ports(&node.state()).unwrap().len(), 4 * CONTAINERS);
        assert_eq!(cni::restore_host_ports(&node.state()).unwrap(), 0, "the maps are as written down");
        for (number, name) in names.iter().enumerate() {
            let said = node.call_with("DEL", name, &config(&node, number));
            assert!(said.is_success, "{name}: {said:?}");
        }
        assert_eq!(node.leftovers(), Vec::<String>::new());
        assert_eq!(cni::restore_host_ports(&node.state()).unwrap(), 0, "no element is left");
    });
}
