//! The end of objects: at once, after their grace, or when nothing holds them any more.

use std::sync::Arc;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::list::Filter;
use super::write::{Write, is_deleting, is_namespace, is_pod, may_go, metadata_mut, name_of, rfc3339};
use crate::api::{Api, Call, Reply, group_resource};
use crate::error::{ApiError, FieldError, GroupKind, GroupResource};
use crate::render::{ListMeta, to_bytes};
use crate::schema::decode_body;
use crate::store::{Object, Transaction};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// Namespaces without which nothing works.
const IMMORTAL_NAMESPACES: [&str; 3] = ["default", "kube-system", "kube-public"];
/// Resources whose deletion answers with the object instead of a `Status`.
const RETURNED: &[GroupResource] = &[
    GroupResource::of("", "pods"),
    GroupResource::of("", "services"),
    GroupResource::of("", "serviceaccounts"),
    GroupResource::of("", "persistentvolumes"),
    GroupResource::of("", "persistentvolumeclaims"),
    GroupResource::of("", "resourcequotas"),
];

/// How an object is to be deleted.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct DeleteOptions {
    pub grace_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub dry_run: bool,
}

/// What becomes of the objects an object owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// The outcome of a deletion.
#[derive(Debug)]
pub(super) struct Deleted {
    pub object: Arc<Object>,
    /// Whether it is gone already.
    pub gone: bool,
}

impl Api {
    pub(crate) async fn delete(&self, call: &Call) -> Result<Reply, ApiError> {
        let options = DeleteOptions::read(call)?;
        let name = call.name.clone().ok_or(ApiError::NoSuchResource)?;
        let deleted = self.delete_one(call, &name, &options).await?;
        let resource = group_resource(call.resource);
        if !deleted.gone || RETURNED.contains(&resource) {
            return Ok(call.reply(200, &deleted.object, self.now()));
        }
        Ok(Reply::json(200, to_bytes(&success_status(&resource, &deleted.object.value))))
    }

