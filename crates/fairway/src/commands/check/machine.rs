//! What is wrong with the node this runs on, if it is one.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use compile::host_ports::{HostPort, PublishedPort};
use datapath::nft::{ForeignChain, chains_of_others};
use datapath::route::{LinkIndex, Route, RouteAction, RouteError, RouteFilter, RouteOrigin, Rtnetlink};
use ipnet::IpNet;
use model::{Cluster, IpFamily, NamespacedName, ServicePort};
use nix::unistd::Uid;
use serde_json::Value;

use super::findings::{Finding, addresses_of, leaves_pods_to_others, overlap, pod_ranges};
use crate::cli::AGENT_PAGES;
use crate::commands::peers::ask;
use crate::commands::survey::{Survey, texts};
use crate::diagnostics::{
    HOST_ROUTE_OVERLAPS, KUBE_PROXY, NO_KERNEL_FEATURE, NOT_IN_FORCE, OTHER_PLUGIN, POD_CHANGED, PODS_NOT_REACHED,
};
use crate::kernel_features;
use crate::peers::{Peer, PeerList};

/// Where runtimes look for network configurations unless told otherwise.
const CNI_CONFIGURATIONS: &str = "/etc/cni/net.d";
/// The agent's own.
const OWN_PREFIX: &str = "05-fairway.";

/// The Node object of this machine: the one whose address an interface here has.
pub fn this_node(survey: &Survey) -> Option<&Value> {
    let own = Rtnetlink::open().ok()?.addresses().ok()?;
    let is_own = |node: &&Value| {
        let mut addresses = addresses_of(node);
        addresses.any(|(_, address)| own.iter().any(|(_, network)| network.addr() == address))
    };
    survey.nodes.iter().find(is_own)
}

/// Looks at this machine, which is `node`; what only root may see is left out for others.
pub fn findings(survey: &Survey, node: &Value, (cni_state_dir, cluster): (&Path, &Cluster)) -> Vec<Finding> {
    let name = node["metadata"]["name"].as_str().unwrap_or_default();
    let mut found = Vec::new();
    if !leaves_pods_to_others(survey) {
        found.extend(other_configurations(Path::new(CNI_CONFIGURATIONS), name));
        found.extend(overlapping_routes(survey, name));
        found.extend(agent_pages(survey).and_then(|pages| ask(pages).ok()).iter().flat_map(unreached));
    }
    found.extend(changed_pods(cni_state_dir, name));
    found.extend(host_ports_without_connections(cni_state_dir, cluster, name));
    if Uid::effective().is_root() {
        let rules = proxy_rules(&chains_of_others().unwrap_or_default());
        found.extend(rules.into_iter().map(|rules| Finding::new(&KUBE_PROXY, format!("{rules} on {name}"))));
        found.extend(missing_features(name));
    }
    found
}

/// Where the agent of every node has its pages; none before it is installed.
fn agent_pages(survey: &Survey) -> Option<SocketAddr> {
    let container = &survey.agent()?["spec"]["template"]["spec"]["containers"][0];
    let told = texts(&container["args"]).find_map(|argument| argument.strip_prefix("--healthz-bind-address="));
    told.unwrap_or(AGENT_PAGES).parse().ok()
}

/// Pods that the agent has no way to. That it answers at all is asked for elsewhere.
fn unreached(list: &PeerList) -> Vec<Finding> {
    let shown = |peer: &Peer| {
        let Peer { node, pods, reason, .. } = peer;
        let detail = format!("from {} to {} of {node}: {reason}", list.node, pods.as_deref().unwrap_or_default());
        Finding::new(&PODS_NOT_REACHED, detail)
    };
    list.unreached().map(shown).collect()
}

/// Pods whose side on the node somebody changed, and no agent has put right yet.
fn changed_pods(cni_state_dir: &Path, node: &str) -> Vec<Finding> {
    let damages = cni::damages(cni_state_dir).unwrap_or_default().into_iter();
    damages.map(|damage| Finding::new(&POD_CHANGED, format!("{damage} on {node}"))).collect()
}

