//! What a configuration sets, and what differs between two objects.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::place::{Identity, Place, Rule};
use crate::patch::fields::{FieldSet, PathElement};

/// The difference between two objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    pub added: FieldSet,
    pub modified: FieldSet,
    pub removed: FieldSet,
}

/// The fields that `value` sets: its leaves, the elements of its lists and the members of its free maps.
pub(super) fn fields_of(place: Place, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    match (place.rule(value), value) {
        (Rule::Members, Value::Object(members)) => {
            for (key, member) in members {
                let inner = fields_below(place.member(key), member);
                let is_empty = member.is_null() || member.as_object().is_some_and(Map::is_empty);
                let leaf = matches!(place.member(key).rule(member), Rule::Leaf);
                add(&mut set, PathElement::field(key), &inner, leaf || is_empty || !place.declares(key));
            }
        }
        (Rule::Items(identity), Value::Array(items)) => {
            for item in items {
                add(&mut set, identity.of(item), &fields_below(place.item(), item), true);
            }
        }
        _ => {}
    }
    set
}

fn fields_below(place: Place, value: &Value) -> FieldSet {
    match place.rule(value) {
        Rule::Leaf => FieldSet::default(),
        Rule::Members | Rule::Items(_) => fields_of(place, value),
    }
}

fn add(set: &mut FieldSet, element: PathElement, below: &FieldSet, member: bool) {
    if member {
        set.insert_element(element.clone());
    }
    set.extend_below(element, below);
}

impl Comparison {
    /// What was done to `old` to make it `new`.
    pub fn between(root: Place, old: &Value, new: &Value) -> Self {
        let mut walk = Walk { path: Vec::new(), found: Self::default() };
        walk.compare(root, Some(old), Some(new));
        walk.found
    }

    pub fn is_same(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// Keeps only the paths that pass.
    pub fn filtered(&self, filter: impl Fn(&FieldSet) -> FieldSet) -> Self {
        Self { added: filter(&self.added), modified: filter(&self.modified), removed: filter(&self.removed) }
    }
}

struct Walk {
    path: Vec<PathElement>,
    found: Comparison,
}

impl Walk {
    fn compare(&mut self, place: Place, old: Option<&Value>, new: Option<&Value>) {
        let (old, new) = (old.filter(|value| !value.is_null()), new.filter(|value| !value.is_null()));
        let Some(some) = new.or(old) else { return };
        match place.rule(some) {
            _ if is_empty(old) && is_empty(new) => self.compare_leaf(old, new),
            Rule::Members if are(old, new, Value::is_object) => self.compare_members(place, old, new),
            Rule::Items(identity) if are(old, new, Value::is_array) => self.compare_items(place, identity, old, new),
            _ => self.compare_leaf(old, new),
        }
    }

    fn compare_leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (None, Some(_)) => self.found.added.insert(&self.path),
            (Some(_), None) => self.found.removed.insert(&self.path),
            (Some(old), Some(new)) if old != new => self.found.modified.insert(&self.path),
            _ => {}
        }
    }

    fn compare_members<'a>(&mut self, place: Place, old: Option<&'a Value>, new: Option<&'a Value>) {
        for name in member_names(old, new) {
            let member = |owner: &'a Value| owner.get(name).or_else(|| place.always_has(name));
            self.path.push(PathElement::field(name));
            self.compare(place.member(name), old.and_then(member), new.and_then(member));
            self.path.pop();
        }
        self.compare_presence(old, new);
    }

    fn compare_items(&mut self, place: Place, identity: Identity, old: Option<&Value>, new: Option<&Value>) {
        let (old_items, new_items) = (Items::of(identity, old), Items::of(identity, new));
        for element in old_items.identities_with(&new_items) {
            let (before, after) = (old_items.named(&element), new_items.named(&element));
            self.path.push(element);
            match (before.as_slice(), after.as_slice()) {
                ([] | [_], [] | [_]) => {
                    self.compare(place.item(), before.first().copied(), after.first().copied());
                }
                _ if before.is_empty() => self.found.added.insert(&self.path),
                _ if after.is_empty() => self.found.removed.insert(&self.path),
                _ if before != after => self.found.modified.insert(&self.path),
                _ => {}
            }
            self.path.pop();
        }
        self.compare_presence(old, new);
    }

    /// A container that comes or goes is itself added or removed, beside what is in it.
    fn compare_presence(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (None, Some(_)) => self.found.added.insert(&self.path),
            (Some(_), None) => self.found.removed.insert(&self.path),
            _ => {}
        }
    }
}

/// The elements of a list with their identities.
struct Items<'a>(Vec<(PathElement, &'a Value)>);

impl<'a> Items<'a> {
    fn of(identity: Identity, list: Option<&'a Value>) -> Self {
        let items = list.and_then(Value::as_array).into_iter().flatten();
        Self(items.map(|item| (identity.of(item), item)).collect())
    }

    fn named(&self, element: &PathElement) -> Vec<&'a Value> {
        self.0.iter().filter(|(name, _)| name == element).map(|(_, item)| *item).collect()
    }

    fn identities_with(&self, other: &Self) -> Vec<PathElement> {
        let mut identities: Vec<PathElement> = self.0.iter().chain(&other.0).map(|(name, _)| name.clone()).collect();
        identities.sort();
        identities.dedup();
        identities
    }
}

/// The names of all members of either object, each once.
fn member_names<'a>(old: Option<&'a Value>, new: Option<&'a Value>) -> BTreeSet<&'a str> {
    [old, new].into_iter().flatten().filter_map(Value::as_object).flat_map(Map::keys).map(String::as_str).collect()
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None => true,
        Some(Value::Object(members)) => members.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

/// Whether all that is there is of one JSON type.
fn are(old: Option<&Value>, new: Option<&Value>, check: fn(&Value) -> bool) -> bool {
    old.is_none_or(check) && new.is_none_or(check)
}
