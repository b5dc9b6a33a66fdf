//! Pods.

use super::selectable::Selectable;
use super::{Generation, Rules};

pub(super) static RULES: Rules = Rules {
    generation: Generation::Content,
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
    ..Rules::PLAIN
};
