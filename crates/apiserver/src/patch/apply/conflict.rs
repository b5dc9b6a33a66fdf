//! Conflicts: fields that an apply would change and that others own.

use std::collections::BTreeMap;

use super::managers::{Manager, Operation};
use crate::patch::fields::{FieldSet, Path};
use crate::{ApiError, StatusCause};

/// Why an apply is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Other managers own fields that would change.
    #[error("{message}")]
    Conflict {
        /// All conflicts in one text, as Kubernetes words it.
        message: String,
        /// One cause for each field.
        causes: Vec<StatusCause>,
    },
    /// The configuration is not one that can be applied.
    #[error("{why}")]
    Invalid {
        /// What is wrong and what would be right.
        why: String,
    },
}

impl ApplyError {
    /// The conflicts of each manager; none of the sets is empty.
    pub(super) fn conflicts(conflicts: &BTreeMap<Manager, FieldSet>) -> Self {
        let all: Vec<(String, Path)> = conflicts
            .iter()
            .flat_map(|(manager, fields)| fields.paths().into_iter().map(move |path| (describe(manager), path)))
            .collect();
        let causes = all
            .iter()
            .map(|(manager, path)| StatusCause {
                reason: "FieldManagerConflict".into(),
                message: format!("conflict with {manager}"),
                field: Some(path.to_string()),
            })
            .collect();
        Self::Conflict { message: summary(&all), causes }
    }
}

fn summary(conflicts: &[(String, Path)]) -> String {
    if let [(manager, path)] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {manager}: {path}");
    }
    let mut by_manager: BTreeMap<&str, Vec<&Path>> = BTreeMap::new();
    for (manager, path) in conflicts {
        by_manager.entry(manager).or_default().push(path);
    }
    let mut lines = Vec::new();
    for (manager, paths) in by_manager {
        lines.push(format!("conflicts with {manager}:"));
        lines.extend(paths.iter().map(|path| format!("- {path}")));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

/// How Kubernetes names a manager in a conflict.
fn describe(manager: &Manager) -> String {
    let mut text = format!("{:?}", manager.name);
    if let Some(subresource) = &manager.subresource {
        text.push_str(&format!(" with subresource {subresource:?}"));
    }
    if manager.operation == Operation::Update {
        text.push_str(&format!(" using {}", manager.api_version));
    }
    text
}

impl From<ApplyError> for ApiError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Conflict { message, causes } => Self::ApplyConflict { message, causes },
            ApplyError::Invalid { why } => Self::bad_request(why),
        }
    }
}
