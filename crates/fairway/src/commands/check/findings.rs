//! What is wrong with a cluster, judged by its objects alone.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use kubeapi::ObjectName;
use manifests::CONTROLLER;
use serde_json::{Value, json};

use crate::commands::rollout::{reason_of, rollout_of};
use crate::commands::survey::{Survey, entries, is_part_of_fairway, texts};
use crate::diagnostics::{
    AGENT_NOT_READY, API_THROUGH_SERVICE, CONTROLLER_NOT_READY, CORE_DNS, DNS_NOT_READY, Diagnostic, KUBE_PROXY,
    NO_DNS_ADDRESS, NO_POD_RANGE, NOT_INSTALLED, OLD_API_SERVER, OTHER_PLUGIN, POD_RANGE_HOLDS_NODE,
    POD_RANGES_OVERLAP, SERVICE_RANGE_OVERLAPS, find,
};

/// The oldest minor version whose API has all that the manifests use.
const OLDEST_MINOR: u32 = 30;
/// How the DaemonSets of other network plugins are called.
const OTHER_PLUGINS: [&str; 10] = [
    "kube-flannel-ds",
    "calico-node",
    "canal",
    "cilium",
    "weave-net",
    "kindnet",
    "antrea-agent",
    "kube-router",
    "ovnkube-node",
    "aws-node",
];

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub diagnostic: &'static Diagnostic,
    /// Where, and what exactly.
    pub detail: String,
}

impl Finding {
    pub fn new(diagnostic: &'static Diagnostic, detail: impl Into<String>) -> Self {
        Self { diagnostic, detail: detail.into() }
    }

    pub fn to_json(&self) -> Value {
        let Diagnostic { code, title, fix, .. } = self.diagnostic;
        json!({ "code": code, "title": title, "detail": self.detail, "hint": fix })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostic { code, title, fix, .. } = self.diagnostic;
        write!(f, "{code} {title}: {}\n      hint: {fix}", self.detail)
    }
}

/// What is in the way of any network of the cluster.
pub fn ground(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    if minor_version(&survey.version).is_none_or(|minor| minor < OLDEST_MINOR) {
        found.push(Finding::new(&OLD_API_SERVER, &*survey.version));
    }
    let ranges = pod_ranges(survey);
    for node in &survey.nodes {
        let name = name_of(node);
        if !ranges.iter().any(|(owner, _)| *owner == name) {
            found.push(Finding::new(&NO_POD_RANGE, name));
        }
    }
    found.extend(overlaps(survey, &ranges));
    found
}

/// What does Fairway's work beside it.
pub fn rivals(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    for set in &survey.daemon_sets {
        let name = set["metadata"]["name"].as_str().unwrap_or_default();
        if OTHER_PLUGINS.contains(&name) && !leaves_pods_to_others(survey) {
            found.push(Finding::new(&OTHER_PLUGIN, ObjectName::of(set).to_string()));
        }
        if name == "kube-proxy" {
            found.push(Finding::new(&KUBE_PROXY, ObjectName::of(set).to_string()));
        }
    }
    let answers = |deployment: &&Value| {
        let spec = &deployment["spec"];
        spec["template"]["metadata"]["labels"]["k8s-app"] == "kube-dns" && spec["replicas"] != 0
    };
    let others = survey.deployments.iter().filter(|deployment| !is_part_of_fairway(deployment)).filter(answers);
    found.extend(others.map(|deployment| Finding::new(&CORE_DNS, ObjectName::of(deployment).to_string())));
    found
}

/// What is wrong with Fairway as it is installed.
pub fn installation(survey: &Survey) -> Vec<Finding> {
    let Some(agent) = survey.agent() else {
        return vec![Finding::new(&NOT_INSTALLED, "no DaemonSet fairway-agent")];
    };
    let mut found = unready_agents(survey, agent);
    if asks_through_service(survey, agent) {
        found.push(Finding::new(&API_THROUGH_SERVICE, ObjectName::of(agent).to_string()));
    }
    for deployment in survey.deployments.iter().filter(|deployment| is_part_of_fairway(deployment)) {
        let rollout = rollout_of(deployment);
        let is_controller = deployment["metadata"]["name"] == CONTROLLER;
        if !rollout.is_done {
            let diagnostic = if is_controller { &CONTROLLER_NOT_READY } else { &DNS_NOT_READY };
            let detail = format!("{}: {} of {}", ObjectName::of(deployment), rollout.ready, rollout.wanted);
            found.push(Finding::new(diagnostic, detail));
        }
    }
    if survey.dns_service.is_some() && !has_ready_endpoint(&survey.dns_slices) {
        found.push(Finding::new(&NO_DNS_ADDRESS, "Service kube-system/kube-dns"));
    }
    found
}

