//! Kinds that keep pods running.

mod defaulting;

use serde_json::json;

use super::selectable::Selectable;
use super::{Generation, Rules};

pub(super) static DEPLOYMENT: Rules = Rules {
    generation: Generation::ContentAndAnnotations,
    default: defaulting::default_deployment,
    initial_status: |_| Some(json!({})),
    ..Rules::PLAIN
};

pub(super) static REPLICA_SET: Rules = Rules {
    generation: Generation::Content,
    default: defaulting::default_replica_set,
    initial_status: |_| Some(json!({"replicas": 0})),
    selectable: &[Selectable::Plain("status.replicas")],
    ..Rules::PLAIN
};

pub(super) static DAEMON_SET: Rules = Rules {
    generation: Generation::Content,
    default: defaulting::default_daemon_set,
    initial_status: |_| {
        let counts = ["currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"];
        Some(counts.iter().map(|&name| (name.to_owned(), json!(0))).collect())
    },
    ..Rules::PLAIN
};

pub(super) static STATEFUL_SET: Rules = Rules {
    generation: Generation::Content,
    default: defaulting::default_stateful_set,
    initial_status: |_| Some(json!({"replicas": 0, "availableReplicas": 0})),
    ..Rules::PLAIN
};

pub(super) static REPLICATION_CONTROLLER: Rules = Rules {
    generation: Generation::Content,
    default: defaulting::default_replication_controller,
    initial_status: |_| Some(json!({"replicas": 0})),
    selectable: &[Selectable::Plain("status.replicas")],
    ..Rules::PLAIN
};
