//! One object.

use crate::api::{Api, Call, Reply};
use crate::error::ApiError;

impl Api {
    pub(crate) fn get(&self, call: &Call) -> Result<Reply, ApiError> {
        let object = call.object(&self.store)?;
        Ok(call.reply(200, &object, self.now()))
    }
}
