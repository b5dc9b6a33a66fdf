//! The rules of workloads.

use serde_json::{Value, json};

use crate::error::FieldError;
use crate::kinds::field::Field;
use crate::kinds::metadata::{IMMUTABLE, non_negative};
use crate::kinds::pod::validate_template;
use crate::kinds::prepare::same;
use crate::kinds::{names, percent, selector};
use crate::select::LabelSelector;

const ALWAYS: &[&str] = &["Always"];
const RETENTION_POLICIES: &[&str] = &["Retain", "Delete"];
/// What of a stateful set may change.
const CHANGEABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

pub(super) fn validate_deployment(deployment: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let spec = deployment.get("spec");
    let mut errors: Vec<FieldError> = non_negative(&spec.get("replicas")).into_iter().collect();
    errors.extend(validate_selector(&spec.get("selector"), "deployment"));
    errors.extend(validate_own_template(&spec, "ReplicaSet", &[]));
    errors.extend(validate_deployment_strategy(&spec.get("strategy")));
    let (ready, deadline) = (spec.get("minReadySeconds"), spec.get("progressDeadlineSeconds"));
    errors.extend(non_negative(&ready));
    errors.extend(non_negative(&spec.get("revisionHistoryLimit")));
    errors.extend(non_negative(&deadline));
    if deadline.integer().is_some_and(|seconds| seconds <= ready.integer().unwrap_or(0)) {
        errors.push(deadline.invalid("must be greater than minReadySeconds"));
    }
    errors.extend(selector_changed(&spec, old));
    errors
}

pub(super) fn validate_replica_set(set: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let spec = set.get("spec");
    let mut errors: Vec<FieldError> = non_negative(&spec.get("replicas")).into_iter().collect();
    errors.extend(non_negative(&spec.get("minReadySeconds")));
    // Kubernetes says so of replica sets as well.
    errors.extend(validate_selector(&spec.get("selector"), "deployment"));
    errors.extend(validate_own_template(&spec, "ReplicaSet", &[]));
    errors.extend(selector_changed(&spec, old));
    errors
}

pub(super) fn validate_daemon_set(set: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let spec = set.get("spec");
    let (wanted, template) = (spec.get("selector"), spec.get("template"));
    let mut errors = selector_changed(&spec, old);
    let malformed = selector::validate(&wanted);
    let readable = malformed.is_empty();
    errors.extend(malformed);
    errors.extend(readable.then(|| labels_differ(&wanted, &template)).flatten());
    errors.extend(empty_selector(&wanted, "daemonset"));
    errors.extend(validate_template(&template, &[]));
    errors.extend(validate_lifetime(&template, "DaemonSet"));
    errors.extend(non_negative(&spec.get("minReadySeconds")));
    errors.extend(validate_daemon_set_strategy(&spec.get("updateStrategy")));
    errors.extend(non_negative(&spec.get("revisionHistoryLimit")));
    errors
}

pub(super) fn validate_stateful_set(set: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let spec = set.get("spec");
    let mut errors = validate_pod_management(&spec.get("podManagementPolicy"));
    errors.extend(validate_stateful_set_strategy(&spec.get("updateStrategy")));
    let retention = spec.get("persistentVolumeClaimRetentionPolicy");
    let policies = ["whenDeleted", "whenScaled"].map(|name| retention.get(name));
    let unknown = policies.iter().filter(|policy| !RETENTION_POLICIES.contains(&policy.text()));
    errors.extend(unknown.map(|policy| policy.not_supported(RETENTION_POLICIES)));
    errors.extend(non_negative(&spec.get("replicas")));
    errors.extend(non_negative(&spec.get("minReadySeconds")));
    let first = spec.get("ordinals").get("start");
    errors.extend(non_negative(&first));
    if !old.is_set() && !spec.get("serviceName").is_empty() {
        errors.extend(spec.get("serviceName").malformed(names::label));
    }
    errors.extend(validate_selector(&spec.get("selector"), "statefulset"));
    let claims: Vec<&str> =
        spec.get("volumeClaimTemplates").items().map(|claim| claim.get("metadata").get("name").text()).collect();
    errors.extend(validate_stateful_template(&spec, &claims));
    errors.extend(validate_lifetime(&spec.get("template"), "StatefulSet"));
    errors.extend(rest_changed(&spec, old));
    errors
}

