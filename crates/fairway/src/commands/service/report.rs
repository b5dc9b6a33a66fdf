//! What there is to say about a Service.

use std::collections::BTreeSet;

use compile::plan::{Backend, Dispatch, Frontend, Hints, LeftOut, backends, hints, left_out};
use compile::{FrontendKind, NodeView, Plan};
use model::from_kube::ServiceRecord;
use model::{Cluster, IpFamily, Name, ObjectKind, Service, ServiceKind, ServicePort, TrafficPolicy};

use super::kernel::{KernelReport, Unseen};
use super::standing::{PolicyPair, Standing};
use super::words::describe;

/// A Service as one node sees it.
pub(super) struct ServiceReport {
    pub(super) service: Service,
    pub(super) frontends: Vec<FrontendReport>,
    pub(super) backends: Vec<Backend>,
    /// Endpoints that are no backends because of their slices.
    pub(super) left_out: Vec<LeftOut>,
    /// What hints come to, by port and family.
    pub(super) hints: Vec<(Name, IpFamily, Hints)>,
    /// What the API has of it beside; none in lists.
    pub(super) record: Option<ServiceRecord>,
    /// What of it is not in force, and why.
    pub(super) rejected: Vec<String>,
    /// Why it has no load balancer address although it asks for one.
    pub(super) pending: Option<String>,
    /// What agents told of load balancer addresses that nobody answers for.
    pub(super) unanswered: Vec<String>,
    /// Where it is reached from this machine's own network, when the cluster is a sandbox here: URLs, or a command.
    pub(super) reached: Vec<String>,
    /// What the node's kernel holds, or why this machine cannot tell; none when it was not asked.
    pub(super) kernel: Option<Result<KernelReport, Unseen>>,
}

/// An address of a Service and what is done with connections to it.
pub(super) struct FrontendReport {
    pub(super) frontend: Frontend,
    pub(super) port: Name,
    pub(super) kind: FrontendKind,
    pub(super) endpoints: usize,
    pub(super) does: String,
}

impl ServiceReport {
    pub(super) fn of(view: &NodeView, cluster: &Cluster, plan: &Plan, service: &Service) -> Self {
        let frontends = plan.frontends_of(&service.name).map(|(frontend, treatment)| {
            let is_its_own = plan.treatment(frontend).is_some_and(|other| other.service == service.name);
            FrontendReport {
                frontend: *frontend,
                port: treatment.port.clone(),
                kind: treatment.kind,
                endpoints: if is_its_own { endpoints(&treatment.dispatch) } else { 0 },
                does: match plan.treatment(frontend) {
                    Some(_) if is_its_own => describe(treatment),
                    Some(_) => "belongs to another Service".to_owned(),
                    None => "belongs to the tunnel between the nodes".to_owned(),
                },
            }
        });
        let of_service = plan.rejected().into_iter().filter(|rejected| {
            let object = &rejected.object;
            object.kind == ObjectKind::Service
                && (object.namespace.as_ref(), &object.name) == (Some(&service.name.namespace), &service.name.name)
        });
        Self {
            service: service.clone(),
            frontends: frontends.collect(),
            backends: backends(view, cluster, service),
            left_out: left_out(cluster, service),
            hints: hints(view, cluster, service),
            record: None,
            rejected: of_service.map(|rejected| format!("{}: {}", rejected.field, rejected.why)).collect(),
            pending: None,
            unanswered: Vec::new(),
            reached: Vec::new(),
            kernel: None,
        }
    }

    /// The same with what the API has beside; what was refused at the door is not in force either.
    pub(super) fn with_record(mut self, record: ServiceRecord) -> Self {
        let refused = record.rejected.iter().map(|rejected| format!("{}: {}", rejected.field, rejected.why));
        self.rejected.splice(0..0, refused);
        let slices = record.slices.iter().flat_map(|slice| &slice.rejected);
        self.rejected.extend(slices.map(ToString::to_string));
        self.record = Some(record);
        self
    }

    /// Whether some connections may meet none but endpoints of this node.
    pub(super) fn has_local_policy(&self) -> bool {
        [self.service.internal_policy, self.service.external_policy].contains(&TrafficPolicy::Local)
    }

    /// What becomes of an endpoint under the Service's policies.
    pub(super) fn standing_of(&self, backend: &Backend) -> Standing {
        let is_outside = self.frontends.iter().any(|each| each.kind != FrontendKind::ClusterIp);
        let external = is_outside.then_some(self.service.external_policy);
        Standing::of(backend, PolicyPair { internal: self.service.internal_policy, external })
    }

