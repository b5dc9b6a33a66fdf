//! The node's own objects: the Node with its status, and the Lease that says it is alive.

use std::time::Duration;

use apiserver::client::{Client, ClientError, LEASES, NODES, Patch};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::config::Config;
use super::facts::MachineFacts;

/// How often the lease is renewed, and how long it counts: the kubelet's defaults.
const RENEW: Duration = Duration::from_secs(10);
const LEASE_SECONDS: u32 = 40;
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// How often the status is sent even if nothing has changed.
const REPORT: Duration = Duration::from_secs(300);

/// The pause before something that failed is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// How many pods a node takes.
const MAX_PODS: u32 = 110;

/// Registers the node and keeps its status and lease current, for as long as it is polled.
pub async fn keep_registered(
    client: Client,
    config: Config,
    machine: MachineFacts,
    mut network_problem: watch::Receiver<Option<String>>,
) {
    let client = client.as_manager("kubelet");
    let mut report_at = tokio::time::Instant::now();
    let mut renew_at = report_at;
    loop {
        let problem = network_problem.borrow_and_update().clone();
        let now = tokio::time::Instant::now();
        if now >= report_at {
            match report(&client, &config, &machine, problem.as_deref()).await {
                Ok(()) => report_at = now + REPORT,
                Err(error) => {
                    tracing::warn!(%error, "node status not sent");
                    report_at = now + RETRY;
                }
            }
        }
        if now >= renew_at {
            match renew(&client, &config.name).await {
                Ok(()) => renew_at = now + RENEW,
                Err(error) => {
                    tracing::warn!(%error, "node lease not renewed");
                    renew_at = now + RETRY;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep_until(report_at.min(renew_at)) => {}
            Ok(()) = network_problem.changed() => report_at = tokio::time::Instant::now(),
        }
    }
}

/// Sends the node's status, and the node itself if it is not there.
async fn report(
    client: &Client,
    config: &Config,
    machine: &MachineFacts,
    problem: Option<&str>,
) -> Result<(), ClientError> {
    let known = match client.get(&NODES, "", &config.name).await {
        Ok(node) => node,
        Err(error) if error.is_not_found() => match client.create(&NODES, "", &plan_node(config, machine)).await {
            Ok(node) => node,
            Err(error) if error.is_already_exists() => client.get(&NODES, "", &config.name).await?,
            Err(error) => return Err(error),
        },
        Err(error) => return Err(error),
    };
    let mut status = plan_node_status(config, machine, problem, &known, Timestamp::now());
    replace_addresses(&mut status);
    client.patch_status(&NODES, "", &config.name, &Patch::Strategic(json!({"status": status}))).await.map(drop)
}

/// Makes of a status a patch that sets all addresses anew: the schema merges them by their type, and one of two families
/// would be taken for a change of the other.
fn replace_addresses(status: &mut Value) {
    if let Some(addresses) = status["addresses"].as_array_mut() {
        addresses.push(json!({"$patch": "replace"}));
    }
}

fn plan_node(config: &Config, machine: &MachineFacts) -> Value {
    let labels = json!({
        "kubernetes.io/hostname": config.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": machine.architecture,
    });
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": config.name, "labels": labels},
        "spec": {"providerID": format!("fairway://{}", config.name)},
    })
}

/// The status of the node object `known` at `now`.
fn plan_node_status(
    config: &Config,
    machine: &MachineFacts,
    problem: Option<&str>,
    known: &Value,
    now: Timestamp,
) -> Value {
    let capacity = json!({
        "cpu": machine.capacity.cpus.to_string(),
        "memory": format!("{}Ki", machine.capacity.memory_bytes / 1024),
        "ephemeral-storage": format!("{}Ki", machine.capacity.storage_bytes / 1024),
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "pods": MAX_PODS.to_string(),
    });
    let internal = config.addresses.iter().map(|address| json!({"type": "InternalIP", "address": address}));
    let hostname = json!({"type": "Hostname", "address": config.name});
    json!({
        "addresses": internal.chain([hostname]).collect::<Vec<_>>(),
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": plan_conditions(problem, known, now),
        "nodeInfo": {
            "architecture": machine.architecture,
            "bootID": machine.boot_id,
            "containerRuntimeVersion": format!("fairway://{}", env!("CARGO_PKG_VERSION")),
            "kernelVersion": machine.kernel,
            "kubeProxyVersion": "",
            "kubeletVersion": config.version,
            "machineID": machine.machine_id,
            "operatingSystem": "linux",
            "osImage": machine.os_image,
            "systemUUID": machine.machine_id,
        },
    })
}

fn plan_conditions(problem: Option<&str>, known: &Value, now: Timestamp) -> Vec<NodeCondition> {
    let ready = match problem {
        None => ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        Some(problem) => ("Ready", "False", "KubeletNotReady", problem),
    };
    let pressures = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ];
    let before: Vec<NodeCondition> = serde_json::from_value(known["status"]["conditions"].clone()).unwrap_or_default();
    let since = |kind: &str, status: &str| {
        let same = before.iter().find(|condition| condition.type_ == kind && condition.status == status);
        same.and_then(|condition| condition.last_transition_time.clone()).unwrap_or(Time(now))
    };
    let condition = |(kind, status, reason, message): (&str, &str, &str, &str)| NodeCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: Some(since(kind, status)),
    };
    pressures.into_iter().chain([ready]).map(condition).collect()
}

/// Renews the node's lease, or makes it.
async fn renew(client: &Client, name: &str) -> Result<(), ClientError> {
    let now = MicroTime(Timestamp::now());
    let patch = Patch::Merge(json!({"spec": {"renewTime": now, "holderIdentity": name}}));
    match client.patch(&LEASES, LEASE_NAMESPACE, name, &patch).await {
        Err(error) if error.is_not_found() => {}
        renewed => return renewed.map(drop),
    }
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASE_NAMESPACE},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now},
    });
    client.create(&LEASES, LEASE_NAMESPACE, &lease).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_keeps_its_time_until_it_changes() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = plan_conditions(Some("no network"), &Value::Null, at(1));
        let known = json!({"status": {"conditions": first}});
        let ready = |conditions: &[NodeCondition]| {
            let ready = conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
            (ready.status.clone(), ready.last_transition_time.clone().unwrap().0.as_second())
        };
        assert_eq!(ready(&first), ("False".to_owned(), 1));
        assert_eq!(ready(&plan_conditions(Some("still none"), &known, at(5))), ("False".to_owned(), 1));
        assert_eq!(ready(&plan_conditions(None, &known, at(9))), ("True".to_owned(), 9));
    }
}
