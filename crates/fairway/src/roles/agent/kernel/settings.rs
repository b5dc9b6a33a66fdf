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

use super::mended::Mended;

/// The families of which the agent let the node pass on packets.
///
/// That waits for calls of the plugin, so it is done once, and again when somebody took it back.
#[derive(Debug, Default)]
pub(super) struct Forwarding(BTreeSet<IpFamily>);

impl Forwarding {
    /// Lets the node pass on packets of the families its pods have.
    pub(super) fn allow(&mut self, cluster: &Cluster, view: &NodeView, cni_state_dir: &Path) -> Result<()> {
        let ranges = cluster.nodes.get(&view.name).map(|node| node.pod_cidrs.as_slice()).unwrap_or_default();
        for family in ranges.iter().map(|range| IpFamily::of(range.addr())).collect::<BTreeSet<_>>() {
            if !self.0.contains(&family) {
                let advice = "the agent must be allowed to write it, or the node's administrator must set it";
                cni::allow_forwarding(cni_state_dir, family).context(advice)?;
                self.0.insert(family);
            }
        }
        Ok(())
    }

    /// Lets the node pass on packets again of families for which somebody took that back; those families.
    pub(super) fn audit(&self, cni_state_dir: &Path) -> Result<Vec<Mended>> {
        let mut mended = Vec::new();
        for family in self.0.iter().copied() {
            if !cni::is_forwarding_allowed(family)? {
                cni::allow_forwarding(cni_state_dir, family)?;
                mended.push(Mended::Forwarding(family));
            }
        }
        Ok(mended)
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datapath::testing::isolated;
    use model::Node;

    use super::*;

    fn cluster() -> Cluster {
        let node = Node {
            name: "node1".into(),
            addresses: Vec::new(),
            pod_cidrs: vec!["10.244.1.0/24".parse().unwrap()],
            uid: "".into(),
            has_refused_range: false,
            leaving: false,
            created: Duration::ZERO,
            labels: std::collections::BTreeMap::new(),
        };
        let mut cluster = Cluster::default();
        cluster.nodes.insert(node.name.clone(), Arc::new(node));
        cluster
    }

    #[test]
    fn packets_are_passed_on_without_waiting_for_the_plugin_again_and_again_when_that_was_taken_back() {
        isolated(|| {
            const KEY: &str = "ipv4/ip_forward";
            let state = tempfile::tempdir().unwrap();
            let (cluster, view) = (cluster(), NodeView::new("node1"));
            let mut forwarding = Forwarding::default();
            sysctl::write(KEY, "0").unwrap();
            forwarding.audit(state.path()).unwrap();
            assert_eq!(sysctl::read(KEY).unwrap(), "0", "nobody asked for it");
            forwarding.allow(&cluster, &view, state.path()).unwrap();
            assert_eq!(sysctl::read(KEY).unwrap(), "1");
            // Where the turn of one caller after the other is taken.
            let lock = state.path().join("lock");
            std::fs::remove_file(&lock).unwrap();
            std::fs::create_dir(&lock).unwrap();
            forwarding.allow(&cluster, &view, state.path()).unwrap();
            assert_eq!(forwarding.audit(state.path()).unwrap(), []);
            std::fs::remove_dir(&lock).unwrap();
            sysctl::write(KEY, "0").unwrap();
            assert_eq!(forwarding.audit(state.path()).unwrap(), [Mended::Forwarding(IpFamily::V4)]);
            assert_eq!(sysctl::read(KEY).unwrap(), "1");
        });
    }
}
