//! Nodes, namespaces, what happens in them, and what they are given.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::read::{NONE, count, items, size, text, text_or};
use super::{Column, Printer, age, duration, name};

pub(crate) const NODE: Printer = Printer {
    columns: &[
        Column::NAME,
        Column::text("Status", "Whether the node is ready for pods."),
        Column::text("Roles", "What the node is for."),
        Column::AGE,
        Column::text("Version", "The version of the node's agent."),
        Column::text("Internal-IP", "The node's address inside the cluster.").wide(),
        Column::text("External-IP", "The node's address outside of the cluster.").wide(),
        Column::text("OS-Image", "The node's operating system.").wide(),
        Column::text("Kernel-Version", "The node's kernel and architecture.").wide(),
        Column::text("Container-Runtime", "What runs the node's containers.").wide(),
    ],
    cells: node,
};

pub(crate) const NAMESPACE: Printer = Printer {
    columns: &[Column::NAME, Column::text("Status", "Whether the namespace is in use or on its way out."), Column::AGE],
    cells: |namespace, now| vec![name(namespace), namespace["status"]["phase"].clone(), age(namespace, now)],
};

pub(crate) const EVENT: Printer = Printer {
    columns: &[
        Column::text("Last Seen", "Time since it happened last."),
        Column::text("Type", "Normal, or Warning."),
        Column::text("Reason", "Why it happened, in one word."),
        Column::text("Object", "What it happened to."),
        Column::text("Subobject", "Which part of it.").wide(),
        Column::text("Source", "Who reported it.").wide(),
        Column::text("Message", "What happened."),
        Column::text("First Seen", "Time since it happened first.").wide(),
        Column::text("Count", "How often it happened.").wide(),
        Column { priority: 1, ..Column::NAME },
    ],
    cells: event,
};

pub(crate) const CONFIG_MAP: Printer = Printer {
    columns: &[Column::NAME, Column::text("Data", "How many keys there are."), Column::AGE],
    cells: |map, now| vec![name(map), json!(size(&map["data"]) + size(&map["binaryData"])), age(map, now)],
};

pub(crate) const SECRET: Printer = Printer {
    columns: &[
        Column::NAME,
        Column::text("Type", "What the secret is for."),
        Column::text("Data", "How many keys there are."),
        Column::AGE,
    ],
    cells: |secret, now| vec![name(secret), secret["type"].clone(), json!(size(&secret["data"])), age(secret, now)],
};

pub(crate) const LEASE: Printer = Printer {
    columns: &[Column::NAME, Column::text("Holder", "Who holds the lease."), Column::AGE],
    cells: |lease, now| vec![name(lease), json!(text(&lease["spec"]["holderIdentity"])), age(lease, now)],
};

pub(crate) const PRIORITY_CLASS: Printer = Printer {
    columns: &[
        Column::NAME,
        Column::integer("Value", "The priority of pods of this class."),
        Column { kind: "boolean", ..Column::text("Global-Default", "Whether pods without a class are of this one.") },
        Column::AGE,
        Column::text("PreemptionPolicy", "Whether pods of lower priority make room."),
    ],
    cells: |class, now| {
        let policy = json!(text(&class["preemptionPolicy"]));
        vec![name(class), json!(count(&class["value"])), json!(class["globalDefault"] == true), age(class, now), policy]
    },
};

pub(crate) const DISRUPTION_BUDGET: Printer = Printer {
    columns: &[
        Column::NAME,
        Column::text("Min Available", "How many pods must stay available."),
        Column::text("Max Unavailable", "How many pods may be unavailable."),
        Column::integer("Allowed Disruptions", "How many pods may be disrupted now."),
        Column::AGE,
    ],
    cells: |budget, now| {
        let (spec, allowed) = (&budget["spec"], count(&budget["status"]["disruptionsAllowed"]));
        let amounts = ["minAvailable", "maxUnavailable"].map(|amount| json!(amount_or_nothing(&spec[amount])));
        let [least, most] = amounts;
        vec![name(budget), least, most, json!(allowed), age(budget, now)]
    },
};

