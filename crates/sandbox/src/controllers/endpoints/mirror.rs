//! Slices for Endpoints objects that people write by hand for Services without a selector.

use std::sync::Arc;

use apiserver::client::{ClientError, ObjectKey};
use k8s_openapi::{
    api::{
        core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{
    members::{Family, has_pods},
    slices::{Group, Groups, MANAGED_BY_LABEL, SERVICE_NAME_LABEL, plan_slices},
};
use crate::controllers::{
    kind::{Kind, StringMap},
    stores::Stores,
    worker::{Next, Reconcile},
    write::{Write, Writer},
};

/// What this controller calls itself on its slices.
pub(super) const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP_LABEL: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that mean nothing on a slice.
const NOT_COPIED: &[&str] = &[
    "endpoints.kubernetes.io/last-change-trigger-time",
    "endpoints.kubernetes.io/over-capacity",
    "kubectl.kubernetes.io/last-applied-configuration",
];

/// Mirrors Endpoints objects into slices.
pub(in crate::controllers) struct MirrorController {
    pub(in crate::controllers) stores: Stores,
    pub(in crate::controllers) writer: Writer,
}

impl Reconcile for MirrorController {
    type Key = ObjectKey;
    const NAME: &'static str = "endpointslicemirroring-controller";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ClientError> {
        let endpoints = self.stores.endpoints.lookup(key);
        let service = self.stores.services.lookup(key);
        let slices = self.stores.endpoint_slices.in_namespace(&key.namespace);
        let own: Vec<_> = slices.into_iter().filter(|slice| is_mirror_of(slice, &key.name)).collect();
        self.writer.apply_all(plan(endpoints.as_deref(), service.as_deref(), &own)).await?;
        Ok(Next::OnChange)
    }
}

fn is_mirror_of(slice: &EndpointSlice, endpoints: &str) -> bool {
    let label = |key: &str| slice.labels().get(key).map(String::as_str);
    label(MANAGED_BY_LABEL) == Some(MANAGER) && label(SERVICE_NAME_LABEL) == Some(endpoints)
}

fn plan(endpoints: Option<&Endpoints>, service: Option<&Service>, own: &[Arc<EndpointSlice>]) -> Vec<Write> {
    let present = own.iter().map(|slice| &**slice);
    match endpoints.filter(|endpoints| is_mirrored(endpoints, service)) {
        Some(endpoints) => plan_slices(present, groups(endpoints), &template(endpoints)),
        None => plan_slices(present, Vec::new(), &ObjectMeta::default()),
    }
}

fn is_mirrored(endpoints: &Endpoints, service: Option<&Service>) -> bool {
    let skipped = endpoints.labels().get(SKIP_LABEL).is_some_and(|skip| skip == "true");
    let is_lock = endpoints.annotations().contains_key(LEADER_ANNOTATION);
    let by_hand = service.and_then(|service| service.spec.as_ref()).is_some_and(|spec| !has_pods(spec));
    by_hand && !skipped && !is_lock && !endpoints.is_terminating()
}

fn template(endpoints: &Endpoints) -> ObjectMeta {
    let mut labels = endpoints.labels().clone();
    labels.insert(SERVICE_NAME_LABEL.to_owned(), endpoints.name().to_owned());
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned());
    let annotations = endpoints.annotations().iter().filter(|(key, _)| !NOT_COPIED.contains(&key.as_str()));
    let annotations: StringMap = annotations.map(|(key, value)| (key.clone(), value.clone())).collect();
    ObjectMeta {
        generate_name: Some(format!("{}-", endpoints.name())),
        namespace: endpoints.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
        owner_references: Some(vec![endpoints.controller_reference()]),
        ..ObjectMeta::default()
    }
}

fn groups(endpoints: &Endpoints) -> Vec<Group> {
    let mut groups = Groups::default();
    for subset in endpoints.subsets.iter().flatten() {
        let ports = slice_ports(subset);
        for (addresses, ready) in [(&subset.addresses, true), (&subset.not_ready_addresses, false)] {
            for address in addresses.iter().flatten() {
                if let Some(family) = Family::of(&address.ip) {
                    groups.add(family, &ports, mirrored(address, ready));
                }
            }
        }
    }
    let groups = groups.into_vec();
    if groups.is_empty() { vec![Group::empty(Family::V4)] } else { groups }
}

fn mirrored(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn slice_ports(subset: &EndpointSubset) -> Vec<EndpointPort> {
    let port = |port: &k8s_openapi::api::core::v1::EndpointPort| EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: port.protocol.clone(),
        app_protocol: port.app_protocol.clone(),
    };
    subset.ports.iter().flatten().map(port).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn endpoints(change: impl Fn(&mut Value)) -> Endpoints {
        let mut endpoints = json!({
            "metadata": {"name": "db", "namespace": "shop", "uid": "e", "labels": {"team": "data"}},
            "subsets": [{
                "addresses": [{"ip": "192.0.2.7"}], "notReadyAddresses": [{"ip": "192.0.2.8"}],
                "ports": [{"port": 5432, "protocol": "TCP"}],
            }],
        });
        change(&mut endpoints);
        serde_json::from_value(endpoints).unwrap()
    }

    fn service(selector: &Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "db"}, "spec": {"selector": selector}})).unwrap()
    }

    #[test]
    fn hand_written_endpoints_become_a_slice() {
        let writes = plan(Some(&endpoints(|_| {})), Some(&service(&json!(null))), &[]);
        let [Write::Create { object, .. }] = &writes[..] else { panic!("{writes:?}") };
        let expected = json!([
            {"addresses": ["192.0.2.7"], "conditions": {"ready": true}},
            {"addresses": ["192.0.2.8"], "conditions": {"ready": false}},
        ]);
        assert_eq!(object["endpoints"], expected);
        let labels = json!({"team": "data", SERVICE_NAME_LABEL: "db", MANAGED_BY_LABEL: MANAGER});
        assert_eq!(object["metadata"]["labels"], labels);
        assert_eq!(object["ports"], json!([{"name": "", "port": 5432, "protocol": "TCP"}]));
    }

    #[test]
    fn endpoints_of_a_service_with_a_selector_are_not_mirrored() {
        assert_eq!(plan(Some(&endpoints(|_| {})), Some(&service(&json!({"app": "db"}))), &[]), []);
        assert_eq!(plan(Some(&endpoints(|_| {})), None, &[]), []);
    }

    #[test]
    fn endpoints_that_ask_not_to_be_mirrored_lose_their_slice() {
        let skipped = endpoints(|object| object["metadata"]["labels"][SKIP_LABEL] = json!("true"));
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": "db-x", "namespace": "shop", "uid": "s"}, "addressType": "IPv4", "endpoints": [],
        }))
        .unwrap();
        let writes = plan(Some(&skipped), Some(&service(&json!(null))), &[Arc::new(slice.clone())]);
        assert_eq!(writes, [Write::delete(&slice)]);
    }
}
