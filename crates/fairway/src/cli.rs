//! The command line: what a user may type.

mod cluster;
mod service;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::error::{ContextKind, ErrorKind};
use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use model::reserved_part;
use sandbox::machine::Shape;

use crate::roles;

pub use cluster::{CheckArgs, ClusterArgs, ExplainArgs, InstallArgs, ManifestFormat, SettingsArgs, UninstallArgs};
pub use service::{ForwardArgs, ListArgs, ScopeArgs, ServiceAction, ServiceArgs, ServiceOutput, ShowArgs};

/// The whole network of a Kubernetes cluster in one program.
///
/// `fairway up` starts a small cluster on this machine, without containers, a VM or root, for which plain kubectl works.
#[derive(Debug, Parser)]
#[command(name = "fairway", version, propagate_version = true, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  fairway demo                  bring a cluster up, deploy a shop, send real traffic, show what was seen
  fairway up --nodes 5          a cluster of five nodes; kubectl's context is set to it
  fairway status                what runs
  fairway enter --node node2 -- ip route    a command on a node
  fairway enter --node node2 -- fairway peers    how its pods reach those of other nodes, and why so
  fairway down                  remove all of it
  fairway check --pre           what is in the way of Fairway on the cluster kubectl talks to
  fairway install               install it there

Environment:
  FAIRWAY_NAME        the sandbox meant without --name
  FAIRWAY_STATE_DIR   where sandboxes keep their state (root: /var/lib/fairway, others: $XDG_STATE_HOME/fairway)
  FAIRWAY_LOG         what the roles log: error, warn, info, debug, or per room, e.g. compile=debug,info

Exit codes: 0 fine, 1 finding or failure, 2 usage, 3 could not tell.";

/// Commands for people, then roles for clusters, then the parts of a sandbox.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a sandbox: a cluster on this machine.
    Up(UpArgs),
    /// Remove a sandbox: its processes, namespaces, interfaces, mounts and files.
    Down(DownArgs),
    /// Show the sandboxes of this user.
    Status(StatusArgs),
    /// Bring a cluster up, deploy the shop example, send real traffic and show what was seen.
    Demo(DemoArgs),
    /// Run a command in a sandbox: on a node, or beside the nodes, where "outside the cluster" is.
    Enter(EnterArgs),
    /// Install Fairway on a cluster, or bring an installation to this version.
    Install(InstallArgs),
    /// Remove Fairway from a cluster and from its nodes.
    Uninstall(UninstallArgs),
    /// Look for what is in the way of Fairway on a cluster, or broken.
    Check(CheckArgs),
    /// Say what the code of a finding means.
    Explain(ExplainArgs),
    /// Reach a sandbox's Service from here, or show Services as a node sees them: who serves, who does not and why.
    Service(ServiceArgs),
    /// Plan the ranges of pods' addresses, or show which pod of this node has which.
    Ip(IpArgs),
    /// Show how this node reaches the pods of every other one: natively or in a tunnel, with what MTU, and why.
    Peers(PeersArgs),
    /// Print the completions of a shell.
    Completions(CompletionsArgs),
    /// Role: program this node's kernel from the cluster's objects (runs as a DaemonSet).
    Agent(roles::agent::AgentArgs),
    /// Role: answer the cluster's names (runs as a Deployment behind the Service kube-dns).
    Dns(roles::dns::DnsArgs),
    /// Role: remove from this node all that Fairway left there.
    Cleanup(roles::cleanup::CleanupArgs),
    /// Role: decide what is decided once for the whole cluster (runs as a Deployment).
    Controller(roles::controller::ControllerArgs),
    /// Part of a sandbox.
    #[command(flatten)]
    Part(roles::Part),
}

/// `fairway ip`
#[derive(Debug, Args)]
pub struct IpArgs {
    #[command(subcommand)]
    pub command: IpCommand,
}

/// What about addresses.
#[derive(Debug, Subcommand)]
pub enum IpCommand {
    /// Say how large the ranges of pods must be, and which are free or what speaks against those you have.
    Plan(IpPlanArgs),
    /// Show the addresses given out on this node.
    Show(IpShowArgs),
}

/// `fairway ip plan`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fairway ip plan --nodes 50
  fairway ip plan --nodes 50 --growth 200 --pods-per-node 250
  fairway ip plan --nodes 50 --pod-cidr 10.1.0.0/16 --service-cidr 10.1.128.0/20")]
