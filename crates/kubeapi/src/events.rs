//! Telling users, on their own objects, what could not be admitted.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use k8s_openapi::api::core::v1::{self as core, Event, EventSource};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use model::Rejected;
use tokio::time::MissedTickBehavior;
use tracing::warn;

use crate::kinds::ObjectReference;
use crate::watch::ClusterWatch;

/// At most one Event in this time: thousands of bad objects must not become a flood of writes.
const SPACING: Duration = Duration::from_millis(100);
/// How much of an object's name an Event's name begins with; the API allows 253 letters in all.
const NAME_PART: usize = 200;
/// Where Events on objects without a namespace live.
const CLUSTER_NAMESPACE: &str = "default";

/// Writes a Warning Event on every object of which something was refused, until the watch ends.
///
/// An Event's name is made from what it says, so that the same refusal seen by every node of a cluster is one Event.
/// `component` is named as the source, e.g. `fairway-agent`.
pub async fn report_refusals(watch: &mut ClusterWatch, client: &Client, component: &str) {
    let mut pace = tokio::time::interval(SPACING);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Some(refusal) = watch.next_refusal().await {
        for rejected in &refusal.rejected {
            pace.tick().await;
            let event = event_for(&refusal.object, rejected, component, Timestamp::now());
            write(client, &event).await;
        }
    }
}

async fn write(client: &Client, event: &Event) {
    let namespace = event.metadata.namespace.as_deref().unwrap_or(CLUSTER_NAMESPACE);
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    match events.create(&PostParams::default(), event).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => warn!(%error, "cannot write an event"),
    }
}

fn event_for(object: &ObjectReference, rejected: &Rejected, component: &str, now: Timestamp) -> Event {
    let namespace = object.namespace.clone().unwrap_or_else(|| CLUSTER_NAMESPACE.into());
    Event {
        metadata: ObjectMeta {
            name: Some(event_name(object, rejected)),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: core::ObjectReference {
            api_version: Some(object.api_version.into()),
            kind: Some(object.kind.into()),
            namespace: object.namespace.clone(),
            name: Some(object.name.clone()),
            uid: Some(object.uid.clone()),
            ..core::ObjectReference::default()
        },
        type_: Some("Warning".into()),
        reason: Some("Refused".into()),
        action: Some("Admit".into()),
        message: Some(format!("{}: {}", rejected.field, rejected.why)),
        count: Some(1),
        event_time: Some(MicroTime(now)),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        source: Some(EventSource { component: Some(component.into()), host: None }),
        reporting_component: Some(component.into()),
        reporting_instance: Some(component.into()),
        ..Event::default()
    }
}

fn event_name(object: &ObjectReference, rejected: &Rejected) -> String {
    let mut hasher = DefaultHasher::new();
    (&object.uid, object.kind, &rejected.field, &rejected.why).hash(&mut hasher);
    let name: String = object.name.chars().take(NAME_PART).collect();
    format!("{name}.{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(why: &str) -> (ObjectReference, Rejected) {
        let object = ObjectReference {
            api_version: "v1",
            kind: "Service",
            namespace: Some("shop".into()),
            name: "cart".into(),
            uid: "u1".into(),
        };
        let rejected =
            Rejected { object: "Service shop/cart".into(), field: "spec.ports[0].port".into(), why: why.into() };
        (object, rejected)
    }

    #[test]
    fn an_event_says_what_is_wrong_with_which_object() {
        let (object, rejected) = refused("0 is not a port");
        let event = event_for(&object, &rejected, "fairway-agent", Timestamp::UNIX_EPOCH);
        assert_eq!(event.message.as_deref(), Some("spec.ports[0].port: 0 is not a port"));
        assert_eq!((event.type_.as_deref(), event.reason.as_deref()), (Some("Warning"), Some("Refused")));
        assert_eq!(event.involved_object.name.as_deref(), Some("cart"));
        assert_eq!(event.metadata.namespace.as_deref(), Some("shop"));
    }

    #[test]
    fn the_same_refusal_is_the_same_event_on_every_node() {
        let (object, rejected) = refused("0 is not a port");
        assert_eq!(event_name(&object, &rejected), event_name(&object, &rejected));
        let (_, other) = refused("1 is not a port");
        assert_ne!(event_name(&object, &rejected), event_name(&object, &other));
    }
}