pub(super) fn validate_replication_controller(controller: &Field<'_>, _old: &Field<'_>) -> Vec<FieldError> {
    let spec = controller.get("spec");
    let (wanted, template) = (spec.get("selector"), spec.get("template"));
    let mut errors: Vec<FieldError> = non_negative(&spec.get("minReadySeconds")).into_iter().collect();
    errors.extend(wanted.is_empty().then(|| wanted.required("")));
    errors.extend(non_negative(&spec.get("replicas")));
    if !template.is_set() {
        errors.push(template.required(""));
        return errors;
    }
    let labels = template.get("metadata").get("labels");
    let selected = LabelSelector::from_map(wanted.value().unwrap_or(&Value::Null));
    let matches = selected.matches_labels(labels.value().unwrap_or(&Value::Null));
    errors.extend((!matches).then(|| unmatched(&labels)));
    errors.extend(validate_template(&template, &[]));
    errors.extend(validate_lifetime(&template, "ReplicationController"));
    errors
}

pub(super) fn validate_controller_revision(revision: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let data = revision.get("data");
    let mut errors: Vec<FieldError> = non_negative(&revision.get("revision")).into_iter().collect();
    if old.is_set() {
        errors.extend((data.value() != old.get("data").value()).then(|| data.invalid(IMMUTABLE)));
    } else if !data.is_set() {
        errors.push(data.required("data is mandatory"));
    } else if data.map().is_none() {
        errors.push(data.required("data must be a valid JSON object"));
    }
    errors
}

fn validate_selector(wanted: &Field<'_>, owner: &str) -> Vec<FieldError> {
    if !wanted.is_set() {
        return vec![wanted.required("")];
    }
    let mut errors = selector::validate(wanted);
    errors.extend(empty_selector(wanted, owner));
    errors
}

fn empty_selector(wanted: &Field<'_>, owner: &str) -> Option<FieldError> {
    let empty = wanted.is_set() && wanted.get("matchLabels").is_empty() && wanted.get("matchExpressions").is_empty();
    empty.then(|| wanted.invalid(format!("empty selector is invalid for {owner}")))
}

/// The template of a workload whose pods live on: they must be its own, and be restarted.
fn validate_own_template(spec: &Field<'_>, owner: &str, claims: &[&str]) -> Vec<FieldError> {
    let (wanted, template) = (spec.get("selector"), spec.get("template"));
    if !selector::validate(&wanted).is_empty() {
        return vec![wanted.invalid("invalid label selector")];
    }
    let mut errors: Vec<FieldError> = owned_labels(&wanted, &template).into_iter().collect();
    errors.extend(validate_template(&template, claims));
    errors.extend(validate_lifetime(&template, owner));
    errors
}

/// As [`validate_own_template`], with what Kubernetes judges twice for stateful sets.
fn validate_stateful_template(spec: &Field<'_>, claims: &[&str]) -> Vec<FieldError> {
    let (wanted, template) = (spec.get("selector"), spec.get("template"));
    if !selector::validate(&wanted).is_empty() {
        return vec![wanted.invalid("")];
    }
    let mut errors: Vec<FieldError> = owned_labels(&wanted, &template).into_iter().collect();
    // The pods get names of their own: those of the template do not count.
    let own_names = ["spec.template.spec.hostname", "spec.template.spec.subdomain"];
    errors.extend(validate_template(&template, claims).into_iter().filter(|e| !own_names.contains(&e.field.as_str())));
    errors
}

/// A selector that selects everything was refused before and is not held against the template.
fn owned_labels(wanted: &Field<'_>, template: &Field<'_>) -> Option<FieldError> {
    let everything = wanted.is_set() && LabelSelector::from_object(wanted.value()?).is_everything();
    if everything { None } else { labels_differ(wanted, template) }
}

fn labels_differ(wanted: &Field<'_>, template: &Field<'_>) -> Option<FieldError> {
    let labels = template.get("metadata").get("labels");
    let wanted = LabelSelector::from_object(wanted.value().unwrap_or(&Value::Null));
    let matches = wanted.matches_labels(labels.value().unwrap_or(&Value::Null));
    (!matches).then(|| unmatched(&labels))
}

fn unmatched(labels: &Field<'_>) -> FieldError {
    let shown = labels.value().cloned().unwrap_or(Value::Null);
    FieldError::invalid(labels.path(), shown, "`selector` does not match template `labels`")
}

