//! Who owns whom, as far as the caches have seen it.

use std::collections::{BTreeSet, HashMap};

use apiserver::client::{Gvr, ObjectKey};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Deletion waits for the objects that must go first.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Deletion waits until owned objects have been set free.
pub(super) const ORPHAN: &str = "orphan";

/// Every object with its owners.
#[derive(Default)]
pub(super) struct Graph {
    vertices: HashMap<String, Vertex>,
    dependents: HashMap<String, BTreeSet<String>>,
}

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Vertex {
    pub(super) gvr: Gvr,
    pub(super) key: ObjectKey,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) finalizers: Vec<String>,
    pub(super) resource_version: Option<String>,
    pub(super) is_deleting: bool,
}

/// What is to be done about one object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Nothing.
    Keep,
    /// Delete it: no owner is left, or those left wait for it.
    Delete { foreground: bool },
    /// Forget owners that are gone; others remain.
    DropOwners(Vec<String>),
    /// Let it go: nothing it waited for is left.
    RemoveFinalizer(&'static str),
    /// Set the objects it owns free, then let it go.
    Orphan(Vec<String>),
    /// Look at the objects it waits for.
    Await(Vec<String>),
}

impl Vertex {
    pub(super) fn new(gvr: Gvr, metadata: &ObjectMeta) -> Self {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        Self {
            gvr,
            key: ObjectKey::new(&text(&metadata.namespace), &text(&metadata.name)),
            owners: metadata.owner_references.clone().unwrap_or_default(),
            finalizers: metadata.finalizers.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone(),
            is_deleting: metadata.deletion_timestamp.is_some(),
        }
    }

    fn awaits(&self, finalizer: &str) -> bool {
        self.is_deleting && self.finalizers.iter().any(|own| own == finalizer)
    }
}

impl Graph {
    /// Takes in an object as it is now; returns the objects it concerns.
    pub(super) fn put(&mut self, uid: &str, vertex: Vertex) -> Vec<String> {
        let mut concerned = self.unlink(uid);
        for owner in &vertex.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.to_owned());
            concerned.push(owner.uid.clone());
        }
        let wakes_dependents = vertex.awaits(FOREGROUND);
        self.vertices.insert(uid.to_owned(), vertex);
        if wakes_dependents {
            concerned.extend(self.dependents_of(uid));
        }
        concerned.push(uid.to_owned());
        concerned
    }

    /// Takes in that an object is gone; returns the objects that concerns.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<String> {
        let mut concerned = self.unlink(uid);
        self.vertices.remove(uid);
        concerned.extend(self.dependents_of(uid));
        concerned
    }

    /// Takes in the version of an object nothing else has changed about.
    pub(super) fn refresh(&mut self, uid: &str, resource_version: Option<String>) {
        if let Some(vertex) = self.vertices.get_mut(uid) {
            vertex.resource_version = resource_version;
        }
    }

    pub(super) fn get(&self, uid: &str) -> Option<&Vertex> {
        self.vertices.get(uid)
    }

    /// The objects that have an owner of a custom kind, in whatever version of it.
    pub(super) fn owned_by(&self, group: &str, kind: &str) -> Vec<String> {
        let is_of_kind = |owner: &OwnerReference| {
            owner.kind == kind && owner.api_version.split_once('/').is_some_and(|(its, _version)| its == group)
        };
        let owned = self.vertices.iter().filter(|(_, vertex)| vertex.owners.iter().any(is_of_kind));
        owned.map(|(uid, _)| uid.clone()).collect()
    }

    /// Judges an object. `is_gone` says of an owner the graph does not know whether it truly is not there.
    pub(super) fn judge(&self, uid: &str, is_gone: impl Fn(&OwnerReference) -> bool) -> Verdict {
        let Some(vertex) = self.vertices.get(uid) else { return Verdict::Keep };
        if vertex.awaits(ORPHAN) {
            return Verdict::Orphan(self.dependents_of(uid).collect());
        }
        if vertex.awaits(FOREGROUND) {
            let blocking: Vec<_> = self.dependents_of(uid).filter(|dependent| self.blocks(dependent, uid)).collect();
            return if blocking.is_empty() { Verdict::RemoveFinalizer(FOREGROUND) } else { Verdict::Await(blocking) };
        }
        if vertex.is_deleting || vertex.owners.is_empty() {
            return Verdict::Keep;
        }
        self.judge_by_owners(vertex, uid, is_gone)
    }

    /// The owners of an object the graph does not know.
    pub(super) fn unknown_owners(&self, uid: &str) -> Vec<OwnerReference> {
        let owners = self.vertices.get(uid).map(|vertex| vertex.owners.as_slice()).unwrap_or_default();
        owners.iter().filter(|owner| !self.vertices.contains_key(&owner.uid)).cloned().collect()
    }

    fn judge_by_owners(&self, vertex: &Vertex, uid: &str, is_gone: impl Fn(&OwnerReference) -> bool) -> Verdict {
        let (mut solid, mut waiting, mut gone) = (0, Vec::new(), Vec::new());
        for owner in &vertex.owners {
            match self.vertices.get(&owner.uid) {
                Some(present) if present.awaits(FOREGROUND) => waiting.push(owner.uid.clone()),
                None if is_gone(owner) => gone.push(owner.uid.clone()),
                Some(_) | None => solid += 1,
            }
        }
        match (solid, waiting.is_empty(), gone.is_empty()) {
            (0, true, _) => Verdict::Delete { foreground: vertex.finalizers.iter().any(|own| own == FOREGROUND) },
            (0, false, _) => Verdict::Delete { foreground: self.dependents_of(uid).next().is_some() },
            (_, true, true) => Verdict::Keep,
            _ => Verdict::DropOwners(waiting.into_iter().chain(gone).collect()),
        }
    }

    fn blocks(&self, dependent: &str, owner: &str) -> bool {
        let owners = self.vertices.get(dependent).map(|vertex| vertex.owners.as_slice()).unwrap_or_default();
        owners.iter().any(|reference| reference.uid == owner && reference.block_owner_deletion == Some(true))
    }

    fn dependents_of(&self, uid: &str) -> impl Iterator<Item = String> {
        self.dependents.get(uid).into_iter().flatten().cloned()
    }

    /// Takes an object out of its owners' lists; returns these owners.
    fn unlink(&mut self, uid: &str) -> Vec<String> {
        let owners = self.vertices.get(uid).map(|vertex| vertex.owners.clone()).unwrap_or_default();
        let owners: Vec<String> = owners.into_iter().map(|owner| owner.uid).collect();
        for owner in &owners {
            if let Some(dependents) = self.dependents.get_mut(owner) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
        owners
    }
}

