//! Requests for load balancer addresses and the pools of them, at the door.

use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, ObjectMeta};
use serde::{Deserialize, Serialize};

use super::{Admitted, Door, labels};
use crate::{
    AddressPool, AddressRange, AddressWish, IpFamily, LoadBalancerRequest, Name, ObjectKind, PoolStatus, Requirement,
    Selector, SelectorOperator,
};

/// The addresses a Service asks for, separated by commas; `spec.loadBalancerIP` can say one.
pub const ADDRESSES_ANNOTATION: &str = "fairway.network/load-balancer-ips";
/// The pool a Service asks for.
pub const POOL_ANNOTATION: &str = "fairway.network/address-pool";
/// Services with the same key may share addresses.
pub const SHARING_ANNOTATION: &str = "fairway.network/sharing-key";
/// The condition of a Service whose addresses Fairway gave.
pub const ALLOCATED_CONDITION: &str = "fairway.network/IPAllocated";
/// The condition of a pool that says whether addresses are given from it.
pub const READY_CONDITION: &str = "Ready";

/// A pool of addresses as the API has it (`fairway.network/v1alpha1`).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LoadBalancerPool {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What it is.
    pub spec: LoadBalancerPoolSpec,
    /// What is said of it.
    #[serde(default)]
    pub status: LoadBalancerPoolStatus,
}

/// What a pool is.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerPoolSpec {
    /// CIDRs and ranges.
    pub addresses: Vec<String>,
    /// Whether Services get addresses of it that did not ask for it; they do when unset.
    pub auto_assign: Option<bool>,
    /// Whether addresses that end in .0 and .255 are left out.
    #[serde(rename = "avoidBuggyIPs")]
    pub avoid_buggy_ips: bool,
    /// The Services it is for.
    pub service_selector: LabelSelector,
    /// The namespaces it is for.
    pub namespace_selector: LabelSelector,
}

/// What is said of a pool.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerPoolStatus {
    /// How many addresses there are.
    pub total: i64,
    /// How many of them Services have.
    pub used: i64,
    /// How many are left.
    pub free: i64,
    /// Whether addresses are given from it.
    pub conditions: Vec<Condition>,
}

impl k8s_openapi::Resource for LoadBalancerPool {
    const API_VERSION: &'static str = "fairway.network/v1alpha1";
    const GROUP: &'static str = "fairway.network";
    const KIND: &'static str = "LoadBalancerPool";
    const VERSION: &'static str = "v1alpha1";
    const URL_PATH_SEGMENT: &'static str = "loadbalancerpools";
    type Scope = k8s_openapi::ClusterResourceScope;
}

