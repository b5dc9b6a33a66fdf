//! What a workload is when its author did not say.

use serde_json::{Value, json};

use crate::kinds::fill::{Fill, Object};
use crate::kinds::pod::default_pod_spec;

const REVISION_HISTORY_LIMIT: u32 = 10;
const PROGRESS_DEADLINE_SECONDS: u32 = 600;
const QUARTER: &str = "25%";

pub(super) fn default_deployment(deployment: &mut Object) {
    let spec = deployment.object("spec");
    spec.fill("replicas", 1);
    default_template(spec);
    let strategy = spec.object("strategy");
    strategy.fill_text("type", "RollingUpdate");
    if strategy.text("type") == "RollingUpdate" {
        let rolling = strategy.object("rollingUpdate");
        rolling.fill("maxUnavailable", QUARTER);
        rolling.fill("maxSurge", QUARTER);
    }
    spec.fill("revisionHistoryLimit", REVISION_HISTORY_LIMIT);
    spec.fill("progressDeadlineSeconds", PROGRESS_DEADLINE_SECONDS);
}

pub(super) fn default_replica_set(replica_set: &mut Object) {
    let spec = replica_set.object("spec");
    spec.fill("replicas", 1);
    default_template(spec);
}

pub(super) fn default_daemon_set(daemon_set: &mut Object) {
    let spec = daemon_set.object("spec");
    default_template(spec);
    let strategy = spec.object("updateStrategy");
    strategy.fill_text("type", "RollingUpdate");
    if strategy.text("type") == "RollingUpdate" {
        let rolling = strategy.object("rollingUpdate");
        rolling.fill("maxUnavailable", 1);
        rolling.fill("maxSurge", 0);
    }
    spec.fill("revisionHistoryLimit", REVISION_HISTORY_LIMIT);
}

pub(super) fn default_stateful_set(stateful_set: &mut Object) {
    let spec = stateful_set.object("spec");
    spec.fill("replicas", 1);
    default_template(spec);
    spec.fill("serviceName", "");
    spec.fill_text("podManagementPolicy", "OrderedReady");
    let strategy = spec.object("updateStrategy");
    if strategy.text("type").is_empty() {
        strategy.insert("type".into(), json!("RollingUpdate"));
        strategy.object("rollingUpdate");
    }
    if strategy.text("type") == "RollingUpdate"
        && let Some(rolling) = strategy.object_if_set("rollingUpdate")
    {
        rolling.fill("partition", 0);
    }
    spec.fill("revisionHistoryLimit", REVISION_HISTORY_LIMIT);
    let retention = spec.object("persistentVolumeClaimRetentionPolicy");
    retention.fill_text("whenDeleted", "Retain");
    retention.fill_text("whenScaled", "Retain");
    for claim in spec.objects("volumeClaimTemplates") {
        claim.fill_text("apiVersion", "v1");
        claim.fill_text("kind", "PersistentVolumeClaim");
        claim.object("spec").fill_text("volumeMode", "Filesystem");
        claim.object("status").fill_text("phase", "Pending");
    }
}

/// A replication controller without selector or labels takes them from its template.
pub(super) fn default_replication_controller(controller: &mut Object) {
    let spec = controller.object("spec");
    spec.fill("replicas", 1);
    if spec.has("template") {
        default_template(spec);
    }
    let labels = spec.get("template").map(|template| template["metadata"]["labels"].clone()).filter(Value::is_object);
    if let Some(labels) = labels {
        if is_empty(spec, "selector") {
            spec.insert("selector".into(), labels.clone());
        }
        let metadata = controller.object("metadata");
        if is_empty(metadata, "labels") {
            metadata.insert("labels".into(), labels);
        }
    }
}

fn is_empty(object: &Object, name: &str) -> bool {
    object.get(name).and_then(Value::as_object).is_none_or(Object::is_empty)
}

fn default_template(spec: &mut Object) {
    let template = spec.object("template");
    template.object("metadata");
    default_pod_spec(template.object("spec"));
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::kinds::resource;

    fn defaulted(plural: &str, spec: &Value) -> Value {
        let mut object = json!({"metadata": {"name": "a"}, "spec": spec});
        resource("apps", "v1", plural).expect("served").default_object(&mut object);
        object["spec"].as_object_mut().expect("an object").remove("template");
        object["spec"].take()
    }

    #[test]
    fn a_deployment_rolls_a_quarter_at_a_time() {
        assert_eq!(
            defaulted("deployments", &json!({})),
            json!({
                "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
            })
        );
    }

    #[test]
    fn a_deployment_that_recreates_does_not_roll() {
        let spec = defaulted("deployments", &json!({"strategy": {"type": "Recreate"}, "replicas": 0}));
        assert_eq!(spec["strategy"], json!({"type": "Recreate"}));
        assert_eq!(spec["replicas"], 0);
    }

    #[test]
    fn a_daemon_set_rolls_one_node_at_a_time() {
        assert_eq!(
            defaulted("daemonsets", &json!({})),
            json!({
                "revisionHistoryLimit": 10,
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            })
        );
    }

    #[test]
    fn a_stateful_set_starts_in_order_and_keeps_its_claims() {
        assert_eq!(
            defaulted("statefulsets", &json!({"serviceName": "db"})),
            json!({
                "serviceName": "db", "replicas": 1, "podManagementPolicy": "OrderedReady", "revisionHistoryLimit": 10,
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            })
        );
    }

    #[test]
    fn templates_get_the_defaults_of_pods_but_not_those_of_running_ones() {
        let mut object = json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "x:1"}]}}}});
        resource("apps", "v1", "replicasets").expect("served").default_object(&mut object);
        let spec = &object["spec"]["template"]["spec"];
        assert_eq!(spec["containers"][0]["imagePullPolicy"], "IfNotPresent");
        assert_eq!(spec["dnsPolicy"], "ClusterFirst");
        assert_eq!(spec.get("enableServiceLinks"), None);
    }
}
