//! Definitions of kinds as they are written: what the server says of them, and the end of their objects.

use serde_json::{Value, json};

use super::write::{Write, is_deleting, metadata_mut, name_of, rfc3339};
use crate::api::group_resource;
use crate::catalog::DEFINITIONS;
use crate::error::{ApiError, GroupResource};
use crate::kinds::definition::{is_established, mark_terminating, settle_status};
use crate::store::{Key, Transaction, WriteMode};

/// Holds a definition until its objects are gone.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

impl Write {
    fn is_definition(&self) -> bool {
        group_resource(self.resource) == DEFINITIONS
    }

    /// Says in a definition what the server makes of it. Other objects stay as they are.
    pub(super) fn settle_definition(&self, tx: &Transaction<'_>, definition: &mut Value) {
        if !self.is_definition() || self.subresource.is_some() {
            return;
        }
        let stored = tx.list(&DEFINITIONS);
        let others: Vec<&Value> =
            stored.iter().map(|other| &other.value).filter(|other| name_of(other) != name_of(definition)).collect();
        settle_status(definition, &others, &rfc3339(self.now));
    }

    /// Refuses new objects of a kind that is on its way out.
    pub(super) fn require_kind(&self, tx: &Transaction<'_>) -> Result<(), ApiError> {
        let Some(custom) = self.resource.custom else { return Ok(()) };
        match tx.get(&key_of(&custom.definition)) {
            Some(definition) if !is_deleting(&definition.value) => Ok(()),
            Some(_) => Err(ApiError::MethodNotAllowed { resource: Some(self.group_resource()) }),
            None => Err(ApiError::NoSuchResource),
        }
    }

    /// Ends the objects of a kind whose definition, `old`, is deleted. Those that something holds are marked, and hold
    /// the definition, which is `definition`, in turn.
    pub(super) fn end_objects(&self, tx: &mut Transaction<'_>, old: &Value, definition: &mut Value) {
        if !self.is_definition() || self.mode() == WriteMode::DryRun {
            return;
        }
        if self.delete_objects(tx, &kind_of(old)) > 0 {
            let mut names = finalizers(definition).to_vec();
            if !names.contains(&json!(CLEANUP)) {
                names.push(json!(CLEANUP));
            }
            metadata_mut(definition).insert("finalizers".into(), Value::Array(names));
            mark_terminating(definition, &rfc3339(self.now));
        }
    }

    /// Deletes all objects of a kind and returns how many stay because of their finalizers.
    fn delete_objects(&self, tx: &mut Transaction<'_>, resource: &GroupResource) -> usize {
        let mut held = 0;
        for object in tx.list(resource) {
            let namespace = object.value["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
            let key = Key { resource: resource.clone(), namespace, name: name_of(&object.value).to_owned() };
            let mut value = object.value.clone();
            if finalizers(&value).is_empty() {
                tx.delete(key, value);
                continue;
            }
            held += 1;
            if !is_deleting(&value) {
                let metadata = metadata_mut(&mut value);
                metadata.insert("deletionTimestamp".into(), json!(rfc3339(self.now)));
                metadata.insert("deletionGracePeriodSeconds".into(), json!(0));
                tx.put(key, value);
            }
        }
        held
    }

    /// Ends what waited for the object that has just been removed: the definition of its kind, if it was the last of a
    /// kind that is on its way out; the wait for a name, if it was a definition.
    pub(super) fn after_removal(&self, tx: &mut Transaction<'_>, removed: &Value) {
        if self.is_definition() {
            self.settle_waiting(tx, removed);
        }
        if let Some(custom) = self.resource.custom {
            self.end_definition(tx, &custom.definition);
        }
    }

    fn end_definition(&self, tx: &mut Transaction<'_>, name: &str) {
        let Some(definition) = tx.get(&key_of(name)).filter(|definition| is_deleting(&definition.value)) else {
            return;
        };
        if !tx.list(&self.group_resource()).is_empty() {
            return;
        }
        let mut value = definition.value.clone();
        let rest: Vec<Value> = finalizers(&value).iter().filter(|name| **name != CLEANUP).cloned().collect();
        let gone = rest.is_empty();
        metadata_mut(&mut value).insert("finalizers".into(), Value::Array(rest));
        if gone {
            tx.delete(key_of(name), value.clone());
            self.settle_waiting(tx, &value);
        } else {
            tx.put(key_of(name), value);
        }
    }

    /// Lets definitions that waited for a name of `removed` have it.
    fn settle_waiting(&self, tx: &mut Transaction<'_>, removed: &Value) {
        for waiting in tx.list(&DEFINITIONS) {
            let same_group = waiting.value["spec"]["group"] == removed["spec"]["group"];
            if !same_group || is_established(&waiting.value) {
                continue;
            }
            let stored = tx.list(&DEFINITIONS);
            let name = name_of(&waiting.value).to_owned();
            let others: Vec<&Value> =
                stored.iter().map(|other| &other.value).filter(|other| name_of(other) != name).collect();
            let mut value = waiting.value.clone();
            settle_status(&mut value, &others, &rfc3339(self.now));
            if value != waiting.value {
                tx.put(key_of(&name), value);
            }
        }
    }
}

fn finalizers(object: &Value) -> &[Value] {
    object["metadata"]["finalizers"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn key_of(definition: &str) -> Key {
    Key { resource: DEFINITIONS, namespace: String::new(), name: definition.to_owned() }
}

/// Where objects of a definition's kind are stored.
fn kind_of(definition: &Value) -> GroupResource {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let spec = &definition["spec"];
    GroupResource { group: text(&spec["group"]).into(), resource: text(&spec["names"]["plural"]).into() }
}
