//! The settings of an installation.

use crate::kind::Kind;

/// One thing that can be set, in `fairway install --set` and in the chart's values.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name; what stands before a dot is a group.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What it is when nobody sets it, in YAML.
    pub default: &'static str,
    /// What it is for, in one sentence.
    pub about: &'static str,
}

const fn setting(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Setting {
    Setting { name, kind, default, about }
}

/// The setting that says where everything goes. Helm has a flag of its own for it, so that the chart's values lack it.
pub(crate) const NAMESPACE: &str = "namespace";

/// Every setting, groups together.
pub const SETTINGS: &[Setting] = &[
    setting(NAMESPACE, Kind::Word, "kube-system", "Namespace of everything that has one."),
    setting("image.repository", Kind::Word, "fairway", "The image, without its tag."),
    setting("image.tag", Kind::Word, concat!("\"", env!("CARGO_PKG_VERSION"), "\""), "The image's tag."),
    setting(
        "image.pullPolicy",
        Kind::Choice(&["IfNotPresent", "Always", "Never"]),
        "IfNotPresent",
        "When nodes pull it.",
    ),
    setting("image.pullSecrets", Kind::List, "[]", "References to Secrets with which nodes pull it."),
    setting(
        "apiHost",
        Kind::Word,
        "$(KUBERNETES_SERVICE_HOST)",
        "Host of the API server as nodes reach it without Services. The default is the Service `kubernetes`: right \
         only where something else carries Services when a node starts.",
    ),
    setting("apiPort", Kind::PortText, "$(KUBERNETES_SERVICE_PORT)", "Port of the API server at that host."),
    setting(
        "clusterCIDR",
        Kind::Ranges,
        "\"\"",
        "Ranges of pod addresses beyond those that the Nodes name: traffic to them is not masqueraded.",
    ),
    setting(
        "serviceCIDR",
        Kind::Ranges,
        "\"\"",
        "Ranges of Service addresses; lets agents recognise connections to Services deleted while they were away.",
    ),
    setting(
        "routing",
        Kind::Choice(&["auto", "native", "vxlan"]),
        "auto",
        "Way of packets to pods of other nodes: native, by plain routes; vxlan, inside packets between the nodes; auto, \
         native to nodes of the same network and vxlan to others.",
    ),
    setting(
        "vxlanChecksums",
        Kind::Choice(&["auto", "offloaded", "computed"]),
        "auto",
        "Who computes the checksums of what the tunnel carries: the hardware (offloaded), the kernel (computed), or auto, \
         the hardware unless packets turn out not to arrive that way.",
    ),
    setting("vxlanPort", Kind::Port, "4789", "UDP port of the tunnel between nodes, open on all of them."),
    setting("clusterDomain", Kind::Word, "cluster.local", "The domain of the cluster's names."),
    setting("logLevel", Kind::Word, "info", "What is logged: error, warn, info, debug or trace."),
    setting(
        "cni.enabled",
        Kind::Flag,
        "true",
        "Whether new pods get Fairway's network. Without it another plugin connects them, and Fairway carries Services and \
         names alone.",
    ),
    setting("cni.binDir", Kind::Word, "/opt/cni/bin", "Directory of the nodes where their runtime finds CNI plugins."),
    setting(
        "cni.confDir",
        Kind::Word,
        "/etc/cni/net.d",
        "Directory of the nodes where their runtime finds CNI configurations.",
    ),
    setting(
        "cni.reuseDelay",
        Kind::Count,
        "30",
        "Seconds for which no pod gets an address that another one gave back.",
    ),
    setting("agent.statusPort", Kind::Port, "10246", "Port of the agent's status pages on 127.0.0.1 of every node."),
    setting(
        "agent.resources",
        Kind::Object,
        "{requests: {cpu: 20m, memory: 40Mi}}",
        "What every agent asks of its node.",
    ),
    setting("dns.enabled", Kind::Flag, "true", "Whether Fairway answers the cluster's names."),
    setting("dns.name", Kind::Word, "fairway-dns", "Name of the Deployment of DNS servers."),
    setting("dns.service", Kind::Flag, "true", "Whether the Service kube-dns is made or taken over."),
    setting(
        "dns.corefile",
        Kind::Flag,
        "true",
        "Whether the ConfigMap coredns is made, with the Corefile kubeadm writes. One that is there already is the \
         cluster's own: `fairway install` leaves it as it is, other installers need false here.",
    ),
    setting(
        "dns.serviceIP",
        Kind::Address,
        "10.96.0.10",
        "Address of the Service kube-dns, as in the kubelets' clusterDNS.",
    ),
    setting("dns.replicas", Kind::Count, "2", "How many DNS servers there are."),
    setting(
        "dns.resources",
        Kind::Object,
        "{requests: {cpu: 50m, memory: 30Mi}}",
        "What every DNS server asks of its node.",
    ),
    setting(
        "dns.tolerations",
        Kind::List,
        "[{key: CriticalAddonsOnly, operator: Exists}, {key: node-role.kubernetes.io/control-plane, effect: NoSchedule}]",
        "Taints that DNS servers put up with.",
    ),
    setting("controller.enabled", Kind::Flag, "true", "Whether the controller runs."),
    setting("controller.replicas", Kind::Count, "2", "How many controllers there are; one leads."),
    setting("controller.statusPort", Kind::Port, "10247", "Port of the controller's status pages on 127.0.0.1."),
    setting(
        "controller.resources",
        Kind::Object,
        "{requests: {cpu: 10m, memory: 30Mi}}",
        "What every controller asks of its node.",
    ),
    setting("controller.tolerations", Kind::List, "[{operator: Exists}]", "Taints that controllers put up with."),
    setting(
        "loadBalancer.default",
        Kind::Flag,
        "true",
        "Whether Services of type LoadBalancer that name no load balancer get addresses from the pools.",
    ),
];
