//! What there is to say about a Service.

use compile::plan::{Backend, BackendState, Dispatch, Frontend, Hints, LeftOut, backends, hints, left_out};
use compile::{FrontendKind, NodeView, Plan};
use model::from_kube::ServiceRecord;
use model::{Cluster, IpFamily, Name, Service, ServiceKind, TrafficPolicy};

use super::kernel::KernelReport;
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
    /// Where it is reached from this machine's own network, when the cluster is a sandbox here: URLs, or a command.
    pub(super) reached: Vec<String>,
    /// What this machine's kernel holds; none when it was not asked or is no node.
    pub(super) kernel: Option<KernelReport>,
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
            object.kind == "Service"
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
    pub(super) fn state_of(&self, backend: &Backend) -> String {
        let is_outside = self.frontends.iter().any(|each| each.kind != FrontendKind::ClusterIp);
        let is_local = |policy| policy == TrafficPolicy::Local;
        let (internal, external) = (is_local(self.service.internal_policy), is_local(self.service.external_policy));
        // Names and those that are left out anyway know no policies.
        let is_elsewhere = matches!(backend.state, BackendState::Serves | BackendState::ServesLast);
        match (internal, external && is_outside) {
            _ if backend.serves_locally || !is_elsewhere => backend.state.to_string(),
            (false, false) => backend.state.to_string(),
            (true, true) => "left out: it is not on this node (both policies are Local)".to_owned(),
            (true, false) if !is_outside => "left out: it is not on this node (internalTrafficPolicy Local)".to_owned(),
            (true, false) => {
                "serves, but no clients of the cluster IP: it is not on this node (internalTrafficPolicy Local)"
                    .to_owned()
            }
            (false, true) => {
                "serves, but no clients from outside: it is not on this node (externalTrafficPolicy Local)".to_owned()
            }
        }
    }

    /// Whether every port has somebody who serves it; what is left to others, and a name elsewhere, needs nobody here.
    pub(super) fn is_served(&self) -> bool {
        if self.service.delegated || matches!(self.service.kind, ServiceKind::ExternalName { .. }) {
            return true;
        }
        self.service
            .ports
            .iter()
            .all(|port| self.backends.iter().any(|backend| backend.port == port.name && backend.state.serves()))
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

    /// How many endpoints serve, and of how many; an endpoint with several ports counts once.
    pub(super) fn count(&self) -> (usize, usize) {
        let distinct = |serving: bool| {
            let chosen = self.backends.iter().filter(|backend| !serving || backend.state.serves());
            chosen.map(|backend| backend.socket.ip()).collect::<std::collections::BTreeSet<_>>().len()
        };
        (distinct(true), distinct(false))
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
    use compile::{NodePortAddresses, PodAddresses};
    use model::from_kube;
    use serde_json::{Value, json};

    use super::*;

    /// What is said on node n1 of an endpoint there and of one on n2.
    fn states(spec: &Value) -> [String; 2] {
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
        let slice = json!({
            "metadata": { "namespace": "shop", "name": "web", "labels": { "kubernetes.io/service-name": "web" } },
            "addressType": "IPv4", "ports": [{ "port": 80 }],
            "endpoints": [
                { "addresses": ["10.244.1.2"], "nodeName": "n1" }, { "addresses": ["10.244.2.2"], "nodeName": "n2" },
            ],
        });
        cluster.insert_slice(from_kube::endpoint_slice(&serde_json::from_value(slice).unwrap()).fact.unwrap());
        let view = NodeView {
            name: "n1".into(),
            pod_ranges: Vec::new(),
            service_ranges: Vec::new(),
            link_addresses: vec!["10.89.0.1".parse().unwrap()],
            node_port_addresses: NodePortAddresses::All,
            pod_addresses: PodAddresses::NodeRanges,
            routing: compile::Routing::default(),
        };
        let plan = Plan::of(view.clone(), &cluster);
        let report = ServiceReport::of(&view, &cluster, &plan, &service);
        [0, 1].map(|index| report.state_of(&report.backends[index]))
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
}
