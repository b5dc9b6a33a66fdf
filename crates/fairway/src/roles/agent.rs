//! The agent.

use anyhow::{Result, bail};
use tokio_util::sync::CancellationToken;

/// Options of the agent.
#[derive(Debug, clap::Args)]
pub struct AgentArgs {}

/// Runs the agent until cancelled.
pub async fn run(_args: AgentArgs, _cancel: CancellationToken) -> Result<()> {
    bail!("not wired yet")
}
