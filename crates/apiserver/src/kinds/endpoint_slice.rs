//! EndpointSlices: where a Service's traffic goes, in pieces.

use super::field::Field;
use super::fill::{Fill, Object};
use super::metadata::IMMUTABLE;
use super::{Generation, Rules, address, names, port};
use crate::error::FieldError;
use crate::table;

pub(super) static RULES: Rules = Rules {
    generation: Generation::ContentAndLabels,
    default,
    validate,
    printer: table::network::ENDPOINT_SLICE,
    ..Rules::PLAIN
};

const ADDRESS_TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];
const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const MAX_HINTS: usize = 8;

fn default(slice: &mut Object) {
    for endpoint in slice.objects("endpoints") {
        endpoint.object("conditions");
        // Readable in v1 for what older versions wrote, never writable.
        endpoint.remove("deprecatedTopology");
    }
    for port in slice.objects("ports") {
        port.fill("name", "");
        port.fill("protocol", "TCP");
    }
}

fn validate(slice: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let (kind, endpoints) = (slice.get("addressType"), slice.get("endpoints"));
    let mut errors: Vec<FieldError> = kind.one_of(ADDRESS_TYPES).into_iter().collect();
    errors.extend(validate_ports(&slice.get("ports")));
    if !old.is_set() || old.get("endpoints").value() != endpoints.value() {
        errors.extend(validate_endpoints(&endpoints, kind.text()));
    }
    if old.is_set() && old.get("addressType").text() != kind.text() {
        errors.push(kind.invalid(IMMUTABLE));
    }
    errors
}

fn validate_ports(ports: &Field<'_>) -> Vec<FieldError> {
    if let Some(too_many) = at_most(ports, MAX_PORTS) {
        return vec![too_many];
    }
    let mut errors = Vec::new();
    let mut names_seen = Vec::new();
    for port in ports.items() {
        let name = port.get("name");
        if !name.is_empty() {
            errors.extend(name.malformed(names::label));
        }
        if names_seen.contains(&name.text()) {
            errors.push(name.duplicate());
        }
        names_seen.push(name.text());
        errors.extend(port::validate_protocol(&port.get("protocol")));
        if port.get("appProtocol").is_set() {
            errors.extend(port.get("appProtocol").malformed(names::label_key));
        }
    }
    errors
}

fn validate_endpoints(endpoints: &Field<'_>, kind: &str) -> Vec<FieldError> {
    match at_most(endpoints, MAX_ENDPOINTS) {
        Some(too_many) => vec![too_many],
        None => endpoints.items().flat_map(|endpoint| validate_endpoint(&endpoint, kind)).collect(),
    }
}

fn validate_endpoint(endpoint: &Field<'_>, kind: &str) -> Vec<FieldError> {
    let addresses = endpoint.get("addresses");
    let mut errors = Vec::new();
    if addresses.is_empty() {
        errors.push(addresses.required("must contain at least 1 address"));
    }
    errors.extend(at_most(&addresses, MAX_ADDRESSES));
    errors.extend(addresses.items().flat_map(|address| validate_address(&address, &addresses, kind)));
    if endpoint.get("nodeName").is_set() {
        errors.extend(endpoint.get("nodeName").malformed(names::subdomain));
    }
    if endpoint.get("hostname").is_set() {
        errors.extend(endpoint.get("hostname").malformed(names::label));
    }
    errors.extend(validate_hints(&endpoint.get("hints")));
    errors
}

fn validate_address(one: &Field<'_>, all: &Field<'_>, kind: &str) -> Vec<FieldError> {
    let (malformed, fits) = match kind {
        "IPv4" => (address::validate_address(one, &Field::nothing()), !one.text().contains(':')),
        "IPv6" => (address::validate_canonical_address(one), one.text().contains(':')),
        "FQDN" => return validate_domain_name(one),
        _ => return Vec::new(),
    };
    if let Some(malformed) = malformed {
        return vec![malformed];
    }
    let mut errors = Vec::new();
    if !fits {
        errors.push(FieldError::invalid(all.path(), one.text(), format!("must be an {kind} address")));
    }
    errors.extend(address::validate_destination(one));
    errors
}

