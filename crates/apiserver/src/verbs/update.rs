//! Changed objects: replaced, patched, applied.

use std::sync::Arc;

use serde_json::{Value, json};

use super::input::{clean, read_object};
use super::write::{Tracking, Write, Written, is_deleting, may_go, metadata_mut, name_of};
use crate::api::{Api, Call, Reply};
use crate::error::{ApiError, FieldError, GroupKind};
use crate::patch::{self, PatchError};
use crate::schema::{Kind, decode_body, strict_decoding_error};
use crate::store::{Object, Transaction};

/// Media types of patches, as the refusal lists them.
const PATCHES: &str = "application/json-patch+json, application/merge-patch+json, \
    application/strategic-merge-patch+json, application/apply-patch+yaml";

/// A way to change an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Patch {
    Json(Value),
    Merge(Value),
    Strategic(Value),
    /// Server-side apply; creates what does not exist.
    Apply(Value),
}

impl Api {
    pub(crate) async fn update(&self, call: &Call) -> Result<Reply, ApiError> {
        let write = Write::of(self, call)?;
        let input = read_object(call, write.options.field_validation)?;
        let name = call.name.clone().ok_or(ApiError::NoSuchResource)?;
        let (mode, now) = (write.mode(), write.now);
        let run = move |tx: &mut Transaction<'_>| {
            let old = write.find(tx, &name)?;
            write.claim_name(&input.object, &name)?;
            write.replace(tx, input.object, &old, Tracking::Write)
        };
        let written = self.store.write(mode, run).await?;
        Ok(call.reply(200, &written.object, now).with_warnings([input.warnings, written.warnings].concat()))
    }

    pub(crate) async fn patch(&self, call: &Call) -> Result<Reply, ApiError> {
        let write = Write::of(self, call)?;
        let patch = Patch::read(call)?;
        if matches!(patch, Patch::Apply(_)) && write.options.field_manager.is_none() {
            return Err(ApiError::Invalid {
                kind: GroupKind::of("meta.k8s.io", "PatchOptions"),
                name: String::new(),
                errors: vec![FieldError::required("fieldManager", "is required for apply patch")],
            });
        }
        let name = call.name.clone().ok_or(ApiError::NoSuchResource)?;
        let (mode, now) = (write.mode(), write.now);
        let run = move |tx: &mut Transaction<'_>| write.patch(tx, &name, &patch);
        let (written, warnings) = self.store.write(mode, run).await?;
        let code = if written.created { 201 } else { 200 };
        Ok(call.reply(code, &written.object, now).with_warnings(warnings))
    }
}

impl Patch {
    pub fn read(call: &Call) -> Result<Self, ApiError> {
        let media_type = call.content_type.as_deref().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let json = || decode_body(Some("application/json"), &call.body).map(|decoded| decoded.value);
        Ok(match media_type {
            "application/json-patch+json" => Self::Json(json()?),
            "application/merge-patch+json" => Self::Merge(json()?),
            "application/strategic-merge-patch+json" => Self::Strategic(json()?),
            "application/apply-patch+yaml" => Self::Apply(decode_body(Some(media_type), &call.body)?.value),
            _ => return Err(ApiError::UnsupportedMediaType { accepted: PATCHES.into() }),
        })
    }

    /// The object as this patch makes it out of `old`.
    pub fn apply_to(&self, kind: Kind<'_>, old: &Value) -> Result<Value, PatchError> {
        match self {
            Self::Json(patch) => patch::json_patch(old, patch),
            Self::Merge(patch) => patch::merge_patch(old, patch),
            Self::Strategic(patch) | Self::Apply(patch) => patch::strategic_merge_patch(kind, old, patch),
        }
    }

    fn value(&self) -> &Value {
        match self {
            Self::Json(value) | Self::Merge(value) | Self::Strategic(value) | Self::Apply(value) => value,
        }
    }
}

impl Write {
    fn patch(&self, tx: &mut Transaction<'_>, name: &str, patch: &Patch) -> Result<(Written, Vec<String>), ApiError> {
        let kind = self.resource.schema();
        let old = self.find(tx, name).ok();
        let (mut new, tracking) = match (patch, &old) {
            (Patch::Apply(applied), _) => (self.apply(name, applied, old.as_deref())?, Tracking::Done),
            (_, Some(old)) => (patch.apply_to(kind, &old.value)?, Tracking::Write),
            (_, None) => return Err(self.not_found(name)),
        };
        self.claim_name(&new, name)?;
        let warnings = clean(kind, &mut new, Vec::new(), self.options.field_validation)
            .map_err(|problems| unfit(patch, strict_decoding_error(&problems)))?;
        crate::schema::check_types(kind, &new).map_err(|mismatch| unfit(patch, mismatch.problem().to_owned()))?;
        let written = match old {
            Some(old) => self.replace(tx, new, &old, tracking)?,
            None => self.create(tx, new, tracking)?,
        };
        let warnings = [warnings, written.warnings.clone()].concat();
        Ok((written, warnings))
    }

