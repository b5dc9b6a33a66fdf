//! Putting a snapshot together from what several watches report.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::runtime::watcher::Event;
use model::from_kube::LoadBalancerPool;
use model::{Cluster, ObjectKind, Rejected, SharedMap};

use crate::decoded::Decoded;
use crate::kinds::{Kind, Refusal};

/// What one of the watches reported.
#[expect(clippy::large_enum_variant, reason = "one lives at a time and is moved once")]
pub(crate) enum Report {
    Node(Event<Decoded<core::Node>>),
    Namespace(Event<Decoded<core::Namespace>>),
    Pod(Event<Decoded<core::Pod>>),
    Service(Event<Decoded<core::Service>>),
    EndpointSlice(Event<Decoded<discovery::EndpointSlice>>),
    LoadBalancerPool(Event<Decoded<LoadBalancerPool>>),
    ServiceCidr(Event<Decoded<ServiceCIDR>>),
}

/// A snapshot under construction.
#[derive(Default)]
pub(crate) struct Assembly {
    cluster: Cluster,
    nodes: Table<Decoded<core::Node>>,
    namespaces: Table<Decoded<core::Namespace>>,
    pods: Table<Decoded<core::Pod>>,
    services: Table<Decoded<core::Service>>,
    endpoint_slices: Table<Decoded<discovery::EndpointSlice>>,
    pools: Table<Decoded<LoadBalancerPool>>,
    service_ranges: Table<Decoded<ServiceCIDR>>,
    refusals: Vec<Refusal>,
}

impl Assembly {
    /// Takes in a report; says whether the snapshot is another one now.
    pub(crate) fn take(&mut self, report: Report) -> bool {
        let (cluster, refusals) = (&mut self.cluster, &mut self.refusals);
        match report {
            Report::Node(event) => self.nodes.take(event, cluster, refusals),
            Report::Namespace(event) => self.namespaces.take(event, cluster, refusals),
            Report::Pod(event) => self.pods.take(event, cluster, refusals),
            Report::Service(event) => self.services.take(event, cluster, refusals),
            Report::EndpointSlice(event) => self.endpoint_slices.take(event, cluster, refusals),
            Report::LoadBalancerPool(event) => self.pools.take(event, cluster, refusals),
            Report::ServiceCidr(event) => self.service_ranges.take(event, cluster, refusals),
        }
    }

    /// Whether every one of `kinds` was listed to its end at least once.
    pub(crate) fn is_complete(&self, kinds: &[ObjectKind]) -> bool {
        kinds.iter().all(|kind| match kind {
            ObjectKind::Node => self.nodes.listed,
            ObjectKind::Namespace => self.namespaces.listed,
            ObjectKind::Pod => self.pods.listed,
            ObjectKind::Service => self.services.listed,
            ObjectKind::EndpointSlice => self.endpoint_slices.listed,
            ObjectKind::LoadBalancerPool => self.pools.listed,
            ObjectKind::ServiceCidr => self.service_ranges.listed,
        })
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What was refused since this was asked last, and was not refused for the same reason before.
    pub(crate) fn take_refusals(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.refusals)
    }
}

type Facts<K> = SharedMap<<K as Kind>::Key, Arc<<K as Kind>::Fact>>;

/// The facts of one kind.
struct Table<K: Kind> {
    facts: Facts<K>,
    /// What a list that has not ended yet has brought: it takes the place of `facts` as a whole, so that what was
    /// deleted while nobody watched is gone and no snapshot is half of one list and half of another.
    listing: Option<Facts<K>>,
    listed: bool,
    /// What of each object stands refused.
    rejected: BTreeMap<K::Key, Vec<Rejected>>,
    /// The same before the list that has not ended yet.
    rejected_before: BTreeMap<K::Key, Vec<Rejected>>,
}

impl<K: Kind> Default for Table<K> {
    fn default() -> Self {
        Self {
            facts: SharedMap::new(),
            listing: None,
            listed: false,
            rejected: BTreeMap::new(),
            rejected_before: BTreeMap::new(),
        }
    }
}

impl<K: Kind> Table<K> {
    fn take(&mut self, event: Event<K>, cluster: &mut Cluster, refusals: &mut Vec<Refusal>) -> bool {
        match event {
            Event::Init => {
                self.listing = Some(SharedMap::new());
                self.rejected_before.append(&mut self.rejected);
                false
            }
            Event::InitApply(object) => {
                let fact = self.admit(&object, refusals);
                if let (Some(listing), Some(fact)) = (&mut self.listing, fact) {
                    listing.insert(object.key(), fact);
                }
                false
            }
            Event::InitDone => self.end_list(cluster),
            Event::Apply(object) => {
                let fact = self.admit(&object, refusals);
                self.set(cluster, &object.key(), fact)
            }
            Event::Delete(object) => {
                self.rejected.remove(&object.key());
                self.set(cluster, &object.key(), None)
            }
        }
    }