impl k8s_openapi::Metadata for LoadBalancerPool {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Admits a pool. Addresses that make no sense are left out and the rest stands.
pub fn address_pool(object: &LoadBalancerPool) -> Admitted<AddressPool> {
    let mut door = Door::new(ObjectKind::LoadBalancerPool, &object.metadata);
    let Some(name) = door.name(&object.metadata) else { return door.admit(None) };
    let (spec, status) = (&object.spec, &object.status);
    let texts = spec.addresses.iter().enumerate();
    let ranges =
        texts.filter_map(|(index, text)| address_range(&mut door, &format!("spec.addresses[{index}]"), text)).collect();
    let ready = status.conditions.iter().find(|condition| condition.type_ == READY_CONDITION);
    let fact = AddressPool {
        name,
        ranges,
        auto_assign: spec.auto_assign.unwrap_or(true),
        avoids_buggy: spec.avoid_buggy_ips,
        services: selector(&mut door, "spec.serviceSelector", &spec.service_selector),
        namespaces: selector(&mut door, "spec.namespaceSelector", &spec.namespace_selector),
        created: created(&object.metadata),
        generation: object.metadata.generation.unwrap_or(0),
        status: PoolStatus {
            total: status.total,
            used: status.used,
            fault: ready.filter(|ready| ready.status != "True").map(|ready| ready.message.clone()),
            generation: ready.and_then(|ready| ready.observed_generation).unwrap_or(-1),
        },
    };
    door.admit(Some(fact))
}

/// A CIDR, two addresses with a dash between them, or one address.
fn address_range(door: &mut Door, field: &str, text: &str) -> Option<AddressRange> {
    let text = text.trim();
    if let Some((first, last)) = text.split_once('-') {
        let first = door.routable_address(field, first.trim());
        let (first, last) = (first?, door.routable_address(field, last.trim())?);
        let range = AddressRange::new(first, last);
        if range.is_none() {
            door.reject(field, format!("\"{text}\" has no address; both ends must be of one family, the lower first"));
        }
        return range;
    }
    if text.contains('/') {
        let range: IpNet = door.range(field, text)?;
        door.routable_address(field, &range.addr().to_string())?;
        return AddressRange::new(range.network(), range.broadcast());
    }
    let address = door.routable_address(field, text)?;
    AddressRange::new(address, address)
}

fn selector(door: &mut Door, field: &str, object: &LabelSelector) -> Selector {
    let equal = object.match_labels.iter().flatten().map(|(key, value)| Requirement {
        key: key.as_str().into(),
        operator: SelectorOperator::In(vec![value.as_str().into()]),
    });
    let mut requirements: Vec<Requirement> = equal.collect();
    for (index, expression) in object.match_expressions.iter().flatten().enumerate() {
        let values = || expression.values.iter().flatten().map(|value| Name::from(value.as_str())).collect();
        let operator = match expression.operator.as_str() {
            "In" => SelectorOperator::In(values()),
            "NotIn" => SelectorOperator::NotIn(values()),
            "Exists" => SelectorOperator::Exists,
            "DoesNotExist" => SelectorOperator::DoesNotExist,
            other => {
                let why =
                    format!("\"{other}\" is unknown, nothing is chosen; it must be In, NotIn, Exists or DoesNotExist");
                door.reject(format!("{field}.matchExpressions[{index}].operator"), why);
                SelectorOperator::In(Vec::new())
            }
        };
        requirements.push(Requirement { key: expression.key.as_str().into(), operator });
    }
    Selector { requirements }
}

/// What a Service asks of a load balancer, if it asks for one.
pub(super) fn request(
    door: &mut Door,
    object: &api::Service,
    families: Vec<IpFamily>,
) -> Option<Box<LoadBalancerRequest>> {
    let spec = object.spec.as_ref().filter(|spec| spec.type_.as_deref() == Some("LoadBalancer"))?;
    let annotation = |name: &str| {
        let found = object.metadata.annotations.as_ref().and_then(|annotations| annotations.get(name));
        found.map(|text| text.trim()).filter(|text| !text.is_empty())
    };
    let class = spec.load_balancer_class.as_deref().filter(|class| !class.is_empty());
    let is_given = is_given(object);
    let ingress = object.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    Some(Box::new(LoadBalancerRequest {
        class: class.map(Name::from),
        families,
        needs_both: spec.ip_family_policy.as_deref() == Some("RequireDualStack"),
        wish: address_wish(door, spec, annotation(ADDRESSES_ANNOTATION)),
        pool: annotation(POOL_ANNOTATION).map(Name::from),
        sharing_key: annotation(SHARING_ANNOTATION).map(Name::from),
        labels: labels(&object.metadata),
        created: created(&object.metadata),
        leaving: object.metadata.deletion_timestamp.is_some(),
        is_given,
        is_served_by_other: !is_given && ingress.is_some_and(|ingress| !ingress.is_empty()),
    }))
}

/// Whether the status of a Service says that Fairway gave it addresses.
pub fn is_given(object: &api::Service) -> bool {
    let conditions = object.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|found| found.type_ == ALLOCATED_CONDITION && found.status == "True")
}

/// The annotation goes before the field, which can say one address only.
fn address_wish(door: &mut Door, spec: &api::ServiceSpec, annotation: Option<&str>) -> Option<AddressWish> {
    let (field, texts) = match (annotation, spec.load_balancer_ip.as_deref()) {
        (Some(text), _) => (format!("metadata.annotations[{ADDRESSES_ANNOTATION}]"), text.split(',').collect()),
        (None, Some(text)) if !text.is_empty() => ("spec.loadBalancerIP".to_owned(), vec![text]),
        (None, _) => return None,
    };
    let named = texts.iter().map(|text| (field.clone(), text.trim()));
    let mut addresses = door.routable_addresses(named, super::Repeated::Family);
    if addresses.len() < texts.len() {
        addresses.clear();
    }
    Some(AddressWish { field, addresses })
}

