//! Whether nodes are alive, and what their taints say about it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use apiserver::client::{ClientError, ObjectKey};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, NodeCondition, Pod, Taint},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, Time},
};
use tokio::time::Instant;

use super::eviction::{plan_evictions, time_to_next};
use crate::controllers::{
    events::Recorder,
    kind::Kind,
    placement::{NOT_READY_TAINT, UNREACHABLE_TAINT, UNSCHEDULABLE_TAINT, taints},
    pod::{is_ready, node_name},
    stores::Stores,
    worker::{Next, Reconcile},
    write::{Write, Writer},
};

/// A node that has not renewed its lease for so long is not known to be alive; Kubernetes' default.
const GRACE: Duration = Duration::from_secs(40);
/// Where nodes renew their leases.
pub(in crate::controllers) const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Conditions only the node itself can know.
const CONDITIONS: &[&str] = &["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Watches over nodes.
pub(in crate::controllers) struct HealthController {
    pub(in crate::controllers) stores: Stores,
    pub(in crate::controllers) writer: Writer,
    pub(in crate::controllers) recorder: Recorder,
    /// When each node's lease was last seen to change, on a clock that stands still while the machine sleeps.
    pub(in crate::controllers) heard: Mutex<HashMap<ObjectKey, (Option<MicroTime>, Instant)>>,
}

impl Reconcile for HealthController {
    type Key = ObjectKey;
    const NAME: &'static str = "node-controller";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ClientError> {
        let Some(node) = self.stores.nodes.lookup(key) else {
            self.lock().remove(key);
            return Ok(Next::OnChange);
        };
        let silence = self.silence(key);
        let now = Timestamp::now();
        let judged = judge(&node, silence, now);
        if let Some(write) = Write::update_status(&*node, &judged) {
            self.recorder.normal(&*node, "NodeNotReady", format!("Node {key} status is now: NodeNotReady"));
            self.writer.apply(write).await?;
        }
        let tainted = taint(&judged, now);
        if let Some(write) = Write::update(&*node, &Node { spec: tainted.spec.clone(), ..Node::clone(&node) }) {
            self.writer.apply(write).await?;
        }
        let wait = self.look_after_pods(&tainted, now).await?;
        Ok(Next::soonest(wait.into_iter().chain(GRACE.checked_sub(silence).filter(|left| !left.is_zero()))))
    }
}

impl HealthController {
    /// How long nothing has been heard of a node.
    fn silence(&self, key: &ObjectKey) -> Duration {
        let lease = self.stores.leases.get(LEASE_NAMESPACE, &key.name);
        let renewed = lease.as_deref().and_then(renewal);
        let mut heard = self.lock();
        let entry = heard.entry(key.clone()).or_insert_with(|| (renewed.clone(), Instant::now()));
        if entry.0 != renewed {
            *entry = (renewed, Instant::now());
        }
        entry.1.elapsed()
    }

    /// Takes the pods of a node nobody hears of out of service, and ends those that do not tolerate its taints.
    async fn look_after_pods(&self, node: &Node, now: Timestamp) -> Result<Option<Duration>, ClientError> {
        let mut pods = self.stores.pods.list();
        pods.retain(|pod| node_name(pod) == Some(node.name()));
        if ready_status(node) == Some("Unknown") {
            let writes = pods.iter().filter(|pod| is_ready(pod)).filter_map(|pod| out_of_service(pod, now)).collect();
            self.writer.apply_all(writes).await?;
        }
        let evicted = plan_evictions(taints(node), &pods, now);
        for pod in &evicted {
            self.recorder.normal(&**pod, "TaintManagerEviction", format!("Marking for deletion Pod {}", pod.key()));
        }
        self.writer.apply_all(evicted.iter().map(|pod| Write::delete(&**pod)).collect()).await?;
        Ok(time_to_next(taints(node), &pods, now))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectKey, (Option<MicroTime>, Instant)>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn renewal(lease: &Lease) -> Option<MicroTime> {
    lease.spec.as_ref().and_then(|spec| spec.renew_time.clone())
}

/// The node with what can be said of its conditions after so long a silence.
fn judge(node: &Node, silence: Duration, now: Timestamp) -> Node {
    let mut judged = node.clone();
    if silence < GRACE {
        return judged;
    }
    let conditions = judged.status.get_or_insert_default().conditions.get_or_insert_default();
    for kind in CONDITIONS {
        match conditions.iter_mut().find(|condition| condition.type_ == *kind) {
            Some(known) if known.status == "Unknown" => {}
            Some(known) => {
                known.status = "Unknown".to_owned();
                known.reason = Some("NodeStatusUnknown".to_owned());
                known.message = Some("Kubelet stopped posting node status.".to_owned());
                known.last_transition_time = Some(Time(now));
            }
            None => conditions.push(NodeCondition {
                type_: (*kind).to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_transition_time: Some(Time(now)),
                last_heartbeat_time: None,
            }),
        }
    }
    judged
}

/// The node with the taints its conditions and its cordon call for; taints of others stay.
fn taint(node: &Node, now: Timestamp) -> Node {
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    match ready_status(node) {
        Some("True") => {}
        Some("Unknown") => wanted.extend([(UNREACHABLE_TAINT, "NoSchedule"), (UNREACHABLE_TAINT, "NoExecute")]),
        _ => wanted.extend([(NOT_READY_TAINT, "NoSchedule"), (NOT_READY_TAINT, "NoExecute")]),
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE_TAINT, "NoSchedule"));
    }
    let managed = [NOT_READY_TAINT, UNREACHABLE_TAINT, UNSCHEDULABLE_TAINT];
    let is_wanted = |taint: &Taint| wanted.contains(&(taint.key.as_str(), taint.effect.as_str()));
    let mut tainted: Vec<Taint> = taints(node).to_vec();
    tainted.retain(|taint| !managed.contains(&taint.key.as_str()) || is_wanted(taint));
    for (key, effect) in wanted {
        if !tainted.iter().any(|taint| taint.key == key && taint.effect == effect) {
            let (key, effect) = (key.to_owned(), effect.to_owned());
            tainted.push(Taint { key, effect, time_added: Some(Time(now)), value: None });
        }
    }
    let mut node = node.clone();
    node.spec.get_or_insert_default().taints = Some(tainted).filter(|taints| !taints.is_empty());
    node
}

