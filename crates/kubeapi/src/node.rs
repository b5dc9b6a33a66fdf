//! What a node's network says of itself in the API.

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use model::{Name, Subject};
use serde_json::json;

use crate::CONTROLLER;
use crate::write::WriteError;

const CONDITION: &str = "NetworkUnavailable";
const REASON: &str = "FairwayIsUp";
/// Who writes, as the API server notes beside each field.
const FIELD_MANAGER: &str = "fairway-agent";

/// Says that the node's network works: sets its condition `NetworkUnavailable` to False unless it is already.
pub async fn report_network_available(client: Client, node: &Name, now: Timestamp) -> Result<(), WriteError> {
    let object = Subject::node(node);
    let unread = |source| WriteError::Unread { object: object.clone(), source: Box::new(source) };
    let nodes: Api<Node> = Api::all(client);
    let current = nodes.get(node.as_str()).await.map_err(unread)?;
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
    let written = nodes.patch_status(node.as_str(), &parameters, &patch).await;
    written.map(drop).map_err(|error| WriteError::of(object, error))
}

/// Gives a node its ranges of pod addresses, one per family, the primary first. A node that has some keeps them: the
/// API server refuses to change them, and to give one of another uid what was meant for this one.
pub async fn give_pod_ranges(client: Client, node: (&Name, &Name), ranges: &[IpNet]) -> Result<(), WriteError> {
    let (node, uid) = node;
    let spec = json!({ "podCIDR": ranges.first(), "podCIDRs": ranges });
    let patch = Patch::Merge(json!({ "metadata": { "uid": uid.as_str() }, "spec": spec }));
    let parameters = PatchParams { field_manager: Some(CONTROLLER.into()), ..PatchParams::default() };
    let patched = Api::<Node>::all(client).patch(node.as_str(), &parameters, &patch).await;
    patched.map(drop).map_err(|error| WriteError::of(Subject::node(node), error))
}

fn says_available(condition: &NodeCondition) -> bool {
    condition.type_ == CONDITION && condition.status == "False" && condition.reason.as_deref() == Some(REASON)
}
