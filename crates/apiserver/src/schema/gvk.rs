//! Which kind an object is.

use std::fmt;

use serde_json::Value;

/// A kind with its API group and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gvk<'a> {
    /// The API group; empty for the core group.
    pub group: &'a str,
    /// The version within the group.
    pub version: &'a str,
    /// The kind.
    pub kind: &'a str,
}

impl<'a> Gvk<'a> {
    /// A kind from its three parts.
    pub const fn new(group: &'a str, version: &'a str, kind: &'a str) -> Self {
        Self { group, version, kind }
    }

    /// A kind from an object's `apiVersion` and `kind`.
    pub fn parse(api_version: &'a str, kind: &'a str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self { group, version, kind }
    }

    /// What an object says it is, if it says both.
    pub fn of(object: &'a Value) -> Option<Self> {
        let text = |field: &str| object.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        Some(Self::parse(text("apiVersion")?, text("kind")?))
    }

    /// The `apiVersion` of objects of this kind: `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }
}

impl fmt::Display for Gvk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, Kind={}", self.api_version(), self.kind)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_core_group_is_empty() {
        let pod = json!({ "apiVersion": "v1", "kind": "Pod" });
        assert_eq!(Gvk::of(&pod), Some(Gvk::new("", "v1", "Pod")));
        assert_eq!(Gvk::parse("apps/v1", "Deployment"), Gvk::new("apps", "v1", "Deployment"));
        assert_eq!(Gvk::new("apps", "v1", "Deployment").to_string(), "apps/v1, Kind=Deployment");
    }

    #[test]
    fn an_object_without_a_kind_is_nothing() {
        assert_eq!(Gvk::of(&json!({ "apiVersion": "v1", "kind": "" })), None);
    }
}
