//! `fairway service`

use clap::{Args, Subcommand, ValueEnum};

use super::ClusterArgs;

/// What to do with Services.
#[derive(Debug, Args)]
pub struct ServiceArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: ServiceAction,
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
