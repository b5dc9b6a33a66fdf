//! New tokens for Fairway's accounts: the old ones stop being accepted while the programs that have them run.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::blow::Field;
use crate::lab::cluster::list;
use crate::lab::probes;
use crate::lab::progress::wait_for;

const SYSTEM: &str = "kube-system";
const CHOSEN: &str = "app.kubernetes.io/part-of=fairway";
/// kubelet asks for a new token when it next looks after a pod's volumes, and the program reads it within a minute.
const LIMIT: Duration = Duration::from_secs(300);
const KILL: u8 = 9;
const SERVICE: &str = "10.96.210.2";
const NAME: &str = "renewed";

/// Makes the accounts anew, which ends the tokens of the old ones, and takes away what still works without one: tokens
/// that kubelet has in memory, and watches that the API server admitted before. Returns when a new Service answers on every
/// node, so that every agent has been admitted again.
pub fn renew(field: &Field<'_>) -> Result<()> {
    let accounts = field.cluster.read(&["get", "serviceaccounts", "-n", SYSTEM, "-l", CHOSEN])?;
    let renewed: Vec<Value> = list(&accounts).map(without_identity).collect();
    field.cluster.kubectl(&["delete", "serviceaccounts", "-n", SYSTEM, "-l", CHOSEN])?;
    field.cluster.create(&json!({ "apiVersion": "v1", "kind": "List", "items": renewed }).to_string())?;
    field.site.control().signal("kube-apiserver", KILL)?;
    field.nodes.iter().try_for_each(|node| node.machine.signal("kubelet", KILL))?;
    field.cluster.wait_for_api(LIMIT)?;
    field.cluster.apply(&probes::service_at(NAME, SERVICE))?;
    for node in field.nodes {
        wait_for(format_args!("a new Service to answer on {}", node.name()), LIMIT, || {
            let prober = probes::prober_name(node);
            let ask = ["exec", "-n", probes::NAMESPACE, &prober, "-c", "server", "--", "/probe", "ask"];
            field.cluster.kubectl(&[&ask[..], &[&format!("{SERVICE}:80")]].concat()).map(Some)
        })?;
    }
    field.cluster.kubectl(&["delete", "service", "-n", probes::NAMESPACE, NAME]).map(|_| ())
}

/// The account as it was first made.
fn without_identity(account: &Value) -> Value {
    let mut account = account.clone();
    if let Some(metadata) = account["metadata"].as_object_mut() {
        metadata.retain(|field, _| ["name", "namespace", "labels", "annotations"].contains(&field.as_str()));
    }
    account
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_account_has_the_name_and_labels_and_no_identity() {
        let old = json!({ "kind": "ServiceAccount", "metadata": { "name": "a", "labels": { "x": "y" }, "uid": "1", "resourceVersion": "2" } });
        let expected = json!({ "kind": "ServiceAccount", "metadata": { "name": "a", "labels": { "x": "y" } } });
        assert_eq!(without_identity(&old), expected);
    }
}
