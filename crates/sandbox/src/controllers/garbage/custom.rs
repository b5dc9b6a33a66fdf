//! The kinds that CustomResourceDefinitions make, followed for as long as they are served.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use apiserver::client::{Client, ClientError, Gvr, Store};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::{Bare, Feed, follow_all};

/// The pause before the server is asked again which kinds there are.
const RETRY: Duration = Duration::from_secs(1);

/// The custom kinds that are followed, and what they hold.
pub(super) struct CustomKinds {
    client: Client,
    feed: Feed,
    definitions: Store<Bare>,
    /// By group and kind: all versions of a kind show the same objects, so one of them is enough.
    followed: Mutex<BTreeMap<(&'static str, &'static str), Followed>>,
}

struct Followed {
    gvr: Gvr,
    store: Store<Bare>,
}

impl CustomKinds {
    /// The custom kinds of the definitions there are, once all of their objects are known.
    pub(super) async fn start(client: &Client, feed: Feed, definitions: Store<Bare>) -> Self {
        let kinds = Self { client: client.clone(), feed, definitions, followed: Mutex::default() };
        kinds.follow_until_done().await;
        kinds
    }

    /// Follows the definitions for ever.
    pub(super) async fn keep(&self) {
        let mut changes = self.definitions.changes();
        while changes.next().await {
            self.follow_until_done().await;
        }
    }

    /// Where the owner of something lives, if it is of a kind that is followed.
    pub(super) fn find(&self, owner: &OwnerReference) -> Option<Gvr> {
        let (group, _version) = owner.api_version.split_once('/')?;
        self.lock().get(&(group, owner.kind.as_str())).map(|followed| followed.gvr)
    }

    async fn follow_until_done(&self) {
        while let Err(error) = self.follow().await {
            tracing::warn!(%error, "cannot learn which custom kinds there are; trying again");
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Begins to follow the kinds that have come, and forgets those that are gone, with their objects.
    async fn follow(&self) -> Result<(), ClientError> {
        let kinds: BTreeMap<_, Gvr> =
            self.client.custom_kinds().await?.into_iter().rev().map(|gvr| ((gvr.group, gvr.kind), gvr)).collect();
        let is_served =
            |followed: &Followed| kinds.get(&(followed.gvr.group, followed.gvr.kind)) == Some(&followed.gvr);
        let gone: Vec<Followed> =
            self.lock().extract_if(.., |_, followed| !is_served(followed)).map(|(_, gone)| gone).collect();
        for Followed { store, .. } in gone {
            self.feed.forget(&store);
        }
        let new: Vec<Gvr> = {
            let followed = self.lock();
            kinds.iter().filter(|(kind, _)| !followed.contains_key(*kind)).map(|(_, gvr)| *gvr).collect()
        };
        for gvr in new {
            let store = follow_all(&self.client, &self.feed, gvr);
            store.synced().await;
            self.lock().insert((gvr.group, gvr.kind), Followed { gvr, store });
            // What they own may have been seen before them, when nothing could be said of it.
            self.feed.look_at_owned_by(gvr.group, gvr.kind);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(&'static str, &'static str), Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