    pub(crate) async fn delete_collection(&self, call: &Call) -> Result<Reply, ApiError> {
        let (list, options) = (call.query.list_options()?, DeleteOptions::read(call)?);
        let filter = Filter::of(call, &list)?;
        let snapshot = call.objects(&self.store);
        let chosen = snapshot.objects.iter().filter(|object| filter.matches(&object.value));
        let deletions = chosen.map(|object| self.delete_found(call, &object.value, &options));
        let mut deleted = Vec::new();
        for outcome in join_all(deletions).await {
            match outcome {
                Ok(outcome) => deleted.push(outcome.object),
                // Somebody else was faster.
                Err(ApiError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let meta = ListMeta { resource_version: self.store.revision(), ..ListMeta::default() };
        Ok(Reply::json(200, call.renderer().list(deleted.iter().map(AsRef::as_ref), &meta, self.now())))
    }

    async fn delete_found(&self, call: &Call, object: &Value, options: &DeleteOptions) -> Result<Deleted, ApiError> {
        let mut write = Write::of(self, call)?;
        write.namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
        self.run_delete(write, name_of(object), options).await
    }

    pub(super) async fn delete_one(
        &self,
        call: &Call,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        self.run_delete(Write::of(self, call)?, name, options).await
    }

    async fn run_delete(&self, mut write: Write, name: &str, options: &DeleteOptions) -> Result<Deleted, ApiError> {
        write.options.dry_run |= options.dry_run;
        let (name, options) = (name.to_owned(), options.clone());
        let mode = write.mode();
        self.store.write(mode, move |tx| write.delete(tx, &name, &options)).await
    }
}

impl DeleteOptions {
    /// The options in the body, or in the query if there is no body.
    pub fn read(call: &Call) -> Result<Self, ApiError> {
        let dry_run = call.query.dry_run()?;
        if !call.body.is_empty() {
            let body = decode_body(call.content_type.as_deref(), &call.body)?.value;
            let options = Self::of_object(&body)?;
            return Ok(Self { dry_run: dry_run || options.dry_run, ..options });
        }
        let text = |name| call.query.text(name).map_or(Value::Null, |text| json!(text));
        let grace: Option<i64> = call.query.number("gracePeriodSeconds")?;
        let options = json!({
            "gracePeriodSeconds": grace,
            "propagationPolicy": text("propagationPolicy"),
            "orphanDependents": call.query.flag("orphanDependents"),
        });
        Ok(Self { dry_run, ..Self::of_object(&options)? })
    }

    pub fn of_object(options: &Value) -> Result<Self, ApiError> {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let propagation = match (options["propagationPolicy"].as_str(), options["orphanDependents"].as_bool()) {
            (None | Some(""), None) => None,
            (None | Some(""), Some(true)) | (Some("Orphan"), None) => Some(Propagation::Orphan),
            (None | Some(""), Some(false)) | (Some("Background"), None) => Some(Propagation::Background),
            (Some("Foreground"), None) => Some(Propagation::Foreground),
            (Some(_), Some(_)) => {
                let why = "orphanDependents and deletionPropagation cannot be both set";
                return Err(invalid(FieldError::invalid(
                    "propagationPolicy",
                    options["propagationPolicy"].clone(),
                    why,
                )));
            }
            (Some(other), None) => {
                let supported = ["Foreground", "Background", "Orphan"];
                return Err(invalid(FieldError::not_supported("propagationPolicy", other, &supported)));
            }
        };
        Ok(Self {
            grace_seconds: options["gracePeriodSeconds"].as_i64(),
            propagation,
            uid: text(&options["preconditions"]["uid"]),
            resource_version: text(&options["preconditions"]["resourceVersion"]),
            dry_run: options["dryRun"].as_array().is_some_and(|list| !list.is_empty()),
        })
    }
}

impl Write {
    /// Deletes an object, or marks it as deleted as long as something holds it.
    pub(super) fn delete(
        &self,
        tx: &mut Transaction<'_>,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        let old = self.find(tx, name)?;
        if is_namespace(self.resource) && IMMORTAL_NAMESPACES.contains(&name) {
            return Err(self.forbidden(name, "this namespace may not be deleted"));
        }
        self.check_delete_preconditions(&old, options)?;
        let mut object = old.value.clone();
        set_dependents_finalizer(&mut object, options.propagation);
        self.end_objects(tx, &old.value, &mut object);
        let grace = if is_pod(self.resource) { pod_grace(&object, options.grace_seconds) } else { Grace::Ends };
        if grace == Grace::Ends && may_go(self.resource, &object) {
            self.admission.release(tx, self.resource, &old.value, self.mode());
            return Ok(Deleted { object: self.remove(tx, object, &old), gone: true });
        }
        self.mark_deleted(&mut object, grace);
        if object == old.value {
            return Ok(Deleted { object: old, gone: false });
        }
        Ok(Deleted { object: self.put(tx, object, Some(&old)), gone: false })
    }

    fn check_delete_preconditions(&self, old: &Object, options: &DeleteOptions) -> Result<(), ApiError> {
        let metadata = &old.value["metadata"];
        let checks = [("UID", "uid", &options.uid), ("ResourceVersion", "resourceVersion", &options.resource_version)];
        for (title, field, wanted) in checks {
            let found = metadata[field].as_str().unwrap_or_default();
            if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
                let why =
                    format!("Precondition failed: {title} in precondition: {wanted}, {title} in object meta: {found}");
                return Err(self.conflict(name_of(&old.value), why));
            }
        }
        Ok(())
    }

    fn mark_deleted(&self, object: &mut Value, grace: Grace) {
        let already = is_deleting(object);
        let (seconds, ends) = match grace {
            Grace::Ends if already => (0, None),
            Grace::Ends => (0, Some(self.now)),
            Grace::Unchanged => return,
            Grace::Seconds { seconds, ends } => (seconds, ends.or_else(|| after(self.now, seconds))),
        };
        let metadata = metadata_mut(object);
        if let Some(ends) = ends {
            metadata.insert("deletionTimestamp".into(), json!(rfc3339(ends)));
        }
        metadata.insert("deletionGracePeriodSeconds".into(), json!(seconds));
        if let Some(generation) = metadata.get("generation").and_then(Value::as_i64).filter(|_| !already) {
            metadata.insert("generation".into(), json!(generation + 1));
        }
        if is_namespace(self.resource) {
            object["status"]["phase"] = json!("Terminating");
        }
    }
}

/// How long a deleted pod may still run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grace {
    /// Not at all.
    Ends,
    /// It has been deleted before, and this deletion does not shorten its time.
    Unchanged,
    /// So long; until then, where an earlier deletion had set another time.
    Seconds { seconds: i64, ends: Option<Timestamp> },
}

fn pod_grace(pod: &Value, asked: Option<i64>) -> Grace {
    let never_ran = pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let has_ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if never_ran || has_ended {
        return Grace::Ends;
    }
    // Less than nothing means as soon as the node can.
    let positive = |seconds: i64| if seconds < 0 { 1 } else { seconds };
    if is_deleting(pod) {
        let current = pod["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        return match asked.map(positive) {
            Some(0) => Grace::Ends,
            Some(seconds) if seconds < current => {
                let ends = pod["metadata"]["deletionTimestamp"].as_str().and_then(|text| text.parse().ok());
                Grace::Seconds { seconds, ends: ends.and_then(|ends| after(ends, seconds - current)) }
            }
            _ if current == 0 => Grace::Ends,
            _ => Grace::Unchanged,
        };
    }
    match positive(asked.or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30)) {
        0 => Grace::Ends,
        seconds => Grace::Seconds { seconds, ends: None },
    }
}

