//! Ingresses and their classes.

use std::net::IpAddr;

use serde_json::json;

use super::field::Field;
use super::fill::{Fill, Object};
use super::names::NamePart;
use super::{Generation, Rules, metadata, names, port};
use crate::error::FieldError;
use crate::table;

pub(super) static INGRESS: Rules = Rules {
    generation: Generation::Content,
    initial_status: |_| Some(json!({"loadBalancer": {}})),
    validate: validate_ingress,
    printer: table::network::INGRESS,
    ..Rules::PLAIN
};

pub(super) static INGRESS_CLASS: Rules = Rules {
    generation: Generation::Content,
    default: default_class,
    validate: validate_class,
    printer: table::network::INGRESS_CLASS,
    ..Rules::PLAIN
};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];
const BAD_SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const BAD_ENDINGS: [&str; 2] = ["/..", "/."];
const SCOPES: &[&str] = &["Cluster", "Namespace"];
const CONTROLLER_LIMIT_BYTES: usize = 250;

fn validate_ingress(ingress: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let spec = ingress.get("spec");
    let (backend, rules, class) = (spec.get("defaultBackend"), spec.get("rules"), spec.get("ingressClassName"));
    let mut errors = Vec::new();
    if rules.is_empty() && !backend.is_set() {
        let shown = rules.value().cloned().unwrap_or_default();
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid(spec.path(), shown, detail));
    }
    if backend.is_set() {
        errors.extend(validate_backend(&backend));
    }
    errors.extend(rules.items().flat_map(|rule| validate_rule(&rule)));
    errors.extend(spec.get("tls").items().flat_map(|tls| validate_tls(&tls)));
    if class.is_set() {
        errors.extend(class.malformed(names::subdomain));
    }
    let annotation = ingress.get("metadata").get("annotations").key(CLASS_ANNOTATION);
    if !old.is_set() && annotation.is_set() && class.is_set() && annotation.text() != class.text() {
        let annotation = annotation.at(format!("annotations.{CLASS_ANNOTATION}"));
        errors.push(annotation.invalid("must match `ingressClassName` when both are specified"));
    }
    errors
}

fn validate_rule(rule: &Field<'_>) -> Vec<FieldError> {
    let (host, http) = (rule.get("host"), rule.get("http"));
    let mut errors = Vec::new();
    if !host.is_empty() {
        if host.text().parse::<IpAddr>().is_ok() {
            errors.push(host.invalid("must be a DNS name, not an IP address"));
        }
        errors.extend(validate_host(&host));
    }
    if http.is_set() {
        let paths = http.get("paths");
        errors.extend(paths.is_empty().then(|| paths.required("")));
        errors.extend(paths.items().flat_map(|path| validate_path(&path)));
    }
    errors
}

fn validate_host<'a>(host: &Field<'a>) -> impl Iterator<Item = FieldError> + use<'a> {
    host.malformed(if host.text().contains('*') { names::wildcard_subdomain } else { names::subdomain })
}

fn validate_tls(tls: &Field<'_>) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = tls.get("hosts").items().flat_map(|host| validate_host(&host)).collect();
    let secret = tls.get("secretName");
    if !secret.is_empty() {
        errors.extend(secret.malformed(names::subdomain));
    }
    errors
}

fn validate_path(entry: &Field<'_>) -> Vec<FieldError> {
    let (kind, path) = (entry.get("pathType"), entry.get("path"));
    let text = path.text();
    let mut errors = Vec::new();
    let relative = || (!text.starts_with('/')).then(|| path.invalid("must be an absolute path"));
    match kind.text_if_set() {
        None => return vec![kind.required("pathType must be specified")],
        Some("Exact" | "Prefix") => {
            errors.extend(relative());
            let sequences = BAD_SEQUENCES.iter().filter(|bad| text.contains(**bad));
            errors.extend(sequences.map(|bad| path.invalid(format!("must not contain '{bad}'"))));
            let endings = BAD_ENDINGS.iter().filter(|bad| text.ends_with(**bad));
            errors.extend(endings.map(|bad| path.invalid(format!("cannot end with '{bad}'"))));
        }
        Some("ImplementationSpecific") => errors.extend(relative().filter(|_| !text.is_empty())),
        Some(_) => errors.push(kind.not_supported(PATH_TYPES)),
    }
    errors.extend(validate_backend(&entry.get("backend")));
    errors
}

