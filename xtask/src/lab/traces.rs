//! What a network leaves on a node: interfaces, rules, routes, files and mounts.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::Result;

use crate::lab::machine::Inside;
use crate::lab::site::Node;
use crate::process::output;

/// Where a network's files are. The folder `results` is the container runtime's own, whatever the network.
const FILES: &str = "find /etc/cni /opt/cni /var/lib/cni -mindepth 1 -not -name last_reserved_ip.0 -not -path /var/lib/cni/networks/*/* \
                     -not -path /var/lib/cni/results -not -path /var/lib/cni/results/*";

/// What is there, a line each.
pub struct Traces(BTreeSet<String>);

impl Traces {
    /// Looks at a node. Pods come and go, and with them interfaces of their own network: those are of the bridge `cni0`.
    pub fn read(node: &Node) -> Result<Self> {
        let links = lines(network(node, "ip")?.args(["-brief", "link", "show", "nomaster"]))?;
        let links = links.iter().filter_map(|line| line.split_whitespace().next());
        let mut found: BTreeSet<String> = links.map(|name| format!("interface {name}")).collect();
        let mut add = |kind: &str, lines: Vec<String>| found.extend(lines.iter().map(|line| format!("{kind} {line}")));
        add("rule", lines(network(node, "ip")?.args(["rule", "show"]))?);
        add("table", lines(network(node, "nft")?.args(["list", "tables"]))?);
        for family in ["-4", "-6"] {
            add("route", lines(network(node, "ip")?.args([family, "route", "show", "table", "all", "proto", "117"]))?);
        }
        let mut shell = node.machine.command(Inside::Everything, "sh")?;
        add("file", lines(shell.args(["-c", &format!("set -f; {FILES} 2>/dev/null; true")]))?);
        let mounts = lines(node.machine.command(Inside::Everything, "cat")?.arg("/proc/self/mounts"))?;
        let places = mounts.iter().filter_map(|line| line.split(' ').nth(1)).filter(|place| !is_of_pods(place));
        add("mount", places.map(str::to_owned).collect());
        Ok(Self(found))
    }

    /// What is here and was not there.
    pub fn beyond(&self, earlier: &Self) -> Vec<String> {
        self.0.difference(&earlier.0).cloned().collect()
    }
}

/// Kubelet and containerd mount for as long as a pod lives.
fn is_of_pods(place: &str) -> bool {
    ["/var/lib/kubelet/pods/", "/run/containerd/", "/run/netns/", "/var/run/netns/"]
        .iter()
        .any(|of| place.starts_with(of))
}

fn network(node: &Node, program: &str) -> Result<Command> {
    node.machine.command(Inside::Network, program)
}

fn lines(command: &mut Command) -> Result<Vec<String>> {
    Ok(output(command)?.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_is_left_over() {
        let traces = |lines: &[&str]| Traces(lines.iter().map(ToString::to_string).collect());
        let before = traces(&["interface eth0", "table ip x"]);
        assert_eq!(traces(&["interface eth0", "interface fw0"]).beyond(&before), ["interface fw0"]);
    }
}
