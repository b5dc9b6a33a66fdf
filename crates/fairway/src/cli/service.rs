//! `fairway service`

use clap::{Args, Subcommand, ValueEnum};

use super::ClusterArgs;

/// What to do with Services.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  fairway service frontend                 where a sandbox's Service is reached: directly as root, else forwarded until Ctrl-C
  fairway service frontend -n shop --url   only its URL, for scripts
  fairway service list -A
  fairway service show -n shop cart"
)]
pub struct ServiceArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: Option<ServiceAction>,
    #[command(flatten)]
    pub forward: ForwardArgs,
}

/// `fairway service NAME`
#[derive(Debug, Args)]
pub struct ForwardArgs {
    /// Name of a Service of type LoadBalancer or NodePort. Its ports are forwarded from this machine's 127.0.0.1 unless it
    /// has a link into the sandbox.
    #[arg(required = true)]
    pub name: Option<String>,
    /// Namespace of the Service.
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    pub namespace: String,
    /// Print the URLs and nothing else.
    #[arg(long)]
    pub url: bool,
    /// Forward in any case: the Service's first port from this one of 127.0.0.1, the others from those that follow.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Name of the sandbox.
    #[arg(long = "sandbox", value_name = "NAME", env = "FAIRWAY_NAME", default_value = "fairway")]
    pub sandbox: String,
}

/// What to do with Services.
#[derive(Debug, Subcommand)]
pub enum ServiceAction {
    /// Show Services with their addresses and how many endpoints serve them.
    List(ListArgs),
    /// Show one Service: addresses, endpoints and why one is left out, what this node's kernel holds of it.
    Show(ShowArgs),
}

/// `fairway service list`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fairway service list -A
  fairway service list -n shop -o wide")]
pub struct ListArgs {
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// All namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
}

/// `fairway service show`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fairway service show -n shop cart
  fairway service show -n shop cart --node node2       as another node sees it
  fairway enter --node node1 -- fairway service show -n shop cart

Exit codes: 0 every port is served, 1 one is not, 3 could not tell.")]
pub struct ShowArgs {
    /// Name of the Service.
    pub name: String,
    #[command(flatten)]
    pub scope: ScopeArgs,
}

/// Where to look, from where, and how to print it.
#[derive(Debug, Args)]
pub struct ScopeArgs {
    /// Namespace of the Services.
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    pub namespace: String,
    /// Node whose view is shown; without it, this machine if it is one, else the first by name.
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub node: Option<String>,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ServiceOutput,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// How Services are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ServiceOutput {
    /// For people.
    #[default]
    Table,
    /// The same with more columns.
    Wide,
    /// For programs.
    Json,
}
