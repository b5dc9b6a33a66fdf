//! What the cluster's objects ask for and cannot have. The API server lets such objects through.

use std::path::Path;

use compile::load_balancer::assign;
use compile::{NodeView, Plan};
use dns::{Config, Defaults, Surroundings, Unsupported};
use model::{NamespacedName, ObjectKind, Rejected};
use serde_json::{Map, Value};

use super::findings::Finding;
use crate::commands::snapshot::Snapshot;
use crate::commands::survey::{CONFIG_MAP, Survey, entries, is_part_of_fairway, texts};
use crate::diagnostics::{COREFILE_REFUSED, NO_LOAD_BALANCER_ADDRESS, NOT_IN_FORCE};

/// What the controller is told where Services that name no load balancer are not Fairway's.
const NOT_DEFAULT: &str = "--default-load-balancer=false";
/// The port of server blocks that name none.
const DNS_PORT: u16 = 53;
/// A resolver configuration that says what matters here: that there is a server.
const SOME_SERVER: &str = "nameserver 192.0.2.1\n";

/// What is not in force of Nodes, Services and EndpointSlices.
pub(super) fn refused(snapshot: &Snapshot) -> Vec<Finding> {
    let contested = snapshot.cluster.nodes.keys().next().map_or_else(Vec::new, |node| {
        let plan = Plan::of(NodeView::new(node.clone()), &snapshot.cluster);
        // Nodes in each other's way have findings of their own.
        plan.rejected().into_iter().filter(|rejected| rejected.object.kind != ObjectKind::Node).collect()
    });
    let finding = |rejected: &Rejected| Finding::new(&NOT_IN_FORCE, rejected.to_string());
    snapshot.refused.iter().chain(&contested).map(finding).collect()
}

/// Services that get no load balancer address, or not the one they ask for, and pools that are not used.
pub(super) fn load_balancers(survey: &Survey, snapshot: &Snapshot) -> Vec<Finding> {
    let assignment = assign(&snapshot.cluster, !arguments_of_ours(survey).any(|argument| argument == NOT_DEFAULT));
    let finding = |rejected: &Rejected| {
        let diagnostic =
            if rejected.object.kind == ObjectKind::Service { &NO_LOAD_BALANCER_ADDRESS } else { &NOT_IN_FORCE };
        Finding::new(diagnostic, rejected.to_string())
    };
    assignment.rejected.iter().map(finding).collect()
}

/// What is wrong with the Corefile, if there is one.
pub(super) fn corefile(survey: &Survey) -> Option<Finding> {
    let files = survey.corefile.as_ref()?["data"].as_object()?;
    let text = files.get("Corefile")?.as_str()?;
    let defaults = Defaults {
        dns_service: NamespacedName::new(CONFIG_MAP.0, manifests::DNS_SERVICE),
        port: DNS_PORT,
        unsupported: if ignores_unsupported(survey) { Unsupported::Ignore } else { Unsupported::Refuse },
    };
    let refusal = Config::read(("Corefile", text), &defaults, &Mounted(files)).err()?;
    Some(Finding::new(&COREFILE_REFUSED, format!("ConfigMap {}/{}: {refusal}", CONFIG_MAP.0, CONFIG_MAP.1)))
}

/// Whether the DNS servers were told to go without directives that Fairway has not.
fn ignores_unsupported(survey: &Survey) -> bool {
    arguments_of_ours(survey).any(|argument| argument == "--unsupported=ignore")
}

/// What Fairway's Deployments are told.
fn arguments_of_ours(survey: &Survey) -> impl Iterator<Item = &str> {
    let ours = survey.deployments.iter().filter(|deployment| is_part_of_fairway(deployment));
    let containers = ours.flat_map(|deployment| entries(&deployment["spec"]["template"]["spec"]["containers"]));
    containers.flat_map(|container| texts(&container["args"]))
}

/// The keys of a ConfigMap as the files they are in the pod. What else the pod has is not known here and counts as fine.
struct Mounted<'a>(&'a Map<String, Value>);

impl Mounted<'_> {
    fn file(&self, path: &str) -> Option<String> {
        let name = Path::new(path).file_name()?.to_str()?;
        Some(self.0.get(name)?.as_str()?.to_owned())
    }
}

