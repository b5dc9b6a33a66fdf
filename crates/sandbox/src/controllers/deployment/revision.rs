//! Revisions of a Deployment: which ReplicaSet carries which number, the next ReplicaSet, and how many are kept.

use std::sync::Arc;

use k8s_openapi::{
    api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};

use super::{
    scale::{DESIRED_ANNOTATION, MAX_ANNOTATION},
    view::{HASH_LABEL, View, actual, wanted},
};
use crate::controllers::{
    kind::{Kind, StringMap},
    pod::template_hash,
    write::Write,
};

/// The number of a revision, on the Deployment and on its ReplicaSets.
pub(super) const REVISION_ANNOTATION: &str = "deployment.kubernetes.io/revision";
/// Numbers a ReplicaSet had before it was rolled back to.
const HISTORY_ANNOTATION: &str = "deployment.kubernetes.io/revision-history";
/// Annotations that mean something else on a ReplicaSet than on its Deployment.
const OWN_ANNOTATIONS: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION_ANNOTATION,
    HISTORY_ANNOTATION,
    DESIRED_ANNOTATION,
    MAX_ANNOTATION,
];
/// How many old ReplicaSets are kept unless the Deployment says otherwise.
const DEFAULT_HISTORY: usize = 10;

/// The ReplicaSet of the current template, for a Deployment that has none yet.
pub(super) fn new_replica_set(view: &View<'_>, replicas: i32) -> ReplicaSet {
    let collisions = view.deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = template_hash(&view.spec.template, collisions);
    let mut template = view.spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut annotations = inherited(view.deployment);
    annotations.insert(REVISION_ANNOTATION.to_owned(), next_revision(view).to_string());
    aim(&mut annotations, view);
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", view.deployment.name())),
            namespace: view.deployment.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![view.deployment.controller_reference()]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: view.spec.min_ready_seconds,
            selector: with_hash(&view.spec.selector, &hash),
            template: Some(template),
        }),
        status: None,
    }
}

/// Brings a ReplicaSet up to date: its size if it is to have another one, and its revision if it is the current one.
pub(super) fn update_of_set(view: &View<'_>, set: &Arc<ReplicaSet>, size: Option<i32>) -> Option<Write> {
    let mut updated = ReplicaSet::clone(set);
    if view.new.as_ref().is_some_and(|new| Arc::ptr_eq(new, set)) {
        make_current(view, &mut updated);
    }
    if let (Some(size), Some(spec)) = (size, &mut updated.spec) {
        spec.replicas = Some(size);
        aim(updated.metadata.annotations.get_or_insert_default(), view);
    }
    Write::update(&**set, &updated)
}

/// Gives the Deployment the revision of its current ReplicaSet.
pub(super) fn update_of_deployment(view: &View<'_>) -> Option<Write> {
    let revision = view.new.as_deref().map_or(0, revision).max(next_revision(view));
    let mut updated = view.deployment.clone();
    let annotations = updated.metadata.annotations.get_or_insert_default();
    annotations.insert(REVISION_ANNOTATION.to_owned(), revision.to_string());
    Write::update(view.deployment, &updated)
}

/// Deletes the oldest ReplicaSets that are empty, beyond the number to keep.
pub(super) fn plan_cleanup(view: &View<'_>) -> Vec<Write> {
    let limit = view.spec.revision_history_limit.map_or(DEFAULT_HISTORY, |limit| usize::try_from(limit).unwrap_or(0));
    let mut old: Vec<&Arc<ReplicaSet>> = view.old.iter().filter(|set| !set.is_terminating()).collect();
    old.sort_by_key(|set| revision(set));
    let surplus = old.len().saturating_sub(limit);
    old.into_iter().take(surplus).filter(|set| is_empty(set)).map(|set| Write::delete(&**set)).collect()
}

/// Gives the ReplicaSet of the current template the highest revision and the Deployment's annotations.
fn make_current(view: &View<'_>, set: &mut ReplicaSet) {
    let (current, next) = (revision(set), next_revision(view));
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.extend(inherited(view.deployment));
    if current < next {
        if current > 0 {
            let history = annotations.entry(HISTORY_ANNOTATION.to_owned()).or_default();
            let separator = if history.is_empty() { "" } else { "," };
            history.push_str(&format!("{separator}{current}"));
        }
        annotations.insert(REVISION_ANNOTATION.to_owned(), next.to_string());
    }
    if let Some(spec) = &mut set.spec {
        spec.min_ready_seconds = view.spec.min_ready_seconds;
    }
}