pub(super) fn created(metadata: &ObjectMeta) -> Duration {
    let seconds = metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pool(spec: &Value) -> Admitted<AddressPool> {
        let object = json!({ "metadata": { "name": "default" }, "spec": spec });
        address_pool(&serde_json::from_value(object).unwrap())
    }

    fn request_of(change: &Value) -> (LoadBalancerRequest, Vec<String>) {
        let mut object = json!({
            "metadata": { "namespace": "shop", "name": "web", "annotations": change["annotations"] },
            "spec": { "type": "LoadBalancer", "clusterIP": "10.96.0.1", "ipFamilies": ["IPv4"] },
        });
        for (name, value) in change["spec"].as_object().into_iter().flatten() {
            object["spec"][name] = value.clone();
        }
        let admitted = crate::from_kube::service(&serde_json::from_value(object).unwrap());
        let rejected = admitted.rejected.iter().map(ToString::to_string).collect();
        (*admitted.fact.unwrap().load_balancer.unwrap(), rejected)
    }

    #[test]
    fn addresses_are_cidrs_ranges_and_single_ones() {
        let admitted = pool(&json!({ "addresses": ["10.0.0.0/30", "10.0.1.5-10.0.1.6", "fd00::/127", "10.0.2.1"] }));
        let ranges: Vec<String> = admitted.fact.unwrap().ranges.iter().map(ToString::to_string).collect();
        let expected = ["10.0.0.0-10.0.0.3", "10.0.1.5-10.0.1.6", "fd00::-fd00::1", "10.0.2.1-10.0.2.1"];
        assert_eq!((ranges.as_slice(), admitted.rejected), (expected.map(String::from).as_slice(), Vec::new()));
    }

    #[test]
    fn what_makes_no_sense_is_left_out_and_told() {
        let admitted = pool(&json!({ "addresses": ["10.0.0.9-10.0.0.1", "all", "127.0.0.0/8", "10.0.0.1"] }));
        assert_eq!(admitted.fact.unwrap().ranges.len(), 1);
        let fields: Vec<&str> = admitted.rejected.iter().map(|rejected| rejected.field.as_str()).collect();
        assert_eq!(fields, ["spec.addresses[0]", "spec.addresses[1]", "spec.addresses[2]"]);
    }

    #[test]
    fn a_service_asks_by_field_and_by_annotation() {
        let (request, _) = request_of(&json!({ "spec": { "loadBalancerIP": "10.0.0.7" } }));
        let expected =
            AddressWish { field: "spec.loadBalancerIP".into(), addresses: vec!["10.0.0.7".parse().unwrap()] };
        assert_eq!(request.wish, Some(expected));
        let (request, _) = request_of(&json!({
            "annotations": { ADDRESSES_ANNOTATION: "10.0.0.8, fd00::8", POOL_ANNOTATION: "p", SHARING_ANNOTATION: "k" },
            "spec": { "loadBalancerIP": "10.0.0.7", "loadBalancerClass": "fairway.network/lb" },
        }));
        assert_eq!(request.wish.map(|wish| wish.addresses.len()), Some(2));
        assert_eq!((request.pool, request.sharing_key), (Some("p".into()), Some("k".into())));
        assert_eq!(request.class, Some("fairway.network/lb".into()));
    }

    #[test]
    fn an_address_that_is_none_is_told_with_its_annotation_and_those_beside_it_are_not_asked_for() {
        let (request, rejected) = request_of(&json!({ "annotations": { ADDRESSES_ANNOTATION: "10.0.0.8,ten" } }));
        assert_eq!(request.wish.map(|wish| wish.addresses), Some(Vec::new()));
        assert_eq!(
            rejected,
            [
                "Service shop/web: metadata.annotations[fairway.network/load-balancer-ips]: \"ten\" is not an IP address; \
              it must be like 10.0.0.1 or 2001:db8::1"
            ]
        );
    }
}
