//! What an agent is told, and what its plans start from.

mod routing;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::ArgAction;
use compile::{NodePortAddresses, NodeView, PodAddresses, RoutingMode};

use super::kernel;
use crate::cli::AGENT_PAGES;
use crate::roles::api_args::ApiArgs;
use crate::roles::ranges::Ranges;
use routing::RoutingArgs;

/// Options of the agent.
#[derive(Debug, clap::Args)]
pub struct AgentArgs {
    /// Name of the Node object this agent is for.
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub(super) node_name: String,
    /// Range of pod addresses beyond those the Node objects carry; may be repeated. Traffic that leaves the cluster is
    /// masqueraded, traffic to these ranges is not.
    #[arg(long, value_name = "CIDR", env = "FAIRWAY_CLUSTER_CIDR")]
    cluster_cidr: Vec<Ranges>,
    /// Range of Service addresses; may be repeated. Lets the agent recognise connections to Services deleted while it
    /// was away.
    #[arg(long, value_name = "CIDR", env = "FAIRWAY_SERVICE_CIDR")]
    service_cidr: Vec<Ranges>,
    /// Whether new pods get Fairway's network. Without it another plugin connects them, and the agent carries Services alone.
    #[arg(long, value_name = "BOOL", env = "FAIRWAY_CNI", default_value_t = true, action = ArgAction::Set)]
    pub(super) cni: bool,
    /// Directory of CNI plugins, where the agent installs this program.
    #[arg(long, value_name = "DIR", env = "FAIRWAY_CNI_BIN_DIR", default_value = "/opt/cni/bin")]
    pub(super) cni_bin_dir: PathBuf,
    /// Directory of CNI configurations, where the agent writes its own once the kernel is ready for pods.
    #[arg(long, value_name = "DIR", env = "FAIRWAY_CNI_CONF_DIR", default_value = "/etc/cni/net.d")]
    pub(super) cni_conf_dir: PathBuf,
    /// Directory in which the CNI plugin keeps what it remembers between calls.
    #[arg(long, value_name = "DIR", env = "FAIRWAY_CNI_STATE_DIR", default_value = cni::STATE_DIR)]
    pub(super) cni_state_dir: PathBuf,
    /// Seconds for which no pod gets an address that another one gave back: whoever still talks to that one meets nobody.
    #[arg(long, value_name = "SECONDS", env = "FAIRWAY_CNI_REUSE_DELAY", default_value_t = 30)]
    pub(super) cni_reuse_delay: u64,
    /// Address of the pages /healthz, /readyz, /metrics and /peers.
    #[arg(long, value_name = "ADDRESS", env = "FAIRWAY_HEALTHZ_BIND_ADDRESS", default_value = AGENT_PAGES)]
    pub(super) healthz_bind_address: SocketAddr,
    /// Which of the node's addresses serve node ports: all (those its links have), primary (those its Node
    /// object tells), or those in the ranges named.
    #[arg(long, value_name = "all|primary|CIDR,...", env = "FAIRWAY_NODE_PORT_ADDRESSES", default_value = "all",
        value_parser = parse_node_port_addresses)]
    node_port_addresses: NodePortAddresses,
    /// Whether node ports are served at 127.0.0.1 and ::1 too, and host ports at ::1, by the agent itself.
    #[arg(long, value_name = "BOOL", env = "FAIRWAY_LOCALHOST_NODE_PORTS", default_value_t = true, action = ArgAction::Set)]
    pub(super) localhost_node_ports: bool,
    /// Whether what asks kube-proxy is answered where kube-proxy does not run: load balancers at port 10256 of every
    /// address, programs of the node at port 10249 of 127.0.0.1.
    #[arg(long, value_name = "BOOL", env = "FAIRWAY_KUBE_PROXY_PORTS", default_value_t = true, action = ArgAction::Set)]
    pub(super) kube_proxy_ports: bool,
    /// Whether this node answers for load balancer addresses on the networks its addresses are on.
    #[arg(long, value_name = "BOOL", env = "FAIRWAY_ANNOUNCE_L2", default_value_t = true, action = ArgAction::Set)]
    pub(super) announce_l2: bool,
    /// Namespace of the Leases by which nodes that answer for load balancer addresses are known.
    #[arg(long, value_name = "NAMESPACE", env = "FAIRWAY_LEASE_NAMESPACE", default_value = manifests::PRESENCE_NAMESPACE)]
    pub(super) lease_namespace: String,
    /// Seconds after which a node that fell silent is replaced as the one that answers.
    #[arg(long, value_name = "SECONDS", default_value_t = 4, value_parser = clap::value_parser!(u64).range(2..=60))]
    pub(super) announce_lease_duration: u64,
    #[command(flatten)]
    pub(super) routing: RoutingArgs,
    #[command(flatten)]
    pub(super) api: ApiArgs,
}

impl AgentArgs {
    /// What plans for this node start from: what the agent was told, and how the node is now.
    pub(super) fn view(&self) -> Result<NodeView> {
        let flat = |given: &[Ranges]| given.iter().flat_map(|ranges| ranges.0.iter().copied()).collect();
        let networks = kernel::link_networks()?;
        let mut routing = self.routing.routing(networks.clone(), kernel::tunnel_checksums()?);
        if !self.cni {
            // The pods of another plugin have its ways between nodes.
            routing.mode = RoutingMode::Native;
        }
        Ok(NodeView {
            name: self.node_name.as_str().into(),
            pod_ranges: flat(&self.cluster_cidr),
            service_ranges: flat(&self.service_cidr),
            link_addresses: kernel::addresses_of(&networks),
            node_port_addresses: self.node_port_addresses.clone(),
            pod_addresses: if self.cni { PodAddresses::NodeRanges } else { PodAddresses::AnyRange },
            routing,
        })
    }
}

fn parse_node_port_addresses(text: &str) -> Result<NodePortAddresses, ipnet::AddrParseError> {
    match text {
        "all" => Ok(NodePortAddresses::All),
        "primary" => Ok(NodePortAddresses::Primary),
        ranges => ranges.split(',').map(str::parse).collect::<Result<_, _>>().map(NodePortAddresses::Within),
    }
}
