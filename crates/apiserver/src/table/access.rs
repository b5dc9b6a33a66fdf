//! Roles and their bindings.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::read::{items, text};
use super::{Column, Printer, age, name};

/// Kinds that only show when they were made.
pub(crate) const CREATED_AT: Printer = Printer {
    columns: &[
        Column::NAME,
        Column { kind: "date", ..Column::text("Created At", "When the server created the object.") },
    ],
    cells: |object, _| vec![name(object), object["metadata"]["creationTimestamp"].clone()],
};

pub(crate) const BINDING: Printer = Printer {
    columns: &[
        Column::NAME,
        Column::text("Role", "The role that is given."),
        Column::AGE,
        Column::text("Users", "The users it is given to.").wide(),
        Column::text("Groups", "The groups it is given to.").wide(),
        Column::text("ServiceAccounts", "The service accounts it is given to.").wide(),
    ],
    cells: binding,
};

fn binding(binding: &Value, now: Timestamp) -> Vec<Value> {
    let role = &binding["roleRef"];
    let subjects = |kind: &str, show: fn(&Value) -> String| {
        let subjects = items(&binding["subjects"]).iter().filter(|subject| text(&subject["kind"]) == kind);
        json!(subjects.map(show).collect::<Vec<_>>().join(", "))
    };
    let plain = |subject: &Value| text(&subject["name"]).to_owned();
    vec![
        name(binding),
        json!(format!("{}/{}", text(&role["kind"]), text(&role["name"]))),
        age(binding, now),
        subjects("User", plain),
        subjects("Group", plain),
        subjects("ServiceAccount", |subject| format!("{}/{}", text(&subject["namespace"]), text(&subject["name"]))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_lists_its_subjects_by_kind() {
        let object = json!({
            "metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "admin"},
            "subjects": [
                {"kind": "User", "name": "x"}, {"kind": "User", "name": "y"}, {"kind": "Group", "name": "g"},
                {"kind": "ServiceAccount", "name": "s", "namespace": "n"},
            ],
        });
        assert_eq!(
            json!(binding(&object, Timestamp::UNIX_EPOCH)),
            json!(["b", "ClusterRole/admin", "<unknown>", "x, y", "g", "n/s"])
        );
    }
}
