//! Which addresses are new, so that nobody of ours can have answered for them before.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use compile::load_balancer::answerable;
use model::Cluster;
use tokio::time::Instant;

/// For so long after a node could answer for it an address counts as new. Long enough for a kernel that is behind, and
/// in the first moments of an address nobody depends on it yet.
const NEW: Duration = Duration::from_secs(30);

/// Since when there has been somebody to answer for each address, as far as the snapshots of this agent tell.
///
/// An agent that starts cannot know what was answered for before it was there, by its predecessor or by another node:
/// for what the first snapshot has it takes over at once, as at every failover.
#[derive(Debug, Default)]
pub(super) struct Ages(Option<BTreeMap<IpAddr, Age>>);

#[derive(Clone, Copy, Debug)]
enum Age {
    Unknown,
    Since(Instant),
    /// Another machine had it when it was last asked for.
    Taken,
}

impl Ages {
    /// Takes in a snapshot. An address that nobody can answer for now keeps its age as long as a Service has it: its
    /// endpoints may come back.
    pub(super) fn take(&mut self, cluster: &Cluster, now: Instant) {
        let answerable = answerable(cluster);
        let age = if self.0.is_some() { Age::Since(now) } else { Age::Unknown };
        let known = self.0.get_or_insert_default();
        known.retain(|address, _| answerable.contains_key(address));
        for (address, _) in answerable.into_iter().filter(|(_, is_served)| *is_served) {
            known.entry(address).or_insert(age);
        }
    }

    /// Whether nobody of ours can be missed if an address is not answered for yet.
    pub(super) fn is_new(&self, address: IpAddr, now: Instant) -> bool {
        match self.0.as_ref().and_then(|known| known.get(&address)) {
            Some(Age::Since(since)) => now < *since + NEW,
            Some(Age::Unknown) => false,
            Some(Age::Taken) | None => true,
        }
    }

    /// Notes that another machine has an address: nobody of ours answers for it, however old it gets.
    pub(super) fn take_away(&mut self, address: IpAddr) {
        self.set(address, Age::Taken);
    }

    /// Notes that nobody has an address who is not of ours.
    pub(super) fn give_back(&mut self, address: IpAddr) {
        self.set(address, Age::Unknown);
    }

    fn set(&mut self, address: IpAddr, age: Age) {
        if let Some(known) = self.0.as_mut().and_then(|known| known.get_mut(&address)) {
            *known = age;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::from_kube::{self, ALLOCATED_CONDITION};
    use serde_json::json;

    use super::*;

    const ADDRESS: &str = "10.0.0.7";

    /// A cluster whose Service of policy Local has the address, and endpoints or none.
    fn cluster(has_endpoint: bool) -> Cluster {
        let mut cluster = Cluster::default();
        let condition = json!({ "type": ALLOCATED_CONDITION, "status": "True", "reason": "", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z" });
        let service = json!({
            "metadata": { "namespace": "shop", "name": "web" },
            "spec": { "type": "LoadBalancer", "clusterIP": "10.96.0.1", "externalTrafficPolicy": "Local",
                "ports": [{ "port": 80, "nodePort": 30080 }] },
            "status": { "loadBalancer": { "ingress": [{ "ip": ADDRESS }] }, "conditions": [condition] },
        });
        let service = from_kube::service(&serde_json::from_value(service).unwrap()).fact.unwrap();
        cluster.services.insert(service.name.clone(), Arc::new(service));
        let endpoint = json!({ "addresses": ["10.244.1.2"], "nodeName": "n1" });
        let slice = json!({
            "metadata": { "namespace": "shop", "name": "web", "labels": { "kubernetes.io/service-name": "web" } },
            "addressType": "IPv4", "ports": [{ "port": 80 }],
            "endpoints": if has_endpoint { vec![endpoint] } else { vec![] },
        });
        cluster.insert_slice(from_kube::endpoint_slice(&serde_json::from_value(slice).unwrap()).fact.unwrap());
        cluster
    }

    fn is_new(ages: &Ages, now: Instant) -> bool {
        ages.is_new(ADDRESS.parse().unwrap(), now)
    }

    #[test]
    fn what_an_agent_finds_when_it_starts_is_not_new() {
        let (mut ages, start) = (Ages::default(), Instant::now());
        ages.take(&cluster(true), start);
        assert!(!is_new(&ages, start));
    }

    #[test]
    fn an_address_is_new_for_a_while_after_it_came() {
        let (mut ages, start) = (Ages::default(), Instant::now());
        ages.take(&Cluster::default(), start);
        ages.take(&cluster(true), start);
        ages.take(&cluster(true), start + NEW / 2);
        assert!(is_new(&ages, start + NEW / 2));
        assert!(!is_new(&ages, start + NEW), "another node answered for it by then");
        ages.take(&Cluster::default(), start + NEW);
        ages.take(&cluster(true), start + NEW);
        assert!(is_new(&ages, start + NEW), "nobody had it in between");
    }

    #[test]
    fn an_address_that_another_machine_has_stays_new_until_it_is_free() {
        let (mut ages, start) = (Ages::default(), Instant::now());
        let address = ADDRESS.parse().unwrap();
        ages.take(&cluster(true), start);
        ages.take_away(address);
        ages.take(&cluster(true), start + NEW);
        assert!(is_new(&ages, start + NEW * 2));
        ages.give_back(address);
        assert!(!is_new(&ages, start + NEW * 2));
    }

    #[test]
    fn an_address_is_new_when_the_first_endpoint_that_can_serve_it_comes_and_not_when_it_comes_back() {
        let (mut ages, start) = (Ages::default(), Instant::now());
        ages.take(&cluster(false), start);
        assert!(is_new(&ages, start + NEW));
        ages.take(&cluster(true), start + NEW);
        assert!(is_new(&ages, start + NEW));
        ages.take(&cluster(false), start + NEW * 2);
        ages.take(&cluster(true), start + NEW * 3);
        assert!(!is_new(&ages, start + NEW * 3));
    }
}
