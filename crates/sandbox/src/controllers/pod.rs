//! What controllers ask of a pod.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Pod, PodCondition, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use serde::Serialize;

use super::kind::Kind;

/// How far a pod is on its way into service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// Its containers are not ready.
    NotReady,
    /// Ready, but for less than the time asked for; available after this long.
    AvailableIn(Duration),
    /// Ready for long enough.
    Available,
}

impl Readiness {
    /// Of a pod that must have been ready for `min_ready_seconds`.
    pub(super) fn of(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Self {
        let Some(condition) = condition(pod, "Ready").filter(|condition| condition.status == "True") else {
            return Self::NotReady;
        };
        let since = condition.last_transition_time.as_ref().map_or(now, |time| time.0);
        let needed = Duration::from_secs(u64::try_from(min_ready_seconds).unwrap_or_default());
        let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        if waited >= needed { Self::Available } else { Self::AvailableIn(needed - waited) }
    }

    pub(super) fn is_ready(self) -> bool {
        self != Self::NotReady
    }

    /// How long until it changes by itself.
    pub(super) fn wait(self) -> Option<Duration> {
        match self {
            Self::AvailableIn(wait) => Some(wait),
            Self::NotReady | Self::Available => None,
        }
    }
}

/// Whether its `Ready` condition holds.
pub(super) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// When its `Ready` condition last became what it is.
pub(super) fn ready_transition(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "Ready")?.last_transition_time.as_ref().map(|time| time.0)
}

/// Whether it runs or will run: neither ended nor to be deleted.
pub(super) fn is_active(pod: &Pod) -> bool {
    !has_ended(pod) && !pod.is_terminating()
}

/// Whether all its containers have ended for good.
pub(super) fn has_ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Its phase; empty if the server has not set one.
pub(super) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// The node it is bound to.
pub(super) fn node_name(pod: &Pod) -> Option<&str> {
    let name = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    name.filter(|name| !name.is_empty())
}

/// The condition of this type.
pub(super) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// A pod to create from a template; the server completes its name.
pub(super) fn from_template(template: &PodTemplateSpec, namespace: &str, owner: OwnerReference) -> Pod {
    let described = template.metadata.clone().unwrap_or_default();
    let metadata = ObjectMeta {
        generate_name: Some(format!("{}-", owner.name)),
        namespace: Some(namespace.to_owned()),
        labels: described.labels,
        annotations: described.annotations,
        finalizers: described.finalizers,
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec: template.spec.clone(), status: None }
}

/// A short name for the content of a template, the same for equal content, different for another `collisions`.
pub(super) fn template_hash(template: &impl Serialize, collisions: Option<i32>) -> String {
    let mut text = super::write::to_value(template).to_string();
    if let Some(collisions) = collisions {
        text.push_str(&collisions.to_string());
    }
    safe_name(fnv32a(text.as_bytes()))
}

fn fnv32a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The number in letters and digits that cannot form a word.
fn safe_name(number: u32) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    number.to_string().bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ready_since(time: &str) -> Pod {
        let condition = json!({"type": "Ready", "status": "True", "lastTransitionTime": time});
        serde_json::from_value(json!({"metadata": {}, "status": {"conditions": [condition]}})).unwrap()
    }

    #[test]
    fn a_ready_pod_is_available_only_after_its_time() {
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        let pod = ready_since("2026-01-01T00:00:04Z");
        assert_eq!(Readiness::of(&pod, 0, now), Readiness::Available);
        assert_eq!(Readiness::of(&pod, 6, now), Readiness::Available);
        assert_eq!(Readiness::of(&pod, 8, now), Readiness::AvailableIn(Duration::from_secs(2)));
        assert_eq!(Readiness::of(&Pod::default(), 0, now), Readiness::NotReady);
    }

    #[test]
    fn template_hash_depends_on_content_and_collisions_only() {
        let template = json!({"a": 1});
        assert_eq!(template_hash(&template, None), template_hash(&json!({"a": 1}), None));
        assert_ne!(template_hash(&template, None), template_hash(&template, Some(1)));
        assert_ne!(template_hash(&template, None), template_hash(&json!({"a": 2}), None));
    }

    #[test]
    fn a_hash_is_spelled_as_kubernetes_spells_it() {
        // ASCII '0' is 48, and 48 % 27 = 21 is the '4' of the alphabet; each further digit is one letter on.
        assert_eq!(safe_name(1_234_567_890), "56789bcdf4");
    }
}
