//! NetworkPolicies.

use ipnet::IpNet;
use serde_json::json;

use super::field::Field;
use super::fill::{Fill, Object};
use super::{Generation, Rules, address, names, port, selector};
use crate::error::FieldError;
use crate::table;

pub(super) static RULES: Rules = Rules {
    generation: Generation::Content,
    default,
    validate,
    printer: table::network::NETWORK_POLICY,
    ..Rules::PLAIN
};

const PROTOCOLS: &[&str] = &["TCP", "UDP", "SCTP"];
const POLICY_TYPES: &[&str] = &["Ingress", "Egress"];
/// The lists of rules, each with the name its peers have there.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

fn default(policy: &mut Object) {
    let spec = policy.object("spec");
    spec.object("podSelector");
    for (rules, _) in DIRECTIONS {
        for port in spec.objects(rules).flat_map(|rule| rule.objects("ports")) {
            port.fill("protocol", "TCP");
        }
    }
    if spec.objects("egress").next().is_some() {
        fill_types(spec, POLICY_TYPES);
    } else {
        fill_types(spec, &POLICY_TYPES[..1]);
    }
}

fn fill_types(spec: &mut Object, types: &[&str]) {
    let given = spec.get("policyTypes").and_then(|types| types.as_array());
    if given.is_none_or(Vec::is_empty) {
        spec.insert("policyTypes".into(), json!(types));
    }
}

fn validate(policy: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let spec = policy.get("spec");
    let known = blocks_of(&old.get("spec"));
    let mut errors = selector::validate(&spec.get("podSelector"));
    for (rules, peers) in DIRECTIONS {
        for rule in spec.get(rules).items() {
            errors.extend(rule.get("ports").items().flat_map(|port| validate_port(&port)));
            errors.extend(rule.get(peers).items().flat_map(|peer| validate_peer(&peer, &known)));
        }
    }
    errors.extend(validate_types(&spec.get("policyTypes")));
    errors
}

fn validate_types(types: &Field<'_>) -> Vec<FieldError> {
    if types.list().len() > POLICY_TYPES.len() {
        return vec![types.invalid("may not specify more than two policyTypes")];
    }
    let unknown = types.items().filter(|name| !POLICY_TYPES.contains(&name.text()));
    unknown.map(|name| name.not_supported(POLICY_TYPES)).collect()
}

fn validate_port(entry: &Field<'_>) -> Vec<FieldError> {
    let (protocol, port, end) = (entry.get("protocol"), entry.get("port"), entry.get("endPort"));
    let mut errors = Vec::new();
    if protocol.is_set() && !PROTOCOLS.contains(&protocol.text()) {
        errors.push(protocol.not_supported(PROTOCOLS));
    }
    if let Some(number) = port.integer() {
        errors.extend(port::validate_number(&port));
        if let Some(last) = end.integer() {
            // Kubernetes shows the first port here.
            let wrong = FieldError::invalid(end.path(), number, "must be greater than or equal to `port`");
            errors.extend((last < number).then_some(wrong));
            errors.extend(port::validate_number(&end));
        }
    } else if port.is_set() {
        errors.extend(end.is_set().then(|| end.invalid("may not be specified when `port` is non-numeric")));
        errors.extend(port.malformed(names::port_name));
    } else if end.is_set() {
        errors.push(end.invalid("may not be specified when `port` is not specified"));
    }
    errors
}

fn validate_peer(peer: &Field<'_>, known: &[&str]) -> Vec<FieldError> {
    let (pods, namespaces, block) = (peer.get("podSelector"), peer.get("namespaceSelector"), peer.get("ipBlock"));
    let mut errors = selector::validate(&pods);
    errors.extend(selector::validate(&namespaces));
    if block.is_set() {
        errors.extend(validate_block(&block, known));
    }
    match (pods.is_set() || namespaces.is_set(), block.is_set()) {
        (false, false) => errors.push(peer.required("must specify a peer")),
        (true, true) => errors.push(peer.forbidden("may not specify both ipBlock and another peer")),
        _ => {}
    }
    errors
}