    /// Whether every port has somebody who serves it; what is left to others, and a name elsewhere, needs nobody here.
    /// One without ports is not served, but for names, which stand for endpoints whatever their ports.
    pub(super) fn is_served(&self) -> bool {
        let has_backend = |port: &ServicePort| {
            self.backends.iter().any(|backend| backend.port == port.name && self.standing_of(backend).serves())
        };
        match &self.service.kind {
            ServiceKind::ExternalName { .. } => true,
            _ if self.service.delegated => true,
            ServiceKind::Virtual { .. } if self.service.ports.is_empty() => false,
            ServiceKind::Virtual { .. } | ServiceKind::Headless { .. } => self.service.ports.iter().all(has_backend),
        }
    }

    /// The word kubectl has for its kind.
    pub(super) fn kind(&self) -> &'static str {
        match &self.service.kind {
            ServiceKind::Headless { .. } => "Headless",
            ServiceKind::ExternalName { .. } => "ExternalName",
            ServiceKind::Virtual { .. } if self.service.delegated => "Delegated",
            ServiceKind::Virtual { .. } if self.service.load_balancer.is_some() => "LoadBalancer",
            ServiceKind::Virtual { .. } if self.service.ports.iter().any(|port| port.node_port.is_some()) => "NodePort",
            ServiceKind::Virtual { .. } => "ClusterIP",
        }
    }

    /// How many endpoints serve, and of how many; an endpoint with several ports counts once, and so does a pod with an
    /// address of each family.
    pub(super) fn count(&self) -> (usize, usize) {
        let distinct = |is_meant: &dyn Fn(&Backend) -> bool| {
            let meant = self.backends.iter().filter(|backend| is_meant(backend));
            let names = meant.map(|backend| match &backend.pod {
                Some(pod) => pod.to_string(),
                None => backend.socket.ip().to_string(),
            });
            names.collect::<BTreeSet<String>>().len()
        };
        (distinct(&|backend| self.standing_of(backend).serves()), distinct(&|_| true))
    }
}

const fn endpoints(dispatch: &Dispatch) -> usize {
    match dispatch {
        Dispatch::Refuse | Dispatch::Drop => 0,
        Dispatch::Balance(endpoints) | Dispatch::Split { inside: endpoints, .. } => endpoints.len(),
    }
}

#[cfg(test)]
mod tests {
    use compile::plan::BackendState;
    use model::from_kube;
    use serde_json::{Value, json};

    use super::super::standing::Policies;
    use super::*;

    /// What there is to say on node n1 of a Service with these fields of its spec, and endpoints.
    fn report(spec: &Value, slices: &[Value]) -> ServiceReport {
        let mut cluster = Cluster::default();
        let mut object = json!({
            "metadata": { "namespace": "shop", "name": "web" },
            "spec": { "clusterIP": "10.96.0.10", "ports": [{ "port": 80, "nodePort": 30080 }] },
        });
        for (field, value) in spec.as_object().unwrap() {
            object["spec"][field] = value.clone();
        }
        let service = from_kube::service(&serde_json::from_value(object).unwrap()).fact.unwrap();
        cluster.services.insert(service.name.clone(), service.clone().into());
        for (index, slice) in slices.iter().enumerate() {
            let mut slice = slice.clone();
            let labels = json!({ "kubernetes.io/service-name": "web" });
            slice["metadata"] = json!({ "namespace": "shop", "name": format!("web-{index}"), "labels": labels });
            cluster.insert_slice(from_kube::endpoint_slice(&serde_json::from_value(slice).unwrap()).fact.unwrap());
        }
        let view = NodeView { link_addresses: vec!["10.89.0.1".parse().unwrap()], ..NodeView::new("n1") };
        let plan = Plan::of(view.clone(), &cluster);
        ServiceReport::of(&view, &cluster, &plan, &service)
    }

    fn slice(endpoints: &Value) -> Value {
        json!({ "addressType": "IPv4", "ports": [{ "port": 80 }], "endpoints": endpoints })
    }

    /// What is said on node n1 of an endpoint there and of one on n2.
    fn states(spec: &Value) -> [String; 2] {
        let endpoints = json!([
            { "addresses": ["10.244.1.2"], "nodeName": "n1" }, { "addresses": ["10.244.2.2"], "nodeName": "n2" },
        ]);
        let report = report(spec, &[slice(&endpoints)]);
        [0, 1].map(|index| report.standing_of(&report.backends[index]).to_string())
    }