fn is_empty(set: &ReplicaSet) -> bool {
    let observed = set.status.as_ref().and_then(|status| status.observed_generation);
    actual(set) == 0 && wanted(set) == 0 && observed >= set.metadata.generation
}

/// The number of the current revision: one more than that of any other.
fn next_revision(view: &View<'_>) -> i64 {
    view.old.iter().map(|set| revision(set)).max().unwrap_or(0) + 1
}

fn revision(set: &ReplicaSet) -> i64 {
    set.annotations().get(REVISION_ANNOTATION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn inherited(deployment: &Deployment) -> StringMap {
    let annotations = deployment.annotations().iter();
    let theirs = annotations.filter(|(key, _)| !OWN_ANNOTATIONS.contains(&key.as_str()));
    theirs.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn aim(annotations: &mut StringMap, view: &View<'_>) {
    let max = view.bounds.desired + view.bounds.max_surge;
    annotations.insert(DESIRED_ANNOTATION.to_owned(), view.bounds.desired.to_string());
    annotations.insert(MAX_ANNOTATION.to_owned(), max.to_string());
}

fn with_hash(selector: &LabelSelector, hash: &str) -> LabelSelector {
    let mut selector = selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.to_owned());
    selector
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    fn deployment(limit: Option<i32>) -> Deployment {
        let object = json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "d", "annotations": {
                "team": "front", "kubectl.kubernetes.io/last-applied-configuration": "{}",
            }},
            "spec": {
                "replicas": 2, "revisionHistoryLimit": limit,
                "selector": {"matchLabels": {"app": "web"}}, "template": template("new"),
            },
        });
        serde_json::from_value(object).unwrap()
    }

    fn template(image: &str) -> Value {
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
    }

    fn set(name: &str, image: &str, revision: u32) -> Arc<ReplicaSet> {
        let object = json!({
            "metadata": {"name": name, "uid": name, "annotations": {REVISION_ANNOTATION: revision.to_string()}},
            "spec": {"replicas": 0, "selector": {}, "template": template(image)},
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn with_view<T>(deployment: &Deployment, sets: Vec<Arc<ReplicaSet>>, look: impl Fn(&View<'_>) -> T) -> T {
        look(&View::new(deployment, deployment.spec.as_ref().unwrap(), sets, &[], Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn a_new_set_is_named_and_labelled_by_its_template() {
        let new = with_view(&deployment(None), vec![set("old", "old", 4)], |view| new_replica_set(view, 2));
        let hash = &new.labels()[HASH_LABEL];
        assert_eq!(new.name(), format!("web-{hash}"));
        let spec = new.spec.as_ref().unwrap();
        assert_eq!(spec.selector.match_labels.as_ref().unwrap()[HASH_LABEL], *hash);
        let pod_labels = spec.template.as_ref().unwrap().metadata.as_ref().unwrap().labels.as_ref().unwrap();
        assert_eq!(pod_labels[HASH_LABEL], *hash);
        let annotations: Vec<_> = new.annotations().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let expected =
            [(DESIRED_ANNOTATION, "2"), (MAX_ANNOTATION, "2"), (REVISION_ANNOTATION, "5"), ("team", "front")];
        assert_eq!(annotations, expected);
    }

    #[test]
    fn rolling_back_gives_the_old_set_a_new_number_and_remembers_the_old_one() {
        let sets = vec![set("a", "new", 1), set("b", "other", 2)];
        let write = with_view(&deployment(None), sets, |view| update_of_set(view, view.new.as_ref().unwrap(), None));
        let Some(Write::Patch { patch, .. }) = write else { panic!("{write:?}") };
        let expected = json!({REVISION_ANNOTATION: "3", HISTORY_ANNOTATION: "1", "team": "front"});
        assert_eq!(patch["metadata"]["annotations"], expected);
    }

    #[test]
    fn a_set_that_is_up_to_date_is_not_written() {
        let sets = vec![set("a", "other", 1), set("b", "new", 2)];
        let mut deployment = deployment(None);
        deployment.metadata.annotations = None;
        assert_eq!(with_view(&deployment, sets, |view| update_of_set(view, view.new.as_ref().unwrap(), None)), None);
    }

    #[test]
    fn history_keeps_the_latest_and_deletes_the_rest() {
        let sets = vec![set("a", "1", 1), set("b", "2", 2), set("c", "3", 3), set("d", "new", 4)];
        let writes = with_view(&deployment(Some(1)), sets, plan_cleanup);
        let deleted = writes.iter().map(|write| match write {
            Write::Delete { key, .. } => key.name.to_string(),
            other => panic!("{other:?}"),
        });
        assert_eq!(deleted.collect::<Vec<_>>(), ["a", "b"]);
    }
}