/// One finding a node without a ready agent.
fn unready_agents(survey: &Survey, agent: &Value) -> Vec<Finding> {
    let is_agent = |pod: &&Value| pod["metadata"]["labels"]["app.kubernetes.io/name"] == manifests::AGENT;
    let agents: Vec<&Value> = survey.pods.iter().filter(is_agent).collect();
    let mut found: Vec<Finding> = survey
        .nodes
        .iter()
        .filter_map(|node| {
            let name = name_of(node);
            let on_node = agents.iter().filter(|pod| pod["spec"]["nodeName"] == *name);
            let reasons: Vec<Option<String>> = on_node.map(|pod| reason_of(pod)).collect();
            if reasons.contains(&None) {
                return None;
            }
            let reason = reasons.into_iter().flatten().next().unwrap_or_else(|| "no agent runs there".to_owned());
            // An agent that cannot work on its node ends with a code of its own.
            let diagnostic = reason.split_whitespace().find_map(find).unwrap_or(&AGENT_NOT_READY);
            Some(Finding::new(diagnostic, format!("{name}: {reason}")))
        })
        .collect();
    let rollout = rollout_of(agent);
    if found.is_empty() && !rollout.is_done {
        found.push(Finding::new(
            &AGENT_NOT_READY,
            format!("{} of {} are of this version", rollout.ready, rollout.wanted),
        ));
    }
    found
}

/// Whether the agents are told to connect no pods, so that another plugin is as it should be.
pub fn leaves_pods_to_others(survey: &Survey) -> bool {
    let Some(agent) = survey.agent() else { return false };
    texts(&agent["spec"]["template"]["spec"]["containers"][0]["args"]).any(|argument| argument == "--cni=false")
}

/// Whether the agents reach the API server through a Service, as they do where nobody set another address.
fn asks_through_service(survey: &Survey, agent: &Value) -> bool {
    let environment = entries(&agent["spec"]["template"]["spec"]["containers"][0]["env"]);
    let host = environment
        .filter(|variable| variable["name"] == "KUBERNETES_SERVICE_HOST")
        .find_map(|variable| variable["value"].as_str());
    host.is_none_or(|host| host.starts_with("$(") || survey.is_service(host))
}

fn has_ready_endpoint(slices: &[Value]) -> bool {
    let mut endpoints = slices.iter().flat_map(|slice| entries(&slice["endpoints"]));
    endpoints.any(|endpoint| endpoint["conditions"]["ready"] != Value::Bool(false))
}

/// Each range of pod addresses with its node's name; what is no range is left out.
pub fn pod_ranges(survey: &Survey) -> Vec<(&str, IpNet)> {
    let of_node = |node: &'_ Value| -> BTreeSet<IpNet> {
        let spec = &node["spec"];
        texts(&spec["podCIDRs"]).chain(spec["podCIDR"].as_str()).filter_map(|range| range.parse().ok()).collect()
    };
    let named = |node| of_node(node).into_iter().map(move |range| (name_of(node), range));
    survey.nodes.iter().flat_map(named).collect()
}

fn overlaps(survey: &Survey, ranges: &[(&str, IpNet)]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, (node, range)) in ranges.iter().enumerate() {
        let others = ranges[index + 1..].iter().filter(|(other, _)| other != node);
        found.extend(others.filter(|(_, other)| overlap(range, other)).map(|(other, other_range)| {
            Finding::new(&POD_RANGES_OVERLAP, format!("{node} has {range}, {other} has {other_range}"))
        }));
    }
    let service_ranges: Vec<IpNet> = survey
        .service_cidrs
        .iter()
        .flat_map(|object| texts(&object["spec"]["cidrs"]))
        .filter_map(|range| range.parse().ok())
        .collect();
    for (node, range) in ranges {
        let clashes = service_ranges.iter().filter(|services| overlap(services, range));
        found.extend(clashes.map(|services| {
            Finding::new(&SERVICE_RANGE_OVERLAPS, format!("Services have {services}, pods of {node} have {range}"))
        }));
    }
    for (name, address) in survey.nodes.iter().flat_map(addresses_of) {
        let holders = ranges.iter().filter(|(_, range)| range.contains(&address));
        found.extend(holders.map(|(node, range)| {
            Finding::new(&POD_RANGE_HOLDS_NODE, format!("{range} of {node} holds {address} of {name}"))
        }));
        let holders = service_ranges.iter().filter(|range| range.contains(&address));
        found.extend(holders.map(|range| {
            Finding::new(&SERVICE_RANGE_OVERLAPS, format!("Services have {range}, node {name} has {address}"))
        }));
    }
    found
}

pub fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

/// The node's own addresses, each with its name.
pub fn addresses_of(node: &Value) -> impl Iterator<Item = (&str, IpAddr)> {
    let addresses = entries(&node["status"]["addresses"]).filter_map(|entry| entry["address"].as_str()?.parse().ok());
    addresses.map(move |address| (name_of(node), address))
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The minor number of a version such as `v1.36.3`.
fn minor_version(version: &str) -> Option<u32> {
    version.strip_prefix("v1.")?.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests;
