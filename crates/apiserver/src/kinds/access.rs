//! Roles and their bindings.

use serde_json::json;

use super::field::Field;
use super::fill::{Fill, Object};
use super::{Rules, names, selector};
use crate::error::FieldError;
use crate::table;

const GROUP: &str = "rbac.authorization.k8s.io";
const SUBJECT_KINDS: &[&str] = &["ServiceAccount", "User", "Group"];

const ROLES: Rules = Rules { name: names::path_segment_name, ..Rules::PLAIN };

pub(super) static ROLE: Rules =
    Rules { validate: |role, _| validate_rules(role, true), printer: table::access::CREATED_AT, ..ROLES };

pub(super) static CLUSTER_ROLE: Rules = Rules {
    validate: |role, _| {
        let mut errors = validate_rules(role, false);
        errors.extend(validate_aggregation(&role.get("aggregationRule")));
        errors
    },
    printer: table::access::CREATED_AT,
    ..ROLES
};

pub(super) static ROLE_BINDING: Rules = Rules {
    default: default_binding,
    validate: |binding, old| validate_binding(binding, old, &["Role", "ClusterRole"]),
    printer: table::access::BINDING,
    ..ROLES
};

pub(super) static CLUSTER_ROLE_BINDING: Rules = Rules {
    default: default_binding,
    validate: |binding, old| validate_binding(binding, old, &["ClusterRole"]),
    printer: table::access::BINDING,
    ..ROLES
};

fn default_binding(binding: &mut Object) {
    binding.object("roleRef").fill_text("apiGroup", GROUP);
    for subject in binding.objects("subjects") {
        if matches!(subject.text("kind"), "User" | "Group") {
            subject.fill_text("apiGroup", GROUP);
        }
    }
}

fn validate_rules(role: &Field<'_>, namespaced: bool) -> Vec<FieldError> {
    role.get("rules").items().flat_map(|rule| validate_rule(&rule, namespaced)).collect()
}

fn validate_rule(rule: &Field<'_>, namespaced: bool) -> Vec<FieldError> {
    let (verbs, urls) = (rule.get("verbs"), rule.get("nonResourceURLs"));
    let (groups, resources) = (rule.get("apiGroups"), rule.get("resources"));
    let mut errors = Vec::new();
    errors.extend(verbs.is_empty().then(|| verbs.required("verbs must contain at least one value")));
    if urls.is_empty() {
        let detail = "resource rules must supply at least one";
        errors.extend(groups.is_empty().then(|| groups.required(format!("{detail} api group"))));
        errors.extend(resources.is_empty().then(|| resources.required(format!("{detail} resource"))));
        return errors;
    }
    if namespaced {
        errors.push(urls.invalid("namespaced rules cannot apply to non-resource URLs"));
    }
    if [groups, resources, rule.get("resourceNames")].iter().any(|list| !list.is_empty()) {
        errors.push(urls.invalid("rules cannot apply to both regular resources and non-resource URLs"));
    }
    errors
}

fn validate_aggregation(aggregation: &Field<'_>) -> Vec<FieldError> {
    if !aggregation.is_set() {
        return Vec::new();
    }
    let selectors = aggregation.get("clusterRoleSelectors");
    let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
    let mut errors: Vec<FieldError> = selectors.is_empty().then(|| selectors.required(detail)).into_iter().collect();
    errors.extend(selectors.items().flat_map(|selector| selector::validate(&selector)));
    errors
}

fn validate_binding(binding: &Field<'_>, old: &Field<'_>, role_kinds: &[&str]) -> Vec<FieldError> {
    let role = binding.get("roleRef");
    let (group, kind, name) = (role.get("apiGroup"), role.get("kind"), role.get("name"));
    let mut errors = Vec::new();
    errors.extend((group.text() != GROUP).then(|| group.not_supported(&[GROUP])));
    errors.extend((!role_kinds.contains(&kind.text())).then(|| kind.not_supported(role_kinds)));
    if name.is_empty() {
        errors.push(name.required(""));
    } else {
        errors.extend(name.malformed(|text| names::path_segment_name(text, names::NamePart::Whole)));
    }
    let namespaced = role_kinds.contains(&"Role");
    errors.extend(binding.get("subjects").items().flat_map(|subject| validate_subject(&subject, namespaced)));
    if old.is_set() && old.get("roleRef").value() != role.value() {
        // Kubernetes shows its internal names of these fields.
        let shown = json!({"APIGroup": group.text(), "Kind": kind.text(), "Name": name.text()});
        errors.push(FieldError::invalid(role.path(), shown, "cannot change roleRef"));
    }
    errors
}

fn validate_subject(subject: &Field<'_>, namespaced: bool) -> Vec<FieldError> {
    let (kind, name, group) = (subject.get("kind"), subject.get("name"), subject.get("apiGroup"));
    let mut errors: Vec<FieldError> = name.is_empty().then(|| name.required("")).into_iter().collect();
    match kind.text() {
        "ServiceAccount" => {
            if !name.is_empty() {
                errors.extend(name.malformed(names::subdomain));
            }
            errors.extend((!group.is_empty()).then(|| group.not_supported(&[""])));
            let namespace = subject.get("namespace");
            errors.extend((!namespaced && namespace.is_empty()).then(|| namespace.required("")));
        }
        "User" | "Group" => errors.extend((group.text() != GROUP).then(|| group.not_supported(&[GROUP]))),
        _ => errors.push(kind.not_supported(SUBJECT_KINDS)),
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn texts(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_rule_says_what_may_be_done_to_what() {
        let role = json!({"rules": [{}]});
        assert_eq!(
            texts(&validate_rules(&Field::root(&role), true)),
            [
                "rules[0].verbs: Required value: verbs must contain at least one value",
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ]
        );
    }

    #[test]
    fn a_namespace_has_no_urls_of_its_own() {
        let role = json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}]});
        assert_eq!(
            texts(&validate_rules(&Field::root(&role), true)),
            ["rules[0].nonResourceURLs: Invalid value: [\"/healthz\"]: \
              namespaced rules cannot apply to non-resource URLs"]
        );
        assert!(validate_rules(&Field::root(&role), false).is_empty());
    }

    #[test]
    fn a_binding_keeps_its_role() {
        let binding = |name: &str| -> Value {
            let mut binding =
                json!({"roleRef": {"kind": "Role", "name": name}, "subjects": [{"kind": "User", "name": "x"}]});
            default_binding(binding.as_object_mut().expect("an object"));
            binding
        };
        let (new, old) = (binding("b"), binding("a"));
        let errors = (ROLE_BINDING.validate)(&Field::root(&new), &Field::root(&old));
        assert!(texts(&errors)[0].ends_with("cannot change roleRef"));
        assert!((ROLE_BINDING.validate)(&Field::root(&old), &Field::root(&old)).is_empty());
    }

    #[test]
    fn subjects_are_of_three_kinds() {
        let binding = json!({"roleRef": {"kind": "ClusterRole", "name": "a", "apiGroup": GROUP},
            "subjects": [{"kind": "Robot", "name": "x"}, {"kind": "ServiceAccount", "name": "x"}]});
        let errors = (CLUSTER_ROLE_BINDING.validate)(&Field::root(&binding), &Field::nothing());
        assert_eq!(
            texts(&errors),
            [
                "subjects[0].kind: Unsupported value: \"Robot\": \
                 supported values: \"ServiceAccount\", \"User\", \"Group\"",
                "subjects[1].namespace: Required value",
            ]
        );
    }
}
