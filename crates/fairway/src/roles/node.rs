//! The runtime of one node of a sandbox.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use sandbox::machine::enter_namespaces;

use super::PartArgs;

/// Which node, and where its namespaces are.
#[derive(Debug, Args)]
pub struct NodeArgs {
    #[command(flatten)]
    part: PartArgs,
    /// Name of the node.
    #[arg(long)]
    node_name: String,
    /// Address of the node.
    #[arg(long)]
    node_ip: IpAddr,
    /// Namespaces to enter first, in this order.
    #[arg(long)]
    enter: Vec<PathBuf>,
}

/// Enters the node and runs its pods until told to end.
pub fn run(args: &NodeArgs) -> Result<()> {
    let _role = args.part.parse()?;
    enter_namespaces(&args.enter)?;
    loop {
        std::thread::park();
    }
}
