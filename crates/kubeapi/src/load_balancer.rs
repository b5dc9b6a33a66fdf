//! What is written about load balancer addresses: on Services, and on the pools they come from.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use model::from_kube::{ALLOCATED_CONDITION, LoadBalancerPool, READY_CONDITION, is_given};
use model::{Name, NamespacedName, PoolStatus, Service as Fact, ServiceKind, Subject};
use serde_json::{Value, json};
use tracing::warn;

use crate::CONTROLLER;
use crate::events::report_done;
use crate::kinds::Kind;
use crate::write::WriteError;

/// Says in the status of a Service which load balancer addresses it has, and tells it in an Event. Of the two lists the
/// first is what the status had when it was decided; it is left alone if it has something else by now.
pub async fn publish_addresses(
    client: &Client,
    service: &NamespacedName,
    (held, addresses): (&[IpAddr], &[IpAddr]),
    now: Timestamp,
) -> Result<(), WriteError> {
    let object = Subject::service(service);
    let unread = |source| WriteError::Unread { object: object.clone(), source: Box::new(source) };
    let api: Api<Service> = Api::namespaced(client.clone(), service.namespace.as_str());
    let known = api.get_status(service.name.as_str()).await.map_err(unread)?;
    if !has_addresses(&known, held) {
        return Err(WriteError::Changed { object });
    }
    let conditions = known.status.and_then(|status| status.conditions).unwrap_or_default();
    let mut status = service_status(addresses, &conditions, now);
    // Refused if anybody writes in between.
    status["metadata"] = json!({ "resourceVersion": known.metadata.resource_version });
    let patch = Patch::Strategic(status);
    let written = api.patch_status(service.name.as_str(), &parameters(), &patch).await;
    let written = written.map_err(|error| WriteError::of(object, error))?;
    tell(client, &written, service, (held, addresses)).await;
    Ok(())
}

/// Says in the status of a Service that Fairway is not its load balancer any more, and tells it in an Event; nothing if the
/// status says so already. Addresses that were Fairway's go; what another load balancer has written stays.
pub async fn publish_release(client: &Client, service: &NamespacedName, now: Timestamp) -> Result<(), WriteError> {
    let object = Subject::service(service);
    let unread = |source| WriteError::Unread { object: object.clone(), source: Box::new(source) };
    let api: Api<Service> = Api::namespaced(client.clone(), service.namespace.as_str());
    let known = api.get_status(service.name.as_str()).await.map_err(unread)?;
    let Some(status) = release(&known, now) else { return Ok(()) };
    let written = api.patch_status(service.name.as_str(), &parameters(), &Patch::Strategic(status)).await;
    let written = written.map_err(|error| WriteError::of(object, error))?;
    tell(client, &written, service, (&[], &[])).await;
    Ok(())
}

/// What is to be written to a Service that is released; nothing if it was before.
fn release(service: &Service, now: Timestamp) -> Option<Value> {
    if !is_given(service) {
        return None;
    }
    let conditions = service.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut status = service_status(&[], &conditions, now);
    if service.spec.as_ref().is_some_and(|spec| spec.load_balancer_class.is_some()) {
        // Who has the class now may have given addresses already.
        status["status"] = json!({ "conditions": status["status"]["conditions"] });
    }
    status["metadata"] = json!({ "resourceVersion": service.metadata.resource_version });
    Some(status)
}

/// The addresses are in force whether or not it is told.
async fn tell(client: &Client, written: &Service, service: &NamespacedName, (held, addresses): (&[IpAddr], &[IpAddr])) {
    for (reason, message) in told(held, addresses) {
        if let Err(error) = report_done(client, &written.reference(), (reason, &message), CONTROLLER).await {
            warn!(%error, %service, "cannot write an event");
        }
    }
}

fn has_addresses(service: &Service, addresses: &[IpAddr]) -> bool {
    let Some(Fact { kind: ServiceKind::Virtual { load_balancer_ips, .. }, .. }) = service.admit().fact else {
        return addresses.is_empty();
    };
    load_balancer_ips == addresses
}

/// What is told of the addresses a Service has now, and of those it had and has not any more.
fn told(held: &[IpAddr], addresses: &[IpAddr]) -> Vec<(&'static str, String)> {
    if addresses.is_empty() {
        return vec![("IPReleased", message(addresses))];
    }
    let given_back: Vec<IpAddr> = held.iter().copied().filter(|address| !addresses.contains(address)).collect();
    let released = (!given_back.is_empty()).then(|| ("IPReleased", format!("{} was given back", listed(&given_back))));
    [("IPAllocated", message(addresses))].into_iter().chain(released).collect()
}

fn message(addresses: &[IpAddr]) -> String {
    match addresses {
        [] => "the load balancer addresses were given back".into(),
        addresses => format!("reached at {}", listed(addresses)),
    }
}

