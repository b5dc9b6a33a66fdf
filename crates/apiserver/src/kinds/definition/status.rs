//! What the server says of a definition: which names it has, and whether its kind is served.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

/// Writes the status of a definition among `others`: its names are accepted if none of them is taken in its group.
pub(crate) fn settle_status(definition: &mut Value, others: &[&Value], now: &str) {
    let conflict = name_conflict(definition, others);
    let mut status = definition["status"].as_object().cloned().unwrap_or_default();
    let mut conditions = Conditions::of(&status, now);
    match &conflict {
        None => {
            status.insert("acceptedNames".into(), definition["spec"]["names"].clone());
            conditions.set("NamesAccepted", "True", "NoConflicts", "no conflicts found");
            let message = "the initial names have been accepted";
            conditions.set("Established", "True", "InitialNamesAccepted", message);
        }
        Some(Conflict { reason, message }) => {
            conditions.set("NamesAccepted", "False", reason, message);
            if !is_established(definition) {
                conditions.set("Established", "False", "NotAccepted", "not all names are accepted");
            }
        }
    }
    status.insert("conditions".into(), Value::Array(conditions.list));
    status.entry("acceptedNames").or_insert_with(|| json!({ "kind": "", "plural": "" }));
    let stored = stored_versions(&status, &definition["spec"]["versions"]);
    status.insert("storedVersions".into(), stored);
    definition["status"] = Value::Object(status);
}

/// Whether the kind of a definition is served.
pub(crate) fn is_established(definition: &Value) -> bool {
    let conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Established" && condition["status"] == "True")
}

/// Says that a definition waits for the end of its objects.
pub(crate) fn mark_terminating(definition: &mut Value, now: &str) {
    let mut status = definition["status"].as_object().cloned().unwrap_or_default();
    let mut conditions = Conditions::of(&status, now);
    let message = "CustomResource deletion is in progress";
    conditions.set("Terminating", "True", "InstanceDeletionInProgress", message);
    status.insert("conditions".into(), Value::Array(conditions.list));
    definition["status"] = Value::Object(status);
}

struct Conflict {
    reason: String,
    message: String,
}

fn name_conflict(definition: &Value, others: &[&Value]) -> Option<Conflict> {
    let group = &definition["spec"]["group"];
    let taken: Vec<&Value> = others
        .iter()
        .filter(|other| other["spec"]["group"] == *group)
        .map(|other| &other["status"]["acceptedNames"])
        .collect();
    let resources: HashSet<&str> = taken.iter().flat_map(|names| resource_names(names)).map(|(_, name)| name).collect();
    let kinds: HashSet<&str> = taken.iter().flat_map(|names| kind_names(names)).map(|(_, name)| name).collect();
    let names = &definition["spec"]["names"];
    let own = resource_names(names).into_iter().filter(|(_, name)| resources.contains(name));
    let clashes: Vec<(&str, &str)> =
        own.chain(kind_names(names).into_iter().filter(|(_, name)| kinds.contains(name))).collect();
    let reason = match clashes.as_slice() {
        [] => return None,
        [(field, _)] => format!("{field}Conflict"),
        _ => "MultipleNamesConflict".to_owned(),
    };
    let message: Vec<String> = clashes.iter().map(|(_, name)| format!("{name:?} is already in use")).collect();
    Some(Conflict { reason, message: message.join(", ") })
}

/// The names in paths and on command lines.
fn resource_names(names: &Value) -> Vec<(&'static str, &str)> {
    let short = names["shortNames"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut found: Vec<(&str, &str)> = short.map(|name| ("ShortNames", name)).collect();
    found.extend(names["plural"].as_str().map(|name| ("Plural", name)));
    found.extend(names["singular"].as_str().filter(|name| !name.is_empty()).map(|name| ("Singular", name)));
    found
}

/// The names in objects.
fn kind_names(names: &Value) -> Vec<(&'static str, &str)> {
    let named = [("Kind", "kind"), ("ListKind", "listKind")];
    named.into_iter().filter_map(|(field, name)| Some((field, names[name].as_str()?))).collect()
}

/// Every version that objects may be stored under.
fn stored_versions(status: &Map<String, Value>, versions: &Value) -> Value {
    let mut stored = status.get("storedVersions").and_then(Value::as_array).cloned().unwrap_or_default();
    let versions = versions.as_array().into_iter().flatten();
    let storage = versions.into_iter().filter(|version| version["storage"] == true).map(|version| &version["name"]);
    let new: Vec<Value> = storage.filter(|name| !stored.contains(name)).cloned().collect();
    stored.extend(new);
    Value::Array(stored)
}

/// The conditions of a status; times change only with what they say.
struct Conditions<'a> {
    list: Vec<Value>,
    now: &'a str,
}

impl<'a> Conditions<'a> {
    fn of(status: &Map<String, Value>, now: &'a str) -> Self {
        Self { list: status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default(), now }
    }

    fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let present = self.list.iter().position(|condition| condition["type"] == kind);
        let since = present.map(|at| &self.list[at]).filter(|condition| condition["status"] == status);
        let since = since.map_or_else(|| json!(self.now), |condition| condition["lastTransitionTime"].clone());
        let condition = json!({
            "type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message,
        });
        match present {
            Some(at) => self.list[at] = condition,
            None => self.list.push(condition),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str) -> Value {
        json!({ "spec": {
            "group": "example.com", "names": { "plural": plural, "kind": kind },
            "versions": [{ "name": "v1", "storage": true }],
        } })
    }

    #[test]
    fn names_nobody_has_are_accepted_and_the_kind_is_served() {
        let mut one = definition("pools", "Pool");
        settle_status(&mut one, &[], "t1");
        assert!(is_established(&one));
        assert_eq!(one["status"]["acceptedNames"], one["spec"]["names"]);
        assert_eq!(one["status"]["storedVersions"], json!(["v1"]));
        let before = one.clone();
        settle_status(&mut one, &[], "t2");
        assert_eq!(one, before);
    }

    #[test]
    fn a_name_that_is_taken_keeps_the_kind_from_being_served() {
        let mut first = definition("pools", "Pool");
        settle_status(&mut first, &[], "t");
        let mut second = definition("others", "Pool");
        settle_status(&mut second, &[&first], "t");
        assert!(!is_established(&second));
        let accepted = &second["status"]["conditions"][0];
        assert_eq!(
            (&accepted["reason"], &accepted["message"]),
            (&json!("KindConflict"), &json!("\"Pool\" is already in use"))
        );
    }
}