fn validate_backend(backend: &Field<'_>) -> Vec<FieldError> {
    let (resource, service) = (backend.get("resource"), backend.get("service"));
    let invalid = |detail: &str| FieldError::invalid(backend.path(), "", detail);
    match (resource.is_set(), service.is_set()) {
        (true, true) => vec![invalid("cannot set both resource and service backends")],
        (false, false) => vec![invalid("resource or service backend is required")],
        (true, false) => validate_reference(&resource),
        (false, true) => {
            let mut errors = validate_service_name(&service.get("name"));
            errors.extend(validate_service_port(backend, &service.get("port")));
            errors
        }
    }
}

fn validate_service_name(name: &Field<'_>) -> Vec<FieldError> {
    if name.is_empty() { vec![name.required("")] } else { name.malformed(names::label).collect() }
}

fn validate_service_port(backend: &Field<'_>, port: &Field<'_>) -> Vec<FieldError> {
    let (name, number) = (port.get("name"), port.get("number"));
    let numbered = number.integer().is_some_and(|number| number != 0);
    match (!name.is_empty(), numbered) {
        (true, true) => vec![FieldError::invalid(backend.path(), "", "cannot set both port name & port number")],
        (true, false) => name.malformed(names::port_name).collect(),
        (false, true) => port::validate_number(&number).into_iter().collect(),
        (false, false) => vec![backend.required("port name or number is required")],
    }
}

/// A reference by group, kind and name.
fn validate_reference(reference: &Field<'_>) -> Vec<FieldError> {
    let group = reference.get("apiGroup");
    let mut errors = Vec::new();
    if group.is_set() {
        errors.extend(group.malformed(names::subdomain));
    }
    for part in [reference.get("kind"), reference.get("name")] {
        if part.is_empty() {
            errors.push(part.required(""));
        } else {
            errors.extend(part.malformed(|text| names::path_segment_name(text, NamePart::Whole)));
        }
    }
    errors
}

fn default_class(class: &mut Object) {
    if let Some(parameters) = class.object("spec").object_if_set("parameters") {
        parameters.fill("scope", "Cluster");
    }
}

fn validate_class(class: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let spec = class.get("spec");
    let (controller, parameters) = (spec.get("controller"), spec.get("parameters"));
    let mut errors = Vec::new();
    if old.is_set() {
        errors.extend(metadata::immutable(&controller, &old.get("spec").get("controller")));
    }
    if controller.text().len() > CONTROLLER_LIMIT_BYTES {
        errors.push(FieldError::too_long(controller.path(), CONTROLLER_LIMIT_BYTES));
    }
    errors.extend(validate_controller(&controller));
    if parameters.is_set() {
        errors.extend(validate_parameters(&parameters));
    }
    errors
}

fn validate_controller(controller: &Field<'_>) -> Vec<FieldError> {
    if controller.is_empty() {
        return vec![controller.required("")];
    }
    let Some((host, path)) =
        controller.text().split_once('/').filter(|(host, path)| !host.is_empty() && !path.is_empty())
    else {
        return vec![controller.invalid("must be a domain-prefixed path (such as \"acme.io/foo\")")];
    };
    let invalid = |text: &str, wrong: String| FieldError::invalid(controller.path(), text, wrong);
    let mut errors: Vec<FieldError> = names::subdomain(host).into_iter().map(|wrong| invalid(host, wrong)).collect();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !path.bytes().all(allowed) {
        let wrong = r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')";
        errors.push(invalid(path, wrong.to_owned()));
    }
    errors
}

