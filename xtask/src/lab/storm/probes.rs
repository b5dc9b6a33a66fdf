//! Pods that ask other pods all the time.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::count::Count;
use crate::lab::cluster::{Cluster, has_condition, list};
use crate::lab::progress::wait_for;
use crate::lab::site::Node;
use crate::lab::versions::IMAGES;
use crate::lab::workloads::{namespace, server};

/// Where they are.
pub const NAMESPACE: &str = "storm";
const SERVICE: &str = "10.96.210.1";
const LIMIT: Duration = Duration::from_secs(120);
/// What each prober does, and how often in a second: together a thousand times from each node.
const TASKS: [(&str, &str, &str); 4] =
    [("service", "steady", "300"), ("pod", "steady", "300"), ("held", "hold", "100"), (CONTROL, "steady", "300")];
/// The task that asks a server in its own pod. What it loses, the machine had no time for.
const CONTROL: &str = "control";
const CONTROL_PORT: &str = "8090";

/// The probers, by their pods' names.
pub struct Probes(Vec<String>);

/// Starts a server on every node and a prober on every node.
pub fn start(cluster: &Cluster, nodes: &[Node]) -> Result<Probes> {
    let documents = [namespace(NAMESPACE), server(NAMESPACE, nodes.len()), service()];
    cluster.apply(&documents.join("\n"))?;
    cluster.wait_for_deployment(NAMESPACE, "server", nodes.len(), LIMIT)?;
    let servers = cluster.read(&["get", "pods", "-n", NAMESPACE, "-l", "app=server"])?;
    let mut names = Vec::new();
    for node in nodes {
        let elsewhere = list(&servers).find(|pod| nodes.len() == 1 || pod["spec"]["nodeName"] != node.name());
        let address = elsewhere.and_then(|pod| pod["status"]["podIP"].as_str()).context("no server elsewhere")?;
        let name = format!("prober-{}", node.name());
        cluster.apply(&prober(&name, node.name(), address))?;
        names.push(name);
    }
    wait_for("the probers to run", LIMIT, || {
        let pods = cluster.read(&["get", "pods", "-n", NAMESPACE])?;
        Ok(list(&pods).all(|pod| has_condition(pod, "Ready")).then_some(()))
    })?;
    Ok(Probes(names))
}

/// Ends the probers; what was lost by the network's fault.
pub fn finish(cluster: &Cluster, probes: &Probes) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for pod in &probes.0 {
        let control = end(cluster, pod, CONTROL)?;
        println!("{pod} {CONTROL}: sent {}, lost {}", control.sent, control.lost);
        for (task, _, _) in TASKS.iter().filter(|(task, _, _)| *task != CONTROL) {
            let count = end(cluster, pod, task)?;
            let lost = count.lost_beyond(&control);
            println!("{pod} {task}: sent {}, lost {}, of these {lost} by the network", count.sent, count.lost);
            if lost > 0 {
                wrong.push(format!("{pod} {task}: {lost} of {} lost: {:?}", count.sent, count.losses.first()));
            }
        }
    }
    Ok(wrong)
}

/// Ends one task: process 1 of its container takes the signal, prints what it counted and ends.
fn end(cluster: &Cluster, pod: &str, task: &str) -> Result<Count> {
    cluster.kubectl(&["exec", "-n", NAMESPACE, pod, "-c", task, "--", "kill", "-TERM", "1"])?;
    wait_for(format_args!("{task} of {pod} to tell"), LIMIT, || {
        let text = cluster.kubectl(&["logs", "-n", NAMESPACE, pod, "-c", task])?;
        Ok(serde_json::from_str(&text).ok())
    })
}

fn prober(name: &str, node: &str, pod: &str) -> String {
    let address = |task: &str| match task {
        CONTROL => format!("127.0.0.1:{CONTROL_PORT}"),
        "pod" => format!("{pod}:8080"),
        _ => format!("{SERVICE}:80"),
    };
    let image = IMAGES[0].name;
    let probe = |(task, verb, rate): (&str, &str, &str)| json!({ "name": task, "image": image, "command": ["/probe", verb, address(task), rate] });
    let server = json!({
        "name": "own-server", "image": image, "args": ["netexec", format!("--http-port={CONTROL_PORT}"), "--udp-port=-1"],
    });
    let containers: Vec<Value> = [server].into_iter().chain(TASKS.map(probe)).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": { "nodeName": node, "restartPolicy": "Never", "containers": containers },
    })
    .to_string()
}

fn service() -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "server", "namespace": NAMESPACE },
        "spec": {
            "clusterIP": SERVICE,
            "selector": { "app": "server" },
            "ports": [{ "port": 80, "targetPort": 8080 }],
        },
    })
    .to_string()
}
