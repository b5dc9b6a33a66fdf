//! Why a patch cannot be applied.

use serde_json::Value;

use crate::{ApiError, FieldError, GroupKind};

const FOR_CUSTOM_RESOURCES: &str =
    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

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
    /// Nothing is known of how the kind's lists merge: it is a custom resource.
    #[error("the kind has no strategic merge patch")]
    Unsupported,
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
            PatchError::Unsupported => Self::UnsupportedMediaType { accepted: FOR_CUSTOM_RESOURCES.into() },
            PatchError::Unfit { patch, why } => Self::Invalid {
                kind: GroupKind::of("", ""),
                name: String::new(),
                errors: vec![FieldError::invalid("patch", patch.to_string(), why)],
            },
        }
    }
}
