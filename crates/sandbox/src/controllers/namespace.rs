//! The end of a namespace: everything in it goes, then the namespace itself.

use std::time::Duration;

use apiserver::{
    client::{ClientError, DeleteOptions, Gvr, ListOptions, ObjectKey, object},
    kinds::RESOURCES,
};
use k8s_openapi::api::core::v1::Namespace;

use super::{
    kind::Kind,
    stores::Stores,
    worker::{Next, Reconcile},
    write::{Write, Writer, together},
};

/// What the server holds on to a namespace with until it is empty.
const FINALIZER: &str = "kubernetes";
/// How soon to look again at what still has to end; the end of the last pod brings the next look at once.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// A second name of core events.
const ALIAS_GROUP: &str = "events.k8s.io";

/// Empties namespaces that are being deleted.
pub(super) struct NamespaceController {
    pub(super) stores: Stores,
    pub(super) writer: Writer,
}

impl Reconcile for NamespaceController {
    type Key = ObjectKey;
    const NAME: &'static str = "namespace-controller";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ClientError> {
        let Some(namespace) = self.stores.namespaces.lookup(key) else { return Ok(Next::OnChange) };
        if !namespace.is_terminating() || !is_held(&namespace) {
            return Ok(Next::OnChange);
        }
        let mut remaining = 0;
        for gvr in contents(self.writer.client().custom_kinds().await?) {
            remaining += self.empty(&gvr, &key.name).await?;
        }
        if remaining > 0 {
            return Ok(Next::After(LOOK_AGAIN));
        }
        self.let_go(&namespace).await?;
        Ok(Next::OnChange)
    }
}

impl NamespaceController {
    /// Deletes the objects of one kind; returns how many are still there.
    async fn empty(&self, gvr: &Gvr, namespace: &str) -> Result<usize, ClientError> {
        let everything = ListOptions::default();
        let present = self.writer.client().list(gvr, namespace, &everything).await?.items;
        if present.is_empty() {
            return Ok(0);
        }
        let alive = present.iter().filter(|object| object["metadata"]["deletionTimestamp"].is_null());
        let deletions = alive.map(|object| {
            let uid = object::uid(object).to_owned();
            let key = ObjectKey::new(namespace, object::name(object));
            let options = DeleteOptions::default().with_uid(&uid);
            self.writer.apply(Write::Delete { gvr: *gvr, key, uid, options })
        });
        together(deletions.collect()).await?;
        Ok(self.writer.client().list(gvr, namespace, &everything).await?.items.len())
    }

    async fn let_go(&self, namespace: &Namespace) -> Result<(), ClientError> {
        let mut released = namespace.clone();
        if let Some(spec) = &mut released.spec {
            spec.finalizers.get_or_insert_default().retain(|finalizer| finalizer != FINALIZER);
        }
        match self.writer.client().finalize_namespace(&released).await {
            Err(error) if error.is_not_found() => Ok(()),
            result => result.map(drop),
        }
    }
}

fn is_held(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_deref()).unwrap_or_default();
    finalizers.iter().any(|finalizer| finalizer == FINALIZER)
}

/// What lives in namespaces, `custom` kinds among it; workloads come before their pods, so that none is made anew.
fn contents(custom: Vec<Gvr>) -> Vec<Gvr> {
    let mut kinds: Vec<Gvr> = RESOURCES
        .iter()
        .filter(|resource| resource.namespaced && resource.allows("delete") && resource.group != ALIAS_GROUP)
        .map(Gvr::from)
        .chain(custom.into_iter().filter(|gvr| gvr.namespaced))
        .collect();
    kinds.sort_by_key(|gvr| match (gvr.group, gvr.plural) {
        ("apps", _) => 0,
        ("", "pods") => 1,
        ("", "events") => 3,
        _ => 2,
    });
    kinds
}

#[cfg(test)]
mod tests {
    use apiserver::client::{DEPLOYMENTS, EVENTS, NODES, PODS};

    use super::*;

    #[test]
    fn workloads_go_before_their_pods_and_events_last() {
        let kinds = contents(Vec::new());
        let at = |gvr: Gvr| kinds.iter().position(|kind| *kind == gvr);
        assert!(at(DEPLOYMENTS) < at(PODS));
        assert_eq!(at(EVENTS), Some(kinds.len() - 1));
        assert_eq!(at(NODES), None);
    }
}
