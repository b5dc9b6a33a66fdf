//! The ways between a sandbox's nodes, as the agents of all of them tell.

use std::io;
use std::process::{Child, Command, Stdio};

use sandbox::machine::Record;
use serde_json::{Value, json};

use crate::peers::{Peer, PeerList};

/// This program, whatever has become of its file.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// What is reached from where.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ways {
    /// Ranges of other nodes' pods, counted once for each node that is to reach them.
    ranges: usize,
    /// Those of them that are not reached, with the nodes they are not reached from.
    unreached: Vec<(String, Peer)>,
    /// Nodes whose agents do not tell.
    silent: Vec<String>,
}

impl Ways {
    /// Asks the agents of all nodes at once, each from inside its node: their pages are the nodes' own.
    pub(super) fn ask(record: &Record) -> Self {
        let name = record.spec.name();
        let asked: Vec<(String, io::Result<Child>)> =
            record.spec.node_names().map(|node| (node.clone(), question(name, &node).spawn())).collect();
        let told = asked.into_iter().map(|(node, asked)| {
            let answer = asked.and_then(Child::wait_with_output).ok();
            let list = answer.and_then(|answer| serde_json::from_slice(&answer.stdout).ok());
            (node, list)
        });
        Self::of(told)
    }

    /// What the nodes told; none of those that did not.
    fn of(told: impl IntoIterator<Item = (String, Option<PeerList>)>) -> Self {
        let mut ways = Self::default();
        for (node, list) in told {
            let Some(list) = list else {
                ways.silent.push(node);
                continue;
            };
            ways.ranges += list.items.iter().filter(|peer| peer.pods.is_some()).count();
            ways.unreached.extend(list.unreached().map(|peer| (node.clone(), peer.clone())));
        }
        ways
    }

    /// How many ranges are reached, of how many.
    pub(super) fn summary(&self) -> String {
        format!("{}/{}", self.ranges - self.unreached.len(), self.ranges)
    }

    /// What a user should know of it, line by line; nothing when all is reached.
    pub(super) fn lines(&self, sandbox: &str) -> Vec<String> {
        let more = |node: &str| format!("fairway enter --name {sandbox} --node {node} -- fairway peers");
        let mut lines = Vec::new();
        if let Some((from, peer)) = self.unreached.first() {
            let (count, pods) = (self.unreached.len(), peer.pods.as_deref().unwrap_or_default());
            lines
                .push(format!("ways missing between nodes: {count}, the first from {from} to {pods} of {}", peer.node));
            lines.push(format!("more: {}", more(from)));
        }
        if let Some(node) = self.silent.first() {
            let silent = self.silent.join(", ");
            lines.push(format!("no agent tells what is reached from {silent}; why: {}", more(node)));
        }
        lines
    }

    pub(super) fn to_json(&self) -> Value {
        let unreached = self
            .unreached
            .iter()
            .map(|(from, peer)| json!({ "from": from, "node": peer.node, "pods": peer.pods, "reason": peer.reason }));
        json!({
            "ranges": self.ranges,
            "reached": self.ranges - self.unreached.len(),
            "unreached": unreached.collect::<Vec<_>>(),
            "silent": self.silent,
        })
    }
}

/// `fairway peers` on a node.
fn question(sandbox: &str, node: &str) -> Command {
    let mut command = Command::new(OWN_PROGRAM);
    command.args(["enter", "--name", sandbox, "--node", node, "--", "fairway", "peers", "-o", "json"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use compile::RoutingMode;
    use compile::plan::{NoWay, PeerPath};

    use super::*;

    #[test]
    fn what_is_not_reached_and_who_does_not_tell_is_named_with_the_command_that_says_more() {
        let pods = "10.244.2.0/24".parse().unwrap();
        let refused = PeerPath { node: "node3".into(), pods: Some(pods), way: Err(NoWay::NoAddress { pods }) };
        let young = PeerPath { node: "node4".into(), pods: None, way: Err(NoWay::NoRange) };
        let list = PeerList::of("node1", RoutingMode::Auto, [(&refused, None), (&young, None)]);
        let ways = Ways::of([("node1".to_owned(), Some(list)), ("node2".to_owned(), None)]);
        assert_eq!(ways.summary(), "0/1");
        let said = [
            "ways missing between nodes: 1, the first from node1 to 10.244.2.0/24 of node3",
            "more: fairway enter --name ci --node node1 -- fairway peers",
            "no agent tells what is reached from node2; why: fairway enter --name ci --node node2 -- fairway peers",
        ];
        assert_eq!(ways.lines("ci"), said);
        let told = ways.to_json();
        assert_eq!((&told["reached"], &told["silent"]), (&json!(0), &json!(["node2"])));
        assert_eq!((&told["unreached"][0]["from"], &told["unreached"][0]["node"]), (&json!("node1"), &json!("node3")));
        assert_eq!(Ways::of([]).lines("ci"), [""; 0]);
    }
}