pub struct IpPlanArgs {
    /// Number of nodes now.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub nodes: u32,
    /// How many more nodes there may be one day, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 100)]
    pub growth: u32,
    /// Pods a node runs at once: the kubelets' maxPods.
    #[arg(long, default_value_t = 110, value_parser = clap::value_parser!(u32).range(1..))]
    pub pods_per_node: u32,
    /// Range of the pods' addresses to be judged; once for each family. Without it a free one is looked for.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub pod_cidr: Vec<IpNet>,
    /// Range of the Services' addresses; may be repeated.
    #[arg(long, value_name = "CIDR", value_delimiter = ',', default_value = "10.96.0.0/16")]
    pub service_cidr: Vec<IpNet>,
    /// Plan for IPv4 only.
    #[arg(long)]
    pub ipv4_only: bool,
    /// Do not look at this machine's routes: it will be none of the nodes and reaches none of them.
    #[arg(long)]
    pub ignore_routes: bool,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `fairway ip show`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fairway ip show
  fairway enter --node node1 -- fairway ip show      on a node of a sandbox
  fairway ip show -o json | jq '.ranges[] | {range, free}'

Below the addresses stand the node's ranges: how many addresses of each are taken, how many rest (nobody gets them
for a while after their release), and how many are free.
Exit codes: 0 fine, 1 an address belongs to a container that is gone, 2 usage.")]
pub struct IpShowArgs {
    /// Directory in which the CNI plugin keeps what it remembers between calls.
    #[arg(long, value_name = "DIR", env = "FAIRWAY_CNI_STATE_DIR", default_value = cni::STATE_DIR)]
    pub state_dir: PathBuf,
    /// Directory of CNI configurations, which say what the ranges are.
    #[arg(long, value_name = "DIR", env = "FAIRWAY_CNI_CONF_DIR", default_value = "/etc/cni/net.d")]
    pub conf_dir: PathBuf,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `fairway peers`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fairway peers                                              on a node
  fairway enter --node node1 -- fairway peers                on a node of a sandbox
  kubectl -n kube-system exec fairway-agent-x7k2p -- fairway peers      in the agent's pod of a node, from anywhere
  fairway peers -o json | jq -r '.items[] | select(.way == \"none\") | .reason'

WAY is native (a plain route), VXLAN, other (a route that is not Fairway's) or none.
Exit codes: 0 all are reached, 1 some are not, 2 usage, 3 could not tell.")]
pub struct PeersArgs {
    /// Address of the agent's pages.
    #[arg(long, value_name = "ADDRESS", env = "FAIRWAY_HEALTHZ_BIND_ADDRESS", default_value = AGENT_PAGES)]
    pub agent: SocketAddr,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Where an agent has its pages unless told otherwise.
pub const AGENT_PAGES: &str = "127.0.0.1:10246";

/// Which sandbox.
#[derive(Debug, Args)]
pub struct NameArg {
    /// Name of the sandbox.
    #[arg(long, default_value = "fairway", env = "FAIRWAY_NAME")]
    pub name: String,
}

/// `fairway up`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fairway up
  fairway up --nodes 1 --name ci --kubeconfig ./ci.yaml
  fairway up --pod-cidr 10.200.0.0/16 --service-cidr 10.201.0.0/16
  fairway up --networks 2                                       node2 is behind a router: pods there need VXLAN
  fairway up --pod-cidr 10.244.0.0/16,fd00:10:244::/56 --service-cidr 10.96.0.0/16,fd00:10:96::/112   both families
  fairway up --pod-cidr fd00:10:244::/56 --service-cidr fd00:10:96::/112                              IPv6 alone")]
pub struct UpArgs {
    #[command(flatten)]
    pub sandbox: NameArg,
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// Write the context to this file alone instead of merging it into your kubeconfig.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Port of the API server on 127.0.0.1; without it, 6443 or the next free one.
    #[arg(long, value_name = "PORT")]
    pub api_port: Option<u16>,
    /// Stay, and remove the sandbox when interrupted.
    #[arg(long)]
    pub foreground: bool,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// The shape of a sandbox.
#[derive(Clone, Debug, Args)]
pub struct ShapeArgs {
    /// Number of nodes.
    #[arg(long, default_value_t = 3)]
    pub nodes: u8,
    /// Range of the pods' addresses; every node takes a /24 of it, of IPv6 a /64. Two, separated by a comma, for both
    /// families; the first is preferred.
    #[arg(long, value_name = "CIDR", value_delimiter = ',', default_value = "10.244.0.0/16", value_parser = usable_range)]
    pub pod_cidr: Vec<IpNet>,
    /// Range of the Services' addresses, of the same families.
    #[arg(long, value_name = "CIDR", value_delimiter = ',', default_value = "10.96.0.0/16", value_parser = usable_range)]
    pub service_cidr: Vec<IpNet>,
    /// Number of networks the nodes are on, in turn. The router between them does not know pods.
    #[arg(long, default_value_t = 1)]
    pub networks: u8,
    /// Way of packets to pods of other nodes.
    #[arg(long, value_enum, default_value_t)]
    pub routing: RoutingArg,
    /// Leave this machine's network alone: no link and routes to the nodes, as root gets them, and no names from this
    /// machine's DNS servers.
    #[arg(long, env = "FAIRWAY_ISOLATED")]
    pub isolated: bool,
}

/// A range that pods and Services can have addresses of.
fn usable_range(text: &str) -> Result<IpNet, String> {
    let range: IpNet = text.parse().map_err(|error| format!("{error}; it must be like 10.244.0.0/16"))?;
    match reserved_part(range) {
        Some((reserved, what)) => Err(format!("it overlaps {reserved}, {what}; choose another range")),
        None => Ok(range),
    }
}

/// Ways of packets to pods of other nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RoutingArg {
    /// Native to nodes of the same network, VXLAN to others.
    #[default]
    Auto,
    /// By plain routes.
    Native,
    /// Inside packets between the nodes.
    Vxlan,
}

impl RoutingArg {
    /// The word for it in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Vxlan => "vxlan",
        }
    }
}

impl ShapeArgs {
    /// The shape of a sandbox with this name.
    pub fn named(&self, name: &str) -> Shape {
        Shape {
            name: name.to_owned(),
            nodes: self.nodes,
            networks: self.networks,
            pod_cidrs: self.pod_cidr.clone(),
            service_cidrs: self.service_cidr.clone(),
            isolated: self.isolated,
        }
    }
}

/// `fairway down`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fairway down
  fairway down --name ci
  fairway down --all")]
pub struct DownArgs {
    #[command(flatten)]
    pub sandbox: NameArg,
    /// Every sandbox of this user.
    #[arg(long)]
    pub all: bool,
}

/// `fairway status`
#[derive(Debug, Args)]
#[command(after_help = "\
NODES and PODS are those that are ready, of all; PEERS are the ways by which nodes reach each other's pods, of all there
should be. What is missing stands below, with the command that says more.
Exit codes: 0 all nodes of all sandboxes are ready, 1 some are not, 2 usage.")]
pub struct StatusArgs {
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `fairway demo`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fairway demo
  fairway demo --keep     leave the cluster with the shop for you; kubectl's context is set to it")]
pub struct DemoArgs {
    /// Name of the sandbox.
    #[arg(long, default_value = "demo")]
    pub name: String,
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// Leave the cluster for you.
    #[arg(long)]
    pub keep: bool,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `fairway enter`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fairway enter -- curl -s http://10.89.0.1:30080/           a NodePort, from outside the cluster
  fairway enter --node node1 -- ip addr
  fairway enter --node node1 -- fairway service show web     what this node's kernel holds for a Service
  fairway enter --node node1                                 a shell; kubectl works there too")]
pub struct EnterArgs {
    #[command(flatten)]
    pub sandbox: NameArg,
    /// The node to enter; without it, the place beside the nodes.
    #[arg(long)]
    pub node: Option<String>,
    /// The command; without it, a shell.
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// `fairway completions`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  source <(fairway completions bash)")]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: clap_complete::Shell,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// Parses the command line; prints help, version or usage errors and ends when that is what it asks for.
pub fn parse() -> Cli {
    let words: Vec<OsString> = std::env::args_os().collect();
    try_parse(&words).unwrap_or_else(|error| error.exit())
}

fn try_parse(words: &[OsString]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(words).map_err(|error| name_action(error, words))
}

/// Names the action of `fairway service` that was misspelt: as a Service's name stands in the same place, all that is known
/// of `shw web` is a word too many.
fn name_action(mut error: clap::Error, words: &[OsString]) -> clap::Error {
    let [_, command, action, ..] = words else { return error };
    // A word too many is an action that does not go with a name; an option too many is not known.
    if command != "service" || !matches!(error.kind(), ErrorKind::ArgumentConflict | ErrorKind::UnknownArgument) {
        return error;
    }
    let actions = ServiceAction::augment_subcommands(clap::Command::new("service"));
    let refusal = actions.try_get_matches_from([command, action]).err();
    if let Some(meant) = refusal.as_ref().and_then(|refusal| refusal.get(ContextKind::SuggestedSubcommand)) {
        error.insert(ContextKind::SuggestedSubcommand, meant.clone());
    }
    error
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_action_that_is_misspelt_is_named_and_a_services_name_is_no_action() {
        let refusal = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            try_parse(&words).err().map(|error| error.to_string()).unwrap_or_default()
        };
        let said = refusal("fairway service shw web");
        assert!(said.contains("'web'") && said.contains("subcommand exists: 'show'"), "{said}");
        assert!(refusal("fairway service lst -A").contains("'list'"));
        assert!(!refusal("fairway service frontend web").contains("subcommand exists"));
        assert!(!refusal("fairway service show web more").contains("subcommand exists"));
        assert_eq!(refusal("fairway service shw"), "");
    }

    #[test]
    fn ranges_nobody_can_have_addresses_of_are_refused_with_their_flag() {
        let refusal = |flag: &str, range: &str| {
            Cli::try_parse_from(["fairway", "up", flag, range]).err().map(|error| error.to_string())
        };
        for flag in ["--pod-cidr", "--service-cidr"] {
            for range in
                ["127.0.0.0/16", "224.0.0.0/16", "169.254.0.0/16", "0.0.0.0/0", "fe80::/56", "ff00::/48", "::/56"]
            {
                let said = refusal(flag, &format!("10.244.0.0/16,{range}")).unwrap();
                assert!(said.contains(flag) && said.contains(range) && said.contains(" overlaps "), "{said}");
            }
            assert_eq!(refusal(flag, "10.244.0.0/16,fd00:10:244::/56"), None);
        }
        assert!(refusal("--pod-cidr", "10.244.0.0").unwrap().contains("it must be like 10.244.0.0/16"));
    }
}
