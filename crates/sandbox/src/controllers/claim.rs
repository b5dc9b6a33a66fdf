//! Who manages what: controllers adopt orphans their selector admits and let go of what it no longer admits.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{kind::Kind, selector::selects, write::Write};

/// The objects of one manager, and the writes that make it so.
#[derive(Debug, PartialEq)]
pub(super) struct Claim<T> {
    /// Managed already and still admitted.
    pub(super) owned: Vec<Arc<T>>,
    /// Adoptions and releases; once they are through, the manager is to look again.
    pub(super) writes: Vec<Write>,
}

/// Sorts the objects of a namespace into those `owner` manages, should manage and should no longer manage.
pub(super) fn plan_claim<O: Kind, T: Kind>(owner: &O, selector: &LabelSelector, candidates: Vec<Arc<T>>) -> Claim<T> {
    let mut claim = Claim { owned: Vec::new(), writes: Vec::new() };
    for object in candidates {
        let admitted = selects(selector, object.labels());
        match object.controller().map(|manager| manager.uid == owner.uid()) {
            Some(true) if admitted => claim.owned.push(object),
            Some(true) if !owner.is_terminating() && !object.is_terminating() => {
                claim.writes.extend(release(owner, &*object));
            }
            None if admitted && !owner.is_terminating() && !object.is_terminating() => {
                claim.writes.extend(adopt(owner, &*object));
            }
            Some(_) | None => {}
        }
    }
    claim
}

fn adopt<O: Kind, T: Kind>(owner: &O, object: &T) -> Option<Write> {
    let mut adopted = object.clone();
    let owners = adopted.metadata_mut().owner_references.get_or_insert_default();
    owners.retain(|known| known.uid != owner.uid());
    owners.push(owner.controller_reference());
    Write::update(object, &adopted)
}

fn release<O: Kind, T: Kind>(owner: &O, object: &T) -> Option<Write> {
    let mut released = object.clone();
    let owners = released.metadata_mut().owner_references.get_or_insert_default();
    owners.retain(|known| known.uid != owner.uid());
    Write::update(object, &released)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
    use serde_json::json;

    use super::*;

    fn pod(name: &str, label: &str, owner: Option<&str>) -> Arc<Pod> {
        let owners: Vec<_> = owner
            .iter()
            .map(|uid| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": uid, "controller": true}))
            .collect();
        let pod = json!({"metadata": {"name": name, "labels": {"app": label}, "ownerReferences": owners}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn owner(deleting: bool) -> ReplicaSet {
        let mut owner = json!({"metadata": {"name": "web", "uid": "mine"}});
        if deleting {
            owner["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        serde_json::from_value(owner).unwrap()
    }

    fn claim(deleting: bool) -> (Vec<String>, Vec<String>) {
        let pods = vec![
            pod("kept", "web", Some("mine")),
            pod("relabelled", "api", Some("mine")),
            pod("orphan", "web", None),
            pod("stranger", "api", None),
            pod("others", "web", Some("theirs")),
        ];
        let selector = LabelSelector {
            match_labels: Some([("app".to_owned(), "web".to_owned())].into()),
            ..LabelSelector::default()
        };
        let claim = plan_claim(&owner(deleting), &selector, pods);
        let written = claim.writes.iter().map(|write| match write {
            Write::Patch { key, .. } => key.name.to_string(),
            other => panic!("{other:?}"),
        });
        (claim.owned.iter().map(|pod| pod.name().to_owned()).collect(), written.collect())
    }

    #[test]
    fn orphans_are_adopted_and_relabelled_objects_released() {
        assert_eq!(claim(false), (vec!["kept".to_owned()], vec!["relabelled".to_owned(), "orphan".to_owned()]));
    }

    #[test]
    fn an_owner_on_its_way_out_adopts_and_releases_nothing() {
        assert_eq!(claim(true), (vec!["kept".to_owned()], vec![]));
    }
}