/// Host ports of pods whose connections a Service gets, as its node port is the same.
fn host_ports_without_connections(cni_state_dir: &Path, cluster: &Cluster, node: &str) -> Vec<Finding> {
    let ports = cni::recorded_host_ports(cni_state_dir).unwrap_or_default().into_iter();
    // Those of the loopback address are not looked for among node ports.
    let ports = ports.filter(|published| !published.port.address.is_some_and(|address| address.is_loopback()));
    // A port that leads to a pod of two families is one finding.
    let mut lost = BTreeSet::new();
    for PublishedPort { port, owner: pod } in ports {
        lost.extend(rival_of(&port, cluster).map(|service| {
            let (protocol, number) = (port.protocol, port.port);
            format!("Pod {pod}: {protocol} {number} of {node} is the node port of Service {service}, which gets all connections; use another hostPort")
        }));
    }
    lost.into_iter().map(|detail| Finding::new(&NOT_IN_FORCE, detail)).collect()
}

/// The Service that has a host port as its node port: it comes first in the kernel's table.
fn rival_of<'a>(host_port: &HostPort, cluster: &'a Cluster) -> Option<&'a NamespacedName> {
    let family = IpFamily::of(host_port.endpoint.ip());
    let is_same = |port: &ServicePort| (port.protocol, port.node_port) == (host_port.protocol, Some(host_port.port));
    let mut services = cluster.services.values().filter(|service| service.kind.families().contains(&family));
    services.find(|service| service.ports.iter().any(is_same)).map(|service| &service.name)
}

/// What kube-proxy has in the kernel, whether it runs or has left it behind: a table of its own in nftables mode, chains
/// among others' in iptables mode.
fn proxy_rules(chains: &BTreeSet<ForeignChain>) -> BTreeSet<String> {
    let of_proxy = chains.iter().filter_map(|chain| match (&*chain.table, &*chain.name) {
        ("kube-proxy", _) => Some(format!("table {}", chain.qualified_table())),
        (_, "KUBE-SERVICES") => Some(format!("chain KUBE-SERVICES of table {}", chain.qualified_table())),
        _ => None,
    });
    of_proxy.collect()
}

/// Configurations of other plugins, which compete with ours.
fn other_configurations(directory: &Path, node: &str) -> Vec<Finding> {
    let names = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut others: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    others.retain(|name| {
        let is_configuration = [".conf", ".conflist", ".json"].iter().any(|end| name.ends_with(end));
        is_configuration && !name.starts_with(OWN_PREFIX)
    });
    others.sort();
    let shown = |name: String| Finding::new(&OTHER_PLUGIN, format!("{} on {node}", directory.join(name).display()));
    others.into_iter().map(shown).collect()
}

/// Routes of others into the addresses of the cluster's pods.
fn overlapping_routes(survey: &Survey, node: &str) -> Vec<Finding> {
    let routes = Rtnetlink::open().ok().and_then(|mut kernel| routes_of_others(&mut kernel).ok());
    let ranges = pod_ranges(survey);
    let is_default = |range: &IpNet| range.prefix_len() == 0;
    let others = routes.unwrap_or_default().into_iter();
    others
        .map(|route| route.destination)
        .filter(|destination| !is_default(destination))
        .filter_map(|destination| {
            let (owner, range) = ranges.iter().find(|(_, range)| overlap(range, &destination))?;
            let detail = format!("{destination} on {node} overlaps {range} of {owner}");
            Some(Finding::new(&HOST_ROUTE_OVERLAPS, detail))
        })
        .collect()
}

