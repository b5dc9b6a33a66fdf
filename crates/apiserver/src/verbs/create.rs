//! New objects.

use serde_json::Value;

use super::input::read_object;
use super::write::{Tracking, Write, Written, is_namespace, metadata_mut, name_of};
use crate::api::{Api, Call, Reply};
use crate::error::ApiError;
use crate::kinds;
use crate::store::{Transaction, WriteMode};

impl Api {
    pub(crate) async fn create(&self, call: &Call) -> Result<Reply, ApiError> {
        let write = Write::of(self, call)?;
        let input = read_object(call, write.options.field_validation)?;
        let (mode, now) = (write.mode(), write.now);
        let run = move |tx: &mut Transaction<'_>| write.create(tx, input.object, Tracking::Write);
        let written = self.store.write(mode, run).await?;
        Ok(call.reply(201, &written.object, now).with_warnings([input.warnings, written.warnings].concat()))
    }
}

impl Write {
    /// Makes a new object: what only the server decides, defaults, admission, validation, owners of fields.
    pub(super) fn create(
        &self,
        tx: &mut Transaction<'_>,
        mut object: Value,
        tracking: Tracking,
    ) -> Result<Written, ApiError> {
        self.claim_namespace(&mut object)?;
        self.require_kind(tx)?;
        self.require_namespace(tx, name_of(&object))?;
        self.stamp(&mut object, tx)?;
        let name = name_of(&object).to_owned();
        if tx.get(&self.key(&name)).is_some() {
            return Err(ApiError::AlreadyExists { resource: self.group_resource(), name });
        }
        self.resource.default_object(&mut object);
        if tracking == Tracking::Write {
            metadata_mut(&mut object).remove("managedFields");
        }
        self.track(None, &mut object, tracking);
        self.resource.prepare_create(&mut object);
        let admitted = self.admission.admit_create(self.resource, &mut object, tx)?;
        self.settle_definition(tx, &mut object);
        self.check(&object, self.resource.validate_create(&object))?;
        self.check_grant(&object)?;
        let warnings = self.resource.warnings(&object);
        let object = self.put(tx, object, None);
        self.admission.keep(tx, admitted, self.mode());
        if is_namespace(self.resource) && self.mode() == WriteMode::Persist {
            self.publish_authority(tx, &name)?;
        }
        Ok(Written { object, created: true, warnings })
    }

    /// Gives a new namespace what its pods verify the server with.
    fn publish_authority(&self, tx: &mut Transaction<'_>, name: &str) -> Result<(), ApiError> {
        let Some(resource) = kinds::resource("", "v1", "configmaps") else { return Ok(()) };
        let write = Self { resource, namespace: Some(name.to_owned()), ..self.clone() };
        write.create(tx, self.admission.authority_config_map(), Tracking::Write).map(drop)
    }
}
