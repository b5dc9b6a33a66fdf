//! Kinds that keep pods running.

mod defaulting;
mod validation;

use serde_json::{Value, json};

use super::fill::{Fill, Object};
use super::selectable::Selectable;
use super::{Generation, Rules, names};
use crate::table;

pub(super) static DEPLOYMENT: Rules = Rules {
    generation: Generation::ContentAndAnnotations,
    default: defaulting::default_deployment,
    initial_status: |_| Some(json!({})),
    validate: validation::validate_deployment,
    printer: table::workload::DEPLOYMENT,
    ..Rules::PLAIN
};

pub(super) static REPLICA_SET: Rules = Rules {
    generation: Generation::Content,
    default: defaulting::default_replica_set,
    initial_status: |_| Some(json!({"replicas": 0})),
    selectable: &[Selectable::Plain("status.replicas")],
    validate: validation::validate_replica_set,
    printer: table::workload::REPLICA_SET,
    ..Rules::PLAIN
};

pub(super) static DAEMON_SET: Rules = Rules {
    generation: Generation::Content,
    default: defaulting::default_daemon_set,
    initial_status: |_| {
        let counts = ["currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"];
        Some(counts.iter().map(|&name| (name.to_owned(), json!(0))).collect())
    },
    prepare_create: |daemon_set| count_template_generation(daemon_set, 1),
    settle_update: settle_daemon_set,
    validate: validation::validate_daemon_set,
    printer: table::workload::DAEMON_SET,
    ..Rules::PLAIN
};

pub(super) static STATEFUL_SET: Rules = Rules {
    name: names::label_name,
    generation: Generation::Content,
    default: defaulting::default_stateful_set,
    initial_status: |_| Some(json!({"replicas": 0, "availableReplicas": 0})),
    validate: validation::validate_stateful_set,
    printer: table::workload::STATEFUL_SET,
    ..Rules::PLAIN
};

pub(super) static REPLICATION_CONTROLLER: Rules = Rules {
    generation: Generation::Content,
    default: defaulting::default_replication_controller,
    initial_status: |_| Some(json!({"replicas": 0})),
    selectable: &[Selectable::Plain("status.replicas")],
    validate: validation::validate_replication_controller,
    printer: table::workload::REPLICATION_CONTROLLER,
    ..Rules::PLAIN
};

pub(super) static CONTROLLER_REVISION: Rules = Rules {
    validate: validation::validate_controller_revision,
    printer: table::workload::CONTROLLER_REVISION,
    ..Rules::PLAIN
};

/// Where daemon sets still count the changes of their template.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn settle_daemon_set(new: &mut Object, old: &Object, subresource: Option<&str>) {
    let template = |daemon_set: &Object| daemon_set.get("spec").map(|spec| spec["template"].clone());
    let counted = old.get("metadata").and_then(|metadata| metadata["annotations"].get(TEMPLATE_GENERATION));
    let generation = counted.and_then(Value::as_str).and_then(|count| count.parse().ok()).unwrap_or(1);
    let changed = subresource.is_none() && template(new) != template(old);
    count_template_generation(new, generation + u64::from(changed));
}

fn count_template_generation(daemon_set: &mut Object, generation: u64) {
    let annotations = daemon_set.object("metadata").object("annotations");
    annotations.insert(TEMPLATE_GENERATION.into(), json!(generation.to_string()));
}
