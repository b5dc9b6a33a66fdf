//! Pods bound to nodes and pods evicted from them.

use serde_json::{Value, json};

use super::delete::DeleteOptions;
use super::input::read_object;
use super::write::{Tracking, Write, is_deleting, name_of, rfc3339};
use crate::api::{Api, Call, Reply};
use crate::error::{ApiError, FieldError, GroupKind, GroupResource};
use crate::render::to_bytes;
use crate::select::LabelSelector;
use crate::store::{Object, Transaction};

const BUDGETS: GroupResource = GroupResource::of("policy", "poddisruptionbudgets");

impl Api {
    /// Gives a pod its node: `pods/NAME/binding`.
    pub(crate) async fn bind(&self, call: &Call) -> Result<Reply, ApiError> {
        let write = Write::of(self, call)?;
        let binding = read_object(call, write.options.field_validation)?.object;
        let node = binding["target"]["name"].as_str().unwrap_or_default().to_owned();
        if node.is_empty() {
            let kind = GroupKind::of("", "Binding");
            let errors = vec![FieldError::required("target.name", "")];
            return Err(ApiError::Invalid { kind, name: call.name.clone().unwrap_or_default(), errors });
        }
        let name = call.name.clone().ok_or(ApiError::NoSuchResource)?;
        let mode = write.mode();
        let run = move |tx: &mut Transaction<'_>| {
            let old = write.find(tx, &name)?;
            let mut new = write.bound(&old, &node)?;
            write.track(Some(&old.value), &mut new, Tracking::Write);
            write.put(tx, new, Some(&old));
            Ok(())
        };
        self.store.write(mode, run).await?;
        Ok(Reply::json(201, to_bytes(&success())))
    }

    /// Deletes a pod if its disruption budgets allow: `pods/NAME/eviction`.
    pub(crate) async fn evict(&self, call: &Call) -> Result<Reply, ApiError> {
        let eviction = read_object(call, call.query.write_options()?.field_validation)?.object;
        let options = DeleteOptions::of_object(&eviction["deleteOptions"])?;
        let pod = call.object(&self.store)?;
        if !has_ended(&pod.value) && self.is_protected(&pod.value) {
            return Err(ApiError::TooManyRequests {
                message: "Cannot evict pod as it would violate the pod's disruption budget.".into(),
                retry_after_seconds: 10,
            });
        }
        self.delete_one(call, name_of(&pod.value), &options).await?;
        Ok(Reply::json(201, to_bytes(&success())))
    }

    /// Whether a budget says that this pod may not go now. One that nobody has counted for yet says nothing.
    fn is_protected(&self, pod: &Value) -> bool {
        let budgets = self.store.list(&BUDGETS, pod["metadata"]["namespace"].as_str());
        budgets.objects.iter().map(|budget| &budget.value).any(|budget| {
            LabelSelector::from_object(&budget["spec"]["selector"]).matches(pod)
                && budget["status"]["disruptionsAllowed"].as_i64().is_some_and(|allowed| allowed <= 0)
        })
    }
}

impl Write {
    fn bound(&self, old: &Object, node: &str) -> Result<Value, ApiError> {
        let name = name_of(&old.value);
        if is_deleting(&old.value) {
            return Err(self.conflict(name, format!("pod {name} is being deleted, cannot be assigned to a host")));
        }
        if let Some(current) = old.value["spec"]["nodeName"].as_str().filter(|current| !current.is_empty()) {
            return Err(self.conflict(name, format!("pod {name} is already assigned to node {current:?}")));
        }
        let mut new = old.value.clone();
        new["spec"]["nodeName"] = json!(node);
        let scheduled = json!({
            "type": "PodScheduled", "status": "True", "lastProbeTime": null,
            "lastTransitionTime": rfc3339(self.now),
        });
        let conditions = &mut new["status"]["conditions"];
        let mut list = conditions.as_array().cloned().unwrap_or_default();
        list.retain(|condition| condition["type"] != "PodScheduled");
        list.push(scheduled);
        *conditions = Value::Array(list);
        Ok(new)
    }
}

fn has_ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

fn success() -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 })
}
