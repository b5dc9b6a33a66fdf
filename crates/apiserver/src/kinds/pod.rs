//! Pods.

mod defaulting;
mod quality;
mod validation;

use serde_json::{Value, json};

use super::fill::Object;
use super::selectable::Selectable;
use super::{Generation, Rules};
use crate::table;
pub(crate) use defaulting::default_pod_spec;
pub(crate) use validation::validate_template;

pub(super) static RULES: Rules = Rules {
    generation: Generation::Content,
    default: defaulting::default_pod,
    initial_status: |pod| Some(initial_status(pod)),
    validate: validation::validate,
    selectable: &[
        Selectable::Plain("spec.nodeName"),
        Selectable::Plain("spec.restartPolicy"),
        Selectable::Plain("spec.schedulerName"),
        Selectable::Plain("spec.serviceAccountName"),
        Selectable::Truth("spec.hostNetwork"),
        Selectable::Plain("status.phase"),
        Selectable::Either("status.podIP", &["status.podIPs.0.ip", "status.podIP"]),
        Selectable::Either("status.podIPs", &["status.podIPs.0.ip", "status.podIP"]),
        Selectable::Plain("status.nominatedNodeName"),
        Selectable::Either("spec.host", &["spec.nodeName"]),
    ],
    printer: table::pod::POD,
    ..Rules::PLAIN
};

fn initial_status(pod: &Object) -> Value {
    let mut status = json!({"phase": "Pending", "qosClass": quality::class_of(pod)});
    let gates = pod.get("spec").and_then(|spec| spec["schedulingGates"].as_array());
    if gates.is_some_and(|gates| !gates.is_empty()) {
        status["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
    }
    status
}
