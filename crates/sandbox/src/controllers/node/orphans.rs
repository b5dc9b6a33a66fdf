//! Pods of nodes that are gone: nobody else will end them.

use std::time::Duration;

use apiserver::client::{ClientError, DeleteOptions, NODES, ObjectKey};

use crate::controllers::{
    pod::node_name,
    stores::Stores,
    worker::{Next, Reconcile},
    write::{Write, Writer},
};

/// A node that is deleted by mistake and registers again within this time finds its pods where they were.
pub(in crate::controllers) const QUARANTINE: Duration = Duration::from_secs(10);

/// Ends pods of nodes that are gone.
pub(in crate::controllers) struct OrphanController {
    pub(in crate::controllers) stores: Stores,
    pub(in crate::controllers) writer: Writer,
}

impl Reconcile for OrphanController {
    type Key = ObjectKey;
    const NAME: &'static str = "pod-garbage-collector";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ClientError> {
        let Some(pod) = self.stores.pods.lookup(key) else { return Ok(Next::OnChange) };
        let Some(node) = node_name(&pod).filter(|node| self.stores.nodes.get("", node).is_none()) else {
            return Ok(Next::OnChange);
        };
        match self.writer.client().get(&NODES, "", node).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {
                self.writer.apply(Write::delete_with(&*pod, DeleteOptions::now())).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(Next::OnChange)
    }
}
