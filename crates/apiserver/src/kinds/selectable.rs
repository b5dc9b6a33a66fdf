//! Fields that field selectors may ask for.

use serde_json::Value;

use super::Resource;

/// A field a selector may ask for besides name and namespace.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Selectable {
    /// Text or number at this path; missing is empty.
    Plain(&'static str),
    /// Truth value at this path; missing is `false`.
    Truth(&'static str),
    /// The first of these paths that is set, asked for under the given name.
    Either(&'static str, &'static [&'static str]),
}

impl Selectable {
    fn name(self) -> &'static str {
        match self {
            Self::Plain(name) | Self::Truth(name) | Self::Either(name, _) => name,
        }
    }

    fn value(self, object: &Value) -> String {
        match self {
            Self::Plain(path) => text_at(object, path),
            Self::Truth(path) => (text_at(object, path) == "true").to_string(),
            Self::Either(_, paths) => {
                paths.iter().map(|path| text_at(object, path)).find(|text| !text.is_empty()).unwrap_or_default()
            }
        }
    }
}

const NAME: Selectable = Selectable::Plain("metadata.name");
const NAMESPACE: Selectable = Selectable::Plain("metadata.namespace");

pub(super) fn value(resource: &Resource, object: &Value, path: &str) -> Option<String> {
    if resource.custom.is_some_and(|custom| custom.selectable.iter().any(|name| name == path)) {
        return Some(text_at(object, path));
    }
    find(resource, path).map(|field| field.value(object))
}

pub(super) fn refusal(resource: &Resource, path: &str) -> Option<String> {
    let declared = resource.custom.map(|custom| custom.selectable.as_slice()).unwrap_or_default();
    if find(resource, path).is_some() || declared.iter().any(|name| name == path) {
        return None;
    }
    Some(if resource.rules.selectable.is_empty() && declared.is_empty() {
        format!("{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    } else {
        format!("field label not supported: {path}")
    })
}

fn find(resource: &Resource, path: &str) -> Option<Selectable> {
    let own = resource.rules.selectable.iter().copied();
    own.chain([NAME, NAMESPACE]).find(|field| field.name() == path)
}

fn text_at(object: &Value, path: &str) -> String {
    let found = path.split('.').try_fold(object, |value, name| match value {
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => value.get(name),
    });
    match found {
        Some(Value::String(text)) => text.clone(),
        Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::kinds::resource;

    #[test]
    fn name_and_namespace_can_be_asked_of_every_kind() {
        let object = json!({"metadata": {"name": "a", "namespace": "b"}});
        let leases = resource("coordination.k8s.io", "v1", "leases").expect("leases are served");
        assert_eq!(leases.selectable_field(&object, "metadata.name").as_deref(), Some("a"));
        assert_eq!(leases.selectable_field(&object, "metadata.namespace").as_deref(), Some("b"));
        assert_eq!(leases.selectable_field(&object, "spec.holderIdentity"), None);
    }

    #[test]
    fn pods_are_found_by_node_and_phase() {
        let pods = resource("", "v1", "pods").expect("pods are served");
        let pod = json!({"spec": {"nodeName": "n"}, "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]}});
        let field = |path| pods.selectable_field(&pod, path);
        assert_eq!(field("spec.nodeName").as_deref(), Some("n"));
        assert_eq!(field("status.phase").as_deref(), Some("Running"));
        assert_eq!(field("status.podIP").as_deref(), Some("10.0.0.1"));
        assert_eq!(field("spec.hostNetwork").as_deref(), Some("false"));
        assert_eq!(field("spec.serviceAccountName").as_deref(), Some(""));
        assert_eq!(field("spec.containers"), None);
    }

    #[test]
    fn a_refused_field_is_named() {
        let pods = resource("", "v1", "pods").expect("pods are served");
        assert_eq!(pods.field_selector_error("spec.x").as_deref(), Some("field label not supported: spec.x"));
        let services = resource("", "v1", "configmaps").expect("config maps are served");
        assert_eq!(
            services.field_selector_error("data").as_deref(),
            Some("\"data\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        );
    }
}