pub(crate) const RESOURCE_QUOTA: Printer = Printer {
    columns: &[
        Column::NAME,
        Column::text("Request", "How much of each resource is asked for, of how much that may be."),
        Column::text("Limit", "How much of each resource may be used, of how much that may be."),
        Column::AGE,
    ],
    cells: |quota, now| {
        let [requests, limits] = quota_usage(&quota["status"]);
        vec![name(quota), json!(requests), json!(limits), age(quota, now)]
    },
};

fn amount_or_nothing(amount: &Value) -> String {
    match amount {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => "N/A".to_owned(),
    }
}

fn node(node: &Value, now: Timestamp) -> Vec<Value> {
    let info = &node["status"]["nodeInfo"];
    let unknown = |value: &Value| text_or(value, "<unknown>").to_owned();
    let kernel = match text(&info["architecture"]) {
        "" => unknown(&info["kernelVersion"]),
        architecture => format!("{} ({architecture})", unknown(&info["kernelVersion"])),
    };
    vec![
        name(node),
        json!(node_status(node)),
        json!(node_roles(node)),
        age(node, now),
        json!(text(&info["kubeletVersion"])),
        json!(node_address(node, "InternalIP")),
        json!(node_address(node, "ExternalIP")),
        json!(unknown(&info["osImage"])),
        json!(kernel),
        json!(unknown(&info["containerRuntimeVersion"])),
    ]
}

fn node_status(node: &Value) -> String {
    let ready = items(&node["status"]["conditions"]).iter().rev().find(|condition| text(&condition["type"]) == "Ready");
    let status = match ready {
        None => "Unknown",
        Some(condition) if text(&condition["status"]) == "True" => "Ready",
        Some(_) => "NotReady",
    };
    let closed = node["spec"]["unschedulable"] == true;
    if closed { format!("{status},SchedulingDisabled") } else { status.to_owned() }
}

fn node_roles(node: &Value) -> String {
    let role = |(key, value): (&String, &Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_owned()),
        None => (key == "kubernetes.io/role").then(|| text(value).to_owned()),
    };
    let labels = node["metadata"]["labels"].as_object().into_iter().flatten();
    let roles: BTreeSet<String> = labels.filter_map(role).filter(|role| !role.is_empty()).collect();
    if roles.is_empty() { NONE.to_owned() } else { Vec::from_iter(roles).join(",") }
}

fn node_address(node: &Value, kind: &str) -> String {
    let found = items(&node["status"]["addresses"]).iter().find(|address| text(&address["type"]) == kind);
    found.map_or(NONE, |address| text(&address["address"])).to_owned()
}

/// Events come in two shapes: with times and a count of their own, or as one moment of a series.
fn event(event: &Value, now: Timestamp) -> Vec<Value> {
    let either = |core: &str, newer: &str| if event[core].is_null() { &event[newer] } else { &event[core] };
    let moment = |moment: &Value| moment.is_string().then(|| duration::since(moment, now));
    let unknown = || "<unknown>".to_owned();
    let first = moment(either("firstTimestamp", "deprecatedFirstTimestamp"))
        .or_else(|| moment(&event["eventTime"]))
        .unwrap_or_else(unknown);
    let last = moment(either("lastTimestamp", "deprecatedLastTimestamp")).unwrap_or_else(|| first.clone());
    let count = |value: &Value| count(value).max(1);
    let (last, times) = match event["series"].as_object() {
        Some(series) => {
            let observed = series.get("lastObservedTime").and_then(moment).unwrap_or_else(unknown);
            (observed, series.get("count").map_or(0, |times| times.as_i64().unwrap_or(0)))
        }
        None => (last, count(either("count", "deprecatedCount"))),
    };
    let object = either("involvedObject", "regarding");
    vec![
        json!(last),
        json!(text(&event["type"])),
        json!(text(&event["reason"])),
        json!(event_object(object)),
        json!(text(&object["fieldPath"])),
        json!(event_source(event, either("source", "deprecatedSource"))),
        json!(text(either("message", "note")).trim()),
        json!(first),
        json!(times),
        name(event),
    ]
}

