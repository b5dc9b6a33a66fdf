//! Why a Service of type LoadBalancer has no address, or nobody answers for the one it has.

use compile::load_balancer::assign;
use kubeapi::{Client, ObjectName, Objects, Told};
use model::{Cluster, LOAD_BALANCER_CLASS, NamespacedName, Service, ServiceKind, Subject};
use serde_json::Value;

use crate::commands::survey::entries;

/// What agents tell of addresses that are given and not answered for.
const UNANSWERED: [&str; 2] = ["DuplicateAddress", "NoNodeOnNetwork"];
/// What an agent tells when it answers.
const ANSWERED: &str = "NodeAssigned";
/// The option by which the controller knows whether Fairway is the cluster's default load balancer.
const IS_DEFAULT: &str = "--default-load-balancer=";

/// What the API has of load balancing beside the Service.
pub(super) struct LoadBalancing {
    controller: Controller,
    told: Vec<Told>,
}

/// Who gives addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Controller {
    /// The API does not show whether there is one.
    Unknown,
    /// There is none.
    Missing,
    /// There is this one, and no replica of it is ready.
    Idle(ObjectName),
    /// A replica is ready. Those that name no load balancer are Fairway's, or not.
    Runs { is_default: bool },
}

impl LoadBalancing {
    /// Reads it, and adds to the snapshot what addresses are decided by. What the API does not show is left out.
    pub(super) async fn read(client: &Client, cluster: &mut Cluster, service: &NamespacedName) -> Self {
        let controller = match kubeapi::read_pools(client, cluster).await {
            Ok(()) => read_controller(client).await,
            Err(_) => Controller::Unknown,
        };
        Self { controller, told: kubeapi::read_events(client, service).await.unwrap_or_default() }
    }

    /// Why a Service has no address; nothing if it has one, asks for none, or is another load balancer's already.
    pub(super) fn why_pending(&self, cluster: &Cluster, service: &Service) -> Option<String> {
        let request = service.load_balancer.as_ref().filter(|request| !request.is_served_by_other)?;
        if !matches!(&service.kind, ServiceKind::Virtual { load_balancer_ips, .. } if load_balancer_ips.is_empty()) {
            return None;
        }
        let class = request.class.as_ref();
        if let Some(class) = class.filter(|class| class.as_str() != LOAD_BALANCER_CLASS) {
            return Some(format!(
                "its spec.loadBalancerClass {class} is not Fairway's, which is {LOAD_BALANCER_CLASS}"
            ));
        }
        let is_default = match &self.controller {
            Controller::Unknown => {
                return Some("the API does not show what decides it; see: kubectl describe svc".to_owned());
            }
            Controller::Missing => {
                return Some(
                    "no controller of Fairway is installed that gives addresses (controller.enabled)".to_owned(),
                );
            }
            Controller::Idle(name) => return Some(format!("nobody gives addresses: no pod of {name} is ready")),
            Controller::Runs { is_default } => *is_default,
        };
        if class.is_none() && !is_default {
            return Some(format!(
                "it names no load balancer, and Fairway is not the default one (loadBalancer.default); make it anew with \
                 spec.loadBalancerClass {LOAD_BALANCER_CLASS}"
            ));
        }
        Some(decided_again(cluster, service, is_default))
    }

    /// What was told of the Service's addresses, and does not stand any more once a node answers.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = String> {
        let answered = self.told.iter().rposition(|told| told.reason == ANSWERED).map_or(0, |last| last + 1);
        let since = self.told[answered..].iter().filter(|told| UNANSWERED.contains(&told.reason.as_str()));
        since.map(|told| format!("{} (told at {:.0}): {}", told.reason, told.at, told.message))
    }
}

/// What the controller makes of the same snapshot.
fn decided_again(cluster: &Cluster, service: &Service, is_default: bool) -> String {
    let assignment = assign(cluster, is_default);
    let subject = Subject::service(&service.name);
    let mut reasons = assignment.rejected.iter().filter(|rejected| rejected.object == subject);
    if let Some(rejected) = reasons.next() {
        return format!("{}: {}", rejected.field, rejected.why);
    }
    match assignment.addresses.get(&service.name).map(Vec::as_slice) {
        None | Some([]) => "there is no LoadBalancerPool; make one with addresses of your network".to_owned(),
        Some(addresses) => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("the controller is about to give it {}; if it does not, see its log", addresses.join(" and "))
        }
    }
}

async fn read_controller(client: &Client) -> Controller {
    let objects = Objects::new(client.clone(), "fairway");
    let labels = format!("app.kubernetes.io/name={}", manifests::CONTROLLER);
    match objects.list(("apps/v1", "Deployment"), None, &labels).await {
        Ok(found) => found.first().map_or(Controller::Missing, controller_of),
        Err(_) => Controller::Unknown,
    }
}

