//! What a node's network says of itself in the API.

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

const CONDITION: &str = "NetworkUnavailable";
const REASON: &str = "FairwayIsUp";
/// Who writes, as the API server notes beside each field.
const FIELD_MANAGER: &str = "fairway-agent";
const RANGES_MANAGER: &str = "fairway-controller";

/// The node's status could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the status of node {node}")]
pub struct NodeStatusError {
    /// Read or write.
    pub action: &'static str,
    /// The node.
    pub node: String,
    /// Why not.
    pub source: Box<kube::Error>,
}

/// Says that the node's network works: sets its condition `NetworkUnavailable` to False unless it is already.
pub async fn report_network_available(client: Client, node: &str, now: Timestamp) -> Result<(), NodeStatusError> {
    let failed = |action| move |source| NodeStatusError { action, node: node.into(), source: Box::new(source) };
    let nodes: Api<Node> = Api::all(client);
    let current = nodes.get(node).await.map_err(failed("read"))?;
    let conditions = current.status.and_then(|status| status.conditions).unwrap_or_default();
    if conditions.iter().any(says_available) {
        return Ok(());
    }
    let condition = json!({
        "type": CONDITION,
        "status": "False",
        "reason": REASON,
        "message": "Fairway has set up the node's network",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    });
    let patch = Patch::Strategic(json!({ "status": { "conditions": [condition] } }));
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    nodes.patch_status(node, &parameters, &patch).await.map_err(failed("write"))?;
    Ok(())
}

/// A node could not be given ranges of pod addresses; it may have got some from somebody else meanwhile.
#[derive(Debug, thiserror::Error)]
#[error("cannot give node {node} its ranges of pod addresses")]
pub struct NodeRangesError {
    /// The node.
    pub node: String,
    /// Why not.
    pub source: Box<kube::Error>,
}

/// Gives a node its ranges of pod addresses, one per family, the primary first. A node that has some keeps them: the
/// API server refuses to change them, and to give one of another uid what was meant for this one.
pub async fn give_pod_ranges(client: Client, node: (&str, &str), ranges: &[IpNet]) -> Result<(), NodeRangesError> {
    let (node, uid) = node;
    let spec = json!({ "podCIDR": ranges.first(), "podCIDRs": ranges });
    let patch = Patch::Merge(json!({ "metadata": { "uid": uid }, "spec": spec }));
    let parameters = PatchParams { field_manager: Some(RANGES_MANAGER.into()), ..PatchParams::default() };
    let patched = Api::<Node>::all(client).patch(node, &parameters, &patch).await;
    patched.map(drop).map_err(|source| NodeRangesError { node: node.into(), source: Box::new(source) })
}

fn says_available(condition: &NodeCondition) -> bool {
    condition.type_ == CONDITION && condition.status == "False" && condition.reason.as_deref() == Some(REASON)
}