    #[test]
    fn who_meets_an_endpoint_of_another_node_depends_on_the_policies() {
        let cluster_ip =
            |policy: &str| json!({ "type": "ClusterIP", "internalTrafficPolicy": policy, "ports": [{ "port": 80 }] });
        let node_port = |internal: &str, external: &str| json!({ "type": "NodePort", "internalTrafficPolicy": internal, "externalTrafficPolicy": external });
        for (spec, expected) in [
            (cluster_ip("Cluster"), "serves"),
            (cluster_ip("Local"), "left out: it is not on this node (internalTrafficPolicy Local)"),
            (node_port("Cluster", "Cluster"), "serves"),
            (
                node_port("Local", "Cluster"),
                "serves, but no clients of the cluster IP: it is not on this node (internalTrafficPolicy Local)",
            ),
            (
                node_port("Cluster", "Local"),
                "serves, but no clients from outside: it is not on this node (externalTrafficPolicy Local)",
            ),
            (node_port("Local", "Local"), "left out: it is not on this node (both policies are Local)"),
        ] {
            assert_eq!(states(&spec), ["serves", expected], "{spec}");
        }
    }

    #[test]
    fn an_endpoint_that_is_left_out_by_a_policy_does_not_count_as_serving() {
        let elsewhere = slice(&json!([{ "addresses": ["10.244.2.2"], "nodeName": "n2" }]));
        let local = |internal: &str, kind: &str| json!({ "type": kind, "internalTrafficPolicy": internal });
        let said = |spec: &Value| {
            let report = report(spec, std::slice::from_ref(&elsewhere));
            (report.standing_of(&report.backends[0]).serves(), report.is_served(), report.count())
        };
        let inside_only = json!({ "type": "ClusterIP", "internalTrafficPolicy": "Local", "ports": [{ "port": 80 }] });
        assert_eq!(said(&inside_only), (false, false, (0, 1)));
        assert_eq!(said(&local("Local", "NodePort")), (true, true, (1, 1)), "clients from outside meet it");
        assert_eq!(said(&local("Cluster", "NodePort")), (true, true, (1, 1)));
    }

    #[test]
    fn an_endpoint_that_a_policy_keeps_connections_at_serves_though_others_would_go_before_it() {
        let terminating = json!({ "ready": false, "serving": true, "terminating": true });
        let endpoints = slice(&json!([
            { "addresses": ["10.244.1.2"], "nodeName": "n1", "conditions": terminating },
            { "addresses": ["10.244.2.2"], "nodeName": "n2" },
        ]));
        let spec = json!({ "type": "ClusterIP", "internalTrafficPolicy": "Local", "ports": [{ "port": 80 }] });
        let report = report(&spec, &[endpoints]);
        let standings: Vec<Standing> = report.backends.iter().map(|backend| report.standing_of(backend)).collect();
        assert_eq!(standings, [Standing::Here(BackendState::Terminating), Standing::Elsewhere(Policies::Internal)]);
        assert!(report.is_served());
    }

    #[test]
    fn a_service_without_ports_is_not_served_but_a_name_is() {
        let endpoints = [slice(&json!([{ "addresses": ["10.244.1.2"], "nodeName": "n1" }]))];
        let refused = json!({ "ports": [{ "port": 0 }] });
        assert!(!report(&refused, &endpoints).is_served());
        assert!(report(&json!({ "clusterIP": "None", "ports": [] }), &endpoints).is_served());
    }

    #[test]
    fn a_pod_with_an_address_of_each_family_is_one_endpoint() {
        let of_pod = |address: &str, family: &str| {
            let pod = json!({ "kind": "Pod", "namespace": "shop", "name": "web-7" });
            let mut slice = slice(&json!([{ "addresses": [address], "nodeName": "n1", "targetRef": pod }]));
            slice["addressType"] = family.into();
            slice
        };
        let slices = [of_pod("10.244.1.2", "IPv4"), of_pod("fd00:10:244:1::2", "IPv6")];
        let both = json!({ "clusterIPs": ["10.96.0.10", "fd00:10:96::a"], "ipFamilies": ["IPv4", "IPv6"] });
        assert_eq!(report(&both, &slices).count(), (1, 1));
    }
}