fn validate_block(block: &Field<'_>, known: &[&str]) -> Vec<FieldError> {
    let whole = block.get("cidr");
    if whole.is_empty() {
        return vec![whole.required("")];
    }
    let malformed = |cidr: &Field<'_>| {
        let wrong = address::wrong_with_block(cidr.text()).filter(|_| !known.contains(&cidr.text()));
        wrong.map(|wrong| cidr.invalid(wrong))
    };
    let mut errors: Vec<FieldError> = malformed(&whole).into_iter().collect();
    let Ok(outer) = whole.text().parse::<IpNet>() else { return errors };
    for except in block.get("except").items() {
        errors.extend(malformed(&except));
        let Ok(inner) = except.text().parse::<IpNet>() else { continue };
        if !outer.contains(&inner.network()) || outer.prefix_len() >= inner.prefix_len() {
            errors.push(except.invalid("must be a strict subset of `cidr`"));
        }
    }
    errors
}

/// Every block a stored policy names: they stay valid even if the rules became stricter.
fn blocks_of<'a>(spec: &Field<'a>) -> Vec<&'a str> {
    let rules = DIRECTIONS.iter().flat_map(|(rules, peers)| {
        spec.get(rules).items().flat_map(|rule| rule.get(peers).items()).map(|peer| peer.get("ipBlock"))
    });
    rules.flat_map(|block| block.get("except").texts().chain(block.get("cidr").text_if_set())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn errors(spec: &Value) -> Vec<String> {
        let policy = json!({ "spec": spec });
        validate(&Field::root(&policy), &Field::nothing()).iter().map(ToString::to_string).collect()
    }

    fn peer(peer: &Value) -> Vec<String> {
        errors(&json!({"ingress": [{"from": [peer]}]}))
    }

    fn port(port: &Value) -> Vec<String> {
        errors(&json!({"egress": [{"ports": [port]}]}))
    }

    #[test]
    fn a_policy_is_about_ingress_and_about_egress_if_it_has_such_rules() {
        let types = |spec: Value| {
            let mut policy = json!({ "spec": spec });
            default(policy.as_object_mut().expect("an object"));
            policy["spec"]["policyTypes"].take()
        };
        assert_eq!(types(json!({})), json!(["Ingress"]));
        assert_eq!(types(json!({"egress": []})), json!(["Ingress"]));
        assert_eq!(types(json!({"egress": [{}]})), json!(["Ingress", "Egress"]));
        assert_eq!(types(json!({"egress": [{}], "policyTypes": ["Egress"]})), json!(["Egress"]));
    }

    #[test]
    fn a_peer_is_pods_or_a_block() {
        assert_eq!(peer(&json!({})), ["spec.ingress[0].from[0]: Required value: must specify a peer"]);
        assert_eq!(
            peer(&json!({"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}})),
            ["spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer"]
        );
        assert!(peer(&json!({"podSelector": {}, "namespaceSelector": {}})).is_empty());
    }

    #[test]
    fn exceptions_lie_within_their_block() {
        assert_eq!(
            peer(&json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "11.0.0.0/16", "10.0.0.0/8"]}})),
            [
                "spec.ingress[0].from[0].ipBlock.except[1]: Invalid value: \"11.0.0.0/16\": \
                 must be a strict subset of `cidr`",
                "spec.ingress[0].from[0].ipBlock.except[2]: Invalid value: \"10.0.0.0/8\": \
                 must be a strict subset of `cidr`",
            ]
        );
        assert_eq!(
            peer(&json!({"ipBlock": {"cidr": "10.0.0.1/8"}})),
            ["spec.ingress[0].from[0].ipBlock.cidr: Invalid value: \"10.0.0.1/8\": \
              must not have bits set beyond the prefix length"]
        );
    }

    #[test]
    fn a_range_of_ports_starts_with_a_number() {
        assert!(port(&json!({"port": 80, "endPort": 90})).is_empty());
        assert_eq!(
            port(&json!({"port": 80, "endPort": 70})),
            ["spec.egress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`"]
        );
        assert_eq!(
            port(&json!({"port": "http", "endPort": 70})),
            ["spec.egress[0].ports[0].endPort: Invalid value: 70: may not be specified when `port` is non-numeric"]
        );
        assert_eq!(
            port(&json!({"endPort": 70})),
            ["spec.egress[0].ports[0].endPort: Invalid value: 70: may not be specified when `port` is not specified"]
        );
    }

    #[test]
    fn protocols_and_policy_types_are_known_ones() {
        assert_eq!(
            port(&json!({"protocol": "ICMP"})),
            ["spec.egress[0].ports[0].protocol: Unsupported value: \"ICMP\": \
              supported values: \"TCP\", \"UDP\", \"SCTP\""]
        );
        assert_eq!(
            errors(&json!({"policyTypes": ["Both"]})),
            ["spec.policyTypes[0]: Unsupported value: \"Both\": supported values: \"Ingress\", \"Egress\""]
        );
    }
}