fn validate_lifetime(template: &Field<'_>, owner: &str) -> Vec<FieldError> {
    let spec = template.get("spec");
    let (policy, deadline) = (spec.get("restartPolicy"), spec.get("activeDeadlineSeconds"));
    let mut errors = Vec::new();
    errors.extend((policy.text() != "Always").then(|| policy.not_supported(ALWAYS)));
    let detail = format!("activeDeadlineSeconds in {owner} is not Supported");
    errors.extend(deadline.is_set().then(|| deadline.forbidden(detail)));
    errors
}

fn selector_changed(spec: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let (wanted, before) = (spec.get("selector"), old.get("spec").get("selector"));
    let changed = old.is_set() && !same(wanted.value(), before.value());
    changed.then(|| wanted.invalid(IMMUTABLE)).into_iter().collect()
}

/// A strategy as Kubernetes shows it, by its internal names.
fn shown_strategy(strategy: &Field<'_>) -> Value {
    json!({"Type": strategy.get("type").text(), "RollingUpdate": strategy.get("rollingUpdate").value()})
}

fn validate_deployment_strategy(strategy: &Field<'_>) -> Vec<FieldError> {
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").text() {
        "Recreate" => {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            rolling.is_set().then(|| rolling.forbidden(detail)).into_iter().collect()
        }
        "RollingUpdate" if !rolling.is_set() => vec![rolling.required("this should be defaulted and never be nil")],
        "RollingUpdate" => {
            let (missing, extra) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            let mut errors = percent::validate_count_or_percent(&missing);
            errors.extend(percent::validate_count_or_percent(&extra));
            let stuck = percent::number_of(&missing) == 0 && percent::number_of(&extra) == 0;
            errors.extend(stuck.then(|| missing.invalid("may not be 0 when `maxSurge` is 0")));
            errors.extend(percent::validate_at_most_all(&missing));
            errors
        }
        _ => vec![FieldError::not_supported(strategy.path(), shown_strategy(strategy), &["Recreate", "RollingUpdate"])],
    }
}

fn validate_daemon_set_strategy(strategy: &Field<'_>) -> Vec<FieldError> {
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").text() {
        "OnDelete" => Vec::new(),
        "RollingUpdate" if !rolling.is_set() => vec![rolling.required("")],
        "RollingUpdate" => {
            let (missing, extra) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            let mut errors = percent::validate_count_or_percent(&missing);
            errors.extend(percent::validate_count_or_percent(&extra));
            errors.extend(percent::validate_at_most_all(&missing));
            errors.extend(percent::validate_at_most_all(&extra));
            match (percent::number_of(&missing) != 0, percent::number_of(&extra) != 0) {
                (true, true) => errors.push(extra.invalid("may not be set when maxUnavailable is non-zero")),
                (false, false) => errors.push(missing.required("cannot be 0 when maxSurge is 0")),
                _ => {}
            }
            errors
        }
        _ => vec![FieldError::not_supported(strategy.path(), shown_strategy(strategy), &["RollingUpdate", "OnDelete"])],
    }
}

fn validate_stateful_set_strategy(strategy: &Field<'_>) -> Vec<FieldError> {
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").text() {
        "" => vec![strategy.required("")],
        "OnDelete" => {
            let shown = json!({
                "Partition": rolling.get("partition").integer().unwrap_or(0),
                "MaxUnavailable": rolling.get("maxUnavailable").value(),
            });
            let wrong = FieldError::invalid(rolling.path(), shown, "only allowed for updateStrategy 'RollingUpdate'");
            rolling.is_set().then_some(wrong).into_iter().collect()
        }
        "RollingUpdate" => {
            let missing = rolling.get("maxUnavailable");
            let mut errors: Vec<FieldError> = non_negative(&rolling.get("partition")).into_iter().collect();
            if missing.is_set() {
                errors.extend(percent::validate_count_or_percent(&missing));
                errors.extend((percent::number_of(&missing) == 0).then(|| missing.invalid("cannot be 0")));
                errors.extend(percent::validate_at_most_all(&missing));
            }
            errors
        }
        _ => {
            let detail = "must be 'RollingUpdate' or 'OnDelete'";
            vec![FieldError::invalid(strategy.path(), shown_strategy(strategy), detail)]
        }
    }
}

fn validate_pod_management(policy: &Field<'_>) -> Vec<FieldError> {
    match policy.text() {
        "" => vec![policy.required("")],
        "OrderedReady" | "Parallel" => Vec::new(),
        _ => vec![policy.invalid("must be 'OrderedReady' or 'Parallel'")],
    }
}

