//! The zones a server needs, kept up to date together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use model::Cluster;

use super::{Zone, ZoneSettings};

/// The zones a server needs, kept up to date together. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Zones(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// The last snapshot and the serial it came with.
    latest: Option<(Cluster, u32)>,
    zones: Vec<Arc<ArcSwap<Zone>>>,
}

impl Zones {
    /// The zone of these settings; made from the last snapshot, if there was one, unless it is there already.
    pub fn zone(&self, settings: &ZoneSettings) -> Arc<ArcSwap<Zone>> {
        let mut inner = self.lock();
        if let Some(zone) = inner.zones.iter().find(|zone| zone.load().settings() == settings) {
            return Arc::clone(zone);
        }
        let empty = Zone::unsynced(settings.clone());
        let zone = inner.latest.as_ref().map(|(cluster, serial)| empty.updated(cluster, *serial)).unwrap_or(empty);
        let zone = Arc::new(ArcSwap::from_pointee(zone));
        inner.zones.push(Arc::clone(&zone));
        zone
    }

    /// Brings every zone up to date with a snapshot; `serial` becomes the SOA's where something changed.
    pub fn update(&self, cluster: &Cluster, serial: u32) {
        let mut inner = self.lock();
        // Zones that no server block has any more.
        inner.zones.retain(|zone| Arc::strong_count(zone) > 1);
        for zone in &inner.zones {
            zone.store(Arc::new(zone.load().updated(cluster, serial)));
        }
        inner.latest = Some((cluster.clone(), serial));
    }

    /// Whether there was a snapshot.
    pub fn is_synced(&self) -> bool {
        self.lock().latest.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves zones that are at worst out of date.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
