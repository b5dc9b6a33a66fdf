//! How long a new Service takes from `kubectl apply` until it answers on every node.

use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::json;

use super::Bench;
use crate::lab::machine::Inside;
use crate::lab::progress::wait_for;
use crate::lab::site::Node;
use crate::lab::workloads::{namespace, server};

const NAMESPACE: &str = "cost-reach";
const SERVICES: usize = 20;
const LIMIT: Duration = Duration::from_secs(120);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Applies one Service after the other and returns what each took on the slowest node, in milliseconds.
pub fn measure(bench: &Bench<'_>) -> Result<Vec<f64>> {
    bench.cluster.apply(&format!("{}\n{}", namespace(NAMESPACE), server(NAMESPACE, 2)))?;
    bench.cluster.wait_for_deployment(NAMESPACE, "server", 2, LIMIT)?;
    let times = (1..=SERVICES).map(|number| measure_one(bench, number)).collect::<Result<Vec<_>>>()?;
    bench.cluster.kubectl(&["delete", "namespace", NAMESPACE, "--wait"])?;
    Ok(times)
}

fn measure_one(bench: &Bench<'_>, number: usize) -> Result<f64> {
    // Chosen here, so that the nodes can ask before the Service is there.
    let address = format!("10.96.200.{number}");
    let asking: Vec<Child> = bench.nodes.iter().map(|node| ask(bench, node, &address)).collect::<Result<_>>()?;
    let began = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let applied = bench.cluster.apply(&service(number, &address));
    let answered = asking.into_iter().map(|child| answered_at(child, applied.is_ok()));
    let answered = answered.collect::<Result<Vec<Duration>>>();
    applied?;
    let last = answered?.into_iter().max().context("no nodes")?;
    Ok(last.saturating_sub(began).as_secs_f64() * 1000.0)
}

fn ask(bench: &Bench<'_>, node: &Node, address: &str) -> Result<Child> {
    let program = bench.programs.probe.to_str().context("a path that is not text")?;
    let mut probe = node.machine.command(Inside::Processes, program)?;
    let probe = probe.args(["first", &format!("{address}:80")]).stdout(Stdio::piped());
    probe.spawn().with_context(|| format!("cannot ask from {}", node.name()))
}

/// When it had its answer, since 1970; it is not waited for in vain.
fn answered_at(mut child: Child, worth_waiting: bool) -> Result<Duration> {
    let limit = if worth_waiting { ANSWER_LIMIT } else { Duration::ZERO };
    if let Err(error) = wait_for("a Service to answer", limit, || Ok(child.try_wait()?)) {
        child.kill()?;
        child.wait()?;
        return Err(error);
    }
    let told = child.wait_with_output()?.stdout;
    Ok(Duration::from_nanos(String::from_utf8(told)?.trim().parse().context("the probe told no time")?))
}

fn service(number: usize, address: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": format!("reach-{number}"), "namespace": NAMESPACE },
        "spec": {
            "clusterIP": address,
            "selector": { "app": "server" },
            "ports": [{ "port": 80, "targetPort": 8080 }],
        },
    })
    .to_string()
}
