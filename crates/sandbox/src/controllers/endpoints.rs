//! Endpoints of Services: the slices of those with a selector, their Endpoints objects, and slices for hand-written ones.

mod hints;
mod legacy;
mod members;
mod mirror;
mod slices;
mod triggers;

use std::sync::Arc;

use apiserver::client::{Change, ClientError, ObjectKey};
use k8s_openapi::{
    api::{
        core::v1::{Pod, Service, ServiceSpec},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use self::{
    legacy::{HEADLESS_LABEL, plan_endpoints},
    members::{Member, families, has_pods, is_headless, members},
    slices::{Group, MANAGED_BY_LABEL, SERVICE_NAME_LABEL, group_members, plan_slices},
    triggers::{Triggers, stamp},
};
use super::{
    kind::Kind,
    selector::contains,
    stores::Stores,
    worker::{Next, Reconcile},
    write::{Write, Writer},
};

pub(super) use mirror::MirrorController;

/// What this controller calls itself on its slices.
const MANAGER: &str = "endpointslice-controller.k8s.io";

/// The label that names a node's zone.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Keeps the endpoints of Services with a selector.
pub(super) struct EndpointController {
    stores: Stores,
    writer: Writer,
    triggers: Triggers,
}

impl EndpointController {
    pub(super) fn new(stores: Stores, writer: Writer) -> Self {
        Self { stores, writer, triggers: Triggers::default() }
    }
}

impl Reconcile for EndpointController {
    type Key = ObjectKey;
    const NAME: &'static str = "endpointslice-controller";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ClientError> {
        let Some(service) = self.stores.services.lookup(key) else {
            self.triggers.forget(key);
            return Ok(Next::OnChange);
        };
        let Some(spec) = service.spec.as_ref().filter(|spec| has_pods(spec)) else { return Ok(Next::OnChange) };
        if service.is_terminating() {
            return Ok(Next::OnChange);
        }
        let selector = spec.selector.clone().unwrap_or_default();
        let mut pods = self.stores.pods.in_namespace(&key.namespace);
        pods.retain(|pod| contains(pod.labels(), &selector));
        let members = members(&service, spec, &pods);
        let slices = self.stores.endpoint_slices.in_namespace(&key.namespace);
        let own: Vec<_> = slices.into_iter().filter(|slice| is_slice_of(slice, &key.name)).collect();
        // One after the other: what serves is in place before what it replaces goes.
        let zone_of = |node: &str| self.stores.nodes.get("", node)?.labels().get(ZONE_LABEL).cloned();
        let trigger = self.triggers.next(&service, &pods);
        for mut write in plan(&service, spec, &members, &own, zone_of) {
            stamp(&mut write, trigger);
            self.writer.apply(write).await?;
        }
        let endpoints = self.stores.endpoints.lookup(key);
        if let Some(write) = plan_endpoints(&service, spec, &members, endpoints.as_deref()) {
            self.writer.apply(write).await?;
        }
        Ok(Next::OnChange)
    }
}

fn plan(
    service: &Service,
    spec: &ServiceSpec,
    members: &[Member],
    own: &[Arc<EndpointSlice>],
    zone_of: impl Fn(&str) -> Option<String>,
) -> Vec<Write> {
    let mut groups = group_members(members, spec.publish_not_ready_addresses == Some(true));
    hints::place(&mut groups, spec.traffic_distribution.as_deref(), zone_of);
    for family in families(spec) {
        if !groups.iter().any(|group| group.family == family) {
            groups.push(Group::empty(family));
        }
    }
    plan_slices(own.iter().map(|slice| &**slice), groups, &template(service, spec))
}

fn template(service: &Service, spec: &ServiceSpec) -> ObjectMeta {
    let mut labels = service.labels().clone();
    labels.insert(SERVICE_NAME_LABEL.to_owned(), service.name().to_owned());
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned());
    labels.remove(HEADLESS_LABEL);
    if is_headless(spec) {
        labels.insert(HEADLESS_LABEL.to_owned(), String::new());
    }
    ObjectMeta {
        generate_name: Some(format!("{}-", service.name())),
        namespace: service.metadata.namespace.clone(),
        labels: Some(labels),
        owner_references: Some(vec![service.controller_reference()]),
        ..ObjectMeta::default()
    }
}

fn is_slice_of(slice: &EndpointSlice, service: &str) -> bool {
    let label = |key: &str| slice.labels().get(key).map(String::as_str);
    label(MANAGED_BY_LABEL) == Some(MANAGER) && label(SERVICE_NAME_LABEL) == Some(service)
}

/// The Service a slice is for, whoever manages it.
pub(super) fn service_of_slice(slice: &EndpointSlice) -> Option<ObjectKey> {
    slice.labels().get(SERVICE_NAME_LABEL).map(|service| ObjectKey::new(slice.namespace(), service))
}

/// The Services whose endpoints a change of a pod may concern.
pub(super) fn services_of_pod(stores: &Stores, change: &Change<Pod>) -> Vec<ObjectKey> {
    let sides: Vec<&Arc<Pod>> = [&change.old, &change.new].into_iter().flatten().collect();
    if let [old, new] = sides[..]
        && !concerns_endpoints(old, new)
    {
        return Vec::new();
    }
    let services = stores.services.in_namespace(&change.key.namespace);
    let selected = services.into_iter().filter(|service| {
        let spec = service.spec.as_ref().filter(|spec| has_pods(spec));
        let selector = spec.and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| sides.iter().any(|pod| contains(pod.labels(), selector)))
    });
    selected.map(|service| service.key()).collect()
}

fn concerns_endpoints(old: &Pod, new: &Pod) -> bool {
    old.labels() != new.labels()
        || old.is_terminating() != new.is_terminating()
        || old.spec != new.spec
        || old.status.as_ref().map(|status| (&status.phase, &status.pod_ips, &status.pod_ip))
            != new.status.as_ref().map(|status| (&status.phase, &status.pod_ips, &status.pod_ip))
        || super::pod::is_ready(old) != super::pod::is_ready(new)
}