impl Surroundings for Mounted<'_> {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn import(&self, pattern: &str, _from: &str) -> Result<Vec<(String, String)>, String> {
        Ok(self.file(pattern).map(|text| (pattern.to_owned(), text)).into_iter().collect())
    }

    fn read(&self, path: &str) -> Result<String, String> {
        let elsewhere = || if path.ends_with("resolv.conf") { SOME_SERVER.to_owned() } else { String::new() };
        Ok(self.file(path).unwrap_or_else(elsewhere))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Cluster, from_kube};
    use serde_json::json;

    use super::*;

    fn survey(corefile: &str) -> Survey {
        let config_map =
            json!({ "data": { "Corefile": corefile, "more.server": "example.org { forward . 192.0.2.7 }" } });
        Survey { corefile: Some(config_map), ..Survey::default() }
    }

    #[test]
    fn a_corefile_that_can_be_used_is_no_finding() {
        let usual = ".:53 {\n errors\n kubernetes cluster.local\n forward . /etc/resolv.conf\n}\nimport more.server\n";
        assert_eq!(corefile(&survey(usual)), None);
        assert_eq!(corefile(&Survey::default()), None);
    }

    #[test]
    fn a_corefile_that_cannot_be_used_is_named_with_its_line() {
        let finding = corefile(&survey(".:53 {\n kubernets cluster.local\n}\n")).unwrap();
        assert_eq!(finding.diagnostic, &COREFILE_REFUSED);
        let expected =
            "ConfigMap kube-system/coredns: Corefile:2: kubernets: no such directive; did you mean kubernetes?";
        assert_eq!(finding.detail, expected);
    }

    /// A cluster with one pool, and a Service of type LoadBalancer with these annotations.
    fn snapshot(annotations: &Value) -> Snapshot {
        let service = json!({
            "metadata": { "name": "shop", "namespace": "default", "annotations": annotations },
            "spec": {
                "type": "LoadBalancer", "clusterIP": "10.96.0.50", "clusterIPs": ["10.96.0.50"],
                "ports": [{ "port": 80 }],
            },
        });
        let pool = json!({
            "apiVersion": "fairway.network/v1alpha1", "kind": "LoadBalancerPool", "metadata": { "name": "public" },
            "spec": { "addresses": ["192.0.2.0/28"] },
        });
        let mut cluster = Cluster::default();
        let service = from_kube::service(&serde_json::from_value(service).unwrap()).fact.unwrap();
        cluster.services.insert(service.name.clone(), Arc::new(service));
        let pool = from_kube::address_pool(&serde_json::from_value(pool).unwrap()).fact.unwrap();
        cluster.pools.insert(pool.name.clone(), Arc::new(pool));
        Snapshot { cluster, refused: Vec::new() }
    }

    #[test]
    fn a_service_whose_pool_there_is_not_is_a_finding_and_none_where_others_give_the_addresses() {
        let nothing = Survey::default();
        assert_eq!(load_balancers(&nothing, &snapshot(&json!({}))), []);
        let unknown = snapshot(&json!({ from_kube::POOL_ANNOTATION: "publik" }));
        let found = load_balancers(&nothing, &unknown);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].diagnostic, &NO_LOAD_BALANCER_ADDRESS);
        assert!(found[0].detail.starts_with("Service default/shop: "), "{found:?}");
        let mut controller = json!({ "metadata": { "labels": { "app.kubernetes.io/part-of": "fairway" } } });
        controller["spec"]["template"]["spec"]["containers"] = json!([{ "args": [NOT_DEFAULT] }]);
        let survey = Survey { deployments: vec![controller], ..Survey::default() };
        assert_eq!(load_balancers(&survey, &unknown), []);
    }

    #[test]
    fn directives_that_fairway_has_not_are_fine_where_they_are_left_out() {
        let mut survey = survey(".:53 {\n route53 example.org.:Z1\n}\n");
        assert!(corefile(&survey).is_some());
        survey.deployments.push(json!({
            "metadata": { "labels": { "app.kubernetes.io/part-of": "fairway" } },
            "spec": { "template": { "spec": { "containers": [{ "args": ["--unsupported=ignore"] }] } } },
        }));
        assert_eq!(corefile(&survey), None);
    }
}
