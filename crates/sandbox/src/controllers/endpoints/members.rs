//! Who serves a Service: its pods with their addresses, ports and conditions.

use std::{net::IpAddr, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::{Container, ObjectReference, Pod, Service, ServicePort, ServiceSpec},
        discovery::v1::EndpointPort,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::controllers::{
    kind::Kind,
    pod::{has_ended, is_ready, node_name},
};

/// An address family, as slices name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn of(address: &str) -> Option<Self> {
        address.parse().ok().map(|address: IpAddr| if address.is_ipv4() { Self::V4 } else { Self::V6 })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// One address that serves a Service.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Member {
    pub(super) family: Family,
    pub(super) address: String,
    /// The Service's ports as this member has them; those it lacks are left out.
    pub(super) ports: Vec<EndpointPort>,
    /// Passes its readiness probes.
    pub(super) serving: bool,
    /// Is on its way out.
    pub(super) terminating: bool,
    pub(super) hostname: Option<String>,
    pub(super) node: Option<String>,
    pub(super) target: ObjectReference,
}

/// Whether the endpoints of a Service are made from pods at all.
pub(super) fn has_pods(spec: &ServiceSpec) -> bool {
    spec.selector.as_ref().is_some_and(|selector| !selector.is_empty()) && spec.type_.as_deref() != Some("ExternalName")
}

/// Whether a Service has no address of its own.
pub(super) fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some("None")
}

/// The families a Service is served in, the main one first.
pub(super) fn families(spec: &ServiceSpec) -> Vec<Family> {
    let named = spec.ip_families.iter().flatten().map(|family| if family == "IPv6" { Family::V6 } else { Family::V4 });
    let families: Vec<_> = named.collect();
    if families.is_empty() { vec![Family::V4] } else { families }
}

/// The members among `pods`, which are those its selector admits, ordered by pod and family.
pub(super) fn members(service: &Service, spec: &ServiceSpec, pods: &[Arc<Pod>]) -> Vec<Member> {
    let mut members = Vec::new();
    for pod in pods.iter().filter(|pod| !has_ended(pod)) {
        for family in families(spec) {
            members.extend(address(pod, family).map(|address| member(service, spec, pod, (family, address))));
        }
    }
    members
}

/// A pod that has none of the Service's ports is a member without ports, as Kubernetes has it: so everybody sees that it
/// is the ports that are missing, not the pods.
fn member(service: &Service, spec: &ServiceSpec, pod: &Pod, (family, address): (Family, String)) -> Member {
    let wanted = spec.ports.as_deref().unwrap_or_default();
    let ports: Vec<_> = wanted.iter().filter_map(|port| endpoint_port(pod, port)).collect();
    Member {
        family,
        address,
        ports,
        serving: is_ready(pod),
        terminating: pod.is_terminating(),
        hostname: hostname(service, pod),
        node: node_name(pod).map(str::to_owned),
        target: ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        },
    }
}

fn address(pod: &Pod, family: Family) -> Option<String> {
    let status = pod.status.as_ref()?;
    let several = status.pod_ips.iter().flatten().map(|ip| &ip.ip);
    several.chain(&status.pod_ip).find(|address| Family::of(address) == Some(family)).cloned()
}

/// The name a pod has below its Service.
fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let belongs = spec.subdomain.as_deref() == Some(service.name());
    spec.hostname.clone().filter(|name| belongs && !name.is_empty())
}

fn endpoint_port(pod: &Pod, port: &ServicePort) -> Option<EndpointPort> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    Some(EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(target_port(pod, port, protocol)?),
        protocol: Some(protocol.to_owned()),
        app_protocol: port.app_protocol.clone(),
    })
}

fn target_port(pod: &Pod, port: &ServicePort, protocol: &str) -> Option<i32> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => named_port(pod, name, protocol),
    }
}

fn named_port(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let is_sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(is_sidecar);
    let ports =
        spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.as_deref().unwrap_or_default());
    let mut named = ports.filter(|port| port.name.as_deref() == Some(name));
    named.find(|port| port.protocol.as_deref().unwrap_or("TCP") == protocol).map(|port| port.container_port)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(spec: &Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})).unwrap()
    }

    fn pod(change: impl Fn(&mut Value)) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": {"name": "web-1", "namespace": "shop", "uid": "u1"},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [
                {"name": "http", "containerPort": 8080}, {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            ]}]},
            "status": {"phase": "Running", "podIP": "10.244.0.5", "podIPs": [{"ip": "10.244.0.5"}, {"ip": "fd00::5"}]},
        });
        change(&mut pod);
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn found(spec: &Value, pod: Arc<Pod>) -> Vec<Member> {
        let service = service(spec);
        members(&service, service.spec.as_ref().unwrap(), &[pod])
    }

    fn numbers(member: &Member) -> Vec<i32> {
        member.ports.iter().filter_map(|port| port.port).collect()
    }

    #[test]
    fn target_ports_are_numbers_or_names_of_the_right_protocol() {
        let ports = json!({"ports": [
            {"name": "a", "port": 80}, {"name": "b", "port": 81, "targetPort": 9000},
            {"name": "c", "port": 82, "targetPort": "http"}, {"name": "d", "port": 83, "targetPort": "dns"},
            {"name": "e", "port": 53, "protocol": "UDP", "targetPort": "dns"},
        ]});
        let members = found(&ports, pod(|_| {}));
        assert_eq!(numbers(&members[0]), [80, 9000, 8080, 53]);
    }

    #[test]
    fn a_pod_without_any_of_the_ports_is_a_member_without_ports() {
        for spec in [json!({"ports": [{"port": 80, "targetPort": "none"}]}), json!({"clusterIP": "None"})] {
            let members = found(&spec, pod(|_| {}));
            assert_eq!((members.len(), numbers(&members[0])), (1, vec![]), "{spec}");
        }
    }

    #[test]
    fn every_family_of_the_service_has_its_own_member() {
        let dual = json!({"ipFamilies": ["IPv4", "IPv6"], "ports": [{"port": 80}]});
        let addresses: Vec<_> = found(&dual, pod(|_| {})).into_iter().map(|member| member.address).collect();
        assert_eq!(addresses, ["10.244.0.5", "fd00::5"]);
    }

    #[test]
    fn pods_that_ended_or_have_no_address_yet_are_no_members() {
        let spec = json!({"ports": [{"port": 80}]});
        assert_eq!(found(&spec, pod(|pod| pod["status"]["phase"] = json!("Succeeded"))), []);
        assert_eq!(found(&spec, pod(|pod| pod["status"] = json!({"phase": "Pending"}))), []);
    }

    #[test]
    fn a_pod_has_a_name_below_the_service_it_names_as_its_subdomain() {
        let named = |subdomain: &'static str| {
            pod(move |pod| {
                pod["spec"]["hostname"] = json!("web-1");
                pod["spec"]["subdomain"] = json!(subdomain);
            })
        };
        let spec = json!({"clusterIP": "None", "ports": [{"port": 80}]});
        assert_eq!(found(&spec, named("web"))[0].hostname.as_deref(), Some("web-1"));
        assert_eq!(found(&spec, named("other"))[0].hostname, None);
    }
}
