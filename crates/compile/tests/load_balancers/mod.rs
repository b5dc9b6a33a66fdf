//! The part of a scenario that is about load balancer addresses: who gets which, and which node answers for them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use compile::load_balancer::{Answerer, announcements, assign};
use model::{Cluster, Name, NamespacedName, NodeNetworks, Rejected, from_kube};
use serde::Deserialize;
use serde_json::{Value, json};

/// What a scenario says of load balancers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancers {
    /// The addresses each Service gets, by `namespace/name`.
    given: BTreeMap<String, Vec<IpAddr>>,
    /// The networks each node is on that answers for addresses.
    networks: BTreeMap<String, String>,
    /// The node that answers for each address, or `nobody`.
    answers: BTreeMap<IpAddr, String>,
    /// Free addresses of each pool.
    #[serde(default)]
    free: BTreeMap<String, i64>,
}

impl LoadBalancers {
    /// What the controller decides, written into the statuses of the objects as it writes them; and what it refuses.
    pub fn give(cluster: &Cluster, objects: &[Value]) -> (Vec<Value>, Vec<Rejected>) {
        let assignment = assign(cluster, true);
        let mut written = objects.to_vec();
        for object in written.iter_mut().filter(|object| object["kind"] == "Service") {
            let Some(addresses) = assignment.addresses.get(&key(object)) else { continue };
            let ingress: Vec<Value> = addresses.iter().map(|ip| json!({ "ip": ip, "ipMode": "VIP" })).collect();
            let condition = json!({
                "type": from_kube::ALLOCATED_CONDITION, "reason": "Allocated", "message": "", "status": "True",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            });
            object["status"] = json!({ "loadBalancer": { "ingress": ingress }, "conditions": [condition] });
        }
        (written, assignment.rejected)
    }

    /// What is not as the scenario says, once the statuses are written.
    pub fn faults(&self, cluster: &Cluster) -> Vec<String> {
        let mut faults = Vec::new();
        let assignment = assign(cluster, true);
        let given: BTreeMap<String, Vec<IpAddr>> =
            assignment.addresses.into_iter().map(|(service, addresses)| (service.to_string(), addresses)).collect();
        if given != self.given {
            faults.push(format!("given {given:?}, not {:?}", self.given));
        }
        let networks = self
            .networks
            .iter()
            .map(|(node, networks)| (Name::from(node.as_str()), NodeNetworks::parse(Some(networks))))
            .collect();
        let answers: BTreeMap<IpAddr, String> = announcements(cluster, &networks)
            .into_iter()
            .map(|(address, found)| (address, answer(found.answerer)))
            .collect();
        if answers != self.answers {
            faults.push(format!("answers {answers:?}, not {:?}", self.answers));
        }
        let free = |name: &String| assignment.pools.get(name.as_str()).map(|status| status.total - status.used);
        faults.extend(
            self.free
                .iter()
                .filter(|(name, wanted)| free(name) != Some(**wanted))
                .map(|(name, wanted)| format!("pool {name} has {:?} free, not {wanted}", free(name))),
        );
        faults
    }
}

fn answer(answerer: Answerer) -> String {
    match answerer {
        Answerer::Node(node) => node.to_string(),
        Answerer::OffNetwork(_) => "nobody on its network".to_owned(),
        Answerer::Nobody => "nobody".to_owned(),
    }
}

fn key(object: &Value) -> NamespacedName {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    NamespacedName::new(text("namespace"), text("name"))
}
