//! What all writes have in common.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::admission::Admission;
use crate::api::{Api, Call, group_kind, group_resource, shaped, storage_of, write_mode};
use crate::auth::rbac::Grantor;
use crate::error::{ApiError, FieldError, GroupResource};
use crate::http::query::WriteOptions;
use crate::ids;
use crate::kinds::Resource;
use crate::patch::{Writer, track_update};
use crate::render::to_bytes;
use crate::store::{Key, Object, Transaction, WriteMode};

const NAMESPACES: GroupResource = GroupResource::of("", "namespaces");
/// Longest part of a generated name that its author chose.
const MAX_GENERATE_NAME: usize = 58;

/// A write of one object: where, how, by whom and when.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub resource: &'static Resource,
    pub namespace: Option<String>,
    pub subresource: Option<&'static str>,
    pub options: WriteOptions,
    /// Who owns the fields that are written.
    pub manager: String,
    pub now: Timestamp,
    pub admission: Arc<Admission>,
    /// Set if what is written can give somebody rights.
    pub grantor: Option<Grantor>,
}

/// Who records the owners of the fields that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tracking {
    /// The write does.
    Write,
    /// Server-side apply has done so.
    Done,
}

/// The outcome of a write.
#[derive(Debug)]
pub(super) struct Written {
    pub object: Arc<Object>,
    pub created: bool,
    /// What its author should know.
    pub warnings: Vec<String>,
}

impl Write {
    pub fn of(api: &Api, call: &Call) -> Result<Self, ApiError> {
        let options = call.query.write_options()?;
        Ok(Self {
            resource: call.resource,
            namespace: call.namespace.clone(),
            subresource: call.subresource.map(|sub| sub.name),
            manager: options.field_manager.clone().unwrap_or_else(|| call.agent.clone()),
            options,
            now: api.now(),
            admission: api.admission.clone(),
            grantor: Grantor::of(
                &api.store,
                &call.identity,
                &call.group_resource(),
                call.namespace.as_deref().unwrap_or_default(),
            ),
        })
    }

    pub fn mode(&self) -> WriteMode {
        write_mode(self.options.dry_run)
    }

    pub fn key(&self, name: &str) -> Key {
        let namespace = self.namespace.clone().unwrap_or_default();
        Key { resource: storage_of(self.resource), namespace, name: name.into() }
    }

    pub fn group_resource(&self) -> GroupResource {
        group_resource(self.resource)
    }

    pub fn not_found(&self, name: &str) -> ApiError {
        ApiError::NotFound { resource: self.group_resource(), name: name.into() }
    }

    pub fn conflict(&self, name: &str, why: impl Into<String>) -> ApiError {
        ApiError::Conflict { resource: self.group_resource(), name: name.into(), why: why.into() }
    }

    pub fn forbidden(&self, name: &str, why: impl Into<String>) -> ApiError {
        ApiError::Forbidden { resource: self.group_resource(), name: name.into(), why: why.into() }
    }

    /// The refusal of an object that breaks rules, if it does.
    pub fn check(&self, object: &Value, errors: Vec<FieldError>) -> Result<(), ApiError> {
        if errors.is_empty() {
            return Ok(());
        }
        Err(ApiError::Invalid { kind: group_kind(self.resource), name: name_of(object).to_owned(), errors })
    }

    /// Refuses an object that gives rights which its writer has not.
    pub fn check_grant(&self, object: &Value) -> Result<(), ApiError> {
        match self.grantor.as_ref().and_then(|grantor| grantor.objection(object)) {
            Some(why) => Err(self.forbidden(name_of(object), why)),
            None => Ok(()),
        }
    }

    /// Makes sure an object says it is of the namespace it is written to.
    pub fn claim_namespace(&self, object: &mut Value) -> Result<(), ApiError> {
        let metadata = metadata_mut(object);
        let given = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
        match self.namespace.as_deref() {
            None => drop(metadata.remove("namespace")),
            Some(namespace) if given.is_empty() || given == namespace => {
                metadata.insert("namespace".into(), json!(namespace));
            }
            Some(_) => {
                let why = "the namespace of the provided object does not match the namespace sent on the request";
                return Err(ApiError::bad_request(why));
            }
        }
        Ok(())
    }

    /// Refuses new objects in a namespace that is not there or on its way out.
    pub fn require_namespace(&self, tx: &Transaction<'_>, name: &str) -> Result<(), ApiError> {
        let Some(namespace) = &self.namespace else { return Ok(()) };
        let key = Key { resource: NAMESPACES, namespace: String::new(), name: namespace.clone() };
        let found = tx.get(&key).ok_or_else(|| ApiError::NotFound { resource: NAMESPACES, name: namespace.clone() })?;
        if found.value["metadata"]["deletionTimestamp"].is_null() {
            return Ok(());
        }
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        Err(self.forbidden(name, why))
    }

