//! Revisions of a pod template, kept as ControllerRevisions: what `kubectl rollout history` and `undo` work with.

use std::sync::Arc;

use k8s_openapi::{
    api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, runtime::RawExtension},
};
use serde_json::{Value, json};

use super::{
    kind::{Kind, StringMap},
    pod::template_hash,
    write::{Write, to_value},
};

/// The label that says which revision a pod was made from.
pub(super) const REVISION_LABEL: &str = "controller-revision-hash";
/// How many old revisions are kept unless the owner says otherwise.
const DEFAULT_LIMIT: usize = 10;

/// The revisions of one owner.
pub(super) struct History {
    /// Oldest first.
    revisions: Vec<Arc<ControllerRevision>>,
}

/// The revision of the current template.
#[derive(Debug, PartialEq)]
pub(super) struct Current {
    /// Name of its ControllerRevision.
    pub(super) name: String,
    /// Its hash, the last part of the name.
    pub(super) hash: String,
    /// What has to be written for it to be the latest.
    pub(super) write: Option<Write>,
}

impl History {
    /// Sorts the revisions an owner has.
    pub(super) fn new(mut revisions: Vec<Arc<ControllerRevision>>) -> Self {
        revisions.sort_by(|a, b| (a.revision, a.name()).cmp(&(b.revision, b.name())));
        Self { revisions }
    }

    /// Finds the revision of a template, or plans it.
    pub(super) fn current<K: Kind>(&self, owner: &K, template: &PodTemplateSpec, collisions: Option<i32>) -> Current {
        let data = template_patch(template);
        let last = self.revisions.last().map_or(0, |revision| revision.revision);
        let known = self.revisions.iter().rev().find(|known| known.data.as_ref().is_some_and(|known| known.0 == data));
        if let Some(known) = known {
            let mut latest = ControllerRevision::clone(known);
            if known.revision < last {
                latest.revision = last + 1;
            }
            let write = Write::update(&**known, &latest);
            return Current { name: known.name().to_owned(), hash: hash_of(known, owner.name()), write };
        }
        let hash = template_hash(&data, collisions);
        let revision = new_revision(owner, template, data, (&hash, last + 1));
        Current { name: revision.name().to_owned(), hash, write: Some(Write::create(&revision)) }
    }

    /// The template of a revision.
    pub(super) fn template(&self, name: &str) -> Option<PodTemplateSpec> {
        let revision = self.revisions.iter().find(|revision| revision.name() == name)?;
        serde_json::from_value(revision.data.as_ref()?.0["spec"]["template"].clone()).ok()
    }

    /// Deletes the oldest revisions nobody uses, beyond the number to keep.
    pub(super) fn plan_cleanup(&self, limit: Option<i32>, is_used: impl Fn(&str) -> bool) -> Vec<Write> {
        let limit = limit.map_or(DEFAULT_LIMIT, |limit| usize::try_from(limit).unwrap_or_default());
        let unused: Vec<_> = self.revisions.iter().filter(|revision| !is_used(revision.name())).collect();
        let surplus = unused.len().saturating_sub(limit);
        unused.into_iter().take(surplus).map(|revision| Write::delete(&**revision)).collect()
    }
}

fn new_revision<K: Kind>(
    owner: &K,
    template: &PodTemplateSpec,
    data: Value,
    (hash, number): (&str, i64),
) -> ControllerRevision {
    let described = template.metadata.as_ref().and_then(|metadata| metadata.labels.clone());
    let mut labels: StringMap = described.unwrap_or_default();
    labels.insert(REVISION_LABEL.to_owned(), hash.to_owned());
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", owner.name())),
            namespace: owner.metadata().namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![owner.controller_reference()]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data)),
        revision: number,
    }
}

fn hash_of(revision: &ControllerRevision, owner: &str) -> String {
    let from_name = || revision.name().strip_prefix(owner).map(|rest| rest.trim_start_matches('-').to_owned());
    revision.labels().get(REVISION_LABEL).cloned().or_else(from_name).unwrap_or_default()
}

/// A strategic merge patch that restores the template, which is what a revision holds.
fn template_patch(template: &PodTemplateSpec) -> Value {
    let mut template = to_value(template);
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::DaemonSet;

    use super::*;

    fn owner() -> DaemonSet {
        serde_json::from_value(json!({"metadata": {"name": "agent", "namespace": "sys", "uid": "o"}})).unwrap()
    }

    fn template(image: &str) -> PodTemplateSpec {
        let containers = json!([{"name": "c", "image": image}]);
        serde_json::from_value(json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": containers}}))
            .unwrap()
    }

    fn revision(image: &str, number: i64) -> Arc<ControllerRevision> {
        let template = template(image);
        let data = template_patch(&template);
        let hash = template_hash(&data, None);
        Arc::new(new_revision(&owner(), &template, data, (&hash, number)))
    }

    #[test]
    fn a_new_template_gets_the_next_number() {
        let history = History::new(vec![revision("b", 2), revision("a", 1)]);
        let current = history.current(&owner(), &template("c"), None);
        let expected = Write::create(&*revision("c", 3));
        assert_eq!((current.name, current.write), (format!("agent-{}", current.hash), Some(expected)));
    }

    #[test]
    fn the_latest_template_needs_no_write() {
        let history = History::new(vec![revision("a", 1), revision("b", 2)]);
        assert_eq!(history.current(&owner(), &template("b"), None).write, None);
    }

    #[test]
    fn going_back_renumbers_the_old_revision() {
        let history = History::new(vec![revision("a", 1), revision("b", 2)]);
        let Some(Write::Patch { patch, .. }) = history.current(&owner(), &template("a"), None).write else { panic!() };
        assert_eq!(patch["revision"], 3);
    }

    #[test]
    fn a_revision_gives_its_template_back() {
        let history = History::new(vec![revision("a", 1)]);
        assert_eq!(history.template(revision("a", 1).name()), Some(template("a")));
    }

    #[test]
    fn only_unused_revisions_beyond_the_limit_go() {
        let history = History::new(vec![revision("a", 1), revision("b", 2), revision("c", 3)]);
        let used = revision("a", 1).name().to_owned();
        let writes = history.plan_cleanup(Some(1), |name| name == used);
        assert_eq!(writes, [Write::delete(&*revision("b", 2))]);
    }
}
