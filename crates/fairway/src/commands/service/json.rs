//! Services for programs.

use model::from_kube::{ServiceRecord, SliceRecord};
use model::{Affinity, Clients, Name, Service, ServiceKind};
use serde_json::{Value, json};

use super::kernel::KernelReport;
use super::report::ServiceReport;
use super::words::{is_open, version};

/// All reports as one object.
pub(super) fn list(node: &Name, reports: &[ServiceReport]) -> Value {
    let items: Vec<Value> = reports.iter().map(one).collect();
    json!({ "apiVersion": "fairway.network/v1", "kind": "ServiceReportList", "node": node.as_str(), "items": items })
}

/// One report as an object; `slices` and `trafficDistribution` are null in lists.
pub(super) fn one(report: &ServiceReport) -> Value {
    let record = report.record.as_ref();
    json!({
        "apiVersion": "fairway.network/v1", "kind": "ServiceReport",
        "namespace": report.service.name.namespace.as_str(), "name": report.service.name.name.as_str(),
        "type": report.kind(), "served": report.is_served(), "settings": settings(&report.service),
        "trafficDistribution": record.and_then(|record| record.traffic_distribution.as_deref()),
        "hints": hints(report), "frontends": frontends(report), "backends": backends(report),
        "leftOut": left_out(report), "slices": record.map(slices), "notInForce": report.rejected,
        "pending": report.pending, "unanswered": report.unanswered, "reachedAt": report.reached,
        "delegatedBy": record.and_then(|record| record.delegated_by.as_deref()),
        "unmetConditions": record.map(|record| &record.unmet),
        "servedByLoadBalancer": record.map(|record| &record.proxied),
        "kernel": report.kernel.as_ref().and_then(|kernel| kernel.as_ref().ok()).map(KernelReport::to_json),
        "kernelUnseen": report.kernel.as_ref().and_then(|kernel| kernel.as_ref().err()).map(ToString::to_string),
    })
}

fn settings(service: &Service) -> Value {
    let is_virtual = matches!(service.kind, ServiceKind::Virtual { .. });
    let timeout = match service.affinity {
        Affinity::None => None,
        Affinity::ClientIp { timeout } => Some(timeout.as_secs()),
    };
    let ranges = match &service.clients {
        Clients::All => None,
        Clients::Within(ranges) => Some(ranges),
    };
    json!({
        "internalTrafficPolicy": is_virtual.then(|| format!("{:?}", service.internal_policy)),
        "externalTrafficPolicy": is_open(service).then(|| format!("{:?}", service.external_policy)),
        "sessionAffinity": if timeout.is_some() { "ClientIP" } else { "None" }, "affinityTimeoutSeconds": timeout,
        "healthCheckNodePort": service.health_check_port, "loadBalancerSourceRanges": ranges,
        "publishNotReadyAddresses": service.publish_not_ready,
    })
}

fn hints(report: &ServiceReport) -> Vec<Value> {
    let hints = report.hints.iter().map(|(port, family, hints)| {
        json!({ "portName": port.as_str(), "family": format!("IP{}", version(*family)), "effect": hints.to_string() })
    });
    hints.collect()
}

fn frontends(report: &ServiceReport) -> Vec<Value> {
    let frontends = report.frontends.iter().map(|frontend| {
        json!({
            "address": frontend.frontend.address, "protocol": frontend.frontend.protocol.to_string(),
            "port": frontend.frontend.port, "portName": frontend.port.as_str(), "kind": frontend.kind.to_string(),
            "endpoints": frontend.endpoints, "does": frontend.does,
        })
    });
    frontends.collect()
}

fn backends(report: &ServiceReport) -> Vec<Value> {
    let backends = report.backends.iter().map(|backend| {
        json!({
            "endpoint": backend.socket, "portName": backend.port.as_str(),
            "node": backend.node.as_ref().map(Name::as_str), "pod": backend.pod.as_ref().map(ToString::to_string),
            "serves": report.standing_of(backend).serves(), "servesLocally": backend.serves_locally,
            "state": report.standing_of(backend).to_string(),
        })
    });
    backends.collect()
}

fn left_out(report: &ServiceReport) -> Vec<Value> {
    let left_out = report.left_out.iter().map(|each| {
        json!({
            "address": each.address, "portName": each.port.as_ref().map(Name::as_str),
            "node": each.node.as_ref().map(Name::as_str), "pod": each.pod.as_ref().map(ToString::to_string),
            "slice": each.slice.as_str(), "state": each.to_string(),
        })
    });
    left_out.collect()
}

fn slices(record: &ServiceRecord) -> Vec<Value> {
    let slice = |slice: &SliceRecord| {
        let refused = slice.rejected.iter().map(|rejected| format!("{}: {}", rejected.field, rejected.why));
        json!({
            "name": slice.name.as_str(), "addressType": slice.address_type, "managedBy": slice.managed_by,
            "delegatedBy": slice.delegated_by, "ports": slice.ports, "endpoints": slice.endpoints,
            "refused": refused.collect::<Vec<_>>(),
        })
    };
    record.slices.iter().map(slice).collect()
}
