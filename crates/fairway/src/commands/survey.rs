//! What a cluster has, as far as it matters to installing Fairway and to judging it.

use std::net::IpAddr;

use ipnet::IpNet;
use kubeapi::{ObjectError, ObjectName, Objects};
use manifests::{AGENT, DNS_SERVICE};
use model::from_kube::SERVICE_LABEL;
use serde_json::Value;

/// Objects as the API has them, read one after the other.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Version of the API server, e.g. `v1.36.3`.
    pub version: String,
    pub nodes: Vec<Value>,
    /// Of all namespaces, as the next two.
    pub daemon_sets: Vec<Value>,
    pub deployments: Vec<Value>,
    /// Fairway's own.
    pub pods: Vec<Value>,
    /// Empty where the API server does not know them yet (before 1.33).
    pub service_cidrs: Vec<Value>,
    /// The Service `kubernetes` and its endpoints.
    pub api_service: Option<Value>,
    pub api_slices: Vec<Value>,
    /// The Service `kube-dns` and its endpoints.
    pub dns_service: Option<Value>,
    pub dns_slices: Vec<Value>,
    /// Pools of load balancer addresses; empty where the API server does not know them, as before an installation.
    pub pools: Vec<Value>,
    /// The ConfigMap that has the Corefile.
    pub corefile: Option<Value>,
}

/// Namespace and name of the ConfigMap that has the Corefile, CoreDNS's or ours.
pub const CONFIG_MAP: (&str, &str) = ("kube-system", "coredns");

const POOL_VERSION: &str = "fairway.network/v1alpha1";
/// Where the Service `kube-dns` is, whatever else is where.
const DNS_NAMESPACE: &str = "kube-system";
/// The Service of the API server, as pods may call it.
const API_NAME: &str = "kubernetes.default";
const SLICE: (&str, &str) = ("discovery.k8s.io/v1", "EndpointSlice");

/// Reads all of it.
pub async fn read_survey(objects: &Objects) -> Result<Survey, ObjectError> {
    let (label, part) = manifests::PART_OF;
    let (namespace, name) = CONFIG_MAP;
    Ok(Survey {
        version: objects.server_version().await?,
        nodes: objects.list(("v1", "Node"), None, "").await?,
        daemon_sets: objects.list(("apps/v1", "DaemonSet"), None, "").await?,
        deployments: objects.list(("apps/v1", "Deployment"), None, "").await?,
        pods: objects.list(("v1", "Pod"), None, &format!("{label}={part}")).await?,
        service_cidrs: objects.list(("networking.k8s.io/v1", "ServiceCIDR"), None, "").await?,
        api_service: objects.get(&of_core("Service", "default", "kubernetes")).await?,
        api_slices: objects.list(SLICE, Some("default"), &format!("{SERVICE_LABEL}=kubernetes")).await?,
        dns_service: objects.get(&of_core("Service", DNS_NAMESPACE, DNS_SERVICE)).await?,
        dns_slices: objects.list(SLICE, Some(DNS_NAMESPACE), &format!("{SERVICE_LABEL}={DNS_SERVICE}")).await?,
        pools: objects.list((POOL_VERSION, "LoadBalancerPool"), None, "").await?,
        corefile: objects.get(&of_core("ConfigMap", namespace, name)).await?,
    })
}

fn of_core(kind: &str, namespace: &str, name: &str) -> ObjectName {
    ObjectName {
        api_version: "v1".to_owned(),
        kind: kind.to_owned(),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    }
}

impl Survey {
    /// The agent's DaemonSet, if Fairway is installed.
    pub fn agent(&self) -> Option<&Value> {
        self.daemon_sets.iter().find(|set| set["metadata"]["name"] == AGENT && is_part_of_fairway(set))
    }

    /// Whether a host is reached through a Service: it has an address of one, or the name of the API server's.
    pub fn is_service(&self, host: &str) -> bool {
        let is_own = self.api_service.as_ref().is_some_and(|service| service["spec"]["clusterIP"] == host);
        let ranges = || self.service_cidrs.iter().flat_map(|object| texts(&object["spec"]["cidrs"]));
        let is_in = |address: &IpAddr| {
            ranges().filter_map(|text| text.parse::<IpNet>().ok()).any(|range| range.contains(address))
        };
        is_own
            || host == API_NAME
            || host.starts_with(&format!("{API_NAME}."))
            || host.parse().is_ok_and(|address| is_in(&address))
    }
}

/// Whether the object is marked as Fairway's.
pub fn is_part_of_fairway(object: &Value) -> bool {
    object["metadata"]["labels"][manifests::PART_OF.0] == manifests::PART_OF.1
}

/// The texts in a list of texts; none where there is no list.
pub fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The entries of a list; none where there is no list.
pub fn entries(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
