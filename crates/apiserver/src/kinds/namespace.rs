//! Namespaces.

use serde_json::{Value, json};

use super::field::Field;
use super::fill::{Fill, Object};
use super::selectable::Selectable;
use super::{Rules, names};
use crate::error::FieldError;
use crate::table;

pub(super) static RULES: Rules = Rules {
    name: names::label_name,
    default,
    initial_status: |_| Some(json!({"phase": "Active"})),
    prepare_create: |namespace| add_finalizer(namespace),
    settle_update: keep_finalizers,
    validate,
    selectable: &[Selectable::Plain("status.phase"), Selectable::Either("name", &["metadata.name"])],
    printer: table::cluster::NAMESPACE,
    ..Rules::PLAIN
};

/// Keeps a namespace until everything in it is gone.
const FINALIZER: &str = "kubernetes";
/// Names without a domain that may stand among finalizers.
const STANDARD_FINALIZERS: [&str; 3] = [FINALIZER, "orphan", "foregroundDeletion"];

/// Every namespace carries its name as a label, for policies to select it by.
fn default(namespace: &mut Object) {
    let metadata = namespace.object("metadata");
    let name = metadata.text("name").to_owned();
    if !name.is_empty() {
        metadata.object("labels").insert("kubernetes.io/metadata.name".into(), json!(name));
    }
    namespace.object("spec");
    namespace.object("status").fill_text("phase", "Active");
}

fn add_finalizer(namespace: &mut Object) {
    let spec = namespace.object("spec");
    match spec.get_mut("finalizers").and_then(Value::as_array_mut) {
        Some(finalizers) if finalizers.iter().any(|finalizer| finalizer == FINALIZER) => {}
        Some(finalizers) => finalizers.push(json!(FINALIZER)),
        None => drop(spec.insert("finalizers".into(), json!([FINALIZER]))),
    }
}

/// Only the `finalize` subresource may take finalizers away.
fn keep_finalizers(new: &mut Object, old: &Object, subresource: Option<&str>) {
    if subresource.is_none() {
        let kept = old.get("spec").and_then(|spec| spec.get("finalizers")).cloned();
        let spec = new.object("spec");
        match kept {
            Some(finalizers) => drop(spec.insert("finalizers".into(), finalizers)),
            None => drop(spec.remove("finalizers")),
        }
    }
}

fn validate(namespace: &Field<'_>, _old: &Field<'_>) -> Vec<FieldError> {
    let finalizers = namespace.get("spec").get("finalizers");
    let mut errors = Vec::new();
    for finalizer in finalizers.items() {
        let finalizer = finalizer.at(finalizers.path());
        errors.extend(finalizer.malformed(names::label_key));
        if !finalizer.text().contains('/') && !STANDARD_FINALIZERS.contains(&finalizer.text()) {
            errors.push(finalizer.invalid("name is neither a standard finalizer name nor is it fully qualified"));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::kinds::resource;

    #[test]
    fn a_namespace_is_labelled_with_its_name_and_kept_until_it_is_empty() {
        let mut namespace = json!({"metadata": {"name": "shop"}});
        resource("", "v1", "namespaces").expect("served").prepare_create(&mut namespace);
        assert_eq!(
            namespace,
            json!({
                "metadata": {"name": "shop", "labels": {"kubernetes.io/metadata.name": "shop"}},
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
            })
        );
    }

    #[test]
    fn an_ordinary_write_takes_no_finalizer_away() {
        let mut old = json!({"metadata": {"name": "shop"}});
        let namespaces = resource("", "v1", "namespaces").expect("served");
        namespaces.prepare_create(&mut old);
        let mut new = old.clone();
        new["spec"] = json!({});
        namespaces.prepare_update(&mut new, &old, None);
        assert_eq!(new["spec"], old["spec"]);
    }

    #[test]
    fn finalizers_are_qualified() {
        let namespace = json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["mine"]}});
        let errors = resource("", "v1", "namespaces").expect("served").validate_create(&namespace);
        assert_eq!(
            errors[0].to_string(),
            "spec.finalizers: Invalid value: \"mine\": \
             name is neither a standard finalizer name nor is it fully qualified"
        );
    }
}
