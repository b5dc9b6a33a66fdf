//! Taking the pods over from the bridge plugin too, node by node: each is drained, loses the other plugin's files, and
//! gets its pods back with Fairway's network.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Ground, LIMIT};
use crate::lab::cluster::list;
use crate::lab::machine::Inside;
use crate::lab::progress::{Progress, wait_for};
use crate::lab::reference::{BRIDGE, NETWORK};
use crate::lab::site::{CLUSTER_DOMAIN, Node};
use crate::lab::workloads::{namespace, server};
use crate::process::run;

const NAMESPACE: &str = "drained";
const SERVICE: &str = "10.96.211.1";
/// Two on each node, so that pods of one node ask each other too.
const SERVERS_A_NODE: usize = 2;

/// Goes from node to node; an error if a pod does not reach another, a Service or a name at any stage, or if something
/// of the other network stays.
pub fn take_over(ground: &Ground, progress: Progress) -> Result<()> {
    let count = ground.nodes.len() * SERVERS_A_NODE;
    ground.cluster.apply(&[namespace(NAMESPACE), server(NAMESPACE, count), service()].join("\n"))?;
    ground.cluster.wait_for_deployment(NAMESPACE, "server", count, LIMIT)?;
    ensure_reach(ground, "before")?;
    progress.say("fairway install");
    ground.fairway(&["install"])?;
    ensure_reach(ground, "after the installation")?;
    for node in &ground.nodes {
        progress.say(format!("{}: drain, remove the other plugin's files, uncordon", node.name()));
        switch(ground, node)?;
        // They must be spread evenly: what was drained waits for this node to take pods again.
        ground.cluster.wait_for_deployment(NAMESPACE, "server", count, LIMIT)?;
        ensure_reach(ground, &format!("after {}", node.name()))?;
    }
    progress.say("kube-proxy and CoreDNS stopped");
    ground.scale_core_dns(0)?;
    ground.stop_proxy()?;
    ensure_reach(ground, "with Fairway alone")?;
    progress.say("kubectl delete namespace");
    ground.cluster.kubectl(&["delete", "namespace", NAMESPACE, "--wait"])?;
    println!("every pod was taken over, and reached every other, Services and names at each stage");
    Ok(())
}

/// What `docs/take-over.md` says is to be done for each node.
fn switch(ground: &Ground, node: &Node) -> Result<()> {
    let drain = ["drain", node.name(), "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s"];
    ground.cluster.kubectl(&drain)?;
    let path = node.machine.folder.join(NETWORK);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", path.display()));
        }
        _ => {}
    }
    wait_for(format_args!("the last pod's end on {}'s bridge", node.name()), LIMIT, || {
        let ports = crate::process::output(network(node)?.args(["-brief", "link", "show", "master", BRIDGE]))?;
        Ok(ports.trim().is_empty().then_some(()))
    })?;
    run(network(node)?.args(["link", "delete", BRIDGE]))?;
    ground.cluster.kubectl(&["uncordon", node.name()]).map(|_| ())
}

fn network(node: &Node) -> Result<Command> {
    node.machine.command(Inside::Network, "ip")
}

/// Every server asks every other, the Service by its address and by its name.
fn ensure_reach(ground: &Ground, stage: &str) -> Result<()> {
    let pods = ground.cluster.read(&["get", "pods", "-n", NAMESPACE, "-l", "app=server"])?;
    let running = list(&pods).filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let text = |pod: &serde_json::Value, path: &str| pod.pointer(path)?.as_str().map(str::to_owned);
    let servers: BTreeMap<String, String> =
        running.filter_map(|pod| Some((text(pod, "/metadata/name")?, text(pod, "/status/podIP")?))).collect();
    ensure!(servers.len() == ground.nodes.len() * SERVERS_A_NODE, "{} servers are there {stage}", servers.len());
    let name = format!("web.{NAMESPACE}.svc.{CLUSTER_DOMAIN}:80");
    let addresses = servers.values().map(|address| format!("{address}:8080"));
    let all: Vec<String> = addresses.chain([format!("{SERVICE}:80"), name]).collect();
    let ask = format!("for a in {}; do /probe ask $a || echo $a; done", all.join(" "));
    let mut lost = Vec::new();
    for server in servers.keys() {
        let told = ground.cluster.kubectl(&["exec", "-n", NAMESPACE, server, "--", "sh", "-c", &ask])?;
        lost.extend(told.lines().map(|address| format!("{server} does not reach {address}")));
    }
    ensure!(lost.is_empty(), "{stage}: {}", lost.join("; "));
    Ok(())
}

fn service() -> String {
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "web", "namespace": NAMESPACE },
        "spec": {
            "clusterIP": SERVICE,
            "selector": { "app": "server" },
            "ports": [{ "port": 80, "targetPort": 8080 }],
        },
    })
    .to_string()
}
