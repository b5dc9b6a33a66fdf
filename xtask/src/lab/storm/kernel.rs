//! What a node's kernel holds, against what a fresh agent puts there.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::victims::agent_of;
use crate::lab::cluster::Cluster;
use crate::lab::machine::Inside;
use crate::lab::progress::wait_for;
use crate::lab::site::Node;
use crate::process::{output, run};

const FRESH_LIMIT: Duration = Duration::from_secs(90);
/// Where the agent says that all is in the kernel; `deploy/` has it so.
const READY: &str = "http://127.0.0.1:10246/readyz";
/// What differs between two tables that mean the same: numbers the kernel gives, and what passed so far.
const VOLATILE: [&str; 4] = ["handle", "packets", "bytes", "expires"];

/// Takes the agent and all it put into the kernel away, lets a new one do its work, and tells what is different now.
pub fn differences_to_fresh(node: &Node, cluster: &Cluster) -> Result<Vec<String>> {
    let before = State::read(node)?;
    run(nft(node)?.args(["delete", "table", "inet", "fairway"]))?;
    let agent = agent_of(node);
    agent.kill(&agent.processes()?)?;
    let fresh = wait_for(format_args!("a fresh agent on {}", node.name()), FRESH_LIMIT, || {
        output(node.machine.command(Inside::Network, "curl")?.args(["-fsS", READY]))?;
        State::read(node).map(Some)
    })?;
    cluster.wait_for_pods("kube-system", FRESH_LIMIT)?;
    Ok(before.differences(&fresh).into_iter().map(|line| format!("{}: {line}", node.name())).collect())
}

/// What the agent is answerable for, in an order of its own.
#[derive(Debug, PartialEq)]
struct State {
    table: Vec<String>,
    routes: Vec<String>,
}

impl State {
    fn read(node: &Node) -> Result<Self> {
        let text = output(nft(node)?.args(["--json", "list", "table", "inet", "fairway"]))?;
        let mut table: Value = serde_json::from_str(&text).context("nft printed something that is not JSON")?;
        normalise(&mut table);
        let objects = table["nftables"].as_array().into_iter().flatten().map(Value::to_string);
        let routes = output(node.machine.command(Inside::Network, "ip")?.args(["route", "show", "table", "all"]))?;
        let mut state = Self { table: objects.collect(), routes: routes.lines().map(str::to_owned).collect() };
        state.table.sort();
        state.routes.sort();
        Ok(state)
    }

    fn differences(&self, fresh: &Self) -> Vec<String> {
        let missing = |from: &[String], of: &[String], why: &str| -> Vec<String> {
            from.iter().filter(|line| !of.contains(line)).map(|line| format!("{why}: {line}")).collect()
        };
        [
            missing(&self.table, &fresh.table, "a fresh agent does not make"),
            missing(&fresh.table, &self.table, "a fresh agent makes"),
            missing(&self.routes, &fresh.routes, "a fresh agent has no route"),
            missing(&fresh.routes, &self.routes, "a fresh agent has the route"),
        ]
        .concat()
    }
}

/// Removes what is volatile, and orders the elements of sets, which have no order.
fn normalise(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            VOLATILE.iter().for_each(|name| drop(fields.remove(*name)));
            fields.values_mut().for_each(normalise);
            if let Some(Value::Array(elements)) = fields.get_mut("elem") {
                elements.sort_by_cached_key(Value::to_string);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(normalise),
        _ => {}
    }
}

fn nft(node: &Node) -> Result<Command> {
    node.machine.command(Inside::Network, "nft")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_that_mean_the_same_are_the_same() {
        let mut a = json!({ "set": { "handle": 1, "elem": ["b", { "elem": { "val": "a", "expires": 3 } }] } });
        let mut b = json!({ "set": { "handle": 2, "elem": [{ "elem": { "val": "a" } }, "b"] } });
        normalise(&mut a);
        normalise(&mut b);
        assert_eq!(a, b);
    }

    #[test]
    fn what_is_left_over_and_what_is_missing_is_told() {
        let state = |table: &str, route: &str| State { table: vec![table.into()], routes: vec![route.into()] };
        let told = state("x", "r").differences(&state("y", "r"));
        assert_eq!(told, ["a fresh agent does not make: x", "a fresh agent makes: y"]);
    }
}
