//! Making and ending pods for a controller, with the events people look for.

use std::sync::Arc;

use apiserver::client::ClientError;
use k8s_openapi::api::core::v1::Pod;

use super::{
    events::Recorder,
    kind::Kind,
    write::{Write, Writer, together},
};

/// Makes and ends pods in the name of one controller.
pub(super) struct PodControl {
    pub(super) writer: Writer,
    pub(super) recorder: Recorder,
}

impl PodControl {
    /// Makes pods; the first one alone, so that what is refused is refused once and not for each.
    pub(super) async fn create_all<K: Kind>(&self, owner: &K, mut pods: Vec<Pod>) -> Result<(), ClientError> {
        let Some(first) = pods.pop() else { return Ok(()) };
        self.create(owner, &first).await?;
        together(pods.iter().map(|pod| self.create(owner, pod)).collect()).await
    }

    /// Ends pods, with the grace they ask for.
    pub(super) async fn delete_all<K: Kind>(&self, owner: &K, pods: &[Arc<Pod>]) -> Result<(), ClientError> {
        together(pods.iter().map(|pod| self.delete(owner, pod)).collect()).await
    }

    async fn create<K: Kind>(&self, owner: &K, pod: &Pod) -> Result<(), ClientError> {
        match self.writer.apply(Write::create(pod)).await {
            Ok(created) => {
                let name = created["metadata"]["name"].as_str().unwrap_or_default();
                self.recorder.normal(owner, "SuccessfulCreate", format!("Created pod: {name}"));
                Ok(())
            }
            Err(error) => {
                self.recorder.warning(owner, "FailedCreate", format!("Error creating: {error}"));
                Err(error)
            }
        }
    }

    async fn delete<K: Kind>(&self, owner: &K, pod: &Pod) -> Result<(), ClientError> {
        match self.writer.apply(Write::delete(pod)).await {
            Ok(_) => {
                self.recorder.normal(owner, "SuccessfulDelete", format!("Deleted pod: {}", pod.name()));
                Ok(())
            }
            Err(error) => {
                self.recorder.warning(owner, "FailedDelete", format!("Error deleting: {error}"));
                Err(error)
            }
        }
    }
}
