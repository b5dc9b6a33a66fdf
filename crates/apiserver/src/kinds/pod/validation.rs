//! The rules of pods and of templates for pods.

mod containers;
mod environment;
mod probes;
mod resources;
mod scheduling;
mod update;
mod volumes;

use crate::error::FieldError;
use crate::kinds::field::Field;
use crate::kinds::{address, metadata, names};
use volumes::Volumes;

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const PREEMPTION_POLICIES: &[&str] = &["PreemptLowerPriority", "Never"];
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARACTERS: usize = 2048;
const MAX_SECONDS: i64 = i32::MAX as i64;

/// What a specification is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Pod,
    Template,
}

/// What is wrong with a pod; `old` is the stored one, or nothing.
pub(super) fn validate(pod: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let spec = pod.get("spec");
    let mut errors = validate_annotations(&pod.get("metadata").get("annotations"), &spec);
    errors.extend(validate_spec(&spec, Subject::Pod, &[]));
    errors.extend(tokens_without_account(&spec));
    for list in ["containers", "initContainers"] {
        errors.extend(spec.get(list).items().filter_map(|container| padded_image(&container)));
    }
    if old.is_set() {
        errors.extend(update::validate_change(&spec, &old.get("spec")));
    } else {
        errors.extend(validate_new(&spec));
    }
    errors
}

/// What is wrong with a template for pods. `claims` names volumes that whoever uses the template will add.
pub(crate) fn validate_template(template: &Field<'_>, claims: &[&str]) -> Vec<FieldError> {
    let (meta, spec) = (template.get("metadata"), template.get("spec"));
    // Kubernetes leaves `metadata` out of these two paths.
    let at = |name: &str| meta.get(name).at(format!("{}.{name}", template.path()));
    let mut errors = metadata::validate_labels(&at("labels"));
    errors.extend(metadata::validate_annotations(&at("annotations")));
    errors.extend(validate_annotations(&at("annotations"), &spec));
    errors.extend(validate_spec(&spec, Subject::Template, claims));
    let debugging = spec.get("ephemeralContainers");
    if !debugging.is_empty() {
        errors.push(debugging.forbidden("ephemeral containers not allowed in pod template"));
    }
    errors
}

fn validate_annotations(annotations: &Field<'_>, spec: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mirror = annotations.key("kubernetes.io/config.mirror");
    if mirror.is_set() && spec.get("nodeName").is_empty() {
        errors.push(mirror.invalid("must set spec.nodeName if mirror pod annotation is set"));
    }
    let cost = annotations.key("controller.kubernetes.io/pod-deletion-cost");
    if cost.is_set() && cost.text().parse::<i32>().is_err() {
        errors.push(cost.invalid("must be a 32bit integer"));
    }
    errors
}

fn validate_new(spec: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let debugging = spec.get("ephemeralContainers");
    errors.extend((!debugging.is_empty()).then(|| debugging.forbidden("cannot be set on create")));
    let node = spec.get("nodeName");
    if !node.is_empty() && !spec.get("schedulingGates").is_empty() {
        errors.push(node.forbidden("cannot be set until all schedulingGates have been cleared"));
    }
    errors
}

fn tokens_without_account(spec: &Field<'_>) -> Vec<FieldError> {
    if !spec.get("serviceAccountName").is_empty() {
        return Vec::new();
    }
    let sources = spec.get("volumes").items().flat_map(|volume| volume.get("projected").get("sources").items());
    let tokens = sources.map(|source| source.get("serviceAccountToken")).filter(Field::is_set);
    tokens.map(|token| token.forbidden("must not be specified when serviceAccountName is not set")).collect()
}

fn padded_image(container: &Field<'_>) -> Option<FieldError> {
    let image = container.get("image");
    let padded = image.text().trim() != image.text();
    padded.then(|| image.invalid("must not have leading or trailing whitespace"))
}

fn validate_spec(spec: &Field<'_>, subject: Subject, claims: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let grace = spec.get("terminationGracePeriodSeconds");
    errors.extend((!grace.is_set()).then(|| grace.required("")));
    let (volumes, wrong) = Volumes::validate(&spec.get("volumes"), claims);
    errors.extend(wrong);
    errors.extend(containers::validate_all(spec, &volumes));
    errors.extend(host_ports_differ(spec, subject));
    errors.extend(spec.get("restartPolicy").one_of(RESTART_POLICIES));
    errors.extend(spec.get("dnsPolicy").one_of(DNS_POLICIES));
    errors.extend(metadata::validate_labels(&spec.get("nodeSelector")));
    errors.extend(validate_security(&spec.get("securityContext")));
    errors.extend(validate_dns_config(spec));
    errors.extend(scheduling::validate_gates(spec));
    errors.extend(scheduling::validate_spread(&spec.get("topologySpreadConstraints")));
    errors.extend(validate_names(spec));
    errors.extend(scheduling::validate_tolerations(&spec.get("tolerations")));
    errors.extend(validate_host_aliases(&spec.get("hostAliases")));
    errors.extend(validate_classes(spec));
    errors
}

