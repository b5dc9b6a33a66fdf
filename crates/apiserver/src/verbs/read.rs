//! One object.

use crate::api::{Api, Call, Reply};
use crate::error::ApiError;

impl Api {
    pub(crate) fn get(&self, call: &Call) -> Result<Reply, ApiError> {
        let object = self.store.get(&call.key()?).ok_or_else(|| call.not_found())?;
        Ok(call.reply(200, &object, self.now()))
    }
}