    /// The object's fact; the very same as before when nothing about it has changed.
    fn admit(&mut self, object: &K, refusals: &mut Vec<Refusal>) -> Option<Arc<K::Fact>> {
        let key = object.key();
        let admitted = object.admit();
        let before = self.rejected.remove(&key).or_else(|| self.rejected_before.remove(&key));
        if !admitted.rejected.is_empty() {
            if before.as_ref() != Some(&admitted.rejected) {
                refusals.push(Refusal { object: object.reference(), rejected: admitted.rejected.clone() });
            }
            self.rejected.insert(key.clone(), admitted.rejected);
        }
        let fact = admitted.fact?;
        let known = self.facts.get(&key).filter(|known| ***known == fact);
        Some(known.map_or_else(|| Arc::new(fact), Arc::clone))
    }

    fn set(&mut self, cluster: &mut Cluster, key: &K::Key, new: Option<Arc<K::Fact>>) -> bool {
        let old = self.facts.get(key).cloned();
        if old == new {
            return false;
        }
        K::place(cluster, key, old.as_deref(), new.as_ref());
        match new {
            Some(fact) => self.facts.insert(key.clone(), fact),
            None => self.facts.remove(key),
        };
        true
    }

    fn end_list(&mut self, cluster: &mut Cluster) -> bool {
        let Some(listing) = self.listing.take() else {
            return false;
        };
        let known = self.facts.clone();
        let mut changed = !self.listed;
        for change in SharedMap::changes_between(&known, &listing) {
            changed |= self.set(cluster, change.key, change.new.cloned());
        }
        self.rejected_before.clear();
        self.listed = true;
        changed
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::Metadata as _;
    use serde_json::{Value, json};

    use super::*;

    fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn service(name: &str, cluster_ip: &str) -> Decoded<core::Service> {
        object(json!({
            "metadata": { "namespace": "shop", "name": name, "uid": "u1" },
            "spec": { "clusterIP": cluster_ip, "clusterIPs": [cluster_ip], "ports": [{ "port": 80 }] },
        }))
    }

    fn slice(name: &str, service: &str) -> Decoded<discovery::EndpointSlice> {
        object(json!({
            "metadata": { "namespace": "shop", "name": name, "labels": { "kubernetes.io/service-name": service } },
            "addressType": "IPv4",
            "ports": [{ "port": 8080 }],
            "endpoints": [{ "addresses": ["10.244.1.5"], "conditions": { "ready": true } }],
        }))
    }

    fn list_of(services: Vec<Decoded<core::Service>>) -> Vec<Report> {
        let listed = services.into_iter().map(|service| Report::Service(Event::InitApply(service)));
        let done = Report::Service(Event::InitDone);
        std::iter::once(Report::Service(Event::Init)).chain(listed).chain([done]).collect()
    }

    fn take_all(assembly: &mut Assembly, reports: Vec<Report>) -> Vec<bool> {
        reports.into_iter().map(|report| assembly.take(report)).collect()
    }

    fn names(assembly: &Assembly) -> Vec<String> {
        assembly.cluster().services.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn a_snapshot_is_complete_once_every_kind_was_listed_to_its_end() {
        let mut assembly = Assembly::default();
        let kinds = [ObjectKind::Service, ObjectKind::EndpointSlice];
        take_all(&mut assembly, list_of(vec![service("cart", "10.96.0.1")]));
        assert!(!assembly.is_complete(&kinds));
        assembly.take(Report::EndpointSlice(Event::Init));
        assert!(!assembly.is_complete(&kinds));
        assert!(assembly.take(Report::EndpointSlice(Event::InitDone)), "an empty first list is news");
        assert!(assembly.is_complete(&kinds));
    }

    #[test]
    fn a_list_takes_effect_as_a_whole_and_drops_what_it_lacks() {
        let mut assembly = Assembly::default();
        take_all(&mut assembly, list_of(vec![service("cart", "10.96.0.1"), service("till", "10.96.0.2")]));
        let mut again = list_of(vec![service("till", "10.96.0.2"), service("news", "10.96.0.3")]);
        let done = again.pop().unwrap();
        assert_eq!(take_all(&mut assembly, again), [false, false, false]);
        assert_eq!(names(&assembly), ["shop/cart", "shop/till"], "until the list ends");
        assert!(assembly.take(done));
        assert_eq!(names(&assembly), ["shop/news", "shop/till"]);
    }

    #[test]
    fn the_same_list_again_changes_nothing() {
        let mut assembly = Assembly::default();
        let reports = || list_of(vec![service("cart", "10.96.0.1")]);
        assert_eq!(take_all(&mut assembly, reports()), [false, false, true]);
        let before = assembly.cluster().clone();
        assert_eq!(take_all(&mut assembly, reports()), [false, false, false]);
        assert!(SharedMap::changes_between(&before.services, &assembly.cluster().services).is_empty());
    }

    #[test]
    fn a_write_that_changes_no_fact_is_no_news() {
        let mut assembly = Assembly::default();
        assert!(assembly.take(Report::Service(Event::Apply(service("cart", "10.96.0.1")))));
        let mut annotated = service("cart", "10.96.0.1");
        annotated.metadata_mut().annotations = Some([("note".to_owned(), "x".to_owned())].into());
        assert!(!assembly.take(Report::Service(Event::Apply(annotated))));
        assert!(assembly.take(Report::Service(Event::Delete(service("cart", "10.96.0.1")))));
        assert!(names(&assembly).is_empty());
    }

    #[test]
    fn a_slice_that_changes_its_service_leaves_the_old_one() {
        let mut assembly = Assembly::default();
        assembly.take(Report::EndpointSlice(Event::Apply(slice("s-1", "cart"))));
        assembly.take(Report::EndpointSlice(Event::Apply(slice("s-1", "till"))));
        let services: Vec<_> = assembly.cluster().endpoint_slices.keys().map(ToString::to_string).collect();
        assert_eq!(services, ["shop/till"]);
        assembly.take(Report::EndpointSlice(Event::Delete(slice("s-1", "till"))));
        assert!(assembly.cluster().endpoint_slices.is_empty());
    }

    #[test]
    fn a_refusal_is_told_once_until_it_changes() {
        let mut assembly = Assembly::default();
        let bad = || service("cart", "not-an-address");
        let apply = |assembly: &mut Assembly, object| {
            assembly.take(Report::Service(Event::Apply(object)));
            assembly.take_refusals().len()
        };
        assert_eq!(apply(&mut assembly, bad()), 1);
        assert_eq!(apply(&mut assembly, bad()), 0, "told already");
        take_all(&mut assembly, list_of(vec![bad()]));
        assert_eq!(assembly.take_refusals().len(), 0, "a list tells nothing new");
        assert_eq!(apply(&mut assembly, service("cart", "10.96.0.1")), 0);
        assert_eq!(apply(&mut assembly, bad()), 1, "wrong again after it was right");
    }

    #[test]
    fn a_refusal_names_the_object_and_the_field() {
        let mut assembly = Assembly::default();
        assembly.take(Report::Service(Event::Apply(service("cart", "not-an-address"))));
        let refusal = assembly.take_refusals().remove(0);
        assert_eq!((refusal.object.api_version, refusal.object.kind), ("v1", "Service"));
        assert_eq!((refusal.object.name.as_str(), refusal.object.uid.as_str()), ("cart", "u1"));
        assert!(refusal.rejected[0].field.starts_with("spec.clusterIPs"), "{}", refusal.rejected[0]);
    }

    #[test]
    fn an_object_that_cannot_be_read_is_refused_and_the_others_of_its_list_are_served() {
        let text = json!({
            "kind": "ServiceList", "apiVersion": "v1", "metadata": { "resourceVersion": "7" },
            "items": [
                { "metadata": { "namespace": "shop", "name": "cart", "uid": "u1" }, "spec": { "ports": [{ "port": "80" }] } },
                { "metadata": { "namespace": "shop", "name": "far" }, "spec": { "ports": [{ "port": 5_000_000_000_u64 }] } },
                { "metadata": { "namespace": "shop", "name": "till" },
                  "spec": { "clusterIP": "10.96.0.2", "clusterIPs": ["10.96.0.2"], "ports": [{ "port": 80 }] } },
            ],
        });
        let text = text.to_string();
        let whole: Result<kube::core::ObjectList<core::Service>, _> = serde_json::from_str(&text);
        assert!(whole.is_err(), "the control: as a whole it cannot be read");
        let list: kube::core::ObjectList<Decoded<core::Service>> = serde_json::from_str(&text).unwrap();
        let mut assembly = Assembly::default();
        take_all(&mut assembly, list_of(list.items));
        assert_eq!(names(&assembly), ["shop/till"]);
        let refusals = assembly.take_refusals();
        let told: Vec<_> = refusals.iter().map(|refusal| refusal.rejected[0].to_string()).collect();
        assert!(
            told[0].starts_with("Service shop/cart: object: cannot be read (invalid type: string \"80\""),
            "{told:?}"
        );
        assert!(told[1].starts_with("Service shop/far: object: cannot be read (invalid value: integer"), "{told:?}");
        assert_eq!(refusals[0].object.uid, "u1");
    }

    #[test]
    fn an_object_that_becomes_unreadable_is_served_no_more_until_it_is_mended() {
        let mut assembly = Assembly::default();
        assembly.take(Report::Service(Event::Apply(service("cart", "10.96.0.1"))));
        let malformed = object(json!({ "metadata": { "namespace": "shop", "name": "cart" }, "spec": "none" }));
        assert!(assembly.take(Report::Service(Event::Apply(malformed))));
        assert!(names(&assembly).is_empty());
        assert!(assembly.take(Report::Service(Event::Apply(service("cart", "10.96.0.1")))));
    }
}
