//! The cluster's objects, as far as the Corefile needs them.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use dns::{Config, Zones};
use kubeapi::{ApiAccess, Client, ClusterWatch, ObjectKind};
use model::Cluster;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Keeps the zones up to date with the cluster.
pub(super) struct Names {
    zones: Zones,
    access: ApiAccess,
    kinds: Vec<ObjectKind>,
    watching: Option<CancellationToken>,
    tasks: TaskTracker,
    end: CancellationToken,
}

/// What is to be watched instead of what is watched now.
pub(super) struct Prepared {
    kinds: Vec<ObjectKind>,
    client: Option<Client>,
}

impl Names {
    pub(super) fn new(zones: Zones, access: ApiAccess, end: CancellationToken) -> Self {
        Self { zones, access, kinds: Vec::new(), watching: None, tasks: TaskTracker::new(), end }
    }

    /// Prepares for what `config` needs; nothing when that is watched already.
    pub(super) async fn prepare(&self, config: &Config) -> Result<Option<Prepared>> {
        let kinds = kinds_for(config);
        if kinds == self.kinds {
            return Ok(None);
        }
        let client = if kinds.is_empty() { None } else { Some(self.access.connect().await?) };
        Ok(Some(Prepared { kinds, client }))
    }

    /// Watches what was prepared. Until the first snapshot the zones stay as they are.
    pub(super) fn replace(&mut self, prepared: Option<Prepared>) {
        let Some(Prepared { kinds, client }) = prepared else { return };
        if let Some(watching) = self.watching.take() {
            watching.cancel();
        }
        self.kinds = kinds;
        let Some(client) = client else { return };
        let end = self.end.child_token();
        self.watching = Some(end.clone());
        let (zones, kinds) = (self.zones.clone(), self.kinds.clone());
        self.tasks.spawn(async move {
            let cluster = ClusterWatch::start(client, kinds, end.clone());
            keep_zones(cluster.snapshots(), &zones, &end).await;
            cluster.join().await;
        });
    }

    /// Ends the watch.
    pub(super) async fn stop(self) {
        if let Some(watching) = self.watching {
            watching.cancel();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn kinds_for(config: &Config) -> Vec<ObjectKind> {
    if config.blocks.iter().all(|block| block.kubernetes.is_empty()) {
        return Vec::new();
    }
    let mut kinds = vec![ObjectKind::Namespace, ObjectKind::Service, ObjectKind::EndpointSlice];
    if config.needs_pods() {
        kinds.push(ObjectKind::Pod);
    }
    kinds
}

/// Makes zones of every snapshot.
async fn keep_zones(mut snapshots: watch::Receiver<Option<Cluster>>, zones: &Zones, end: &CancellationToken) {
    let keeping = async {
        while snapshots.changed().await.is_ok() {
            let Some(cluster) = snapshots.borrow_and_update().clone() else { continue };
            zones.update(&cluster, serial_now());
        }
    };
    end.run_until_cancelled(keeping).await;
}

/// The serial of a zone made now: seconds since 1970, as CoreDNS has it.
fn serial_now() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}
