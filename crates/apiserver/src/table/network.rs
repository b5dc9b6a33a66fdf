//! Services, where they lead, and what is let in and through.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::read::{NONE, count, first_three, items, labels, text, text_or};
use super::{Column, Printer, age, name};
use crate::select::LabelSelector;

pub(crate) const SERVICE: Printer = Printer {
    columns: &[
        Column::NAME,
        Column::text("Type", "How the service is reached."),
        Column::text("Cluster-IP", "The service's address inside the cluster."),
        Column::text("External-IP", "The service's addresses or name outside of the cluster."),
        Column::text("Port(s)", "The service's ports, with the port on every node where it has one."),
        Column::AGE,
        Column::text("Selector", "The labels of the pods behind the service.").wide(),
    ],
    cells: service,
};

pub(crate) const ENDPOINTS: Printer = Printer {
    columns: &[Column::NAME, Column::text("Endpoints", "Addresses and ports that are ready."), Column::AGE],
    cells: |endpoints, now| vec![name(endpoints), json!(ready_endpoints(endpoints)), age(endpoints, now)],
};

pub(crate) const ENDPOINT_SLICE: Printer = Printer {
    columns: &[
        Column::NAME,
        Column::text("AddressType", "What sort of addresses the slice holds."),
        Column::text("Ports", "The ports of every endpoint of the slice."),
        Column::text("Endpoints", "The addresses of the slice."),
        Column::AGE,
    ],
    cells: endpoint_slice,
};

pub(crate) const INGRESS: Printer = Printer {
    columns: &[
        Column::NAME,
        Column::text("Class", "The class of controller that serves the ingress."),
        Column::text("Hosts", "The hosts whose requests the rules are for."),
        Column::text("Address", "Where requests come in."),
        Column::text("Ports", "The ports requests come in at."),
        Column::AGE,
    ],
    cells: ingress,
};

pub(crate) const INGRESS_CLASS: Printer = Printer {
    columns: &[
        Column::NAME,
        Column::text("Controller", "The controller that serves this class."),
        Column::text("Parameters", "The object that holds more of its configuration."),
        Column::AGE,
    ],
    cells: ingress_class,
};

pub(crate) const NETWORK_POLICY: Printer = Printer {
    columns: &[Column::NAME, Column::text("Pod-Selector", "The pods the policy applies to."), Column::AGE],
    cells: |policy, now| vec![name(policy), json!(selector(&policy["spec"]["podSelector"])), age(policy, now)],
};

/// A selector object as text, `<none>` if it selects everything.
pub(super) fn selector(selector: &Value) -> String {
    let text = if selector.is_object() { LabelSelector::from_object(selector).to_string() } else { String::new() };
    if text.is_empty() { NONE.to_owned() } else { text }
}

fn service(service: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &service["spec"];
    let ports: Vec<String> = items(&spec["ports"]).iter().map(service_port).collect();
    vec![
        name(service),
        spec["type"].clone(),
        json!(text_or(&spec["clusterIPs"][0], NONE)),
        json!(external_addresses(service)),
        json!(if ports.is_empty() { NONE.to_owned() } else { ports.join(",") }),
        age(service, now),
        json!(labels(&spec["selector"])),
    ]
}

fn service_port(port: &Value) -> String {
    let (number, protocol) = (count(&port["port"]), text(&port["protocol"]));
    match count(&port["nodePort"]) {
        0 => format!("{number}/{protocol}"),
        node_port => format!("{number}:{node_port}/{protocol}"),
    }
}

fn external_addresses(service: &Value) -> String {
    let spec = &service["spec"];
    let mut shown: Vec<String> = match text(&spec["type"]) {
        "ExternalName" => return text(&spec["externalName"]).to_owned(),
        "LoadBalancer" => load_balancer_addresses(service),
        "ClusterIP" | "NodePort" => Vec::new(),
        _ => return "<unknown>".to_owned(),
    };
    shown.extend(items(&spec["externalIPs"]).iter().map(|address| text(address).to_owned()));
    match (shown.is_empty(), text(&spec["type"])) {
        (true, "LoadBalancer") => "<pending>".to_owned(),
        (true, _) => NONE.to_owned(),
        (false, _) => shown.join(","),
    }
}