fn ready_status(node: &Node) -> Option<&str> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().find(|condition| condition.type_ == "Ready").map(|condition| condition.status.as_str())
}

fn out_of_service(pod: &Pod, now: Timestamp) -> Option<Write> {
    let mut updated = pod.clone();
    let conditions = updated.status.as_mut().and_then(|status| status.conditions.as_mut())?;
    let ready = conditions.iter_mut().find(|condition| condition.type_ == "Ready")?;
    ready.status = "False".to_owned();
    ready.reason = Some("NodeNotReady".to_owned());
    ready.last_transition_time = Some(Time(now));
    Write::update_status(pod, &updated)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(ready: &str, spec: &Value) -> Node {
        let conditions = json!([{"type": "Ready", "status": ready}]);
        let node = json!({"metadata": {"name": "n1"}, "spec": spec, "status": {"conditions": conditions}});
        serde_json::from_value(node).unwrap()
    }

    fn tainted(node: &Node) -> Vec<(String, String)> {
        let tainted = taint(node, Timestamp::UNIX_EPOCH);
        taints(&tainted).iter().map(|taint| (taint.key.clone(), taint.effect.clone())).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(key, effect)| ((*key).to_owned(), (*effect).to_owned())).collect()
    }

    #[test]
    fn a_silent_node_is_not_known_to_be_ready() {
        let ready = node("True", &json!({}));
        assert_eq!(judge(&ready, Duration::from_secs(39), Timestamp::UNIX_EPOCH), ready);
        let silent = judge(&ready, Duration::from_secs(40), Timestamp::UNIX_EPOCH);
        assert_eq!(ready_status(&silent), Some("Unknown"));
        let reasons: Vec<_> =
            silent.status.unwrap().conditions.unwrap().into_iter().map(|c| c.reason.unwrap()).collect();
        assert_eq!(reasons[..2], ["NodeStatusUnknown", "NodeStatusNeverUpdated"]);
    }

    #[test]
    fn taints_follow_readiness_and_cordon_and_leave_others_alone() {
        let others = json!({"taints": [{"key": "own", "effect": "NoSchedule"}, {"key": NOT_READY_TAINT, "effect": "NoSchedule"}]});
        assert_eq!(tainted(&node("True", &others)), pairs(&[("own", "NoSchedule")]));
        let unreachable = pairs(&[(UNREACHABLE_TAINT, "NoSchedule"), (UNREACHABLE_TAINT, "NoExecute")]);
        assert_eq!(tainted(&node("Unknown", &json!({}))), unreachable);
        let not_ready = pairs(&[(NOT_READY_TAINT, "NoSchedule"), (NOT_READY_TAINT, "NoExecute")]);
        assert_eq!(tainted(&node("False", &json!({}))), not_ready);
        let cordoned = node("True", &json!({"unschedulable": true}));
        assert_eq!(tainted(&cordoned), pairs(&[(UNSCHEDULABLE_TAINT, "NoSchedule")]));
    }

    #[test]
    fn a_healthy_node_is_not_written() {
        let healthy = node("True", &json!({"podCIDR": "10.244.0.0/24"}));
        assert_eq!(taint(&healthy, Timestamp::UNIX_EPOCH), healthy);
    }
}
