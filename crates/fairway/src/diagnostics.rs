//! Everything Fairway may find wrong with a cluster, by codes that never change their meaning.

/// One thing that can be wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its code.
    pub code: &'static str,
    /// It in one line.
    pub title: &'static str,
    /// What it means and what follows from it.
    pub meaning: &'static str,
    /// What to do about it, in one line.
    pub fix: &'static str,
}

pub const OLD_API_SERVER: Diagnostic = Diagnostic {
    code: "FW0101",
    title: "the API server is older than Fairway knows",
    meaning: "Fairway is made for Kubernetes 1.30 and newer. Its manifests use fields that older API servers do not have.",
    fix: "upgrade the cluster to Kubernetes 1.30 or newer",
};

pub const NO_POD_RANGE: Diagnostic = Diagnostic {
    code: "FW0102",
    title: "a node has no range of pod addresses",
    meaning: "The agent gives pods addresses from the node's spec.podCIDRs. Until the node has some, it is not ready for pods.",
    fix: "fairway install --set clusterCIDR=RANGE, or kube-controller-manager with --allocate-node-cidrs and --cluster-cidr",
};

pub const POD_RANGES_OVERLAP: Diagnostic = Diagnostic {
    code: "FW0103",
    title: "two nodes' ranges of pod addresses overlap",
    meaning: "Packets to an address in both ranges can reach one of the nodes only, so that pods on the other are cut off.",
    fix: "delete the Node that got its range by hand or long ago, and let it join again",
};

pub const POD_RANGE_HOLDS_NODE: Diagnostic = Diagnostic {
    code: "FW0104",
    title: "a range of pod addresses holds a node's address",
    meaning: "Packets to that node would be taken for packets to a pod and be lost.",
    fix: "choose a --cluster-cidr of kube-controller-manager apart from the nodes' network",
};

pub const SERVICE_RANGE_OVERLAPS: Diagnostic = Diagnostic {
    code: "FW0105",
    title: "the Services' range overlaps another",
    meaning: "An address that is both a Service's and a pod's or a node's leads to the Service on every node.",
    fix: "choose a --service-cluster-ip-range of kube-apiserver apart from pods and nodes",
};

pub const HOST_ROUTE_OVERLAPS: Diagnostic = Diagnostic {
    code: "FW0106",
    title: "a route of this node overlaps the pods' addresses",
    meaning: "The node already sends some of the pods' addresses elsewhere. The more specific route wins, and pods may be cut off.",
    fix: "remove the route shown, or choose another range for pods",
};

pub const OTHER_PLUGIN: Diagnostic = Diagnostic {
    code: "FW0111",
    title: "another network plugin is installed",
    meaning: "A node's runtime takes the configuration that sorts first in its directory. Pods made by the other plugin keep its \
              network until they are made again, and what it left on the nodes may get in the way.",
    fix: "remove the other plugin and its files in /etc/cni/net.d, then restart the pods; see docs/take-over.md",
};

pub const KUBE_PROXY: Diagnostic = Diagnostic {
    code: "FW0112",
    title: "kube-proxy is installed",
    meaning: "Both carry Services then. It works, but the node pays twice, and what kube-proxy translates first Fairway never sees.",
    fix: "once the agents are ready, delete its DaemonSet and run kube-proxy --cleanup on the nodes; see docs/take-over.md",
};

pub const CORE_DNS: Diagnostic = Diagnostic {
    code: "FW0113",
    title: "CoreDNS answers beside Fairway",
    meaning: "The Service kube-dns leads to the pods of both. Both answer the same names, so nothing breaks.",
    fix: "once Fairway's DNS is ready: kubectl -n kube-system scale deployment coredns --replicas=0",
};

pub const NO_KERNEL_FEATURE: Diagnostic = Diagnostic {
    code: "FW0121",
    title: "a node's kernel lacks something",
    meaning: "The agent programs the kernel through nf_tables, conntrack and routing netlink. Without them it cannot start.",
    fix: "use a kernel of 5.11 or newer with nf_tables and conntrack (CONFIG_NF_TABLES, CONFIG_NF_CONNTRACK)",
};

pub const NOT_INSTALLED: Diagnostic = Diagnostic {
    code: "FW0131",
    title: "Fairway is not installed",
    meaning: "The cluster has no DaemonSet fairway-agent.",
    fix: "fairway install, or fairway check --pre to see first what is in the way",
};

pub const AGENT_NOT_READY: Diagnostic = Diagnostic {
    code: "FW0132",
    title: "the agent of a node is not ready",
    meaning: "Until it is, new pods of the node get no network, and the node does not follow changes of Services. What was in its \
              kernel goes on working.",
    fix: "read its log: kubectl -n kube-system logs ds/fairway-agent",
};

