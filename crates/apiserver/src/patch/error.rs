//! Why a patch cannot be applied.

use serde_json::Value;

use crate::{ApiError, FieldError, GroupKind};

/// Why a patch cannot be applied.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PatchError {
    /// The patch is not what patches of its media type look like.
    #[error("{why}")]
    Malformed {
        /// What is wrong and what would be right.
        why: String,
    },
    /// The patch is well formed and does not fit the object.
    #[error("{why}")]
    Unfit {
        /// The patch.
        patch: Value,
        /// Where it does not fit.
        why: String,
    },
}

impl PatchError {
    pub(super) fn malformed(why: impl Into<String>) -> Self {
        Self::Malformed { why: why.into() }
    }
}

impl From<PatchError> for ApiError {
    fn from(error: PatchError) -> Self {
        match error {
            PatchError::Malformed { why } => Self::bad_request(why),
            PatchError::Unfit { patch, why } => Self::Invalid {
                kind: GroupKind::of("", ""),
                name: String::new(),
                errors: vec![FieldError::invalid("patch", patch.to_string(), why)],
            },
        }
    }
}