/// A pod in its node's network has no ports but the node's.
fn host_ports_differ(spec: &Field<'_>, subject: Subject) -> Vec<FieldError> {
    if !spec.get("hostNetwork").truth() {
        return Vec::new();
    }
    let number = |field: Field<'_>| field.integer().unwrap_or(0);
    let differs = |port: &Field<'_>| {
        let (host, container) = (number(port.get("hostPort")), number(port.get("containerPort")));
        (subject == Subject::Pod || host != 0) && host != container
    };
    let ports = spec.get("containers").items().flat_map(|container| container.get("ports").items());
    ports
        .filter(differs)
        .map(|port| {
            let detail = "must match `containerPort` when `hostNetwork` is true";
            FieldError::invalid(port.get("hostPort").path(), number(port.get("hostPort")), detail)
        })
        .collect()
}

fn validate_security(security: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for name in ["fsGroup", "runAsUser", "runAsGroup"] {
        errors.extend(validate_id(&security.get(name)));
    }
    errors.extend(security.get("supplementalGroups").items().filter_map(|group| validate_id(&group)));
    errors
}

fn validate_id(id: &Field<'_>) -> Option<FieldError> {
    let number = id.integer()?;
    let detail = "must be between 0 and 2147483647, inclusive";
    (!(0..=MAX_SECONDS).contains(&number)).then(|| id.invalid(detail))
}

fn validate_dns_config(spec: &Field<'_>) -> Vec<FieldError> {
    let config = spec.get("dnsConfig");
    let (servers, searches) = (config.get("nameservers"), config.get("searches"));
    if spec.get("dnsPolicy").text() == "None" {
        if !config.is_set() {
            return vec![config.required("must provide `dnsConfig` when `dnsPolicy` is None")];
        }
        if servers.is_empty() {
            return vec![servers.required("must provide at least one DNS nameserver when `dnsPolicy` is None")];
        }
    }
    let mut errors = Vec::new();
    if servers.list().len() > MAX_NAMESERVERS {
        errors.push(servers.invalid(format!("must not have more than {MAX_NAMESERVERS} nameservers")));
    }
    errors.extend(servers.items().filter_map(|server| address::validate_address(&server, &Field::nothing())));
    if searches.list().len() > MAX_SEARCHES {
        errors.push(searches.invalid(format!("must not have more than {MAX_SEARCHES} search paths")));
    }
    if searches.texts().collect::<Vec<_>>().join(" ").len() > MAX_SEARCH_CHARACTERS {
        errors.push(searches.invalid(format!(
            "must not have more than {MAX_SEARCH_CHARACTERS} characters (including spaces) in the search list"
        )));
    }
    errors.extend(searches.items().flat_map(|search| validate_search(&search)));
    let nameless = config.get("options").items().filter(|option| option.get("name").is_empty());
    errors.extend(nameless.map(|option| option.required("must not be empty")));
    errors
}

fn validate_search(search: &Field<'_>) -> Vec<FieldError> {
    let text = search.text();
    if text == "." {
        return Vec::new();
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    let wrong = names::subdomain_with_underscores(text);
    wrong.into_iter().map(|wrong| FieldError::invalid(search.path(), text, wrong)).collect()
}

fn validate_names(spec: &Field<'_>) -> Vec<FieldError> {
    let malformed = |name: &str, format: names::Format| -> Vec<FieldError> {
        let name = spec.get(name);
        if name.is_empty() { Vec::new() } else { name.malformed(format).collect() }
    };
    let mut errors = malformed("serviceAccountName", names::subdomain);
    errors.extend(malformed("nodeName", names::subdomain));
    let deadline = spec.get("activeDeadlineSeconds");
    if deadline.integer().is_some_and(|seconds| !(1..=MAX_SECONDS).contains(&seconds)) {
        errors.push(deadline.invalid(format!("must be between 1 and {MAX_SECONDS}, inclusive")));
    }
    errors.extend(malformed("hostname", names::label));
    errors.extend(malformed("subdomain", names::label));
    errors
}

fn validate_host_aliases(aliases: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for alias in aliases.items() {
        errors.extend(address::validate_address(&alias.get("ip"), &Field::nothing()));
        errors.extend(alias.get("hostnames").items().flat_map(|name| name.malformed(names::subdomain)));
    }
    errors
}

fn validate_classes(spec: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let priority = spec.get("priorityClassName");
    if !priority.is_empty() {
        errors.extend(priority.malformed(names::subdomain));
    }
    if spec.get("runtimeClassName").is_set() {
        errors.extend(spec.get("runtimeClassName").malformed(names::subdomain));
    }
    if spec.get("preemptionPolicy").is_set() {
        errors.extend(spec.get("preemptionPolicy").one_of(PREEMPTION_POLICIES));
    }
    errors
}

#[cfg(test)]
mod tests;
