//! The rules of a Service.

use serde_json::{Value, json};

use super::{addresses, is_headless, is_reachable_from_outside, needs_health_check};
use crate::error::FieldError;
use crate::kinds::field::Field;
use crate::kinds::{address, metadata, names, port};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const AFFINITIES: &[&str] = &["ClientIP", "None"];
const TRAFFIC_POLICIES: &[&str] = &["Cluster", "Local"];
const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameZone", "PreferSameNode"];
const AFFINITY_TIMEOUT_LIMIT_SECONDS: i64 = 86_400;
const SOURCE_RANGES_ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const LOAD_BALANCER_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";

/// What is wrong with a Service; `old` is the stored one, or nothing.
pub(super) fn validate(service: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let (spec, old_spec) = (service.get("spec"), old.get("spec"));
    let mut errors = if old.is_set() { validate_change(&spec, &old_spec) } else { Vec::new() };
    errors.extend(validate_by_type(&spec));
    let several = spec.get("ports").list().len() > 1;
    let mut names_seen = Vec::new();
    for port in spec.get("ports").items() {
        errors.extend(validate_port(&port, several, &mut names_seen));
    }
    errors.extend(metadata::validate_labels(&spec.get("selector")));
    errors.extend(validate_affinity(&spec));
    errors.extend(addresses::validate(&spec, &old_spec));
    errors.extend(validate_external_addresses(&spec.get("externalIPs"), &old_spec.get("externalIPs")));
    errors.extend(spec.get("type").one_of(TYPES));
    errors.extend(validate_node_ports(&spec));
    errors.extend(duplicate_ports(&spec.get("ports")));
    errors.extend(validate_source_ranges(service, old));
    errors.extend(validate_load_balancer_ports(&spec));
    errors.extend(validate_class(&spec));
    errors.extend(validate_traffic_policies(&spec));
    errors
}

fn validate_change(spec: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let mut errors = addresses::validate_change(spec, old);
    let class = spec.get("loadBalancerClass");
    let is_load_balancer = |spec: &Field<'_>| spec.get("type").text() == "LoadBalancer";
    if is_load_balancer(spec) && is_load_balancer(old) {
        let same = class.value() == old.get("loadBalancerClass").value();
        let shown = class.value().cloned().unwrap_or(Value::Null);
        errors.extend((!same).then(|| FieldError::invalid(class.path(), shown, "may not change once set")));
    }
    errors.extend(validate_class(spec));
    errors.extend(health_check_port_kept(spec, old));
    errors
}

fn validate_by_type(spec: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let kind = spec.get("type").text();
    let headless = is_headless(spec);
    if spec.get("ports").is_empty() && !headless && kind != "ExternalName" {
        errors.push(spec.get("ports").required(""));
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.extend(spec.get("clusterIPs").items().next().map(|first| first.invalid(detail)));
        }
        "ExternalName" => errors.extend(validate_external_name(spec)),
        _ => {}
    }
    errors
}

fn validate_external_name(spec: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for name in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let field = spec.get(name);
        errors.extend((!field.is_empty()).then(|| field.forbidden("may not be set for ExternalName services")));
    }
    let name = spec.get("externalName");
    let relative = name.text().strip_suffix('.').unwrap_or(name.text());
    if relative.is_empty() {
        errors.push(name.required(""));
    } else {
        let wrong = names::subdomain(relative);
        errors.extend(wrong.into_iter().map(|wrong| FieldError::invalid(name.path(), relative, wrong)));
    }
    errors
}

fn validate_port<'a>(port: &Field<'a>, name_needed: bool, names_seen: &mut Vec<&'a str>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let name = port.get("name");
    if !name.is_empty() {
        errors.extend(name.malformed(names::label));
        if names_seen.contains(&name.text()) {
            errors.push(name.duplicate());
        }
        names_seen.push(name.text());
    } else if name_needed {
        errors.push(name.required(""));
    }
    errors.extend(port::validate_number(&port.get("port")));
    errors.extend(port::validate_protocol(&port.get("protocol")));
    errors.extend(port::validate_number_or_name(&port.get("targetPort")));
    let app_protocol = port.get("appProtocol");
    if app_protocol.is_set() {
        errors.extend(app_protocol.malformed(names::label_key));
    }
    errors
}

fn validate_affinity(spec: &Field<'_>) -> Vec<FieldError> {
    let (affinity, config) = (spec.get("sessionAffinity"), spec.get("sessionAffinityConfig"));
    let mut errors: Vec<FieldError> = affinity.one_of(AFFINITIES).into_iter().collect();
    match affinity.text() {
        "ClientIP" => errors.extend(validate_affinity_config(&config)),
        "None" if config.is_set() => errors.push(config.forbidden("must not be set when session affinity is None")),
        _ => {}
    }
    errors
}

fn validate_affinity_config(config: &Field<'_>) -> Option<FieldError> {
    let client = config.get("clientIP");
    let timeout = client.get("timeoutSeconds");
    if let Some(missing) = [config, &client, &timeout].into_iter().find(|field| !field.is_set()) {
        return Some(missing.required("when session affinity type is ClientIP"));
    }
    let in_range = timeout.integer().is_some_and(|seconds| seconds > 0 && seconds <= AFFINITY_TIMEOUT_LIMIT_SECONDS);
    let detail = format!("must be greater than 0 and less than {AFFINITY_TIMEOUT_LIMIT_SECONDS}");
    (!in_range).then(|| timeout.invalid(detail))
}

