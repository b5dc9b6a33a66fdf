//! What is wrong with a Service in itself, whatever the node.

use model::{Cluster, EndpointSlice, Rejected, RejectedReason, Service, ServicePort, Subject, TargetPort};

/// Ports whose named target no endpoint has. The controller that writes EndpointSlices leaves such a port out, so that
/// its connections are refused though the Service has endpoints.
pub(super) fn faults(service: &Service, cluster: &Cluster) -> Vec<Rejected> {
    let is_lost = |port: &&ServicePort| {
        let has_it = |slice: &EndpointSlice| {
            slice.ports.iter().any(|other| other.name == port.name && other.protocol == port.protocol)
        };
        let mut slices = cluster.slices_of(&service.name).filter(|slice| !slice.endpoints.is_empty()).peekable();
        slices.peek().is_some() && !slices.any(|slice| has_it(slice))
    };
    let named = service.ports.iter().filter_map(|port| match &port.target {
        TargetPort::Name(name) => Some((port, name)),
        TargetPort::Number(_) => None,
    });
    let lost = named.filter(|(port, _)| is_lost(port));
    lost.map(|(port, target)| Rejected {
        object: Subject::service(&service.name),
        field: format!("spec.ports[name={}].targetPort", port.name),
        why: format!(
            "no endpoint has a {} port named \"{target}\"; it must be the name of a port in the pods' containers",
            port.protocol
        ),
        reason: RejectedReason::PortNameNotFound,
    })
    .collect()
}