fn validate_parameters(parameters: &Field<'_>) -> Vec<FieldError> {
    let (scope, namespace) = (parameters.get("scope"), parameters.get("namespace"));
    let mut errors = validate_reference(parameters);
    match scope.text_if_set() {
        None => errors.push(scope.required("")),
        Some("Namespace") if !namespace.is_set() => {
            errors.push(namespace.required("`parameters.scope` is set to 'Namespace'"));
        }
        Some("Namespace") => errors.extend(namespace.malformed(names::label)),
        Some("Cluster") if namespace.is_set() => {
            errors.push(namespace.forbidden("`parameters.scope` is set to 'Cluster'"));
        }
        Some("Cluster") => {}
        Some(_) => errors.push(scope.not_supported(SCOPES)),
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn errors(spec: &Value) -> Vec<String> {
        let ingress = json!({ "spec": spec });
        validate_ingress(&Field::root(&ingress), &Field::nothing()).iter().map(ToString::to_string).collect()
    }

    fn path_errors(kind: &str, path: &str) -> Vec<String> {
        let backend = json!({"service": {"name": "a", "port": {"number": 80}}});
        errors(&json!({"rules": [{"http": {"paths": [{"path": path, "pathType": kind, "backend": backend}]}}]}))
    }

    fn backend_errors(backend: &Value) -> Vec<String> {
        errors(&json!({ "defaultBackend": backend }))
    }

    #[test]
    fn an_ingress_leads_somewhere() {
        assert_eq!(
            errors(&json!({})),
            ["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"]
        );
    }

    #[test]
    fn paths_are_absolute_and_cannot_climb() {
        assert!(path_errors("Prefix", "/a/b").is_empty());
        assert!(path_errors("ImplementationSpecific", "").is_empty());
        let invalid =
            |text: &str, wrong: &str| format!("spec.rules[0].http.paths[0].path: Invalid value: {text:?}: {wrong}");
        assert_eq!(path_errors("Exact", "a"), [invalid("a", "must be an absolute path")]);
        assert_eq!(path_errors("ImplementationSpecific", "a"), [invalid("a", "must be an absolute path")]);
        assert_eq!(path_errors("Prefix", "/a//b"), [invalid("/a//b", "must not contain '//'")]);
        assert_eq!(path_errors("Prefix", "/a/.."), [invalid("/a/..", "cannot end with '/..'")]);
        assert_eq!(
            path_errors("Regex", "/a"),
            ["spec.rules[0].http.paths[0].pathType: Unsupported value: \"Regex\": \
              supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\""]
        );
    }

    #[test]
    fn hosts_are_names_with_at_most_a_leading_wildcard() {
        let host = |host: &str| errors(&json!({"rules": [{ "host": host }]}));
        assert!(host("*.example.com").is_empty());
        assert!(host("10.0.0.1")[0].ends_with("must be a DNS name, not an IP address"));
        assert!(host("a.*.com")[0].contains("a wildcard DNS-1123 subdomain must start with '*.'"));
    }

    #[test]
    fn a_backend_is_one_port_of_one_service_or_a_resource() {
        assert_eq!(
            backend_errors(&json!({})),
            ["spec.defaultBackend: Invalid value: \"\": resource or service backend is required"]
        );
        assert_eq!(
            backend_errors(&json!({"service": {"name": "a", "port": {"name": "b", "number": 1}}})),
            ["spec.defaultBackend: Invalid value: \"\": cannot set both port name & port number"]
        );
        assert_eq!(
            backend_errors(&json!({"service": {}})),
            [
                "spec.defaultBackend.service.name: Required value",
                "spec.defaultBackend: Required value: port name or number is required",
            ]
        );
        assert!(backend_errors(&json!({"resource": {"kind": "Bucket", "name": "a"}})).is_empty());
    }

    #[test]
    fn the_old_annotation_agrees_with_the_class() {
        let ingress = json!({
            "metadata": {"annotations": {"kubernetes.io/ingress.class": "a"}},
            "spec": {"ingressClassName": "b", "defaultBackend": {"service": {"name": "x", "port": {"number": 1}}}},
        });
        let errors = validate_ingress(&Field::root(&ingress), &Field::nothing());
        assert_eq!(
            errors[0].to_string(),
            "annotations.kubernetes.io/ingress.class: Invalid value: \"a\": \
             must match `ingressClassName` when both are specified"
        );
    }

    #[test]
    fn a_class_names_its_controller_for_good() {
        let class = |controller: &str| json!({"spec": {"controller": controller}});
        let errors = |new: &Value, old: Option<&Value>| -> Vec<String> {
            let old = old.map_or_else(Field::nothing, Field::root);
            validate_class(&Field::root(new), &old).iter().map(ToString::to_string).collect()
        };
        assert!(errors(&class("example.com/ingress"), None).is_empty());
        assert_eq!(
            errors(&class("ingress"), None),
            ["spec.controller: Invalid value: \"ingress\": must be a domain-prefixed path (such as \"acme.io/foo\")"]
        );
        assert_eq!(
            errors(&class("example.com/b"), Some(&class("example.com/a"))),
            ["spec.controller: Invalid value: \"example.com/b\": field is immutable"]
        );
    }

    #[test]
    fn parameters_have_a_namespace_exactly_when_their_scope_is_one() {
        let errors = |parameters: Value| -> Vec<String> {
            let class = json!({"spec": {"controller": "a.b/c", "parameters": parameters}});
            validate_class(&Field::root(&class), &Field::nothing()).iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            errors(json!({"kind": "A", "name": "b", "scope": "Namespace"})),
            ["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"]
        );
        assert_eq!(
            errors(json!({"kind": "A", "name": "b", "scope": "Cluster", "namespace": "x"})),
            ["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"]
        );
    }
}
