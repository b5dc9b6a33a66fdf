//! What the node's runtime is told of how to connect pods.

mod files;

use anyhow::{Context, Result};
use ipnet::IpNet;
use model::{Name, Node, Rejected, RejectedReason, Subject};
use tracing::warn;

pub(super) use files::CniFiles;
pub use files::{CONFIGURATION, PLUGIN};

/// Who connects new pods on this node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Connector {
    /// Fairway's plugin.
    Own,
    /// The plugin of somebody else.
    Other,
}

/// Offers the pod network to the node's runtime, or leaves pods to others.
///
/// Its files are looked at when there is something new to write, and when [`is_as_left`](Self::is_as_left) asks: a
/// cluster changes far more often than they do.
#[derive(Debug)]
pub(super) struct PodNetwork {
    files: CniFiles,
    connector: Connector,
    /// The ranges for which all is written; none while the files have to be looked at.
    offered: Option<Vec<IpNet>>,
    /// Configurations of others that the runtime prefers, as they were last told.
    preferred: Vec<String>,
}

impl PodNetwork {
    /// The network that is offered in these files.
    pub(super) const fn new(files: CniFiles, connector: Connector) -> Self {
        Self { files, connector, offered: None, preferred: Vec::new() }
    }

    /// Whether nothing can be offered to this node's runtime yet.
    pub(super) fn waits_for_range(&self, node: &Node) -> bool {
        matches!(self.connector, Connector::Own) && node.pod_cidrs.is_empty()
    }

    /// Whether the network of pods is Fairway's.
    pub(super) const fn is_ours(&self) -> bool {
        matches!(self.connector, Connector::Own)
    }

    /// Has the runtime connect new pods of this node by whom it is to be; what is to be told of it.
    pub(super) async fn offer(&mut self, node: &Node) -> Result<Vec<Rejected>> {
        if self.offered.as_ref() == Some(&node.pod_cidrs) {
            return Ok(Vec::new());
        }
        self.offered = None;
        let preferred = self.write(node.pod_cidrs.clone()).await?;
        self.offered = Some(node.pod_cidrs.clone());
        if preferred == self.preferred {
            return Ok(Vec::new());
        }
        let news = preferred.iter().map(|name| in_the_way(&node.name, name)).collect();
        self.preferred = preferred;
        Ok(news)
    }

    /// Looks whether the runtime still finds what it was offered; what it does not find the next offer writes again.
    pub(super) async fn is_as_left(&mut self) -> Result<bool> {
        let Some(offered) = self.offered.clone() else { return Ok(true) };
        let (files, preferred) = (self.files.clone(), self.preferred.clone());
        let work = move |connector| match connector {
            Connector::Own => {
                files.are_installed(&offered) && files.preferred_to_ours().is_ok_and(|now| now == preferred)
            }
            Connector::Other => files.are_withdrawn(),
        };
        let connector = self.connector;
        let is_as_left = tokio::task::spawn_blocking(move || work(connector)).await?;
        if !is_as_left {
            self.offered = None;
        }
        Ok(is_as_left)
    }

    /// Writes what is not as it is to be; the configurations of others that are in the way.
    async fn write(&mut self, ranges: Vec<IpNet>) -> Result<Vec<String>> {
        let (mut files, connector) = (self.files.clone(), self.connector);
        let work = move || -> Result<_> {
            let preferred = match connector {
                Connector::Own => {
                    files.install(&ranges)?;
                    files.preferred_to_ours().context("cannot read the CNI configurations")?
                }
                Connector::Other => {
                    files.withdraw().context("cannot leave new pods to another plugin")?;
                    Vec::new()
                }
            };
            Ok((files, preferred))
        };
        let (files, preferred) = tokio::task::spawn_blocking(work).await??;
        self.files = files;
        Ok(preferred)
    }
}