/// Addresses, or names where there is no address, sorted.
fn load_balancer_addresses(object: &Value) -> Vec<String> {
    let points = items(&object["status"]["loadBalancer"]["ingress"]).iter();
    let addresses: BTreeSet<&str> = points.map(|point| text_or(&point["ip"], text(&point["hostname"]))).collect();
    addresses.into_iter().filter(|address| !address.is_empty()).map(str::to_owned).collect()
}

fn ready_endpoints(endpoints: &Value) -> String {
    let subsets = items(&endpoints["subsets"]);
    if subsets.is_empty() {
        return NONE.to_owned();
    }
    let shown: Vec<String> = subsets.iter().flat_map(subset_endpoints).collect();
    first_three(&shown)
}

fn subset_endpoints(subset: &Value) -> Vec<String> {
    let addresses: Vec<&str> = items(&subset["addresses"]).iter().map(|address| text(&address["ip"])).collect();
    let ports = items(&subset["ports"]);
    if ports.is_empty() {
        return addresses.into_iter().map(str::to_owned).collect();
    }
    ports.iter().flat_map(|port| addresses.iter().map(|address| with_port(address, count(&port["port"])))).collect()
}

fn with_port(address: &str, port: i64) -> String {
    match address.parse() {
        Ok(IpAddr::V6(_)) => format!("[{address}]:{port}"),
        _ => format!("{address}:{port}"),
    }
}

fn endpoint_slice(slice: &Value, now: Timestamp) -> Vec<Value> {
    let port = |port: &Value| match port["port"].as_i64() {
        Some(number) => number.to_string(),
        None => port["name"].as_str().unwrap_or("*").to_owned(),
    };
    let ports: Vec<String> = items(&slice["ports"]).iter().map(port).collect();
    let endpoints = items(&slice["endpoints"]).iter().flat_map(|endpoint| items(&endpoint["addresses"]));
    let addresses: Vec<String> = endpoints.map(|address| text(address).to_owned()).collect();
    let shown = |list: &[String]| match first_three(list) {
        list if list.is_empty() => "<unset>".to_owned(),
        list => list,
    };
    vec![name(slice), slice["addressType"].clone(), json!(shown(&ports)), json!(shown(&addresses)), age(slice, now)]
}

fn ingress(ingress: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &ingress["spec"];
    let ports = if items(&spec["tls"]).is_empty() { "80" } else { "80, 443" };
    vec![
        name(ingress),
        json!(text_or(&spec["ingressClassName"], NONE)),
        json!(hosts(items(&spec["rules"]))),
        json!(load_balancer_addresses(ingress).join(",")),
        json!(ports),
        age(ingress, now),
    ]
}

/// The first three hosts; what follows counts as more, with a host or without.
fn hosts(rules: &[Value]) -> String {
    const SHOWN: usize = 3;
    let mut shown: Vec<&str> = Vec::new();
    let mut more = false;
    for host in rules.iter().map(|rule| text(&rule["host"])) {
        more |= shown.len() == SHOWN;
        if !more && !host.is_empty() {
            shown.push(host);
        }
    }
    match (shown.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (false, true) => format!("{} + {} more...", shown.join(","), rules.len() - SHOWN),
        (false, false) => shown.join(","),
    }
}

