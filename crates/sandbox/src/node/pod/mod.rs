//! One pod on this node, from the moment it is bound to it until nothing of it is left.

mod compose;
mod hooks;
mod images;
mod last_words;
mod plan;
mod publisher;
mod roles;
mod sandbox;
mod slot;
mod start;
mod status;
mod worker;

use std::sync::Arc;

use apiserver::client::{Client, Store};
use k8s_openapi::api::core::v1::{Pod, Service};
use tokio::sync::watch;

use super::cni::Networks;
use super::config::Config;
use super::facts::MachineFacts;
use super::objects::Objects;
use super::records::Records;
use super::registry::Registry;
use super::volumes::VolumeMaker;
use crate::controllers::events::{Recorder, Severity};

pub use worker::run;

/// What all pods of a node share.
pub struct Context {
    /// What the node was told.
    pub config: Config,
    /// The API server.
    pub client: Client,
    /// Where events go.
    pub recorder: Recorder,
    /// The cluster's Services, for environment variables.
    pub services: Store<Service>,
    /// ConfigMaps and Secrets.
    pub objects: Objects,
    /// Makes volumes.
    pub volumes: VolumeMaker,
    /// Attaches pods to the network.
    pub networks: Networks,
    /// Why there is no network yet; `None` once there is one.
    pub network_problem: watch::Receiver<Option<String>>,
    /// What a restart must find.
    pub records: Records,
    /// What the node's API knows.
    pub registry: Registry,
    /// The machine.
    pub machine: MachineFacts,
}

impl Context {
    /// Records an event about a whole pod.
    pub fn pod_event(&self, pod: &Pod, severity: Severity, reason: &str, message: String) {
        match severity {
            Severity::Normal => self.recorder.normal(pod, reason, message),
            Severity::Warning => self.recorder.warning(pod, reason, message),
        }
    }

    /// Records an event about one container of a pod.
    pub fn container_event(&self, pod: &Pod, slot: &slot::Slot, severity: Severity, event: (&str, String)) {
        self.recorder.about_part(pod, &slot.field(), severity, event);
    }
}

/// What the API server wants of a pod of this node.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The object as it was last seen.
    pub pod: Arc<Pod>,
    /// The object is gone: whatever is left of it here must go, too.
    pub gone: bool,
}

/// The pod's identity, for messages: `name_namespace(uid)`.
pub fn label(pod: &Pod) -> String {
    let metadata = &pod.metadata;
    let [name, namespace, uid] =
        [&metadata.name, &metadata.namespace, &metadata.uid].map(|part| part.as_deref().unwrap_or_default());
    format!("{name}_{namespace}({uid})")
}
