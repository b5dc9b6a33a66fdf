//! The kernel's settings that Services and pods need.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use compile::NodeView;
use datapath::sysctl;
use model::{Cluster, IpFamily};
use tracing::warn;

/// Lets the node pass on packets of the families its pods have.
pub(super) fn allow_forwarding(cluster: &Cluster, view: &NodeView, cni_state_dir: &Path) -> Result<()> {
    let Some(node) = cluster.nodes.get(&view.name) else { return Ok(()) };
    let advice = "the agent must be allowed to write it, or the node's administrator must set it";
    let families: BTreeSet<IpFamily> = node.pod_cidrs.iter().map(|range| IpFamily::of(range.addr())).collect();
    families.into_iter().try_for_each(|family| cni::allow_forwarding(cni_state_dir, family).context(advice))
}

/// Has connection tracking stand by a connection whose packets come late or twice. Packets it disowns are not
/// translated back: a client then hears from an endpoint it does not know, resets it, and the connection is lost.
pub(super) fn keep_translating_late_packets() {
    if let Err(error) = sysctl::write("netfilter/nf_conntrack_tcp_be_liberal", "1") {
        warn!(%error, cause = ?error.source(), "connections through Services may break when packets come late");
    }
}

/// How long a connection is tracked that one side has closed and the other has not: kube-proxy's hour, where the kernel
/// gives a minute. A client that takes its time to read the rest would otherwise be cut off from its endpoint.
const CLOSE_WAIT_TIMEOUT: Duration = Duration::from_secs(3600);

/// Has connection tracking wait for the second half of connections that are half closed.
pub(super) fn keep_half_closed_connections() {
    let seconds = CLOSE_WAIT_TIMEOUT.as_secs().to_string();
    if let Err(error) = sysctl::write("netfilter/nf_conntrack_tcp_timeout_close_wait", &seconds) {
        warn!(%error, cause = ?error.source(), "connections through Services end a minute after one side closed them");
    }
}