fn validate_domain_name(name: &Field<'_>) -> Vec<FieldError> {
    if name.is_empty() {
        return vec![name.required("")];
    }
    let text = name.text().strip_suffix('.').unwrap_or(name.text());
    let invalid = |text: &str, wrong: &[String]| vec![FieldError::invalid(name.path(), text, wrong.join(","))];
    let wrong = names::subdomain(text);
    if !wrong.is_empty() {
        return invalid(text, &wrong);
    }
    if !text.contains('.') {
        return invalid(text, &["should be a domain with at least two segments separated by dots".to_owned()]);
    }
    let mut labels = text.split('.').map(|label| (label, names::label(label)));
    labels.find(|(_, wrong)| !wrong.is_empty()).map_or_else(Vec::new, |(label, wrong)| invalid(label, &wrong))
}

fn validate_hints(hints: &Field<'_>) -> Vec<FieldError> {
    let sorts: [(&str, names::Format); 2] = [("forZones", names::label_value), ("forNodes", names::subdomain)];
    let mut errors = Vec::new();
    for (list, rule) in sorts {
        let list = hints.get(list);
        if let Some(too_many) = at_most(&list, MAX_HINTS) {
            errors.push(too_many);
            return errors;
        }
        let mut seen = Vec::new();
        for name in list.items().map(|hint| hint.get("name")) {
            if seen.contains(&name.text()) {
                errors.push(name.duplicate());
            }
            seen.push(name.text());
            errors.extend(name.malformed(rule));
        }
    }
    errors
}

fn at_most(list: &Field<'_>, limit: usize) -> Option<FieldError> {
    let actual = list.list().len();
    (actual > limit).then(|| FieldError::too_many(list.path(), actual, limit))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn errors(slice: &Value, old: Option<&Value>) -> Vec<String> {
        let old = old.map_or_else(Field::nothing, Field::root);
        validate(&Field::root(slice), &old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_are_of_the_slices_type() {
        let of = |kind: &str, address: &str| {
            errors(&json!({"addressType": kind, "endpoints": [{"addresses": [address]}]}), None)
        };
        assert!(of("IPv4", "10.0.0.1").is_empty());
        assert!(of("IPv6", "fd00::1").is_empty());
        assert!(of("FQDN", "a.example.com.").is_empty());
        assert_eq!(
            of("IPv4", "fd00::1"),
            ["endpoints[0].addresses: Invalid value: \"fd00::1\": must be an IPv4 address"]
        );
        assert_eq!(
            of("FQDN", "local"),
            ["endpoints[0].addresses[0]: Invalid value: \"local\": \
              should be a domain with at least two segments separated by dots"]
        );
        assert_eq!(
            of("Email", "a"),
            ["addressType: Unsupported value: \"Email\": supported values: \"FQDN\", \"IPv4\", \"IPv6\""]
        );
    }

    #[test]
    fn the_address_type_never_changes() {
        let old = json!({"addressType": "IPv4", "endpoints": []});
        let new = json!({"addressType": "IPv6", "endpoints": []});
        assert_eq!(errors(&new, Some(&old)), ["addressType: Invalid value: \"IPv6\": field is immutable"]);
    }

    #[test]
    fn limits_are_named() {
        let many = vec![json!({"addresses": ["10.0.0.1"]}); 1001];
        assert_eq!(
            errors(&json!({"addressType": "IPv4", "endpoints": many}), None),
            ["endpoints: Too many: 1001: must have at most 1000 items"]
        );
        assert_eq!(
            errors(&json!({"addressType": "IPv4", "endpoints": [{"addresses": []}]}), None),
            ["endpoints[0].addresses: Required value: must contain at least 1 address"]
        );
    }

    #[test]
    fn port_names_are_unique() {
        let ports = json!([{"name": "", "protocol": "TCP"}, {"name": "", "protocol": "TCP"}]);
        assert_eq!(
            errors(&json!({"addressType": "IPv4", "ports": ports}), None),
            ["ports[1].name: Duplicate value: \"\""]
        );
    }
}
