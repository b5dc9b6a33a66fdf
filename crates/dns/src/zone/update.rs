//! Making the next zone from a snapshot and the zone before it.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Cluster, Name, NamespacedName, SharedMap};

use super::reverse::Role;
use super::{ServiceNames, Zone};
use crate::wire::DomainName;

impl Zone {
    /// The zone of `cluster`, sharing with this one all that is the same; `serial` becomes the SOA's.
    ///
    /// When nothing about any name has changed the serial stays as it is. The cost is that of the change, and of
    /// copying the tables of pointers it touches: one per namespace.
    pub fn updated(&self, cluster: &Cluster, serial: u32) -> Self {
        let mut next = self.clone();
        let services = changed_services(&self.cluster, cluster);
        for key in &services {
            next.replace_service(key, cluster);
        }
        next.replace_pods(cluster);
        let namespaces = SharedMap::changes_between(&self.cluster.namespaces, &cluster.namespaces);
        for change in &namespaces {
            next.set_namespace(change.key, change.new.is_some());
        }
        if !self.synced || !services.is_empty() || !namespaces.is_empty() {
            next.serial = serial;
        }
        next.synced = true;
        next.cluster = cluster.clone();
        next
    }

    fn replace_pods(&mut self, cluster: &Cluster) {
        if !self.settings.needs_pods() {
            return;
        }
        for change in SharedMap::changes_between(&self.cluster.pods, &cluster.pods) {
            change.old.into_iter().for_each(|pod| self.pods.remove(pod));
            change.new.into_iter().for_each(|pod| self.pods.insert(pod));
        }
    }

    fn set_namespace(&mut self, namespace: &Name, exists: bool) {
        let exists = exists && self.settings.exposes(namespace);
        Arc::make_mut(self.namespaces.entry(namespace.clone()).or_default()).exists = exists;
        self.drop_empty_namespace(namespace);
    }

    fn replace_service(&mut self, key: &NamespacedName, cluster: &Cluster) {
        let service = cluster.services.get(key).filter(|_| self.settings.exposes(&key.namespace));
        let new =
            service.and_then(|service| ServiceNames::of(service, cluster.slices_of(key), &self.settings).map(Arc::new));
        let services = &mut Arc::make_mut(self.namespaces.entry(key.namespace.clone()).or_default()).services;
        let old = match &new {
            Some(names) => services.insert(key.name.clone(), Arc::clone(names)),
            None => services.remove(&key.name),
        };
        for (address, role, name) in old.iter().flat_map(|names| reverse_names(names)) {
            self.reverse.remove(address, role, &name);
        }
        for (address, role, name) in new.iter().flat_map(|names| reverse_names(names)) {
            self.reverse.insert(address, role, name);
        }
        self.drop_empty_namespace(&key.namespace);
    }

    fn drop_empty_namespace(&mut self, namespace: &Name) {
        if self.namespaces.get(namespace).is_some_and(|names| !names.exists && names.services.is_empty()) {
            self.namespaces.remove(namespace);
        }
    }
}

/// The Services that changed themselves or whose slices did.
fn changed_services<'a>(old: &'a Cluster, new: &'a Cluster) -> BTreeSet<&'a NamespacedName> {
    let services = SharedMap::changes_between(&old.services, &new.services);
    let slices = SharedMap::changes_between(&old.endpoint_slices, &new.endpoint_slices);
    services.iter().map(|change| change.key).chain(slices.iter().map(|change| change.key)).collect()
}

/// What the addresses of a Service and its hosts resolve back to.
fn reverse_names(names: &ServiceNames) -> impl Iterator<Item = (std::net::IpAddr, Role, DomainName)> {
    names.reverse().filter_map(|(address, host)| match host {
        None => Some((address, Role::Service, names.name.clone())),
        Some(host) => Some((address, Role::Endpoint, names.name.child(&host.label).ok()?)),
    })
}