fn validate_external_addresses(addresses: &Field<'_>, known: &Field<'_>) -> Vec<FieldError> {
    let judge = |address: Field<'_>| match address::validate_address(&address, known) {
        Some(malformed) => vec![malformed],
        None => address::validate_destination(&address),
    };
    addresses.items().flat_map(judge).collect()
}

fn validate_node_ports(spec: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let chosen = |port: &Field<'_>| port.get("nodePort").integer().is_some_and(|number| number != 0);
    let ports = || spec.get("ports").items().filter(chosen);
    if spec.get("type").text() == "ClusterIP" {
        let detail = "may not be used when `type` is 'ClusterIP'";
        errors.extend(ports().map(|port| port.get("nodePort").forbidden(detail)));
    }
    let mut seen = Vec::new();
    for port in ports() {
        let key = (port.get("protocol").text(), port.get("nodePort").integer());
        if seen.contains(&key) {
            errors.push(port.get("nodePort").duplicate());
        }
        seen.push(key);
    }
    errors
}

fn duplicate_ports(ports: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = Vec::new();
    for port in ports.items() {
        let key = (port.get("protocol").text(), port.get("port").integer().unwrap_or(0));
        if seen.contains(&key) {
            // The shape in which Kubernetes shows a port it built for comparison.
            let shown = json!({
                "Name": "", "Protocol": key.0, "AppProtocol": null, "Port": key.1, "TargetPort": 0, "NodePort": 0,
            });
            errors.push(FieldError::duplicate(port.path(), shown));
        }
        seen.push(key);
    }
    errors
}

fn validate_source_ranges(service: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let spec = service.get("spec");
    let is_load_balancer = spec.get("type").text() == "LoadBalancer";
    let known = old.get("spec").get("loadBalancerSourceRanges");
    // Kubernetes capitalises this one path.
    let ranges = spec.get("loadBalancerSourceRanges").at("spec.LoadBalancerSourceRanges");
    let annotation = service.get("metadata").get("annotations").key(SOURCE_RANGES_ANNOTATION);
    let mut errors = Vec::new();
    if !ranges.is_empty() {
        errors.extend((!is_load_balancer).then(|| ranges.forbidden(LOAD_BALANCER_ONLY)));
        errors.extend(ranges.items().filter_map(|range| address::validate_block(&range, &known)));
    } else if annotation.is_set() {
        errors.extend((!is_load_balancer).then(|| annotation.forbidden(LOAD_BALANCER_ONLY)));
        let before = old.get("metadata").get("annotations").key(SOURCE_RANGES_ANNOTATION);
        if before.value() != annotation.value() && !annotation.text().trim().is_empty() {
            let ranges = annotation.text().split(',').map(str::trim);
            let wrong = ranges.filter_map(|range| Some((range, address::wrong_with_block(range)?)));
            errors.extend(wrong.map(|(range, detail)| FieldError::invalid(annotation.path(), range, detail)));
        }
    }
    errors
}

fn validate_load_balancer_ports(spec: &Field<'_>) -> Option<FieldError> {
    let allocate = spec.get("allocateLoadBalancerNodePorts");
    match (spec.get("type").text() == "LoadBalancer", allocate.is_set()) {
        (false, true) => Some(allocate.forbidden(LOAD_BALANCER_ONLY)),
        // Kubernetes names this one field without its parent.
        (true, false) => Some(allocate.at("allocateLoadBalancerNodePorts").required("")),
        _ => None,
    }
}

fn validate_class(spec: &Field<'_>) -> Vec<FieldError> {
    let class = spec.get("loadBalancerClass");
    match (class.is_set(), spec.get("type").text()) {
        (false, _) => Vec::new(),
        (true, "LoadBalancer") => class.malformed(names::label_key).collect(),
        (true, _) => vec![class.forbidden(LOAD_BALANCER_ONLY)],
    }
}

fn validate_traffic_policies(spec: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let external = spec.get("externalTrafficPolicy");
    if spec.map().is_some_and(is_reachable_from_outside) {
        errors.extend(external.one_of(TRAFFIC_POLICIES));
    } else if !external.is_empty() {
        errors.push(external.invalid("may only be set for externally-accessible services"));
    }
    errors.extend(validate_health_check_port(spec));
    let internal = spec.get("internalTrafficPolicy");
    if internal.is_set() {
        let known = TRAFFIC_POLICIES.contains(&internal.text());
        errors.extend((!known).then(|| internal.not_supported(TRAFFIC_POLICIES)));
    } else if matches!(spec.get("type").text(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        errors.push(internal.required(""));
    }
    let distribution = spec.get("trafficDistribution");
    if distribution.is_set() && !DISTRIBUTIONS.contains(&distribution.text()) {
        errors.push(distribution.not_supported(DISTRIBUTIONS));
    }
    errors
}

fn validate_health_check_port(spec: &Field<'_>) -> Option<FieldError> {
    let port = spec.get("healthCheckNodePort");
    let chosen = port.integer().is_some_and(|number| number != 0);
    match (spec.map().is_some_and(needs_health_check), chosen) {
        (false, true) => {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            Some(port.invalid(detail))
        }
        (true, false) => Some(port.required("")),
        (true, true) => port::validate_number(&port),
        (false, false) => None,
    }
}

fn health_check_port_kept(spec: &Field<'_>, old: &Field<'_>) -> Option<FieldError> {
    let needed = |spec: &Field<'_>| spec.map().is_some_and(needs_health_check);
    let (port, before) = (spec.get("healthCheckNodePort"), old.get("healthCheckNodePort"));
    (needed(spec) && needed(old) && port.integer() != before.integer()).then(|| port.forbidden(metadata::IMMUTABLE))
}
