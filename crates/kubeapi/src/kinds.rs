//! The kinds of objects a role can watch, and where each one's facts live in a snapshot.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::from_kube::{self, Admitted, LoadBalancerPool};
use model::{
    AddressPool, Cluster, EndpointSlice, Name, NamespacedName, Node, ObjectKind, Pod, Rejected, Service, SharedMap,
};

use crate::decoded::Decoded;

/// An object of the API, to be named in an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectReference {
    /// The API group and version it was read in.
    pub api_version: &'static str,
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace, unless it belongs to the cluster as a whole.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// What tells it from another object of the same name before or after it.
    pub uid: String,
}

/// Parts of an object that were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The object.
    pub object: ObjectReference,
    /// What of it and why, never empty.
    pub rejected: Vec<Rejected>,
}

/// How objects of one kind become facts of a snapshot.
pub(crate) trait Kind: k8s_openapi::Resource + k8s_openapi::Metadata<Ty = ObjectMeta> {
    /// What names a fact.
    type Key: Ord + Hash + Clone;
    /// What a snapshot keeps of the object.
    type Fact: PartialEq;

    /// What the kind is called in refusals.
    const OBJECT_KIND: ObjectKind;

    fn key_of(metadata: &ObjectMeta) -> Self::Key;

    fn key(&self) -> Self::Key {
        Self::key_of(self.metadata())
    }

    fn admit(&self) -> Admitted<Self::Fact>;

    /// Puts the fact that takes the place of `old` into the snapshot; at least one of them is there.
    fn place(cluster: &mut Cluster, key: &Self::Key, old: Option<&Self::Fact>, new: Option<&Arc<Self::Fact>>);

    fn reference(&self) -> ObjectReference {
        let metadata = self.metadata();
        ObjectReference {
            api_version: Self::API_VERSION,
            kind: Self::KIND,
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
        }
    }
}

impl<K: Kind> Kind for Decoded<K> {
    type Key = K::Key;
    type Fact = K::Fact;

    const OBJECT_KIND: ObjectKind = K::OBJECT_KIND;

    fn key_of(metadata: &ObjectMeta) -> K::Key {
        K::key_of(metadata)
    }

    fn admit(&self) -> Admitted<K::Fact> {
        Self::admit(self, K::admit)
    }

    fn place(cluster: &mut Cluster, key: &K::Key, old: Option<&K::Fact>, new: Option<&Arc<K::Fact>>) {
        K::place(cluster, key, old, new);
    }
}

impl Kind for core::Node {
    type Key = Name;
    type Fact = Node;

    const OBJECT_KIND: ObjectKind = ObjectKind::Node;

    fn key_of(metadata: &ObjectMeta) -> Name {
        name(metadata)
    }

    fn admit(&self) -> Admitted<Node> {
        from_kube::node(self)
    }

    fn place(cluster: &mut Cluster, key: &Name, _: Option<&Node>, new: Option<&Arc<Node>>) {
        place(&mut cluster.nodes, key, new);
    }
}

impl Kind for core::Namespace {
    type Key = Name;
    type Fact = BTreeMap<Name, Name>;

    const OBJECT_KIND: ObjectKind = ObjectKind::Namespace;

    fn key_of(metadata: &ObjectMeta) -> Name {
        name(metadata)
    }

    fn admit(&self) -> Admitted<Self::Fact> {
        let Admitted { fact, rejected } = from_kube::namespace(self);
        Admitted { fact: fact.map(|(_, labels)| labels), rejected }
    }

    fn place(cluster: &mut Cluster, key: &Name, _: Option<&Self::Fact>, new: Option<&Arc<Self::Fact>>) {
        place(&mut cluster.namespaces, key, new);
    }
}

impl Kind for core::Pod {
    type Key = NamespacedName;
    type Fact = Pod;

    const OBJECT_KIND: ObjectKind = ObjectKind::Pod;

    fn key_of(metadata: &ObjectMeta) -> NamespacedName {
        namespaced_name(metadata)
    }

    fn admit(&self) -> Admitted<Pod> {
        from_kube::pod(self)
    }

    fn place(cluster: &mut Cluster, key: &NamespacedName, _: Option<&Pod>, new: Option<&Arc<Pod>>) {
        place(&mut cluster.pods, key, new);
    }
}

impl Kind for core::Service {
    type Key = NamespacedName;
    type Fact = Service;

    const OBJECT_KIND: ObjectKind = ObjectKind::Service;

    fn key_of(metadata: &ObjectMeta) -> NamespacedName {
        namespaced_name(metadata)
    }

    fn admit(&self) -> Admitted<Service> {
        from_kube::service(self)
    }

    fn place(cluster: &mut Cluster, key: &NamespacedName, _: Option<&Service>, new: Option<&Arc<Service>>) {
        place(&mut cluster.services, key, new);
    }
}

impl Kind for discovery::EndpointSlice {
    type Key = NamespacedName;
    type Fact = EndpointSlice;

    const OBJECT_KIND: ObjectKind = ObjectKind::EndpointSlice;

    fn key_of(metadata: &ObjectMeta) -> NamespacedName {
        namespaced_name(metadata)
    }

    fn admit(&self) -> Admitted<EndpointSlice> {
        from_kube::endpoint_slice(self)
    }

    /// Slices lie under their Service, and a changed label moves one to another.
    fn place(
        cluster: &mut Cluster,
        key: &NamespacedName,
        old: Option<&EndpointSlice>,
        new: Option<&Arc<EndpointSlice>>,
    ) {
        if let Some(old) = old.filter(|old| new.is_none_or(|new| new.service != old.service)) {
            cluster.remove_slice(&old.service, &key.name);
        }
        if let Some(new) = new {
            cluster.insert_slice(Arc::clone(new));
        }
    }
}

impl Kind for LoadBalancerPool {
    type Key = Name;
    type Fact = AddressPool;

    const OBJECT_KIND: ObjectKind = ObjectKind::LoadBalancerPool;

    fn key_of(metadata: &ObjectMeta) -> Name {
        name(metadata)
    }

    fn admit(&self) -> Admitted<AddressPool> {
        from_kube::address_pool(self)
    }

    fn place(cluster: &mut Cluster, key: &Name, _: Option<&AddressPool>, new: Option<&Arc<AddressPool>>) {
        place(&mut cluster.pools, key, new);
    }
}

impl Kind for ServiceCIDR {
    type Key = Name;
    type Fact = Vec<IpNet>;

    const OBJECT_KIND: ObjectKind = ObjectKind::ServiceCidr;

    fn key_of(metadata: &ObjectMeta) -> Name {
        name(metadata)
    }

    fn admit(&self) -> Admitted<Vec<IpNet>> {
        from_kube::service_ranges(self)
    }

    fn place(cluster: &mut Cluster, key: &Name, _: Option<&Vec<IpNet>>, new: Option<&Arc<Vec<IpNet>>>) {
        place(&mut cluster.service_ranges, key, new);
    }
}

fn name(metadata: &ObjectMeta) -> Name {
    metadata.name.as_deref().unwrap_or_default().into()
}

fn namespaced_name(metadata: &ObjectMeta) -> NamespacedName {
    NamespacedName::new(metadata.namespace.as_deref().unwrap_or_default(), name(metadata))
}

fn place<K: Ord + Clone, V>(table: &mut SharedMap<K, Arc<V>>, key: &K, fact: Option<&Arc<V>>) {
    match fact {
        Some(fact) => table.insert(key.clone(), Arc::clone(fact)),
        None => table.remove(key),
    };
}