/// The routes that neither we made nor the kernel for addresses of our links, as that of the tunnel is.
fn routes_of_others(kernel: &mut Rtnetlink) -> Result<Vec<Route>, RouteError> {
    let links = kernel.links()?;
    let ours: BTreeSet<LinkIndex> = links.iter().filter(|link| link.is_ours()).map(|link| link.index).collect();
    let mut routes = kernel.routes(RouteFilter::Main)?;
    routes.retain(|route| {
        let is_on_ours = matches!(route.action, RouteAction::Link(link) if ours.contains(&link));
        route.origin != RouteOrigin::Ours && !is_on_ours
    });
    Ok(routes)
}

/// What the agent would fail for.
fn missing_features(node: &str) -> Vec<Finding> {
    let missing = kernel_features::missing().into_iter();
    missing.map(|why| Finding::new(&NO_KERNEL_FEATURE, format!("{node}: {why}"))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::from_kube;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_kube_proxy_has_in_the_kernel_is_known_by_its_names() {
        let chain = |family, table: &str, name: &str| ForeignChain { family, table: table.into(), name: name.into() };
        let chains = [
            chain(2, "kube-proxy", "services"),
            chain(2, "kube-proxy", "endpoints"),
            chain(10, "nat", "KUBE-SERVICES"),
            chain(2, "nat", "DOCKER"),
        ];
        let expected = ["chain KUBE-SERVICES of table ip6 nat", "table ip kube-proxy"].map(str::to_owned);
        assert_eq!(proxy_rules(&chains.into()), expected.into());
    }

    #[test]
    fn a_host_port_that_is_a_node_port_too_is_found_once_and_others_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let port = |number: u16, protocol: &str, endpoint: &str| json!({ "hostPort": number, "protocol": protocol, "endpoint": endpoint });
        let ports = [
            port(30123, "tcp", "10.244.1.5:80"),
            port(30123, "udp", "10.244.1.5:80"),
            port(30124, "tcp", "10.244.1.5:80"),
            json!({ "hostIP": "127.0.0.1", "hostPort": 30123, "protocol": "tcp", "endpoint": "10.244.1.5:80" }),
            port(30123, "tcp", "[fd00::5]:80"),
        ];
        let record = json!({
            "owner": { "containerID": "a", "ifname": "eth0" }, "network": "fairway", "netns": "/run/netns/a",
            "pod": "shop/cart-0", "hostPorts": ports,
        });
        fs::create_dir(directory.path().join("attachments")).unwrap();
        fs::write(directory.path().join("attachments/a:eth0"), record.to_string()).unwrap();
        let service = json!({
            "metadata": { "name": "np", "namespace": "default" },
            "spec": { "type": "NodePort", "clusterIP": "10.96.0.50", "ports": [{ "port": 80, "nodePort": 30123 }] },
        });
        let service = from_kube::service(&serde_json::from_value(service).unwrap()).fact.unwrap();
        let mut cluster = Cluster::default();
        cluster.services.insert(service.name.clone(), Arc::new(service));
        let found = host_ports_without_connections(directory.path(), &cluster, "node1");
        let expected = "Pod shop/cart-0: TCP 30123 of node1 is the node port of Service default/np, which gets all connections; \
                        use another hostPort";
        assert_eq!(found, [Finding::new(&NOT_IN_FORCE, expected)]);
        assert_eq!(host_ports_without_connections(directory.path(), &Cluster::default(), "node1"), []);
    }

    #[test]
    fn configurations_of_other_plugins_are_found_and_our_own_is_not() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["05-fairway.conflist", "10-flannel.conflist", "87-podman.conflist.bak", ".new.conflist.1.new"] {
            fs::write(directory.path().join(name), "{}").unwrap();
        }
        let found = other_configurations(directory.path(), "node1");
        let expected = format!("{} on node1", directory.path().join("10-flannel.conflist").display());
        assert_eq!(found, [Finding::new(&OTHER_PLUGIN, expected)]);
        assert_eq!(other_configurations(&directory.path().join("none"), "node1"), []);
    }
}