fn controller_of(deployment: &Value) -> Controller {
    if deployment["status"]["readyReplicas"].as_u64().unwrap_or(0) == 0 {
        return Controller::Idle(ObjectName::of(deployment));
    }
    let arguments = entries(&deployment["spec"]["template"]["spec"]["containers"][0]["args"]);
    let set = arguments.filter_map(|argument| argument.as_str()?.strip_prefix(IS_DEFAULT)).last();
    Controller::Runs { is_default: set != Some("false") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::from_kube;
    use serde_json::json;

    use super::*;

    fn cluster(pools: &[&str], spec: &Value) -> (Cluster, Service) {
        let mut cluster = Cluster::default();
        for (index, addresses) in pools.iter().enumerate() {
            let pool = json!({ "metadata": { "name": format!("pool{index}") }, "spec": { "addresses": [addresses] } });
            let pool = from_kube::address_pool(&serde_json::from_value(pool).unwrap()).fact.unwrap();
            cluster.pools.insert(pool.name.clone(), Arc::new(pool));
        }
        let mut object = json!({
            "metadata": { "namespace": "shop", "name": "web" },
            "spec": { "type": "LoadBalancer", "clusterIP": "10.96.0.1", "ports": [{ "port": 80 }] },
        });
        for (field, value) in spec.as_object().unwrap() {
            object["spec"][field] = value.clone();
        }
        let service = from_kube::service(&serde_json::from_value(object).unwrap()).fact.unwrap();
        cluster.services.insert(service.name.clone(), Arc::new(service.clone()));
        (cluster, service)
    }

    fn why(controller: Controller, pools: &[&str], spec: &Value) -> Option<String> {
        let (cluster, service) = cluster(pools, spec);
        LoadBalancing { controller, told: Vec::new() }.why_pending(&cluster, &service)
    }

    fn deployment(ready: u32, argument: &str) -> Controller {
        let container = json!({ "args": ["controller", argument] });
        controller_of(&json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "namespace": "kube-system", "name": "fairway-controller" },
            "spec": { "template": { "spec": { "containers": [container] } } }, "status": { "readyReplicas": ready },
        }))
    }

    #[test]
    fn a_pending_service_is_told_what_keeps_it_without_an_address() {
        let pool = ["10.0.0.1"];
        let running = || deployment(1, "--default-load-balancer=true");
        let none = json!({});
        let fairways = json!({ "loadBalancerClass": "fairway.network/lb" });
        for (controller, pools, spec, expected) in [
            (
                running(),
                &pool[..],
                &json!({ "loadBalancerClass": "example.com/lb" }),
                "example.com/lb is not Fairway's",
            ),
            (Controller::Missing, &pool, &none, "no controller of Fairway is installed"),
            (deployment(0, ""), &pool, &none, "no pod of Deployment kube-system/fairway-controller is ready"),
            (deployment(1, "--default-load-balancer=false"), &pool, &none, "Fairway is not the default one"),
            (deployment(1, "--default-load-balancer=false"), &[], &fairways, "spec.type: there is no LoadBalancerPool"),
            (running(), &[], &none, "there is no LoadBalancerPool; make one"),
            (running(), &pool, &json!({ "loadBalancerIP": "10.0.0.2" }), "spec.loadBalancerIP: 10.0.0.2 cannot be had"),
            (running(), &pool, &json!({ "ipFamilies": ["IPv6"] }), "no free IPv6 address in LoadBalancerPool pool0"),
            (running(), &pool, &none, "the controller is about to give it 10.0.0.1"),
            (Controller::Unknown, &pool, &none, "kubectl describe svc"),
        ] {
            let why = why(controller, pools, spec).unwrap();
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn a_service_that_asks_for_no_address_waits_for_none() {
        assert_eq!(why(Controller::Missing, &[], &json!({ "type": "ClusterIP" })), None);
    }

    #[test]
    fn what_was_told_of_an_address_stands_until_a_node_answers() {
        let told = |second: i64, reason: &str| Told {
            at: jiff::Timestamp::from_second(second).unwrap(),
            reason: reason.into(),
            message: format!("at {second}"),
        };
        let all =
            [told(1, "DuplicateAddress"), told(2, "NodeAssigned"), told(3, "IPAllocated"), told(4, "NoNodeOnNetwork")];
        let load_balancing = LoadBalancing { controller: Controller::Unknown, told: all.to_vec() };
        let standing: Vec<String> = load_balancing.unanswered().collect();
        assert_eq!(standing, ["NoNodeOnNetwork (told at 1970-01-01T00:00:04Z): at 4"]);
    }
}
