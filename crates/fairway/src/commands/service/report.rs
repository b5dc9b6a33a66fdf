//! What there is to say about a Service.

use compile::plan::{Backend, Dispatch, Frontend, SourceRule, Treatment, backends};
use compile::{NodeView, Plan};
use model::{Affinity, Clients, Cluster, Name, Service, ServiceKind};
use serde_json::{Value, json};

use super::kernel::KernelReport;

/// A Service as one node sees it.
pub(super) struct ServiceReport {
    pub(super) service: Service,
    pub(super) frontends: Vec<FrontendReport>,
    pub(super) backends: Vec<Backend>,
    /// What of it is not in force, and why.
    pub(super) rejected: Vec<String>,
    /// What this machine's kernel holds; none when it was not asked or is no node.
    pub(super) kernel: Option<KernelReport>,
}

/// An address of a Service and what is done with connections to it.
pub(super) struct FrontendReport {
    pub(super) frontend: Frontend,
    pub(super) port: Name,
    pub(super) kind: String,
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
                kind: treatment.kind.to_string(),
                endpoints: if is_its_own { endpoints(&treatment.dispatch) } else { 0 },
                does: if is_its_own { describe(treatment) } else { "belongs to another Service".to_owned() },
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
            rejected: of_service.map(|rejected| format!("{}: {}", rejected.field, rejected.why)).collect(),
            kernel: None,
        }
    }

    /// Whether every port has somebody who serves it; a name elsewhere needs nobody here.
    pub(super) fn is_served(&self) -> bool {
        if matches!(self.service.kind, ServiceKind::ExternalName { .. }) {
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

    pub(super) fn to_json(&self) -> Value {
        let frontends = self.frontends.iter().map(|frontend| {
            json!({
                "address": frontend.frontend.address, "protocol": frontend.frontend.protocol.to_string(),
                "port": frontend.frontend.port, "portName": frontend.port.as_str(), "kind": frontend.kind,
                "endpoints": frontend.endpoints, "does": frontend.does,
            })
        });
        let backends = self.backends.iter().map(|backend| {
            json!({
                "endpoint": backend.socket, "portName": backend.port.as_str(),
                "node": backend.node.as_ref().map(Name::as_str), "pod": backend.pod.as_ref().map(ToString::to_string),
                "serves": backend.state.serves(), "servesLocally": backend.serves_locally,
                "state": backend.state.to_string(),
            })
        });
        json!({
            "apiVersion": "fairway.network/v1", "kind": "ServiceReport",
            "namespace": self.service.name.namespace.as_str(), "name": self.service.name.name.as_str(),
            "type": self.kind(), "served": self.is_served(),
            "frontends": frontends.collect::<Vec<_>>(), "backends": backends.collect::<Vec<_>>(),
            "notInForce": self.rejected, "kernel": self.kernel.as_ref().map(KernelReport::to_json),
        })
    }
}

/// All reports as one object.
pub(super) fn list_to_json(node: &Name, reports: &[ServiceReport]) -> Value {
    let items: Vec<Value> = reports.iter().map(ServiceReport::to_json).collect();
    json!({ "apiVersion": "fairway.network/v1", "kind": "ServiceReportList", "node": node.as_str(), "items": items })
}

const fn endpoints(dispatch: &Dispatch) -> usize {
    match dispatch {
        Dispatch::Refuse | Dispatch::Drop => 0,
        Dispatch::Balance(endpoints) | Dispatch::Split { inside: endpoints, .. } => endpoints.len(),
    }
}

fn describe(treatment: &Treatment) -> String {
    let mut text = match &treatment.dispatch {
        Dispatch::Refuse => "refused: no endpoint".to_owned(),
        Dispatch::Drop => "dropped: no endpoint on this node".to_owned(),
        Dispatch::Balance(endpoints) => format!("to {}", count(endpoints.len())),
        Dispatch::Split { inside, outside } if outside.is_empty() => {
            format!("to {} for this node and its pods; dropped for others: none on this node", count(inside.len()))
        }
        Dispatch::Split { inside, outside } => {
            format!(
                "to {} for this node and its pods, to {} on this node for others",
                count(inside.len()),
                outside.len()
            )
        }
    };
    if !matches!(treatment.dispatch, Dispatch::Refuse | Dispatch::Drop) {
        text += match treatment.sources {
            SourceRule::MasqueradeBypassing => ", source kept for all but the node itself",
            SourceRule::MasqueradeOutsiders => ", source kept for pods and nodes",
            SourceRule::MasqueradeAll => ", masqueraded",
        };
    }
    if let Clients::Within(ranges) = &treatment.clients {
        let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        text += &format!(", only from {}", if ranges.is_empty() { "nowhere".to_owned() } else { ranges.join(", ") });
    }
    if let Some(timeout) = treatment.affinity {
        text += &format!(", same client same endpoint for {} s", timeout.as_secs());
    }
    text
}

fn count(endpoints: usize) -> String {
    if endpoints == 1 { "1 endpoint".to_owned() } else { format!("{endpoints} endpoints") }
}

/// The Service's settings in words.
pub(super) fn settings(service: &Service) -> String {
    if let ServiceKind::ExternalName { target } = &service.kind {
        return format!("an alias for {target}");
    }
    let mut text =
        format!("internal policy {:?}, external policy {:?}", service.internal_policy, service.external_policy);
    if let Affinity::ClientIp { timeout } = service.affinity {
        text += &format!(", affinity ClientIP {} s", timeout.as_secs());
    }
    if let Some(port) = service.health_check_port {
        text += &format!(", health check at port {port}");
    }
    text
}