fn listed(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

fn service_status(addresses: &[IpAddr], known: &[Condition], now: Timestamp) -> Value {
    let ingress: Vec<Value> = addresses.iter().map(|address| json!({ "ip": address, "ipMode": "VIP" })).collect();
    let (status, reason) = if addresses.is_empty() { ("False", "NoAddress") } else { ("True", "Allocated") };
    let condition = json!({
        "type": ALLOCATED_CONDITION, "status": status, "reason": reason, "message": message(addresses),
        "lastTransitionTime": since(known, (ALLOCATED_CONDITION, status), now),
    });
    json!({ "status": { "loadBalancer": { "ingress": ingress }, "conditions": [condition] } })
}

/// Writes the status of a pool.
pub async fn publish_pool_status(
    client: &Client,
    pool: &Name,
    status: &PoolStatus,
    now: Timestamp,
) -> Result<(), WriteError> {
    let object = Subject::pool(pool);
    let unread = |source| WriteError::Unread { object: object.clone(), source: Box::new(source) };
    let api: Api<LoadBalancerPool> = Api::all(client.clone());
    let known = api.get_status(pool.as_str()).await.map_err(unread)?.status.conditions;
    let patch = Patch::Merge(pool_status(status, &known, now));
    let written = api.patch_status(pool.as_str(), &parameters(), &patch).await;
    written.map(drop).map_err(|error| WriteError::of(object, error))
}

fn pool_status(status: &PoolStatus, known: &[Condition], now: Timestamp) -> Value {
    let free = status.total.saturating_sub(status.used);
    let (ready, reason, message) = match &status.fault {
        None if status.total == 0 => ("False", "Unusable", "none of its addresses can be given to a Service"),
        None => ("True", "InUse", "addresses are given from this pool"),
        Some(fault) => ("False", "Conflict", fault.as_str()),
    };
    let condition = json!({
        "type": READY_CONDITION, "status": ready, "reason": reason, "message": message,
        "observedGeneration": status.generation, "lastTransitionTime": since(known, (READY_CONDITION, ready), now),
    });
    json!({ "status": { "total": status.total, "used": status.used, "free": free, "conditions": [condition] } })
}

/// Since when a condition has had its status, which is the second, among those that are known.
fn since(known: &[Condition], (kind, status): (&str, &str), now: Timestamp) -> Time {
    let same = known.iter().find(|condition| condition.type_ == kind && condition.status == status);
    same.map_or(Time(now), |condition| condition.last_transition_time.clone())
}

fn parameters() -> PatchParams {
    PatchParams { field_manager: Some(CONTROLLER.into()), ..PatchParams::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_told_its_addresses_as_virtual_ones() {
        let addresses = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let status = service_status(&addresses, &[], Timestamp::UNIX_EPOCH);
        let ingress = json!([{ "ip": "10.0.0.1", "ipMode": "VIP" }, { "ip": "fd00::1", "ipMode": "VIP" }]);
        assert_eq!(status["status"]["loadBalancer"]["ingress"], ingress);
        assert_eq!(status["status"]["conditions"][0]["status"], "True");
        assert_eq!(status["status"]["conditions"][0]["message"], "reached at 10.0.0.1 and fd00::1");
    }

    #[test]
    fn what_a_service_has_and_what_it_has_no_more_is_told() {
        let [four, six]: [IpAddr; 2] = ["10.0.0.1", "fd00::1"].map(|text| text.parse().unwrap());
        let told = |held: &[IpAddr], addresses: &[IpAddr]| {
            told(held, addresses).iter().map(|(reason, message)| format!("{reason} {message}")).collect::<Vec<_>>()
        };
        assert_eq!(told(&[], &[four, six]), ["IPAllocated reached at 10.0.0.1 and fd00::1"]);
        assert_eq!(
            told(&[four, six], &[four]),
            ["IPAllocated reached at 10.0.0.1", "IPReleased fd00::1 was given back"]
        );
        assert_eq!(told(&[four], &[]), ["IPReleased the load balancer addresses were given back"]);
    }

    #[test]
    fn a_pool_of_which_nothing_can_be_given_is_not_ready() {
        let ready = |total| {
            let status = pool_status(&PoolStatus { total, ..PoolStatus::default() }, &[], Timestamp::UNIX_EPOCH);
            status["status"]["conditions"][0]["status"].clone()
        };
        assert_eq!([ready(0), ready(1)], ["False", "True"]);
    }

    #[test]
    fn a_service_is_released_once_and_keeps_what_another_load_balancer_gave_it() {
        let service = |class: Option<&str>, status: &str| -> Service {
            let condition = json!({ "type": ALLOCATED_CONDITION, "status": status, "reason": "", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z" });
            let object = json!({
                "metadata": { "name": "web", "resourceVersion": "7" }, "spec": { "loadBalancerClass": class },
                "status": { "conditions": [condition] },
            });
            serde_json::from_value(object).unwrap()
        };
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(release(&service(None, "False"), now), None);
        let ours = release(&service(None, "True"), now).unwrap();
        assert_eq!(
            (&ours["status"]["loadBalancer"]["ingress"], &ours["metadata"]["resourceVersion"]),
            (&json!([]), &json!("7"))
        );
        assert_eq!(ours["status"]["conditions"][0]["status"], "False");
        let theirs = release(&service(Some("example.com/other"), "True"), now).unwrap();
        assert_eq!(theirs["status"].as_object().unwrap().keys().collect::<Vec<_>>(), ["conditions"]);
    }

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let condition = |status: &PoolStatus, known: &[Condition], second| -> Condition {
            let written = pool_status(status, known, at(second));
            serde_json::from_value(written["status"]["conditions"][0].clone()).unwrap()
        };
        let one_used = PoolStatus { total: 2, used: 1, fault: None, generation: 2 };
        let first = condition(&one_used, &[], 1);
        assert_eq!((first.last_transition_time.0, first.observed_generation), (at(1), Some(2)));
        let all_used = PoolStatus { used: 2, ..one_used.clone() };
        assert_eq!(condition(&all_used, std::slice::from_ref(&first), 5), first);
        let at_fault = PoolStatus { fault: Some("overlaps another".to_owned()), ..one_used };
        assert_eq!(condition(&at_fault, &[first], 9).last_transition_time.0, at(9));
    }
}
