//! Endpoints, the older list of where a Service's traffic goes.

use super::field::Field;
use super::fill::{Fill, Object};
use super::{Rules, address, names, port};
use crate::error::FieldError;
use crate::table;

pub(super) static RULES: Rules = Rules { default, validate, printer: table::network::ENDPOINTS, ..Rules::PLAIN };

fn default(endpoints: &mut Object) {
    for subset in endpoints.objects("subsets") {
        for port in subset.objects("ports") {
            port.fill_text("protocol", "TCP");
        }
    }
}

fn validate(endpoints: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let subsets = endpoints.get("subsets");
    if old.is_set() && old.get("subsets").value() == subsets.value() {
        return Vec::new();
    }
    subsets.items().flat_map(|subset| validate_subset(&subset)).collect()
}

fn validate_subset(subset: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let lists = [subset.get("addresses"), subset.get("notReadyAddresses")];
    if lists.iter().all(Field::is_empty) {
        errors.push(subset.required("must specify `addresses` or `notReadyAddresses`"));
    }
    errors.extend(lists.iter().flat_map(Field::items).flat_map(|address| validate_address(&address)));
    let several = subset.get("ports").list().len() > 1;
    errors.extend(subset.get("ports").items().flat_map(|port| validate_port(&port, several)));
    errors
}

fn validate_address(endpoint: &Field<'_>) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> =
        address::validate_address(&endpoint.get("ip"), &Field::nothing()).into_iter().collect();
    if !endpoint.get("hostname").is_empty() {
        errors.extend(endpoint.get("hostname").malformed(names::label));
    }
    if endpoint.get("nodeName").is_set() {
        errors.extend(endpoint.get("nodeName").malformed(names::subdomain));
    }
    errors.extend(address::validate_destination(&endpoint.get("ip")));
    errors
}

fn validate_port(port: &Field<'_>, name_needed: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let name = port.get("name");
    if !name.is_empty() {
        errors.extend(name.malformed(names::label));
    } else if name_needed {
        errors.push(name.required(""));
    }
    errors.extend(port::validate_number(&port.get("port")));
    errors.extend(port::validate_protocol(&port.get("protocol")));
    if port.get("appProtocol").is_set() {
        errors.extend(port.get("appProtocol").malformed(names::label_key));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn errors(subsets: &Value) -> Vec<String> {
        let endpoints = json!({ "subsets": subsets });
        validate(&Field::root(&endpoints), &Field::nothing()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_subset_has_addresses() {
        assert_eq!(
            errors(&json!([{}])),
            ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]
        );
    }

    #[test]
    fn several_ports_have_names() {
        let ports = json!([{"port": 80, "protocol": "TCP"}, {"port": 0, "protocol": "tcp", "name": "a"}]);
        assert_eq!(
            errors(&json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": ports}])),
            [
                "subsets[0].ports[0].name: Required value",
                "subsets[0].ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "subsets[0].ports[1].protocol: Unsupported value: \"tcp\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            ]
        );
    }

    #[test]
    fn traffic_does_not_go_to_the_callers_own_loopback() {
        assert_eq!(
            errors(&json!([{"addresses": [{"ip": "127.0.0.1"}]}])),
            ["subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": \
              may not be in the loopback range (127.0.0.0/8, ::1/128)"]
        );
    }

    #[test]
    fn what_was_stored_is_not_judged_again() {
        let stored = json!({"subsets": [{}]});
        assert!(validate(&Field::root(&stored), &Field::root(&stored)).is_empty());
    }
}
