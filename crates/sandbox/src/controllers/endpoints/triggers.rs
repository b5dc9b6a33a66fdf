//! When the change happened that slices follow: what measures how long the cluster takes to follow starts from there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use apiserver::client::ObjectKey;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use serde_json::json;

use crate::controllers::{kind::Kind, pod::ready_transition, write::Write};

/// Where a slice says it.
pub(super) const ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// What was known of each Service when its slices were planned last.
#[derive(Default)]
pub(super) struct Triggers {
    seen: Mutex<BTreeMap<ObjectKey, Seen>>,
}

/// When a Service was made and when each of its pods, by name, became ready or ceased to be.
#[derive(Default)]
struct Seen {
    service: Option<Timestamp>,
    pods: BTreeMap<String, Timestamp>,
}

impl Triggers {
    /// The earliest change since the last call for this Service; `None` if nothing has happened that has a time.
    pub(super) fn next(&self, service: &Service, pods: &[Arc<Pod>]) -> Option<Timestamp> {
        let now = Seen {
            service: service.metadata.creation_timestamp.as_ref().map(|time| time.0),
            pods: pods.iter().filter_map(|pod| Some((pod.name().to_owned(), ready_transition(pod)?))).collect(),
        };
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = all.entry(service.key()).or_default();
        let changed = now.pods.iter().filter(|(name, at)| seen.pods.get(*name).is_none_or(|before| *at > before));
        let earliest = changed.map(|(_, at)| *at).chain(now.service.filter(|at| Some(*at) > seen.service)).min();
        *seen = now;
        earliest
    }

    /// Forgets a Service that is gone.
    pub(super) fn forget(&self, service: &ObjectKey) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(service);
    }
}

/// Lets the slice that is written say what it follows, or no longer say what an earlier one followed.
pub(super) fn stamp(write: &mut Write, at: Option<Timestamp>) {
    let at = at.map(|at| at.to_string());
    match write {
        Write::Create { object, .. } => {
            if let Some(at) = at {
                object["metadata"]["annotations"][ANNOTATION] = json!(at);
            }
        }
        Write::Patch { patch, .. } => patch["metadata"]["annotations"][ANNOTATION] = json!(at),
        Write::Delete { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn service() -> Service {
        let metadata = json!({"name": "web", "namespace": "shop", "creationTimestamp": "2026-01-01T10:00:00Z"});
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    fn pod(name: &str, ready_at: Option<&str>) -> Arc<Pod> {
        let condition = |at: &str| json!({"type": "Ready", "status": "True", "lastTransitionTime": at});
        let conditions: Vec<Value> = ready_at.into_iter().map(condition).collect();
        let pod = json!({"metadata": {"name": name, "namespace": "shop"}, "status": {"conditions": conditions}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn time(text: &str) -> Option<Timestamp> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn the_earliest_change_since_the_last_time_is_what_slices_follow() {
        let triggers = Triggers::default();
        let (early, late) = ("2026-01-01T10:00:05Z", "2026-01-01T10:00:09Z");
        assert_eq!(triggers.next(&service(), &[]), time("2026-01-01T10:00:00Z"));
        assert_eq!(triggers.next(&service(), &[pod("a", None)]), None);
        assert_eq!(triggers.next(&service(), &[pod("a", Some(late)), pod("b", Some(early))]), time(early));
        assert_eq!(triggers.next(&service(), &[pod("a", Some(late)), pod("b", Some(early))]), None);
        let again = "2026-01-01T10:01:00Z";
        assert_eq!(triggers.next(&service(), &[pod("a", Some(again)), pod("b", Some(early))]), time(again));
        assert_eq!(triggers.next(&service(), &[pod("b", Some(early))]), None);
        triggers.forget(&service().key());
        assert_eq!(triggers.next(&service(), &[]), time("2026-01-01T10:00:00Z"));
    }

    #[test]
    fn a_write_without_a_time_takes_the_former_one_away() {
        let slice = json!({"metadata": {"name": "web-1", "namespace": "shop"}, "addressType": "IPv4"});
        let slice: k8s_openapi::api::discovery::v1::EndpointSlice = serde_json::from_value(slice).unwrap();
        let mut changed = slice.clone();
        changed.address_type = "IPv6".to_owned();
        let stamped = |mut write: Write, at: Option<Timestamp>| {
            stamp(&mut write, at);
            match write {
                Write::Create { object: written, .. } | Write::Patch { patch: written, .. } => {
                    written["metadata"].get("annotations").cloned()
                }
                Write::Delete { .. } => None,
            }
        };
        let at = "2026-01-01T10:00:00Z";
        let expected = Some(json!({ ANNOTATION: at }));
        assert_eq!(stamped(Write::create(&slice), time(at)), expected);
        assert_eq!(stamped(Write::create(&slice), None), None);
        assert_eq!(stamped(Write::update(&slice, &changed).unwrap(), time(at)), expected);
        assert_eq!(stamped(Write::update(&slice, &changed).unwrap(), None), Some(json!({ ANNOTATION: null })));
    }
}