    /// Gives a new object what only the server decides: name, identity, time.
    pub fn stamp(&self, object: &mut Value, tx: &Transaction<'_>) -> Result<(), ApiError> {
        let given = |metadata: &Map<String, Value>, field: &str| {
            metadata.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let metadata = metadata_mut(object);
        if given(metadata, "resourceVersion").is_some_and(|version| version != "0") {
            return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
        }
        metadata.remove("resourceVersion");
        if let (None, Some(base)) = (given(metadata, "name"), given(metadata, "generateName")) {
            metadata.insert("name".into(), json!(self.generate_name(&base, tx)));
        }
        metadata.insert("uid".into(), json!(ids::new_uid()));
        metadata.insert("creationTimestamp".into(), json!(rfc3339(self.now)));
        Ok(())
    }

    fn generate_name(&self, base: &str, tx: &Transaction<'_>) -> String {
        let cut = base.char_indices().map(|(at, _)| at).find(|at| *at >= MAX_GENERATE_NAME).unwrap_or(base.len());
        let mut names = std::iter::repeat_with(|| format!("{}{}", &base[..cut], ids::name_suffix()));
        // With fourteen million suffixes a few tries find a free one; if not, the caller is told of the collision.
        names.by_ref().take(8).find(|name| tx.get(&self.key(name)).is_none()).unwrap_or_else(|| base.to_owned())
    }

    /// Who writes, as the owners of fields are recorded.
    pub fn writer(&self) -> Writer<'_> {
        Writer { manager: &self.manager, subresource: self.subresource, now: self.now }
    }

    /// Records who owns the fields that differ between `old` and `new`.
    pub fn track(&self, old: Option<&Value>, new: &mut Value, tracking: Tracking) {
        if tracking == Tracking::Write {
            track_update(self.resource.schema(), old, new, &self.writer());
        }
    }

    /// The newest version of an object.
    pub fn find(&self, tx: &Transaction<'_>, name: &str) -> Result<Arc<Object>, ApiError> {
        let found = tx.get(&self.key(name)).ok_or_else(|| self.not_found(name))?;
        Ok(shaped(self.resource, found))
    }

    /// Stores a new version. A dry run returns what would have been stored, under the old revision.
    pub fn put(&self, tx: &mut Transaction<'_>, mut value: Value, old: Option<&Object>) -> Arc<Object> {
        match self.mode() {
            WriteMode::Persist => {
                self.resource.to_stored(&mut value);
                shaped(self.resource, tx.put(self.key(name_of(&value)), value))
            }
            WriteMode::DryRun => unsaved(value, old.map_or(0, |old| old.revision)),
        }
    }

    /// Removes an object; `last` is how it is seen a last time.
    pub fn remove(&self, tx: &mut Transaction<'_>, mut last: Value, old: &Object) -> Arc<Object> {
        match self.mode() {
            WriteMode::Persist => {
                self.resource.to_stored(&mut last);
                let removed = tx.delete(self.key(name_of(&last)), last);
                self.after_removal(tx, &removed.value);
                shaped(self.resource, removed)
            }
            WriteMode::DryRun => unsaved(last, old.revision),
        }
    }
}

/// An object that is not in the store.
pub(super) fn unsaved(mut value: Value, revision: u64) -> Arc<Object> {
    match revision {
        0 => drop(metadata_mut(&mut value).remove("resourceVersion")),
        _ => value["metadata"]["resourceVersion"] = json!(revision.to_string()),
    }
    Arc::new(Object { revision, json: to_bytes(&value), value })
}

pub(super) fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The metadata of an object, made if it has none. The object must be a JSON object.
pub(super) fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    let metadata = &mut object["metadata"];
    if !metadata.is_object() {
        *metadata = json!({});
    }
    match metadata {
        Value::Object(metadata) => metadata,
        _ => unreachable!("made an object above"),
    }
}

/// A time as the API writes it, to the second.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Whether the object has been deleted and waits for its end.
pub(super) fn is_deleting(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// Whether nothing holds a deleted object any more.
pub(super) fn may_go(resource: &Resource, object: &Value) -> bool {
    let none = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    none(&object["metadata"]["finalizers"]) && (!is_namespace(resource) || none(&object["spec"]["finalizers"]))
}

pub(crate) fn is_namespace(resource: &Resource) -> bool {
    group_resource(resource) == NAMESPACES
}

pub(super) fn is_pod(resource: &Resource) -> bool {
    group_resource(resource) == GroupResource::of("", "pods")
}