fn after(time: Timestamp, seconds: i64) -> Option<Timestamp> {
    time.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// Writes down what is to become of the objects this one owns: the garbage collector reads it from the finalizers.
fn set_dependents_finalizer(object: &mut Value, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    let metadata = metadata_mut(object);
    let mut finalizers = metadata.remove("finalizers").and_then(|list| list.as_array().cloned()).unwrap_or_default();
    finalizers.retain(|name| *name != ORPHAN && *name != FOREGROUND);
    match propagation {
        Propagation::Background => {}
        Propagation::Foreground => finalizers.push(json!(FOREGROUND)),
        Propagation::Orphan => finalizers.push(json!(ORPHAN)),
    }
    if !finalizers.is_empty() {
        metadata.insert("finalizers".into(), Value::Array(finalizers));
    }
}

fn success_status(resource: &GroupResource, object: &Value) -> Value {
    let mut details = json!({ "name": name_of(object) });
    if !resource.group.is_empty() {
        details["group"] = json!(resource.group);
    }
    details["kind"] = json!(resource.resource);
    details["uid"] = object["metadata"]["uid"].clone();
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}

fn invalid(error: FieldError) -> ApiError {
    let kind = GroupKind::of("meta.k8s.io", "DeleteOptions");
    ApiError::Invalid { kind, name: String::new(), errors: vec![error] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(metadata: &Value, phase: &str) -> Value {
        json!({
            "metadata": metadata,
            "spec": { "nodeName": "node1", "terminationGracePeriodSeconds": 20 },
            "status": { "phase": phase },
        })
    }

    #[test]
    fn a_pod_has_the_grace_it_asked_for_unless_told_otherwise() {
        let running = pod(&json!({}), "Running");
        assert_eq!(pod_grace(&running, None), Grace::Seconds { seconds: 20, ends: None });
        assert_eq!(pod_grace(&running, Some(5)), Grace::Seconds { seconds: 5, ends: None });
        assert_eq!(pod_grace(&running, Some(-1)), Grace::Seconds { seconds: 1, ends: None });
        assert_eq!(pod_grace(&running, Some(0)), Grace::Ends);
    }

    #[test]
    fn a_pod_that_does_not_run_needs_no_grace() {
        assert_eq!(pod_grace(&pod(&json!({}), "Succeeded"), Some(30)), Grace::Ends);
        let mut unscheduled = pod(&json!({}), "Pending");
        unscheduled["spec"]["nodeName"] = json!("");
        assert_eq!(pod_grace(&unscheduled, Some(30)), Grace::Ends);
    }

    #[test]
    fn a_second_deletion_may_only_shorten_the_grace() {
        let deleted = json!({ "deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30 });
        let pod = pod(&deleted, "Running");
        assert_eq!(pod_grace(&pod, None), Grace::Unchanged);
        assert_eq!(pod_grace(&pod, Some(60)), Grace::Unchanged);
        let ends = Some("2026-01-01T00:00:10Z".parse().unwrap());
        assert_eq!(pod_grace(&pod, Some(10)), Grace::Seconds { seconds: 10, ends });
        assert_eq!(pod_grace(&pod, Some(0)), Grace::Ends);
    }

    #[test]
    fn propagation_is_one_finalizer_or_none() {
        let finalizers = |propagation| {
            let mut object = json!({ "metadata": { "finalizers": ["orphan", "example.com/mine"] } });
            set_dependents_finalizer(&mut object, propagation);
            object["metadata"]["finalizers"].clone()
        };
        assert_eq!(finalizers(None), json!(["orphan", "example.com/mine"]));
        assert_eq!(finalizers(Some(Propagation::Background)), json!(["example.com/mine"]));
        assert_eq!(finalizers(Some(Propagation::Foreground)), json!(["example.com/mine", FOREGROUND]));
        assert_eq!(finalizers(Some(Propagation::Orphan)), json!(["example.com/mine", ORPHAN]));
    }

    #[test]
    fn contradicting_options_are_refused() {
        let both = json!({ "propagationPolicy": "Orphan", "orphanDependents": true });
        assert_eq!(DeleteOptions::of_object(&both).unwrap_err().code(), 422);
        let unknown = json!({ "propagationPolicy": "Sideways" });
        assert_eq!(
            DeleteOptions::of_object(&unknown).unwrap_err().to_string(),
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Sideways\": \
             supported values: \"Foreground\", \"Background\", \"Orphan\""
        );
    }
}
