//! The kinds the controllers work on: where each lives, and what every object of any kind can be asked.

use std::{collections::BTreeMap, sync::LazyLock};

use apiserver::client::{self, Gvr, ObjectKey};
use jiff::Timestamp;
use k8s_openapi::{
    Metadata, Resource,
    api::{
        apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet},
        coordination::v1::Lease,
        core::v1::{ConfigMap, Endpoints, Namespace, Node, Pod, Service, ServiceAccount},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use serde::{Serialize, de::DeserializeOwned};

/// Labels or annotations.
pub(crate) type StringMap = BTreeMap<String, String>;

static NO_STRINGS: LazyLock<StringMap> = LazyLock::new(StringMap::new);

/// A kind of object with its place in the API.
pub(crate) trait Kind:
    Resource + Metadata<Ty = ObjectMeta> + Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    const GVR: Gvr;

    fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace(), self.name())
    }

    fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.metadata().namespace.as_deref().unwrap_or_default()
    }

    fn uid(&self) -> &str {
        self.metadata().uid.as_deref().unwrap_or_default()
    }

    fn labels(&self) -> &StringMap {
        self.metadata().labels.as_ref().unwrap_or(&NO_STRINGS)
    }

    fn annotations(&self) -> &StringMap {
        self.metadata().annotations.as_ref().unwrap_or(&NO_STRINGS)
    }

    /// When it was stored; the beginning of time if it never was.
    fn created_at(&self) -> Timestamp {
        self.metadata().creation_timestamp.as_ref().map_or(Timestamp::MIN, |time| time.0)
    }

    /// Deletion has been asked for.
    fn is_terminating(&self) -> bool {
        self.metadata().deletion_timestamp.is_some()
    }

    /// The one owner that manages this object.
    fn controller(&self) -> Option<&OwnerReference> {
        let owners = self.metadata().owner_references.as_deref().unwrap_or_default();
        owners.iter().find(|owner| owner.controller == Some(true))
    }

    /// A reference that makes this object the manager of another.
    fn controller_reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: Self::API_VERSION.to_owned(),
            kind: Self::KIND.to_owned(),
            name: self.name().to_owned(),
            uid: self.uid().to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }
}

macro_rules! kinds {
    ($($kind:ident => $gvr:ident),* $(,)?) => {
        $(impl Kind for $kind {
            const GVR: Gvr = client::$gvr;
        })*
    };
}

kinds! {
    ConfigMap => CONFIG_MAPS,
    ControllerRevision => CONTROLLER_REVISIONS,
    DaemonSet => DAEMON_SETS,
    Deployment => DEPLOYMENTS,
    EndpointSlice => ENDPOINT_SLICES,
    Endpoints => ENDPOINTS,
    Lease => LEASES,
    Namespace => NAMESPACES,
    Node => NODES,
    Pod => PODS,
    ReplicaSet => REPLICA_SETS,
    Service => SERVICES,
    ServiceAccount => SERVICE_ACCOUNTS,
    StatefulSet => STATEFUL_SETS,
}