/// Says that new pods of a node get another network.
fn in_the_way(node: &Name, configuration: &str) -> Rejected {
    warn!(configuration, "the runtime prefers another CNI configuration: new pods get no network of Fairway's");
    let why = format!("the runtime prefers {configuration} to Fairway's: new pods get its network; remove it");
    Rejected { object: Subject::node(node), field: "CNI configuration".into(), why, reason: RejectedReason::Refused }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    fn node(range: &str) -> Node {
        Node {
            name: "node1".into(),
            addresses: vec![],
            pod_cidrs: vec![range.parse().unwrap()],
            uid: "".into(),
            has_refused_range: false,
            leaving: false,
            created: Duration::ZERO,
            labels: BTreeMap::new(),
        }
    }

    fn network(root: &Path, connector: Connector) -> PodNetwork {
        let files = CniFiles::new(root.join("bin"), root.join("net.d"), root.join("state"), Duration::ZERO);
        PodNetwork::new(files, connector)
    }

    #[tokio::test]
    async fn files_are_looked_at_for_something_new_and_when_asked_and_not_at_every_change() {
        let root = tempfile::tempdir().unwrap();
        let configuration = root.path().join("net.d").join(CONFIGURATION);
        let mut network = network(root.path(), Connector::Own);
        network.offer(&node("10.244.1.0/24")).await.unwrap();
        assert!(network.is_as_left().await.unwrap());
        std::fs::remove_file(&configuration).unwrap();
        network.offer(&node("10.244.1.0/24")).await.unwrap();
        assert!(!configuration.exists(), "nothing is new");
        assert!(!network.is_as_left().await.unwrap());
        network.offer(&node("10.244.1.0/24")).await.unwrap();
        assert!(configuration.exists());
        network.offer(&node("10.244.2.0/24")).await.unwrap();
        assert!(std::fs::read_to_string(&configuration).unwrap().contains("10.244.2.0/24"));
    }

    #[tokio::test]
    async fn a_configuration_that_comes_before_ours_is_told_once() {
        let root = tempfile::tempdir().unwrap();
        let mut network = network(root.path(), Connector::Own);
        assert_eq!(network.offer(&node("10.244.1.0/24")).await.unwrap(), []);
        std::fs::write(root.path().join("net.d/00-other.conf"), "{}").unwrap();
        assert!(!network.is_as_left().await.unwrap());
        let told = network.offer(&node("10.244.1.0/24")).await.unwrap();
        assert!(told[0].why.contains("00-other.conf"), "{told:?}");
        assert!(network.is_as_left().await.unwrap());
        assert_eq!(network.offer(&node("10.244.1.0/24")).await.unwrap(), []);
    }

    #[test]
    fn only_a_network_of_ours_needs_a_range_of_the_nodes() {
        let root = tempfile::tempdir().unwrap();
        let without_range = Node { pod_cidrs: Vec::new(), ..node("10.244.1.0/24") };
        for (connector, node, waits) in [
            (Connector::Own, &without_range, true),
            (Connector::Own, &node("10.244.1.0/24"), false),
            (Connector::Other, &without_range, false),
        ] {
            assert_eq!(network(root.path(), connector).waits_for_range(node), waits, "{connector:?} {node:?}");
        }
    }

    #[tokio::test]
    async fn pods_left_to_another_plugin_stay_with_it() {
        let root = tempfile::tempdir().unwrap();
        network(root.path(), Connector::Own).offer(&node("10.244.1.0/24")).await.unwrap();
        let mut network = network(root.path(), Connector::Other);
        network.offer(&node("10.244.1.0/24")).await.unwrap();
        assert!(network.is_as_left().await.unwrap());
        std::fs::write(root.path().join("net.d").join(CONFIGURATION), "{}").unwrap();
        assert!(!network.is_as_left().await.unwrap());
        network.offer(&node("10.244.1.0/24")).await.unwrap();
        assert!(!root.path().join("net.d").join(CONFIGURATION).exists());
    }
}