fn event_object(object: &Value) -> String {
    let kind = text(&object["kind"]).to_lowercase();
    match text(&object["name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn event_source(event: &Value, source: &Value) -> String {
    let reporter = text_or(&event["reportingComponent"], text(&event["reportingController"]));
    let component = text_or(&source["component"], reporter);
    match text_or(&source["host"], text(&event["reportingInstance"])) {
        "" => component.to_owned(),
        instance => format!("{component}, {instance}"),
    }
}

fn quota_usage(status: &Value) -> [String; 2] {
    let hard = status["hard"].as_object();
    let mut names: Vec<&String> = hard.into_iter().flat_map(|hard| hard.keys()).collect();
    names.sort();
    let usage = |name: &&String| {
        let used = text_or(&status["used"][name.as_str()], "0");
        format!("{name}: {used}/{}", text(&status["hard"][name.as_str()]))
    };
    let (limits, requests): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.starts_with("limits."));
    [requests, limits].map(|names| names.iter().map(usage).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(printer: &Printer, object: &Value) -> Value {
        json!((printer.cells)(object, "2026-01-01T00:01:00Z".parse().expect("a time")))
    }

    #[test]
    fn a_node_says_what_it_is_and_where() {
        let node = json!({
            "metadata": {"name": "node1", "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "edge"}},
            "spec": {"unschedulable": true},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "Hostname", "address": "node1"}, {"type": "InternalIP", "address": "10.89.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian", "kernelVersion": "6.18", "architecture": "amd64"},
            },
        });
        assert_eq!(
            cells(&NODE, &node),
            json!([
                "node1",
                "Ready,SchedulingDisabled",
                "control-plane,edge",
                "<unknown>",
                "v1.36.0",
                "10.89.0.1",
                "<none>",
                "Debian",
                "6.18 (amd64)",
                "<unknown>",
            ])
        );
    }

    #[test]
    fn a_node_nobody_heard_of_is_unknown() {
        assert_eq!(node_status(&json!({})), "Unknown");
        assert_eq!(
            node_status(&json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}})),
            "NotReady"
        );
        assert_eq!(node_roles(&json!({})), "<none>");
    }

    #[test]
    fn an_event_says_when_what_happened_to_what() {
        let event = json!({
            "metadata": {"name": "e"}, "type": "Warning", "reason": "Failed", "message": " it broke\n", "count": 4,
            "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"},
            "source": {"component": "kubelet", "host": "node1"},
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:30Z",
        });
        assert_eq!(
            cells(&EVENT, &event),
            json!([
                "30s",
                "Warning",
                "Failed",
                "pod/p",
                "spec.containers{a}",
                "kubelet, node1",
                "it broke",
                "60s",
                4,
                "e",
            ])
        );
    }

    #[test]
    fn a_newer_event_shows_its_series() {
        let event = json!({
            "metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "regarding": {"kind": "Node"},
            "note": "n", "reportingController": "x", "series": {"count": 3, "lastObservedTime": "2026-01-01T00:00:50.000000Z"},
        });
        assert_eq!(cells(&EVENT, &event), json!(["10s", "", "", "node", "", "x", "n", "60s", 3, "e"]));
    }

    #[test]
    fn data_is_counted_in_both_bags() {
        let map = json!({"metadata": {"name": "m"}, "data": {"a": "", "b": ""}, "binaryData": {"c": ""}});
        assert_eq!(cells(&CONFIG_MAP, &map), json!(["m", 3, "<unknown>"]));
    }

    #[test]
    fn a_budget_shows_counts_and_parts() {
        let budget =
            json!({"metadata": {"name": "b"}, "spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 1}});
        assert_eq!(cells(&DISRUPTION_BUDGET, &budget), json!(["b", "50%", "N/A", 1, "<unknown>"]));
    }

    #[test]
    fn a_quota_shows_what_is_used_of_what_may_be() {
        let status = json!({"hard": {"pods": "5", "limits.cpu": "2"}, "used": {"pods": "1"}});
        assert_eq!(quota_usage(&status), ["pods: 1/5", "limits.cpu: 0/2"]);
    }
}