fn rest_changed(spec: &Field<'_>, old: &Field<'_>) -> Option<FieldError> {
    let (now, before) = (spec.map()?, old.get("spec"));
    let before = before.map()?;
    let mut others = now.keys().chain(before.keys()).filter(|name| !CHANGEABLE.contains(&name.as_str()));
    let changed = others.any(|name| !same(now.get(name), before.get(name)));
    changed.then(|| {
        spec.forbidden(
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
             'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::resource;

    /// A sound object of this kind, changed.
    fn object(plural: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut object = json!({
            "metadata": {"name": "w", "namespace": "default", "resourceVersion": "1"},
            "spec": {
                "selector": {"matchLabels": {"app": "w"}},
                "template": {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "a", "image": "x:1"}]}},
            },
        });
        change(&mut object["spec"]);
        resource("apps", "v1", plural).expect("served").default_object(&mut object);
        object
    }

    fn errors(plural: &str, change: impl FnOnce(&mut Value)) -> Vec<String> {
        let errors = resource("apps", "v1", plural).expect("served").validate_create(&object(plural, change));
        errors.iter().map(ToString::to_string).collect()
    }

    fn change_errors(plural: &str, change: impl FnOnce(&mut Value)) -> Vec<String> {
        let (old, new) = (object(plural, |_| {}), object(plural, change));
        let errors = resource("apps", "v1", plural).expect("served").validate_update(&new, &old, None);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn sound_workloads_have_no_faults() {
        for plural in ["deployments", "replicasets", "daemonsets", "statefulsets"] {
            assert_eq!(errors(plural, |_| {}), Vec::<String>::new(), "{plural}");
            assert_eq!(change_errors(plural, |_| {}), Vec::<String>::new(), "{plural}");
        }
    }

    #[test]
    fn a_workload_selects_its_own_pods() {
        let other = |spec: &mut Value| spec["selector"] = json!({"matchLabels": {"app": "v"}});
        let text = "spec.template.metadata.labels: Invalid value: {\"app\":\"w\"}: \
                    `selector` does not match template `labels`";
        for plural in ["deployments", "replicasets", "daemonsets", "statefulsets"] {
            assert_eq!(errors(plural, other), [text], "{plural}");
        }
        assert_eq!(
            errors("deployments", |spec| spec["selector"] = json!({})),
            ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]
        );
        assert_eq!(
            errors("deployments", |spec| drop(spec.as_object_mut().expect("a spec").remove("selector"))),
            ["spec.selector: Required value", text]
        );
    }

    #[test]
    fn a_selector_never_changes() {
        let change = |spec: &mut Value| {
            spec["selector"]["matchLabels"]["tier"] = json!("x");
            spec["template"]["metadata"]["labels"]["tier"] = json!("x");
        };
        let text = "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"w\",\"tier\":\"x\"}}: field is immutable";
        for plural in ["deployments", "replicasets", "daemonsets"] {
            assert_eq!(change_errors(plural, change), [text], "{plural}");
        }
    }

    #[test]
    fn pods_of_workloads_are_restarted() {
        assert_eq!(
            errors("deployments", |spec| spec["template"]["spec"]["restartPolicy"] = json!("Never")),
            ["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""]
        );
    }

    #[test]
    fn a_rolling_update_moves() {
        let stuck = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}});
        assert_eq!(
            errors("deployments", |spec| spec["strategy"] = stuck.clone()),
            ["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"]
        );
        assert_eq!(
            errors("daemonsets", |spec| spec["updateStrategy"] = stuck),
            ["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"]
        );
        let recreate = json!({"type": "Recreate", "rollingUpdate": {}});
        assert_eq!(
            errors("deployments", |spec| spec["strategy"] = recreate),
            ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"]
        );
    }

    #[test]
    fn counts_are_not_negative() {
        assert_eq!(
            errors("deployments", |spec| spec["replicas"] = json!(-1)),
            ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]
        );
        assert_eq!(
            errors("deployments", |spec| spec["minReadySeconds"] = json!(600)),
            ["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"]
        );
    }

    #[test]
    fn a_stateful_set_keeps_its_service_and_claims() {
        assert!(change_errors("statefulsets", |spec| spec["replicas"] = json!(3)).is_empty());
        assert_eq!(
            change_errors("statefulsets", |spec| spec["serviceName"] = json!("other")),
            ["spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
              'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' \
              are forbidden"]
        );
    }

    #[test]
    fn a_stateful_sets_claims_can_be_mounted() {
        let found = errors("statefulsets", |spec| {
            spec["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": {}}]);
            spec["template"]["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/d"}]);
        });
        assert_eq!(found, Vec::<String>::new());
    }
}
