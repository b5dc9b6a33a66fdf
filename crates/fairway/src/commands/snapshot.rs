//! One look at the objects that make a network, as the agents see them.

use std::time::Duration;

use anyhow::{Context, Result};
use kubeapi::{Client, ClusterWatch, ObjectKind};
use model::{Cluster, Rejected};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long the API server may take to list what is needed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster's facts, and what did not become one.
pub struct Snapshot {
    pub cluster: Cluster,
    pub refused: Vec<Rejected>,
}

/// Lists Nodes, Services and EndpointSlices, and these kinds, which the API server must know.
pub async fn read_snapshot(client: Client, more: &[ObjectKind]) -> Result<Snapshot> {
    let cancel = CancellationToken::new();
    let kinds = [&[ObjectKind::Node, ObjectKind::Service, ObjectKind::EndpointSlice], more].concat();
    let mut watch = ClusterWatch::start(client, kinds, cancel.clone());
    let mut snapshots = watch.snapshots();
    let mut refused = Vec::new();
    let cluster = timeout(PATIENCE, async {
        loop {
            tokio::select! {
                first = snapshots.wait_for(Option::is_some) => return first.map(|first| first.clone()),
                // What is told waits for a reader only up to a number.
                Some(refusal) = watch.next_refusal() => refused.extend(refusal.rejected),
            }
        }
    });
    let cluster = cluster.await.context("the API server does not answer")?.context("the watch ended")?;
    // What was refused has been told before the snapshot that goes without it.
    cancel.cancel();
    while let Some(refusal) = watch.next_refusal().await {
        refused.extend(refusal.rejected);
    }
    watch.join().await;
    Ok(Snapshot { cluster: cluster.context("no snapshot")?, refused })
}
