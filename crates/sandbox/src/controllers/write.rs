//! Writes as values: planned by pure functions, carried out here and seen by the caches at once.

use apiserver::client::{Client, ClientError, DeleteOptions, Gvr, ObjectKey, Patch};
use futures::StreamExt as _;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{kind::Kind, stores::Stores};

/// Writes of one reconcile in flight at once.
const PARALLEL: usize = 16;

/// One change to the cluster.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Write {
    /// A new object; its metadata say where.
    Create { gvr: Gvr, object: Value },
    /// A merge patch of what changed.
    Patch { gvr: Gvr, key: ObjectKey, part: Part, patch: Value },
    /// The end of this very object.
    Delete { gvr: Gvr, key: ObjectKey, uid: String, options: DeleteOptions },
}

/// Which part of an object a patch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Everything but the status.
    Object,
    /// The status alone.
    Status,
}

impl Write {
    /// A new object.
    pub(super) fn create<K: Kind>(object: &K) -> Self {
        Self::Create { gvr: K::GVR, object: to_value(object) }
    }

    /// What has to be patched to turn `old` into `new`; nothing if they are equal. A conflict if `old` is outdated.
    pub(super) fn update<K: Kind>(old: &K, new: &K) -> Option<Self> {
        let mut patch = merge_difference(&to_value(old), &to_value(new))?;
        if let Some(version) = &old.metadata().resource_version {
            patch["metadata"]["resourceVersion"] = json!(version);
        }
        Some(Self::Patch { gvr: K::GVR, key: old.key(), part: Part::Object, patch })
    }

    /// The same for the status, whoever wrote last.
    pub(super) fn update_status<K: Kind>(old: &K, new: &K) -> Option<Self> {
        let patch = merge_difference(&to_value(old), &to_value(new))?;
        Some(Self::Patch { gvr: K::GVR, key: old.key(), part: Part::Status, patch })
    }

    /// The end of an object, as its kind ends.
    pub(super) fn delete<K: Kind>(object: &K) -> Self {
        Self::delete_with(object, DeleteOptions::default())
    }

    /// The end of an object in a certain way.
    pub(super) fn delete_with<K: Kind>(object: &K, options: DeleteOptions) -> Self {
        let uid = object.uid().to_owned();
        Self::Delete { gvr: K::GVR, key: object.key(), options: options.with_uid(&uid), uid }
    }
}

/// Carries out writes under the name of one controller.
#[derive(Clone)]
pub(super) struct Writer {
    client: Client,
    stores: Stores,
}

impl Writer {
    pub(super) fn new(client: &Client, stores: &Stores, manager: &str) -> Self {
        Self { client: client.as_manager(manager), stores: stores.clone() }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Carries out one write and returns the object as stored; `Null` if it is gone.
    pub(super) async fn apply(&self, write: Write) -> Result<Value, ClientError> {
        match write {
            Write::Create { gvr, object } => {
                let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
                let created = self.client.create(&gvr, namespace, &object).await?;
                Ok(self.observed(&gvr, created))
            }
            Write::Patch { gvr, key, part, patch } => {
                let patch = Patch::Merge(patch);
                let patched = match part {
                    Part::Object => self.client.patch(&gvr, &key.namespace, &key.name, &patch).await?,
                    Part::Status => self.client.patch_status(&gvr, &key.namespace, &key.name, &patch).await?,
                };
                Ok(self.observed(&gvr, patched))
            }
            Write::Delete { gvr, key, uid, options } => self.delete(&gvr, &key, &uid, &options).await,
        }
    }

    /// Carries out all writes, some at a time.
    pub(super) async fn apply_all(&self, writes: Vec<Write>) -> Result<(), ClientError> {
        together(writes.into_iter().map(|write| self.apply(write)).collect()).await
    }

    async fn delete(
        &self,
        gvr: &Gvr,
        key: &ObjectKey,
        uid: &str,
        options: &DeleteOptions,
    ) -> Result<Value, ClientError> {
        match self.client.delete(gvr, &key.namespace, &key.name, options).await {
            Ok(dying) if dying["metadata"]["deletionTimestamp"].is_string() => Ok(self.observed(gvr, dying)),
            Ok(_) => {
                self.stores.observe_deleted(gvr, key, uid);
                Ok(Value::Null)
            }
            Err(error) if error.is_not_found() => {
                self.stores.observe_deleted(gvr, key, uid);
                Ok(Value::Null)
            }
            Err(error) => Err(error),
        }
    }

    fn observed(&self, gvr: &Gvr, object: Value) -> Value {
        self.stores.observe(gvr, object.clone());
        object
    }
}

/// Does all of it, some at a time; a failure stops nothing, and the first one is returned.
pub(super) async fn together<T>(work: Vec<impl Future<Output = Result<T, ClientError>>>) -> Result<(), ClientError> {
    let mut outcome = Ok(());
    let mut running = futures::stream::iter(work).buffer_unordered(PARALLEL);
    while let Some(result) = running.next().await {
        outcome = outcome.and(result.map(drop));
    }
    outcome
}

/// The merge patch (RFC 7386) that turns `old` into `new`; `None` if there is nothing to change.
pub(super) fn merge_difference(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, wanted) in new {
        let change = match old.get(key) {
            Some(present) => merge_difference(present, wanted),
            None => Some(wanted.clone()),
        };
        patch.extend(change.map(|change| (key.clone(), change)));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// The JSON form of an API object.
pub(super) fn to_value(object: &impl Serialize) -> Value {
    // Their maps have text keys only, which is all that can fail when writing to a value.
    serde_json::to_value(object).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};

    use super::*;

    #[test]
    fn difference_removes_adds_and_descends() {
        let old = json!({"a": 1, "b": {"c": 1, "d": [1]}, "e": 5});
        let new = json!({"b": {"c": 1, "d": [2]}, "e": 5, "f": {}});
        assert_eq!(merge_difference(&old, &new), Some(json!({"a": null, "b": {"d": [2]}, "f": {}})));
        assert_eq!(merge_difference(&old, &old), None);
    }

    #[test]
    fn update_carries_the_version_it_was_based_on() {
        let metadata = |label: &str| ObjectMeta {
            name: Some("web".into()),
            namespace: Some("shop".into()),
            resource_version: Some("7".into()),
            labels: Some([("a".to_owned(), label.to_owned())].into()),
            ..ObjectMeta::default()
        };
        let pod = |label| Pod { metadata: metadata(label), ..Pod::default() };
        let patch = json!({"metadata": {"labels": {"a": "2"}, "resourceVersion": "7"}});
        let expected = Write::Patch { gvr: Pod::GVR, key: ObjectKey::new("shop", "web"), part: Part::Object, patch };
        assert_eq!(Write::update(&pod("1"), &pod("2")), Some(expected));
        assert_eq!(Write::update(&pod("1"), &pod("1")), None);
    }
}