#[cfg(test)]
mod tests {
    use apiserver::client::{PODS, REPLICA_SETS};

    use super::*;

    fn reference(uid: &str) -> OwnerReference {
        OwnerReference { uid: uid.to_owned(), block_owner_deletion: Some(true), ..OwnerReference::default() }
    }

    fn vertex(owners: &[&str], finalizer: Option<&str>, is_deleting: bool) -> Vertex {
        Vertex {
            gvr: if owners.is_empty() { REPLICA_SETS } else { PODS },
            key: ObjectKey::new("shop", "x"),
            owners: owners.iter().map(|uid| reference(uid)).collect(),
            finalizers: finalizer.iter().map(|&finalizer| finalizer.to_owned()).collect(),
            resource_version: None,
            is_deleting,
        }
    }

    fn graph(vertices: &[(&str, Vertex)]) -> Graph {
        let mut graph = Graph::default();
        for (uid, vertex) in vertices {
            graph.put(uid, vertex.clone());
        }
        graph
    }

    fn delete(foreground: bool) -> Verdict {
        Verdict::Delete { foreground }
    }

    #[test]
    fn an_object_goes_when_its_last_owner_is_gone() {
        let graph = graph(&[("set", vertex(&[], None, false)), ("pod", vertex(&["set"], None, false))]);
        assert_eq!(graph.judge("pod", |_| true), Verdict::Keep);
        let mut graph = graph;
        assert_eq!(graph.remove("set"), ["pod"]);
        assert_eq!(graph.judge("pod", |_| true), delete(false));
        assert_eq!(graph.judge("pod", |_| false), Verdict::Keep);
    }

    #[test]
    fn an_object_with_another_owner_only_forgets_the_one_that_is_gone() {
        let graph = graph(&[("a", vertex(&[], None, false)), ("pod", vertex(&["a", "b"], None, false))]);
        assert_eq!(graph.judge("pod", |_| true), Verdict::DropOwners(vec!["b".into()]));
    }

    #[test]
    fn foreground_deletion_goes_down_and_comes_back_up() {
        let mut graph = graph(&[
            ("deployment", vertex(&[], Some(FOREGROUND), true)),
            ("set", vertex(&["deployment"], None, false)),
            ("pod", vertex(&["set"], None, false)),
        ]);
        assert_eq!(graph.judge("deployment", |_| true), Verdict::Await(vec!["set".into()]));
        assert_eq!(graph.judge("set", |_| true), delete(true));
        graph.put("set", vertex(&["deployment"], Some(FOREGROUND), true));
        assert_eq!(graph.judge("pod", |_| true), delete(false));
        graph.remove("pod");
        assert_eq!(graph.judge("set", |_| true), Verdict::RemoveFinalizer(FOREGROUND));
        graph.remove("set");
        assert_eq!(graph.judge("deployment", |_| true), Verdict::RemoveFinalizer(FOREGROUND));
    }

    #[test]
    fn orphaning_names_everything_that_is_owned() {
        let graph = graph(&[("set", vertex(&[], Some(ORPHAN), true)), ("pod", vertex(&["set"], None, false))]);
        assert_eq!(graph.judge("set", |_| true), Verdict::Orphan(vec!["pod".into()]));
    }

    #[test]
    fn an_owner_that_waits_in_the_foreground_wakes_what_it_waits_for() {
        let mut graph = graph(&[("set", vertex(&[], None, false)), ("pod", vertex(&["set"], None, false))]);
        assert_eq!(graph.put("set", vertex(&[], Some(FOREGROUND), true)), ["pod", "set"]);
    }
}
