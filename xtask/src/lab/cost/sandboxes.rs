//! How long the sandboxes of pods take that are started at once, as containerd's log has it.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Bench;
use crate::lab::versions::IMAGES;
use crate::lab::workloads::namespace;

const NAMESPACE: &str = "cost-sandboxes";
const PODS: usize = 50;
const LIMIT: Duration = Duration::from_secs(300);

/// Starts the pods and returns how long each sandbox took, in milliseconds.
pub fn measure(bench: &Bench<'_>) -> Result<Vec<f64>> {
    bench.cluster.apply(&format!("{}\n{}", namespace(NAMESPACE), deployment()))?;
    bench.cluster.wait_for_deployment(NAMESPACE, "many", PODS, LIMIT)?;
    let mut times = Vec::new();
    for node in &bench.nodes {
        let path = node.machine.folder.join("logs/containerd.log");
        let log = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        times.extend(durations_ms(&log, NAMESPACE));
    }
    bench.cluster.kubectl(&["delete", "namespace", NAMESPACE, "--wait"])?;
    ensure!(times.len() >= PODS, "containerd's log has {} of {PODS} sandboxes", times.len());
    Ok(times)
}

fn deployment() -> String {
    let labels = json!({ "app": "many" });
    let container = json!({ "name": "pause", "image": IMAGES[0].name, "args": ["pause"] });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "many", "namespace": NAMESPACE },
        "spec": {
            "replicas": PODS,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "terminationGracePeriodSeconds": 0, "containers": [container] },
            },
        },
    })
    .to_string()
}

/// From the line that a sandbox is run to the line that it is there, for each pod of the namespace.
fn durations_ms(log: &str, namespace: &str) -> Vec<f64> {
    let mut began = HashMap::new();
    let mut times = Vec::new();
    for line in log.lines().filter(|line| line.contains(&format!("Namespace:{namespace},"))) {
        let Some((at, pod)) = sandbox(line) else { continue };
        if line.contains("returns sandbox id") {
            times.extend(began.remove(pod).map(|since| elapsed_ms(since, at)));
        } else {
            began.insert(pod, at);
        }
    }
    times
}

/// The second of the day, and the pod.
fn sandbox(line: &str) -> Option<(f64, &str)> {
    let clock = line.strip_prefix("time=\"")?.split_once('T')?.1.split_once('Z')?.0;
    let mut parts = clock.split(':').map(str::parse::<f64>);
    let mut part = || parts.next()?.ok();
    let at = part()? * 3600.0 + part()? * 60.0 + part()?;
    let pod = line.split_once("RunPodSandbox for &PodSandboxMetadata{")?.1.split_once('}')?.0;
    Some((at, pod))
}

fn elapsed_ms(since: f64, at: f64) -> f64 {
    const DAY: f64 = 86_400.0;
    (at - since).rem_euclid(DAY) * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_takes_from_its_order_to_its_id() {
        let pod = "RunPodSandbox for &PodSandboxMetadata{Name:a,Uid:u,Namespace:n,Attempt:0,}";
        let log = format!(
            "time=\"2026-01-01T23:59:59.900000000Z\" level=info msg=\"{pod}\"\n\
             time=\"2026-01-02T00:00:00.150000000Z\" level=info msg=\"{pod} returns sandbox id \\\"x\\\"\"\n"
        );
        let times: Vec<u64> = durations_ms(&log, "n").iter().map(|time| time.round() as u64).collect();
        assert_eq!(times, [250]);
        assert!(durations_ms(&log, "other").is_empty());
    }
}
