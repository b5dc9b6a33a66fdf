//! The dns.

use anyhow::{Result, bail};
use tokio_util::sync::CancellationToken;

/// Options of the dns.
#[derive(Debug, clap::Args)]
pub struct DnsArgs {}

/// Runs the dns until cancelled.
pub async fn run(_args: DnsArgs, _cancel: CancellationToken) -> Result<()> {
    bail!("not wired yet")
}
