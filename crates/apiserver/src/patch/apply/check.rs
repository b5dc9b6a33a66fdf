//! What makes a configuration one that cannot be applied.

use std::collections::BTreeSet;

use serde_json::Value;

use super::ApplyError;
use super::place::{Place, Rule};
use crate::patch::fields::{Path, PathElement};
use crate::schema::{Gvk, Kind, check_types};

/// Refuses a configuration with fields that its kind does not have, with list elements that cannot be told apart, or
/// with a record of its own. Unlike other writes, an apply is never forgiven unknown fields: nobody could own them.
pub(super) fn check_configuration(kind: Kind<'_>, applied: &Value) -> Result<(), ApplyError> {
    let invalid = |why: String| Err(ApplyError::Invalid { why });
    if !applied.is_object() {
        return invalid("the applied configuration must be an object".into());
    }
    if applied.pointer("/metadata/managedFields").is_some_and(|fields| !fields.is_null()) {
        return invalid("metadata.managedFields must be nil".into());
    }
    let mut check = Check { path: Vec::new(), problems: Vec::new() };
    check.visit(Place::root(kind), applied);
    check.problems.extend(check_types(kind, applied).err().map(|mismatch| mismatch.problem().to_owned()));
    match check.problems.as_slice() {
        [] => Ok(()),
        [problem] => invalid(format!("{}: {problem}", cannot_type(kind.gvk, applied))),
        problems => invalid(format!("{}: errors:\n  {}", cannot_type(kind.gvk, applied), problems.join("\n  "))),
    }
}

fn cannot_type(gvk: Gvk<'_>, applied: &Value) -> String {
    let text = |field: &str| applied["metadata"][field].as_str().unwrap_or_default();
    format!("failed to create typed patch object ({}/{}; {gvk})", text("namespace"), text("name"))
}

struct Check {
    path: Vec<PathElement>,
    problems: Vec<String>,
}

impl Check {
    fn visit(&mut self, place: Place, value: &Value) {
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    let element = PathElement::field(key);
                    if place.lacks(key) {
                        self.report(&element, "field not declared in schema");
                    } else {
                        self.descend(element, place.member(key), member);
                    }
                }
            }
            Value::Array(items) => self.visit_items(place, value, items),
            _ => {}
        }
    }

    fn visit_items(&mut self, place: Place, list: &Value, items: &[Value]) {
        let identity = match place.rule(list) {
            Rule::Items(identity) => Some(identity),
            Rule::Leaf | Rule::Members => None,
        };
        let mut seen = BTreeSet::new();
        for (index, item) in (0..).zip(items) {
            let element = identity.map_or(PathElement::Index(index), |identity| identity.of(item));
            if !seen.insert(element.clone()) {
                self.problems.push(format!("{}: duplicate entries for key {element}", Path(self.path.clone())));
            }
            self.descend(element, place.item(), item);
        }
    }

    fn descend(&mut self, element: PathElement, place: Place, value: &Value) {
        self.path.push(element);
        self.visit(place, value);
        self.path.pop();
    }

    fn report(&mut self, element: &PathElement, problem: &str) {
        self.problems.push(format!("{}{element}: {problem}", Path(self.path.clone())));
    }
}