    fn apply(&self, name: &str, applied: &Value, old: Option<&Object>) -> Result<Value, ApiError> {
        if old.is_none() && self.subresource.is_some() {
            return Err(self.not_found(name));
        }
        let mut applied = applied.clone();
        if !applied.is_object() {
            return Err(ApiError::bad_request("the applied configuration is not an object"));
        }
        metadata_mut(&mut applied).entry("name").or_insert_with(|| json!(name));
        self.claim_name(&applied, name)?;
        self.claim_namespace(&mut applied)?;
        let live = old.map(|old| &old.value);
        Ok(patch::apply_patch(self.resource.schema(), live, &applied, &self.writer(), self.options.force)?)
    }

    /// Refuses an object under another name than that of the path.
    fn claim_name(&self, object: &Value, name: &str) -> Result<(), ApiError> {
        match name_of(object) {
            given if given == name => Ok(()),
            given => Err(ApiError::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({name})"
            ))),
        }
    }

    /// Puts `new` in the place of `old`.
    pub(super) fn replace(
        &self,
        tx: &mut Transaction<'_>,
        mut new: Value,
        old: &Arc<Object>,
        tracking: Tracking,
    ) -> Result<Written, ApiError> {
        self.claim_namespace(&mut new)?;
        self.check_preconditions(&new, old)?;
        new["metadata"]["resourceVersion"] = old.value["metadata"]["resourceVersion"].clone();
        self.resource.prepare_update(&mut new, &old.value, self.subresource);
        self.track(Some(&old.value), &mut new, tracking);
        let admitted = self.admission.admit_update(self.resource, &mut new, &old.value)?;
        self.settle_definition(tx, &mut new);
        self.check(&new, self.resource.validate_update(&new, &old.value, self.subresource))?;
        if self.grants_more(&new, &old.value) {
            self.check_grant(&new)?;
        }
        let warnings = self.resource.warnings(&new);
        let object = if is_deleting(&new) && !waits_for_grace(&new) && may_go(self.resource, &new) {
            self.admission.release(tx, self.resource, &old.value, self.mode());
            self.remove(tx, new, old)
        } else if unchanged(&new, &old.value) {
            old.clone()
        } else {
            let object = self.put(tx, new, Some(old));
            self.admission.keep(tx, admitted, self.mode());
            object
        };
        Ok(Written { object, created: false, warnings })
    }

    /// Whether a changed role or binding may give somebody other rights than before: taking off a finalizer does not, a
    /// label may, by which another role gathers this one's rules.
    fn grants_more(&self, new: &Value, old: &Value) -> bool {
        const GRANTING: [&str; 5] = ["/rules", "/aggregationRule", "/roleRef", "/subjects", "/metadata/labels"];
        self.grantor.is_some() && GRANTING.iter().any(|path| new.pointer(path) != old.pointer(path))
    }

    /// The revision and identity that the new object claims to replace must be those there are.
    fn check_preconditions(&self, new: &Value, old: &Object) -> Result<(), ApiError> {
        let (new, name) = (&new["metadata"], name_of(&old.value));
        let text = |field: &str| new[field].as_str().filter(|text| !text.is_empty() && *text != "0");
        if let Some(uid) = text("uid").filter(|uid| old.value["metadata"]["uid"] != *uid) {
            let found = old.value["metadata"]["uid"].as_str().unwrap_or_default();
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {found}");
            return Err(self.conflict(name, why));
        }
        match text("resourceVersion") {
            Some(version) if version != old.revision.to_string() => {
                Err(ApiError::modified(self.group_resource(), name))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a deleted object still has time.
fn waits_for_grace(object: &Value) -> bool {
    object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) > 0
}

/// Whether a write changes nothing but the times at which managers wrote.
fn unchanged(new: &Value, old: &Value) -> bool {
    let timeless = |object: &Value| {
        let mut managed = object["metadata"]["managedFields"].clone();
        for entry in managed.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            entry.remove("time");
        }
        managed
    };
    let without_managers = |object: &Value| {
        let mut metadata = object["metadata"].clone();
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.remove("managedFields");
        }
        metadata
    };
    let Some((new_fields, old_fields)) = new.as_object().zip(old.as_object()) else { return false };
    let same_content = |(name, value): (&String, &Value)| name == "metadata" || old_fields.get(name) == Some(value);
    new_fields.len() == old_fields.len()
        && new_fields.iter().all(same_content)
        && without_managers(new) == without_managers(old)
        && timeless(new) == timeless(old)
}

fn unfit(patch: &Patch, why: String) -> ApiError {
    PatchError::Unfit { patch: patch.value().clone(), why }.into()
}
