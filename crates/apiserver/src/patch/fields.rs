//! Sets of fields, as `metadata.managedFields` records them.
//!
//! The format `FieldsV1` is a tree: `f:name` is a member of an object, `k:{...}` the element of a list with these
//! keys, `v:...` the element of a set, and `.` the thing itself beside what is in it.

mod path;
mod v1;

use std::collections::BTreeMap;

pub(super) use path::{Path, PathElement};

/// A set of paths into an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldSet {
    nodes: BTreeMap<PathElement, Node>,
}

/// One path element: whether the path to it is in the set, and the paths below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    below: FieldSet,
}

impl FieldSet {
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds a path. The empty path, the object itself, is never in a set.
    pub fn insert(&mut self, path: &[PathElement]) {
        let Some((last, way)) = path.split_last() else { return };
        let mut at = self;
        for element in way {
            at = &mut at.nodes.entry(element.clone()).or_default().below;
        }
        at.nodes.entry(last.clone()).or_default().member = true;
    }

    /// Whether the path of this one element is in the set.
    pub fn has(&self, element: &PathElement) -> bool {
        self.nodes.get(element).is_some_and(|node| node.member)
    }

    /// The paths below an element.
    pub fn below(&self, element: &PathElement) -> Option<&Self> {
        self.nodes.get(element).map(|node| &node.below).filter(|below| !below.is_empty())
    }

    /// The elements the paths begin with.
    pub fn elements(&self) -> impl Iterator<Item = &PathElement> {
        self.nodes.keys()
    }

    /// Adds the path of this one element.
    pub fn insert_element(&mut self, element: PathElement) {
        self.nodes.entry(element).or_default().member = true;
    }

    /// Adds paths below an element.
    pub fn extend_below(&mut self, element: PathElement, below: &Self) {
        if !below.is_empty() {
            let node = self.nodes.entry(element).or_default();
            node.below = node.below.union(below);
        }
    }

    /// The paths in either set.
    pub fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        for (element, theirs) in &other.nodes {
            let ours = union.nodes.entry(element.clone()).or_default();
            ours.member |= theirs.member;
            ours.below = ours.below.union(&theirs.below);
        }
        union
    }

    /// The paths in both sets.
    pub fn intersection(&self, other: &Self) -> Self {
        self.retain(|element, node| match other.nodes.get(element) {
            None => Node::default(),
            Some(theirs) => {
                Node { member: node.member && theirs.member, below: node.below.intersection(&theirs.below) }
            }
        })
    }

    /// The paths that are not in `other`. What lies below a path of `other` stays.
    pub fn difference(&self, other: &Self) -> Self {
        self.retain(|element, node| match other.nodes.get(element) {
            None => node.clone(),
            Some(theirs) => Node { member: node.member && !theirs.member, below: node.below.difference(&theirs.below) },
        })
    }

    /// The paths whose first element passes.
    pub fn starting_with(&self, keep: impl Fn(&PathElement) -> bool) -> Self {
        self.retain(|element, node| if keep(element) { node.clone() } else { Node::default() })
    }

    /// All paths, each before those below it.
    pub fn paths(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        self.collect(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect(&self, way: &mut Vec<PathElement>, paths: &mut Vec<Path>) {
        for (element, node) in &self.nodes {
            way.push(element.clone());
            if node.member {
                paths.push(Path(way.clone()));
            }
            node.below.collect(way, paths);
            way.pop();
        }
    }

    fn retain(&self, keep: impl Fn(&PathElement, &Node) -> Node) -> Self {
        let nodes = self.nodes.iter().map(|(element, node)| (element.clone(), keep(element, node)));
        Self { nodes: nodes.filter(|(_, node)| node.member || !node.below.is_empty()).collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(fields: &serde_json::Value) -> FieldSet {
        FieldSet::from_v1(fields).unwrap()
    }

    #[test]
    fn sets_combine_path_by_path() {
        let one = set(&json!({ "f:a": { ".": {}, "f:b": {} }, "f:c": {} }));
        let other = set(&json!({ "f:a": { "f:b": {}, "f:d": {} } }));
        assert_eq!(one.union(&other), set(&json!({ "f:a": { ".": {}, "f:b": {}, "f:d": {} }, "f:c": {} })));
        assert_eq!(one.intersection(&other), set(&json!({ "f:a": { "f:b": {} } })));
        assert_eq!(one.difference(&other), set(&json!({ "f:a": {}, "f:c": {} })));
        assert!(one.difference(&one).is_empty());
    }

    #[test]
    fn paths_read_as_kubernetes_prints_them() {
        let fields = set(&json!({ "f:spec": { "f:ports": {
            "k:{\"protocol\":\"TCP\",\"port\":80}": { ".": {}, "f:name": {} } }, "f:finalizers": { "v:\"a\"": {} } } }));
        let texts: Vec<String> = fields.paths().iter().map(Path::to_string).collect();
        assert_eq!(
            texts,
            [
                r#".spec.finalizers[="a"]"#,
                r#".spec.ports[port=80,protocol="TCP"]"#,
                r#".spec.ports[port=80,protocol="TCP"].name"#
            ]
        );
    }
}
