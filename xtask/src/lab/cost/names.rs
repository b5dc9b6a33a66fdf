//! How many names a pod can resolve in a second.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::Bench;
use crate::lab::progress::wait_for;
use crate::lab::site::{CLUSTER_DOMAIN, DNS_SERVICE};
use crate::lab::versions::IMAGES;
use crate::lab::workloads::namespace;

const NAMESPACE: &str = "cost-names";
const RUNS: usize = 5;
const WORKERS: &str = "32";
const SECONDS: &str = "5";
const LIMIT: Duration = Duration::from_secs(60);

/// Resolves one name over and over, in a new pod each time; answers in a second, run by run.
pub fn measure(bench: &Bench<'_>) -> Result<Vec<f64>> {
    bench.cluster.apply(&namespace(NAMESPACE))?;
    let runs = (0..RUNS).map(|run| measure_one(bench, &format!("run-{run}"))).collect::<Result<Vec<_>>>()?;
    bench.cluster.kubectl(&["delete", "namespace", NAMESPACE, "--wait"])?;
    Ok(runs)
}

fn measure_one(bench: &Bench<'_>, pod: &str) -> Result<f64> {
    bench.cluster.apply(&client(pod))?;
    wait_for(format_args!("the pod {pod} to end"), LIMIT, || {
        let phase = bench.cluster.kubectl(&["get", "pod", "-n", NAMESPACE, pod, "-o", "jsonpath={.status.phase}"])?;
        match phase.as_str() {
            "Succeeded" => Ok(Some(())),
            "Failed" => bail!("the pod failed"),
            _ => Ok(None),
        }
    })?;
    let told: Value = serde_json::from_str(&bench.cluster.kubectl(&["logs", "-n", NAMESPACE, pod])?)?;
    let (rate, failed) = (told["perSecond"].as_f64().context("no rate")?, &told["failed"]);
    ensure!(failed == 0, "{failed} questions were not answered");
    Ok(rate)
}

fn client(pod: &str) -> String {
    let (server, name) = (format!("{DNS_SERVICE}:53"), format!("kubernetes.default.svc.{CLUSTER_DOMAIN}."));
    let command = ["/probe", "names", &server, &name, WORKERS, SECONDS];
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": pod, "namespace": NAMESPACE },
        "spec": {
            "restartPolicy": "Never",
            "containers": [{ "name": "probe", "image": IMAGES[0].name, "command": command }],
        },
    })
    .to_string()
}
