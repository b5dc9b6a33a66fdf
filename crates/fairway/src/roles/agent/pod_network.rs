//! What the node's runtime is told of how to connect pods.

mod files;

use anyhow::{Context, Result};
use ipnet::IpNet;
use model::{Name, Node, Rejected, RejectedReason, Subject};
use tracing::warn;

pub(super) use files::CniFiles;
pub use files::{CONFIGURATION, PLUGIN};

/// Who connects new pods on this node.
#[derive(Debug)]
pub(super) enum Connector {
    /// Fairway's plugin.
    Own,
    /// The plugin of somebody else.
    Other,
}

/// Offers the pod network to the node's runtime, or leaves pods to others.
#[derive(Debug)]
pub(super) struct PodNetwork {
    files: CniFiles,
    connector: Connector,
    /// Configurations of others that the runtime prefers, as they were last told.
    preferred: Vec<String>,
}

impl PodNetwork {
    /// The network that is offered in these files.
    pub(super) const fn new(files: CniFiles, connector: Connector) -> Self {
        Self { files, connector, preferred: Vec::new() }
    }

    /// Has the runtime connect new pods of this node by whom it is to be; what is to be told of it.
    pub(super) async fn offer(&mut self, node: &Node) -> Result<Vec<Rejected>> {
        match self.connector {
            Connector::Own => self.install(&node.name, node.pod_cidrs.clone()).await,
            Connector::Other => {
                self.files.withdraw().context("cannot leave new pods to another plugin")?;
                Ok(Vec::new())
            }
        }
    }

    async fn install(&mut self, node: &Name, ranges: Vec<IpNet>) -> Result<Vec<Rejected>> {
        let mut files = self.files.clone();
        let work = move || -> Result<_> {
            files.install(&ranges)?;
            let preferred = files.preferred_to_ours().context("cannot read the CNI configurations")?;
            Ok((files, preferred))
        };
        let (files, preferred) = tokio::task::spawn_blocking(work).await??;
        self.files = files;
        if preferred == self.preferred {
            return Ok(Vec::new());
        }
        let news = preferred.iter().map(|name| in_the_way(node, name)).collect();
        self.preferred = preferred;
        Ok(news)
    }
}

/// Says that new pods of a node get another network.
fn in_the_way(node: &Name, configuration: &str) -> Rejected {
    warn!(configuration, "the runtime prefers another CNI configuration: new pods get no network of Fairway's");
    let why = format!("the runtime prefers {configuration} to Fairway's: new pods get its network; remove it");
    Rejected { object: Subject::node(node), field: "CNI configuration".into(), why, reason: RejectedReason::Refused }
}