fn ingress_class(class: &Value, now: Timestamp) -> Vec<Value> {
    const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
    let own_name = text(&class["metadata"]["name"]);
    let is_default = text(&class["metadata"]["annotations"][DEFAULT]) == "true";
    let parameters = &class["spec"]["parameters"];
    let kind = match parameters["apiGroup"].as_str() {
        Some(group) => format!("{}.{group}", text(&parameters["kind"])),
        None => text(&parameters["kind"]).to_owned(),
    };
    vec![
        json!(if is_default { format!("{own_name} (default)") } else { own_name.to_owned() }),
        class["spec"]["controller"].clone(),
        json!(if parameters.is_object() { format!("{kind}/{}", text(&parameters["name"])) } else { NONE.to_owned() }),
        age(class, now),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(printer: &Printer, object: &Value) -> Vec<String> {
        let cells = (printer.cells)(object, Timestamp::UNIX_EPOCH);
        cells.iter().map(|cell| text(cell).to_owned()).collect()
    }

    #[test]
    fn a_service_shows_its_ports_with_those_of_the_nodes() {
        let service = json!({
            "metadata": {"name": "web"},
            "spec": {
                "type": "NodePort", "clusterIPs": ["10.96.0.7"], "selector": {"b": "2", "a": "1"},
                "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
            },
        });
        assert_eq!(
            cells(&SERVICE, &service),
            ["web", "NodePort", "10.96.0.7", "<none>", "80:30080/TCP,53/UDP", "<unknown>", "a=1,b=2"]
        );
    }

    #[test]
    fn external_addresses_depend_on_the_type() {
        let external =
            |spec: Value, status: Value| cells(&SERVICE, &json!({"spec": spec, "status": status}))[3].clone();
        let points = json!({"loadBalancer": {"ingress": [{"hostname": "b.example.com"}, {"ip": "192.0.2.1"}]}});
        assert_eq!(external(json!({"type": "LoadBalancer"}), json!({})), "<pending>");
        assert_eq!(external(json!({"type": "LoadBalancer"}), points.clone()), "192.0.2.1,b.example.com");
        assert_eq!(
            external(json!({"type": "LoadBalancer", "externalIPs": ["192.0.2.9"]}), points),
            "192.0.2.1,b.example.com,192.0.2.9"
        );
        assert_eq!(external(json!({"type": "ClusterIP", "externalIPs": ["192.0.2.9"]}), json!({})), "192.0.2.9");
        assert_eq!(external(json!({"type": "ExternalName", "externalName": "a.b"}), json!({})), "a.b");
    }

    #[test]
    fn a_headless_service_without_ports_shows_none() {
        let service = json!({"spec": {"type": "ClusterIP", "clusterIPs": ["None"]}});
        assert_eq!(cells(&SERVICE, &service)[2..5], ["None", "<none>", "<none>"]);
    }

    #[test]
    fn endpoints_show_three_and_count_the_rest() {
        let shown = |subsets: Value| cells(&ENDPOINTS, &json!({ "subsets": subsets }))[1].clone();
        let addresses = |n: u8| (1..=n).map(|i| json!({"ip": format!("10.0.0.{i}")})).collect::<Vec<_>>();
        assert_eq!(shown(json!([])), "<none>");
        assert_eq!(shown(json!([{"addresses": addresses(1)}])), "10.0.0.1");
        assert_eq!(
            shown(json!([{"addresses": addresses(2), "ports": [{"port": 80}, {"port": 443}]}])),
            "10.0.0.1:80,10.0.0.2:80,10.0.0.1:443 + 1 more..."
        );
        assert_eq!(shown(json!([{"addresses": [{"ip": "fd00::1"}], "ports": [{"port": 80}]}])), "[fd00::1]:80");
    }

    #[test]
    fn a_slice_without_ports_or_endpoints_says_so() {
        let slice = json!({"addressType": "IPv4", "ports": [{"name": "http"}, {"port": 80}, {}], "endpoints": []});
        assert_eq!(cells(&ENDPOINT_SLICE, &slice)[1..4], ["IPv4", "http,80,*", "<unset>"]);
    }

    #[test]
    fn an_ingress_without_hosts_is_for_all() {
        let hosts = |rules: Value| cells(&INGRESS, &json!({"spec": {"rules": rules}}))[2].clone();
        assert_eq!(hosts(json!([{}])), "*");
        assert_eq!(hosts(json!([{"host": "a"}, {}, {"host": "b"}])), "a,b");
        assert_eq!(hosts(json!([{"host": "a"}, {"host": "b"}, {"host": "c"}, {}])), "a,b,c + 1 more...");
    }

    #[test]
    fn a_policy_for_all_pods_shows_no_selector() {
        let shown = |selector: Value| cells(&NETWORK_POLICY, &json!({"spec": {"podSelector": selector}}))[1].clone();
        assert_eq!(shown(json!({})), "<none>");
        assert_eq!(shown(json!({"matchLabels": {"app": "web"}})), "app=web");
    }

    #[test]
    fn the_default_class_is_marked() {
        let class = json!({
            "metadata": {"name": "fairway", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
            "spec": {"controller": "a.b/c", "parameters": {"apiGroup": "x.y", "kind": "K", "name": "n"}},
        });
        assert_eq!(cells(&INGRESS_CLASS, &class)[..3], ["fairway (default)", "a.b/c", "K.x.y/n"]);
    }
}
