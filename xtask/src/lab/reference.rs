//! The stack Fairway is compared with: the plugins every guide begins with, kube-proxy and CoreDNS.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::assets::Assets;
use super::certificates::Authority;
use super::cluster::Cluster;
use super::control_plane::flag;
use super::machine::Service;
use super::network;
use super::programs::Programs;
use super::site::{CLUSTER_DOMAIN, DNS_SERVICE, Families, Node, Site};
use super::versions::COREDNS_IMAGE;

/// kube-proxy's name among a node's services.
pub const PROXY: &str = "kube-proxy";
/// The families in which kube-proxy in nftables mode has a table.
pub const PROXY_TABLES: [&str; 2] = ["ip", "ip6"];
/// The bridge that pods are on.
pub const BRIDGE: &str = "cni0";
/// The configuration of its plugins, in a node's folder.
pub const NETWORK: &str = "cni/net.d/10-reference.conflist";
const RANGE_LIMIT: Duration = Duration::from_secs(60);
const MANIFEST: &str = include_str!("../../../lab/reference/coredns.yaml");

/// Brings it up on nodes that have joined.
pub fn install(site: &Site, nodes: &[Node], families: Families, assets: &Assets) -> Result<()> {
    let cluster = Cluster::of(site);
    let mut ranges = Vec::new();
    for node in nodes {
        ranges.push(cluster.wait_for_pod_ranges(node.name(), RANGE_LIMIT)?);
    }
    let authority = Authority::open(site.folder.join("certificates"));
    authority.issue_client("kube-proxy", "", "system:kube-proxy")?;
    for (node, own) in nodes.iter().zip(&ranges) {
        for (other, its) in nodes.iter().zip(&ranges).filter(|(other, _)| other.name() != node.name()) {
            network::route(&node.machine, its, other)?;
        }
        configure_proxy(node, families, &authority)?;
        start_proxy(node, &assets.programs)?;
        write_network(node, own)?;
    }
    let filled = [("${IMAGE}", COREDNS_IMAGE), ("${ADDRESS}", DNS_SERVICE), ("${DOMAIN}", CLUSTER_DOMAIN)];
    let manifest = filled.iter().fold(MANIFEST.to_owned(), |text, (name, value)| text.replace(name, value));
    cluster.apply(&manifest)
}

fn configure_proxy(node: &Node, families: Families, authority: &Authority) -> Result<()> {
    let folder = &node.machine.folder;
    let kubeconfig = folder.join("kube-proxy.kubeconfig");
    authority.write_kubeconfig("kube-proxy", &kubeconfig)?;
    let configuration = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": families.pod_ranges(),
        "hostnameOverride": node.name(),
        "clientConnection": { "kubeconfig": kubeconfig },
        // The size of the connection table is the host's affair.
        "conntrack": { "maxPerCore": 0 },
    });
    let path = proxy_configuration(node);
    fs::write(&path, configuration.to_string()).with_context(|| format!("cannot write {}", path.display()))
}

fn proxy_configuration(node: &Node) -> PathBuf {
    node.machine.folder.join("kube-proxy.json")
}

/// Starts kube-proxy on a node that has its configuration.
pub fn start_proxy(node: &Node, programs: &Programs) -> Result<()> {
    node.machine.start(&proxy_service(node, programs))
}

/// kube-proxy on a node that has its configuration.
pub fn proxy_service(node: &Node, programs: &Programs) -> Service {
    let arguments = vec![flag("config", proxy_configuration(node).display())];
    Service { name: PROXY, program: programs.kubernetes.join("kube-proxy"), arguments }
}

fn write_network(node: &Node, ranges: &[String]) -> Result<()> {
    let path = node.machine.folder.join(NETWORK);
    fs::write(&path, network_configuration(ranges).to_string())
        .with_context(|| format!("cannot write {}", path.display()))
}

fn network_configuration(ranges: &[String]) -> Value {
    let everything = |range: &String| if range.contains(':') { "::/0" } else { "0.0.0.0/0" };
    let routes: Vec<Value> = ranges.iter().map(|range| json!({ "dst": everything(range) })).collect();
    let ranges: Vec<Value> = ranges.iter().map(|range| json!([{ "subnet": range }])).collect();
    json!({
        "cniVersion": "1.0.0",
        "name": "reference",
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": true,
                "hairpinMode": true,
                "ipam": { "type": "host-local", "ranges": ranges, "routes": routes },
            },
            { "type": "portmap", "capabilities": { "portMappings": true }, "snat": true, "backend": "nftables" },
        ],
    })
}
