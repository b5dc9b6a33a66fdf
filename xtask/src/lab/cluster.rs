//! The cluster of a lab as `kubectl` shows it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::machine::Inside;
use super::progress::wait_for;
use super::site::Site;
use crate::process::{output, output_with_input};

/// Questions and orders to the API server.
#[derive(Clone)]
pub struct Cluster {
    site: Site,
}

impl Cluster {
    /// The cluster of that lab.
    pub fn of(site: &Site) -> Self {
        Self { site: site.clone() }
    }

    /// `kubectl` in the lab's network, as administrator.
    pub fn command(&self) -> Result<Command> {
        let mut command = self.site.control().command(Inside::Network, "kubectl")?;
        command.arg("--kubeconfig").arg(self.site.kubeconfig());
        Ok(command)
    }

    /// What `kubectl` prints.
    pub fn kubectl(&self, words: &[&str]) -> Result<String> {
        output(self.command()?.args(words))
    }

    /// What `kubectl ... -o json` prints.
    pub fn read(&self, words: &[&str]) -> Result<Value> {
        let text = output(self.command()?.args(words).args(["-o", "json"]))?;
        serde_json::from_str(&text).context("kubectl printed something that is not JSON")
    }

    /// Applies objects as the server merges them.
    pub fn apply(&self, objects: &str) -> Result<()> {
        let mut command = self.command()?;
        let words = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        output_with_input(command.args(words), objects.as_bytes()).map(|_| ())
    }

    /// Creates objects that are not there.
    pub fn create(&self, objects: &str) -> Result<()> {
        output_with_input(self.command()?.args(["create", "-f", "-"]), objects.as_bytes()).map(|_| ())
    }

    /// Waits until that many pods of a Deployment are available.
    pub fn wait_for_deployment(&self, namespace: &str, name: &str, count: usize, limit: Duration) -> Result<()> {
        let path = "jsonpath={.status.availableReplicas}";
        wait_for(format_args!("{count} pods of {name}"), limit, || {
            let available = self.kubectl(&["get", "deployment", "-n", namespace, name, "-o", path])?;
            Ok((available == count.to_string()).then_some(()))
        })
    }

    /// Waits until the API server is ready.
    pub fn wait_for_api(&self, limit: Duration) -> Result<()> {
        wait_for("the API server", limit, || self.kubectl(&["get", "--raw", "/readyz"]).map(Some)).map(|_| ())
    }

    /// Waits for the ranges of pod addresses of a node, one for each family.
    pub fn wait_for_pod_ranges(&self, node: &str, limit: Duration) -> Result<Vec<String>> {
        let path = "jsonpath={.spec.podCIDRs[*]}";
        wait_for(format_args!("the pod addresses of {node}"), limit, || {
            let ranges = self.kubectl(&["get", "node", node, "-o", path])?;
            let ranges: Vec<String> = ranges.split_whitespace().map(str::to_owned).collect();
            Ok((!ranges.is_empty()).then_some(ranges))
        })
    }

    /// Waits until that many nodes are ready.
    pub fn wait_for_nodes(&self, count: usize, limit: Duration) -> Result<()> {
        wait_for(format_args!("{count} nodes to be ready"), limit, || {
            let nodes = self.read(&["get", "nodes"])?;
            Ok((list(&nodes).filter(|node| has_condition(node, "Ready")).count() >= count).then_some(()))
        })
    }

    /// Waits until every pod of a namespace is ready; there must be one.
    pub fn wait_for_pods(&self, namespace: &str, limit: Duration) -> Result<()> {
        wait_for(format_args!("the pods of {namespace}"), limit, || {
            let pods = self.read(&["get", "pods", "-n", namespace])?;
            let ready = list(&pods).all(|pod| has_condition(pod, "Ready"));
            Ok((ready && list(&pods).next().is_some()).then_some(()))
        })
    }
}

/// The objects of a list.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value["items"].as_array().into_iter().flatten()
}

/// Whether an object says that a condition of it is true.
pub fn has_condition(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|found| found["type"] == condition && found["status"] == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_condition_counts_when_it_is_true() {
        let node = |status| json!({ "status": { "conditions": [{ "type": "Ready", "status": status }] } });
        assert!(has_condition(&node("True"), "Ready"));
        assert!(!has_condition(&node("Unknown"), "Ready"));
        assert!(!has_condition(&json!({}), "Ready"));
    }
}
