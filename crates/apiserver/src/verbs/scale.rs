//! The `scale` subresource: how many replicas, whatever the kind (`autoscaling/v1`).

use serde_json::{Value, json};

use super::input::read_object;
use super::update::Patch;
use super::write::{Tracking, Write, name_of};
use crate::api::{Api, Call, Reply};
use crate::error::{ApiError, FieldError, GroupKind};
use crate::http::route::Verb;
use crate::kinds::Resource;
use crate::kinds::custom::ScalePaths;
use crate::render::to_bytes;
use crate::schema::Gvk;
use crate::select::LabelSelector;
use crate::store::{Object, Transaction};

const SCALE: Gvk<'static> = Gvk::new("autoscaling", "v1", "Scale");

/// A change of the scale.
enum Change {
    Replace(Value),
    Patch(Patch),
}

impl Api {
    pub(crate) async fn scale(&self, call: &Call) -> Result<Reply, ApiError> {
        let change = match call.verb {
            Verb::Get => {
                let object = call.object(&self.store)?;
                return Ok(Reply::json(200, to_bytes(&scale_of(call.resource, &object.value))));
            }
            Verb::Update => Change::Replace(read_object(call, call.query.write_options()?.field_validation)?.object),
            Verb::Patch => Change::Patch(Patch::read(call)?),
            _ => return Err(ApiError::MethodNotAllowed { resource: Some(call.group_resource()) }),
        };
        let write = Write::of(self, call)?;
        let name = call.name.clone().ok_or(ApiError::NoSuchResource)?;
        let mode = write.mode();
        let run = move |tx: &mut Transaction<'_>| {
            let old = write.find(tx, &name)?;
            let new = scaled(write.resource, &old, change)?;
            write.replace(tx, new, &old, Tracking::Write)
        };
        let written = self.store.write(mode, run).await?;
        Ok(Reply::json(200, to_bytes(&scale_of(call.resource, &written.object.value))))
    }
}

/// The object with the number of replicas the change asks for.
fn scaled(resource: &Resource, old: &Object, change: Change) -> Result<Value, ApiError> {
    let current = scale_of(resource, &old.value);
    let scale = match change {
        Change::Replace(scale) => scale,
        Change::Patch(patch) => patch.apply_to(SCALE.into(), &current)?,
    };
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas < 0 {
        let why = "must be greater than or equal to 0";
        let kind = GroupKind::of("autoscaling", "Scale");
        let errors = vec![FieldError::invalid("spec.replicas", replicas, why)];
        return Err(ApiError::Invalid { kind, name: name_of(&old.value).to_owned(), errors });
    }
    let mut new = old.value.clone();
    match custom_scale(resource) {
        Some(paths) => paths.set_replicas(&mut new, replicas),
        None => new["spec"]["replicas"] = json!(replicas),
    }
    // The caller's expectation of the object goes on to the write of it.
    for field in ["resourceVersion", "uid"] {
        new["metadata"][field] = scale["metadata"][field].clone();
    }
    Ok(new)
}

fn custom_scale(resource: &Resource) -> Option<&'static ScalePaths> {
    resource.custom.and_then(|custom| custom.scale.as_ref())
}

fn scale_of(resource: &Resource, object: &Value) -> Value {
    let metadata = &object["metadata"];
    let count = |part: &str| object[part]["replicas"].as_i64().unwrap_or(0);
    let (wanted, present, selector) = match custom_scale(resource) {
        Some(paths) => paths.read_from(object),
        None => {
            let selector = LabelSelector::from_object(&object["spec"]["selector"]).to_string();
            (count("spec"), count("status"), selector)
        }
    };
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": { "replicas": wanted },
        "status": { "replicas": present, "selector": selector },
    })
}