pub const DNS_NOT_READY: Diagnostic = Diagnostic {
    code: "FW0133",
    title: "the DNS servers are not ready",
    meaning: "Fewer DNS servers than wanted answer; with none, pods cannot find Services by name.",
    fix: "see why: kubectl -n kube-system describe pods -l app.kubernetes.io/name=fairway-dns",
};

pub const NO_DNS_ADDRESS: Diagnostic = Diagnostic {
    code: "FW0134",
    title: "nothing answers behind the Service kube-dns",
    meaning: "Pods ask its address for names; no endpoint of it is ready.",
    fix: "check that its selector is k8s-app=kube-dns and that the DNS servers are ready",
};

pub const API_THROUGH_SERVICE: Diagnostic = Diagnostic {
    code: "FW0135",
    title: "the agents find the API server through a Service",
    meaning: "The agent makes Services work, so it must not need one: on a node that starts without kube-proxy it would wait for itself.",
    fix: "fairway install --set apiHost=ADDRESS with an address of the API server that nodes reach",
};

pub const CONTROLLER_NOT_READY: Diagnostic = Diagnostic {
    code: "FW0136",
    title: "the controller is not ready",
    meaning: "Nothing is decided for the cluster as a whole meanwhile; nodes go on with what they have.",
    fix: "see why: kubectl -n kube-system describe pods -l app.kubernetes.io/name=fairway-controller",
};

pub const PODS_NOT_REACHED: Diagnostic = Diagnostic {
    code: "FW0137",
    title: "this node reaches no pods of another",
    meaning: "No route of this node's agent leads to that range of pods. Its packets end here or leave by the default route.",
    fix: "fairway peers shows every way; let the network's own routes lead there, or set routing to auto or vxlan",
};

pub const POD_CHANGED: Diagnostic = Diagnostic {
    code: "FW0138",
    title: "what connects a pod to this node is not as it was made",
    meaning: "Somebody removed or changed a pod's link, its routes, neighbours or limits on the node, as systemd-networkd does when \
              it starts. The agent puts that right within seconds; when it lasts, no agent runs here, or it cannot.",
    fix: "see that the agent runs and read its log; with systemd-networkd set ManageForeignRoutes=no in networkd.conf",
};

pub const NOT_IN_FORCE: Diagnostic = Diagnostic {
    code: "FW0141",
    title: "part of an object is not in force",
    meaning: "The API server let through what makes no sense, or what another object has already. The rest of the object and \
              all others are in force. The object has an Event that says the same.",
    fix: "change the field named",
};

pub const COREFILE_REFUSED: Diagnostic = Diagnostic {
    code: "FW0142",
    title: "the Corefile cannot be used",
    meaning: "DNS servers that run go on with the Corefile before it; one that starts now would end at once.",
    fix: "kubectl -n kube-system edit configmap coredns; see docs/corefile.md for what there is",
};

pub const NO_LOAD_BALANCER_ADDRESS: Diagnostic = Diagnostic {
    code: "FW0143",
    title: "a Service does not get the load balancer address it asks for",
    meaning: "No pool that is open to the Service has what it asks for: the pool it names is not there, the address is another's or \
              in no pool, or all are taken. The Service has an Event that says the same.",
    fix: "change the Service or the pools: kubectl get loadbalancerpools shows what they have; see docs/load-balancer.md",
};

/// All of them, by code.
pub const ALL: [&Diagnostic; 21] = [
    &OLD_API_SERVER,
    &NO_POD_RANGE,
    &POD_RANGES_OVERLAP,
    &POD_RANGE_HOLDS_NODE,
    &SERVICE_RANGE_OVERLAPS,
    &HOST_ROUTE_OVERLAPS,
    &OTHER_PLUGIN,
    &KUBE_PROXY,
    &CORE_DNS,
    &NO_KERNEL_FEATURE,
    &NOT_INSTALLED,
    &AGENT_NOT_READY,
    &DNS_NOT_READY,
    &NO_DNS_ADDRESS,
    &API_THROUGH_SERVICE,
    &CONTROLLER_NOT_READY,
    &PODS_NOT_REACHED,
    &POD_CHANGED,
    &NOT_IN_FORCE,
    &COREFILE_REFUSED,
    &NO_LOAD_BALANCER_ADDRESS,
];

/// The diagnostic of this code; letters may be small.
pub fn find(code: &str) -> Option<&'static Diagnostic> {
    ALL.into_iter().find(|diagnostic| diagnostic.code.eq_ignore_ascii_case(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_no_two_are_the_same() {
        assert!(ALL.windows(2).all(|pair| pair[0].code < pair[1].code));
        let form = |code: &str| code.len() == 6 && code.starts_with("FW") && code[2..].parse::<u16>().is_ok();
        assert!(ALL.iter().all(|diagnostic| form(diagnostic.code)));
    }

    #[test]
    fn a_code_is_found_however_it_is_written() {
        assert_eq!(find("fw0112"), Some(&KUBE_PROXY));
        assert_eq!(find("FW9999"), None);
    }
}
