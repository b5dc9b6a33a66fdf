//! The runtime of one node of a sandbox.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use sandbox::machine::enter_namespaces;
use sandbox::node::{self, Config, Paths};

use super::PartArgs;
use super::apiserver::GIT_VERSION;

/// The domain of every sandbox.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// Which node, and where its namespaces are.
#[derive(Debug, Args)]
pub struct NodeArgs {
    #[command(flatten)]
    part: PartArgs,
    /// Name of the node.
    #[arg(long)]
    node_name: String,
    /// Address of the node; once for each family, the preferred first.
    #[arg(long, required = true)]
    node_ip: Vec<IpAddr>,
    /// Namespaces to enter first, in this order.
    #[arg(long)]
    enter: Vec<PathBuf>,
}

/// Enters the node and runs its pods until told to end.
pub fn run(args: &NodeArgs) -> Result<()> {
    let role = args.part.parse()?;
    // Sockets in the state directory keep their paths inside the node.
    let config = Config {
        name: args.node_name.clone(),
        addresses: args.node_ip.clone(),
        api_socket: role.state().api_socket(),
        listen: role.state().node_socket(&args.node_name),
        cluster_dns: vec![role.spec().dns_service()],
        cluster_domain: CLUSTER_DOMAIN.to_owned(),
        version: GIT_VERSION.to_owned(),
        paths: Paths::default(),
    };
    enter_namespaces(&args.enter)?;
    super::until_told(|cancel| async { Ok(node::run(config, cancel).await?) })
}
