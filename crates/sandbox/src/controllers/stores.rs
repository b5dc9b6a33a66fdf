//! The caches all controllers share: one watch per kind.

use apiserver::client::{Client, Gvr, ListOptions, ObjectKey, Store};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet},
    coordination::v1::Lease,
    core::v1::{ConfigMap, Endpoints, Namespace, Node, Pod, Service, ServiceAccount},
    discovery::v1::EndpointSlice,
};
use serde_json::Value;

use super::{garbage::Feed, kind::Kind};

macro_rules! stores {
    ($($(#[$doc:meta])* $field:ident: $kind:ident,)*) => {
        /// One cache per kind the controllers read.
        #[derive(Clone)]
        pub(super) struct Stores {
            $($(#[$doc])* pub(super) $field: Store<$kind>,)*
        }

        impl Stores {
            /// Begins to watch every kind.
            pub(super) fn start(client: &Client) -> Self {
                Self { $($field: Store::start(client, &$kind::GVR, "", ListOptions::default()),)* }
            }

            /// Waits until every cache has been filled once.
            pub(super) async fn synced(&self) {
                $(self.$field.synced().await;)*
            }

            /// Feeds every cache to the garbage collector; returns the kinds fed.
            pub(super) fn feed(&self, feed: &Feed) -> Vec<Gvr> {
                $(feed.follow_kind($kind::GVR, &self.$field);)*
                vec![$($kind::GVR),*]
            }

            /// Takes in what a write returned.
            pub(super) fn observe(&self, gvr: &Gvr, object: Value) {
                match *gvr {
                    $($kind::GVR => self.$field.observe(object),)*
                    _ => {}
                }
            }

            /// Takes in that an object is gone.
            pub(super) fn observe_deleted(&self, gvr: &Gvr, key: &ObjectKey, uid: &str) {
                match *gvr {
                    $($kind::GVR => self.$field.observe_deleted(key, uid),)*
                    _ => {}
                }
            }
        }
    };
}

stores! {
    config_maps: ConfigMap,
    daemon_sets: DaemonSet,
    deployments: Deployment,
    endpoint_slices: EndpointSlice,
    endpoints: Endpoints,
    leases: Lease,
    namespaces: Namespace,
    nodes: Node,
    pods: Pod,
    replica_sets: ReplicaSet,
    revisions: ControllerRevision,
    service_accounts: ServiceAccount,
    services: Service,
    stateful_sets: StatefulSet,
}
