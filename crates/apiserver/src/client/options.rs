//! What a request may ask for besides the object.

use serde::Serialize;
use serde_json::{Value, json};

use super::Gvr;

/// Which objects to list or watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Label selector, as in `app=web,tier in (a,b)`.
    pub label_selector: Option<String>,
    /// Field selector, as in `spec.nodeName=node1`.
    pub field_selector: Option<String>,
}

impl ListOptions {
    /// Only objects with these labels.
    pub fn labels(selector: &str) -> Self {
        Self { label_selector: Some(selector.to_owned()), ..Self::default() }
    }

    /// Only objects with these field values.
    pub fn fields(selector: &str) -> Self {
        Self { field_selector: Some(selector.to_owned()), ..Self::default() }
    }

    pub(super) fn queries(&self) -> Vec<(&'static str, String)> {
        let parameters = [("labelSelector", &self.label_selector), ("fieldSelector", &self.field_selector)];
        parameters.into_iter().filter_map(|(key, value)| value.clone().map(|value| (key, value))).collect()
    }
}

/// The objects of a kind at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct List {
    /// The objects, each with `apiVersion` and `kind`.
    pub items: Vec<Value>,
    /// The moment, for a watch that goes on from here.
    pub resource_version: String,
}

impl List {
    pub(super) fn from_answer(mut answer: Value, gvr: &Gvr) -> Self {
        let resource_version = answer["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let mut items = match answer["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            // Items of a built-in list need not carry their type.
            item.entry("apiVersion").or_insert_with(|| json!(gvr.api_version()));
            item.entry("kind").or_insert_with(|| json!(gvr.kind));
        }
        Self { items, resource_version }
    }
}

/// What becomes of the objects an object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Propagation {
    /// They are deleted after it.
    Background,
    /// They are deleted before it.
    Foreground,
    /// They stay.
    Orphan,
}

/// How to delete; the default leaves everything to the kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteOptions {
    /// Seconds a pod has to end; 0 removes the object at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_period_seconds: Option<u32>,
    /// What becomes of owned objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagation_policy: Option<Propagation>,
    /// What must hold for the deletion to happen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preconditions: Option<Preconditions>,
}

/// What must hold for a deletion to happen; otherwise it is a conflict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preconditions {
    /// It is this very object and not a successor of the same name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// It has not changed since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

impl DeleteOptions {
    /// Remove at once, without grace.
    pub fn now() -> Self {
        Self { grace_period_seconds: Some(0), ..Self::default() }
    }

    /// Decide what becomes of owned objects.
    pub fn propagation(policy: Propagation) -> Self {
        Self { propagation_policy: Some(policy), ..Self::default() }
    }

    /// Only if it is this very object.
    pub fn with_uid(mut self, uid: &str) -> Self {
        self.preconditions.get_or_insert_default().uid = Some(uid.to_owned());
        self
    }

    /// Only if it has not changed since.
    pub fn with_resource_version(mut self, resource_version: &str) -> Self {
        self.preconditions.get_or_insert_default().resource_version = Some(resource_version.to_owned());
        self
    }
}

/// A change to part of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Patch {
    /// RFC 7386.
    Merge(Value),
    /// RFC 6902.
    Json(Value),
    /// Kubernetes' strategic merge: lists merge by their key.
    Strategic(Value),
    /// Server-side apply.
    Apply {
        /// The whole intention, with `apiVersion`, `kind` and name.
        object: Value,
        /// Whose intention it is.
        manager: String,
        /// Whether to take over fields others manage.
        force: bool,
    },
}

impl Patch {
    pub(super) fn content_type(&self) -> &'static str {
        match self {
            Self::Merge(_) => "application/merge-patch+json",
            Self::Json(_) => "application/json-patch+json",
            Self::Strategic(_) => "application/strategic-merge-patch+json",
            Self::Apply { .. } => "application/apply-patch+yaml",
        }
    }

    pub(super) fn body(&self) -> &Value {
        match self {
            Self::Merge(body) | Self::Json(body) | Self::Strategic(body) | Self::Apply { object: body, .. } => body,
        }
    }

    pub(super) fn queries(&self, client_manager: &str) -> Vec<(&'static str, String)> {
        match self {
            Self::Apply { manager, force, .. } => {
                vec![("fieldManager", manager.clone()), ("force", force.to_string())]
            }
            Self::Merge(_) | Self::Json(_) | Self::Strategic(_) => vec![("fieldManager", client_manager.to_owned())],
        }
    }
}

/// Which part of a container's log to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The container; may be left out when the pod has one.
    pub container: Option<String>,
    /// Only so many last lines.
    pub tail_lines: Option<u32>,
    /// The container's previous run.
    pub previous: bool,
}

impl LogOptions {
    pub(super) fn queries(&self) -> Vec<(&'static str, String)> {
        let mut parameters = Vec::new();
        parameters.extend(self.container.clone().map(|container| ("container", container)));
        parameters.extend(self.tail_lines.map(|lines| ("tailLines", lines.to_string())));
        parameters.extend(self.previous.then(|| ("previous", "true".to_owned())));
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::super::PODS;
    use super::*;

    #[test]
    fn delete_options_write_only_what_is_set() {
        assert_eq!(serde_json::to_value(DeleteOptions::default()).unwrap(), json!({}));
        let options = DeleteOptions::propagation(Propagation::Foreground).with_uid("u1");
        let expected = json!({"propagationPolicy": "Foreground", "preconditions": {"uid": "u1"}});
        assert_eq!(serde_json::to_value(options).unwrap(), expected);
    }

    #[test]
    fn list_items_get_the_type_the_list_left_out() {
        let answer = json!({"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "a"}}]});
        let item = json!({"metadata": {"name": "a"}, "apiVersion": "v1", "kind": "Pod"});
        assert_eq!(List::from_answer(answer, &PODS), List { items: vec![item], resource_version: "7".into() });
    }

    #[test]
    fn apply_names_its_own_manager() {
        let patch = Patch::Apply { object: json!({}), manager: "me".into(), force: true };
        assert_eq!(patch.queries("client"), [("fieldManager", "me".to_owned()), ("force", "true".to_owned())]);
        assert_eq!(Patch::Merge(json!({})).queries("client"), [("fieldManager", "client".to_owned())]);
    }
}
